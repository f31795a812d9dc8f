//! How much may be sent again: a tenth of what is sent once, and ten a second, so that retries never make an outage worse.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

const PER_CALL: f64 = 0.1;
const PER_SECOND: f64 = 10.0;
/// What can be saved up.
const MOST: f64 = 100.0;

/// A bucket that calls and time fill.
#[derive(Debug)]
pub(super) struct Budget(Mutex<(f64, Instant)>);

impl Budget {
    pub(super) fn new() -> Self {
        Self(Mutex::new((PER_SECOND, Instant::now())))
    }

    /// A call is sent for the first time.
    pub(super) fn earn(&self) {
        self.change(|saved| *saved += PER_CALL);
    }

    /// Whether one may be sent again.
    pub(super) fn spend(&self) -> bool {
        self.change(|saved| {
            let enough = *saved >= 1.0;
            if enough {
                *saved -= 1.0;
            }
            enough
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut f64) -> T) -> T {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (saved, since) = &mut *bucket;
        let now = Instant::now();
        *saved = (*saved + now.saturating_duration_since(*since).as_secs_f64() * PER_SECOND).min(MOST);
        *since = now;
        change(saved)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn t4_a_tenth_of_the_calls_and_ten_a_second_are_sent_again() {
        let budget = Budget::new();
        let spend_all = || std::iter::from_fn(|| budget.spend().then_some(())).count();
        assert_eq!(spend_all(), 10, "what there is at the beginning");
        (0..95).for_each(|_| budget.earn());
        assert_eq!(spend_all(), 9);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(spend_all(), 20);
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!(spend_all(), 100, "no more is saved up");
    }
}
