//! Bodies of our own paths: one JSON object, read strictly. An unknown member is an error, so is one that is there twice: who misspells
//! `cookies` must not get tokens.

use std::borrow::Cow;

use carelink_platform::errors::{Failure, Reason};
use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};
use serde_json::error::Category;

use crate::edge::Call;

/// A text that somebody typed: anything but NUL, which no database takes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) String);

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Text") // it may be a password
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.contains('\0') { Err(D::Error::custom("a NUL")) } else { Ok(Self(text)) }
    }
}

impl JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[^\\u0000]*$"})
    }
}

/// Reads a body.
pub(super) fn read<T: DeserializeOwned>(call: &Call) -> Result<T, Failure> {
    if !is_json(&call.head.headers) {
        return Err(Failure::new(Reason::MediaTypeUnsupported));
    }
    serde_json::from_slice(&call.body).map_err(|error| Failure::new(Reason::InputInvalid).message(wrong(&error)))
}

fn is_json(headers: &HeaderMap) -> bool {
    let one = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    let media_type = one(CONTENT_TYPE).and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    let plain = one(CONTENT_ENCODING).is_none_or(|coding| coding.trim().eq_ignore_ascii_case("identity"));
    media_type.eq_ignore_ascii_case("application/json") && plain
}

/// What is wrong, without repeating anything that was sent.
fn wrong(error: &serde_json::Error) -> String {
    let at = format!("line {}, column {}", error.line(), error.column());
    let told = error.to_string();
    match error.classify() {
        Category::Data if told.starts_with("missing field `") || told.starts_with("duplicate field `") => {
            format!("The body does not fit: {told}") // these names are ours
        }
        Category::Data => format!("The body does not fit what /openapi.json says, at {at}"),
        _ if error.line() <= 1 && error.column() == 0 => "A body is missing: one JSON object".to_owned(),
        _ => format!("The body is not JSON, at {at}"),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Asked {
        name: Text,
        #[serde(default)]
        cookies: bool,
    }

    fn asked(kind: &str, body: &'static [u8]) -> Result<Asked, (Reason, String)> {
        let head = Request::builder().header(CONTENT_TYPE, kind).body(()).unwrap().into_parts().0;
        let call = Call { head, body: Bytes::from_static(body), client: [127, 0, 0, 1].into() };
        read(&call).map_err(|failure| (failure.reason(), failure.text().to_owned()))
    }

    #[test]
    fn one_object_of_known_members_is_read() {
        for kind in ["application/json", "Application/JSON ; charset=utf-8"] {
            let read = asked(kind, br#" {"name": "a\u00e9", "cookies": true} "#).unwrap();
            assert!(read.name.0 == "a\u{e9}" && read.cookies);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_without_repeating_it() {
        for body in [
            &b""[..],
            b"{",
            b"[]",
            b"null",
            b"{}",
            br#"{"name":"canary","name":"canary"}"#,
            br#"{"name":"a","canary":1}"#,
            br#"{"name":"canary\u0000"}"#,
            br#"{"name":"\ud800canary"}"#,
            br#"{"name":7}"#,
            br#"{"name":"a"}canary"#,
            b"{\"name\":\"\xff\"}",
        ] {
            let (reason, text) = asked("application/json", body).unwrap_err();
            assert!(reason == Reason::InputInvalid && !text.contains("canary"), "{text}");
        }
        for kind in ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"] {
            assert_eq!(asked(kind, b"{}").unwrap_err().0, Reason::MediaTypeUnsupported, "{kind}");
        }
    }
}
