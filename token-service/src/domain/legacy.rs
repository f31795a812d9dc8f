//! The predecessor's refresh tokens (L3): HS256 under the source's SECRET_KEY, with SimpleJWT's claims and SimpleJWT's judgement.
//!
//! A token of a source becomes (session, 0, jti); from there on the row decides, as for any other.

use aws_lc_rs::digest;
use carelink_platform::{
    clock::Timestamp,
    secrets::{ExposeSecret, SecretString},
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    presented::{MAX_TOKEN_BYTES, Presented, Unreadable},
    session::Jti,
};

/// A predecessor's database whose tokens are known.
pub struct Source {
    name: String,
    key: DecodingKey,
    algorithm: Algorithm,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({})", self.name)
    }
}

/// Reads the name of an algorithm that SimpleJWT signs with under a SECRET_KEY.
pub fn algorithm(name: &str) -> Option<Algorithm> {
    match name {
        "HS256" => Some(Algorithm::HS256),
        "HS384" => Some(Algorithm::HS384),
        "HS512" => Some(Algorithm::HS512),
        _ => None,
    }
}

/// What a genuine refresh token of a source says.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// The source's name.
    pub source: String,
    /// The id of its user there.
    pub user: i64,
    /// When it was made; None: it does not say.
    pub issued: Option<Timestamp>,
    /// Its end.
    pub expires: Timestamp,
    /// As any refresh token.
    pub presented: Presented,
}

/// What an import left about a user of a source.
#[derive(Clone, Debug)]
pub struct Holder {
    /// Who that is here.
    pub subject: Uuid,
    /// The version of the subject that the import saw.
    pub version: u64,
    /// When the source was imported last: what it issued later is not believed.
    pub cut_over: Timestamp,
    /// When none of its tokens is accepted any longer.
    pub accepted_until: Timestamp,
}

impl Read {
    /// When the session ends that this token is, though no table of the source has it (`legacy.accept = signed`). None: it is not believed.
    pub fn session_end(&self, holder: &Holder, until: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let ends_at = self.expires.min(holder.accepted_until).min(until);
        (self.issued.is_some_and(|issued| issued <= holder.cut_over) && now < ends_at).then_some(ends_at)
    }
}

impl Source {
    /// A source by its name, key and algorithm.
    pub fn new(name: &str, secret: &SecretString, algorithm: Algorithm) -> Self {
        Self { name: name.to_owned(), key: DecodingKey::from_secret(secret.expose_secret().as_bytes()), algorithm }
    }

    /// Reads a refresh token of this source, judged at `now` in SimpleJWT's order, without leeway.
    ///
    /// # Errors
    /// Where SimpleJWT would refuse it, and where it answers 500: a token without jti.
    pub fn read(&self, token: &str, now: Timestamp) -> Result<Read, Unreadable> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Unreadable::Invalid);
        }
        let mut only_signature = Validation::new(self.algorithm);
        only_signature.required_spec_claims.clear();
        only_signature.validate_exp = false;
        only_signature.validate_aud = false;
        let claims = jsonwebtoken::decode::<Map<String, Value>>(token, &self.key, &only_signature).map_err(|_| Unreadable::Invalid)?.claims;
        let user = judge(&claims, now)?;
        let jti = claims.get("jti").and_then(Value::as_str).ok_or(Unreadable::Invalid)?;
        let presented = Presented { session: session_id(&self.name, jti), generation: 0, jti: first_jti(&self.name, jti) };
        let time = |claim: &str| claims.get(claim).and_then(Value::as_f64).map(seconds);
        let expires = time("exp").ok_or(Unreadable::NoExpiry)?;
        Ok(Read { source: self.name.clone(), user: user.into(), issued: time("iat"), expires, presented })
    }
}

/// A NumericDate, at most some millennia away.
fn seconds(at: f64) -> Timestamp {
    #[allow(clippy::cast_possible_truncation)] // bounded
    Timestamp::from_secs(at.clamp(0.0, 1e11) as i64)
}

/// PyJWT's checks, then SimpleJWT's, in their order. Whose it is.
fn judge(claims: &Map<String, Value>, now: Timestamp) -> Result<u32, Unreadable> {
    #[allow(clippy::cast_precision_loss)] // microseconds of today
    let now = now.as_micros() as f64 / 1e6;
    let ahead = |claim: &str| claims.get(claim).is_some_and(|value| value.as_f64().is_none_or(|at| at > now));
    if ahead("iat") || ahead("nbf") {
        return Err(Unreadable::Invalid);
    }
    match claims.get("exp") {
        None => return Err(Unreadable::NoExpiry),
        Some(exp) if exp.as_f64().is_none() => return Err(Unreadable::Invalid),
        Some(exp) if exp.as_f64().is_some_and(|exp| exp <= now) => return Err(Unreadable::Expired),
        Some(_) => {}
    }
    if !claims.contains_key("jti") {
        return Err(Unreadable::Invalid);
    }
    match claims.get("token_type").map(Value::as_str) {
        None => Err(Unreadable::NoType),
        Some(Some("refresh")) => Ok(()),
        Some(_) => Err(Unreadable::WrongType),
    }?;
    // The predecessor answers 500, or a token for nobody, where the user is missing or not a number (L4).
    match claims.get("user_id") {
        Some(Value::String(id)) => id.parse().map_err(|_| Unreadable::Invalid),
        Some(Value::Number(id)) if id.is_u64() => Ok(id.as_u64().and_then(|id| u32::try_from(id).ok()).unwrap_or(u32::MAX)),
        _ => Err(Unreadable::Invalid),
    }
}

/// The session that a token of a source becomes.
pub fn session_id(source: &str, jti: &str) -> Uuid {
    Uuid::from_bytes(hashed("session", source, jti))
}

/// The jti of its generation 0: the source's own where it has our form, as SimpleJWT's have.
pub fn first_jti(source: &str, jti: &str) -> Jti {
    let mut own = [0; 16];
    match hex::decode_to_slice(jti, &mut own) {
        Ok(()) => Jti(own),
        Err(_) => Jti(hashed("jti", source, jti)),
    }
}

fn hashed(what: &str, source: &str, jti: &str) -> [u8; 16] {
    let length = (source.len() as u64).to_be_bytes();
    let digest = digest::digest(&digest::SHA256, &[what.as_bytes(), &length, source.as_bytes(), jti.as_bytes()].concat());
    let mut first = [0; 16];
    for (to, from) in first.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    first
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn read(algorithm: Algorithm, secret: &str, claims: &Value) -> Result<Presented, Unreadable> {
        let token = encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap();
        Source::new("old", &SecretString::from("key"), Algorithm::HS256).read(&token, NOW).map(|read| read.presented)
    }

    fn good() -> Value {
        json!({"token_type": "refresh", "exp": 2_000, "iat": 500, "jti": "93f5e37fe28e455587b4f1a6047fefa0", "user_id": "1"})
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = good();
        claims[name] = value;
        claims
    }

    fn without(name: &str) -> Value {
        let mut claims = good();
        claims.as_object_mut().unwrap().remove(name);
        claims
    }

    #[test]
    fn l3_a_token_becomes_session_generation_0_and_its_jti() {
        let read = read(Algorithm::HS256, "key", &good()).unwrap();
        assert_eq!(read.generation, 0);
        assert_eq!(read.session, session_id("old", "93f5e37fe28e455587b4f1a6047fefa0"));
        assert_eq!(read.jti, first_jti("another", "93f5e37fe28e455587b4f1a6047fefa0"));
        assert_ne!(session_id("old", "a"), session_id("new", "a"));
    }

    #[test]
    fn l3_claims_are_judged_as_simplejwt_does() {
        for (claims, expected) in [
            (with("exp", json!(1_000)), Unreadable::Expired),
            (without("exp"), Unreadable::NoExpiry),
            (with("iat", json!(1_001)), Unreadable::Invalid),
            (with("nbf", json!(1_001)), Unreadable::Invalid),
            (without("token_type"), Unreadable::NoType),
            (with("token_type", json!("access")), Unreadable::WrongType),
            (without("jti"), Unreadable::Invalid),
            (without("user_id"), Unreadable::Invalid),
            (with("user_id", json!("x")), Unreadable::Invalid),
        ] {
            assert_eq!(read(Algorithm::HS256, "key", &claims), Err(expected), "{claims}");
        }
        read(Algorithm::HS256, "key", &with("user_id", json!(7))).unwrap();
    }

    #[test]
    fn l3_a_signed_token_is_believed_from_before_the_cut_over_and_until_the_earliest_end() {
        let source = Source::new("old", &SecretString::from("key"), Algorithm::HS256);
        let end = |claims: &Value, until: i64, now: i64| {
            let token = encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(b"key")).unwrap();
            let accepted_until = Timestamp::from_secs(1_900);
            let holder = Holder { subject: Uuid::nil(), version: 1, cut_over: Timestamp::from_secs(600), accepted_until };
            let read = source.read(&token, NOW).unwrap();
            assert_eq!((read.source.as_str(), read.user), ("old", 1));
            read.session_end(&holder, Timestamp::from_secs(until), Timestamp::from_secs(now)).map(Timestamp::as_secs)
        };
        assert_eq!(end(&good(), 9_000, 1_000), Some(1_900), "what its source is accepted for");
        assert_eq!(end(&good(), 1_500, 1_000), Some(1_500), "legacy.until");
        assert_eq!(end(&with("exp", json!(1_200)), 9_000, 1_000), Some(1_200), "its own end");
        assert_eq!(end(&good(), 1_500, 1_500), None, "over");
        assert_eq!(end(&with("iat", json!(600)), 9_000, 1_000), Some(1_900));
        assert_eq!(end(&with("iat", json!(601)), 9_000, 1_000), None, "made after the last import");
        assert_eq!(end(&without("iat"), 9_000, 1_000), None, "made nobody knows when");
        assert_eq!(end(&with("exp", json!(1e300)), i64::MAX / 1_000_000, 1_000), Some(1_900));
    }

    #[test]
    fn l3_another_key_or_algorithm_is_not_the_source_s() {
        assert_eq!(read(Algorithm::HS256, "other", &good()), Err(Unreadable::Invalid));
        assert_eq!(read(Algorithm::HS512, "key", &good()), Err(Unreadable::Invalid));
    }

    #[test]
    fn v5_a_token_without_signature_is_not_the_source_s() {
        let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.";
        assert_eq!(Source::new("old", &SecretString::from("key"), Algorithm::HS256).read(none, NOW).unwrap_err(), Unreadable::Invalid);
    }
}
