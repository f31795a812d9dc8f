//! Taking away a key that somebody else may know: gone at once; the next one signs in its place, however young; what lives by it ends.

use carelink_database::{StoreError, args};

use super::{
    Ending, Keys, Store,
    end_sessions::{end_each, revoke},
    keys::{Change, KeyEvent, announce, insert, load, record, rotate},
    statements,
};
use crate::domain::keys::State;

statements! {
    DELETE_KEY = "delete_key";
    SESSIONS_OF_KEY = "sessions_of_key";
}

const BATCH: u32 = 500;

/// Deletes the key. None: there is none of this id.
///
/// # Errors
/// Those of the database; nothing is changed then.
pub async fn withdraw_key(store: &Store, kid: String, change: Change) -> Result<Option<Keys>, StoreError> {
    store
        .revoking("withdraw_key", move |tx| {
            Box::pin(async move {
                announce(tx).await?;
                let held = load(tx).await?;
                let Some(key) = held.keys.iter().find(|key| key.kid == kid) else { return Ok(None) };
                let (purpose, state) = (key.purpose, key.life.state());
                if state == State::Signing {
                    rotate(tx, &change, purpose, held.now).await?;
                }
                let rows = tx.run(&DELETE_KEY, args![kid]).await?;
                record(tx, &change, KeyEvent::Withdrawn(purpose), &rows, held.now).await?;
                if state != State::Retired {
                    insert(tx, &change, purpose, held.next_rank(purpose), false, held.now).await?;
                }
                load(tx).await.map(Some)
            })
        })
        .await
}

/// One batch of the sessions whose refresh token a key had signed ends. Says how many; none: there are none left.
///
/// # Errors
/// Those of the database; none of the batch is ended then.
pub async fn end_sessions_of_key(store: &Store, kid: &str, ending: Ending) -> Result<u32, StoreError> {
    let kid = kid.to_owned();
    store
        .revoking("end_sessions_of_key", move |tx| {
            Box::pin(async move {
                let rows = tx.run(&SESSIONS_OF_KEY, args![kid, BATCH]).await?;
                let ids: Vec<_> = rows.iter().map(|row| row.get("id")).collect::<Result<_, _>>()?;
                if ids.is_empty() {
                    return Ok(0);
                }
                let mut revocations = Vec::new();
                let ended = end_each(tx, ids, &ending, &mut revocations).await?;
                revoke(tx, revocations).await?;
                Ok(ended)
            })
        })
        .await
}
