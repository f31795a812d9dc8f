//! Imports real and made sources into services that only record what they get.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

mod copied;
mod fixtures;
mod recorder;

mod handing_over;
mod malformed;
mod servers;
mod streaming;
