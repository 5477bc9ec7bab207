//! The only place with I/O, tasks, await, clocks, descriptors and randomness.

#[cfg(feature = "simulator")]
pub mod simulator;
