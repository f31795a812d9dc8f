//! Waiting for what must come, and not longer than it may take.

use std::{fmt::Display, time::Duration};

use tokio::time::{Instant, sleep};

/// How long anything may take to come true.
pub const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);

/// Asks until there is an answer. Panics with `what` when there is none in time.
pub async fn eventually<T>(what: impl Display, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < end, "after {PATIENCE:?} still not: {what}");
        sleep(PAUSE).await;
    }
}
