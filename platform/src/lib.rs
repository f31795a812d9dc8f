//! Plumbing that every CareLink process shares. Nothing here knows what a user or a session is.

pub mod clock;
pub mod config;
pub mod context;
pub mod errors;
pub mod events;
pub mod grpc;
pub mod lifecycle;
pub mod location;
pub mod operations;
pub mod ops;
pub mod process;
pub mod public_keys;
pub mod random;
pub mod seal;
pub mod secrets;
pub mod telemetry;
pub mod verified;
pub mod watched;
