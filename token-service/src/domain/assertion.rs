//! Believing a sign-in assertion (G1): the signature of a pinned key, not the word of whoever brings it.

use std::time::Duration;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use carelink_platform::clock::Timestamp;
use carelink_proto::token as proto;
use carelink_verifier::thumbprint;
use prost::Message;
use uuid::Uuid;

use super::subject::Subject;

/// How long an assertion is good for (T3).
const LIFETIME: Duration = Duration::from_secs(30);
/// How far the clocks of two services may differ (T3).
const SKEW: Duration = Duration::from_secs(120);
const AUDIENCE: &str = "token-service";

/// Why an assertion is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disbelief {
    /// Not signed by a key that is pinned, or not an assertion.
    #[error("not signed by auth-service")]
    Signature,
    /// For somebody else, or brought by somebody else.
    #[error("made for another audience or presenter")]
    Addressee,
    /// Too old, or from the future.
    #[error("too old, or ahead of the clock")]
    Time,
}

/// What was asserted: this user proved who they are, by these methods, at this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asserted {
    /// Makes it single-use.
    pub id: Uuid,
    /// The subject as it was before hashing.
    pub subject: Subject,
    /// Authentication methods, a JSON list.
    pub amr: String,
    /// Authentication context class.
    pub acr: String,
    /// When.
    pub at: Timestamp,
}

/// The keys of auth-service that are believed.
#[derive(Clone, Debug, Default)]
pub struct PinnedKeys(Vec<(String, [u8; 32])>);

impl PinnedKeys {
    /// Pins these raw Ed25519 public keys.
    pub fn new(keys: impl IntoIterator<Item = [u8; 32]>) -> Self {
        let header = |key: [u8; 32]| format!(r#"{{"alg":"EdDSA","typ":"carelink-assertion+jwt","kid":"{}"}}"#, thumbprint(&key));
        Self(keys.into_iter().map(|key| (URL_SAFE_NO_PAD.encode(header(key)), key)).collect())
    }

    /// Believes an assertion or says why not.
    ///
    /// # Errors
    /// Where it is forged, for somebody else, or not of this moment.
    pub fn believe(&self, assertion: &str, presenter: &str, now: Timestamp) -> Result<Asserted, Disbelief> {
        let (signed, signature) = assertion.rsplit_once('.').ok_or(Disbelief::Signature)?;
        let (header, payload) = signed.split_once('.').ok_or(Disbelief::Signature)?;
        let (_, key) = self.0.iter().find(|(known, _)| known == header).ok_or(Disbelief::Signature)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Disbelief::Signature)?;
        UnparsedPublicKey::new(&ED25519, key).verify(signed.as_bytes(), &signature).map_err(|_| Disbelief::Signature)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| Disbelief::Signature)?;
        let said = proto::Assertion::decode(payload.as_slice()).map_err(|_| Disbelief::Signature)?;
        if said.audience != AUDIENCE || said.presenter != presenter {
            return Err(Disbelief::Addressee);
        }
        let at = Timestamp::from_micros(said.issued_us);
        if now > at + LIFETIME + SKEW || now + SKEW < at {
            return Err(Disbelief::Time);
        }
        let subject = said.subject.as_ref().and_then(|subject| Subject::try_from(subject).ok()).ok_or(Disbelief::Signature)?;
        let id = Uuid::from_slice(&said.id).map_err(|_| Disbelief::Signature)?;
        Ok(Asserted { id, subject, amr: serde_json::Value::from(said.amr).to_string(), acr: said.acr, at })
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(10_000);

    fn sign(seed: u8, change: impl Fn(&mut proto::Assertion)) -> (PinnedKeys, String) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let public: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
        let mut said = proto::Assertion {
            id: vec![7; 16],
            subject: Some(proto::Subject { id: vec![9; 16], user_id: 5, version: 3, active: true, ..Default::default() }),
            amr: vec!["pwd".into()],
            acr: "urn:x".into(),
            issued_us: NOW.as_micros(),
            audience: AUDIENCE.into(),
            presenter: "gateway".into(),
        };
        change(&mut said);
        let header = format!(r#"{{"alg":"EdDSA","typ":"carelink-assertion+jwt","kid":"{}"}}"#, thumbprint(&public));
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(said.encode_to_vec()));
        let signature = URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes()));
        (PinnedKeys::new([public]), format!("{signed}.{signature}"))
    }

    #[test]
    fn g1_a_signed_assertion_is_believed_and_a_foreign_or_changed_one_is_not() {
        let (keys, assertion) = sign(1, |_| {});
        assert_eq!(keys.believe(&assertion, "gateway", NOW).unwrap().subject.version, 3);
        let (foreign, _) = sign(2, |_| {});
        assert_eq!(foreign.believe(&assertion, "gateway", NOW), Err(Disbelief::Signature));
        let (_, other) = sign(1, |said| said.acr = "urn:y".into());
        let mixed = format!("{}.{}", assertion.rsplit_once('.').unwrap().0, other.rsplit_once('.').unwrap().1);
        assert_eq!(keys.believe(&mixed, "gateway", NOW), Err(Disbelief::Signature));
        for garbage in ["", ".", "..", "a.b.c"] {
            assert_eq!(keys.believe(garbage, "gateway", NOW), Err(Disbelief::Signature));
        }
    }

    #[test]
    fn g1_only_for_us_and_only_from_the_gateway_it_was_made_for() {
        let (keys, assertion) = sign(1, |_| {});
        assert_eq!(keys.believe(&assertion, "another", NOW), Err(Disbelief::Addressee));
        let (keys, assertion) = sign(1, |said| said.audience = "elsewhere".into());
        assert_eq!(keys.believe(&assertion, "gateway", NOW), Err(Disbelief::Addressee));
    }

    #[test]
    fn t3_accepted_for_30_seconds_with_120_of_skew_either_way() {
        let (keys, assertion) = sign(1, |_| {});
        let at = |offset: i64| keys.believe(&assertion, "gateway", Timestamp::from_secs(10_000 + offset)).err();
        assert_eq!((at(150), at(-120)), (None, None));
        assert_eq!((at(151), at(-121)), (Some(Disbelief::Time), Some(Disbelief::Time)));
    }
}
