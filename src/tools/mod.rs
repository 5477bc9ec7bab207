//! Command-line clients: `courier publish` and `courier subscribe`.
//!
//! They block on one socket of the standard library each: a client of one connection needs no ring, and an HTTP crate
//! would bring more code than the one request head that is wanted here.

pub mod connect;
pub mod publish;
pub mod subscribe;
