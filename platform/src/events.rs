//! Events as every service writes them (A2): the table of their types, who can be an actor, and a builder that takes no free text.
//!
//! Names, e-mail addresses and tokens are in no event. The types see to it: details and objects are made from numbers, ids and words
//! that the program knows; whatever a person typed goes into the sealed [`Personal`] part. How events travel is the outbox's concern,
//! how they are kept the audit service's.

mod types;

use std::time::Duration;

use carelink_proto::audit::{self as proto, ActorKind, Event, Outcome, Personal};
use prost::Message;
use tonic::Extensions;
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    context::TraceContext,
    grpc::{Caller, OperatorProof, User},
    seal::SealingPublicKey,
    telemetry::Directives,
};

pub use types::{EventType, markdown};

const MAX_WORD_BYTES: usize = 80;
const MAX_CLAIM_BYTES: usize = 64;

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Somebody who has not proven who they are.
    Anonymous,
    /// A user, by their subject's id.
    User(Uuid),
    /// A service, by the name it was identified as.
    Service(String),
    /// An operator.
    Operator {
        /// What proves it.
        by: OperatorProof,
        /// SUDO_USER, as claimed; never proven.
        claimed: Option<String>,
    },
}

impl Actor {
    /// Whoever stands behind a request: the user for whom a service calls, else the caller.
    pub fn of(extensions: &Extensions) -> Self {
        match (User::of(extensions), extensions.get::<Caller>()) {
            (Some(user), _) => Self::User(user.subject),
            (None, Some(caller)) => Self::from(caller),
            (None, None) => Self::Anonymous,
        }
    }
}

impl From<&Caller> for Actor {
    fn from(caller: &Caller) -> Self {
        match caller {
            Caller::Service(name) => Self::Service((*name).to_owned()),
            Caller::Internal(name) => Self::Service(name.to_string()),
            Caller::Operator(operator) => Self::Operator { by: operator.by.clone(), claimed: operator.claimed.clone() },
        }
    }
}

impl From<Actor> for proto::Actor {
    fn from(actor: Actor) -> Self {
        let (kind, id, claimed) = match actor {
            Actor::Anonymous => (ActorKind::Anonymous, String::new(), None),
            Actor::User(id) => (ActorKind::User, id.to_string(), None),
            Actor::Service(name) => (ActorKind::Service, name, None),
            Actor::Operator { by, claimed } => (ActorKind::Operator, by.to_string(), claimed),
        };
        let claimed = claimed.unwrap_or_default().chars().filter(|c| !c.is_control()).take(MAX_CLAIM_BYTES).collect();
        Self { kind: kind.into(), id, claimed }
    }
}

/// What an event was done to, where that is neither a subject nor a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object(String);

impl Object {
    /// A key, by its id.
    pub fn key(id: &str) -> Self {
        Self(format!("key:{id}"))
    }

    /// A migration, by its file's name and schema.
    pub fn migration(schema: &str, name: &str) -> Self {
        Self(format!("migration:{schema}/{name}"))
    }

    /// A name that nobody has, as the HMAC that rate limits know it by.
    pub fn name_digest(hmac: &[u8]) -> Self {
        Self(format!("name:{}", hex::encode(hmac)))
    }

    /// An RPC, as its path.
    pub fn rpc(method: &str) -> Self {
        Self(format!("rpc:{method}"))
    }

    /// A configuration, by its fingerprint.
    pub fn configuration(fingerprint: &str) -> Self {
        Self(format!("configuration:{fingerprint}"))
    }

    /// A predecessor's database, by the name the import gave it.
    pub fn source(name: &str) -> Self {
        Self(format!("source:{name}"))
    }
}

/// The value of a detail: a number, an id, a time, or a word the program knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail(String);

impl Detail {
    /// Role names, joined by commas.
    pub fn roles<S: AsRef<str>>(roles: impl IntoIterator<Item = S>) -> Self {
        Self(
            roles
                .into_iter()
                .fold(String::new(), |list, role| if list.is_empty() { role.as_ref().into() } else { list + "," + role.as_ref() }),
        )
    }

    /// A word in the form of our stable names, such as a filter on event types or `uid:1000`; of anything else only what fits is kept.
    pub fn word(text: &str) -> Self {
        Self(text.chars().filter(|c| matches!(c, 'a'..='z' | '0'..='9' | '_' | '.' | '-' | ':' | '*')).take(MAX_WORD_BYTES).collect())
    }

    /// Levels and the parts of the program that they are for; read already, so nothing else is in them.
    pub fn directives(directives: &Directives) -> Self {
        Self(directives.as_str().to_owned())
    }

    /// An id of 16 bytes that is no UUID, such as a trace's, in hex.
    pub fn hex(bytes: &[u8; 16]) -> Self {
        Self(hex::encode(bytes))
    }
}

macro_rules! detail_from_display {
    ($($type:ty),*) => { $(impl From<$type> for Detail {
        fn from(value: $type) -> Self {
            Self(value.to_string())
        }
    })* };
}

detail_from_display!(bool, u32, u64, i32, i64, usize, &'static str, Uuid, Timestamp);

impl From<Duration> for Detail {
    /// In milliseconds; the key should end in `_ms`.
    fn from(value: Duration) -> Self {
        Self(value.as_millis().to_string())
    }
}

/// Builds one event. Its trace id is that of the request being served.
#[derive(Clone, Debug)]
#[must_use]
pub struct EventBuilder {
    event: Event,
}

impl EventBuilder {
    /// An event of `service` (`auth`, `token`, `audit`, `gateway`) with a fresh UUIDv7, at the time of whoever decided it.
    pub fn new(service: &'static str, kind: EventType, id: Uuid, now: Timestamp) -> Self {
        Self {
            event: Event {
                id: id.as_bytes().to_vec(),
                time_us: now.as_micros(),
                service: service.to_owned(),
                r#type: kind.as_str().to_owned(),
                outcome: kind.outcome().into(),
                trace_id: TraceContext::current().map(|trace| trace.trace_id.to_vec()).unwrap_or_default(),
                ..Event::default()
            },
        }
    }

    /// Where it differs from the type's own.
    pub fn outcome(mut self, outcome: Outcome) -> Self {
        self.event.outcome = outcome.into();
        self
    }

    /// A stable class of reasons.
    pub fn reason(mut self, reason: &'static str) -> Self {
        self.event.reason = reason.to_owned();
        self
    }

    /// Who did it.
    pub fn actor(mut self, actor: Actor) -> Self {
        self.event.actor = Some(actor.into());
        self
    }

    /// Whom it concerns.
    pub fn subject(mut self, subject: Uuid) -> Self {
        self.event.subject = subject.as_bytes().to_vec();
        self
    }

    /// The session it concerns. Its counter is set by [`Self::counter`] or by the relay.
    pub fn session(mut self, session: Uuid) -> Self {
        self.event.session = session.as_bytes().to_vec();
        self
    }

    /// The session's own count of events, from its row.
    pub fn counter(mut self, counter: u64) -> Self {
        self.event.session_counter = counter;
        self
    }

    /// What it was done to.
    pub fn object(mut self, object: Object) -> Self {
        self.event.object = object.0;
        self
    }

    /// A particular, under a stable key.
    pub fn detail(mut self, key: &'static str, value: impl Into<Detail>) -> Self {
        self.event.details.insert(key.to_owned(), value.into().0);
        self
    }

    /// What only the audit service may read; nothing where `personal` is empty.
    pub fn personal(mut self, key: &SealingPublicKey, personal: &Personal) -> Self {
        self.event.personal = (*personal != Personal::default()).then(|| key.seal(&self.event.id, personal));
        self
    }

    /// The event.
    #[must_use]
    pub fn build(self) -> Event {
        self.event
    }

    /// The event as the body of an outbox row.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        self.event.encode_to_vec()
    }
}

/// Writes into an encoded event what only the statement that made its outbox row knew. The body is not decoded: of a field that comes
/// twice, protobuf takes the last.
pub fn stamp(body: &mut Vec<u8>, subject: Option<Uuid>, session: Option<Uuid>, counter: Option<u64>) {
    let known = Event {
        subject: subject.map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
        session: session.map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
        session_counter: counter.unwrap_or_default(),
        ..Event::default()
    };
    body.extend_from_slice(&known.encode_to_vec());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::SealingKeyPair;

    fn builder() -> EventBuilder {
        EventBuilder::new("token", EventType::SessionReplayed, Uuid::from_u128(7), Timestamp::from_micros(1_000_000))
    }

    #[test]
    fn a2_an_event_says_who_what_and_when() {
        let event = builder()
            .actor(Actor::User(Uuid::from_u128(9)))
            .subject(Uuid::from_u128(9))
            .session(Uuid::from_u128(8))
            .counter(3)
            .reason("grace")
            .detail("generation", 4_u64)
            .detail("age_ms", Duration::from_millis(1500))
            .detail("roles", Detail::roles(["doctor", "staff"]))
            .build();
        assert_eq!(event.r#type, "session.replayed");
        assert_eq!(event.outcome(), Outcome::Success);
        assert_eq!(event.time_us, 1_000_000);
        assert_eq!(event.actor.unwrap().id, Uuid::from_u128(9).to_string());
        assert_eq!(event.details["generation"], "4");
        assert_eq!(event.details["age_ms"], "1500");
        assert_eq!(event.details["roles"], "doctor,staff");
        assert_eq!(event.personal, None);
        assert_eq!(event.trace_id, [0_u8; 0]);
    }

    #[test]
    fn a2_what_somebody_typed_is_sealed_and_nowhere_else() {
        let pair = SealingKeyPair::from_secret(&[7; 32]).unwrap();
        let personal = Personal { network: "192.0.2.7".into(), user_agent: "curl/8".into(), text: "canary".into() };
        let body = builder().personal(pair.public(), &personal).encode();
        for canary in ["192.0.2.7", "curl/8", "canary"] {
            assert!(!body.windows(canary.len()).any(|window| window == canary.as_bytes()));
        }
        let event = Event::decode(body.as_slice()).unwrap();
        assert_eq!(pair.open(&event.id, &event.personal.unwrap()), Some(personal));
        assert_eq!(builder().personal(pair.public(), &Personal::default()).build().personal, None);
    }

    #[test]
    fn a2_a_word_keeps_only_what_our_names_are_made_of() {
        assert_eq!(Detail::word("session.*"), Detail("session.*".into()));
        assert_eq!(Detail::word("Amina <a@b.c>\n"), Detail("minaab.c".into()));
        assert_eq!(Detail::word(&"a".repeat(1000)).0.len(), MAX_WORD_BYTES);
    }

    #[test]
    fn a1_a_stamped_body_says_what_the_row_says() {
        let mut body = builder().subject(Uuid::from_u128(1)).detail("generation", 4_u64).encode();
        stamp(&mut body, Some(Uuid::from_u128(2)), Some(Uuid::from_u128(3)), Some(12));
        let event = Event::decode(body.as_slice()).unwrap();
        assert_eq!(event.subject, Uuid::from_u128(2).as_bytes());
        assert_eq!(event.session, Uuid::from_u128(3).as_bytes());
        assert_eq!(event.session_counter, 12);
        assert_eq!(event.details["generation"], "4");

        let untouched = body.clone();
        stamp(&mut body, None, None, None);
        assert_eq!(body, untouched);
    }
}
