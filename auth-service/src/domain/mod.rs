//! The rules as plain functions and types: no runtime, no database, no clock.

pub mod hasher;
