//! One ring of io_uring for each thread: accepts, receives, sends and timers of all its sockets.
//!
//! `ring` speaks with the kernel and has the only `unsafe` here; `rest` is how a thread waits in it, and `listeners` on
//! what it accepts; `inbox` sorts what the kernel answers into events and decides what is armed again, `accepts` for
//! listeners, with `addresses` of those who come; `token` is how a request is recognised in its completion.
//!
//! Needs Linux 6.1 for its flags, and 6.13 to close direct descriptors at once (see `driver::probe`).

mod accepts;
mod addresses;
pub mod inbox;
mod listeners;
pub mod options;
mod pace;
mod rest;
pub mod ring;
mod token;

#[cfg(test)]
mod tests;

pub use inbox::{Chunk, Event};
pub use options::{Bells, RingError, RingOptions};
pub use ring::{End, Ring};
