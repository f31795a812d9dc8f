//! Public keys as others write them (RFC 7517): a JWK, or a set of them. What is symmetric or private is refused, not passed over.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use carelink_proto::token::PublicKey;
use carelink_verifier::key_id;
use serde::Deserialize;
use serde_json::Value;

/// Keys that can be used, and why others cannot.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) keys: Vec<PublicKey>,
    pub(super) passed_over: Vec<String>,
}

/// What is looked at of a key. A member that occurs twice is an error.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    n: Option<String>,
    e: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    kid: Option<String>,
    d: Option<Value>,
    k: Option<Value>,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

/// Reads a document.
pub(super) fn read(text: &[u8]) -> Result<Read, String> {
    let value: Value = serde_json::from_slice(text).map_err(|error| format!("that is no JSON: {error}"))?;
    let wrong = |error: serde_json::Error| format!("that is no JWK: {error}");
    let keys = match value.get("keys") {
        Some(_) => serde_json::from_slice::<Set>(text).map_err(wrong)?.keys,
        None => vec![serde_json::from_slice::<Jwk>(text).map_err(wrong)?],
    };
    let mut read = Read::default();
    for (at, key) in keys.into_iter().enumerate() {
        let named = key.kid.clone().unwrap_or_else(|| format!("number {}", at + 1));
        if key.kty == "oct" || key.k.is_some() {
            return Err(format!(
                "key {named} is symmetric: whoever can check tokens with it can make them; it belongs to nobody but its owner"
            ));
        }
        if key.d.is_some() {
            return Err(format!("key {named} is a private one; give its public half"));
        }
        match public(key) {
            Ok(key) => read.keys.push(key),
            Err(why) => read.passed_over.push(format!("key {named}: {why}")),
        }
    }
    match read.keys.is_empty() {
        false => Ok(read),
        true if read.passed_over.is_empty() => Err("there is no key in it".to_owned()),
        true => Err(format!("no key can be used; {}", read.passed_over.join("; "))),
    }
}

fn public(key: Jwk) -> Result<PublicKey, &'static str> {
    let (algorithm, public_key) = match (key.kty.as_str(), key.crv.as_deref()) {
        ("OKP", Some("Ed25519")) => ("EdDSA", bytes(key.x).ok_or("has no 32 bytes in `x`")?),
        ("RSA", _) => ("RS256", bytes(key.n).zip(bytes(key.e)).map(|(n, e)| rsa(&n, &e)).ok_or("has no numbers in `n` and `e`")?),
        _ => return Err("is neither of Ed25519 nor of RSA"),
    };
    if key.alg.is_some_and(|alg| alg != algorithm) {
        return Err("is for another algorithm than EdDSA or RS256");
    }
    if key.r#use.is_some_and(|of| of != "sig") {
        return Err("is not for signatures");
    }
    let kid = key_id(algorithm, &public_key).ok_or("has no 32 bytes in `x`, or no modulus of 2048 to 4096 bits")?;
    match key.kid {
        Some(named) if named != kid => Err("is not called by its thumbprint (RFC 7638), as all of ours are"),
        _ => Ok(PublicKey { kid, algorithm: algorithm.into(), public_key }),
    }
}

fn bytes(text: Option<String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text?).ok()
}

/// The RSAPublicKey of PKCS #1, as verifiers take it. Whether the numbers can be used is for them to say.
fn rsa(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let integer = |digits: &[u8]| {
        let sign = digits.first().is_some_and(|first| *first >= 0x80).then_some(0);
        element(0x02, &sign.into_iter().chain(digits.iter().copied()).collect::<Vec<_>>())
    };
    element(0x30, &[integer(modulus), integer(exponent)].concat())
}

/// One element of DER.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let length = match (high, low) {
        (0, 0..=0x7f) => vec![low],
        (0, _) => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [vec![tag], length, content.to_vec()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037, appendix A.
    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    #[test]
    fn v5_a_key_is_taken_alone_or_in_a_set_with_or_without_its_name() {
        let bare = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{X}"}}"#);
        let named = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{X}","kid":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k","use":"sig"}}"#);
        for text in [bare.clone(), named.clone(), format!(r#"{{"keys":[{bare}]}}"#), format!(r#"{{"keys":[{named}]}}"#)] {
            let read = read(text.as_bytes()).unwrap();
            assert_eq!((read.keys[0].kid.as_str(), read.keys.len()), ("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", 1), "{text}");
        }
        let mixed = format!(r#"{{"keys":[{bare},{{"kty":"EC","crv":"P-256","x":"a","kid":"other"}}]}}"#);
        let read = read(mixed.as_bytes()).unwrap();
        assert_eq!((read.keys.len(), read.passed_over), (1, vec!["key other: is neither of Ed25519 nor of RSA".to_owned()]));
    }

    #[test]
    fn v5_an_rsa_key_is_taken_by_its_numbers() {
        // RFC 7638, section 3.1.
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknj\
                 hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5\
                 hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let read = read(format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB","alg":"RS256"}}"#).as_bytes()).unwrap();
        assert_eq!((read.keys[0].kid.as_str(), read.keys[0].algorithm.as_str()), ("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "RS256"));
    }

    #[test]
    fn v5_symmetric_private_misnamed_and_doubled_keys_are_refused() {
        let okp = |more: &str| format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{X}"{more}}}"#);
        for (text, why) in [
            (r#"{"kty":"oct","k":"c2VjcmV0"}"#.to_owned(), "symmetric"),
            (format!(r#"{{"keys":[{},{{"kty":"oct","k":"AA"}}]}}"#, okp("")), "symmetric"),
            (okp(r#","d":"AA""#), "private"),
            (okp(r#","kid":"another""#), "thumbprint"),
            (okp(r#","alg":"HS256""#), "another algorithm"),
            (okp(r#","use":"enc""#), "not for signatures"),
            (okp(r#","x":"AA""#), "duplicate field"),
            (r#"{"kty":"OKP","crv":"Ed25519","x":"AA"}"#.to_owned(), "32 bytes"),
            (r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#.to_owned(), "modulus of 2048"),
            (r#"{"keys":[]}"#.to_owned(), "no key in it"),
            ("[]".to_owned(), "no JWK"),
            ("none".to_owned(), "no JSON"),
        ] {
            let refused = read(text.as_bytes()).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}
