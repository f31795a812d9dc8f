//! Whether a key is the one that signed the source's tokens: with another, everybody would be signed out, and the report would not say so.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

/// Tokens that are looked at, from the newest on.
pub(crate) const LOOKED_AT: usize = 1_000;

/// What the newest outstanding tokens say of a key. Rows that hold no token at all are not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signatures {
    /// Signed with this key, in this way.
    pub ours: u64,
    /// Signed with another key.
    pub others: u64,
    /// The way in which others say they were signed, where it is not the one given.
    pub algorithm: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

impl Signatures {
    pub(crate) fn look_at(&mut self, token: &str, key: &[u8], algorithm: &str) {
        let Some((signed, signature)) = token.rsplit_once('.') else { return };
        let header = signed.split_once('.').and_then(|(header, _)| URL_SAFE_NO_PAD.decode(header).ok());
        let Some(Header { alg }) = header.and_then(|header| serde_json::from_slice(&header).ok()) else { return };
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return };
        let how = match algorithm {
            "HS384" => hmac::HMAC_SHA384,
            "HS512" => hmac::HMAC_SHA512,
            _ => hmac::HMAC_SHA256,
        };
        if alg == algorithm && hmac::verify(&hmac::Key::new(how, key), signed.as_bytes(), &signature).is_ok() {
            self.ours += 1;
            return;
        }
        self.others += 1;
        if alg != algorithm && matches!(alg.as_str(), "HS256" | "HS384" | "HS512") {
            self.algorithm = Some(alg);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7515, A.1.
    const TOKEN: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const KEY: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";

    fn seen(token: &str, key: &[u8], algorithm: &str) -> Signatures {
        let mut seen = Signatures::default();
        seen.look_at(token, key, algorithm);
        seen
    }

    #[test]
    fn l3_the_key_that_signed_is_told_from_another() {
        let key = URL_SAFE_NO_PAD.decode(KEY).unwrap();
        assert_eq!(seen(TOKEN, &key, "HS256"), Signatures { ours: 1, ..Signatures::default() });
        assert_eq!(seen(TOKEN, b"another", "HS256"), Signatures { others: 1, ..Signatures::default() });
        assert_eq!(seen(TOKEN, &key, "HS512"), Signatures { others: 1, algorithm: Some("HS256".into()), ..Signatures::default() });
    }

    #[test]
    fn l3_a_row_without_a_token_says_nothing_of_the_key() {
        for token in ["", "x", "a.b.c", "..", "e30.e30.AA", &"x".repeat(100_000)] {
            assert_eq!(seen(token, b"key", "HS256"), Signatures::default());
        }
    }
}
