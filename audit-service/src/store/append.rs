//! Appending: the lock first, in a statement of its own; then which are new; only those are numbered and stored (A4).

use std::collections::BTreeMap;

use carelink_database::{Db, Statement, StoreError, Tx, Value, args};
use carelink_platform::clock::Timestamp;

use crate::domain::append::Record;

pub(super) static LOCK_HEAD: Statement = Statement::shared("lock_head", include_str!("sql/lock_head.sql"));
pub(super) static APPEND: Statement = Statement::shared("append", include_str!("sql/append.sql"));
pub(super) static EXTEND_ZONE: Statement = Statement::shared("extend_zone", include_str!("sql/extend_zone.sql"));
pub(super) static MOVE_HEAD: Statement = Statement::shared("move_head", include_str!("sql/move_head.sql"));

/// Where the events of a call came to lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// How many were new.
    pub stored: u32,
    /// The position of the last of those.
    pub last: Option<u64>,
}

/// Stores what is new of `records`, durably.
///
/// # Errors
/// Those of the database; nothing was stored then.
pub async fn append(db: &Db, records: Vec<Record>) -> Result<Appended, StoreError> {
    db.transaction("append", move |tx| Box::pin(append_within(tx, records))).await
}

/// Stores what is new of `records` within a transaction that does more.
///
/// # Errors
/// Those of the database.
pub async fn append_within(tx: &mut Tx, records: Vec<Record>) -> Result<Appended, StoreError> {
    tx.run(&LOCK_HEAD, args![]).await?;
    let received = tx.now().await?;
    let each = records.into_iter().map(|record| bind(record, received)).collect();
    let mut zones = BTreeMap::new();
    let mut appended = Appended::default();
    for row in tx.run_each(&APPEND, each).await? {
        let time: Timestamp = row.get("time")?;
        let (earliest, latest) = zones.entry(row.get::<i64>("zone")?).or_insert((time, time));
        (*earliest, *latest) = (time.min(*earliest), time.max(*latest));
        appended = Appended { stored: appended.stored + 1, last: Some(row.get("position")?) };
    }
    tx.run_each(&EXTEND_ZONE, zones.into_iter().map(|(zone, (earliest, latest))| args![zone, earliest, latest]).collect()).await?;
    if let Some(last) = appended.last {
        tx.run(&MOVE_HEAD, args![last]).await?;
    }
    Ok(appended)
}

fn bind(record: Record, received: Timestamp) -> Vec<Value> {
    args![
        record.id,
        record.time.unwrap_or(received),
        received,
        record.kind,
        record.outcome,
        record.subject,
        record.actor_user,
        record.session,
        record.session_counter,
        record.trace_id,
        record.body,
    ]
}
