//! How much of a channel is kept for those who come back: the bounds of one history.
//!
//! All three hold at once; whichever is reached first drops the oldest message. The newest message stays whatever its
//! size, until its age or the bound over all channels takes it. A count of zero keeps nothing.

use std::time::Duration;

use crate::base::limits::{HISTORY_AGE, HISTORY_BYTES, HISTORY_COUNT};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Messages.
    pub count: usize,
    /// Payload bytes.
    pub bytes: usize,
    /// Since a message was received.
    pub age: Duration,
}

impl Retention {
    /// Of every channel whose rule says nothing else.
    pub const STANDARD: Self = Self { count: HISTORY_COUNT, bytes: HISTORY_BYTES, age: HISTORY_AGE };

    pub fn keeps_nothing(&self) -> bool {
        self.count == 0
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self::STANDARD
    }
}
