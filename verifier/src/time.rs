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
/// Two honest clocks drift apart by less than one in so many; what seems to be delay below that is not counted as such.
const DRIFT: i64 = 5_000;

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

    /// So many microseconds before this.
    pub(crate) fn before(self, micros: i64) -> Self {
        Self(self.0.saturating_sub(u64::try_from(micros).unwrap_or(0)))
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
    told: Mutex<Option<Told>>,
}

/// How far ahead of this process's time the database's was, by one stream's heartbeats.
#[derive(Debug)]
struct Told {
    /// When the stream began.
    since: Moment,
    recent_us: VecDeque<i64>,
    best_us: i64,
    /// The snapshot was behind, and brought this: what is not past it tells nothing new.
    behind: Option<DatabaseTime>,
    /// The same as the best by when entries were read; a heartbeat's time may be older than its reading (T5).
    best_read_us: Option<i64>,
}

impl Told {
    /// By how much a message took longer than the least delayed one.
    fn late(&self, offset: i64, now: Moment) -> i64 {
        let drift = signed(now).saturating_sub(signed(self.since)) / DRIFT;
        self.best_us.saturating_sub(offset).saturating_sub(drift).max(0)
    }
}

/// How a snapshot's time fits to what was told before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// Time went on: it is a sign of life as of so many microseconds before it was asked for.
    Onward(i64),
    /// It is further behind than a message may be: the clock was set back, or whoever told it lives in the past. The next
    /// heartbeat tells which.
    Behind,
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
    pub(crate) fn begin(&self, time: DatabaseTime) -> Course {
        let now = self.moment();
        let offset = time.0.saturating_sub(signed(now));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let late = told.as_ref().map_or(0, |told| told.late(offset, now));
        let course = if late > LATE_AFTER_US { Course::Behind } else { Course::Onward(late) };
        let behind = (course == Course::Behind).then_some(time);
        *told = Some(Told { since: now, recent_us: VecDeque::from([offset]), best_us: offset, behind, best_read_us: None });
        self.offset_us.store(offset, Ordering::Relaxed);
        course
    }

    /// Takes the time a heartbeat brought, of a stream that has begun, and says as of when it is a sign of life: as much
    /// before now as it took longer than the least delayed one. One that comes late cannot turn the clock back, and one
    /// that comes too late is no sign of life; nor is, after a snapshot that was behind, one that tells nothing new.
    pub(crate) fn beat(&self, time: DatabaseTime) -> Result<Option<Moment>, Late> {
        let now = self.moment();
        let offset = time.0.saturating_sub(signed(now));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let told = told.as_mut().ok_or(Late)?;
        if offset < told.best_us.saturating_sub(LATE_AFTER_US) {
            return Err(Late);
        }
        told.best_us = told.best_us.max(offset);
        if told.recent_us.len() >= REMEMBERED {
            told.recent_us.pop_front();
        }
        told.recent_us.push_back(offset);
        self.offset_us.store(told.recent_us.iter().copied().max().unwrap_or(offset), Ordering::Relaxed);
        told.behind = told.behind.filter(|behind| time <= *behind);
        Ok(told.behind.is_none().then(|| now.before(told.late(offset, now))))
    }

    /// How long ago something happened at `happened`, that was read at `read` and has come just now: up to the reading by
    /// the database's clock, from there on by how much longer it took than the quickest message of this stream.
    pub(crate) fn age(&self, happened: DatabaseTime, read: DatabaseTime) -> Duration {
        let offset = read.0.saturating_sub(signed(self.moment()));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let best = match told.as_mut() {
            Some(told) => *told.best_read_us.insert(told.best_read_us.unwrap_or(offset).max(offset)),
            None => offset,
        };
        let age = read.0.saturating_sub(happened.0).max(0).saturating_add(best.saturating_sub(offset));
        Duration::from_micros(age.unsigned_abs())
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
    async fn t2_a_delayed_heartbeat_is_a_sign_of_life_as_of_when_it_was_sent() {
        let clock = DatabaseClock::new();
        assert_eq!(clock.begin(DatabaseTime(START)), Course::Onward(0));
        second().await;
        assert_eq!(clock.beat(DatabaseTime(START + 1_000_000)), Ok(Some(Moment(1_000_000))));
        advance(Duration::from_secs(4)).await;
        let sent = Moment(2_000_000 + 5_000_000 / DRIFT.unsigned_abs());
        assert_eq!(clock.beat(DatabaseTime(START + 2_000_000)), Ok(Some(sent)), "three seconds on its way");
    }

    #[tokio::test(start_paused = true)]
    async fn t2_clocks_that_drift_apart_are_not_taken_for_delay() {
        let clock = DatabaseClock::new();
        clock.begin(DatabaseTime(START));
        for beat in 1..=3_600 {
            second().await;
            let now = clock.moment();
            assert_eq!(clock.beat(DatabaseTime(START + beat * 999_850)), Ok(Some(now)), "150 microseconds a second");
        }
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
        assert_eq!(clock.begin(DatabaseTime(START + 1_000_000)), Course::Behind);
        assert_eq!(now(&clock), START + 1_000_000);
        assert_eq!(clock.beat(DatabaseTime(START + 1_000_000)), Ok(None), "the same again tells nothing");
        second().await;
        assert_eq!(clock.beat(DatabaseTime(START + 2_000_000)), Ok(Some(clock.moment())), "the clock was set back, and goes on");
        assert_eq!(clock.begin(DatabaseTime(START + 2_000_000)), Course::Onward(0));
    }

    #[tokio::test(start_paused = true)]
    async fn v1_the_age_of_a_revocation_is_read_off_the_databases_clock() {
        let clock = DatabaseClock::new();
        clock.begin(DatabaseTime(START));
        let read = |after: i64| DatabaseTime(START + after);
        assert_eq!(clock.age(read(0), read(15_000)), Duration::from_millis(15));
        second().await; // three milliseconds slower than the first
        assert_eq!(clock.age(read(1_000_000), read(1_012_000)), Duration::from_millis(12 + 3));
        assert_eq!(clock.age(read(9_000_000), read(1_015_000)), Duration::ZERO, "a clock that was set back");
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
