//! The section `password`.

use std::{num::NonZeroUsize, thread, time::Duration};

use carelink_platform::config::{ConfigError, Settings, duration};
use serde::{Deserialize, Serialize};

use crate::domain::hasher::Argon2Cost;

/// 300 MiB at the default cost, and some 1,500 sign-ins a second: who needs more says so.
const MAX_DEFAULT_THREADS: usize = 16;

carelink_platform::settings! {
    /// How passwords are checked and kept.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct Config {
        /// Whether Django's salted MD5 hashes open an account.
        pub allow_md5: bool,
        /// When a failed sign-in is answered at the earliest, from when its hashing began (C3).
        #[serde(with = "duration")]
        pub failure_floor: Duration,
        /// What new hashes cost; stored Argon2 hashes of another cost are rewritten.
        pub argon2: Argon2Cost,
        /// The least number of characters of a new password (C7).
        pub min_length: usize,
        /// How many threads hash, each with its memory; 0 for one per core but one, at least one and at most 16.
        pub threads: usize,
        /// How long a sign-in may wait for its turn; past it the answer is 429.
        #[serde(with = "duration")]
        pub queue: Duration,
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            allow_md5: false,
            failure_floor: Duration::from_millis(400),
            argon2: Argon2Cost::default(),
            min_length: 15,
            threads: 0,
            queue: Duration::from_secs(5),
        }
    }
}

impl Config {
    /// Reads and validates the section.
    ///
    /// # Errors
    /// Names the key and what would be right.
    pub fn read(settings: &mut Settings) -> Result<Self, ConfigError> {
        let config: Self = settings.section("password")?;
        config.validate()?;
        Ok(config)
    }

    /// Refuses what cannot work.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, message: &str| Err(ConfigError::invalid(format!("password.{key}"), message));
        if self.argon2.validate().is_err() {
            return refuse(
                "argon2",
                "memory_kib from 8 times parallelism to 262144, iterations from 1 to 64, parallelism from 1 to 64, \
                 memory times iterations at most 4194304",
            );
        }
        if !(8..=64).contains(&self.min_length) {
            return refuse("min_length", "from 8 (where a second factor is) to 64; 15 by default");
        }
        if self.failure_floor > Duration::from_secs(5) {
            return refuse("failure_floor", "at most 5s");
        }
        if self.queue < Duration::from_millis(100) || self.queue > Duration::from_secs(8) {
            return refuse("queue", "from 100ms to 8s: a sign-in is given up after 10s");
        }
        if self.threads > 1_024 {
            return refuse("threads", "at most 1024; 0 for one per core but one");
        }
        Ok(())
    }

    /// Whether new hashes cost less than OWASP's cheapest recommendation (7 MiB, five passes).
    pub fn cheap(&self) -> bool {
        u64::from(self.argon2.memory_kib) * u64::from(self.argon2.iterations) < 5 * 7_168
    }

    /// How many threads hash: unless told otherwise, a flood of sign-ins leaves a core to everybody else.
    pub fn hashing_threads(&self) -> usize {
        match self.threads {
            0 => default_threads(thread::available_parallelism().map_or(1, NonZeroUsize::get)),
            threads => threads,
        }
    }
}

fn default_threads(cores: usize) -> usize {
    cores.saturating_sub(1).clamp(1, MAX_DEFAULT_THREADS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_documented_ones_and_valid() {
        let config = Config::default();
        config.validate().unwrap();
        assert_eq!(config.argon2, Argon2Cost { memory_kib: 19_456, iterations: 2, parallelism: 1 });
        assert_eq!((config.allow_md5, config.failure_floor, config.min_length), (false, Duration::from_millis(400), 15));
        assert!(config.hashing_threads() >= 1 && !config.cheap());
    }

    #[test]
    fn c3_hashing_leaves_a_core_to_everybody_else() {
        assert_eq!([1, 2, 4, 17, 64].map(default_threads), [1, 1, 3, 16, 16]);
        assert_eq!(Config { threads: 64, ..Config::default() }.hashing_threads(), 64);
    }

    #[test]
    fn what_cannot_work_is_named() {
        let argon2 = |memory_kib, iterations, parallelism| Argon2Cost { memory_kib, iterations, parallelism };
        for (config, key) in [
            (Config { argon2: argon2(300_000, 1, 1), ..Config::default() }, "password.argon2"),
            (Config { argon2: argon2(19_456, 0, 1), ..Config::default() }, "password.argon2"),
            (Config { argon2: argon2(7, 1, 1), ..Config::default() }, "password.argon2"),
            (Config { min_length: 4, ..Config::default() }, "password.min_length"),
            (Config { queue: Duration::ZERO, ..Config::default() }, "password.queue"),
            (Config { failure_floor: Duration::from_secs(60), ..Config::default() }, "password.failure_floor"),
        ] {
            assert!(config.validate().unwrap_err().to_string().contains(key), "{key}");
        }
    }
}
