//! What OPTIONS answers: the predecessor's descriptions of its endpoints, as recorded.

use bytes::Bytes;
use serde_json::{Map, Value, json};

/// A field of an endpoint.
struct Field<'a> {
    name: &'a str,
    read_only: bool,
}

/// Those of an endpoint that takes a POST, or none.
fn describe(name: &str, description: &str, fields: &[Field<'_>]) -> Bytes {
    let parses = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"];
    let mut page = json!({"name": name, "description": description, "renders": ["application/json"], "parses": parses});
    if !fields.is_empty() {
        let field = |field: &Field<'_>| {
            let about = json!({"type": "string", "required": !field.read_only, "read_only": field.read_only, "label": label(field.name)});
            (field.name.to_owned(), about)
        };
        let fields: Map<String, Value> = fields.iter().map(field).collect();
        page.as_object_mut().map(|page| page.insert("actions".to_owned(), json!({"POST": fields})));
    }
    Bytes::from(page.to_string())
}

/// Django's `pretty_name`: `user_name` is `User name`.
fn label(name: &str) -> String {
    let words = name.replace('_', " ");
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The descriptions of all endpoints.
#[derive(Debug)]
pub(crate) struct Metadata {
    pub(crate) obtain: Bytes,
    pub(crate) refresh: Bytes,
    pub(crate) verify: Bytes,
    pub(crate) blacklist: Bytes,
    pub(crate) me: Bytes,
}

impl Metadata {
    pub(crate) fn new(username_field: &str) -> Self {
        let input = |name| Field { name, read_only: false };
        Self {
            obtain: describe(
                "Token Obtain Pair",
                "Takes a set of user credentials and returns an access and refresh JSON web\ntoken pair to prove the authentication of those credentials.",
                &[input(username_field), input("password")],
            ),
            refresh: describe(
                "Token Refresh",
                "Takes a refresh type JSON web token and returns an access type JSON web\ntoken if the refresh token is valid.",
                &[input("refresh"), Field { name: "access", read_only: true }],
            ),
            verify: describe(
                "Token Verify",
                "Takes a token and indicates if it is valid.  This view provides no\ninformation about a token's fitness for a particular use.",
                &[input("token")],
            ),
            blacklist: describe(
                "Token Blacklist",
                "Takes a token and blacklists it. Must be used with the\n`rest_framework_simplejwt.token_blacklist` app installed.",
                &[input("refresh")],
            ),
            me: describe("Me", "", &[]),
        }
    }
}
