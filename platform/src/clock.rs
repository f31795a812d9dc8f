//! Time as a parameter: a timestamp type and the one clock of a process.

use std::{
    collections::VecDeque,
    fmt,
    ops::{Add, Sub},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use serde::{Serialize, Serializer};
use time::{
    OffsetDateTime,
    format_description::well_known::{Rfc2822, Rfc3339},
};
use tokio::time::Instant;

/// A point in time, in microseconds since the Unix epoch; what both databases store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The Unix epoch; stands for "never" in the contracts.
    pub const ZERO: Self = Self(0);
    /// Later than any other.
    pub const MAX: Self = Self(i64::MAX);

    /// From microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From seconds since the Unix epoch; saturates.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down (K2: `iat` is never ahead).
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The same, cut to the whole second.
    pub const fn floor_to_second(self) -> Self {
        Self::from_secs(self.as_secs())
    }

    /// How long after `earlier`; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// As letters have it: `Fri, 15 Jan 2027 08:00:00 +0000`. Empty past the year 9999.
    pub fn rfc2822(self) -> String {
        let second = OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1_000_000)).ok();
        second.and_then(|second| second.format(&Rfc2822).ok()).unwrap_or_default()
    }

    /// Parses RFC 3339.
    ///
    /// # Errors
    /// Where the text is not such a time.
    pub fn parse_rfc3339(text: &str) -> Result<Self, time::error::Parse> {
        let nanos = OffsetDateTime::parse(text, &Rfc3339)?.unix_timestamp_nanos();
        Ok(Self(i64::try_from(nanos / 1_000).unwrap_or(i64::MAX)))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(micros(later)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(micros(earlier)))
    }
}

/// RFC 3339 in UTC.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000).ok().and_then(|t| t.format(&Rfc3339).ok());
        match text {
            Some(text) => f.write_str(&text),
            None => write!(f, "{}us", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where a process reads the time. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<AtomicI64>),
    Following(Arc<Followed>),
}

#[derive(Debug)]
struct Followed {
    anchor: Instant,
    /// What the other clock is ahead of the time since `anchor`.
    ahead: AtomicI64,
}

impl Followed {
    fn elapsed(&self) -> i64 {
        micros(self.anchor.elapsed())
    }
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until its hand is moved.
    pub fn manual(at: Timestamp) -> (Self, ManualClock) {
        let hand = Arc::new(AtomicI64::new(at.as_micros()));
        (Self(Source::Manual(Arc::clone(&hand))), ManualClock(hand))
    }

    /// A clock that shows what another one shows, a database's, from what was last heard of it and how long ago that is; to begin with,
    /// what `begin` shows. None where `begin` is moved by hand: that one everybody sees.
    pub fn following(begin: &Self) -> (Self, Option<Follower>) {
        if matches!(begin.0, Source::Manual(_)) {
            return (begin.clone(), None);
        }
        let followed = Arc::new(Followed { anchor: Instant::now(), ahead: AtomicI64::new(begin.now().as_micros()) });
        (Self(Source::Following(Arc::clone(&followed))), Some(Follower { followed, heard: Arc::default() }))
    }

    /// The time.
    #[allow(clippy::disallowed_methods)] // the one place that asks the machine
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::Manual(hand) => Timestamp(hand.load(Ordering::SeqCst)),
            Source::Following(followed) => Timestamp(followed.ahead.load(Ordering::Relaxed).saturating_add(followed.elapsed())),
            Source::System => match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
                Ok(since) => Timestamp(micros(since)),
                Err(before) => Timestamp(-micros(before.duration())),
            },
        }
    }
}

/// What was heard lately: as much as it takes to tell the least delayed answer.
const HEARD: usize = 64;

/// Tells a clock what the one shows that it follows. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Follower {
    followed: Arc<Followed>,
    heard: Arc<Mutex<VecDeque<i64>>>,
}

impl Follower {
    /// The other clock showed this at some time before now. Of the last answers the least delayed counts, so that the clock is late by
    /// the way of one answer at most and never early, but after a step back, which it follows once it has heard of nothing else.
    pub fn heard(&self, shown: Timestamp) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() == HEARD {
            heard.pop_front();
        }
        heard.push_back(shown.as_micros().saturating_sub(self.followed.elapsed()));
        self.followed.ahead.store(heard.iter().copied().max().unwrap_or_default(), Ordering::Relaxed);
    }
}

/// The hand of a manual clock.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// Sets the time, forwards or back.
    pub fn set(&self, at: Timestamp) {
        self.0.store(at.as_micros(), Ordering::SeqCst);
    }

    /// Moves the time forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(micros(by), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k2_seconds_round_down_also_before_the_epoch() {
        assert_eq!(Timestamp::from_micros(1_999_999).as_secs(), 1);
        assert_eq!(Timestamp::from_micros(-1).as_secs(), -1);
        assert_eq!(Timestamp::from_micros(1_999_999).floor_to_second(), Timestamp::from_secs(1));
    }

    #[test]
    fn a_manual_clock_stands_still_until_moved() {
        let (clock, hand) = Clock::manual(Timestamp::from_secs(10));
        assert_eq!(clock.now(), clock.now());
        hand.advance(Duration::from_secs(5));
        assert_eq!(clock.now(), Timestamp::from_secs(15));
    }

    #[tokio::test(start_paused = true)]
    async fn t4_a_clock_that_follows_shows_the_others_time_and_follows_its_steps() {
        let (clock, follower) = Clock::following(&Clock::system());
        let follower = follower.unwrap();
        let at = Timestamp::from_secs;
        follower.heard(at(1_000));
        assert_eq!(clock.now(), at(1_000));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(clock.now(), at(1_005), "between two answers it goes on by itself");
        follower.heard(at(1_002));
        assert_eq!(clock.now(), at(1_005), "an answer that took long turns nothing back");
        follower.heard(at(4_000));
        assert_eq!(clock.now(), at(4_000), "a step forward is followed at once");
        (0..HEARD).for_each(|_| follower.heard(at(500)));
        assert_eq!(clock.now(), at(500), "and one back when nothing else is heard any more");
        assert!(Clock::following(&Clock::manual(at(1)).0).1.is_none(), "a clock with a hand is everybody's");
    }

    #[test]
    fn times_print_as_rfc_3339_and_read_back() {
        let at = Timestamp::from_micros(1_750_000_000_250_000);
        assert_eq!(at.to_string(), "2025-06-15T15:06:40.25Z");
        assert_eq!(Timestamp::parse_rfc3339(&at.to_string()).unwrap(), at);
    }
}
