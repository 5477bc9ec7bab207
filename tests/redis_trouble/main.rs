//! Redis goes away, stops answering, refuses, comes back: courier stays, says so, and goes on by itself.
//!
//! Each fault is a real one, done to a real redis-server or to the way there, and each is held to the one verdict of
//! `scene`. What came of them is in docs/reliability.md, where every test here has its row.

#![allow(clippy::unwrap_used)] // Tests state what must hold by unwrapping it; these are their helpers.
#![allow(unreachable_pub)] // As in `support`: what a test uses of another file is public there.

mod connections;
mod namespace;
mod network;
mod no_fault;
mod process;
mod proxy;
mod publisher;
mod rights;
mod scene;
mod subscriber;
#[path = "../support/mod.rs"]
mod support;
mod watch;
