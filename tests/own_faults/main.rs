//! courier itself is at its bounds, stands still, is told to stop, or has little memory: what subscribers see of it.
//!
//! Each fault is done to a real courier from outside. What came of them is in docs/reliability.md, where every test here
//! has its row.

#![allow(clippy::unwrap_used)] // Tests state what must hold by unwrapping it; these are their helpers.
#![allow(unreachable_pub)] // As in `support`: what a test uses of another file is public there.

mod crowd;
mod groups;
mod memory;
mod standstill;
mod stop;
#[path = "../support/mod.rs"]
mod support;
mod witness;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by tests that keep the whole machine busy: beside another one the clients of such a test could not keep up.
fn busy() -> MutexGuard<'static, ()> {
    static BUSY: Mutex<()> = Mutex::new(());
    BUSY.lock().unwrap_or_else(PoisonError::into_inner)
}
