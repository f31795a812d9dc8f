//! Beginning a session (S10): apply the assertion's snapshot, then insert, deciding on what is held.

use std::time::Duration;

use carelink_database::{StoreError, Tx, args, trail::Noted};
use carelink_platform::clock::Timestamp;
use uuid::Uuid;

use super::{
    Store,
    end_sessions::{Ending, Revocation, end_each, live_sessions, revoke},
    micros, rows, statements,
    subjects::{EndedEvent, apply},
};
use crate::domain::{
    assertion::Asserted,
    session::{Jti, Mode, Session},
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
    /// Who holds its tokens.
    pub mode: Mode,
    /// Idleness of so long ends it; None: none does (S12).
    pub idle_limit: Option<Duration>,
    /// What it is begun with, in words.
    pub device: String,
    /// Where it is begun, in words.
    pub network: String,
    /// A session that ends with its beginning (B4).
    pub replaces: Option<(Uuid, Ending)>,
    /// How many its holder may have at most; the oldest ends.
    pub cap: Option<(usize, Ending)>,
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
                let created = if held.admits(asserted.subject.version) {
                    begin(tx, held, asserted, new, &mut revocations).await?
                } else {
                    Created::NotAdmitted
                };
                revoke(tx, revocations).await?;
                Ok(created)
            })
        })
        .await
}

/// Inserts the session, or finds the one that the assertion began before.
async fn begin(
    tx: &mut Tx,
    held: Subject,
    asserted: Asserted,
    new: NewSession,
    revocations: &mut Vec<Revocation>,
) -> Result<Created, StoreError> {
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
        new.mode == Mode::Cookies,
        new.idle_limit.map(micros),
        new.device,
        new.network,
    ];
    let rows = tx.run(&CREATE_SESSION, insert).await?;
    if let Some(row) = rows.first() {
        let session = rows::session(row)?;
        if let Some((id, ending)) = new.replaces {
            end_each(tx, vec![id], &ending, revocations).await?;
        }
        if let Some((most, ending)) = new.cap {
            end_oldest(tx, &session, most, &ending, revocations).await?;
        }
        return Ok(Created::New(session));
    }
    let rows = tx.run(&FIND_BY_ASSERTION, args![asserted.id]).await?;
    let row = rows.first().ok_or_else(|| StoreError::Engine("a session conflicts and is not there".to_owned()))?;
    Ok(Created::Before(rows::session(row)?, row.get("now")?))
}

/// Of the holder's sessions the oldest end, until there are no more than they may have. Their subject is locked: who begins another one at
/// the same time waits, and then counts this one too.
async fn end_oldest(tx: &mut Tx, new: &Session, most: usize, ending: &Ending, revocations: &mut Vec<Revocation>) -> Result<(), StoreError> {
    let mut others = live_sessions(tx, [new.subject]).await?;
    others.retain(|live| live.id != new.id);
    others.sort_by_key(|live| (live.created_at, live.id));
    let too_many = (others.len() + 1).saturating_sub(most);
    let oldest: Vec<Uuid> = others.iter().take(too_many).map(|live| live.id).collect();
    if !oldest.is_empty() {
        end_each(tx, oldest, ending, revocations).await?;
    }
    Ok(())
}
