//! Predecessors' databases whose tokens are known (L1, L3).

use std::time::Duration;

use carelink_database::{StoreError, args, outbox, trail::Noted};
use carelink_platform::clock::Timestamp;

use super::{Store, keys::announce, micros, statements};

statements! {
    LOAD_SOURCES = "load_sources";
    FIND_SOURCE = "find_source";
    REGISTER_SOURCE = "register_source" on both;
}

/// A source with a key.
#[derive(Clone, Debug)]
pub struct StoredSource {
    /// Its name.
    pub name: String,
    /// How its tokens are signed.
    pub algorithm: String,
    /// Its SECRET_KEY; only the master key opens it.
    pub sealed_key: Vec<u8>,
}

/// A source to register.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Its name.
    pub name: String,
    /// How its tokens are signed.
    pub algorithm: String,
    /// Its SECRET_KEY, sealed, and the event of that; None: whatever is known of it stays as it is.
    pub sealed_key: Option<(Vec<u8>, Noted)>,
    /// `legacy.max_age`.
    pub max_age: Duration,
    /// `legacy.until`.
    pub until: Option<Timestamp>,
}

/// All sources with keys.
///
/// # Errors
/// Those of the database.
pub async fn load_sources(store: &Store) -> Result<Vec<StoredSource>, StoreError> {
    let rows = store.db.query(&LOAD_SOURCES, args![]).await?;
    rows.iter()
        .map(|row| Ok(StoredSource { name: row.get("name")?, algorithm: row.get("algorithm")?, sealed_key: row.get("sealed_key")? }))
        .collect()
}

/// Until when tokens of a source are accepted; None: no such source.
///
/// # Errors
/// Those of the database.
pub async fn find_source(store: &Store, name: &str) -> Result<Option<Timestamp>, StoreError> {
    let rows = store.db.query(&FIND_SOURCE, args![name]).await?;
    rows.first().map(|row| row.get("accepted_until")).transpose()
}

/// Registers a source; the time until which its tokens are accepted is fixed by the first call.
///
/// # Errors
/// Those of the database.
pub async fn register_source(store: &Store, source: Registered) -> Result<Timestamp, StoreError> {
    let Registered { name, algorithm, sealed_key, max_age, until } = source;
    let (sealed_key, event) = sealed_key.unzip();
    store
        .db
        .transaction("register_source", move |tx| {
            Box::pin(async move {
                let rows = tx.run(&REGISTER_SOURCE, args![name, algorithm, sealed_key, micros(max_age), until]).await?;
                if let Some(event) = event {
                    outbox::put(tx, event.outgoing()).await?;
                    announce(tx).await?;
                }
                rows.first().map_or(Ok(Timestamp::ZERO), |row| row.get("accepted_until"))
            })
        })
        .await
}
