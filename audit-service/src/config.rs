//! The section `audit` (A6). It is the producers that act on it, so its type is where their outbox is; this service records it.

pub use carelink_database::backlog::{BacklogConfig as Config, Policy};
