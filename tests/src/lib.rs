//! The harness of the black-box journeys: the real binary in a directory of its own, and people who use it.
//!
//! It knows CareLink only from outside: its HTTP paths, its command line, its ops port, its log, its files. What waits here waits
//! for a condition with a deadline, never for time to pass.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    clippy::needless_pass_by_value,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::result_large_err
)] // a test that cannot go on has failed

pub mod browser;
pub mod carelink;
pub mod cli;
pub mod fault;
pub mod fleet;
pub mod http;
pub mod metrics;
pub mod otlp;
pub mod person;
pub mod predecessor;
pub mod trail;
pub mod typed;
pub mod wait;

/// The password of people whom a test adds.
pub const PASSWORD: &str = "a long night with seven nurses";

pub use self::{
    browser::Browser,
    carelink::{Carelink, Start},
    cli::Said,
    http::{Answer, Http},
    metrics::Metrics,
    person::{Pair, Person, claims},
    wait::eventually,
};

/// How many of whatever it is: the short form, or with `CARELINK_TEST_LONG` the full size.
pub fn size(short: usize, full: usize) -> usize {
    if std::env::var_os("CARELINK_TEST_LONG").is_some() { full } else { short }
}

/// One line of what was measured; docs/RELIABILITY.md cites them.
pub fn figure(text: &str) {
    println!("figure: {text}");
}
