//! The body of a request as the predecessor read it: JSON, a form, or a multipart form, and nothing else.
//!
//! Only the fields that are asked for are kept; of a repeated one the last counts. A request without a body has no fields, whatever
//! type it claims.

use std::fmt;

use axum::extract::{FromRequest, Multipart};
use bytes::Bytes;
use http::{Request, header::CONTENT_TYPE};
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::fields::{Given, number};

/// Why a body could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Not one of the three; the type as claimed.
    MediaType(String),
    /// Not JSON; where and why.
    Json(String),
    /// A multipart form that does not say what divides its parts.
    Boundary,
    /// JSON, but `null`.
    NoData,
    /// JSON, but no object; Python's name for what it is.
    NotADictionary(&'static str),
}

/// The fields called `names`.
pub(crate) async fn read<const N: usize>(content_type: &[u8], body: Bytes, names: [&str; N]) -> Result<[Given; N], Unreadable> {
    if body.is_empty() {
        return Ok([const { Given::Missing }; N]);
    }
    let claimed = String::from_utf8_lossy(content_type);
    let media_type = claimed.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        json(&body, names)
    } else if media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        Ok(form(&body, names))
    } else if media_type.eq_ignore_ascii_case("multipart/form-data") {
        multipart(&claimed, body, names).await
    } else {
        Err(Unreadable::MediaType(claimed.into_owned()))
    }
}

fn json<const N: usize>(body: &[u8], names: [&str; N]) -> Result<[Given; N], Unreadable> {
    let wrong = |error: serde_json::Error| Unreadable::Json(error.to_string());
    let text = std::str::from_utf8(body).map_err(|error| Unreadable::Json(error.to_string()))?;
    match text.trim_start().bytes().next() {
        Some(b'{') => {}
        _ => return Err(not_a_dictionary(serde_json::from_str(text).map_err(wrong)?)),
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let given = Object(names).deserialize(&mut reader).map_err(wrong)?;
    reader.end().map_err(wrong)?;
    Ok(given)
}

fn not_a_dictionary(value: &RawValue) -> Unreadable {
    match value.get().bytes().next() {
        Some(b'n') => Unreadable::NoData,
        Some(b'[') => Unreadable::NotADictionary("list"),
        Some(b'"') => Unreadable::NotADictionary("str"),
        Some(b't' | b'f') => Unreadable::NotADictionary("bool"),
        _ if value.get().contains(['.', 'e', 'E']) => Unreadable::NotADictionary("float"),
        _ => Unreadable::NotADictionary("int"),
    }
}

/// Reads an object and keeps the fields that were asked for.
struct Object<'a, const N: usize>([&'a str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Object<'_, N> {
    type Value = [Given; N];

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<[Given; N], D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Object<'_, N> {
    type Value = [Given; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<[Given; N], A::Error> {
        let mut given = [const { Given::Missing }; N];
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match self.0.iter().zip(&mut given).find(|(name, _)| **name == key) {
                Some((_, slot)) => *slot = field(map.next_value()?).map_err(A::Error::custom)?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(given)
    }
}

fn field(value: &RawValue) -> Result<Given, serde_json::Error> {
    let json = value.get();
    Ok(match json.bytes().next() {
        Some(b'"') => Given::Text(serde_json::from_str(json)?),
        Some(b'-' | b'0'..=b'9') => Given::Text(number(json)),
        Some(b'n') => Given::Null,
        _ => Given::NotText,
    })
}

fn form<const N: usize>(body: &[u8], names: [&str; N]) -> [Given; N] {
    let mut given = [const { Given::Missing }; N];
    for (key, value) in form_urlencoded::parse(body) {
        if let Some((_, slot)) = names.iter().zip(&mut given).find(|(name, _)| **name == key) {
            *slot = Given::Text(value.into_owned());
        }
    }
    given
}

/// A part that breaks off ends the form; what came before it counts. A file is one with a name, and counts whatever follows it.
async fn multipart<const N: usize>(content_type: &str, body: Bytes, names: [&str; N]) -> Result<[Given; N], Unreadable> {
    let request = Request::builder().header(CONTENT_TYPE, content_type).body(axum::body::Body::from(body));
    let request = request.map_err(|_| Unreadable::Boundary)?;
    let mut parts = Multipart::from_request(request, &()).await.map_err(|_| Unreadable::Boundary)?;
    let mut given = [const { Given::Missing }; N];
    while let Ok(Some(part)) = parts.next_field().await {
        let name = part.name().unwrap_or_default().to_owned();
        let is_file = part.file_name().is_some_and(|name| !name.is_empty());
        let Ok(bytes) = part.bytes().await else { break };
        if let Some((_, slot)) = names.iter().zip(&mut given).find(|(known, slot)| **known == name && **slot != Given::NotText) {
            *slot = if is_file { Given::NotText } else { Given::Text(String::from_utf8_lossy(&bytes).into_owned()) };
        }
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 2] = ["username", "password"];

    async fn of(content_type: &str, body: impl Into<Bytes>) -> Result<[Given; 2], Unreadable> {
        read(content_type.as_bytes(), body.into(), NAMES).await
    }

    fn text(text: &str) -> Given {
        Given::Text(text.to_owned())
    }

    #[tokio::test]
    async fn json_keeps_the_last_of_a_repeated_field_and_ignores_the_rest() {
        let body = r#" {"x": {"username": [1, "\ud800"]}, "username": "a", "p\u0061ssword": 1.50, "username": "ä\n\u00e9"} "#;
        assert_eq!(of("application/json; charset=utf-8", body).await, Ok([text("ä\né"), text("1.5")]));
        assert_eq!(of("APPLICATION/JSON", "{}").await, Ok([Given::Missing, Given::Missing]));
        assert_eq!(of("application/json", r#"{"username":null,"password":false}"#).await, Ok([Given::Null, Given::NotText]));
        assert_eq!(of("application/json", r#"{"username":[],"password":{}}"#).await, Ok([Given::NotText, Given::NotText]));
    }

    #[tokio::test]
    async fn what_is_json_but_no_object_is_named_as_python_would() {
        for (body, name) in [("[1]", "list"), (r#""x""#, "str"), ("1", "int"), ("-1.5", "float"), ("1e3", "float"), ("true", "bool")] {
            assert_eq!(of("application/json", body).await, Err(Unreadable::NotADictionary(name)), "{body}");
        }
        assert_eq!(of("application/json", "null").await, Err(Unreadable::NoData));
    }

    #[tokio::test]
    async fn what_is_not_json_is_an_error_and_never_a_crash() {
        let deep = "[".repeat(60_000);
        let deep_field = format!("{{\"username\":{}", "[".repeat(60_000));
        for body in [
            "{",
            "  ",
            "{\"username\":",
            "{\"username\":\"\\ud800\"}",
            "{\"a\":1}x",
            "{\"username\":NaN}",
            "\u{feff}{}",
            "nul",
            &deep,
            &deep_field,
        ] {
            assert!(matches!(of("application/json", body.to_owned()).await, Err(Unreadable::Json(_))), "{body:.40}");
        }
        for body in [&b"\xff\xfe"[..], b"{\"username\":\"\xff\"}", b"\0", b"{\"username\":\"\n\"}"] {
            assert!(matches!(of("application/json", Bytes::from_static(body)).await, Err(Unreadable::Json(_))));
        }
        let nested = format!("{{\"password\":{}{},\"username\":\"a\"}}", "[".repeat(20_000), "]".repeat(20_000));
        assert_eq!(of("application/json", nested).await, Ok([text("a"), Given::NotText]));
    }

    #[tokio::test]
    async fn forms_keep_the_last_and_blank_is_not_missing() {
        let form = "application/x-www-form-urlencoded";
        assert_eq!(of(form, "username=b&username=a+b%21&password=").await, Ok([text("a b!"), text("")]));
        assert_eq!(of(form, "username=%00%ff").await, Ok([text("\0\u{fffd}"), Given::Missing]));
        assert_eq!(of(form, "garbage").await, Ok([Given::Missing, Given::Missing]));
    }

    #[tokio::test]
    async fn multipart_forms_are_read_and_a_file_is_no_text() {
        let kind = "multipart/form-data; boundary=B";
        let part = |name: &str, value: &str| format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        let whole = format!("{}{}{}--B--\r\n", part("username", "b"), part("username", "a"), part("password", ""));
        assert_eq!(of(kind, whole).await, Ok([text("a"), text("")]));
        assert_eq!(of(kind, part("username\"; filename=\"f", "a") + "--B--\r\n").await, Ok([Given::NotText, Given::Missing]));
        let file_first = part("username\"; filename=\"f", "a") + &part("username", "b") + &part("password\"; filename=\"", "c");
        assert_eq!(of(kind, file_first + "--B--\r\n").await, Ok([Given::NotText, text("c")]));
        assert_eq!(of(kind, "garbage").await, Ok([Given::Missing, Given::Missing]));
        assert_eq!(of("multipart/form-data", "x").await, Err(Unreadable::Boundary));
    }

    #[tokio::test]
    async fn other_types_are_refused_in_their_own_words_unless_there_is_nothing_to_read() {
        for kind in ["text/plain; charset=utf-8", "", "garbage", "application/vnd.api+json"] {
            assert_eq!(of(kind, "{}").await, Err(Unreadable::MediaType(kind.to_owned())));
            assert_eq!(of(kind, "").await, Ok([Given::Missing, Given::Missing]));
        }
    }
}
