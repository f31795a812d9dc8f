//! Listing sessions, newest first, a page at a time.

use carelink_database::{StoreError, args};
use carelink_platform::clock::Timestamp;
use uuid::Uuid;

use super::{Store, rows::mode, statements};
use crate::domain::session::{EndReason, Generation, Mode};

statements! {
    LIST_SESSIONS = "list_sessions";
    LIST_SESSIONS_OF = "list_sessions_of";
}

/// What to list.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Only this subject's.
    pub subject: Option<Uuid>,
    /// Also those that are over.
    pub include_ended: bool,
    /// Only what comes after this one.
    pub after: Option<(Timestamp, Uuid)>,
    /// At most so many.
    pub size: u32,
}

/// A session without its secrets.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Names it.
    pub id: Uuid,
    /// Whose.
    pub subject: Uuid,
    /// The number of U4.
    pub user_id: i64,
    /// How often it was rotated.
    pub generation: Generation,
    /// A JSON list.
    pub roles: String,
    /// A JSON list.
    pub amr: String,
    /// When it was rotated last.
    pub rotated_at: Timestamp,
    /// When it began.
    pub created_at: Timestamp,
    /// When it is over.
    pub ends_at: Timestamp,
    /// When and why it was ended.
    pub ended: Option<(Timestamp, EndReason)>,
    /// When a verifier last saw it used.
    pub active_at: Option<Timestamp>,
    /// When idleness ends it.
    pub idle_at: Option<Timestamp>,
    /// Who holds its tokens.
    pub mode: Mode,
    /// What it was begun with, in words.
    pub device: String,
    /// Where it was begun, in words.
    pub network: String,
}

/// One page.
///
/// # Errors
/// Those of the database.
pub async fn list_sessions(store: &Store, page: Page) -> Result<Vec<Listed>, StoreError> {
    let (created, id) = page.after.unwrap_or((Timestamp::MAX, Uuid::max()));
    let mut args = args![page.include_ended, created, id, page.size];
    args.extend(page.subject.map(Into::into));
    let statement = if page.subject.is_some() { &LIST_SESSIONS_OF } else { &LIST_SESSIONS };
    let rows = store.db.query(statement, args).await?;
    let listed = |row: &carelink_database::Row| {
        let ended_at: Option<Timestamp> = row.get("ended_at")?;
        let end_reason: Option<String> = row.get("end_reason")?;
        Ok(Listed {
            id: row.get("id")?,
            subject: row.get("subject")?,
            user_id: row.get("user_id")?,
            generation: row.get("generation")?,
            roles: row.get("roles")?,
            amr: row.get("amr")?,
            rotated_at: row.get("rotated_at")?,
            created_at: row.get("created_at")?,
            ends_at: row.get("ends_at")?,
            active_at: row.get("active_at")?,
            idle_at: row.get("idle_at")?,
            mode: mode(row.get("cookies")?),
            device: row.get("device")?,
            network: row.get("network")?,
            ended: ended_at.map(|at| (at, EndReason::parse(end_reason.as_deref().unwrap_or_default()))),
        })
    };
    rows.iter().map(listed).collect()
}
