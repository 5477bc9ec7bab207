//! The only place with I/O, tasks, await, clocks, descriptors and randomness.
//!
//! `sys` wraps what the standard library does not reach, `uring` is the one ring of a thread, `probe` asks the kernel
//! whether it can do all that before anything listens, `placement` decides which thread runs on which CPU.
//! `shard_loop` and `reader_loop` are the two drivers of the machines; they wait at their `doorbell` only, and hear of
//! starting and stopping through `orders`, of questions to all shards through `survey`, and of new keys through `keys`.
//! `memory` says how much there is.

pub mod admin;
pub mod app;
pub mod dialer;
pub mod doorbell;
pub mod files;
pub mod keys;
pub mod log;
pub mod memory;
pub mod orders;
pub mod placement;
pub mod probe;
pub mod reader_loop;
pub mod shard_loop;
#[cfg(feature = "simulator")]
pub mod simulator;
pub mod survey;
pub mod sys;
pub mod uring;
