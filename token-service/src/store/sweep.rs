//! Everything that ages, in small batches: sessions past their end are ended (T1), old rows deleted.

use std::time::Duration;

use carelink_database::{
    StoreError, args,
    lease::{Epoch, Lease},
};

use super::{
    Ending, Store,
    end_sessions::{IDLE_MARGIN, end_each, revoke},
    micros, statements,
};

statements! {
    EXPIRED_SESSIONS = "expired_sessions";
    IDLE_SESSIONS = "idle_sessions";
    DELETE_OLD_REPORTERS = "delete_old_reporters";
    DELETE_OLD_SESSIONS = "delete_old_sessions" on both;
    DELETE_OLD_REVOCATIONS = "delete_old_revocations";
}

const BATCH: u32 = 500;
/// A verifier that has not told for so long what it saw may know of a session that was used (S12): longer than it takes between two reports,
/// and with the minute that it may keep a use to itself well below the margin of an idle end.
const LATELY: Duration = Duration::from_secs(45);
/// A row stays so long past its end, so that its tokens get the right answer (S3).
const KEEP_SESSION: Duration = Duration::from_secs(3_600);

/// What a batch came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many sessions it ended.
    pub ended: u32,
    /// Whether it was full: then more may wait.
    pub more: bool,
}

/// One batch of each, under a lease that is checked in the same transaction: a holder that was paused and wakes writes nothing (A5).
///
/// # Errors
/// Those of the database; nothing is swept then.
pub async fn sweep(store: &Store, lease: &Lease, epoch: Epoch, expired: Ending, idle: Ending) -> Result<Swept, StoreError> {
    let lease = lease.clone();
    store
        .revoking("sweep", move |tx| {
            Box::pin(async move {
                if !lease.holds(tx, epoch).await? {
                    return Ok(Swept::default());
                }
                let full = |rows: usize| rows == BATCH as usize;
                let (mut swept, mut revocations) = (Swept::default(), Vec::new());
                let over = [
                    (tx.run(&EXPIRED_SESSIONS, args![BATCH]).await?, &expired),
                    (tx.run(&IDLE_SESSIONS, args![BATCH, micros(IDLE_MARGIN), micros(LATELY)]).await?, &idle),
                ];
                for (rows, ending) in over {
                    swept.more |= full(rows.len());
                    let ids = rows.iter().map(|row| row.get("id")).collect::<Result<Vec<_>, _>>()?;
                    if !ids.is_empty() {
                        swept.ended += end_each(tx, ids, ending, &mut revocations).await?;
                    }
                }
                tx.run(&DELETE_OLD_REPORTERS, args![]).await?;
                swept.more |= full(tx.run(&DELETE_OLD_SESSIONS, args![micros(KEEP_SESSION), BATCH]).await?.len());
                swept.more |= full(tx.run(&DELETE_OLD_REVOCATIONS, args![BATCH]).await?.len());
                revoke(tx, revocations).await?;
                Ok(swept)
            })
        })
        .await
}
