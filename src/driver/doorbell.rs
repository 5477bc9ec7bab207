//! How one thread is told by others that there is something for it: the parking protocol with a bell to it.

use std::io;

use crate::base::parking::Parking;
use crate::driver::sys::bell::Bell;

/// One consumer's; shared with its producers.
#[derive(Debug)]
pub struct Doorbell {
    parking: Parking,
    bell: Bell,
}

impl Doorbell {
    pub fn new() -> io::Result<Self> {
        Ok(Self { parking: Parking::default(), bell: Bell::new()? })
    }

    /// What the consumer's ring signals as well.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// A producer has put something where the consumer looks.
    // Hot: once per batch per shard; a fence, and a system call only if the consumer sleeps.
    pub fn notify(&self) {
        if self.parking.must_ring() {
            self.bell.ring();
        }
    }

    /// The consumer rests until it is told, unless its last look finds something. `has_something` comes after the
    /// bell was silenced, so that whatever is not seen by it rings.
    pub async fn rest(&self, has_something: impl FnOnce() -> bool) {
        self.parking.park();
        self.bell.silence();
        if !has_something() {
            self.bell.wait().await;
        }
        self.parking.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crossbeam_channel::bounded;
    use glommio::{LocalExecutorBuilder, Placement};

    use super::*;

    #[test]
    fn nothing_is_slept_through_between_two_threads() {
        const COUNT: u32 = 20_000;
        let doorbell = Arc::new(Doorbell::new().unwrap());
        let (sender, receiver) = bounded(COUNT as usize);
        let producer = {
            let doorbell = doorbell.clone();
            std::thread::spawn(move || {
                for number in 0..COUNT {
                    sender.try_send(number).unwrap();
                    doorbell.notify();
                    if number % 64 == 0 {
                        std::thread::yield_now();
                    }
                }
            })
        };
        let executor = LocalExecutorBuilder::new(Placement::Unbound).io_memory(0).make().unwrap();
        executor.run(async {
            let mut next = 0;
            while next < COUNT {
                while let Ok(number) = receiver.try_recv() {
                    assert_eq!(number, next);
                    next += 1;
                }
                if next < COUNT {
                    doorbell.rest(|| !receiver.is_empty()).await;
                }
            }
        });
        producer.join().unwrap();
    }
}
