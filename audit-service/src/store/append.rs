//! Appending: the lock first, in a statement of its own; then which are new; only those are numbered and stored (A4).

use std::collections::{BTreeMap, HashSet};

use carelink_database::{Db, Statement, StoreError, Tx, Value, args};
use carelink_platform::clock::Timestamp;

use super::per_engine;
use crate::domain::append::{Placed, Record, place};

pub(super) static LOCK_HEAD: Statement = per_engine!("lock_head");
pub(super) static KNOWN: Statement = per_engine!("known");
pub(super) static APPEND: Statement = per_engine!("append");
pub(super) static ADVANCE: Statement = per_engine!("advance");

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

/// Stores what is new of `records`, durably. Round trips on PostgreSQL: begin, lock, find, store, advance, commit; whatever their number.
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
    let Some(head) = head.first() else { return Err(StoreError::Engine("the trail has no head".to_owned())) };
    let (size, now) = (head.get("size")?, head.get("now")?);
    let known = tx.run_each(&KNOWN, records.iter().map(|record| args![record.id]).collect()).await?;
    let known = known.iter().map(|row| row.get("id")).collect::<Result<HashSet<_>, _>>()?;
    let placed = place(records, &known, size, now);
    let Some(last) = placed.last().map(|placed| placed.position) else { return Ok(Appended::default()) };
    let stored = u32::try_from(placed.len()).unwrap_or(u32::MAX);
    let zones = zones(&placed).into_iter().map(|(zone, (earliest, latest))| args![zone, earliest, latest, last]).collect();
    tx.run_each(&APPEND, placed.into_iter().map(bind).collect()).await?;
    tx.run_each(&ADVANCE, zones).await?;
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
        record.caller,
        record.wrong_producer,
        record.actor,
    ]
}
