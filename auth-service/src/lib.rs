//! Users and their credentials.

pub mod domain;
