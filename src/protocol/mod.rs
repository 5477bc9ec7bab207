//! One file a client protocol: how a connection opens, what its frames look like, how it is kept alive and closed.
//!
//! Protocols are an enum, not a trait object: a new one is a file, an arm in `WireFormat` and a page in docs.

pub mod admin;
