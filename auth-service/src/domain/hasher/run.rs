//! Runs a hasher: the only place that computes, always on a thread of the pool and in its memory.

use std::num::NonZeroU32;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::{constant_time, digest, pbkdf2};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use md5::{Digest, Md5};
use zeroize::Zeroizing;

use super::{
    Argon2Cost, Argon2Hash, Argon2Variant, BcryptHash, Encoded, Md5Hash, Pbkdf2Hash, Prehash, Prf, ScryptHash, parse::BCRYPT_BASE64,
};

pub(super) const ARGON2_VERSION: u32 = 19;
pub(super) const DIGEST_BYTES: usize = 32;
pub(super) const SALT_BYTES: usize = 16;
pub(super) const BCRYPT_DIGEST_BYTES: usize = 23;
const BCRYPT_DIGEST_CHARACTERS: usize = 31;
pub(super) const SCRYPT_DIGEST_BYTES: usize = 64;
pub(super) const MD5_DIGEST_BYTES: usize = 16;

/// The blocks Argon2 works in, kept from one hash to the next up to a size and given back above it.
pub struct Memory {
    blocks: Vec<Block>,
    keep: usize,
}

impl Memory {
    /// Nothing is allocated before the first hash; at most `keep_kib` KiB stay afterwards.
    pub fn keeping(keep_kib: u32) -> Self {
        Self { blocks: Vec::new(), keep: usize::try_from(keep_kib).unwrap_or(usize::MAX) }
    }

    /// How much is held now, in KiB.
    pub fn held_kib(&self) -> usize {
        self.blocks.len()
    }

    fn with<T>(&mut self, count: usize, work: impl FnOnce(&mut [Block]) -> T) -> T {
        if count > self.keep {
            return work(&mut vec![Block::new(); count]);
        }
        if self.blocks.len() < count {
            self.blocks = Vec::new(); // give back first: never both at once
            self.blocks = vec![Block::new(); count];
        }
        let (blocks, _) = self.blocks.split_at_mut(count);
        work(blocks)
    }
}

impl Encoded {
    /// Whether `password` fits, byte for byte.
    pub fn fits(&self, password: &[u8], memory: &mut Memory) -> bool {
        match self {
            Self::Argon2(hash) => hash.fits(password, memory),
            Self::Pbkdf2(hash) => hash.fits(password),
            Self::Bcrypt(hash) => hash.fits(password),
            Self::Scrypt(hash) => hash.fits(password),
            Self::Md5(hash) => hash.fits(password),
        }
    }
}

/// Hashes a password as ours are: Argon2id in PHC form.
pub fn encode_argon2id(password: &[u8], salt: &[u8; SALT_BYTES], cost: Argon2Cost, memory: &mut Memory) -> Option<String> {
    let mut digest = Zeroizing::new([0; DIGEST_BYTES]);
    argon2(Argon2Variant::Id, ARGON2_VERSION, cost, password, salt, &mut *digest, memory)?;
    let Argon2Cost { memory_kib, iterations, parallelism } = cost;
    let (salt, digest) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(digest));
    Some(format!("$argon2id$v={ARGON2_VERSION}$m={memory_kib},t={iterations},p={parallelism}${salt}${digest}"))
}

fn argon2(
    variant: Argon2Variant,
    version: u32,
    cost: Argon2Cost,
    password: &[u8],
    salt: &[u8],
    out: &mut [u8],
    memory: &mut Memory,
) -> Option<()> {
    let algorithm = match variant {
        Argon2Variant::D => Algorithm::Argon2d,
        Argon2Variant::I => Algorithm::Argon2i,
        Argon2Variant::Id => Algorithm::Argon2id,
    };
    let version = if version == ARGON2_VERSION { Version::V0x13 } else { Version::V0x10 };
    let params = Params::new(cost.memory_kib, cost.iterations, cost.parallelism, Some(out.len())).ok()?;
    let count = params.block_count();
    let hasher = Argon2::new(algorithm, version, params);
    memory.with(count, |blocks| hasher.hash_password_into_with_memory(password, salt, out, blocks)).ok()
}

impl Argon2Hash {
    fn fits(&self, password: &[u8], memory: &mut Memory) -> bool {
        let mut digest = Zeroizing::new(vec![0; self.digest.len()]);
        argon2(self.variant, self.version, self.cost, password, &self.salt, &mut digest, memory).is_some() && equal(&self.digest, &digest)
    }
}

impl Pbkdf2Hash {
    fn fits(&self, password: &[u8]) -> bool {
        let Some(rounds) = NonZeroU32::new(self.rounds) else { return false };
        let algorithm = match self.prf {
            Prf::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Prf::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        };
        pbkdf2::verify(algorithm, rounds, &self.salt, password, &self.digest).is_ok()
    }
}

impl BcryptHash {
    fn fits(&self, password: &[u8]) -> bool {
        let given = match self.prehash {
            Prehash::None => Zeroizing::new(password.to_vec()),
            Prehash::Sha256 => Zeroizing::new(hex::encode(digest::digest(&digest::SHA256, password)).into_bytes()),
        };
        let Ok(text) = bcrypt::hash_with_salt_bytes(&*given, self.log_rounds, self.salt) else { return false };
        let Some(digest) = text.last_chunk::<BCRYPT_DIGEST_CHARACTERS>() else { return false };
        BCRYPT_BASE64.decode(digest).is_ok_and(|digest| equal(&self.digest, &digest))
    }
}

impl ScryptHash {
    fn fits(&self, password: &[u8]) -> bool {
        let Ok(params) = scrypt::Params::new(self.log_n, self.block_size, self.parallelism) else { return false };
        let mut digest = Zeroizing::new([0; SCRYPT_DIGEST_BYTES]);
        scrypt::scrypt(password, &self.salt, &params, &mut *digest).is_ok() && equal(&self.digest, &*digest)
    }
}

impl Md5Hash {
    fn fits(&self, password: &[u8]) -> bool {
        equal(&self.digest, &Md5::new().chain_update(&self.salt).chain_update(password).finalize())
    }
}

fn equal(stored: &[u8], computed: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(stored, computed).is_ok()
}
