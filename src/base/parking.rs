//! How a shard goes to sleep without missing a message: the doorbell protocol between a consumer and its producers.
//!
//! The consumer says it is parked, and where; then it looks into its queue once more. A producer puts its item into the
//! queue, then looks whether the consumer is parked. A full fence on both sides makes it impossible that each misses the
//! other (the store-buffer pattern): either the consumer sees the item, or the producer sees where it is parked and
//! rings there. A producer rings at most once for each time the consumer parks. A loom test (`make loom`) checks every interleaving.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU8, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU8, Ordering, fence};

/// One consumer's doorbell state. What rings, and what is waited on, is the driver's.
#[derive(Debug)]
pub struct Parking {
    /// A `Rest` from the consumer's `park` until a producer has taken it upon itself to ring, or `unpark`; else `AWAKE`.
    parked: AtomicU8,
}

/// Where the consumer rests, and so which bell wakes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// For a little while, as a busy consumer does between two batches.
    Brief,
    /// For as long as nothing comes.
    Long,
}

const AWAKE: u8 = 0;
const BRIEF: u8 = 1;
const LONG: u8 = 2;

impl Default for Parking {
    fn default() -> Self {
        Self { parked: AtomicU8::new(AWAKE) }
    }
}

impl Parking {
    /// The consumer is about to sleep, or to sleep elsewhere. It must look into its queue after this, each time, and
    /// `unpark` if there is anything.
    pub fn park(&self, rest: Rest) {
        let rest = match rest {
            Rest::Brief => BRIEF,
            Rest::Long => LONG,
        };
        self.parked.store(rest, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The consumer is awake, for whatever reason.
    pub fn unpark(&self) {
        self.parked.store(AWAKE, Ordering::Relaxed);
    }

    /// A producer has put something into the queue. It must ring where this says, if anywhere.
    // Hot: once per batch per shard; a fence, and an exchange only if the consumer sleeps.
    #[must_use]
    pub fn must_ring(&self) -> Option<Rest> {
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) == AWAKE {
            return None;
        }
        match self.parked.swap(AWAKE, Ordering::AcqRel) {
            AWAKE => None,
            BRIEF => Some(Rest::Brief),
            _ => Some(Rest::Long),
        }
    }
}

#[cfg(all(test, loom))]
mod tests {
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    use super::*;

    /// A queue and two bells as far as the protocol can see them: an item is there or not, a bell has rung or not.
    #[derive(Default)]
    struct Mailbox {
        parking: Parking,
        items: AtomicUsize,
        brief: AtomicUsize,
        long: AtomicUsize,
    }

    impl Mailbox {
        fn put(&self) {
            // Relaxed: the protocol's own fences are what is under test.
            self.items.fetch_add(1, Ordering::Relaxed);
            match self.parking.must_ring() {
                Some(Rest::Brief) => _ = self.brief.fetch_add(1, Ordering::Release),
                Some(Rest::Long) => _ = self.long.fetch_add(1, Ordering::Release),
                None => {}
            }
        }

        /// Takes everything; sleeps when there is nothing. Returns how many items there were.
        fn take(&self) -> usize {
            loop {
                let items = self.items.swap(0, Ordering::Relaxed);
                if items > 0 {
                    return items;
                }
                self.parking.park(Rest::Brief);
                // The brief rest may end by its time at any moment: here at once, unless its bell has rung.
                if self.items.load(Ordering::Relaxed) == 0 && self.brief.swap(0, Ordering::Acquire) == 0 {
                    self.parking.park(Rest::Long);
                    if self.items.load(Ordering::Relaxed) == 0 {
                        while self.long.load(Ordering::Acquire) == 0 {
                            // If the producers are done and nobody rang, loom finds no thread to go on with: a deadlock.
                            thread::yield_now();
                        }
                        self.long.store(0, Ordering::Relaxed);
                    }
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
            mailbox.parking.park(Rest::Brief);
            let producers = [(); 2].map(|()| {
                let mailbox = mailbox.clone();
                thread::spawn(move || mailbox.put())
            });
            for producer in producers {
                producer.join().unwrap();
            }
            assert_eq!(mailbox.brief.load(Ordering::Acquire), 1);
            assert_eq!(mailbox.items.load(Ordering::Relaxed), 2);
        });
    }
}
