//! What happened after a backup, as a trail tells it: who was disabled, lost a role, changed a password, or came to be. Where a trail
//! is read from is the business of `sources`.
//!
//! Only what takes something away is done again (R1), and only as far as it still stood when the trail ended: a trail that ends with
//! somebody enabled again disables nobody. What was granted since the backup is not in it, and has to be granted anew.

use std::collections::BTreeMap;

use carelink_database::{Value, copy::Table};
use carelink_platform::{clock::Timestamp, events::EventType};
use carelink_proto::audit::Event;
use prost::Message;
use uuid::Uuid;

/// Who alone may tell of users: auth-service, and whoever restored its schema, whose events it delivers.
const TELLER: &str = "auth-service";
/// What such an event says of its own producer.
const TELLERS: [&str; 2] = ["auth", "carelink"];

/// An event's place among those of one user: its time, and its id where that is the same.
type Moment = (i64, Vec<u8>);

/// What became of one user.
#[derive(Debug, Default)]
pub(super) struct Fate {
    active: Option<(Moment, bool)>,
    roles: Option<(Moment, Vec<String>)>,
    password: Option<Moment>,
    /// Whether they came to be, or came again from a predecessor.
    pub(super) made: bool,
}

impl Fate {
    /// Whether the last word was that they may not sign in.
    pub(super) fn disabled(&self) -> bool {
        matches!(self.active, Some((_, false)))
    }

    /// The roles they had in the end, where these were changed.
    pub(super) fn roles(&self) -> Option<&[String]> {
        self.roles.as_ref().map(|(_, roles)| roles.as_slice())
    }

    /// When a password was last set.
    pub(super) fn password(&self) -> Option<Timestamp> {
        self.password.as_ref().map(|(at, _)| Timestamp::from_micros(*at))
    }
}

/// What happened from a moment on.
#[derive(Debug)]
pub(super) struct Later {
    since: Timestamp,
    /// The newest event that was seen.
    pub(super) newest: Timestamp,
    /// By user.
    pub(super) users: BTreeMap<Uuid, Fate>,
    /// Events that tell of users and were delivered by somebody who may not: none of them is believed.
    pub(super) disbelieved: u64,
}

impl Later {
    /// From `since` on. What is told twice counts once.
    pub(super) fn new(since: Timestamp) -> Self {
        Self { since, newest: Timestamp::ZERO, users: BTreeMap::new(), disbelieved: 0 }
    }

    /// Takes an event for what it says; most say nothing of this. `caller` is who delivered it, as the trail proved it, where that is known.
    fn event(&mut self, body: &[u8], caller: Option<&str>) {
        let Ok(event) = Event::decode(body) else { return };
        self.newest = self.newest.max(Timestamp::from_micros(event.time_us));
        let Ok(subject) = Uuid::from_slice(&event.subject) else { return };
        if event.time_us < self.since.as_micros() {
            return;
        }
        let named = |kind: EventType| event.r#type == kind.as_str();
        let detail = |name: &str| event.details.get(name).map(String::as_str);
        let moment = (event.time_us, event.id.clone());
        let imported = named(EventType::UserImported);
        let active = match detail("active") {
            _ if named(EventType::UserDisabled) => Some(false),
            _ if named(EventType::UserEnabled) => Some(true),
            Some(active) if imported => Some(active == "true"),
            _ => None,
        };
        let roles = detail("roles").filter(|_| imported || named(EventType::UserRolesChanged));
        let password = named(EventType::PasswordChanged) && event.reason != "one_time_password_issued";
        let made = named(EventType::UserCreated) || imported;
        if active.is_none() && roles.is_none() && !password && !made {
            return;
        }
        if caller.is_some_and(|caller| caller != TELLER) || !TELLERS.contains(&event.service.as_str()) {
            self.disbelieved += 1;
            return;
        }
        let fate = self.users.entry(subject).or_default();
        if let Some(active) = active {
            put(&mut fate.active, moment.clone(), active);
        }
        if let Some(roles) = roles {
            let roles = roles.split(',').filter(|role| !role.is_empty()).map(str::to_owned).collect();
            put(&mut fate.roles, moment.clone(), roles);
        }
        if password {
            fate.password = fate.password.take().max(Some(moment));
        }
        fate.made |= made;
    }

    /// Takes a row of a table, if that holds events.
    pub(super) fn row(&mut self, table: &Table, row: &[Value]) {
        let cell = |name: &str| table.columns.iter().position(|column| column == name).and_then(|at| row.get(at));
        let caller = match cell("proven_caller") {
            Some(Value::Text(caller)) if !caller.is_empty() => Some(caller.as_str()),
            _ => None,
        };
        let wrong = matches!(cell("wrong_producer"), Some(Value::Bool(true) | Value::Int(1)));
        let event = match table.name.as_str() {
            "events" => true,
            "outbox" => matches!(cell("destination"), Some(Value::Text(to)) if to == carelink_database::trail::AUDIT),
            _ => false,
        };
        if let (true, Some(Value::Bytes(body))) = (event, cell("body")) {
            self.event(body, if wrong { Some("") } else { caller });
        }
    }
}

fn put<T>(last: &mut Option<(Moment, T)>, moment: Moment, value: T) {
    if last.as_ref().is_none_or(|(before, _)| *before < moment) {
        *last = Some((moment, value));
    }
}

#[cfg(test)]
mod tests {
    use carelink_platform::events::{Detail, EventBuilder};

    use super::*;

    fn event(kind: EventType, at: i64, build: impl FnOnce(EventBuilder) -> EventBuilder) -> Vec<u8> {
        let event = EventBuilder::new("auth", kind, Uuid::from_u128(u128::from(at.unsigned_abs())), Timestamp::from_secs(at));
        build(event.subject(Uuid::from_u128(7))).encode()
    }

    fn told(events: &[Vec<u8>]) -> Fate {
        let mut later = Later::new(Timestamp::from_secs(100));
        events.iter().for_each(|body| later.event(body, None));
        later.users.remove(&Uuid::from_u128(7)).unwrap_or_default()
    }

    #[test]
    fn r1_the_last_word_of_the_trail_counts_whatever_the_order_it_is_read_in() {
        let off = event(EventType::UserDisabled, 110, |event| event);
        let on = event(EventType::UserEnabled, 120, |event| event);
        assert!(told(std::slice::from_ref(&off)).disabled());
        assert!(!told(&[off.clone(), on.clone()]).disabled() && !told(&[on, off]).disabled());
        let roles = |at, roles: &[&str]| event(EventType::UserRolesChanged, at, |event| event.detail("roles", Detail::roles(roles)));
        assert_eq!(told(&[roles(130, &["a"]), roles(120, &["a", "b"])]).roles().unwrap(), ["a"]);
        assert_eq!(told(&[roles(130, &[])]).roles().unwrap(), [""; 0]);
        let imported = event(EventType::UserImported, 140, |event| event.detail("active", false).detail("roles", Detail::roles(["b"])));
        assert!(told(std::slice::from_ref(&imported)).disabled(), "the predecessor says so");
        assert_eq!(told(&[imported, roles(130, &["a"])]).roles().unwrap(), ["b"]);
    }

    #[test]
    fn r1_what_was_before_the_backup_is_in_it() {
        let early = told(&[event(EventType::UserDisabled, 99, |event| event)]);
        assert!(!early.disabled() && early.roles().is_none());
        let issued = event(EventType::PasswordChanged, 130, |event| event.reason("one_time_password_issued"));
        assert!(told(&[issued]).password().is_none());
        let closed = event(EventType::PasswordChanged, 130, |event| event.reason("restored"));
        assert!(told(&[closed]).password().is_some(), "restoring once more opens nothing that restoring closed");
        assert_eq!(told(&[event(EventType::PasswordChanged, 130, |event| event)]).password(), Some(Timestamp::from_secs(130)));
    }

    #[test]
    fn what_is_no_event_says_nothing() {
        let mut later = Later::new(Timestamp::ZERO);
        later.event(b"\xff\xff", None);
        assert!(later.users.is_empty());
    }

    #[test]
    fn r1_who_may_not_tell_of_users_is_not_believed() {
        let table = Table { name: "events".into(), columns: ["body", "proven_caller", "wrong_producer"].map(str::to_owned).to_vec() };
        let off = event(EventType::UserDisabled, 110, |event| event);
        let forged = EventBuilder::new("gateway", EventType::UserDisabled, Uuid::from_u128(1), Timestamp::from_secs(110));
        let forged = forged.subject(Uuid::from_u128(7)).encode();
        let marked = |body: &[u8], caller: Value, wrong: Value| {
            let mut later = Later::new(Timestamp::from_secs(100));
            later.row(&table, &[Value::Bytes(body.to_vec()), caller, wrong]);
            (later.users.len(), later.disbelieved)
        };
        let read = |body: &[u8], caller| marked(body, caller, Value::Bool(false));
        assert_eq!(read(&off, Value::Text("auth-service".into())), (1, 0));
        assert_eq!(read(&off, Value::Null), (1, 0), "from before callers were noted");
        assert_eq!(read(&off, Value::Text("token-service".into())), (0, 1));
        assert_eq!(read(&forged, Value::Null), (0, 1));
        assert_eq!(marked(&off, Value::Text("auth-service".into()), Value::Int(1)), (0, 1));
    }
}
