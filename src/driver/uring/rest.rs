//! How a thread rests in its ring: briefly, which is what a busy one does thousands of times a second, or until the far
//! bell rings for whatever completes.

use std::time::Duration;

use io_uring::EnterFlags;
use io_uring::types::{SubmitArgs, Timespec};

use crate::base::time::Time;
use crate::driver::uring::ring::Ring;

impl Ring {
    /// Waits in the ring itself, for a little while: until something completes or the near bell rings. False: nothing
    /// came. Meanwhile nothing else of this thread's executor runs.
    ///
    /// One system call submits what is queued, waits, and works off what came, where a wait through the executor takes
    /// half a dozen.
    pub fn rest_briefly(&mut self, now: Time, deadline: Option<Time>) -> bool {
        self.inbox.rang = false;
        self.arm_again(now);
        self.set_timer(deadline);
        let briefly = Timespec::from(BRIEF_REST);
        // An error is the end of the time, a signal, or a lack of room that the next submission copes with.
        let _ = self.uring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&briefly));
        self.collect();
        self.has_something()
    }

    /// The last look before a long rest: from here on the far bell rings for whatever completes, and for
    /// [`Event::Timer`](crate::driver::uring::Event) at `deadline` or a little earlier. True: there is something already, do not rest. Either way
    /// `is_up` follows.
    pub fn is_awake(&mut self, now: Time, deadline: Option<Time>) -> bool {
        self.uring.completion().enable_eventfd();
        self.arm_again(now);
        self.set_timer(deadline);
        self.submit(EnterFlags::GETEVENTS);
        self.collect();
        // The kernel works off about twenty deferred pieces a call and flags the rest. It rings only when the first piece
        // is put off, so with a rest left over nothing would ring any more, not even the timer.
        while !self.has_something() && self.uring.submission().taskrun() {
            self.run_deferred_work();
            self.collect();
        }
        self.has_something()
    }

    /// The long rest is over: the far bell is not rung any more.
    pub fn is_up(&mut self) {
        self.uring.completion().disable_eventfd();
    }

    pub(super) fn has_something(&self) -> bool {
        let has_unset_pause = self.accept_at.is_none() && self.inbox.accepts.is_paused();
        self.inbox.rang || !self.inbox.events.is_empty() || self.inbox.has_arrears() || has_unset_pause
    }
}

/// So long a thread waits in its ring before it waits through its executor: beyond, what that costs matters no more.
const BRIEF_REST: Duration = Duration::from_millis(10);
