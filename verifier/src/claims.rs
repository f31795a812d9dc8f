//! What a genuine access token says, typed. A `Claims` exists only for what was verified, here or by token-service.

use std::sync::Arc;

use carelink_proto::token::AccessClaims;
use serde::Deserialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{refusal::Refusal, time::UnixSeconds};

/// The claims of a verified access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `iss`.
    pub issuer: String,
    /// `aud`, one or many.
    pub audience: Vec<String>,
    /// `sub`: the subject's id.
    pub subject: Uuid,
    /// The number of U4, below 2^31.
    pub user_id: u32,
    /// `sid`: the session.
    pub session: Uuid,
    /// `gen`: the session's generation when this was minted.
    pub generation: u64,
    /// Roles, as they were when this was minted.
    pub roles: Vec<String>,
    /// How they proved who they are (RFC 8176).
    pub amr: Vec<String>,
    /// How well that counts.
    pub acr: String,
    /// When they did.
    pub auth_time: UnixSeconds,
    /// `iat`; says when it was minted and is not judged.
    pub issued_at: UnixSeconds,
    /// `exp`.
    pub expires: UnixSeconds,
    /// `jti`.
    pub jti: String,
    /// The key that signed it; empty where token-service vouched for it.
    pub(crate) kid: Arc<str>,
}

/// `aud` may be one name or a list (RFC 7519 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Vec<String> {
    fn from(names: OneOrMany) -> Self {
        match names {
            OneOrMany::One(name) => vec![name],
            OneOrMany::Many(names) => names,
        }
    }
}

#[derive(Deserialize)]
struct Payload {
    iss: String,
    aud: OneOrMany,
    sub: String,
    user_id: String,
    sid: String,
    r#gen: u64,
    roles: Vec<String>,
    amr: Vec<String>,
    acr: String,
    auth_time: i64,
    iat: i64,
    exp: i64,
    jti: String,
}

impl Claims {
    /// Whether the token was minted with this role.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|held| held == role)
    }

    /// Takes what an access token says whose signature has been verified under `kid`.
    pub(crate) fn read(members: Map<String, Value>, kid: Arc<str>) -> Result<Self, Refusal> {
        if !members.contains_key("user_id") {
            return Err(Refusal::NoUser);
        }
        let payload: Payload = serde_json::from_value(Value::Object(members)).map_err(|_| Refusal::ClaimsWrong)?;
        Self::typed(payload, kid).ok_or(Refusal::ClaimsWrong)
    }

    fn typed(payload: Payload, kid: Arc<str>) -> Option<Self> {
        Some(Self {
            issuer: payload.iss,
            audience: payload.aud.into(),
            subject: uuid(&payload.sub)?,
            user_id: user_id(&payload.user_id)?,
            session: uuid(&payload.sid)?,
            generation: payload.r#gen,
            roles: payload.roles,
            amr: payload.amr,
            acr: payload.acr,
            auth_time: seconds(payload.auth_time)?,
            issued_at: seconds(payload.iat)?,
            expires: seconds(payload.exp)?,
            jti: payload.jti,
            kid,
        })
    }
}

/// What token-service introspected, typed; `None` if it is not what an access token says.
impl TryFrom<AccessClaims> for Claims {
    type Error = Refusal;

    fn try_from(claims: AccessClaims) -> Result<Self, Refusal> {
        let typed = || {
            Some(Self {
                subject: Uuid::from_slice(&claims.subject).ok()?,
                user_id: user_id(&claims.user_id)?,
                session: Uuid::from_slice(&claims.session).ok()?,
                generation: claims.generation,
                auth_time: seconds(claims.auth_time)?,
                issued_at: seconds(claims.issued_at)?,
                expires: seconds(claims.expires)?,
                issuer: claims.issuer,
                audience: claims.audience,
                roles: claims.roles,
                amr: claims.amr,
                acr: claims.acr,
                jti: claims.jti,
                kid: Arc::from(""),
            })
        };
        typed().ok_or(Refusal::ClaimsWrong)
    }
}

impl From<&Claims> for AccessClaims {
    fn from(claims: &Claims) -> Self {
        Self {
            issuer: claims.issuer.clone(),
            audience: claims.audience.clone(),
            subject: claims.subject.as_bytes().to_vec(),
            user_id: claims.user_id.to_string(),
            session: claims.session.as_bytes().to_vec(),
            generation: claims.generation,
            roles: claims.roles.clone(),
            amr: claims.amr.clone(),
            acr: claims.acr.clone(),
            auth_time: claims.auth_time.0,
            issued_at: claims.issued_at.0,
            expires: claims.expires.0,
            jti: claims.jti.clone(),
        }
    }
}

/// Only the canonical spelling: lower case, hyphenated.
fn uuid(text: &str) -> Option<Uuid> {
    let uuid = Uuid::try_parse(text).ok()?;
    (uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text).then_some(uuid)
}

/// Decimal, canonical, below 2^31 (U4).
fn user_id(text: &str) -> Option<u32> {
    let number: u32 = text.parse().ok()?;
    (number <= i32::MAX.unsigned_abs() && number.to_string() == text).then_some(number)
}

pub(crate) fn seconds(value: i64) -> Option<UnixSeconds> {
    (value >= 0).then_some(UnixSeconds(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Genuine;

    const GOOD: &str = r#"{"iss":"i","aud":"a","sub":"018f2a6e-0000-7000-8000-000000000001","user_id":"1000000000",
        "sid":"018f2a6e-0000-7000-8000-000000000002","gen":3,"token_type":"access","roles":["nurse"],"amr":["pwd"],"acr":"1",
        "auth_time":1800000000,"iat":1800000001,"exp":1800000901,"jti":"j","later":{"x":[1.5,null]}}"#;

    impl Claims {
        pub(crate) fn sample(expires: i64) -> Self {
            Self { expires: UnixSeconds(expires), ..read(GOOD).unwrap() }
        }
    }

    fn read(text: &str) -> Result<Claims, Refusal> {
        match Genuine::read(text.as_bytes(), Arc::from("kid"))? {
            Genuine::Access(claims) => Ok(Arc::unwrap_or_clone(claims)),
            Genuine::Service(_) => Err(Refusal::TypeWrong),
        }
    }

    #[test]
    fn v5_claims_are_typed_and_survive_the_wire() {
        let claims = read(GOOD).unwrap();
        assert_eq!((claims.user_id, claims.generation, claims.expires), (1_000_000_000, 3, UnixSeconds(1_800_000_901)));
        assert!(claims.has_role("nurse") && !claims.has_role("Nurse"));
        let back = Claims::try_from(AccessClaims::from(&claims)).unwrap();
        assert_eq!(Claims { kid: claims.kid.clone(), ..back }, claims);
        assert_eq!(read(&GOOD.replace(r#""aud":"a""#, r#""aud":["b","a"]"#)).unwrap().audience, ["b", "a"]);
    }

    #[test]
    fn v5_a_claim_of_another_type_is_refused() {
        for (from, to) in [
            (r#""gen":3"#, r#""gen":"3""#),
            (r#""gen":3"#, r#""gen":-1"#),
            (r#""gen":3"#, r#""gen":3.0"#),
            (r#""exp":1800000901"#, r#""exp":1800000901.5"#),
            (r#""exp":1800000901"#, r#""exp":"1800000901""#),
            (r#""exp":1800000901"#, r#""exp":1e300"#),
            (r#""exp":1800000901"#, r#""exp":-1"#),
            (r#""exp":1800000901"#, r#""exp":18446744073709551615"#),
            (r#""exp":1800000901,"#, ""),
            (r#""roles":["nurse"]"#, r#""roles":"nurse""#),
            (r#""roles":["nurse"]"#, r#""roles":[1]"#),
            (r#""aud":"a""#, r#""aud":null"#),
            (r#""aud":"a""#, r#""aud":[["a"]]"#),
            (r#""user_id":"1000000000""#, r#""user_id":1000000000"#),
            (r#""user_id":"1000000000""#, r#""user_id":"2147483648""#),
            (r#""user_id":"1000000000""#, r#""user_id":"01""#),
            (r#""user_id":"1000000000""#, r#""user_id":"+1""#),
            ("018f2a6e-0000-7000-8000-000000000001", "018F2A6E-0000-7000-8000-000000000001"),
            ("018f2a6e-0000-7000-8000-000000000002", "018f2a6e000070008000000000000002"),
        ] {
            assert_ne!(GOOD.replace(from, to), GOOD);
            assert_eq!(read(&GOOD.replace(from, to)).unwrap_err(), Refusal::ClaimsWrong, "{to}");
        }
    }

    #[test]
    fn v5_other_kinds_and_tokens_of_nobody_are_told_apart() {
        let kind = r#""token_type":"access","#;
        assert_eq!(read(&GOOD.replace(kind, "")).unwrap_err(), Refusal::TypeMissing);
        assert_eq!(read(&GOOD.replace(kind, r#""token_type":"refresh","#)).unwrap_err(), Refusal::TypeWrong);
        assert_eq!(read(&GOOD.replace(kind, r#""token_type":"service","#)).unwrap_err(), Refusal::TypeWrong, "with a session in it");
        assert_eq!(read(&GOOD.replace(kind, r#""token_type":["access"],"#)).unwrap_err(), Refusal::TypeWrong);
        assert_eq!(read(&GOOD.replace(r#""user_id":"1000000000","#, "")).unwrap_err(), Refusal::NoUser);
        assert_eq!(read(&GOOD.replace("later", "exp")).unwrap_err(), Refusal::Malformed);
    }
}
