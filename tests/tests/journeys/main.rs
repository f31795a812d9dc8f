//! Days at the hospital, against the real binary: what people, tabs, operators, attackers and power cuts do to it.
//!
//! One binary, one module a topic. `tests/run` builds CareLink first; `CARELINK_BIN` names another binary to try, and with
//! `CARELINK_TEST_LONG` set the rounds that find races are ten times as many.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice, clippy::print_stdout)] // tests

mod backups;
mod bad_input;
mod browsers;
mod callers;
mod clocks;
mod costs;
mod csrf;
mod days;
mod django;
mod docs;
mod enumeration;
mod forward_auth;
mod golden;
mod guarded;
mod interrupted;
mod migration;
mod operators;
mod pages;
mod power_cuts;
mod races;
mod readme;
mod real_input;
mod rules;
mod secrets;
mod spray;
mod starting;
mod strangers;
mod telemetry;

/// Whether somebody has the time: `tests/run --long`.
fn long() -> bool {
    std::env::var_os("CARELINK_TEST_LONG").is_some()
}

/// How many rounds of what finds races: `usual`, or ten times as many.
fn rounds(usual: usize) -> usize {
    if long() { usual * 10 } else { usual }
}
