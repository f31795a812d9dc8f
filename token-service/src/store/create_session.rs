//! Beginning a session (S10): apply the assertion's snapshot, then insert, deciding on what is held.

use std::time::Duration;

use carelink_database::{StoreError, Tx, args, trail::Noted};
use carelink_platform::clock::Timestamp;
use uuid::Uuid;

use super::{
    Store,
    end_sessions::revoke,
    micros, rows, statements,
    subjects::{EndedEvent, apply},
};
use crate::domain::{
    assertion::Asserted,
    session::{Jti, Session},
    subject::Subject,
};

statements! {
    CREATE_SESSION = "create_session" on both;
    FIND_BY_ASSERTION = "find_session_by_assertion";
}

/// What a new session is made of.
#[derive(Clone)]
pub struct NewSession {
    /// Its id.
    pub id: Uuid,
    /// Of generation 0.
    pub jti: Jti,
    /// Signs the access token.
    pub access_kid: String,
    /// Signs the refresh token.
    pub refresh_kid: String,
    /// How long an access token is good for.
    pub access_lifetime: Duration,
    /// How long the session lasts.
    pub lifetime: Duration,
    /// Its first event.
    pub event: Noted,
    /// Events of sessions that the snapshot ends.
    pub ended: EndedEvent,
}

impl std::fmt::Debug for NewSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewSession({})", self.id)
    }
}

/// What became of an assertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// A session.
    New(Session),
    /// The session it was used for before, and the time.
    Before(Session, Timestamp),
    /// None: what is held of the subject does not admit it any more.
    NotAdmitted,
}

/// Begins a session for whom the assertion names.
///
/// # Errors
/// Those of the database.
pub async fn create_session(store: &Store, asserted: Asserted, new: NewSession) -> Result<Created, StoreError> {
    store
        .revoking("create_session", move |tx| {
            Box::pin(async move {
                let mut revocations = Vec::new();
                let subject = std::slice::from_ref(&asserted.subject);
                let mut held = apply(tx, subject, &new.ended, &mut revocations).await?;
                let held = held.now.remove(&asserted.subject.id).unwrap_or_else(|| asserted.subject.clone());
                let created =
                    if held.admits(asserted.subject.version) { begin(tx, held, asserted, new).await? } else { Created::NotAdmitted };
                revoke(tx, revocations).await?;
                Ok(created)
            })
        })
        .await
}

/// Inserts the session, or finds the one that the assertion began before.
async fn begin(tx: &mut Tx, held: Subject, asserted: Asserted, new: NewSession) -> Result<Created, StoreError> {
    let insert = args![
        new.id,
        held.id,
        held.user_id,
        asserted.subject.version,
        asserted.id,
        new.jti.0,
        held.roles,
        new.access_kid,
        new.refresh_kid,
        micros(new.access_lifetime),
        asserted.amr,
        asserted.acr,
        asserted.at,
        micros(new.lifetime),
        new.event.id,
        new.event.body,
    ];
    let rows = tx.run(&CREATE_SESSION, insert).await?;
    if let Some(row) = rows.first() {
        return Ok(Created::New(rows::session(row)?));
    }
    let rows = tx.run(&FIND_BY_ASSERTION, args![asserted.id]).await?;
    let row = rows.first().ok_or_else(|| StoreError::Engine("a session conflicts and is not there".to_owned()))?;
    Ok(Created::Before(rows::session(row)?, row.get("now")?))
}
