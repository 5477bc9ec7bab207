//! Machine one: turns upstream bytes into messages in order. One a process.

pub mod broker;
pub mod input;
