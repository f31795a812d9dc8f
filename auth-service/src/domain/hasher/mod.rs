//! Stored password hashes: what each of Django's formats means, what it costs, whether a password fits.
//!
//! A hash is parsed once into [`Encoded`], whose parameters are inside the caps of C3; from there on nothing can fail
//! for what the text said. Our own hashes are PHC strings (`$argon2id$v=19$..`), Django's carry their hasher's name first.

mod cost;
mod parse;
mod run;
#[cfg(test)]
mod tests;

use std::fmt;

pub use cost::{Argon2Cost, CostClass, Work};
pub use parse::{family, parse};
pub use run::{Memory, encode_argon2id};

/// A stored password: usable or not.
#[derive(Clone, PartialEq, Eq)]
pub enum Stored {
    /// Django's `!`: no password opens it.
    Unusable,
    /// A hash a password may fit.
    Usable(Encoded),
}

/// A parsed hash, its parameters within the caps.
#[derive(Clone, PartialEq, Eq)]
pub enum Encoded {
    /// Argon2 in any variant and version.
    Argon2(Argon2Hash),
    /// PBKDF2 over HMAC.
    Pbkdf2(Pbkdf2Hash),
    /// bcrypt, over the password itself or over its SHA-256 in hexadecimal.
    Bcrypt(BcryptHash),
    /// scrypt with 64 bytes of output.
    Scrypt(ScryptHash),
    /// Salted MD5, only where `password.allow_md5` says so.
    Md5(Md5Hash),
}

/// An Argon2 hash.
#[derive(Clone, PartialEq, Eq)]
pub struct Argon2Hash {
    pub(crate) variant: Argon2Variant,
    pub(crate) version: u32,
    pub(crate) cost: Argon2Cost,
    pub(crate) salt: Vec<u8>,
    pub(crate) digest: Vec<u8>,
}

/// Which Argon2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Argon2Variant {
    /// Data dependent.
    D,
    /// Data independent.
    I,
    /// The hybrid, ours.
    Id,
}

/// A PBKDF2 hash.
#[derive(Clone, PartialEq, Eq)]
pub struct Pbkdf2Hash {
    pub(crate) prf: Prf,
    pub(crate) rounds: u32,
    pub(crate) salt: Vec<u8>,
    pub(crate) digest: Vec<u8>,
}

/// PBKDF2's pseudo-random function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Prf {
    /// HMAC-SHA-1.
    Sha1,
    /// HMAC-SHA-256.
    Sha256,
}

/// A bcrypt hash.
#[derive(Clone, PartialEq, Eq)]
pub struct BcryptHash {
    pub(crate) prehash: Prehash,
    pub(crate) log_rounds: u32,
    pub(crate) salt: [u8; 16],
    pub(crate) digest: Vec<u8>,
}

/// What bcrypt is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Prehash {
    /// The password, of which it reads 72 bytes.
    None,
    /// SHA-256 of the password in hexadecimal.
    Sha256,
}

/// A scrypt hash.
#[derive(Clone, PartialEq, Eq)]
pub struct ScryptHash {
    pub(crate) log_n: u8,
    pub(crate) block_size: u32,
    pub(crate) parallelism: u32,
    pub(crate) salt: Vec<u8>,
    pub(crate) digest: Vec<u8>,
}

/// A salted MD5 hash.
#[derive(Clone, PartialEq, Eq)]
pub struct Md5Hash {
    pub(crate) salt: Vec<u8>,
    pub(crate) digest: Vec<u8>,
}

/// Why a stored hash is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No hasher of that name.
    #[error("no hasher of that name is known")]
    Unknown,
    /// The hasher is known, the text does not fit it.
    #[error("the hash does not have its hasher's form")]
    Malformed,
    /// Its parameters exceed the caps of C3.
    #[error("the hash asks for more memory or time than is allowed")]
    TooCostly,
}

impl Refused {
    /// The stable reason of an import's report.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Unknown => "hasher_unknown",
            Self::Malformed => "hash_malformed",
            Self::TooCostly => "hash_too_costly",
        }
    }
}

impl Stored {
    /// The hasher's name as users and reports know it.
    pub fn hasher(&self) -> &'static str {
        match self {
            Self::Unusable => "unusable",
            Self::Usable(encoded) => encoded.hasher(),
        }
    }

    /// The class of cost, for what a password can be tried against.
    pub fn cost_class(&self) -> Option<CostClass> {
        match self {
            Self::Unusable => None,
            Self::Usable(encoded) => Some(encoded.cost_class()),
        }
    }
}

impl Encoded {
    /// The hasher's name as users and reports know it.
    pub fn hasher(&self) -> &'static str {
        self.cost_class().hasher()
    }

    /// What checking it costs.
    pub fn cost_class(&self) -> CostClass {
        match self {
            Self::Argon2(hash) => CostClass::Argon2(hash.variant, hash.cost),
            Self::Pbkdf2(hash) => CostClass::Pbkdf2(hash.prf, hash.rounds),
            Self::Bcrypt(hash) => CostClass::Bcrypt(hash.prehash, hash.log_rounds),
            Self::Scrypt(hash) => CostClass::Scrypt(hash.log_n, hash.block_size, hash.parallelism),
            Self::Md5(_) => CostClass::Md5,
        }
    }

    /// Whether it is to be written anew once its password is known: everything but Argon2id at exactly `configured`.
    pub fn outdated(&self, configured: Argon2Cost) -> bool {
        let Self::Argon2(hash) = self else { return true };
        hash.variant != Argon2Variant::Id
            || hash.version != run::ARGON2_VERSION
            || hash.cost != configured
            || hash.digest.len() != run::DIGEST_BYTES
            || hash.salt.len() < run::SALT_BYTES
    }
}

// Neither salts nor digests belong in a log.
impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoded({})", self.cost_class())
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable => f.write_str("Stored(unusable)"),
            Self::Usable(encoded) => write!(f, "Stored({})", encoded.cost_class()),
        }
    }
}
