//! The ledger of the broker's memory: what clients can make it keep beyond their own buffers.
//!
//! Keys and values, subscriptions, watched keys and queued commands are charged here, each with a flat sum for the
//! tables they stand in. Beyond the bound a command gets Redis's `-OOM`; nothing is evicted.

#[derive(Debug)]
pub(super) struct Memory {
    used: usize,
    max: usize,
}

impl Memory {
    pub(super) fn new(max: usize) -> Self {
        Self { used: 0, max }
    }

    /// Charges `bytes`, or nothing if they would exceed the bound.
    #[must_use]
    pub(super) fn charge(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.max.saturating_sub(self.used);
        if fits {
            self.used += bytes;
        }
        fits
    }

    pub(super) fn release(&mut self, bytes: usize) {
        assert!(bytes <= self.used, "no more is released than was charged");
        self.used -= bytes;
    }

    pub(super) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }
}

/// A flat sum for an entry of a table and what points to it, generous for every table here.
pub(super) const ENTRY_BYTES: usize = 160;
