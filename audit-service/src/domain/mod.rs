//! The rules of the trail as plain functions: what is kept of an event, what a list asks for. Knows neither gRPC nor SQL.

pub mod append;
pub mod list_events;
