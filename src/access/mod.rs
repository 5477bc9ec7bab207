//! The channel rules and the allowed origins: who may listen to what. Question and answer only, no I/O.

mod origins;
mod rules;

pub use origins::{AllowedOrigins, BadOrigin, is_same_host};
pub use rules::{Access, BadPattern, Pattern, Rule, Rules};
