//! Refresh: the race in one statement; finding; recording a replay.

use std::time::Duration;

use carelink_database::{Row, StoreError, args, trail::Noted};
use carelink_platform::clock::Timestamp;
use uuid::Uuid;

use super::{Store, micros, rows, statements};
use crate::domain::{
    presented::Presented,
    refresh::Found,
    session::{Jti, Session},
};

statements! {
    REFRESH = "refresh" on both;
    REPLAY = "replay" on both;
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
    /// The call that asks, if it names itself.
    pub call: Option<Uuid>,
}

/// Rotates the session where the token is current and the row live; returns the row. One round trip.
///
/// # Errors
/// Those of the database.
pub async fn refresh(store: &Store, presented: &Presented, rotation: Rotation<'_>) -> Result<Option<Found>, StoreError> {
    let Rotation { jti, deadline, access_lifetime, access_kid, refresh_kid, event, call } = rotation;
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
        call,
    ];
    if let Some(together) = &store.together {
        return together.refresh(*presented, args).await;
    }
    let rows = store.db.run(&REFRESH, args).await?;
    rows.first().map(|row| found(row, row.get("moved")?)).transpose()
}

pub(super) fn found(row: &Row, moved: bool) -> Result<Found, StoreError> {
    Ok(Found { session: rows::session(row)?, moved, now: row.get("now")?, grace_from: row.get("grace_from")? })
}

/// The row of a session, and the database's time. One round trip, nothing written.
///
/// # Errors
/// Those of the database.
pub async fn find_session(store: &Store, id: Uuid) -> Result<Option<Found>, StoreError> {
    let rows = store.db.query(&FIND_SESSION, args![id]).await?;
    rows.first().map(|row| found(row, false)).transpose()
}

/// What recording a replay writes.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// How long an access token minted afresh is good for.
    pub access_lifetime: Duration,
    /// Signs it.
    pub access_kid: String,
    /// Whether the key of the pair's access token is gone, so that it must be minted afresh.
    pub key_gone: bool,
    /// The event, without subject, session and counter.
    pub event: Noted,
}

/// Records that a pair was handed out again, and renews an access token of it that has run out. Returns the row as it is now, which may
/// have moved on meanwhile; None: it is over. One round trip.
///
/// # Errors
/// Those of the database.
pub async fn record_replay(store: &Store, session: &Session, replayed: Replayed) -> Result<Option<Session>, StoreError> {
    let Replayed { access_lifetime, access_kid, key_gone, event } = replayed;
    let args = args![session.id, session.generation, micros(access_lifetime), access_kid, event.id, event.body, key_gone];
    let rows = store.db.run(&REPLAY, args).await?;
    rows.first().map(rows::session).transpose()
}
