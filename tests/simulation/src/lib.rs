//! The simulation is its test.
