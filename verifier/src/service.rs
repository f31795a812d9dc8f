//! What a service token says: one service to another, for an audience of its own, in nobody's name.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    claims::{Claims, OneOrMany, seconds},
    json,
    refusal::Refusal,
    time::UnixSeconds,
};

/// The claims of a verified service token. It names no user and no session: nothing revokes it, and it lives for minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceClaims {
    /// `iss`.
    pub issuer: String,
    /// `aud`: whom it may be shown to.
    pub audience: Vec<String>,
    /// `sub`: the service that asked for it, as its certificate names it.
    pub service: String,
    /// What it may do.
    pub roles: Vec<String>,
    /// `iat`.
    pub issued_at: UnixSeconds,
    /// `exp`.
    pub expires: UnixSeconds,
    /// `jti`.
    pub jti: String,
    /// The key that signed it.
    pub(crate) kid: Arc<str>,
}

#[derive(Deserialize)]
struct Payload {
    iss: String,
    aud: OneOrMany,
    sub: String,
    roles: Vec<String>,
    iat: i64,
    exp: i64,
    jti: String,
}

impl ServiceClaims {
    /// Whether the token was issued with this role.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|held| held == role)
    }

    /// Takes what a token says whose signature has been verified under `kid`. One that names a session is none.
    fn read(members: Map<String, Value>, kid: Arc<str>) -> Result<Self, Refusal> {
        if ["sid", "gen", "user_id"].iter().any(|name| members.contains_key(*name)) {
            return Err(Refusal::TypeWrong);
        }
        let payload: Payload = serde_json::from_value(Value::Object(members)).map_err(|_| Refusal::ClaimsWrong)?;
        let named = !payload.sub.is_empty() && payload.sub.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        Ok(Self {
            issuer: payload.iss,
            audience: payload.aud.into(),
            service: Some(payload.sub).filter(|_| named).ok_or(Refusal::ClaimsWrong)?,
            roles: payload.roles,
            issued_at: seconds(payload.iat).ok_or(Refusal::ClaimsWrong)?,
            expires: seconds(payload.exp).ok_or(Refusal::ClaimsWrong)?,
            jti: payload.jti,
            kid,
        })
    }
}

/// What a verified signature vouches for, of either kind.
#[derive(Clone, Debug)]
pub(crate) enum Genuine {
    Access(Arc<Claims>),
    Service(Arc<ServiceClaims>),
}

impl Genuine {
    /// Reads the payload of a token whose signature has been verified under `kid`.
    pub(crate) fn read(payload: &[u8], kid: Arc<str>) -> Result<Self, Refusal> {
        let members = json::object(payload).ok_or(Refusal::Malformed)?;
        match members.get("token_type") {
            None => Err(Refusal::TypeMissing),
            Some(Value::String(kind)) if kind == "access" => Claims::read(members, kid).map(|claims| Self::Access(Arc::new(claims))),
            Some(Value::String(kind)) if kind == "service" => {
                ServiceClaims::read(members, kid).map(|claims| Self::Service(Arc::new(claims)))
            }
            Some(_) => Err(Refusal::TypeWrong),
        }
    }

    pub(crate) fn expires(&self) -> UnixSeconds {
        match self {
            Self::Access(claims) => claims.expires,
            Self::Service(claims) => claims.expires,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"iss":"i","aud":"ward-board","sub":"billing","token_type":"service","roles":["invoices"],
        "iat":1800000001,"exp":1800000901,"jti":"j"}"#;

    fn read(text: &str) -> Result<Arc<ServiceClaims>, Refusal> {
        match Genuine::read(text.as_bytes(), Arc::from("kid"))? {
            Genuine::Service(claims) => Ok(claims),
            Genuine::Access(_) => Err(Refusal::TypeWrong),
        }
    }

    #[test]
    fn v5_a_service_token_is_typed_and_names_no_session() {
        let claims = read(GOOD).unwrap();
        assert_eq!((claims.service.as_str(), claims.expires), ("billing", UnixSeconds(1_800_000_901)));
        assert!(claims.has_role("invoices") && !claims.has_role("admin"));
        for (from, to) in [
            (r#""sub":"billing""#, r#""sub":"""#),
            (r#""sub":"billing""#, r#""sub":"Billing""#),
            (r#""sub":"billing""#, r#""sub":"a.b""#),
            (r#""sub":"billing","#, ""),
            (r#""roles":["invoices"]"#, r#""roles":"invoices""#),
            (r#""exp":1800000901"#, r#""exp":-1"#),
        ] {
            assert_ne!(GOOD.replace(from, to), GOOD);
            assert_eq!(read(&GOOD.replace(from, to)).unwrap_err(), Refusal::ClaimsWrong, "{to}");
        }
        for other in [GOOD.replace("\"service\"", "\"refresh\""), GOOD.replace("iat", "sid"), GOOD.replace("iat", "user_id")] {
            assert_eq!(read(&other).unwrap_err(), Refusal::TypeWrong, "{other}");
        }
    }
}
