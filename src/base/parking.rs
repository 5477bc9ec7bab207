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

#[cfg(all(test, loom))]
mod tests {
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    use super::*;

    /// A queue and a bell as far as the protocol can see them: an item is there or not, the bell has rung or not.
    #[derive(Default)]
    struct Mailbox {
        parking: Parking,
        items: AtomicUsize,
        rings: AtomicUsize,
    }

    impl Mailbox {
        fn put(&self) {
            // Relaxed: the protocol's own fences are what is under test.
            self.items.fetch_add(1, Ordering::Relaxed);
            if self.parking.must_ring() {
                self.rings.fetch_add(1, Ordering::Release);
            }
        }

        /// Takes everything; sleeps when there is nothing. Returns how many items there were.
        fn take(&self) -> usize {
            loop {
                let items = self.items.swap(0, Ordering::Relaxed);
                if items > 0 {
                    return items;
                }
                self.parking.park();
                if self.items.load(Ordering::Relaxed) == 0 {
                    while self.rings.load(Ordering::Acquire) == 0 {
                        // If the producers are done and nobody rang, loom finds no thread to go on with: a deadlock.
                        thread::yield_now();
                    }
                    self.rings.store(0, Ordering::Relaxed);
                }
                self.parking.unpark();
            }
        }
    }

    #[test]
    fn no_item_is_slept_through() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::default());
            let producer = {
                let mailbox = mailbox.clone();
                thread::spawn(move || mailbox.put())
            };
            assert_eq!(mailbox.take(), 1);
            producer.join().unwrap();
        });
    }

    #[test]
    fn two_producers_ring_at_most_once_for_each_time_the_consumer_parks() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::default());
            mailbox.parking.park();
            let producers = [(); 2].map(|()| {
                let mailbox = mailbox.clone();
                thread::spawn(move || mailbox.put())
            });
            for producer in producers {
                producer.join().unwrap();
            }
            assert_eq!(mailbox.rings.load(Ordering::Acquire), 1);
            assert_eq!(mailbox.items.load(Ordering::Relaxed), 2);
        });
    }
}
