//! What a hash costs: its parameters without salt and digest, as text for the database and as work for the pool.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Argon2Hash, Argon2Variant, BcryptHash, Encoded, Md5Hash, Pbkdf2Hash, Prehash, Prf, Refused, ScryptHash, run};

/// C3: the most memory one stored hash may ask for.
pub(super) const MAX_MEMORY_KIB: u32 = 256 * 1024;
/// The most passes of one Argon2 hash over its memory.
const MAX_ARGON2_ITERATIONS: u32 = 64;
/// The most KiB one Argon2 hash may fill in all its passes: about a second.
const MAX_ARGON2_WORK_KIB: u64 = 4 * 1024 * 1024;
const MAX_ARGON2_LANES: u32 = 64;
/// C3: the most PBKDF2 rounds.
const MAX_PBKDF2_ROUNDS: u32 = 10_000_000;
/// bcrypt's exponent: 15 takes about two seconds, 12 is Django's.
const BCRYPT_LOG_ROUNDS: std::ops::RangeInclusive<u32> = 4..=15;
/// The most block mixes (N r p) of one scrypt hash: 25 times Django's.
const MAX_SCRYPT_WORK: u64 = 16 * 1024 * 1024;
const MAX_SCRYPT_BLOCK_SIZE: u32 = 64;
const MAX_SCRYPT_PARALLELISM: u32 = 64;

carelink_platform::settings! {
    /// Argon2's parameters; `password.argon2` in the configuration.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct Argon2Cost {
        /// Memory in KiB.
        pub memory_kib: u32,
        /// Passes over the memory.
        pub iterations: u32,
        /// Lanes.
        pub parallelism: u32,
    }
}

impl Default for Argon2Cost {
    fn default() -> Self {
        Self { memory_kib: 19_456, iterations: 2, parallelism: 1 }
    }
}

impl Argon2Cost {
    /// Refuses what Argon2 cannot do and what the caps forbid.
    pub fn validate(self) -> Result<Self, Refused> {
        if self.iterations == 0 || self.parallelism == 0 || self.parallelism > MAX_ARGON2_LANES || self.memory_kib < 8 * self.parallelism {
            return Err(Refused::Malformed);
        }
        let work = u64::from(self.memory_kib) * u64::from(self.iterations);
        if self.memory_kib > MAX_MEMORY_KIB || self.iterations > MAX_ARGON2_ITERATIONS || work > MAX_ARGON2_WORK_KIB {
            return Err(Refused::TooCostly);
        }
        Ok(self)
    }
}

/// A hasher with its parameters: all that its cost depends on. Its text is what `users.cost_class` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CostClass {
    /// `argon2id:19456:2:1`
    Argon2(Argon2Variant, Argon2Cost),
    /// `pbkdf2_sha256:1000000`
    Pbkdf2(Prf, u32),
    /// `bcrypt_sha256:12`
    Bcrypt(Prehash, u32),
    /// `scrypt:14:8:5`, the first being log2 N
    Scrypt(u8, u32, u32),
    /// `md5`
    Md5,
}

/// What one check takes, in units that a rate per hasher turns into time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// KiB filled, rounds or block mixes.
    pub units: u64,
    /// Memory held meanwhile, in KiB.
    pub memory_kib: u64,
}

impl CostClass {
    /// The hasher's name as users and reports know it.
    pub fn hasher(self) -> &'static str {
        match self {
            Self::Argon2(Argon2Variant::Id, _) => "argon2id",
            Self::Argon2(Argon2Variant::I, _) => "argon2i",
            Self::Argon2(Argon2Variant::D, _) => "argon2d",
            Self::Pbkdf2(Prf::Sha256, _) => "pbkdf2_sha256",
            Self::Pbkdf2(Prf::Sha1, _) => "pbkdf2_sha1",
            Self::Bcrypt(Prehash::Sha256, _) => "bcrypt_sha256",
            Self::Bcrypt(Prehash::None, _) => "bcrypt",
            Self::Scrypt(..) => "scrypt",
            Self::Md5 => "md5",
        }
    }

    /// What one check takes.
    pub fn work(self) -> Work {
        match self {
            Self::Argon2(_, cost) => {
                Work { units: u64::from(cost.memory_kib) * u64::from(cost.iterations), memory_kib: u64::from(cost.memory_kib) }
            }
            Self::Pbkdf2(_, rounds) => Work { units: u64::from(rounds), memory_kib: 0 },
            Self::Bcrypt(_, log_rounds) => Work { units: 1 << log_rounds.min(31), memory_kib: 0 },
            Self::Scrypt(log_n, block_size, parallelism) => {
                let blocks = (1_u64 << log_n.min(31)) * u64::from(block_size);
                Work { units: blocks * u64::from(parallelism), memory_kib: (blocks + u64::from(block_size) * u64::from(parallelism)) / 8 }
            }
            Self::Md5 => Work { units: 1, memory_kib: 0 },
        }
    }

    /// Refuses what exceeds the caps.
    pub(super) fn validate(self) -> Result<Self, Refused> {
        match self {
            Self::Argon2(_, cost) => cost.validate().map(|_| ())?,
            Self::Pbkdf2(_, 0) => return Err(Refused::Malformed),
            Self::Pbkdf2(_, rounds) if rounds > MAX_PBKDF2_ROUNDS => return Err(Refused::TooCostly),
            Self::Bcrypt(_, log_rounds) if log_rounds > *BCRYPT_LOG_ROUNDS.end() => return Err(Refused::TooCostly),
            Self::Bcrypt(_, log_rounds) if !BCRYPT_LOG_ROUNDS.contains(&log_rounds) => return Err(Refused::Malformed),
            Self::Scrypt(log_n, block_size, parallelism) => {
                if log_n == 0 || block_size == 0 || parallelism == 0 {
                    return Err(Refused::Malformed);
                }
                if log_n > 24 || block_size > MAX_SCRYPT_BLOCK_SIZE || parallelism > MAX_SCRYPT_PARALLELISM {
                    return Err(Refused::TooCostly);
                }
                let work = self.work();
                if work.memory_kib > u64::from(MAX_MEMORY_KIB) + 1024 || work.units > MAX_SCRYPT_WORK {
                    return Err(Refused::TooCostly);
                }
            }
            Self::Pbkdf2(..) | Self::Bcrypt(..) | Self::Md5 => {}
        }
        Ok(self)
    }

    /// A hash of this class that no password is meant to fit: what unknown names are tried against.
    pub fn dummy(self) -> Encoded {
        let salt = b"carelink-dummy-s".to_vec();
        match self {
            Self::Argon2(variant, cost) => {
                Encoded::Argon2(Argon2Hash { variant, version: run::ARGON2_VERSION, cost, salt, digest: vec![0; run::DIGEST_BYTES] })
            }
            Self::Pbkdf2(prf, rounds) => Encoded::Pbkdf2(Pbkdf2Hash { prf, rounds, salt, digest: vec![0; prf.digest_bytes()] }),
            Self::Bcrypt(prehash, log_rounds) => {
                Encoded::Bcrypt(BcryptHash { prehash, log_rounds, salt: *b"carelink-dummy-s", digest: vec![0; run::BCRYPT_DIGEST_BYTES] })
            }
            Self::Scrypt(log_n, block_size, parallelism) => {
                Encoded::Scrypt(ScryptHash { log_n, block_size, parallelism, salt, digest: vec![0; run::SCRYPT_DIGEST_BYTES] })
            }
            Self::Md5 => Encoded::Md5(Md5Hash { salt, digest: vec![0; run::MD5_DIGEST_BYTES] }),
        }
    }
}

impl Prf {
    /// How long its output is.
    pub(super) fn digest_bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }
}

impl fmt::Display for CostClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.hasher())?;
        match self {
            Self::Argon2(_, cost) => write!(f, ":{}:{}:{}", cost.memory_kib, cost.iterations, cost.parallelism),
            Self::Pbkdf2(_, rounds) => write!(f, ":{rounds}"),
            Self::Bcrypt(_, log_rounds) => write!(f, ":{log_rounds}"),
            Self::Scrypt(log_n, block_size, parallelism) => write!(f, ":{log_n}:{block_size}:{parallelism}"),
            Self::Md5 => Ok(()),
        }
    }
}

impl FromStr for CostClass {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let numbers = parts.map(|part| part.parse::<u32>().map_err(|_| Refused::Malformed)).collect::<Result<Vec<_>, _>>()?;
        let argon2 = |variant| match *numbers.as_slice() {
            [memory_kib, iterations, parallelism] => Ok(Self::Argon2(variant, Argon2Cost { memory_kib, iterations, parallelism })),
            _ => Err(Refused::Malformed),
        };
        let class = match (name, numbers.as_slice()) {
            ("argon2id", _) => argon2(Argon2Variant::Id)?,
            ("argon2i", _) => argon2(Argon2Variant::I)?,
            ("argon2d", _) => argon2(Argon2Variant::D)?,
            ("pbkdf2_sha256", &[rounds]) => Self::Pbkdf2(Prf::Sha256, rounds),
            ("pbkdf2_sha1", &[rounds]) => Self::Pbkdf2(Prf::Sha1, rounds),
            ("bcrypt_sha256", &[log_rounds]) => Self::Bcrypt(Prehash::Sha256, log_rounds),
            ("bcrypt", &[log_rounds]) => Self::Bcrypt(Prehash::None, log_rounds),
            ("scrypt", &[log_n, r, p]) => Self::Scrypt(u8::try_from(log_n).map_err(|_| Refused::TooCostly)?, r, p),
            ("md5", &[]) => Self::Md5,
            _ => return Err(Refused::Unknown),
        };
        class.validate()
    }
}
