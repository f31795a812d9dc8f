//! Turns sign-ins away without asking anybody, for a moment after auth-service had no room for one (C3).
//!
//! Its queue is full for as long as more come than can be hashed, and each that is told so by auth-service costs a trip there. So after
//! the first such answer the door stays shut for a part of the time that it named, at most [`SHUT`]: long enough to spare nearly all of
//! those trips, too short for the queue to run empty meanwhile. One door for all replicas of auth-service: calls are spread over them by
//! what they cost, so that their queues are about as long.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use metrics::{Counter, counter, describe_counter};
use tokio::time::Instant;

/// How long it stays shut, at most.
const SHUT: Duration = Duration::from_millis(500);
/// Of the time after which it is worth trying again, it stays shut for one in so many parts.
const PART: u32 = 4;
/// Multiples of the golden ratio, as a part of 2^32: each falls into the largest gap that those before it left.
const GOLDEN: u32 = 0x9E37_79B9;

/// See the file's first line.
#[derive(Debug)]
pub(crate) struct Door {
    began: Instant,
    /// Until when it is shut, in microseconds since it began.
    shut_until: AtomicU64,
    /// When it is worth trying again, likewise.
    worth_at: AtomicU64,
    scatter: AtomicU32,
    turned_away: Counter,
}

impl Door {
    pub(crate) fn new() -> Self {
        let name = "carelink_sign_ins_turned_away_total";
        describe_counter!(name, "Sign-ins turned away without asking auth-service, whose queue had been full a moment before");
        let (shut_until, worth_at) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { began: Instant::now(), shut_until, worth_at, scatter: AtomicU32::new(0), turned_away: counter!(name) }
    }

    fn now(&self) -> u64 {
        micros(self.began.elapsed())
    }

    /// auth-service had no room, and has none before that.
    pub(crate) fn shut(&self, retry_after: Duration) {
        let now = self.now();
        self.worth_at.fetch_max(now.saturating_add(micros(retry_after)), Ordering::Relaxed);
        self.shut_until.fetch_max(now.saturating_add(micros((retry_after / PART).min(SHUT))), Ordering::Relaxed);
    }

    /// Whether somebody may try; or how long it takes until that is worth it, scattered over one to two times what is left, so that
    /// those who were turned away together do not come back together.
    pub(crate) fn pass(&self) -> Result<(), Duration> {
        let shut_until = self.shut_until.load(Ordering::Relaxed);
        if shut_until == 0 {
            return Ok(());
        }
        let now = self.now();
        if now >= shut_until {
            return Ok(());
        }
        self.turned_away.increment(1);
        let left = Duration::from_micros(self.worth_at.load(Ordering::Relaxed).max(shut_until) - now);
        let share = f64::from(self.scatter.fetch_add(GOLDEN, Ordering::Relaxed)) / f64::from(u32::MAX);
        Err(left + left.mul_f64(share))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[tokio::test(start_paused = true)]
    async fn c3_a_door_stays_shut_for_a_part_of_the_time_and_half_a_second_at_most() {
        for (told, shut) in [(ms(100), ms(25)), (ms(1_000), ms(250)), (ms(2_000), ms(500)), (ms(60_000), ms(500))] {
            let door = Door::new();
            assert_eq!(door.pass(), Ok(()));
            door.shut(told);
            sleep(shut - ms(1)).await;
            assert!(door.pass().is_err(), "{told:?}");
            sleep(ms(1)).await;
            assert_eq!(door.pass(), Ok(()), "{told:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn c3_who_is_turned_away_hears_when_it_is_worth_trying_again_and_not_all_the_same() {
        let door = Door::new();
        door.shut(ms(4_000));
        sleep(ms(100)).await;
        let told: Vec<Duration> = (0..100).map(|_| door.pass().unwrap_err()).collect();
        assert!(told.iter().all(|after| (ms(3_900)..=ms(7_800)).contains(after)), "{told:?}");
        let early = told.iter().filter(|after| **after < ms(5_850)).count();
        assert!((40..=60).contains(&early), "{early} of 100 in the first half");
    }

    #[tokio::test(start_paused = true)]
    async fn c3_answers_that_come_late_shorten_nothing() {
        let door = Door::new();
        door.shut(ms(2_000));
        door.shut(ms(100));
        sleep(ms(400)).await;
        assert!(door.pass().unwrap_err() >= ms(1_600));
    }
}
