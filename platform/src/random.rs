//! Randomness as a parameter: the one generator of a process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::digest;
use rustix::{
    io::Errno,
    rand::{GetRandomFlags, getrandom},
};
use uuid::{Builder, Uuid};

use crate::clock::Timestamp;

/// Where a process draws randomness. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Random(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Seeded { seed: u64, drawn: Arc<AtomicU64> },
}

impl Random {
    /// The kernel's generator.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A reproducible sequence for tests; anything but secret.
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded { seed, drawn: Arc::new(AtomicU64::new(0)) })
    }

    /// Fresh random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// Fills a buffer.
    #[allow(clippy::panic)] // a process without randomness must not go on
    pub fn fill(&self, out: &mut [u8]) {
        match &self.0 {
            Source::System => {
                let mut left = out;
                while !left.is_empty() {
                    match getrandom(&mut *left, GetRandomFlags::empty()) {
                        Ok(filled) => left = left.get_mut(filled..).unwrap_or_default(),
                        Err(Errno::INTR) => {}
                        Err(error) => panic!("the system has no randomness to give: {error}"),
                    }
                }
            }
            Source::Seeded { seed, drawn } => {
                for chunk in out.chunks_mut(32) {
                    let count = drawn.fetch_add(1, Ordering::SeqCst);
                    let block = digest::digest(&digest::SHA256, &[seed.to_be_bytes(), count.to_be_bytes()].concat());
                    for (to, from) in chunk.iter_mut().zip(block.as_ref()) {
                        *to = *from;
                    }
                }
            }
        }
    }

    /// A random UUID (version 4).
    pub fn uuid_v4(&self) -> Uuid {
        Builder::from_random_bytes(self.bytes()).into_uuid()
    }

    /// A duration near this one, at most that share longer or shorter, so that a fleet does not act as one.
    pub fn jitter(&self, around: Duration, share: f64) -> Duration {
        let chance = f64::from(u32::from_be_bytes(self.bytes())) / f64::from(u32::MAX);
        around.mul_f64((1.0 + share * (2.0 * chance - 1.0)).max(0.0))
    }

    /// A UUID that sorts by time (version 7).
    pub fn uuid_v7(&self, now: Timestamp) -> Uuid {
        let millis = u64::try_from(now.as_micros() / 1_000).unwrap_or(0);
        Builder::from_unix_timestamp_millis(millis, &self.bytes()).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_sequence_and_the_system_never_does() {
        assert_eq!(Random::seeded(7).bytes::<40>(), Random::seeded(7).bytes::<40>());
        assert_ne!(Random::seeded(7).bytes::<16>(), Random::seeded(8).bytes::<16>());
        assert_ne!(Random::system().bytes::<16>(), Random::system().bytes::<16>());
    }

    #[test]
    fn version_7_sorts_by_time() {
        let random = Random::seeded(1);
        assert!(random.uuid_v7(Timestamp::from_secs(1)) < random.uuid_v7(Timestamp::from_secs(2)));
    }
}
