//! Services on a real port: who is let in, what becomes of certificates, replicas, deadlines and the end.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // a test may

mod balance;
mod bed;
mod calls;
mod life;
mod refused;
mod rotation;
