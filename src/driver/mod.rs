//! The only place with I/O, tasks, await, clocks, descriptors and randomness.

pub mod admin;
pub mod log;
#[cfg(feature = "simulator")]
pub mod simulator;
