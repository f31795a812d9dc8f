//! The rules as plain functions and types: no runtime, no database, no clock.

pub mod assertion;
pub mod hasher;
pub mod import;
pub mod names;
pub mod password;
pub mod roles;
pub mod subject;
