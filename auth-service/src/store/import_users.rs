//! Taking a batch of a predecessor's users, in one transaction (L1, L2, L5). A dry run does the same and is undone.

mod batch;

use std::collections::HashSet;

use carelink_database::StoreError;
use carelink_platform::clock::Timestamp;
use uuid::Uuid;

use self::batch::Batch;
use super::{Author, Pending, Store, create_user, statements};
use crate::{
    Error,
    domain::import::{Read, RowRefused, Rules},
};

statements! {
    FIND = "find_legacy_user" and postgres;
    PUT = "put_legacy_user" and postgres;
    UPDATE_PROFILE = "update_profile" and postgres;
}

/// A row that could be read.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Its key in the source.
    pub legacy_id: i64,
    /// Since when the user is there; zero for unknown.
    pub joined: Timestamp,
    /// What it says.
    pub read: Read,
}

/// A batch.
#[derive(Clone, Debug)]
pub struct Import {
    /// The source's name.
    pub source: String,
    /// In order; those that could not be read are refused already.
    pub rows: Vec<Result<Incoming, RowRefused>>,
    /// What the operator decided.
    pub rules: Rules,
    /// Decide, but write nothing.
    pub dry_run: bool,
    /// On whose behalf.
    pub author: Author,
}

/// What became of a row.
#[derive(Clone, Debug)]
pub struct RowOutcome {
    /// What was done.
    pub result: RowResult,
    /// The user here; none where refused.
    pub user: Option<(Uuid, i64)>,
    /// Fields that were changed here too and are kept.
    pub kept: Vec<&'static str>,
}

/// What was done with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowResult {
    /// A new user.
    Imported,
    /// Something of it was applied.
    Updated,
    /// Nothing.
    Unchanged,
    /// Not taken.
    Refused(RowRefused),
}

/// Why a batch was not written.
enum Undone {
    Failed(Error),
    DryRun(Vec<RowOutcome>),
}

impl From<StoreError> for Undone {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Error> for Undone {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Takes a batch: one outcome for each row, and the snapshots to be delivered. A dozen round trips on PostgreSQL, whatever its size.
///
/// # Errors
/// Those of the database; nothing of the batch was written then.
pub async fn import_users(store: &Store, import: Import) -> Result<(Vec<RowOutcome>, Vec<Pending>), Error> {
    let work = store.clone();
    let done = store.db.transaction("import_users", move |tx| {
        Box::pin(async move {
            let now = create_user::lock_names(tx).await?;
            let (mut outcomes, mut pending) = (Vec::with_capacity(import.rows.len()), Vec::new());
            let mut rest = import.rows.as_slice();
            while !rest.is_empty() {
                let (rows, later) = rest.split_at(distinct(rest));
                let batch = Batch::read(tx, &work, &import, rows, now).await?;
                pending.extend(batch.take(tx, &mut outcomes).await?);
                rest = later;
            }
            if import.dry_run { Err(Undone::DryRun(outcomes)) } else { Ok((outcomes, pending)) }
        })
    });
    match done.await {
        Ok(done) => Ok(done),
        Err(Undone::DryRun(outcomes)) => Ok((outcomes, Vec::new())),
        Err(Undone::Failed(error)) => Err(error),
    }
}

/// How many rows from the beginning have keys of their own; one that comes again is compared with what the first became.
fn distinct(rows: &[Result<Incoming, RowRefused>]) -> usize {
    let mut seen = HashSet::new();
    rows.iter().position(|row| row.as_ref().is_ok_and(|row| !seen.insert(row.legacy_id))).unwrap_or(rows.len())
}

impl RowOutcome {
    fn refused(refused: RowRefused) -> Self {
        Self { result: RowResult::Refused(refused), user: None, kept: Vec::new() }
    }
}
