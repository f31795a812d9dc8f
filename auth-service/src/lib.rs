//! auth-service owns users and their credentials. It says who somebody is, and signs it; it never issues a token.
//!
//! What always holds:
//! - A user's `version` rises with every change that token-service must know of, and the snapshot is in the outbox of the same transaction
//!   until token-service has acknowledged it (U1, U3).
//! - Nobody learns from an answer or its time whether a name exists (C3).
//! - Nothing is hashed outside the pool, whose memory and queue are bounded.
//! - What was changed here is never undone by importing again (L5).
//!
//! What it never stores: a password, what was typed as an unknown name, where somebody signed in from (but sealed, in events, and as
//! keyed hashes).

mod app;
mod callers;
mod config;
pub mod domain;
mod error;
mod mail;
pub mod pool;
mod rpc;
pub mod store;
mod subjects;
#[cfg(test)]
mod tests;
mod throttled;
mod upkeep;

pub use app::{App, FirstAdministrator, Options, assertion_key};
pub use callers::CALLERS;
pub use config::Config;
pub use error::Error;
pub use mail::MailConfig;
