//! Keys that sign, sealed under the master key (K3).

use carelink_database::{StoreError, args, outbox, trail::Noted};

use super::{Store, statements};

statements! {
    LOAD_KEYS = "load_keys";
    INSERT_KEY = "insert_key";
}

/// What a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Access tokens: Ed25519.
    Access,
    /// Refresh tokens: HMAC.
    Refresh,
}

impl Purpose {
    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Refresh => "refresh",
        }
    }
}

/// A key as it is stored.
#[derive(Clone, Debug)]
pub struct SealedKey {
    /// Its id.
    pub kid: String,
    /// What it signs.
    pub purpose: Purpose,
    /// The lowest signs.
    pub rank: u32,
    /// Only the master key opens it.
    pub sealed: Vec<u8>,
}

/// Every key, those that sign first.
///
/// # Errors
/// Those of the database.
pub async fn load_keys(store: &Store) -> Result<Vec<SealedKey>, StoreError> {
    let rows = store.db.query(&LOAD_KEYS, args![]).await?;
    let key = |(rank, row): (usize, &carelink_database::Row)| {
        let purpose: String = row.get("purpose")?;
        let purpose = if purpose == Purpose::Access.as_str() { Purpose::Access } else { Purpose::Refresh };
        Ok(SealedKey { kid: row.get("kid")?, purpose, rank: u32::try_from(rank).unwrap_or(u32::MAX), sealed: row.get("sealed")? })
    };
    rows.iter().enumerate().map(key).collect()
}

/// Stores new keys with their events.
///
/// # Errors
/// Those of the database.
pub async fn insert_keys(store: &Store, keys: Vec<(SealedKey, Noted)>) -> Result<(), StoreError> {
    store
        .db
        .transaction("insert_keys", move |tx| {
            Box::pin(async move {
                for (key, event) in keys {
                    tx.run(&INSERT_KEY, args![key.kid, key.purpose.as_str(), key.rank, key.sealed]).await?;
                    outbox::put(tx, event.outgoing()).await?;
                }
                Ok(())
            })
        })
        .await
}
