//! Reading an access token of ours: for introspection, and for users in whose name a service calls (G2).
//!
//! What we minted has a header we know to the byte; anything else is not ours.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    mint::AccessKeys,
    presented::{MAX_TOKEN_BYTES, Unreadable},
    service::ServiceClaims,
    session::Generation,
};

/// What a genuine access token says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AccessClaims {
    /// Who issued it.
    pub iss: String,
    /// Whom for.
    pub aud: String,
    /// The subject.
    pub sub: Uuid,
    /// The number of U4.
    pub user_id: String,
    /// When, in seconds since the Unix epoch.
    pub iat: i64,
    /// Until when.
    pub exp: i64,
    /// Names the token.
    pub jti: String,
    /// The session.
    pub sid: Uuid,
    /// Its generation.
    pub r#gen: Generation,
    /// What it grants.
    pub roles: Vec<String>,
    /// How they proved who they are.
    pub amr: Vec<String>,
    /// How well.
    pub acr: String,
    /// When.
    pub auth_time: i64,
}

impl AccessKeys {
    /// Reads an access token of ours. Its times are for the caller to judge.
    ///
    /// # Errors
    /// Where it is not genuine.
    pub fn read(&self, token: &str) -> Result<AccessClaims, Unreadable> {
        serde_json::from_slice(&self.payload(token)?).map_err(|_| Unreadable::Invalid)
    }

    /// Reads a service's token of ours. Its times are for the caller to judge.
    ///
    /// # Errors
    /// Where it is not genuine.
    pub fn read_service(&self, token: &str) -> Result<ServiceClaims, Unreadable> {
        let claims: ServiceClaims = serde_json::from_slice(&self.payload(token)?).map_err(|_| Unreadable::Invalid)?;
        if claims.token_type == ServiceClaims::TYPE { Ok(claims) } else { Err(Unreadable::WrongType) }
    }

    /// What a token says that we signed, of whatever kind.
    ///
    /// # Errors
    /// Where it is not genuine.
    pub fn payload(&self, token: &str) -> Result<Vec<u8>, Unreadable> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Unreadable::Invalid);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Unreadable::Invalid)?;
        let (header, payload) = signed.split_once('.').ok_or(Unreadable::Invalid)?;
        let public = self.public_of_header(header).ok_or(Unreadable::Invalid)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Unreadable::Invalid)?;
        UnparsedPublicKey::new(&ED25519, public).verify(signed.as_bytes(), &signature).map_err(|_| Unreadable::Invalid)?;
        URL_SAFE_NO_PAD.decode(payload).map_err(|_| Unreadable::Invalid)
    }
}
