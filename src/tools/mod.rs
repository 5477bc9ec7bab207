//! What the command line does beside serving: the clients `courier publish`, `courier subscribe` and `courier disconnect`, `courier sign`, and
//! `--check-config --channel`.
//!
//! The clients block on one socket of the standard library each: a client of one connection needs no ring, and an HTTP crate
//! would bring more code than the one request head that is wanted here.

pub mod connect;
pub mod disconnect;
pub mod explain;
pub mod publish;
pub mod sign;
pub mod subscribe;
