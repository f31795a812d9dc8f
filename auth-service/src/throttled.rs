//! Tells the trail of sign-ins that were turned away, without letting whoever floods us flood it.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// At most one event in so long, for all that were turned away meanwhile.
const EVERY: Duration = Duration::from_secs(1);

/// Counts what was turned away since it was last told.
#[derive(Debug, Default)]
pub(crate) struct Throttled {
    untold: AtomicU64,
    told: Mutex<Option<Instant>>,
}

impl Throttled {
    /// One more. Says how many to tell of now, if it is time to.
    pub(crate) fn count(&self, now: Instant) -> Option<u64> {
        self.untold.fetch_add(1, Ordering::Relaxed);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|at| now.saturating_duration_since(at) < EVERY) {
            return None;
        }
        *told = Some(now);
        Some(self.untold.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_event_a_second_that_counts_them() {
        let (throttled, began) = (Throttled::default(), Instant::now());
        assert_eq!(throttled.count(began), Some(1));
        assert_eq!((0..99).filter_map(|_| throttled.count(began)).count(), 0);
        assert_eq!(throttled.count(began + EVERY), Some(100));
    }
}
