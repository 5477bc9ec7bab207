//! RESP, the protocol of Redis, versions 2 and 3.
//!
//! [`reply`] is the client's side: what Redis sends to us. Nothing here does I/O.

pub mod reply;
mod scan;
