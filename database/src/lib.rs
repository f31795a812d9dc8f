//! Plumbing of every store: one way to run SQL on either engine, migrations, the outbox, the lease.
//!
//! A use case is an async closure over [`Tx`]. On SQLite it runs on the writer's thread, inside a savepoint of a
//! transaction that it shares with whatever else was waiting (group commit, ADR 0001); on PostgreSQL it has a transaction
//! of its own. Statements are files, one text for both engines wherever both run it.

pub mod backlog;
pub mod copy;
mod db;
mod error;
pub mod lease;
pub mod migrate;
pub mod outbox;
mod postgres;
#[cfg(feature = "simulation")]
pub mod simulation;
mod sqlite;
mod statement;
pub mod trail;
mod tx;
mod value;

pub use carelink_platform::location::{DatabaseConfig, Location, Postgres};
pub use db::{Db, DbOptions};
pub use error::StoreError;
pub use migrate::Migration;
pub use statement::Statement;
pub use tx::Tx;
pub use value::{FromValue, Row, Value};
