//! The rules of sessions and tokens as plain functions: no runtime, no database, no clock.

pub mod access;
pub mod assertion;
pub mod import;
pub mod keys;
pub mod legacy;
pub mod mint;
pub mod presented;
pub mod refresh;
pub mod service;
pub mod session;
pub mod subject;
