//! The database's clock on SQLite: the process's, read once the lock is held and standing still for one use case or query (T1).

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use carelink_platform::clock::{Clock, Timestamp};

/// What a connection takes for the time. Cheap to clone; clones are the same moment.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    clock: Clock,
    /// Only the connection's own thread touches it.
    now: Arc<AtomicI64>,
}

impl Moment {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self { clock: clock.clone(), now: Arc::new(AtomicI64::new(clock.now().as_micros())) }
    }

    /// Looks at the clock; until the next look every reading is the same.
    pub(crate) fn look(&self) {
        self.now.store(self.clock.now().as_micros(), Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.now.load(Ordering::Relaxed))
    }
}
