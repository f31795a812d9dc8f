//! What a list asks for: the filter, the page, the cursor, and how an event is shown.

use std::time::Duration;

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
const MAX_ACTOR_BYTES: usize = 80;
const CURSOR_VERSION: u8 = 2;
/// How long a query may go on under the event that its first page wrote.
const QUERY_LASTS: Duration = Duration::from_secs(3_600);
/// What differs from page to page.
const OF_A_PAGE: [&str; 2] = ["page_size", "before"];

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
    /// Who did it, where that is no user.
    pub actor: Option<String>,
    /// Only those that their bringer may not have written.
    pub wrong_producer: bool,
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
    /// Where the page before stopped; none on the first one.
    pub after: Option<Cursor>,
    /// At most so many.
    pub size: u32,
}

/// Where a page stopped, and where in the trail the query that it is of is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Only positions below this one.
    pub before: u64,
    /// The position of the event that says who asked for what.
    pub reading: u64,
}

/// Reads a request.
pub fn parse(request: &ListEventsRequest) -> Result<(Filter, Page), Error> {
    let filter = Filter {
        user: id(&request.user, "user")?.map(Uuid::from_bytes),
        kind: Kind::parse(&request.r#type)?,
        outcome: Outcome::try_from(request.outcome).map_err(|_| Error::Input("there is no such outcome".to_owned()))?,
        session: id(&request.session, "session")?.map(Uuid::from_bytes),
        trace_id: id(&request.trace_id, "trace id")?,
        actor: actor(&request.actor)?,
        wrong_producer: request.wrong_producer,
        since: (request.since_us != 0).then(|| Timestamp::from_micros(request.since_us)),
        until: (request.until_us != 0).then(|| Timestamp::from_micros(request.until_us)),
    };
    let size = if request.page_size == 0 { DEFAULT_PAGE } else { request.page_size.min(MAX_PAGE) };
    let after = (!request.cursor.is_empty()).then(|| Cursor::decode(&request.cursor)).transpose()?;
    Ok((filter, Page { after, size }))
}

/// What proofs and services are called. Whoever reads is in the trail with what they asked for: nothing else gets in.
fn actor(text: &str) -> Result<Option<String>, Error> {
    let fits = text.len() <= MAX_ACTOR_BYTES && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b':'));
    let refused = || Error::Input("an actor is `uid:1000`, `cert:alice` or a service; users have a field of their own".to_owned());
    fits.then(|| Some(text.to_owned()).filter(|text| !text.is_empty())).ok_or_else(refused)
}

fn id(bytes: &[u8], what: &str) -> Result<Option<[u8; 16]>, Error> {
    match bytes {
        [] => Ok(None),
        bytes => bytes.try_into().map(Some).map_err(|_| Error::Input(format!("the {what} is not 16 bytes long"))),
    }
}

impl Cursor {
    /// Positions never change, and what comes later comes above: the last that was shown says where to go on.
    pub fn encode(self) -> String {
        let bytes = [&[CURSOR_VERSION][..], &self.before.to_be_bytes(), &self.reading.to_be_bytes()];
        URL_SAFE_NO_PAD.encode(bytes.concat())
    }

    fn decode(cursor: &str) -> Result<Self, Error> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| Error::Cursor)?;
        let Some((&[CURSOR_VERSION], rest)) = bytes.split_first_chunk() else { return Err(Error::Cursor) };
        let Some((before, reading)) = rest.split_first_chunk() else { return Err(Error::Cursor) };
        let reading = reading.try_into().map_err(|_| Error::Cursor)?;
        Ok(Self { before: u64::from_be_bytes(*before), reading: u64::from_be_bytes(reading) })
    }
}

/// Whether what lies at a cursor's place records this very query, made by the same reader not long ago: then its pages are in the trail
/// already (A7). A cursor is no secret and proves nothing: what it points to does.
pub fn records(found: &Found, asked: &Event) -> bool {
    let Ok(recorded) = Event::decode(found.body.as_slice()) else { return false };
    let particulars = |event: &Event| {
        let mut details = event.details.clone();
        details.retain(|key, _| !OF_A_PAGE.contains(&key.as_str()));
        details
    };
    let age = Duration::from_micros(u64::try_from(asked.time_us.saturating_sub(recorded.time_us)).unwrap_or(u64::MAX));
    !found.wrong_producer
        && recorded.r#type == asked.r#type
        && recorded.actor == asked.actor
        && recorded.subject == asked.subject
        && recorded.session == asked.session
        && particulars(&recorded) == particulars(asked)
        && age <= QUERY_LASTS
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
    if let Some(actor) = &filter.actor {
        event = event.detail("actor", Detail::word(actor));
    }
    if filter.wrong_producer {
        event = event.detail("wrong_producer", true);
    }
    if let Some(since) = filter.since {
        event = event.detail("since", since);
    }
    if let Some(until) = filter.until {
        event = event.detail("until", until);
    }
    match page.after {
        Some(Cursor { before, .. }) => event.detail("before", before),
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
    /// Who brought it; none where that was not kept yet.
    pub caller: Option<String>,
    /// Whether they may not have written it.
    pub wrong_producer: bool,
}

impl Found {
    /// As it is shown, its personal part opened.
    pub fn show(self, key: &SealingKeyPair) -> StoredEvent {
        let event = Event::decode(self.body.as_slice()).ok();
        let personal = event.as_ref().and_then(|event| key.open(&event.id, event.personal.as_ref()?));
        let unreadable = if event.is_none() { self.body } else { Vec::new() };
        StoredEvent {
            index: self.position,
            event,
            personal,
            received_us: self.received.as_micros(),
            unreadable,
            proven_caller: self.caller.unwrap_or_default(),
            wrong_producer: self.wrong_producer,
        }
    }
}

#[cfg(test)]
mod tests {
    use carelink_platform::events::{Actor, EventType};
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
    fn an_actor_is_named_as_the_trail_names_it() {
        let read =
            |actor: &str| parse(&ListEventsRequest { actor: actor.into(), ..ListEventsRequest::default() }).map(|(filter, _)| filter.actor);
        assert_eq!((read("").unwrap(), read("cert:alice").unwrap()), (None, Some("cert:alice".to_owned())));
        assert!(read("Amina Haddad").is_err() && read("a@b").is_err());
    }

    #[test]
    fn a7_a_page_is_of_a_query_only_where_the_trail_says_so() {
        let asked = |kind: &str, page_size, actor, at| {
            let request = ListEventsRequest { r#type: kind.into(), page_size, ..ListEventsRequest::default() };
            let (filter, page) = parse(&request).unwrap();
            let event = EventBuilder::new("audit", EventType::AuditRead, Uuid::nil(), Timestamp::from_secs(at));
            describe(&filter, page, event.actor(Actor::User(Uuid::from_u128(actor)))).build()
        };
        let found = |event: &Event, wrong_producer| Found {
            position: 1,
            received: Timestamp::ZERO,
            body: event.encode_to_vec(),
            caller: None,
            wrong_producer,
        };
        let first = asked("session.*", 10, 7, 100);
        assert!(records(&found(&first, false), &asked("session.*", 500, 7, 3_700)));
        for (why, other) in [
            ("another filter", asked("user.*", 10, 7, 100)),
            ("another reader", asked("session.*", 10, 8, 100)),
            ("long ago", asked("session.*", 10, 7, 3_701)),
            ("the clock was set back", asked("session.*", 10, 7, 99)),
        ] {
            assert!(!records(&found(&first, false), &other), "{why}");
        }
        assert!(!records(&found(&first, true), &first), "brought by somebody else");
        let mut other = first.clone();
        other.r#type = "session.ended".into();
        assert!(!records(&found(&other, false), &first), "another event");
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
            actor: "cert:alice".into(),
            wrong_producer: true,
            cursor: Cursor { before: 12, reading: 40 }.encode(),
            ..ListEventsRequest::default()
        };
        let (filter, page) = parse(&request).unwrap();
        let event = EventBuilder::new("audit", EventType::AuditRead, Uuid::nil(), Timestamp::ZERO);
        let event = describe(&filter, page, event).build();
        assert_eq!((event.subject, event.session), (vec![1; 16], vec![2; 16]));
        let said = |key: &str| event.details[key].as_str();
        assert_eq!((said("type"), said("outcome"), said("before"), said("page_size")), ("session.*", "failure", "12", "100"));
        assert_eq!(said("trace_id"), "03".repeat(16));
        assert_eq!((said("actor"), said("wrong_producer")), ("cert:alice", "true"));
        assert!(said("since") < said("until"));
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back(before: u64, reading: u64) {
            let cursor = Cursor { before, reading };
            prop_assert_eq!(Cursor::decode(&cursor.encode()).unwrap(), cursor);
        }

        #[test]
        fn no_other_text_is_a_cursor(text in ".{0,20}") {
            match Cursor::decode(&text) {
                Ok(cursor) => prop_assert_eq!(cursor.encode(), text),
                Err(error) => prop_assert!(matches!(error, Error::Cursor)),
            }
        }
    }
}
