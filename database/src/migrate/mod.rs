//! Brings a schema up to date, and refuses one that does not fit this program.
//!
//! A file is migrated by whoever opens it. PostgreSQL's schemas are migrated by `carelink migrate`, as their owners and under a
//! lease; services only look. Steps expand first and contract later: one named `NNNN_expand_..` fits the replicas that do not
//! know it yet, any other unknown one makes the schema too new for them.

mod postgres;
mod sqlite;

use std::collections::BTreeMap;

use aws_lc_rs::digest;

pub use postgres::postgres;
pub(crate) use sqlite::run;

use crate::StoreError;

/// One step of a schema.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// `0001_users`; the same for both engines.
    pub name: &'static str,
    /// Its text for SQLite.
    pub sqlite: &'static str,
    /// Its text for PostgreSQL.
    pub postgres: &'static str,
}

/// What every service's database has.
const PLATFORM: Migration = Migration {
    name: "0000_platform",
    sqlite: include_str!("../../migrations/sqlite/0000_platform.sql"),
    postgres: include_str!("../../migrations/postgres/0000_platform.sql"),
};

/// The names of all steps, the platform's first, in their order.
pub fn names(migrations: &[Migration]) -> impl Iterator<Item = &'static str> {
    all(migrations).map(|migration| migration.name)
}

/// All steps, the platform's first.
pub(crate) fn all(migrations: &[Migration]) -> impl Iterator<Item = &Migration> {
    std::iter::once(&PLATFORM).chain(migrations)
}

fn checksum(text: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

/// Whether a step that this program does not know leaves what it does know intact.
fn only_expands(name: &str) -> bool {
    name.split('_').nth(1) == Some("expand")
}

/// Whether PostgreSQL's schema is the one that this program was made for.
pub(crate) fn fits(schema: &'static str, migrations: &[Migration], there: &BTreeMap<String, String>) -> Result<(), StoreError> {
    not_newer(schema, migrations, there)?;
    match all(migrations).find(|migration| !there.contains_key(migration.name)) {
        Some(missing) => Err(StoreError::Older { schema, migration: missing.name.to_owned() }),
        None => Ok(()),
    }
}

/// Refuses what a newer program has left, and a step with another text.
fn not_newer(schema: &'static str, migrations: &[Migration], there: &BTreeMap<String, String>) -> Result<(), StoreError> {
    for (name, found) in there {
        match all(migrations).find(|known| known.name == name) {
            Some(known) if *found == checksum(known.postgres) => {}
            Some(_) => return Err(StoreError::Altered { schema, migration: name.clone() }),
            None if only_expands(name) => tracing::info!(schema, migration = %name, "the schema is ahead of this program, which it fits"),
            None => return Err(StoreError::Newer { schema, migration: name.clone() }),
        }
    }
    Ok(())
}
