//! What verifiers are told: live revocations to begin with, then numbered entries (V1, V2); and how far all of that has come.

use carelink_database::{Row, StoreError, args};
use carelink_platform::clock::Timestamp;
use uuid::Uuid;

use super::{Store, statements};
use crate::domain::session::Generation;

statements! {
    HEAD = "revocation_head";
    SINCE = "revocations_since";
    LIVE = "live_revocations";
}

/// At most so many entries are read together.
pub(crate) const BATCH: u32 = 1_000;

/// How far the stream has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The highest number.
    pub number: u64,
    /// Which life of the database this is (R1).
    pub incarnation: Uuid,
    /// Changes with every change of a key.
    pub keys: u64,
    /// How often the pulse was written.
    pub beats: u64,
    /// When it was written last (T5); None where nobody has ever written one.
    pub beaten_at: Option<Timestamp>,
    /// The database's time.
    pub now: Timestamp,
}

/// One revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub number: u64,
    /// Whose access tokens are refused.
    pub session: Uuid,
    /// Up to which generation; None: all.
    pub generation: Option<Generation>,
    /// Kept so long.
    pub until: Timestamp,
    /// When it was written.
    pub revoked_at: Timestamp,
}

/// Some revocations, in order, without gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// At most [`BATCH`].
    pub entries: Vec<Entry>,
    /// The database's time when they were read.
    pub now: Timestamp,
}

fn entry(row: &Row) -> Result<Entry, StoreError> {
    Ok(Entry {
        number: row.get("number")?,
        session: row.get("session")?,
        generation: row.get("generation")?,
        until: row.get("until")?,
        revoked_at: row.get("revoked_at")?,
    })
}

/// How far the stream has come. One round trip.
///
/// # Errors
/// Those of the database.
pub async fn head(store: &Store) -> Result<Head, StoreError> {
    let rows = store.db.query(&HEAD, args![]).await?;
    let head = |row: &Row| {
        Ok(Head {
            number: row.get("number")?,
            incarnation: row.get("incarnation")?,
            keys: row.get("keys")?,
            beats: row.get("beats")?,
            beaten_at: row.get("beaten_at")?,
            now: row.get("now")?,
        })
    };
    rows.first().map_or(Ok(Head::default()), head)
}

/// Entries past a number.
///
/// # Errors
/// Those of the database.
pub async fn revocations_since(store: &Store, number: u64) -> Result<Entries, StoreError> {
    let rows = store.db.query(&SINCE, args![number, BATCH]).await?;
    let now = rows.first().map_or(Ok(Timestamp::ZERO), |row| row.get("now"))?;
    Ok(Entries { entries: rows.iter().map(entry).collect::<Result<_, _>>()?, now })
}

/// All that still matter, and how far the stream has come.
///
/// # Errors
/// Those of the database.
pub async fn snapshot(store: &Store) -> Result<(Vec<Entry>, Head), StoreError> {
    let rows = store.db.query(&LIVE, args![]).await?;
    let head = |row: &Row| {
        Ok::<_, StoreError>(Head {
            number: row.get("head")?,
            incarnation: row.get("incarnation")?,
            keys: row.get("keys")?,
            beats: row.get("beats")?,
            beaten_at: row.get("beaten_at")?,
            now: row.get("now")?,
        })
    };
    let head = rows.first().map_or(Ok(Head::default()), head)?;
    let live = rows.iter().filter(|row| !matches!(row.get::<Option<u64>>("number"), Ok(None)));
    Ok((live.map(entry).collect::<Result<_, _>>()?, head))
}
