#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)] // a test
//! What every store leans on: one suite, run on both engines; beside it what only one of them has.

mod bench;
mod files;
mod leases;
mod migrations;
mod outbox;
mod replicas;
mod server;
mod transactions;
mod trips;
