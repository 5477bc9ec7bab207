//! How one thread is told by others that there is something for it: the parking protocol with a bell to it.
//!
//! A thread rests in two steps: briefly in its ring, which is what a busy one does thousands of times a second, then
//! through its executor, which can wait for ever and runs whatever else it hosts. Each has its bell: the ring polls the
//! near one; the far one is what the executor waits for, and what the ring signals meanwhile.

use std::io;

use crate::base::parking::{Parking, Rest};
use crate::base::time::Time;
use crate::driver::sys::bell::Bell;
use crate::driver::uring::{Bells, Ring};

/// One consumer's; shared with its producers.
#[derive(Debug)]
pub struct Doorbell {
    parking: Parking,
    near: Bell,
    far: Bell,
}

impl Doorbell {
    pub fn new() -> io::Result<Self> {
        Ok(Self { parking: Parking::default(), near: Bell::new()?, far: Bell::new()? })
    }

    /// What the consumer's ring is made with.
    pub fn bells(&self) -> Bells<'_> {
        Bells { near: &self.near, far: &self.far }
    }

    /// A producer has put something where the consumer looks.
    // Hot: once per batch per shard; a fence, and a system call only if the consumer sleeps.
    pub fn notify(&self) {
        match self.parking.must_ring() {
            None => {}
            Some(Rest::Brief) => self.near.ring(),
            Some(Rest::Long) => self.far.ring(),
        }
    }

    /// The consumer rests until it is told, something completes in its ring, or it is about `deadline`; not if its last
    /// look finds something. `has_something` looks where producers put things, after they were told that it rests.
    pub async fn rest(
        &self,
        ring: &mut Ring,
        now: Time,
        deadline: Option<Time>,
        has_something: impl Fn() -> bool,
    ) {
        self.parking.park(Rest::Brief);
        if !has_something() && !ring.rest_briefly(now, deadline) {
            self.far.silence();
            self.parking.park(Rest::Long);
            if !has_something() && !ring.is_awake(now, deadline) {
                self.far.wait().await;
            }
            ring.is_up();
        }
        self.parking.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use crossbeam_channel::bounded;
    use glommio::{LocalExecutorBuilder, Placement};

    use super::*;
    use crate::driver::sys::time;
    use crate::driver::uring::RingOptions;

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
                    match number % 5_000 {
                        // Long enough for a rest through the executor.
                        0 => std::thread::sleep(Duration::from_millis(15)),
                        _ if number % 64 == 0 => std::thread::yield_now(),
                        _ => {}
                    }
                }
            })
        };
        let executor = LocalExecutorBuilder::new(Placement::Unbound).io_memory(0).make().unwrap();
        executor.run(async {
            let options = RingOptions { slots: 8, buffers: 2, buffer_bytes: 64 };
            let mut ring = Ring::new(options, doorbell.bells()).unwrap();
            let mut next = 0;
            while next < COUNT {
                ring.reap(time::now());
                while let Ok(number) = receiver.try_recv() {
                    assert_eq!(number, next);
                    next += 1;
                }
                if next < COUNT {
                    doorbell.rest(&mut ring, time::now(), None, || !receiver.is_empty()).await;
                }
            }
        });
        producer.join().unwrap();
    }
}
