//! Sessions and their tokens: issued, rotated, ended; and the stream that tells every verifier what no longer holds.
//!
//! Owns: sessions, subjects as tokens know them, revocations, signing keys, predecessors' keys.
//! Invariants: a session is one row whose generation only grows; its end never moves; a revocation has a number without gap.
//! Never stores: a token, a password, a name, an address in the clear.

mod app;
mod callers;
mod config;
pub mod domain;
mod error;
mod feed;
mod keys;
mod rewrap;
mod rpc;
pub mod store;
mod upkeep;
mod watchers;

pub use app::{App, Options};
pub use callers::CALLERS;
pub use config::{Accept, Config, LegacyConfig, SessionConfig, TokenConfig};
pub use domain::service::ServiceAccount;
pub use error::Error;
pub use rewrap::rewrap;
