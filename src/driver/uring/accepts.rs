//! Which accepts stand in the kernel, so that it takes no connection for which there is no slot.
//!
//! The kernel takes a connection before it looks for a slot; with none it closes it: the client sees its connection come and
//! go. So an accept is only armed with a slot in hand. As long as slots abound that is one multishot accept for each listener;
//! when they get scarce, accepts that end with their connection, no more of them than there are slots. Whoever finds none
//! waits in the listener's backlog until a slot is free.
//!
//! Plain state without I/O. Invariant: while slots are scarce and nothing but accepts takes any, no more accepts are armed
//! than slots are free. Cost: a look at each listener a turn.

use crate::base::number::small;

/// The accepts of one ring.
#[derive(Debug, Default)]
pub(super) struct Accepts {
    listeners: Vec<Listener>,
    slots: u32,
    /// Those that hold no socket.
    free: u32,
    /// How often an accept had to be paused.
    pauses: u64,
}

#[derive(Debug, Clone, Default)]
struct Listener {
    /// Accepts in the kernel.
    armed: u32,
    /// The one that is armed is a multishot one.
    is_multishot: bool,
    /// It has been told to end.
    is_cancelled: bool,
    /// Descriptors or memory had run out.
    is_paused: bool,
}

/// What is to be submitted, for the listener of this index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// An accept that goes on.
    Multishot(u32),
    /// An accept of one connection.
    Single(u32),
    /// The end of the multishot accept.
    Cancel(u32),
}

impl Accepts {
    pub(super) fn new(slots: u32) -> Self {
        Self { listeners: Vec::new(), slots, free: slots, pauses: 0 }
    }

    pub(super) fn listen(&mut self, listeners: usize) {
        self.listeners = vec![Listener::default(); listeners];
    }

    /// What comes of accepts that are still armed counts, and none is armed again.
    pub(super) fn stop(&mut self) {
        self.listeners.clear();
    }

    /// A slot has been given to a socket.
    pub(super) fn took_slot(&mut self) {
        self.free = self.free.saturating_sub(1);
    }

    /// A slot has been closed. One that held no socket may be told of too; then more is thought to be free than is.
    pub(super) fn freed_slot(&mut self) {
        self.free = (self.free + 1).min(self.slots);
    }

    /// An accept of the listener is no longer in the kernel.
    pub(super) fn ended(&mut self, listener: u32) {
        if let Some(listener) = self.listeners.get_mut(listener as usize) {
            listener.armed -= 1;
            listener.is_multishot = false;
            listener.is_cancelled = false;
        }
    }

    /// Nothing is armed for the listener until `resume`.
    pub(super) fn pause(&mut self, listener: u32) {
        self.pauses += 1;
        if let Some(listener) = self.listeners.get_mut(listener as usize) {
            listener.is_paused = true;
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.listeners.iter().any(|listener| listener.is_paused)
    }

    pub(super) fn resume(&mut self) {
        self.listeners.iter_mut().for_each(|listener| listener.is_paused = false);
    }

    pub(super) fn pauses(&self) -> u64 {
        self.pauses
    }

    /// What is to be submitted next. It counts as submitted.
    pub(super) fn next_order(&mut self) -> Option<Order> {
        let order = self.find()?;
        match order {
            Order::Multishot(listener) => {
                let listener = &mut self.listeners[listener as usize];
                listener.is_multishot = true;
                listener.armed = 1;
            }
            Order::Single(listener) => self.listeners[listener as usize].armed += 1,
            Order::Cancel(listener) => self.listeners[listener as usize].is_cancelled = true,
        }
        Some(order)
    }

    /// Whether there is anything to submit.
    pub(super) fn has_order(&self) -> bool {
        self.find().is_some()
    }

    /// The last listener's order comes first: the last slots are for it, so that an operator can look into a server that
    /// is full.
    // Hot: once or twice per turn.
    fn find(&self) -> Option<Order> {
        let is_scarce = self.free < SLOTS_ABOUND;
        let armed: u32 = self.listeners.iter().map(|listener| listener.armed).sum();
        let share = (self.free / small(self.listeners.len()).max(1)).clamp(1, SINGLES);
        let mut order = None;
        for (index, listener) in (0..).zip(&self.listeners) {
            if listener.is_multishot {
                if is_scarce && !listener.is_cancelled {
                    order = Some(Order::Cancel(index));
                }
            } else if listener.is_paused {
                // Until `resume`.
            } else if is_scarce {
                if listener.armed < share && armed < self.free {
                    order = Some(Order::Single(index));
                }
            } else if listener.armed == 0 {
                order = Some(Order::Multishot(index));
            }
        }
        order
    }
}

/// A multishot accept takes whole backlogs at a time (`net.core.somaxconn`, 4,096 by default) before anybody can tell it
/// to stop: with fewer slots than this there is none.
const SLOTS_ABOUND: u32 = 8_192;
/// How many accepts of one connection a listener has at most: so many connections come in a turn, and so many slots are
/// kept for it.
const SINGLES: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(slots: u32, listeners: usize) -> Accepts {
        let mut accepts = Accepts::new(slots);
        accepts.listen(listeners);
        accepts
    }

    fn orders(accepts: &mut Accepts) -> Vec<Order> {
        std::iter::from_fn(|| accepts.next_order()).collect()
    }

    fn accepted(accepts: &mut Accepts, listener: u32) {
        accepts.took_slot();
        accepts.ended(listener);
    }

    #[test]
    fn with_slots_in_plenty_each_listener_has_one_accept_that_goes_on() {
        let mut accepts = accepts(20_000, 2);
        assert_eq!(orders(&mut accepts), [Order::Multishot(1), Order::Multishot(0)]);
        (0..1_000).for_each(|_| accepts.took_slot());
        assert!(!accepts.has_order());
        accepts.ended(0);
        assert_eq!(orders(&mut accepts), [Order::Multishot(0)], "however it ended");
    }

    #[test]
    fn when_slots_get_scarce_accepts_are_for_one_connection_each_and_back_again() {
        let mut accepts = accepts(SLOTS_ABOUND, 1);
        assert_eq!(orders(&mut accepts), [Order::Multishot(0)]);
        accepts.took_slot();
        assert_eq!(orders(&mut accepts), [Order::Cancel(0)]);
        accepts.took_slot();
        assert_eq!(orders(&mut accepts), [], "it ends when it ends");
        accepts.ended(0);
        assert_eq!(orders(&mut accepts), [Order::Single(0); SINGLES as usize]);
        (0..2).for_each(|_| accepts.freed_slot());
        for _ in 0..SINGLES {
            assert!(!accepts.has_order());
            accepts.ended(0);
        }
        assert_eq!(orders(&mut accepts), [Order::Multishot(0)]);
    }

    #[test]
    fn no_more_accepts_are_armed_than_slots_are_free() {
        let mut accepts = accepts(3, 1);
        assert_eq!(orders(&mut accepts), [Order::Single(0); 3]);
        for _ in 0..3 {
            accepted(&mut accepts, 0);
            assert!(!accepts.has_order(), "the other slots have their accepts");
        }
        accepts.freed_slot();
        assert_eq!(orders(&mut accepts), [Order::Single(0)]);
        (0..9).for_each(|_| accepts.freed_slot());
        assert_eq!(orders(&mut accepts), [Order::Single(0); 2], "a table does not grow");
    }

    #[test]
    fn the_last_slot_is_for_the_last_listener() {
        let mut accepts = accepts(2, 2);
        assert_eq!(orders(&mut accepts), [Order::Single(1), Order::Single(0)]);
        accepted(&mut accepts, 0);
        assert!(!accepts.has_order());
        accepted(&mut accepts, 1);
        accepts.freed_slot();
        assert_eq!(orders(&mut accepts), [Order::Single(1)]);
    }

    #[test]
    fn a_listener_that_is_paused_or_gone_has_nothing_armed() {
        let mut accepts = accepts(20_000, 2);
        orders(&mut accepts);
        accepts.ended(1);
        accepts.pause(1);
        assert!(accepts.is_paused() && !accepts.has_order());
        accepts.resume();
        assert_eq!((orders(&mut accepts), accepts.pauses()), (vec![Order::Multishot(1)], 1));
        accepts.stop();
        accepts.ended(0);
        assert!(!accepts.has_order() && !accepts.is_paused());
    }
}
