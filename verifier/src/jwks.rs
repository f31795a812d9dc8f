//! The key set as others read it: RFC 7638 thumbprints and the JWKS document (K2), and the digest heartbeats carry (K1).

use aws_lc_rs::digest::{Context, SHA256, digest as hash};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use carelink_proto::token::PublicKey;
use serde_json::json;

use crate::{
    keys::{Algorithm, Key},
    rsa::Components,
};

/// The `kid` of an Ed25519 public key: its RFC 7638 thumbprint (RFC 8037 appendix A.3).
pub fn thumbprint(public_key: &[u8; 32]) -> String {
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, URL_SAFE_NO_PAD.encode(public_key));
    URL_SAFE_NO_PAD.encode(hash(&SHA256, canonical.as_bytes()))
}

/// The `kid` of a published key of either algorithm; `None` where it is none. Of RS256 it is given as the RSAPublicKey of PKCS #1.
pub fn key_id(algorithm: &str, public_key: &[u8]) -> Option<String> {
    match Algorithm::named(algorithm)? {
        Algorithm::EdDsa => public_key.try_into().ok().map(thumbprint),
        Algorithm::Rs256 => {
            let Components { modulus, exponent } = Components::read(public_key)?;
            let (e, n) = (URL_SAFE_NO_PAD.encode(exponent), URL_SAFE_NO_PAD.encode(modulus));
            Some(URL_SAFE_NO_PAD.encode(hash(&SHA256, format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#).as_bytes())))
        }
    }
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
    let jwk = |key: &Key| match key.algorithm {
        Algorithm::EdDsa => Some(json!({
            "kty": "OKP", "crv": "Ed25519", "alg": key.algorithm.as_str(), "use": "sig", "kid": &*key.kid,
            "x": URL_SAFE_NO_PAD.encode(key.public_key()),
        })),
        Algorithm::Rs256 => Components::read(key.public_key()).map(|Components { modulus, exponent }| {
            json!({
                "kty": "RSA", "alg": key.algorithm.as_str(), "use": "sig", "kid": &*key.kid,
                "n": URL_SAFE_NO_PAD.encode(modulus), "e": URL_SAFE_NO_PAD.encode(exponent),
            })
        }),
    };
    let keys: Vec<_> = keys.iter().filter_map(jwk).collect();
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
