//! What verifiers are told: live revocations to begin with, then numbered entries (V1, V2).

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
const BATCH: u32 = 1_000;

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
}

fn entry(row: &Row) -> Result<Entry, StoreError> {
    Ok(Entry { number: row.get("number")?, session: row.get("session")?, generation: row.get("generation")?, until: row.get("until")? })
}

/// The highest number, and the database's time.
///
/// # Errors
/// Those of the database.
pub async fn head(store: &Store) -> Result<(u64, Timestamp), StoreError> {
    let rows = store.db.query(&HEAD, args![]).await?;
    rows.first().map_or(Ok((0, Timestamp::ZERO)), |row| Ok((row.get("number")?, row.get("now")?)))
}

/// Entries past a number, in order, without gaps.
///
/// # Errors
/// Those of the database.
pub async fn revocations_since(store: &Store, number: u64) -> Result<Vec<Entry>, StoreError> {
    store.db.query(&SINCE, args![number, BATCH]).await?.iter().map(entry).collect()
}

/// All that still matter, the highest number, and the time.
///
/// # Errors
/// Those of the database.
pub async fn snapshot(store: &Store) -> Result<(Vec<Entry>, u64, Timestamp), StoreError> {
    let rows = store.db.query(&LIVE, args![]).await?;
    let (head, now) = rows.first().map_or(Ok((0, Timestamp::ZERO)), |row| Ok::<_, StoreError>((row.get("head")?, row.get("now")?)))?;
    let live = rows.iter().filter(|row| !matches!(row.get::<Option<u64>>("number"), Ok(None)));
    Ok((live.map(entry).collect::<Result<_, _>>()?, head, now))
}
