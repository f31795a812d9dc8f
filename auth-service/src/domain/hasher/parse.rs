//! Reads a stored hash. Whatever it is given it answers, and never with a panic.

use base64::{
    Engine,
    alphabet::{BCRYPT, STANDARD as STANDARD_ALPHABET},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};

use super::{
    Argon2Cost, Argon2Hash, Argon2Variant, BcryptHash, Encoded, Md5Hash, Pbkdf2Hash, Prehash, Prf, Refused, ScryptHash, Stored,
    run::{BCRYPT_DIGEST_BYTES, MD5_DIGEST_BYTES, SCRYPT_DIGEST_BYTES},
};

/// Django's column holds 128 characters; a custom model's may hold more, nobody's holds this many.
const MAX_ENCODED_BYTES: usize = 512;
const MIN_ARGON2_DIGEST_BYTES: usize = 16;
const MAX_ARGON2_DIGEST_BYTES: usize = 64;
const MIN_ARGON2_SALT_BYTES: usize = 8;
const MAX_SALT_BYTES: usize = 128;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent);
/// PHC's base64: no padding, trailing bits as they come.
const PHC_BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD_ALPHABET, LENIENT);
/// bcrypt's own alphabet; its last character carries bits that nobody reads.
pub(super) const BCRYPT_BASE64: GeneralPurpose = GeneralPurpose::new(&BCRYPT, LENIENT.with_decode_allow_trailing_bits(true));

/// Reads a stored hash: Django's, or one of ours.
pub fn parse(text: &str) -> Result<Stored, Refused> {
    if text.is_empty() || text.starts_with('!') {
        return Ok(Stored::Unusable); // Django lets nobody in with an empty one either
    }
    if text.len() > MAX_ENCODED_BYTES || text.contains('\0') {
        return Err(Refused::Malformed);
    }
    let (name, rest) = text.split_once('$').ok_or(Refused::Unknown)?;
    let encoded = match name {
        "" | "argon2" => Encoded::Argon2(argon2(rest)?),
        "pbkdf2_sha256" => Encoded::Pbkdf2(pbkdf2(Prf::Sha256, rest)?),
        "pbkdf2_sha1" => Encoded::Pbkdf2(pbkdf2(Prf::Sha1, rest)?),
        "bcrypt_sha256" => Encoded::Bcrypt(bcrypt(Prehash::Sha256, rest)?),
        "bcrypt" => Encoded::Bcrypt(bcrypt(Prehash::None, rest)?),
        "scrypt" => Encoded::Scrypt(scrypt(rest)?),
        "md5" => Encoded::Md5(md5(rest)?),
        _ => return Err(Refused::Unknown),
    };
    encoded.cost_class().validate()?;
    Ok(Stored::Usable(encoded))
}

/// What Django calls the hasher of a stored hash, whether or not the rest of it can be read.
pub fn family(text: &str) -> &'static str {
    const NAMES: [&str; 7] = ["argon2", "pbkdf2_sha256", "pbkdf2_sha1", "bcrypt_sha256", "bcrypt", "scrypt", "md5"];
    if text.is_empty() || text.starts_with('!') {
        return "unusable";
    }
    match text.split('$').next() {
        Some("") if text.starts_with("$argon2") => "argon2",
        name => NAMES.into_iter().find(|known| Some(*known) == name).unwrap_or("unknown"),
    }
}

/// `argon2id$v=19$m=102400,t=2,p=8$salt$digest`; version 16 wrote no `v=`.
fn argon2(rest: &str) -> Result<Argon2Hash, Refused> {
    let mut parts = rest.split('$').peekable();
    let variant = match parts.next() {
        Some("argon2id") => Argon2Variant::Id,
        Some("argon2i") => Argon2Variant::I,
        Some("argon2d") => Argon2Variant::D,
        _ => return Err(Refused::Unknown),
    };
    let version = match parts.next_if(|part| part.starts_with("v=")) {
        None | Some("v=16") => 16,
        Some("v=19") => 19,
        Some(_) => return Err(Refused::Malformed),
    };
    let [Some(parameters), Some(salt), Some(digest), None] = [parts.next(), parts.next(), parts.next(), parts.next()] else {
        return Err(Refused::Malformed);
    };
    let mut numbers = parameters.split(',');
    let [Some(m), Some(t), Some(p), None] = [numbers.next(), numbers.next(), numbers.next(), numbers.next()] else {
        return Err(Refused::Malformed);
    };
    let cost = Argon2Cost { memory_kib: parameter("m=", m)?, iterations: parameter("t=", t)?, parallelism: parameter("p=", p)? };
    let salt = decode(&PHC_BASE64, salt)?;
    let digest = decode(&PHC_BASE64, digest)?;
    if !(MIN_ARGON2_SALT_BYTES..=MAX_SALT_BYTES).contains(&salt.len())
        || !(MIN_ARGON2_DIGEST_BYTES..=MAX_ARGON2_DIGEST_BYTES).contains(&digest.len())
    {
        return Err(Refused::Malformed);
    }
    Ok(Argon2Hash { variant, version, cost, salt, digest })
}

/// `260000$salt$digest`
fn pbkdf2(prf: Prf, rest: &str) -> Result<Pbkdf2Hash, Refused> {
    let [rounds, salt, digest] = fields(rest)?;
    Ok(Pbkdf2Hash {
        prf,
        rounds: number(rounds)?,
        salt: text_salt(salt)?,
        digest: exactly(decode(&STANDARD, digest)?, prf.digest_bytes())?,
    })
}

/// `$2b$12$` and 53 characters, as bcrypt itself writes it.
fn bcrypt(prehash: Prehash, rest: &str) -> Result<BcryptHash, Refused> {
    let [empty, version, log_rounds, salt_and_digest] = fields(rest)?;
    let two_digits = log_rounds.len() == 2 && log_rounds.bytes().all(|byte| byte.is_ascii_digit());
    if !empty.is_empty() || !matches!(version, "2a" | "2b" | "2y") || !two_digits || salt_and_digest.len() != 53 {
        return Err(Refused::Malformed);
    }
    let (salt, digest) = salt_and_digest.split_at_checked(22).ok_or(Refused::Malformed)?;
    let salt = <[u8; 16]>::try_from(decode(&BCRYPT_BASE64, salt)?).map_err(|_| Refused::Malformed)?;
    Ok(BcryptHash {
        prehash,
        log_rounds: number(log_rounds.trim_start_matches('0'))?,
        salt,
        digest: exactly(decode(&BCRYPT_BASE64, digest)?, BCRYPT_DIGEST_BYTES)?,
    })
}

/// `16384$salt$8$5$digest`
fn scrypt(rest: &str) -> Result<ScryptHash, Refused> {
    let [n, salt, block_size, parallelism, digest] = fields(rest)?;
    let n = number(n)?;
    if !n.is_power_of_two() {
        return Err(Refused::Malformed);
    }
    Ok(ScryptHash {
        log_n: u8::try_from(n.trailing_zeros()).map_err(|_| Refused::Malformed)?,
        block_size: number(block_size)?,
        parallelism: number(parallelism)?,
        salt: text_salt(salt)?,
        digest: exactly(decode(&STANDARD, digest)?, SCRYPT_DIGEST_BYTES)?,
    })
}

/// `salt$hexadecimal`
fn md5(rest: &str) -> Result<Md5Hash, Refused> {
    let [salt, digest] = fields(rest)?;
    if digest.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(Refused::Malformed); // Django compares the text, which it writes in lower case
    }
    let digest = hex::decode(digest).map_err(|_| Refused::Malformed)?;
    Ok(Md5Hash { salt: text_salt(salt)?, digest: exactly(digest, MD5_DIGEST_BYTES)? })
}

fn fields<const N: usize>(text: &str) -> Result<[&str; N], Refused> {
    text.split('$').collect::<Vec<_>>().try_into().map_err(|_| Refused::Malformed)
}

fn parameter(name: &str, text: &str) -> Result<u32, Refused> {
    number(text.strip_prefix(name).ok_or(Refused::Malformed)?)
}

/// A decimal number as a hasher writes it: no sign, no leading zero, no space. One that does not fit is too costly.
fn number(text: &str) -> Result<u32, Refused> {
    if text.is_empty() || text.starts_with('0') || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refused::Malformed);
    }
    text.parse().map_err(|_| Refused::TooCostly)
}

fn text_salt(text: &str) -> Result<Vec<u8>, Refused> {
    if text.is_empty() || text.len() > MAX_SALT_BYTES { Err(Refused::Malformed) } else { Ok(text.as_bytes().to_vec()) }
}

fn decode(engine: &GeneralPurpose, text: &str) -> Result<Vec<u8>, Refused> {
    engine.decode(text).map_err(|_| Refused::Malformed)
}

fn exactly(bytes: Vec<u8>, length: usize) -> Result<Vec<u8>, Refused> {
    if bytes.len() == length { Ok(bytes) } else { Err(Refused::Malformed) }
}
