//! The same on PostgreSQL, and what only several replicas on one database can show.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs, unreachable_pub)] // a test

/// The engine that all of this runs on.
const ENGINE: carelink_servers::Engine = carelink_servers::Engine::Postgres;

#[path = "../it/activity.rs"]
mod activity;
#[path = "../it/again.rs"]
mod again;
#[path = "../it/bench.rs"]
mod bench;
#[path = "../it/events.rs"]
mod events;
#[path = "../it/import.rs"]
mod import;
#[path = "../it/keys.rs"]
mod keys;
#[path = "../it/machine.rs"]
mod machine;
#[path = "../it/model.rs"]
mod model;
#[path = "../it/moves.rs"]
mod moves;
#[path = "../it/place.rs"]
mod place;
mod pulse;
#[path = "../it/race.rs"]
mod race;
#[path = "../it/refresh.rs"]
mod refresh;
mod replicas;
#[path = "../it/rpc.rs"]
mod rpc;
#[path = "../it/sessions.rs"]
mod sessions;
#[path = "../it/signed.rs"]
mod signed;
#[path = "../it/watching.rs"]
mod watching;
