//! Listing: one round trip, led by the narrowest part of the filter.

use carelink_database::{Db, Row, Statement, StoreError, Value, args};
use carelink_platform::clock::Timestamp;
use carelink_proto::audit::Outcome;

use crate::domain::{
    append::EARLIEST,
    list_events::{Filter, Found, Kind},
};

macro_rules! listing {
    ($name:literal) => {
        Statement::per_engine(
            $name,
            concat!(include_str!("sql/list_events.sql"), include_str!(concat!("sql/", $name, ".sql"))),
            concat!(include_str!("sql/list_events.postgres.sql"), include_str!(concat!("sql/", $name, ".postgres.sql"))),
        )
    };
}

pub(super) static ALL: Statement = listing!("list_events_all");
pub(super) static FAILED: Statement = listing!("list_events_failed");
pub(super) static BY_KIND: Statement = listing!("list_events_by_kind");
pub(super) static BY_USER: Statement = listing!("list_events_by_user");
pub(super) static BY_SESSION: Statement = listing!("list_events_by_session");
pub(super) static BY_TRACE: Statement = listing!("list_events_by_trace");
pub(super) static BY_ACTOR: Statement = listing!("list_events_by_actor");
pub(super) static MISATTRIBUTED: Statement = listing!("list_events_misattributed");
pub(super) static FIND: Statement = Statement::shared("find_event", include_str!("sql/find_event.sql"));

/// The newest `limit` events below `before` that the filter lets through, newest first.
///
/// # Errors
/// Those of the database.
pub async fn list_events(db: &Db, filter: &Filter, before: u64, limit: u32) -> Result<Vec<Found>, StoreError> {
    let (statement, lead) = lead(filter);
    let (from, below) = filter.kind.range();
    let since = filter.since.unwrap_or(EARLIEST).max(EARLIEST);
    let until = filter.until.unwrap_or(Timestamp::MAX).max(EARLIEST);
    let outcome = i32::from(filter.outcome);
    let (actor, wrong) = (filter.actor.clone(), filter.wrong_producer);
    let rows = db
        .query(statement, args![before, since, until, from, below, outcome, filter.session, filter.user, limit, actor, wrong, lead])
        .await?;
    rows.iter().map(found).collect()
}

/// The event at a place.
///
/// # Errors
/// Those of the database.
pub async fn find_event(db: &Db, position: u64) -> Result<Option<Found>, StoreError> {
    db.query(&FIND, args![position]).await?.first().map(found).transpose()
}

fn found(row: &Row) -> Result<Found, StoreError> {
    Ok(Found {
        position: row.get("position")?,
        received: row.get("received")?,
        body: row.get("body")?,
        caller: row.get("proven_caller")?,
        wrong_producer: row.get("wrong_producer")?,
    })
}

/// The way to the fewest rows, and what it takes as `$12`.
fn lead(filter: &Filter) -> (&'static Statement, Value) {
    match filter {
        Filter { trace_id: Some(trace), .. } => (&BY_TRACE, Value::from(*trace)),
        Filter { session: Some(session), .. } => (&BY_SESSION, Value::from(*session)),
        Filter { user: Some(user), .. } => (&BY_USER, Value::from(*user)),
        Filter { actor: Some(actor), .. } => (&BY_ACTOR, Value::from(actor)),
        Filter { wrong_producer: true, .. } => (&MISATTRIBUTED, Value::Null),
        Filter { kind: Kind::Exactly(_) | Kind::Beginning(_), .. } => (&BY_KIND, Value::Null),
        Filter { outcome: Outcome::Failure, .. } => (&FAILED, Value::Null),
        _ => (&ALL, Value::Null),
    }
}
