//! What the trail keeps of an event: its bytes as delivered, and beside them what lists search for.

use std::collections::HashSet;

use aws_lc_rs::digest::{SHA256, digest};
use carelink_platform::{clock::Timestamp, events::EventType};
use carelink_proto::audit::{ActorKind, Event};
use prost::Message;
use uuid::Uuid;

/// How many events one call may bring.
pub const MAX_EVENTS: usize = 1_000;

/// What the kind of an event is that cannot be read (A4): the mark by which it is found.
pub const UNREADABLE: &str = "unreadable";

const ID_BYTES: usize = 16;
/// The first of the year 1: no engine has a time that all of them have before it, and no event of ours happened then.
pub const EARLIEST: Timestamp = Timestamp::from_micros(-62_135_596_800_000_000);
/// What restores and migrates writes by whichever outbox there is.
const COMMAND: &str = "carelink";
/// More than any type that this or a later version knows, and short enough for an index.
const MAX_INDEXED_BYTES: usize = 255;
/// Below the bound of a list that has none.
const LATEST: Timestamp = Timestamp::from_micros(i64::MAX - 1);

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What makes delivery idempotent.
    pub id: Uuid,
    /// When it happened; none where that cannot be read.
    pub time: Option<Timestamp>,
    /// Its type, or [`UNREADABLE`].
    pub kind: String,
    /// As on the wire.
    pub outcome: i32,
    /// Whom it concerns.
    pub subject: Option<Uuid>,
    /// The user who did it, where that is somebody else.
    pub actor_user: Option<Uuid>,
    /// Who did it, where that is no user: an operator or a service.
    pub actor: Option<String>,
    /// The session it concerns.
    pub session: Option<Uuid>,
    /// The session's own count.
    pub session_counter: u64,
    /// The trace it belongs to.
    pub trace_id: Option<[u8; 16]>,
    /// Who brought it, as the transport proved it.
    pub caller: String,
    /// Whether whoever brought it may not have written it.
    pub wrong_producer: bool,
    /// As delivered, byte for byte.
    pub body: Vec<u8>,
}

impl Record {
    /// Reads what `caller` delivered. Refuses nothing (A4): a field that does not fit is merely not searchable, what is no event
    /// at all is kept under an id made from its bytes, and what is not the caller's to write is marked.
    pub fn read(body: Vec<u8>, caller: &str) -> Self {
        match Event::decode(body.as_slice()) {
            Ok(event) if event.id.len() == ID_BYTES => Self::from_event(&event, body, caller),
            _ => Self::unreadable(body, caller),
        }
    }

    fn from_event(event: &Event, body: Vec<u8>, caller: &str) -> Self {
        let subject = Uuid::from_slice(&event.subject).ok();
        let user = event.actor.as_ref().filter(|actor| actor.kind() == ActorKind::User);
        let other = event.actor.as_ref().filter(|actor| actor.kind() != ActorKind::User && !actor.id.is_empty());
        Self {
            id: Uuid::from_slice(&event.id).unwrap_or_default(),
            time: Some(Timestamp::from_micros(event.time_us).clamp(EARLIEST, LATEST)),
            kind: indexed(&event.r#type),
            outcome: event.outcome,
            subject,
            actor_user: user.and_then(|actor| Uuid::parse_str(&actor.id).ok()).filter(|actor| Some(*actor) != subject),
            actor: other.map(|actor| indexed(&actor.id)),
            session: Uuid::from_slice(&event.session).ok(),
            session_counter: event.session_counter,
            trace_id: event.trace_id.as_slice().try_into().ok(),
            caller: caller.to_owned(),
            wrong_producer: !may_have_written(event, caller),
            body,
        }
    }

    fn unreadable(body: Vec<u8>, caller: &str) -> Self {
        let mut id = [0; ID_BYTES];
        id.iter_mut().zip(digest(&SHA256, &body).as_ref()).for_each(|(to, from)| *to = *from);
        Self {
            id: Uuid::from_bytes(id),
            time: None,
            kind: UNREADABLE.to_owned(),
            outcome: 0,
            subject: None,
            actor_user: None,
            actor: None,
            session: None,
            session_counter: 0,
            trace_id: None,
            caller: caller.to_owned(),
            wrong_producer: false,
            body,
        }
    }
}

/// Whether the type is one that the caller writes, and the event names the caller as its writer. A type that only a newer version knows
/// belongs to nobody yet.
fn may_have_written(event: &Event, caller: &str) -> bool {
    let named = event.service == COMMAND || caller.strip_suffix("-service").unwrap_or(caller) == event.service;
    named && EventType::named(&event.r#type).is_none_or(|kind| kind.may_come_from(caller))
}

/// What of a type or an actor every engine can keep and find.
fn indexed(text: &str) -> String {
    let text = text.replace('\0', "");
    let cut = text.char_indices().map(|(at, one)| at + one.len_utf8()).take_while(|end| *end <= MAX_INDEXED_BYTES).last().unwrap_or(0);
    text.get(..cut).unwrap_or_default().to_owned()
}

/// A record at its place in the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// From 1, without gaps.
    pub position: u64,
    /// When it happened, as far as anybody knows.
    pub time: Timestamp,
    /// When it got there.
    pub received: Timestamp,
    /// What.
    pub record: Record,
}

/// Numbers what is new: not among the `known`, and only the first of those with the same id (A4).
pub fn place(records: Vec<Record>, known: &HashSet<Uuid>, size: u64, received: Timestamp) -> Vec<Placed> {
    let mut seen = HashSet::with_capacity(records.len());
    let new = records.into_iter().filter(|record| !known.contains(&record.id) && seen.insert(record.id));
    (size.saturating_add(1)..)
        .zip(new)
        .map(|(position, record)| Placed { position, time: record.time.unwrap_or(received), received, record })
        .collect()
}

#[cfg(test)]
mod tests {
    use carelink_platform::events::{Actor, EventBuilder, EventType, stamp};

    use super::*;

    fn event() -> EventBuilder {
        EventBuilder::new("auth", EventType::UserDisabled, Uuid::from_u128(1), Timestamp::from_micros(5))
    }

    #[test]
    fn a4_an_event_is_kept_byte_for_byte_with_what_lists_search_for() {
        let body = event().subject(Uuid::from_u128(2)).session(Uuid::from_u128(3)).actor(Actor::User(Uuid::from_u128(4))).encode();
        let record = Record::read(body.clone(), "auth-service");
        assert_eq!(record.body, body);
        assert_eq!((record.id, record.time), (Uuid::from_u128(1), Some(Timestamp::from_micros(5))));
        assert_eq!((record.kind.as_str(), record.outcome), ("user.disabled", 1));
        assert_eq!((record.subject, record.session), (Some(Uuid::from_u128(2)), Some(Uuid::from_u128(3))));
        assert_eq!(record.actor_user, Some(Uuid::from_u128(4)));
    }

    #[test]
    fn a4_who_acts_on_themselves_is_found_by_the_subject_alone() {
        let record = Record::read(event().subject(Uuid::from_u128(2)).actor(Actor::User(Uuid::from_u128(2))).encode(), "auth-service");
        assert_eq!((record.subject, record.actor_user), (Some(Uuid::from_u128(2)), None));
        let service = "00000000-0000-0000-0000-000000000002";
        let record = Record::read(event().actor(Actor::Service(service.into())).encode(), "auth-service");
        assert_eq!((record.actor_user, record.actor.as_deref()), (None, Some(service)));
    }

    #[test]
    fn a1_what_the_relay_stamped_on_is_what_counts() {
        let mut body = event().subject(Uuid::from_u128(2)).encode();
        stamp(&mut body, Some(Uuid::from_u128(7)), None, Some(9));
        let record = Record::read(body, "auth-service");
        assert_eq!((record.subject, record.session_counter), (Some(Uuid::from_u128(7)), 9));
    }

    #[test]
    fn a4_what_cannot_be_read_is_kept_whole_and_marked() {
        for body in [vec![], vec![0xff; 40], event().encode().split_off(3), Event { id: vec![1; 15], ..Event::default() }.encode_to_vec()] {
            let record = Record::read(body.clone(), "gateway");
            assert_eq!((record.kind.as_str(), &record.body, record.time), (UNREADABLE, &body, None));
            assert_eq!((record.caller.as_str(), record.id), ("gateway", Record::read(body, "auth-service").id));
        }
        assert_ne!(Record::read(vec![1], "gateway").id, Record::read(vec![2], "gateway").id);
    }

    #[test]
    fn a4_a_field_that_does_not_fit_is_not_searchable_and_nothing_more() {
        let mut odd = event().build();
        (odd.subject, odd.session, odd.trace_id) = (vec![1; 3], vec![2; 17], vec![3; 8]);
        odd.r#type = "from.a.newer\0version".into();
        let record = Record::read(odd.encode_to_vec(), "auth-service");
        assert_eq!((record.subject, record.session, record.trace_id), (None, None, None));
        assert_eq!(record.kind, "from.a.newerversion");
    }

    #[test]
    fn a4_a_time_or_a_type_beyond_what_engines_keep_is_cut_and_the_body_is_not() {
        let mut odd = event().build();
        (odd.time_us, odd.r#type) = (i64::MIN, format!("{}é", "x".repeat(254)));
        let record = Record::read(odd.encode_to_vec(), "auth-service");
        assert_eq!((record.time, record.kind.len(), record.body), (Some(EARLIEST), 254, odd.encode_to_vec()));
        odd.time_us = i64::MAX;
        assert_eq!(Record::read(odd.encode_to_vec(), "auth-service").time, Some(LATEST));
    }

    #[test]
    fn a4_what_comes_from_the_wrong_producer_is_kept_whole_and_marked() {
        let body = event().encode();
        let marked = |body: &[u8], caller: &str| Record::read(body.to_vec(), caller).wrong_producer;
        assert!(!marked(&body, "auth-service"));
        for caller in ["gateway", "token-service", "audit-service", "billing"] {
            let record = Record::read(body.clone(), caller);
            assert_eq!((record.wrong_producer, record.caller.as_str(), &record.body), (true, caller, &body));
        }
        let started = |service| EventBuilder::new(service, EventType::ServiceStarted, Uuid::from_u128(1), Timestamp::ZERO).encode();
        assert!(!marked(&started("gateway"), "gateway"));
        assert!(marked(&started("auth"), "gateway"), "a type of its own, in the name of another");
        assert!(!marked(&started("carelink"), "auth-service"), "a command's, by whichever outbox there is");
        let newer = Event { r#type: "user.sent_home".into(), ..event().build() };
        assert!(!marked(&newer.encode_to_vec(), "auth-service") && marked(&newer.encode_to_vec(), "gateway"));
    }

    #[test]
    fn a4_only_what_is_new_is_numbered() {
        let record = |number| Record { id: Uuid::from_u128(number), ..Record::read(event().encode(), "auth-service") };
        let records = [1, 2, 2, 3, 4, 3].map(record).to_vec();
        let placed = place(records, &HashSet::from([Uuid::from_u128(1), Uuid::from_u128(4)]), 10, Timestamp::ZERO);
        let places: Vec<_> = placed.iter().map(|placed| (placed.position, placed.record.id.as_u128())).collect();
        assert_eq!(places, [(11, 2), (12, 3)]);
    }

    #[test]
    fn a4_what_has_no_time_happened_when_it_came() {
        let placed = place(
            vec![Record::read(vec![9], "gateway"), Record::read(event().encode(), "auth-service")],
            &HashSet::new(),
            0,
            Timestamp::from_secs(7),
        );
        assert_eq!((placed[0].time, placed[1].time), (Timestamp::from_secs(7), Timestamp::from_micros(5)));
    }
}
