//! The only place with I/O, tasks, await, clocks, descriptors and randomness.
//!
//! `sys` wraps what the standard library does not reach, `uring` is the one ring of a thread, `probe` asks the kernel
//! whether it can do all that before anything listens, `placement` decides which thread runs on which CPU.

pub mod admin;
pub mod log;
pub mod placement;
pub mod probe;
#[cfg(feature = "simulator")]
pub mod simulator;
pub mod sys;
pub mod uring;
