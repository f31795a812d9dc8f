//! What happened after a backup, as a trail tells it: who was disabled, lost a role, changed a password, or came to be.
//!
//! Only what takes something away is done again (R1), and only as far as it still stood when the trail ended: a trail that ends with
//! somebody enabled again disables nobody. What was granted since the backup is not in it, and has to be granted anew.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use carelink_database::{
    DatabaseConfig, Location, Postgres, Value,
    copy::{Picture, Table, format::Item},
};
use carelink_platform::{
    clock::{Clock, Timestamp},
    events::EventType,
    secrets::SecretString,
};
use carelink_proto::audit::Event;
use indicatif::ProgressBar;
use prost::Message;
use uuid::Uuid;

use crate::{
    backup::{file::Backup, scope},
    deployment::database,
    error::failed,
};

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
}

impl Later {
    /// From `since` on. What is told twice counts once.
    pub(super) fn new(since: Timestamp) -> Self {
        Self { since, newest: Timestamp::ZERO, users: BTreeMap::new() }
    }

    /// Takes an event for what it says; most say nothing of this.
    pub(super) fn event(&mut self, body: &[u8]) {
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
        let event = match table.name.as_str() {
            "events" => true,
            "outbox" => matches!(cell("destination"), Some(Value::Text(to)) if to == carelink_database::trail::AUDIT),
            _ => false,
        };
        if let (true, Some(Value::Bytes(body))) = (event, cell("body")) {
            self.event(body);
        }
    }

    /// Reads a trail: a backup, a SQLite file, a data directory or a PostgreSQL database.
    pub(super) async fn read(&mut self, source: &str, clock: &Clock, bar: &ProgressBar) -> anyhow::Result<()> {
        if source.starts_with("postgres://") || source.starts_with("postgresql://") {
            let at = Location::Postgres(Postgres { url: SecretString::from(source), config: DatabaseConfig::default() });
            return self.schema(&at, "audit", clock, bar).await;
        }
        let path = PathBuf::from(source);
        if path.is_dir() {
            // What had not reached the trail yet waits beside the users.
            for service in ["auth", "audit"] {
                self.schema(&Location::File(database(&path, service)), service, clock, bar).await?;
            }
            return Ok(());
        }
        if is_sqlite(&path).map_err(|error| failed("trail_unreadable", format!("{}: {error}", path.display())))? {
            return self.schema(&Location::File(path), "audit", clock, bar).await;
        }
        let backup = Backup::check(&path, bar)?;
        let mut items = backup.items()?;
        let mut table = None;
        while let Some(item) = items.next()? {
            match (item, &table) {
                (Item::Table(next), _) => table = Some(next),
                (Item::Row(row), Some(table)) => self.row(table, &row),
                _ => {}
            }
        }
        Ok(())
    }

    async fn schema(&mut self, at: &Location, schema: &'static str, clock: &Clock, bar: &ProgressBar) -> anyhow::Result<()> {
        let mut picture = Picture::take(at, scope(schema), clock).await?;
        bar.reset();
        bar.set_message("trail");
        bar.set_length(picture.rows());
        while let Some(chunk) = picture.next().await? {
            if let Some(table) = picture.tables().get(chunk.table) {
                chunk.rows.iter().for_each(|row| self.row(table, row));
            }
            bar.inc(u64::try_from(chunk.rows.len()).unwrap_or(0));
        }
        Ok(())
    }
}

fn put<T>(last: &mut Option<(Moment, T)>, moment: Moment, value: T) {
    if last.as_ref().is_none_or(|(before, _)| *before < moment) {
        *last = Some((moment, value));
    }
}

fn is_sqlite(path: &Path) -> std::io::Result<bool> {
    let mut begin = Vec::new();
    File::open(path)?.take(16).read_to_end(&mut begin)?;
    Ok(begin == b"SQLite format 3\0")
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
        events.iter().for_each(|body| later.event(body));
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
        later.event(b"\xff\xff");
        assert!(later.users.is_empty());
    }
}
