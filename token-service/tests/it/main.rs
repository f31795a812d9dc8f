//! Token-service over its real stack and a real database.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs, unreachable_pub)] // a test

/// The engine that all of this runs on.
const ENGINE: carelink_servers::Engine = carelink_servers::Engine::Sqlite;

mod activity;
mod again;
mod bench;
mod events;
mod import;
mod keys;
mod machine;
mod model;
mod moves;
mod place;
mod race;
mod refresh;
mod rpc;
mod sessions;
mod signed;
mod watching;
