//! Faults of a fleet: real processes of every service on a real PostgreSQL and Redis, and what becomes of the people who use it when
//! processes, servers, clocks and networks fail under them.
//!
//! One module a topic. Every test prints its figures, one a line, as `figure: ..`; docs/RELIABILITY.md has those of the full size, which
//! is what runs with `CARELINK_TEST_LONG` set. `CARELINK_BIN` names another `carelink`, with the services' binaries beside it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice, clippy::print_stdout)] // tests

mod backlog;
mod certificates;
mod clocks;
mod commands;
mod costs;
mod embedding;
mod kills;
mod leases;
mod networks;
mod operations;
mod poolers;
mod races;
mod restarts;
mod restoring;
mod revocation;
mod running;
mod spends;
#[path = "../../../verifier/examples/ward_board.rs"]
mod ward_board;
