//! What the query of a listing says: read strictly, since a filter that is misspelt and passed over shows what was not asked for.

use std::borrow::Cow;

use carelink_platform::{
    clock::Timestamp,
    errors::{Failure, Reason},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use uuid::Uuid;

use crate::edge::Call;

const MAX_LIMIT: u32 = 1_000;
const MAX_VALUE: usize = 256;

/// What a parameter is, for the document.
macro_rules! parameters {
    ($($(#[$about:meta])* $name:ident $schema:tt)*) => {$(
        $(#[$about])*
        pub(crate) enum $name {}

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

parameters! {
    /// A text.
    Word {"type": "string", "maxLength": 256, "pattern": "^[^\\u0000]*$"}
    /// How many at once.
    Limit {"type": "integer", "minimum": 1, "maximum": 1_000}
    /// A time.
    Moment {"type": "string", "format": "date-time"}
    /// By what users are ordered.
    OrderName {"enum": ["name", "last_sign_in"]}
    /// Whether what was tried came to pass.
    OutcomeName {"enum": ["success", "failure"]}
}

/// The parameters of a query, each once and by a name that is known.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads it.
    pub(super) fn of(call: &Call, known: &[&str]) -> Result<Self, Failure> {
        let mut read: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(call.head.uri.query().unwrap_or_default().as_bytes()) {
            let sound = known.contains(&&*name) && read.iter().all(|(other, _)| *other != name);
            if !sound || value.len() > MAX_VALUE || value.contains('\0') {
                let text = format!("The query may say, each once: {}", known.join(", "));
                return Err(if known.is_empty() { wrong("There is no query here") } else { wrong(&text) });
            }
            read.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(read))
    }

    /// A text; empty where it is not there.
    pub(super) fn text(&self, name: &str) -> String {
        self.find(name).unwrap_or_default().to_owned()
    }

    /// How many at once; 0 where it is not said.
    pub(super) fn limit(&self) -> Result<u32, Failure> {
        let Some(text) = self.find("limit") else { return Ok(0) };
        text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)).ok_or_else(|| wrong("`limit` is a number from 1 to 1000"))
    }

    /// `true` or `false`, which it is where nothing is said.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Failure> {
        match self.find(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(wrong(&format!("`{name}` is true or false"))),
        }
    }

    /// An id; none where it is not there.
    pub(super) fn id(&self, name: &str) -> Result<Option<Uuid>, Failure> {
        let read = |text| Uuid::try_parse(text).map_err(|_| wrong(&format!("`{name}` is a UUID")));
        self.find(name).map(read).transpose()
    }

    /// A time; 0 where it is not there.
    pub(super) fn time(&self, name: &str) -> Result<i64, Failure> {
        let read = |text| Timestamp::parse_rfc3339(text).map_err(|_| wrong(&format!("`{name}` is a time such as 2026-03-01T07:00:00Z")));
        Ok(self.find(name).map(read).transpose()?.map_or(0, Timestamp::as_micros))
    }

    fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Says what would be right.
pub(super) fn wrong(text: &str) -> Failure {
    Failure::new(Reason::InputInvalid).message(text)
}

/// The last part of a path, where it is an id.
pub(super) fn id_of(call: &Call) -> Option<Uuid> {
    let (_, last) = call.head.uri.path().rsplit_once('/')?;
    Uuid::try_parse(last).ok()
}

/// A time of the contracts; none where it stands for never.
pub(super) fn moment(micros: i64) -> Option<Timestamp> {
    (micros != 0).then_some(Timestamp::from_micros(micros))
}

/// An id of the contracts; none where there is none.
pub(super) fn uuid(bytes: &[u8]) -> Option<Uuid> {
    Uuid::from_slice(bytes).ok()
}

/// Where the next page begins; none at the end.
pub(super) fn cursor(next: String) -> Option<String> {
    Some(next).filter(|next| !next.is_empty())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;

    use super::*;

    fn read(query: &str) -> Result<Query, Failure> {
        let head = Request::builder().uri(format!("/v1/sessions?{query}")).body(()).unwrap().into_parts().0;
        Query::of(&Call { head, body: Bytes::new(), client: [127, 0, 0, 1].into() }, &["cursor", "limit", "ended", "user", "since"])
    }

    #[test]
    fn a_query_is_read_by_names_that_are_known() {
        let query = read("cursor=a%20b&limit=7&ended=true&user=00000000-0000-0000-0000-000000000001&since=1970-01-01T00:00:01Z").unwrap();
        assert_eq!((query.text("cursor").as_str(), query.limit().unwrap(), query.flag("ended").unwrap()), ("a b", 7, true));
        assert_eq!((query.id("user").unwrap(), query.time("since").unwrap()), (Some(Uuid::from_u128(1)), 1_000_000));
        let nothing = read("").unwrap();
        assert_eq!((nothing.text("cursor").as_str(), nothing.limit().unwrap(), nothing.flag("ended").unwrap()), ("", 0, false));
        assert_eq!((nothing.id("user").unwrap(), nothing.time("since").unwrap()), (None, 0));
    }

    #[test]
    fn what_is_misspelt_or_does_not_fit_is_refused() {
        for query in ["curser=a", "limit=1&limit=2", "cursor=%00", &format!("cursor={}", "x".repeat(300)), "x"] {
            assert!(read(query).is_err(), "{query}");
        }
        for limit in ["0", "1001", "-1", "1.5", "", "x"] {
            assert!(read(&format!("limit={limit}")).unwrap().limit().is_err(), "{limit}");
        }
        assert!(read("ended=yes").unwrap().flag("ended").is_err());
        assert!(read("user=x").unwrap().id("user").is_err());
        assert!(read("since=yesterday").unwrap().time("since").is_err());
    }
}
