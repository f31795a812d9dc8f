//! What a restore changes in what it restored (R1): sessions end, the stream begins anew, and what a trail tells of later is done again.

use std::time::Duration;

use carelink_database::{Row, Statement, StoreError, Value, args, copy::Table, trail::AUDIT};
use carelink_platform::{
    clock::Timestamp,
    events::{Actor, Detail, EventBuilder, EventType},
    random::Random,
};
use serde::Serialize;
use uuid::Uuid;

use super::{
    later::{Fate, Later},
    targets::Targets,
};

static LIVE_SESSIONS: Statement = Statement::shared("restore_live_sessions", include_str!("sql/live_sessions.sql"));
static END_SESSIONS: Statement = Statement::shared("restore_end_sessions", include_str!("sql/end_sessions.sql"));
static NEW_STREAM: Statement = Statement::shared("restore_new_stream", include_str!("sql/new_stream.sql"));
static FIND_USER: Statement = Statement::shared("restore_find_user", include_str!("sql/find_user.sql"));
static CHANGE_USER: Statement = Statement::shared("restore_change_user", include_str!("sql/change_user.sql"));
static FORGET_PASSWORD: Statement = Statement::shared("restore_forget_password", include_str!("sql/forget_password.sql"));
static CHANGE_SUBJECT: Statement = Statement::shared("restore_change_subject", include_str!("sql/change_subject.sql"));

/// How far an event may be behind the change that it tells.
const SAME_MOMENT: Duration = Duration::from_secs(1);
/// Events that are written together.
const CHUNK: usize = 256;
const REASON: &str = "restored";

/// Whoever restores.
pub(super) struct By<'a> {
    pub(super) actor: Actor,
    pub(super) now: Timestamp,
    /// When the backup was taken.
    pub(super) taken: Timestamp,
    pub(super) random: &'a Random,
}

/// A user in whom something was done again.
#[derive(Debug, Serialize)]
pub(super) struct Changed {
    pub(super) id: Uuid,
    pub(super) username: String,
    pub(super) disabled: bool,
    pub(super) lost_roles: Vec<String>,
    pub(super) needs_password: bool,
}

/// What was done.
#[derive(Debug, Default, Serialize)]
pub(super) struct Applied {
    pub(super) sessions_ended: usize,
    pub(super) users: Vec<Changed>,
    /// Users whom the trail knows and the backup does not.
    pub(super) users_missing: usize,
}

/// A user as restored.
struct User {
    username: String,
    version: u64,
    min_version: u64,
    active: bool,
    roles: Vec<String>,
    password_changed_at: Option<Timestamp>,
    end_reason: String,
}

impl User {
    fn of(row: &Row) -> Result<Self, StoreError> {
        let roles: String = row.get("roles")?;
        Ok(Self {
            username: row.get("username")?,
            version: row.get("version")?,
            min_version: row.get("min_version")?,
            active: row.get("active")?,
            roles: serde_json::from_str(&roles).unwrap_or_default(),
            password_changed_at: row.get("password_changed_at")?,
            end_reason: row.get("end_reason")?,
        })
    }
}

/// Does it.
pub(super) async fn apply(targets: &mut Targets, later: &Later, by: &By<'_>) -> anyhow::Result<Applied> {
    let mut applied = Applied { sessions_ended: end_sessions(targets, by).await?, ..Applied::default() };
    targets.token.run(&NEW_STREAM, args![by.random.uuid_v4()]).await?;
    let mut notes = Vec::new();
    for (id, fate) in &later.users {
        let Some(row) = targets.auth.run(&FIND_USER, args![*id]).await?.into_iter().next() else {
            applied.users_missing += usize::from(fate.made);
            continue;
        };
        if let Some(changed) = change(targets, *id, User::of(&row)?, fate, by, &mut notes).await? {
            applied.users.push(changed);
        }
    }
    let counted = |what: fn(&Changed) -> bool| applied.users.iter().filter(|user| what(user)).count();
    let event = event(by, EventType::BackupRestored)
        .detail("sessions_ended", applied.sessions_ended)
        .detail("disabled", counted(|user| user.disabled))
        .detail("lost_roles", counted(|user| !user.lost_roles.is_empty()))
        .detail("need_password", counted(|user| user.needs_password));
    notes.push(event);
    targets.auth.put(&outbox(), notes.into_iter().map(|event| outgoing(by, event, None)).collect()).await?;
    Ok(applied)
}

/// Ends every session that lives, each with its event, numbered as the session counts.
async fn end_sessions(targets: &mut Targets, by: &By<'_>) -> anyhow::Result<usize> {
    let live = targets.token.run(&LIVE_SESSIONS, Vec::new()).await?;
    targets.token.run(&END_SESSIONS, Vec::new()).await?;
    for rows in live.chunks(CHUNK) {
        let mut notes = Vec::with_capacity(rows.len());
        for row in rows {
            let (session, subject, count): (Uuid, Uuid, u64) = (row.get("id")?, row.get("subject")?, row.get("events")?);
            notes.push(outgoing(by, event(by, EventType::SessionEnded).reason(REASON), Some((session, subject, count + 1))));
        }
        targets.token.put(&outbox(), notes).await?;
    }
    Ok(live.len())
}

/// Takes from one user what the trail says was taken since.
async fn change(
    targets: &mut Targets,
    id: Uuid,
    user: User,
    fate: &Fate,
    by: &By<'_>,
    notes: &mut Vec<EventBuilder>,
) -> anyhow::Result<Option<Changed>> {
    let disabled = user.active && fate.disabled();
    let (kept, lost_roles): (Vec<String>, Vec<String>) = match fate.roles() {
        Some(last) => user.roles.into_iter().partition(|role| last.contains(role)),
        None => (user.roles, Vec::new()),
    };
    // An event of before the backup may be the very change that is in it, read from a clock a moment later.
    let slack = if fate.password() < Some(by.taken) { SAME_MOMENT } else { Duration::ZERO };
    let needs_password = fate.password() > user.password_changed_at.map(|at| at + slack) && fate.password().is_some();
    if !disabled && lost_roles.is_empty() && !needs_password {
        return Ok(None);
    }
    let version = user.version + 1;
    let min_version = if disabled || needs_password { version } else { user.min_version };
    let reason = if disabled {
        "disabled".to_owned()
    } else if needs_password {
        "password_changed".to_owned()
    } else {
        user.end_reason
    };
    let arguments = args![id, version, min_version, user.active && !disabled, serde_json::to_string(&kept)?, reason];
    targets.auth.run(&CHANGE_USER, arguments.clone()).await?;
    targets.token.run(&CHANGE_SUBJECT, arguments).await?;
    if needs_password {
        targets.auth.run(&FORGET_PASSWORD, args![id]).await?;
        notes.push(event(by, EventType::PasswordChanged).subject(id).reason(REASON));
    }
    if disabled {
        notes.push(event(by, EventType::UserDisabled).subject(id).reason(REASON).detail("version", version));
    }
    if !lost_roles.is_empty() {
        let event = event(by, EventType::UserRolesChanged).subject(id).reason(REASON);
        notes.push(event.detail("roles", Detail::roles(&kept)).detail("removed", Detail::roles(&lost_roles)));
    }
    Ok(Some(Changed { id, username: user.username, disabled, lost_roles, needs_password }))
}

fn event(by: &By<'_>, kind: EventType) -> EventBuilder {
    EventBuilder::new("carelink", kind, by.random.uuid_v7(by.now), by.now).actor(by.actor.clone())
}

/// The columns of the outbox that a fact is put into.
fn outbox() -> Table {
    let columns = ["destination", "event_id", "subject", "session", "counter", "body", "created_at"];
    Table { name: "outbox".to_owned(), columns: columns.map(str::to_owned).to_vec() }
}

fn outgoing(by: &By<'_>, event: EventBuilder, of: Option<(Uuid, Uuid, u64)>) -> Vec<Value> {
    let event = event.build();
    let id = event.id.clone();
    let (session, subject, counter) =
        of.map_or((None, None, None), |(session, subject, counter)| (Some(session), Some(subject), Some(counter)));
    args![AUDIT, id, subject, session, counter, prost::Message::encode_to_vec(&event), by.now]
}
