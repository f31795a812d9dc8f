//! The public keys in force, each bound to one algorithm (V5), and what tokens signed by them must say.

use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use bytes::Bytes;
use carelink_proto::token::{KeySet, PublicKey};

use crate::{
    jwks::{self, key_id},
    refusal::Refusal,
};

/// How a key signs. Bound to the key when it comes in; a token's header only has to agree. Never a symmetric one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// Ed25519 (RFC 8037).
    EdDsa,
    /// RSA, PKCS #1 v1.5, SHA-256.
    Rs256,
}

impl Algorithm {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "EdDSA" => Some(Self::EdDsa),
            "RS256" => Some(Self::Rs256),
            _ => None,
        }
    }
}

/// A public key.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) kid: Arc<str>,
    pub(crate) algorithm: Algorithm,
    verifying: ParsedPublicKey,
    public_key: Vec<u8>,
}

impl Key {
    /// `None` for an algorithm that is not accepted, a key that is none, or a kid that is not its thumbprint (K2).
    fn read(key: &PublicKey) -> Option<Self> {
        let algorithm = Algorithm::named(&key.algorithm)?;
        if key_id(&key.algorithm, &key.public_key).as_ref() != Some(&key.kid) {
            return None;
        }
        let verifying = match algorithm {
            Algorithm::EdDsa => ParsedPublicKey::new(&ED25519, &key.public_key),
            Algorithm::Rs256 => ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key.public_key),
        }
        .ok()?;
        Some(Self { kid: Arc::from(key.kid.as_str()), algorithm, verifying, public_key: key.public_key.clone() })
    }

    pub(crate) fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Whether `signature` is this key's over `signed`.
    pub(crate) fn verify(&self, signed: &str, signature: &[u8]) -> Result<(), Refusal> {
        self.verifying.verify_sig(signed.as_bytes(), signature).map_err(|_| Refusal::SignatureWrong)
    }
}

/// The key set with issuer and audience, as one immutable value: a token is judged by one of these, never by parts of two.
#[derive(Debug)]
pub(crate) struct KeyRing {
    keys: Vec<Key>,
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) digest: Vec<u8>,
    pub(crate) jwks: Bytes,
}

impl KeyRing {
    /// `None` if no key of the set can be used: a verifier never goes on with none (K2).
    pub(crate) fn read(set: &KeySet, issuer: &str, audience: &str) -> Option<Self> {
        let mut keys: Vec<Key> = Vec::with_capacity(set.keys.len());
        for key in &set.keys {
            match Key::read(key) {
                Some(read) if keys.iter().all(|held| held.kid != read.kid) => keys.push(read),
                _ => tracing::error!(kid = ?key.kid, algorithm = ?key.algorithm, "a published key cannot be used; its tokens are refused"),
            }
        }
        if keys.is_empty() {
            return None;
        }
        let jwks = jwks::render(&keys);
        Some(Self { keys, issuer: issuer.to_owned(), audience: audience.to_owned(), digest: set.digest.clone(), jwks })
    }

    pub(crate) fn find(&self, kid: &str) -> Option<&Key> {
        self.keys.iter().find(|key| &*key.kid == kid)
    }

    /// Whether every key of `earlier` is still here.
    pub(crate) fn keeps_all_of(&self, earlier: &Self) -> bool {
        earlier.keys.iter().all(|key| self.find(&key.kid).is_some())
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn public(seed: u8) -> PublicKey {
        use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

        use crate::jwks::thumbprint;
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let raw: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
        PublicKey { kid: thumbprint(&raw), algorithm: "EdDSA".into(), public_key: raw.to_vec() }
    }

    fn ring(keys: Vec<PublicKey>) -> Option<KeyRing> {
        KeyRing::read(&KeySet { keys, digest: vec![1] }, "i", "a")
    }

    #[test]
    fn k2_the_set_is_never_empty_and_alg_is_eddsa_with_public_members_only() {
        assert!(ring(vec![]).is_none());
        let ring = ring(vec![public(1), public(2)]).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&ring.jwks).unwrap();
        let keys = document["keys"].as_array().unwrap();
        assert_eq!(keys.len(), 2);
        for key in keys {
            let mut members: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
            members.sort_unstable();
            assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x"]);
            assert_eq!(
                (&key["alg"], &key["kty"], &key["crv"], &key["use"]),
                (&"EdDSA".into(), &"OKP".into(), &"Ed25519".into(), &"sig".into())
            );
        }
    }

    #[test]
    fn v5_symmetric_foreign_and_misnamed_keys_are_not_taken() {
        for algorithm in ["HS256", "none", "Ed25519", "RS256", "RS384", "PS256", "", "eddsa"] {
            assert!(ring(vec![PublicKey { algorithm: algorithm.into(), ..public(1) }]).is_none(), "{algorithm}");
        }
        assert!(ring(vec![PublicKey { kid: "other".into(), ..public(1) }]).is_none());
        assert!(ring(vec![PublicKey { public_key: vec![1; 31], ..public(1) }]).is_none());
        assert_eq!(ring(vec![public(1), public(1), PublicKey { algorithm: "HS256".into(), ..public(2) }]).unwrap().len(), 1);
    }

    pub(crate) fn rsa() -> PublicKey {
        use aws_lc_rs::signature::KeyPair;
        let der = crate::rsa::tests::PAIR.public_key().as_ref().to_vec();
        PublicKey { kid: key_id("RS256", &der).unwrap(), algorithm: "RS256".into(), public_key: der }
    }

    #[test]
    fn k2_a_mixed_set_names_each_keys_own_algorithm() {
        let ring = ring(vec![public(1), rsa()]).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&ring.jwks).unwrap();
        let key = &document["keys"][1];
        let mut members: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["alg", "e", "kid", "kty", "n", "use"]);
        assert_eq!((&key["alg"], &key["kty"], &key["e"]), (&"RS256".into(), &"RSA".into(), &"AQAB".into()));
        for wrong in ["EdDSA", "RS512", "HS256"] {
            assert!(ring_of(PublicKey { algorithm: wrong.into(), ..rsa() }).is_none(), "{wrong}");
        }
        assert!(ring_of(PublicKey { kid: public(1).kid, ..rsa() }).is_none());
    }

    fn ring_of(key: PublicKey) -> Option<KeyRing> {
        ring(vec![key])
    }
}
