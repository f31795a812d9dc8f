//! The trail's statements: one function per use case, one file per text. Nothing is decided here.

mod append;
mod list_events;
mod note_sealing_key;
#[cfg(test)]
mod replicas;
#[cfg(test)]
mod tests;

use carelink_database::{Db, DbOptions, Location, Migration, Statement, StoreError};
use carelink_platform::clock::Clock;

pub use append::{Appended, append, append_within};
pub use list_events::{find_event, list_events};
pub use note_sealing_key::note_sealing_key;

/// The schema, step by step.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        name: "0001_events",
        sqlite: include_str!("../../migrations/sqlite/0001_events.sql"),
        postgres: include_str!("../../migrations/postgres/0001_events.sql"),
    },
    Migration {
        name: "0002_expand_callers",
        sqlite: include_str!("../../migrations/sqlite/0002_expand_callers.sql"),
        postgres: include_str!("../../migrations/postgres/0002_expand_callers.sql"),
    },
];
/// Whose database it is.
pub const SCHEMA: &str = "audit";

/// Opens or makes the trail's database.
///
/// # Errors
/// Where it cannot be used.
pub async fn open(at: Location, clock: Clock) -> Result<Db, StoreError> {
    Db::open(DbOptions { at, schema: SCHEMA, migrations: MIGRATIONS, clock }).await
}

/// Every statement, for the test that prepares them all.
pub static STATEMENTS: &[&Statement] = &[
    &append::LOCK_HEAD,
    &append::KNOWN,
    &append::APPEND,
    &append::ADVANCE,
    &list_events::ALL,
    &list_events::FAILED,
    &list_events::BY_KIND,
    &list_events::BY_USER,
    &list_events::BY_SESSION,
    &list_events::BY_TRACE,
    &list_events::BY_ACTOR,
    &list_events::MISATTRIBUTED,
    &list_events::FIND,
    &note_sealing_key::NOTE_SEALING_KEY,
];

/// A statement whose text for PostgreSQL lies beside that for SQLite.
macro_rules! per_engine {
    ($name:literal) => {
        Statement::per_engine($name, include_str!(concat!("sql/", $name, ".sql")), include_str!(concat!("sql/", $name, ".postgres.sql")))
    };
}
use per_engine;
