//! The key set as others read it: RFC 7638 thumbprints and the JWKS document (K2), and the digest heartbeats carry (K1).

use aws_lc_rs::digest::{Context, SHA256, digest as hash};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use carelink_proto::token::PublicKey;
use serde_json::json;

use crate::keys::{Algorithm, Key};

/// The `kid` of an Ed25519 public key: its RFC 7638 thumbprint (RFC 8037 appendix A.3).
pub fn thumbprint(public_key: &[u8; 32]) -> String {
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, URL_SAFE_NO_PAD.encode(public_key));
    URL_SAFE_NO_PAD.encode(hash(&SHA256, canonical.as_bytes()))
}

/// The digest of a key set: SHA-256 over kids and keys in order, each behind its length, so that no two sets share one.
pub fn key_set_digest(keys: &[PublicKey]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    for part in keys.iter().flat_map(|key| [key.kid.as_bytes(), &key.public_key]) {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref().to_vec()
}

/// The document, public members only.
pub(crate) fn render(keys: &[Key]) -> Bytes {
    let keys: Vec<_> = keys
        .iter()
        .map(|key| match key.algorithm {
            Algorithm::EdDsa => json!({
                "kty": "OKP", "crv": "Ed25519", "alg": key.algorithm.as_str(), "use": "sig", "kid": &*key.kid,
                "x": URL_SAFE_NO_PAD.encode(key.public_key()),
            }),
        })
        .collect();
    json!({ "keys": keys }).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k2_kid_is_the_rfc_7638_thumbprint() {
        // RFC 8037, appendix A.
        let x = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        assert_eq!(thumbprint(&x.try_into().unwrap()), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn k1_the_digest_tells_every_two_sets_apart() {
        let key = |kid: &str, public_key: &[u8]| PublicKey { kid: kid.into(), algorithm: "EdDSA".into(), public_key: public_key.to_vec() };
        let sets = [
            vec![],
            vec![key("ab", b"c")],
            vec![key("a", b"bc")],
            vec![key("a", b"b"), key("", b"c")],
            vec![key("", b"c"), key("a", b"b")],
        ];
        for (at, set) in sets.iter().enumerate() {
            assert_eq!(key_set_digest(set).len(), 32);
            assert!(sets.iter().skip(at + 1).all(|other| key_set_digest(other) != key_set_digest(set)));
        }
    }
}
