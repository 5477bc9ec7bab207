//! What the standard library does not reach: a safe function or type for each, one idea a file.
//!
//! One of the two places with `unsafe`; each block says why it is sound (SAFETY) and why it is there (JUSTIFICATION).

pub mod bell;
pub mod claim;
pub mod listen;
pub mod memory;
pub mod peer;
pub mod process;
pub mod signals;
pub mod time;
