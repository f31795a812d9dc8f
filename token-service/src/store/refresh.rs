//! Refresh: the race in one statement; finding; recording a replay.

use std::time::Duration;

use carelink_database::{StoreError, args, outbox, trail::Noted};
use carelink_platform::clock::Timestamp;
use uuid::Uuid;

use super::{Store, micros, rows, statements};
use crate::domain::{
    presented::Presented,
    refresh::Found,
    session::{Jti, Session},
};

statements! {
    REFRESH = "refresh";
    REPLAY = "replay";
    FIND_SESSION = "find_session";
}

/// What a rotation would write.
#[derive(Clone, Debug)]
pub struct Rotation<'a> {
    /// The successor's.
    pub jti: Jti,
    /// Past it nothing is decided (T4).
    pub deadline: Timestamp,
    /// How long the new access token is good for.
    pub access_lifetime: Duration,
    /// Signs the new access token.
    pub access_kid: &'a str,
    /// Signs the new refresh token.
    pub refresh_kid: &'a str,
    /// The event of the rotation, without subject, session and counter.
    pub event: Noted,
}

/// Rotates the session where the token is current and the row live; returns the row. One round trip.
///
/// # Errors
/// Those of the database.
pub async fn refresh(store: &Store, presented: &Presented, rotation: Rotation<'_>) -> Result<Option<Found>, StoreError> {
    let Rotation { jti, deadline, access_lifetime, access_kid, refresh_kid, event } = rotation;
    let args = args![
        presented.session,
        presented.generation,
        presented.jti.0,
        jti.0,
        deadline,
        micros(access_lifetime),
        access_kid,
        refresh_kid,
        event.id,
        event.body,
    ];
    let rows = store.db.run(&REFRESH, args).await?;
    let found = |row| Ok(Found { session: rows::session(row)?, moved: row.get("moved")?, now: row.get("now")? });
    rows.first().map(found).transpose()
}

/// The row of a session, and the database's time. One round trip, nothing written.
///
/// # Errors
/// Those of the database.
pub async fn find_session(store: &Store, id: Uuid) -> Result<Option<Found>, StoreError> {
    let rows = store.db.query(&FIND_SESSION, args![id]).await?;
    rows.first().map(|row| Ok(Found { session: rows::session(row)?, moved: false, now: row.get("now")? })).transpose()
}

/// What recording a replay writes.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// How long an access token minted afresh is good for.
    pub access_lifetime: Duration,
    /// Signs it.
    pub access_kid: String,
    /// The event, without subject, session and counter.
    pub event: Noted,
}

/// Records that a pair was handed out again, and renews an access token of it that has run out. Returns the row as it is now, which may
/// have moved on meanwhile; None: it is over.
///
/// # Errors
/// Those of the database.
pub async fn record_replay(store: &Store, session: &Session, replayed: Replayed) -> Result<Option<Session>, StoreError> {
    let (id, generation) = (session.id, session.generation);
    store
        .db
        .transaction("record_replay", move |tx| {
            Box::pin(async move {
                let Replayed { access_lifetime, access_kid, event } = replayed;
                let rows = tx.run(&REPLAY, args![id, generation, micros(access_lifetime), access_kid]).await?;
                let Some(row) = rows.first() else { return Ok(None) };
                let session = rows::session(row)?;
                outbox::put(tx, event.of_session(session.subject, session.id, row.get("events")?)).await?;
                Ok::<_, StoreError>(Some(session))
            })
        })
        .await
}
