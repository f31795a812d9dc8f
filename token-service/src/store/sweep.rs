//! Everything that ages, in small batches: sessions past their end are ended (T1), old rows deleted.

use std::time::Duration;

use carelink_database::{StoreError, args};

use super::{Ending, Store, end_sessions::end_sessions, micros, statements};

statements! {
    EXPIRED_SESSIONS = "expired_sessions";
    DELETE_OLD_SESSIONS = "delete_old_sessions";
    DELETE_OLD_REVOCATIONS = "delete_old_revocations";
}

const BATCH: u32 = 500;
/// A row stays so long past its end, so that its tokens get the right answer (S3).
const KEEP_SESSION: Duration = Duration::from_secs(3_600);

/// One batch of each. Says how many sessions it ended, and whether a batch was full: then more may wait.
///
/// # Errors
/// Those of the database.
pub async fn sweep(store: &Store, ending: Ending) -> Result<(u32, bool), StoreError> {
    let rows = store.db.query(&EXPIRED_SESSIONS, args![BATCH]).await?;
    let ids = rows.iter().map(|row| row.get("id")).collect::<Result<Vec<_>, _>>()?;
    let full = |rows: usize| rows == BATCH as usize;
    let mut more = full(ids.len());
    let ended = if ids.is_empty() { 0 } else { end_sessions(store, ids, ending).await?.count };
    more |= full(store.db.run(&DELETE_OLD_SESSIONS, args![micros(KEEP_SESSION), BATCH]).await?.len());
    more |= full(store.db.run(&DELETE_OLD_REVOCATIONS, args![BATCH]).await?.len());
    Ok((ended, more))
}
