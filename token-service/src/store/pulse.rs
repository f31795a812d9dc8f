//! The pulse (T5): one row that whoever holds its lease writes every second. No writes, no heartbeat; a gap is an outage.

use std::time::Duration;

use carelink_database::{Row, StoreError, args, lease::Lease};
use carelink_platform::clock::Timestamp;

use super::{Store, micros, statements};

statements! {
    BEAT = "beat";
}

/// The longest gap that is none.
const GAP: Duration = Duration::from_secs(5);

/// What a beat found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// When it was.
    pub at: Timestamp,
    /// An outage that it ended: since when there had been no other beat.
    pub outage_began: Option<Timestamp>,
}

/// Writes the pulse, under its lease and in one transaction with it: a holder that was paused and wakes cannot. None: somebody else does.
///
/// # Errors
/// Those of the database.
pub async fn beat(store: &Store, lease: &Lease, grace: Duration) -> Result<Option<Beat>, StoreError> {
    let lease = lease.clone();
    store
        .db
        .transaction("beat", move |tx| {
            Box::pin(async move {
                if lease.acquire_in(tx).await?.is_none() {
                    return Ok(None);
                }
                let rows = tx.run(&BEAT, args![micros(GAP), micros(grace)]).await?;
                let beat = |row: &Row| {
                    let (at, ended): (Timestamp, Option<Timestamp>) = (row.get("beaten_at")?, row.get("outage_ended")?);
                    Ok(Beat { at, outage_began: if ended == Some(at) { row.get("outage_began")? } else { None } })
                };
                rows.first().map(beat).transpose()
            })
        })
        .await
}
