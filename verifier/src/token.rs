//! A token's outer form: three base64url parts and a header that names nothing we would have to follow (V5).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::{json, keys::Algorithm, refusal::Refusal};

/// Longest token that is looked at, bytes.
pub(crate) const MAX_BYTES: usize = 8 * 1024;

/// `typ` of every access token (RFC 9068).
pub(crate) const ACCESS_TYP: &str = "at+jwt";

/// Header members that change what a signature means or where its key comes from.
const FORBIDDEN: [&str; 8] = ["jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc"];

/// A compact JWS, taken apart. Nothing in it is trusted yet.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    /// What the signature covers.
    pub(crate) signed: &'a str,
    pub(crate) header: Header,
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

/// The header members that are looked at.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) alg: String,
    pub(crate) kid: Option<String>,
    pub(crate) typ: Option<String>,
}

/// Takes a token apart, strictly: canonical base64url without padding, exactly three parts, no forbidden header member.
pub(crate) fn split(token: &str) -> Result<Parts<'_>, Refusal> {
    if token.len() > MAX_BYTES {
        return Err(Refusal::Malformed);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(Refusal::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(Refusal::Malformed)?;
    let header = Header::read(&decode(header)?)?;
    Ok(Parts { signed, header, payload: decode(payload)?, signature: decode(signature)? })
}

impl Parts<'_> {
    /// The algorithm it claims, if it is one we accept at all. A symmetric one never is; of a token that has one and calls
    /// itself a refresh token we say that it is of the wrong kind. That chooses words; nothing is trusted by it.
    pub(crate) fn algorithm(&self) -> Result<Algorithm, Refusal> {
        Algorithm::named(&self.header.alg).ok_or_else(|| {
            let says_refresh = || json::object(&self.payload)?.get("token_type").map(|kind| kind == "refresh");
            let symmetric = self.header.alg.starts_with("HS");
            if symmetric && says_refresh() == Some(true) { Refusal::NotAccess } else { Refusal::AlgorithmWrong }
        })
    }
}

/// The engine refuses padding, foreign letters (so also a fourth part's dot) and trailing bits: one text per signature.
fn decode(part: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed)
}

impl Header {
    fn read(text: &[u8]) -> Result<Self, Refusal> {
        let members = json::object(text).ok_or(Refusal::Malformed)?;
        if FORBIDDEN.iter().any(|name| members.contains_key(*name)) {
            return Err(Refusal::Malformed);
        }
        let text = |name: &str| match members.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Refusal::Malformed),
        };
        Ok(Self { alg: text("alg")?.ok_or(Refusal::Malformed)?, kid: text("kid")?, typ: text("typ")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str) -> String {
        format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode("{}"), URL_SAFE_NO_PAD.encode([0; 64]))
    }

    #[test]
    fn v5_exactly_three_canonical_parts() {
        let good = token(r#"{"alg":"EdDSA"}"#);
        assert!(split(&good).is_ok());
        let (signed, signature) = good.rsplit_once('.').unwrap();
        for bad in [
            String::new(),
            ".".into(),
            "..".into(),
            "...".into(),
            signed.into(),
            format!("{good}."),
            format!(".{good}"),
            format!("{good}.AA"),
            format!("{good}=="),
            format!("{good} "),
            format!(" {good}"),
            format!("{signed}.\n{signature}"),
            format!("{signed}.{}", signature.replacen('A', "+", 1)),
            // 64 bytes end in a letter with four unused bits; only one of its sixteen spellings is read.
            format!("{signed}.{}B", signature.strip_suffix('A').unwrap()),
        ] {
            assert_eq!(split(&bad).unwrap_err(), Refusal::Malformed, "{bad}");
        }
    }

    #[test]
    fn v5_headers_that_bring_or_change_a_key_are_refused() {
        for name in FORBIDDEN {
            for value in ["null", "false", "true", "{}", "[]", "\"DEF\""] {
                let header = format!(r#"{{"alg":"EdDSA","{name}":{value}}}"#);
                assert_eq!(split(&token(&header)).unwrap_err(), Refusal::Malformed, "{header}");
            }
        }
    }

    #[test]
    fn v5_header_members_have_their_type_and_occur_once() {
        for header in [
            "{}",
            "[]",
            "null",
            r#"{"alg":null}"#,
            r#"{"alg":["EdDSA"]}"#,
            r#"{"alg":"EdDSA","kid":1}"#,
            r#"{"alg":"EdDSA","typ":{}}"#,
            r#"{"alg":"none","alg":"EdDSA"}"#,
            r#"{"alg":"EdDSA","kid":"a","kid":"b"}"#,
            r#"{"alg":"EdDSA","cnf":{"a":1,"a":2}}"#,
        ] {
            assert_eq!(split(&token(header)).unwrap_err(), Refusal::Malformed, "{header}");
        }
        assert!(split(&token(r#"{"alg":"EdDSA","new":[1]}"#)).is_ok(), "unknown members are ignored, as RFC 7515 asks");
    }

    #[test]
    fn v5_a_long_token_is_refused_unread() {
        let long = token(&format!(r#"{{"alg":"EdDSA","x":"{}"}}"#, "x".repeat(MAX_BYTES)));
        assert_eq!(split(&long).unwrap_err(), Refusal::Malformed);
        assert_eq!(split(&"a.".repeat(500_000)).unwrap_err(), Refusal::Malformed);
    }
}
