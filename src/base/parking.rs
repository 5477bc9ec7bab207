//! How a shard goes to sleep without missing a message: the doorbell protocol between a consumer and its producers.
//!
//! The consumer says it is parked, then looks into its queue once more; a producer puts its item into the queue, then
//! looks whether the consumer is parked. A full fence on both sides makes it impossible that each misses the other
//! (the store-buffer pattern): either the consumer sees the item, or the producer sees `parked` and rings. A producer
//! rings at most once for each time the consumer parks. A loom test (`make loom`) checks every interleaving.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// One consumer's doorbell state. What rings, and what is waited on, is the driver's.
#[derive(Debug)]
pub struct Parking {
    /// True exactly from the consumer's `park` until a producer has taken it upon itself to ring, or `unpark`.
    parked: AtomicBool,
}

impl Default for Parking {
    fn default() -> Self {
        Self { parked: AtomicBool::new(false) }
    }
}

impl Parking {
    /// The consumer is about to sleep. It must look into its queue after this and `unpark` if there is anything.
    pub fn park(&self) {
        self.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The consumer is awake, for whatever reason.
    pub fn unpark(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }

    /// A producer has put something into the queue. True: the producer must ring.
    // Hot: once per batch per shard; a fence, and an exchange only if the consumer sleeps.
    #[must_use]
    pub fn must_ring(&self) -> bool {
        fence(Ordering::SeqCst);
        self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::AcqRel)
    }
}
