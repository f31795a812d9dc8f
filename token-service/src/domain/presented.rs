//! Reading a presented refresh token: ours by one HMAC (S2), or a predecessor's (L3). No query.

use std::{collections::HashMap, fmt};

use aws_lc_rs::{digest, hmac};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use uuid::Uuid;

use super::session::{Generation, Jti};

/// Longer than any token that was ever issued.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Longer than the header of any token of ours.
const MAX_HEADER_BYTES: usize = 512;

/// What a genuine refresh token says (S2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presented {
    /// Which session.
    pub session: Uuid,
    /// Which of its pairs.
    pub generation: Generation,
    /// That pair's jti.
    pub jti: Jti,
}

/// Why a token is not a refresh token of ours. The same distinctions as the predecessor made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not a token, or not signed by us.
    #[error("not a token of ours")]
    Invalid,
    /// Genuine, and past its end.
    #[error("past its end")]
    Expired,
    /// Genuine, without an end.
    #[error("has no end")]
    NoExpiry,
    /// Genuine, and says not what it is for.
    #[error("does not say what it is for")]
    NoType,
    /// Genuine, for something else.
    #[error("is for something else")]
    WrongType,
}

/// The keys of refresh tokens; only token-service holds them.
pub struct RefreshKeys {
    current: String,
    by_header: HashMap<String, RefreshKey>,
}

struct RefreshKey {
    kid: String,
    key: hmac::Key,
}

impl fmt::Debug for RefreshKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.by_header.values().map(|key| &key.kid)).finish()
    }
}

#[derive(Deserialize)]
struct Claims<'a> {
    token_type: &'a str,
    sid: Uuid,
    r#gen: Generation,
    jti: &'a str,
}

impl RefreshKeys {
    /// Of these secrets the first signs.
    pub fn new(keys: impl IntoIterator<Item = [u8; 32]>) -> Self {
        let mut by_header = HashMap::new();
        let mut current = None;
        for secret in keys {
            let kid = refresh_kid(&secret);
            let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"HS256","typ":"JWT","kid":"{kid}"}}"#));
            current.get_or_insert_with(|| kid.clone());
            by_header.insert(header, RefreshKey { kid, key: hmac::Key::new(hmac::HMAC_SHA256, &secret) });
        }
        Self { current: current.unwrap_or_default(), by_header }
    }

    /// The id of the key that signs.
    pub fn current(&self) -> &str {
        &self.current
    }

    /// Whether the token names one of our keys.
    pub fn is_ours(&self, token: &str) -> bool {
        token.split_once('.').is_some_and(|(header, _)| self.by_header.contains_key(header))
    }

    /// Reads a token of ours. `iat` and `exp` are not judged: the row is (L3).
    ///
    /// # Errors
    /// Where it is not genuine or not a refresh token.
    pub fn read(&self, token: &str) -> Result<Presented, Unreadable> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Unreadable::Invalid);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Unreadable::Invalid)?;
        let (header, payload) = signed.split_once('.').ok_or(Unreadable::Invalid)?;
        let key = self.by_header.get(header).ok_or(Unreadable::Invalid)?;
        let mut mac = [0; 32];
        let length = URL_SAFE_NO_PAD.decode_slice(signature, &mut mac).map_err(|_| Unreadable::Invalid)?;
        hmac::verify(&key.key, signed.as_bytes(), mac.get(..length).unwrap_or_default()).map_err(|_| Unreadable::Invalid)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| Unreadable::Invalid)?;
        let claims: Claims<'_> = serde_json::from_slice(&payload).map_err(|_| Unreadable::Invalid)?;
        if claims.token_type != "refresh" {
            return Err(Unreadable::WrongType);
        }
        let mut jti = [0; 16];
        hex::decode_to_slice(claims.jti, &mut jti).map_err(|_| Unreadable::Invalid)?;
        Ok(Presented { session: claims.sid, generation: claims.r#gen, jti: Jti(jti) })
    }

    /// Signs claims with the key of this id. None where there is no such key any more.
    pub(crate) fn sign(&self, kid: &str, claims: &str) -> Option<String> {
        let (header, key) = self.by_header.iter().find(|(_, key)| key.kid == kid)?;
        let mut token = String::with_capacity(header.len() + claims.len() * 4 / 3 + 50);
        token.push_str(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let mac = hmac::sign(&key.key, token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(mac.as_ref(), &mut token);
        Some(token)
    }
}

/// Whether the token says by the id of which key it was signed, as ours do and the predecessor's do not.
pub fn names_another_key(token: &str) -> bool {
    #[derive(Deserialize)]
    struct Header<'a> {
        #[serde(borrow)]
        kid: Option<std::borrow::Cow<'a, str>>,
    }
    let header = token
        .split_once('.')
        .filter(|(header, _)| header.len() <= MAX_HEADER_BYTES)
        .and_then(|(header, _)| URL_SAFE_NO_PAD.decode(header).ok());
    header.is_some_and(|header| serde_json::from_slice::<Header<'_>>(&header).is_ok_and(|header| header.kid.is_some()))
}

/// Names an HMAC key without telling it.
pub fn refresh_kid(secret: &[u8; 32]) -> String {
    let digest = digest::digest(&digest::SHA256, &[b"carelink refresh key id".as_slice(), secret].concat());
    URL_SAFE_NO_PAD.encode(digest.as_ref().get(..12).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(token_type: &str) -> String {
        format!(
            r#"{{"token_type":"{token_type}","exp":1,"iat":1,"jti":"{}","sid":"{}","gen":3,"user_id":"1"}}"#,
            "0a".repeat(16),
            Uuid::nil()
        )
    }

    fn signed(keys: &RefreshKeys, claims: &str) -> String {
        keys.sign(keys.current(), claims).unwrap()
    }

    #[test]
    fn s2_a_genuine_token_says_session_generation_and_jti() {
        let keys = RefreshKeys::new([[1; 32]]);
        let read = keys.read(&signed(&keys, &claims("refresh"))).unwrap();
        assert_eq!(read, Presented { session: Uuid::nil(), generation: 3, jti: Jti([10; 16]) });
    }

    #[test]
    fn s2_a_retired_key_still_verifies_and_the_first_one_signs() {
        let (old, both) = (RefreshKeys::new([[1; 32]]), RefreshKeys::new([[2; 32], [1; 32]]));
        both.read(&signed(&old, &claims("refresh"))).unwrap();
        assert_ne!(both.current(), old.current());
        assert_eq!(old.read(&signed(&both, &claims("refresh"))), Err(Unreadable::Invalid));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let keys = RefreshKeys::new([[1; 32]]);
        let token = signed(&keys, &claims("refresh"));
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(keys.read(std::str::from_utf8(&bytes).unwrap()), Err(Unreadable::Invalid), "byte {at}");
        }
    }

    #[test]
    fn garbage_is_invalid_and_another_type_is_named() {
        let keys = RefreshKeys::new([[1; 32]]);
        for token in ["", ".", "..", "a.b.c", &"x".repeat(1_000_000)] {
            assert_eq!(keys.read(token), Err(Unreadable::Invalid));
        }
        assert_eq!(keys.read(&signed(&keys, &claims("access"))), Err(Unreadable::WrongType));
    }
}
