//! The database's time, as the last heartbeats told it, advanced by this process's monotonic clock (T2).
//!
//! The wall clock of this machine is never read: however wrong it is, nothing is refused or accepted by it.
//! `exp` is judged with a leeway of 0: a token ends when the database's clock says so, give or take a heartbeat's
//! way here. A machine that sleeps stands still in this time until the next heartbeat, at most five seconds after it wakes.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Heartbeats remembered: the least delayed of them tells the time, and a clock set back is followed after as many.
const REMEMBERED: usize = 5;

/// A point in time, seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(pub i64);

impl fmt::Display for UnixSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A point in the database's time, microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DatabaseTime(pub(crate) i64);

impl DatabaseTime {
    /// The second that has begun.
    pub(crate) fn second(self) -> UnixSeconds {
        UnixSeconds(self.0.div_euclid(1_000_000))
    }
}

/// A point in this process's time, microseconds since its clock was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) u64);

impl Moment {
    /// How long before `later` this was.
    pub(crate) fn until(self, later: Self) -> Duration {
        Duration::from_micros(later.0.saturating_sub(self.0))
    }

    /// So long after this.
    pub(crate) fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// The database's clock, seen from here.
#[derive(Debug)]
pub(crate) struct DatabaseClock {
    anchor: Instant,
    offset_us: AtomicI64,
    recent_offsets_us: Mutex<VecDeque<i64>>,
}

impl DatabaseClock {
    pub(crate) fn new() -> Self {
        Self { anchor: Instant::now(), offset_us: AtomicI64::new(0), recent_offsets_us: Mutex::new(VecDeque::with_capacity(REMEMBERED)) }
    }

    /// Now, in this process's time.
    pub(crate) fn moment(&self) -> Moment {
        Moment(u64::try_from(self.anchor.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// `moment` as the runtime's timers know it.
    pub(crate) fn instant(&self, moment: Moment) -> Instant {
        self.anchor + Duration::from_micros(moment.0)
    }

    /// What the database's clock shows at `moment`.
    pub(crate) fn at(&self, moment: Moment) -> DatabaseTime {
        DatabaseTime(signed(moment).saturating_add(self.offset_us.load(Ordering::Relaxed)))
    }

    /// Takes the time a heartbeat brought. A late one cannot turn the clock back: the least delayed of the last five counts.
    pub(crate) fn set(&self, told: DatabaseTime) {
        let offset = told.0.saturating_sub(signed(self.moment()));
        let mut recent = self.recent_offsets_us.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        recent.push_back(offset);
        self.offset_us.store(recent.iter().copied().max().unwrap_or(offset), Ordering::Relaxed);
    }
}

fn signed(moment: Moment) -> i64 {
    i64::try_from(moment.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const START: i64 = 1_800_000_000_000_000;

    fn now(clock: &DatabaseClock) -> i64 {
        clock.at(clock.moment()).0
    }

    async fn second() {
        advance(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn t2_time_is_the_databases_advanced_by_our_monotonic_clock() {
        let clock = DatabaseClock::new();
        clock.set(DatabaseTime(START));
        advance(Duration::from_secs(7)).await;
        assert_eq!(now(&clock), START + 7_000_000);
        assert_eq!(clock.at(clock.moment()).second(), UnixSeconds(1_800_000_007));
    }

    #[tokio::test(start_paused = true)]
    async fn t2_a_late_heartbeat_does_not_turn_the_clock_back() {
        let clock = DatabaseClock::new();
        clock.set(DatabaseTime(START));
        second().await;
        clock.set(DatabaseTime(START - 3_000_000)); // sent four seconds ago
        assert_eq!(now(&clock), START + 1_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn t1_a_step_forward_is_followed_at_once_and_one_back_after_five_heartbeats() {
        let clock = DatabaseClock::new();
        clock.set(DatabaseTime(START));
        clock.set(DatabaseTime(START + 90_000_000));
        assert_eq!(now(&clock), START + 90_000_000);
        for beat in 1..=5 {
            second().await;
            clock.set(DatabaseTime(START + beat * 1_000_000));
        }
        assert_eq!(now(&clock), START + 5_000_000);
    }
}
