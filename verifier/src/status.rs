//! How well a verifier sees: what readiness, alerts and whoever waits for a revocation look at.

use std::time::Duration;

use tokio::time::Instant;

/// A verifier's view, at the time it was asked or something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether it ever had a snapshot. Without one it accepts nothing by itself.
    pub ready: bool,
    /// Since when its view is not certain; `None`: it is fresh (V3).
    pub stale_since: Option<Instant>,
    /// The last sign of life that matched: a heartbeat, or a snapshot.
    pub last_heartbeat: Option<Instant>,
    /// The highest revocation number it has, without a gap below.
    pub head: u64,
    /// Sessions in its revocation set.
    pub revocations: usize,
    /// Keys in its key set.
    pub keys: usize,
    /// Whether it still goes on by itself: ready, and not stale for longer than `max_staleness`.
    pub usable: bool,
}

impl Status {
    /// How old its view is.
    pub fn lag(&self) -> Option<Duration> {
        self.last_heartbeat.map(|last| last.elapsed())
    }

    /// For a readiness probe: `Err` says what is missing.
    pub fn readiness(&self) -> Result<(), String> {
        match (self.ready, self.usable) {
            (false, _) => Err("no snapshot of keys and revocations yet".into()),
            (true, false) => Err("keys and revocations are stale".into()),
            (true, true) => Ok(()),
        }
    }
}
