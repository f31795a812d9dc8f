//! The verifier's rules, held against a token-service made of the generated server, in this process and in paused time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice)] // helpers of tests

mod activity;
mod embed;
mod fleet;
mod garbage;
mod issuer;
mod layer;
mod service;
mod stale;
mod tokens;
#[path = "../../examples/ward_board.rs"]
mod ward_board;
mod watch;
mod wire;
