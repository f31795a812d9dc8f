//! Users and their credentials.

pub mod domain;
pub mod pool;
