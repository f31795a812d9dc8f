//! Sealing the personal part of an event to the audit service (A3), before it touches a producer's database.
//!
//! HPKE (RFC 9180) in base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-128-GCM. The associated data is the event's id, so
//! that a sealed part fits no other event. A producer holds the public key only and cannot read back what it wrote. Every part is
//! sealed on its own, because the audit service opens them in any order.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    agreement::{PrivateKey, X25519},
    digest::{SHA256, digest},
};
use carelink_proto::audit::{Personal, Sealed};
use prost::Message;
use rustls::crypto::{
    aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_128 as SUITE,
    hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey},
};
use zeroize::Zeroizing;

/// What a data directory's master key is asked for to make its [`SealingKeyPair`] (K3).
pub const PURPOSE: &str = "audit/personal/v1";

const INFO: &[u8] = b"carelink/personal/v1";
const KEY_BYTES: usize = 32;
const ID_BYTES: usize = 8;

/// Why a sealing key could not be used.
#[derive(Debug, thiserror::Error)]
#[error("not a usable X25519 key")]
pub struct SealError;

/// What producers seal to.
#[derive(Clone)]
pub struct SealingPublicKey {
    id: String,
    key: HpkePublicKey,
}

impl SealingPublicKey {
    /// A public key from its 32 bytes; a key that nothing can be sealed to is refused here, not at the first event.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealError> {
        let key = HpkePublicKey(bytes.to_vec());
        if bytes.len() != KEY_BYTES || SUITE.seal(INFO, &[], &[], &key).is_err() {
            return Err(SealError);
        }
        Ok(Self { id: key_id(bytes), key })
    }

    /// The key's id: the first 16 hex digits of the SHA-256 of the public key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key's 32 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.key.0
    }

    /// Seals `personal` for the event with this id.
    ///
    /// An event is worth more than its personal part: should the system's randomness fail, the ciphertext stays empty, which says
    /// that there was something, and the failure is logged.
    pub fn seal(&self, event_id: &[u8], personal: &Personal) -> Sealed {
        let plain = Zeroizing::new(personal.encode_to_vec());
        let (encapsulated, ciphertext) = SUITE.seal(INFO, event_id, &plain, &self.key).map_or_else(
            |error| {
                tracing::error!(%error, "the personal part of an event could not be sealed and is left out");
                (Vec::new(), Vec::new())
            },
            |(encapsulated, ciphertext)| (encapsulated.0, ciphertext),
        );
        Sealed { key_id: self.id.clone(), encapsulated, ciphertext }
    }
}

impl fmt::Debug for SealingPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SealingPublicKey").field(&self.id).finish()
    }
}

/// What the audit service opens with. Prints its id only.
#[derive(Clone)]
pub struct SealingKeyPair {
    public: SealingPublicKey,
    private: Arc<HpkePrivateKey>,
}

impl SealingKeyPair {
    /// The pair whose X25519 private key is `secret`: `SealingKeyPair::from_secret(&master.derive(seal::PURPOSE))`.
    pub fn from_secret(secret: &[u8; KEY_BYTES]) -> Result<Self, SealError> {
        let private = PrivateKey::from_private_key(&X25519, secret).map_err(|_| SealError)?;
        let public = private.compute_public_key().map_err(|_| SealError)?;
        Ok(Self { public: SealingPublicKey::from_bytes(public.as_ref())?, private: Arc::new(HpkePrivateKey::from(secret.to_vec())) })
    }

    /// The half that producers get.
    pub fn public(&self) -> &SealingPublicKey {
        &self.public
    }

    /// Opens what was sealed for the event with this id; `None` if it was sealed to another key, for another event, or changed.
    pub fn open(&self, event_id: &[u8], sealed: &Sealed) -> Option<Personal> {
        if sealed.key_id != self.public.id || sealed.encapsulated.len() != KEY_BYTES {
            return None;
        }
        let encapsulated = EncapsulatedSecret(sealed.encapsulated.clone());
        let plain = Zeroizing::new(SUITE.open(&encapsulated, INFO, event_id, &sealed.ciphertext, &self.private).ok()?);
        Personal::decode(plain.as_slice()).ok()
    }
}

impl fmt::Debug for SealingKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SealingKeyPair").field(&self.public.id).finish()
    }
}

fn key_id(public: &[u8]) -> String {
    hex::encode(digest(&SHA256, public).as_ref().iter().take(ID_BYTES).copied().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use ::hpke::{
        Deserializable, Kem, OpModeR, OpModeS, Serializable, aead::AesGcm128, kdf::HkdfSha256, kem::X25519HkdfSha256, single_shot_open,
        single_shot_seal,
    };

    use super::*;

    const EVENT: &[u8] = b"0123456789abcdef";

    fn pair() -> SealingKeyPair {
        SealingKeyPair::from_secret(&[7; 32]).unwrap()
    }

    fn personal() -> Personal {
        Personal { network: "192.0.2.7".into(), user_agent: "curl/8".into(), text: "left the ward".into() }
    }

    #[test]
    fn a3_what_is_sealed_opens_for_its_event_and_no_other() {
        let sealed = pair().public().seal(EVENT, &personal());
        assert_eq!(pair().open(EVENT, &sealed), Some(personal()));
        assert_eq!(pair().open(b"another event id", &sealed), None);
        assert_eq!(SealingKeyPair::from_secret(&[8; 32]).unwrap().open(EVENT, &sealed), None);
        for position in 0..sealed.ciphertext.len() {
            let mut changed = sealed.clone();
            changed.ciphertext[position] ^= 1;
            assert_eq!(pair().open(EVENT, &changed), None);
        }
        for encapsulated in [vec![], vec![0; 31], vec![0; 32], vec![0; 33]] {
            assert_eq!(pair().open(EVENT, &Sealed { encapsulated, ..sealed.clone() }), None);
        }
    }

    #[test]
    fn a3_the_key_has_an_id_that_follows_from_it() {
        let id = pair().public().id().to_owned();
        assert_eq!(id.len(), 16);
        assert_eq!(id, pair().public().id());
        assert!(hex::encode(digest(&SHA256, pair().public().as_bytes())).starts_with(&id));
        assert_eq!(SealingPublicKey::from_bytes(pair().public().as_bytes()).unwrap().id(), id);
        assert!(!format!("{:?}", pair()).contains(&hex::encode([7; 32])));
    }

    #[test]
    fn a3_a_key_nothing_can_be_sealed_to_is_refused() {
        assert!(SealingPublicKey::from_bytes(&[0; 32]).is_err());
        assert!(SealingPublicKey::from_bytes(&[9; 31]).is_err());
        assert!(SealingPublicKey::from_bytes(&[]).is_err());
    }

    #[test]
    fn a3_another_implementation_of_rfc_9180_opens_what_we_seal() {
        let sealed = pair().public().seal(EVENT, &personal());
        let secret = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&[7; 32]).unwrap();
        let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&sealed.encapsulated).unwrap();
        let plain = single_shot_open::<AesGcm128, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &secret,
            &encapsulated,
            INFO,
            &sealed.ciphertext,
            EVENT,
        )
        .unwrap();
        assert_eq!(Personal::decode(plain.as_slice()).unwrap(), personal());
    }

    #[test]
    fn a3_we_open_what_another_implementation_of_rfc_9180_sealed() {
        let public = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(pair().public().as_bytes()).unwrap();
        let (encapsulated, ciphertext) =
            single_shot_seal::<AesGcm128, HkdfSha256, X25519HkdfSha256>(&OpModeS::Base, &public, INFO, &personal().encode_to_vec(), EVENT)
                .unwrap();
        let sealed = Sealed { key_id: pair().public().id().to_owned(), encapsulated: encapsulated.to_bytes().to_vec(), ciphertext };
        assert_eq!(pair().open(EVENT, &sealed), Some(personal()));
    }
}
