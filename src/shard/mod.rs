//! Machine two: turns messages into client bytes. One a core.

pub mod input;
