//! Plain vocabulary that every floor shares: values, tables and small containers. Nothing here does I/O.

pub mod asked;
pub mod census;
pub mod channel;
pub mod counters;
pub mod deadlines;
pub mod disconnect;
pub mod dismissal;
pub mod glob;
pub mod histogram;
pub mod limits;
pub mod log;
pub mod names;
pub mod number;
pub mod parking;
pub mod peer;
pub mod position;
pub mod queue;
pub mod random;
pub mod refusal;
pub mod retention;
pub mod secret;
pub mod slab;
pub mod socket;
pub mod time;
pub mod version;
