//! Says a thing at most once a second: when a service is away, every request would say it.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use tokio::time::Instant;

const A_SECOND_MS: u64 = 1_000;

/// One thing that may be said. Metrics count what is not.
#[derive(Debug, Default)]
pub(crate) struct Rarely {
    since: OnceLock<Instant>,
    /// Milliseconds after `since` from which it may be said again.
    next: AtomicU64,
}

impl Rarely {
    pub(crate) const fn new() -> Self {
        Self { since: OnceLock::new(), next: AtomicU64::new(0) }
    }

    /// Whether to say it now.
    pub(crate) fn now(&self) -> bool {
        let elapsed = u64::try_from(self.since.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX);
        let next = self.next.load(Ordering::Relaxed);
        let after = elapsed.saturating_add(A_SECOND_MS);
        elapsed >= next && self.next.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_said_once_a_second() {
        let rarely = Rarely::new();
        let mut said = 0;
        for _ in 0..95 {
            said += u32::from(rarely.now());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(said, 10);
    }
}
