//! The audit service: takes the events of every service, keeps them as they came, and lists them for those who may read them.
//!
//! It owns the trail (schema `carelink_audit`) and the key that personal parts are sealed to.
//!
//! What always holds: an acknowledged event is durable; an event is stored once, under its id, at a position without gaps; what
//! is stored never changes, and the database itself refuses to change it; no event is refused for its content; nobody reads
//! without the reading having been committed as an event first.
//!
//! What it never stores: a name, an e-mail address, a token, or a personal part that is not sealed.

mod app;
mod callers;
pub mod config;
pub mod domain;
mod error;
#[cfg(test)]
mod places;
mod rpc;
pub mod store;
mod trail;

pub use app::{App, Options};
pub use callers::{CALLERS, READERS};
pub use config::Config;
pub use error::Error;
