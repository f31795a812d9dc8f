//! The rules as plain functions and types: no runtime, no database, no clock.

pub mod assertion;
pub mod guessing;
pub mod hasher;
pub mod import;
pub mod link;
pub mod look;
pub mod names;
pub mod one_time;
pub mod password;
pub mod roles;
pub mod sign_in;
pub mod subject;
pub mod user;
