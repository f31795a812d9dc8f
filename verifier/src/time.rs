//! The database's time, as the last heartbeats told it, advanced by this process's monotonic clock (T2).
//!
//! The wall clock of this machine is never read: however wrong it is, nothing is refused or accepted by it.
//! `exp` is judged with a leeway of 0: a token ends when the database's clock says so, give or take a heartbeat's way
//! here, which is at most five seconds, or the heartbeat does not count. A machine that sleeps stands still in this time
//! until the next heartbeat, at most five seconds after it wakes.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use thiserror::Error;
use tokio::time::Instant;

/// Heartbeats remembered: the least delayed of them tells the time.
const REMEMBERED: usize = 5;
/// A heartbeat that took longer than this on its way, or a clock set back by as much: only a snapshot tells which.
const LATE_AFTER_US: i64 = 5_000_000;

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

/// A heartbeat is further behind than it may be.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a heartbeat was late, or the clock was set back")]
pub(crate) struct Late;

/// The database's clock, seen from here.
#[derive(Debug)]
pub(crate) struct DatabaseClock {
    anchor: Instant,
    offset_us: AtomicI64,
    told: Mutex<Told>,
}

/// How far ahead of this process's time the database's was, by one stream's heartbeats.
#[derive(Debug, Default)]
struct Told {
    recent_us: VecDeque<i64>,
    best_us: i64,
}

impl DatabaseClock {
    pub(crate) fn new() -> Self {
        Self { anchor: Instant::now(), offset_us: AtomicI64::new(0), told: Mutex::default() }
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

    /// Takes the time a snapshot brought: it was asked for, so it is as old as the question at most. A clock set back is
    /// followed here.
    pub(crate) fn begin(&self, time: DatabaseTime) {
        let offset = time.0.saturating_sub(signed(self.moment()));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        *told = Told { recent_us: VecDeque::from([offset]), best_us: offset };
        self.offset_us.store(offset, Ordering::Relaxed);
    }

    /// Takes the time a heartbeat brought, of a stream that has begun. One that comes late cannot turn the clock back, and
    /// one that comes too late, by the best that was seen on this stream, is no sign of life.
    pub(crate) fn beat(&self, time: DatabaseTime) -> Result<(), Late> {
        let offset = time.0.saturating_sub(signed(self.moment()));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if offset < told.best_us.saturating_sub(LATE_AFTER_US) {
            return Err(Late);
        }
        told.best_us = told.best_us.max(offset);
        if told.recent_us.len() >= REMEMBERED {
            told.recent_us.pop_front();
        }
        told.recent_us.push_back(offset);
        self.offset_us.store(told.recent_us.iter().copied().max().unwrap_or(offset), Ordering::Relaxed);
        Ok(())
    }
}

fn signed(moment: Moment) -> i64 {
    i64::try_from(moment.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
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
        clock.begin(DatabaseTime(START));
        advance(Duration::from_secs(7)).await;
        assert_eq!(now(&clock), START + 7_000_000);
        assert_eq!(clock.at(clock.moment()).second(), UnixSeconds(1_800_000_007));
    }

    #[tokio::test(start_paused = true)]
    async fn t2_a_late_heartbeat_does_not_turn_the_clock_back() {
        let clock = DatabaseClock::new();
        clock.begin(DatabaseTime(START));
        second().await;
        clock.beat(DatabaseTime(START - 3_000_000)).unwrap(); // sent four seconds ago
        assert_eq!(now(&clock), START + 1_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn t2_a_stream_that_falls_behind_bit_by_bit_is_found_out() {
        let clock = DatabaseClock::new();
        clock.begin(DatabaseTime(START));
        let late = (1..).find(|beats| {
            advance(Duration::from_millis(1_100)).now_or_never();
            clock.beat(DatabaseTime(START + beats * 1_000_000)).is_err()
        });
        assert_eq!(late, Some(51), "a tenth of a second behind per heartbeat, five seconds at most");
    }

    #[tokio::test(start_paused = true)]
    async fn t1_a_step_forward_is_followed_at_once_and_one_back_with_the_next_snapshot() {
        let clock = DatabaseClock::new();
        clock.begin(DatabaseTime(START));
        clock.beat(DatabaseTime(START + 90_000_000)).unwrap();
        assert_eq!(now(&clock), START + 90_000_000);
        second().await;
        assert_eq!(clock.beat(DatabaseTime(START + 1_000_000)), Err(Late));
        assert_eq!(now(&clock), START + 91_000_000);
        clock.begin(DatabaseTime(START + 1_000_000));
        assert_eq!(now(&clock), START + 1_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn t1_a_small_step_back_is_followed_after_five_heartbeats() {
        let clock = DatabaseClock::new();
        clock.begin(DatabaseTime(START));
        for beat in 1..=5 {
            second().await;
            clock.beat(DatabaseTime(START + (beat - 3) * 1_000_000)).unwrap();
        }
        assert_eq!(now(&clock), START + 2_000_000);
    }
}
