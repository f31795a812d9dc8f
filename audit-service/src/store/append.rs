//! Appending: the lock first, in a statement of its own; then which are new; only those are numbered and stored (A4).

use std::collections::{BTreeMap, HashSet};

use carelink_database::{Db, Statement, StoreError, Tx, Value, args};
use carelink_platform::clock::Timestamp;

use crate::domain::append::{Placed, Record, place};

pub(super) static LOCK_HEAD: Statement = Statement::shared("lock_head", include_str!("sql/lock_head.sql"));
pub(super) static KNOWN: Statement = Statement::shared("known", include_str!("sql/known.sql"));
pub(super) static APPEND: Statement = Statement::shared("append", include_str!("sql/append.sql"));
pub(super) static EXTEND_ZONE: Statement = Statement::shared("extend_zone", include_str!("sql/extend_zone.sql"));
pub(super) static MOVE_HEAD: Statement = Statement::shared("move_head", include_str!("sql/move_head.sql"));

/// As in the texts.
const ZONE: u64 = 4_096;

/// Where the events of a call came to lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// How many were new.
    pub stored: u32,
    /// The position of the last of those.
    pub last: Option<u64>,
}

/// Stores what is new of `records`, durably. Five round trips, whatever their number.
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
    let head = tx.run(&LOCK_HEAD, args![]).await?;
    let size = head.first().map_or(Ok(0), |row| row.get::<u64>("size"))?;
    let known = tx.run_each(&KNOWN, records.iter().map(|record| args![record.id]).collect()).await?;
    let known = known.iter().map(|row| row.get("id")).collect::<Result<HashSet<_>, _>>()?;
    let placed = place(records, &known, size, tx.now().await?);
    let Some(last) = placed.last().map(|placed| placed.position) else { return Ok(Appended::default()) };
    let stored = u32::try_from(placed.len()).unwrap_or(u32::MAX);
    let zones = zones(&placed).into_iter().map(|(zone, (earliest, latest))| args![zone, earliest, latest]).collect();
    tx.run_each(&APPEND, placed.into_iter().map(bind).collect()).await?;
    tx.run_each(&EXTEND_ZONE, zones).await?;
    tx.run(&MOVE_HEAD, args![last]).await?;
    Ok(Appended { stored, last: Some(last) })
}

/// The earliest and latest time of each zone that gets something.
fn zones(placed: &[Placed]) -> BTreeMap<u64, (Timestamp, Timestamp)> {
    let mut zones = BTreeMap::new();
    for Placed { position, time, .. } in placed {
        let (earliest, latest) = zones.entry(position / ZONE).or_insert((*time, *time));
        (*earliest, *latest) = ((*earliest).min(*time), (*latest).max(*time));
    }
    zones
}

fn bind(placed: Placed) -> Vec<Value> {
    let Placed { position, time, received, record } = placed;
    args![
        position,
        record.id,
        time,
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
