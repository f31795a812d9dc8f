//! The sign-in assertion (G1): a statement of auth-service, good once and for seconds, that somebody proved who they are.
//!
//! A compact JWS: base64url without padding of `{"alg":"EdDSA","typ":"carelink-assertion+jwt","kid":"<RFC 7638 thumbprint>"}`, a dot,
//! base64url of the protobuf encoding of `carelink.token.v1.Assertion`, a dot, base64url of the Ed25519 signature over what stands before
//! that dot. Who verifies it holds the public key pinned; nothing in the header chooses a key.

use std::fmt;

use aws_lc_rs::{
    digest,
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use carelink_proto::token as proto;
use prost::Message;
use uuid::Uuid;

use super::subject::Subject;
use carelink_platform::clock::Timestamp;

/// Whom assertions are for.
pub const AUDIENCE: &str = "token-service";
/// The header's `typ`.
pub const TYPE: &str = "carelink-assertion+jwt";
/// Knowledge of a password is the only method (RFC 8176).
const AMR_PASSWORD: &str = "pwd";
/// One factor.
const ACR_PASSWORD: &str = "urn:carelink:acr:password";

/// Signs assertions. Prints its key's id only.
pub struct AssertionSigner {
    pair: Ed25519KeyPair,
    kid: String,
    header: String,
}

/// The key that verifies assertions, for token-service to pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssertionKey {
    /// RFC 7638 thumbprint.
    pub kid: String,
    /// The raw Ed25519 public key.
    pub public_key: [u8; 32],
}

/// The signing key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key for sign-in assertions cannot be used")]
pub struct SignerError;

impl AssertionSigner {
    /// From 32 bytes of key material.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, SignerError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| SignerError)?;
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, jwk.as_bytes()));
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"EdDSA","typ":"{TYPE}","kid":"{kid}"}}"#));
        Ok(Self { pair, kid, header })
    }

    /// What token-service pins.
    pub fn key(&self) -> Result<AssertionKey, SignerError> {
        let public_key = self.pair.public_key().as_ref().try_into().map_err(|_| SignerError)?;
        Ok(AssertionKey { kid: self.kid.clone(), public_key })
    }

    /// Signs that `subject`, as read together with the hash, proved a password at `now` to `presenter`.
    pub fn sign(&self, id: Uuid, subject: &Subject, presenter: &str, now: Timestamp) -> String {
        let assertion = proto::Assertion {
            id: id.as_bytes().to_vec(),
            subject: Some(subject.into()),
            amr: vec![AMR_PASSWORD.to_owned()],
            acr: ACR_PASSWORD.to_owned(),
            issued_us: now.as_micros(),
            audience: AUDIENCE.to_owned(),
            presenter: presenter.to_owned(),
        };
        let signed = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(assertion.encode_to_vec()));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

impl fmt::Debug for AssertionSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AssertionSigner({})", self.kid)
    }
}

impl From<&Subject> for proto::Subject {
    fn from(subject: &Subject) -> Self {
        Self {
            id: subject.id.as_bytes().to_vec(),
            user_id: subject.user_id,
            version: subject.version,
            min_version: subject.min_version,
            excepted_session: subject.excepted_session.map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
            active: subject.active,
            roles: subject.roles.to_vec(),
            end_reason: subject.end_reason.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

    use super::*;
    use crate::domain::roles::Roles;

    #[test]
    fn g1_an_assertion_is_a_compact_jws_over_the_snapshot() {
        let signer = AssertionSigner::from_seed(&[7; 32]).unwrap();
        let subject = Subject::new(Uuid::from_u128(1), 21, true, Roles::new(["nurse"]).unwrap());
        let text = signer.sign(Uuid::from_u128(2), &subject, "gateway", Timestamp::from_secs(1_750_000_000));
        let [header, payload, signature]: [&str; 3] = text.split('.').collect::<Vec<_>>().try_into().unwrap();
        let key = signer.key().unwrap();
        let (signed, _) = text.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(&ED25519, key.public_key).verify(signed.as_bytes(), &signature).unwrap();
        let header: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
        assert_eq!(header, serde_json::json!({"alg": "EdDSA", "typ": "carelink-assertion+jwt", "kid": key.kid}));
        let read = proto::Assertion::decode(URL_SAFE_NO_PAD.decode(payload).unwrap().as_slice()).unwrap();
        assert_eq!(read.subject, Some((&subject).into()));
        assert_eq!(
            (read.audience.as_str(), read.presenter.as_str(), read.amr.as_slice()),
            ("token-service", "gateway", ["pwd".to_owned()].as_slice())
        );
    }

    #[test]
    fn k2_the_kid_is_the_rfc_7638_thumbprint() {
        // RFC 8037, appendix A.2 and A.3.
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let signer = AssertionSigner::from_seed(&seed.try_into().unwrap()).unwrap();
        assert_eq!(signer.key().unwrap().kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(format!("{signer:?}"), "AssertionSigner(kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k)");
    }
}
