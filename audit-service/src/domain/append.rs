//! What the trail keeps of an event: its bytes as delivered, and beside them what lists search for.

use std::collections::HashSet;

use aws_lc_rs::digest::{SHA256, digest};
use carelink_platform::clock::Timestamp;
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
/// More than any type that this or a later version knows, and short enough for an index.
const MAX_KIND_BYTES: usize = 255;
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
    /// The session it concerns.
    pub session: Option<Uuid>,
    /// The session's own count.
    pub session_counter: u64,
    /// The trace it belongs to.
    pub trace_id: Option<[u8; 16]>,
    /// As delivered, byte for byte.
    pub body: Vec<u8>,
}

impl Record {
    /// Reads what was delivered. Refuses nothing (A4): a field that does not fit is merely not searchable, and what is no event
    /// at all is kept under an id made from its bytes.
    pub fn read(body: Vec<u8>) -> Self {
        match Event::decode(body.as_slice()) {
            Ok(event) if event.id.len() == ID_BYTES => Self::from_event(&event, body),
            _ => Self::unreadable(body),
        }
    }

    fn from_event(event: &Event, body: Vec<u8>) -> Self {
        let subject = Uuid::from_slice(&event.subject).ok();
        let actor = event.actor.as_ref().filter(|actor| actor.kind() == ActorKind::User);
        Self {
            id: Uuid::from_slice(&event.id).unwrap_or_default(),
            time: Some(Timestamp::from_micros(event.time_us).clamp(EARLIEST, LATEST)),
            kind: kind(&event.r#type),
            outcome: event.outcome,
            subject,
            actor_user: actor.and_then(|actor| Uuid::parse_str(&actor.id).ok()).filter(|actor| Some(*actor) != subject),
            session: Uuid::from_slice(&event.session).ok(),
            session_counter: event.session_counter,
            trace_id: event.trace_id.as_slice().try_into().ok(),
            body,
        }
    }

    fn unreadable(body: Vec<u8>) -> Self {
        let mut id = [0; ID_BYTES];
        id.iter_mut().zip(digest(&SHA256, &body).as_ref()).for_each(|(to, from)| *to = *from);
        Self {
            id: Uuid::from_bytes(id),
            time: None,
            kind: UNREADABLE.to_owned(),
            outcome: 0,
            subject: None,
            actor_user: None,
            session: None,
            session_counter: 0,
            trace_id: None,
            body,
        }
    }
}

/// What of a type every engine can keep and find.
fn kind(text: &str) -> String {
    let text = text.replace('\0', "");
    let cut = text.char_indices().map(|(at, one)| at + one.len_utf8()).take_while(|end| *end <= MAX_KIND_BYTES).last().unwrap_or(0);
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
        let record = Record::read(body.clone());
        assert_eq!(record.body, body);
        assert_eq!((record.id, record.time), (Uuid::from_u128(1), Some(Timestamp::from_micros(5))));
        assert_eq!((record.kind.as_str(), record.outcome), ("user.disabled", 1));
        assert_eq!((record.subject, record.session), (Some(Uuid::from_u128(2)), Some(Uuid::from_u128(3))));
        assert_eq!(record.actor_user, Some(Uuid::from_u128(4)));
    }

    #[test]
    fn a4_who_acts_on_themselves_is_found_by_the_subject_alone() {
        let record = Record::read(event().subject(Uuid::from_u128(2)).actor(Actor::User(Uuid::from_u128(2))).encode());
        assert_eq!((record.subject, record.actor_user), (Some(Uuid::from_u128(2)), None));
        let record = Record::read(event().actor(Actor::Service("00000000-0000-0000-0000-000000000002".into())).encode());
        assert_eq!(record.actor_user, None);
    }

    #[test]
    fn a1_what_the_relay_stamped_on_is_what_counts() {
        let mut body = event().subject(Uuid::from_u128(2)).encode();
        stamp(&mut body, Some(Uuid::from_u128(7)), None, Some(9));
        let record = Record::read(body);
        assert_eq!((record.subject, record.session_counter), (Some(Uuid::from_u128(7)), 9));
    }

    #[test]
    fn a4_what_cannot_be_read_is_kept_whole_and_marked() {
        for body in [vec![], vec![0xff; 40], event().encode().split_off(3), Event { id: vec![1; 15], ..Event::default() }.encode_to_vec()] {
            let record = Record::read(body.clone());
            assert_eq!((record.kind.as_str(), &record.body, record.time), (UNREADABLE, &body, None));
            assert_eq!(record.id, Record::read(body).id);
        }
        assert_ne!(Record::read(vec![1]).id, Record::read(vec![2]).id);
    }

    #[test]
    fn a4_a_field_that_does_not_fit_is_not_searchable_and_nothing_more() {
        let mut odd = event().build();
        (odd.subject, odd.session, odd.trace_id) = (vec![1; 3], vec![2; 17], vec![3; 8]);
        odd.r#type = "from.a.newer\0version".into();
        let record = Record::read(odd.encode_to_vec());
        assert_eq!((record.subject, record.session, record.trace_id), (None, None, None));
        assert_eq!(record.kind, "from.a.newerversion");
    }

    #[test]
    fn a4_a_time_or_a_type_beyond_what_engines_keep_is_cut_and_the_body_is_not() {
        let mut odd = event().build();
        (odd.time_us, odd.r#type) = (i64::MIN, format!("{}é", "x".repeat(254)));
        let record = Record::read(odd.encode_to_vec());
        assert_eq!((record.time, record.kind.len(), record.body), (Some(EARLIEST), 254, odd.encode_to_vec()));
        odd.time_us = i64::MAX;
        assert_eq!(Record::read(odd.encode_to_vec()).time, Some(LATEST));
    }

    #[test]
    fn a4_only_what_is_new_is_numbered() {
        let record = |number| Record { id: Uuid::from_u128(number), ..Record::read(event().encode()) };
        let records = [1, 2, 2, 3, 4, 3].map(record).to_vec();
        let placed = place(records, &HashSet::from([Uuid::from_u128(1), Uuid::from_u128(4)]), 10, Timestamp::ZERO);
        let places: Vec<_> = placed.iter().map(|placed| (placed.position, placed.record.id.as_u128())).collect();
        assert_eq!(places, [(11, 2), (12, 3)]);
    }

    #[test]
    fn a4_what_has_no_time_happened_when_it_came() {
        let placed = place(vec![Record::read(vec![9]), Record::read(event().encode())], &HashSet::new(), 0, Timestamp::from_secs(7));
        assert_eq!((placed[0].time, placed[1].time), (Timestamp::from_secs(7), Timestamp::from_micros(5)));
    }
}
