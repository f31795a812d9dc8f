//! What a list asks for: the filter, the page, the cursor, and how an event is shown.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use carelink_platform::{
    clock::Timestamp,
    events::{Detail, EventBuilder},
    seal::SealingKeyPair,
};
use carelink_proto::audit::{Event, ListEventsRequest, Outcome, StoredEvent};
use prost::Message;
use uuid::Uuid;

use crate::error::Error;

const DEFAULT_PAGE: u32 = 100;
const MAX_PAGE: u32 = 1_000;
const MAX_KIND_BYTES: usize = 64;
/// Above every character that a kind can go on with.
const ABOVE_ALL: char = char::MAX;
/// Above the end of a kind, below whatever it can go on with but NUL, which is none.
const ABOVE_END: char = '\u{1}';
const CURSOR_VERSION: u8 = 1;

/// Which events; every part that is set narrows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Whom it concerns, or who did it.
    pub user: Option<Uuid>,
    /// Which types.
    pub kind: Kind,
    /// How it ended.
    pub outcome: Outcome,
    /// The session.
    pub session: Option<Uuid>,
    /// The trace.
    pub trace_id: Option<[u8; 16]>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

/// Which types of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All.
    Any,
    /// This one.
    Exactly(String),
    /// Those that begin like this.
    Beginning(String),
}

impl Kind {
    /// Reads `session.*`. Whoever reads the trail is in the trail, with their filter: so only what our names are made of gets in.
    fn parse(text: &str) -> Result<Self, Error> {
        let (name, open) = text.strip_suffix('*').map_or((text, false), |name| (name, true));
        let fits = name.len() <= MAX_KIND_BYTES && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.'));
        match (fits, open, name) {
            (false, ..) => Err(Error::Input("an event type is made of a to z, 0 to 9, `_` and `.`; a `*` may end it".to_owned())),
            (true, _, "") => Ok(Self::Any),
            (true, false, name) => Ok(Self::Exactly(name.to_owned())),
            (true, true, name) => Ok(Self::Beginning(name.to_owned())),
        }
    }

    /// The range of names: from the first to below the second.
    pub fn range(&self) -> (String, String) {
        match self {
            Self::Any => (String::new(), ABOVE_ALL.to_string()),
            Self::Exactly(name) => (name.clone(), format!("{name}{ABOVE_END}")),
            Self::Beginning(name) => (name.clone(), format!("{name}{ABOVE_ALL}")),
        }
    }
}

/// Which part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Only positions below this one; none on the first page.
    pub before: Option<u64>,
    /// At most so many.
    pub size: u32,
}

/// Reads a request.
pub fn parse(request: &ListEventsRequest) -> Result<(Filter, Page), Error> {
    let filter = Filter {
        user: id(&request.user, "user")?.map(Uuid::from_bytes),
        kind: Kind::parse(&request.r#type)?,
        outcome: Outcome::try_from(request.outcome).map_err(|_| Error::Input("there is no such outcome".to_owned()))?,
        session: id(&request.session, "session")?.map(Uuid::from_bytes),
        trace_id: id(&request.trace_id, "trace id")?,
        since: (request.since_us != 0).then(|| Timestamp::from_micros(request.since_us)),
        until: (request.until_us != 0).then(|| Timestamp::from_micros(request.until_us)),
    };
    let size = if request.page_size == 0 { DEFAULT_PAGE } else { request.page_size.min(MAX_PAGE) };
    let before = (!request.cursor.is_empty()).then(|| decode_cursor(&request.cursor)).transpose()?;
    Ok((filter, Page { before, size }))
}

fn id(bytes: &[u8], what: &str) -> Result<Option<[u8; 16]>, Error> {
    match bytes {
        [] => Ok(None),
        bytes => bytes.try_into().map(Some).map_err(|_| Error::Input(format!("the {what} is not 16 bytes long"))),
    }
}

/// A cursor is the last position that was shown: positions never change, and what comes later comes above.
pub fn encode_cursor(position: u64) -> String {
    let [a, b, c, d, e, f, g, h] = position.to_be_bytes();
    URL_SAFE_NO_PAD.encode([CURSOR_VERSION, a, b, c, d, e, f, g, h])
}

fn decode_cursor(cursor: &str) -> Result<u64, Error> {
    match URL_SAFE_NO_PAD.decode(cursor).as_deref() {
        Ok(&[CURSOR_VERSION, a, b, c, d, e, f, g, h]) => Ok(u64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => Err(Error::Cursor),
    }
}

/// Writes into the event that records a reading what was asked for (A7).
pub fn describe(filter: &Filter, page: Page, event: EventBuilder) -> EventBuilder {
    let mut event = event.detail("page_size", page.size);
    if let Some(user) = filter.user {
        event = event.subject(user);
    }
    if let Some(session) = filter.session {
        event = event.session(session);
    }
    event = match &filter.kind {
        Kind::Any => event,
        Kind::Exactly(name) => event.detail("type", Detail::word(name)),
        Kind::Beginning(name) => event.detail("type", Detail::word(&format!("{name}*"))),
    };
    event = match filter.outcome {
        Outcome::Unspecified => event,
        Outcome::Success => event.detail("outcome", "success"),
        Outcome::Failure => event.detail("outcome", "failure"),
    };
    if let Some(trace) = &filter.trace_id {
        event = event.detail("trace_id", Detail::hex(trace));
    }
    if let Some(since) = filter.since {
        event = event.detail("since", since);
    }
    if let Some(until) = filter.until {
        event = event.detail("until", until);
    }
    match page.before {
        Some(before) => event.detail("before", before),
        None => event,
    }
}

/// An event as it lies in the trail.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its place.
    pub position: u64,
    /// When it got there.
    pub received: Timestamp,
    /// As delivered.
    pub body: Vec<u8>,
}

impl Found {
    /// As it is shown, its personal part opened.
    pub fn show(self, key: &SealingKeyPair) -> StoredEvent {
        let event = Event::decode(self.body.as_slice()).ok();
        let personal = event.as_ref().and_then(|event| key.open(&event.id, event.personal.as_ref()?));
        let unreadable = if event.is_none() { self.body } else { Vec::new() };
        StoredEvent { index: self.position, event, personal, received_us: self.received.as_micros(), unreadable }
    }
}

#[cfg(test)]
mod tests {
    use carelink_platform::events::EventType;
    use proptest::prelude::*;

    use super::*;

    fn parse_kind(text: &str) -> Result<Kind, Error> {
        parse(&ListEventsRequest { r#type: text.to_owned(), ..ListEventsRequest::default() }).map(|(filter, _)| filter.kind)
    }

    #[test]
    fn a_type_is_a_name_or_the_beginning_of_one() {
        assert_eq!(parse_kind("").unwrap(), Kind::Any);
        assert_eq!(parse_kind("*").unwrap(), Kind::Any);
        assert_eq!(parse_kind("session.ended").unwrap(), Kind::Exactly("session.ended".into()));
        assert_eq!(parse_kind("session.*").unwrap(), Kind::Beginning("session.".into()));
        for wrong in ["Amina", "a@b.c", "a*b", "**", "ä", "a b", &"a".repeat(65)] {
            assert!(parse_kind(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_range_of_names_holds_what_it_says_and_no_other() {
        let within = |kind: Kind, name: &str| {
            let (from, below) = kind.range();
            from.as_str() <= name && name < below.as_str()
        };
        for kind in EventType::ALL {
            let name = kind.as_str();
            assert!(within(Kind::Any, name));
            assert!(within(Kind::Exactly(name.into()), name));
            assert!(!within(Kind::Exactly(name.into()), &format!("{name}.more")));
            assert_eq!(within(Kind::Beginning("session.re".into()), name), name.starts_with("session.re"));
        }
    }

    #[test]
    fn an_id_of_another_length_is_refused_with_its_name() {
        let request = ListEventsRequest { trace_id: vec![1; 15], ..ListEventsRequest::default() };
        assert_eq!(parse(&request).unwrap_err().to_string(), "the trace id is not 16 bytes long");
        assert!(parse(&ListEventsRequest { outcome: 9, ..ListEventsRequest::default() }).is_err());
    }

    #[test]
    fn a_page_is_a_hundred_and_a_thousand_at_most() {
        let size = |page_size| parse(&ListEventsRequest { page_size, ..ListEventsRequest::default() }).unwrap().1.size;
        assert_eq!((size(0), size(7), size(u32::MAX)), (100, 7, 1_000));
    }

    #[test]
    fn a7_the_event_of_a_reading_says_what_was_asked_for() {
        let request = ListEventsRequest {
            user: vec![1; 16],
            r#type: "session.*".into(),
            outcome: Outcome::Failure.into(),
            session: vec![2; 16],
            trace_id: vec![3; 16],
            since_us: 1_000_000,
            until_us: 2_000_000,
            cursor: encode_cursor(12),
            ..ListEventsRequest::default()
        };
        let (filter, page) = parse(&request).unwrap();
        let event = EventBuilder::new("audit", EventType::AuditRead, Uuid::nil(), Timestamp::ZERO);
        let event = describe(&filter, page, event).build();
        assert_eq!((event.subject, event.session), (vec![1; 16], vec![2; 16]));
        let said = |key: &str| event.details[key].as_str();
        assert_eq!((said("type"), said("outcome"), said("before"), said("page_size")), ("session.*", "failure", "12", "100"));
        assert_eq!(said("trace_id"), "03".repeat(16));
        assert!(said("since") < said("until"));
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back(position: u64) {
            prop_assert_eq!(decode_cursor(&encode_cursor(position)).unwrap(), position);
        }

        #[test]
        fn no_other_text_is_a_cursor(text in ".{0,20}") {
            match decode_cursor(&text) {
                Ok(position) => prop_assert_eq!(encode_cursor(position), text),
                Err(error) => prop_assert!(matches!(error, Error::Cursor)),
            }
        }
    }
}
