//! On which sockets a ring accepts, and for how long it does not when descriptors or memory have run out.

use std::os::fd::OwnedFd;
use std::time::Duration;

use io_uring::EnterFlags;

use crate::base::number::small;
use crate::base::time::Time;
use crate::driver::uring::addresses::Addresses;
use crate::driver::uring::ring::Ring;

impl Ring {
    /// Accepts on these sockets from now on. Events name them by their order.
    pub fn listen(&mut self, listeners: Vec<OwnedFd>) {
        assert!(self.listeners.is_empty(), "a ring is given its listeners once");
        self.listeners = listeners;
        self.inbox.accepts.listen(self.listeners.len());
        self.inbox.addresses = Addresses::new(self.inbox.accepts.places());
    }

    /// From now on events say who comes. Costs about 7 us a connection more: see docs/decisions/0005.
    pub fn want_peers(&mut self) {
        self.inbox.accepts.want_peers();
    }

    /// Accepts no more than so many connections a second on the first so many listeners. Others wait in the kernel's queue.
    pub fn pace_accepts(&mut self, rate: u32, listeners: usize, now: Time) {
        self.inbox.accepts.pace(rate, listeners, now);
    }

    /// Ends every accept and closes the listeners.
    pub fn stop_listening(&mut self) {
        for listener in 0..small(self.listeners.len()) {
            self.cancel_accepts(listener);
        }
        // Whatever names a listener's descriptor must have been submitted before the number is free again.
        self.submit(EnterFlags::empty());
        self.listeners.clear();
        self.inbox.accepts.stop();
        self.accept_at = None;
    }

    /// How often an accept was paused because descriptors or memory had run out.
    pub fn accept_pauses(&self) -> u64 {
        self.inbox.accepts.pauses()
    }

    /// How often accepting rested because as many had come as the pace says.
    pub fn accept_rests(&self) -> u64 {
        self.inbox.accepts.rests()
    }

    /// Pauses begin, and end, between two turns.
    pub(super) fn resume_accepts(&mut self, now: Time) {
        if self.accept_at.is_none() && self.inbox.accepts.is_paused() {
            self.accept_at = Some(now.after(ACCEPT_PAUSE));
        }
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept_at = None;
            self.inbox.accepts.resume();
        }
    }
}

/// How long an accept rests after descriptors or memory ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
