//! Which accepts stand in the kernel, so that it takes no connection for which there is no slot, and knows who each is.
//!
//! The kernel takes a connection before it looks for a slot; with none it closes it: the client sees its connection come and
//! go. So an accept is only armed with a slot in hand, and each is for one connection: an accept that goes on could take a
//! whole backlog before anybody can tell it to stop, and would have one place for the addresses of all. Whoever finds none
//! armed waits in the listener's backlog.
//!
//! Plain state without I/O. Invariants: while nothing but accepts takes any, no more accepts are armed than slots are free;
//! a place for an address belongs to one armed accept at most. Cost: a look at each listener a turn.

use crate::base::number::small;
use crate::base::time::Time;
use crate::driver::uring::pace::Pace;

/// The accepts of one ring.
#[derive(Debug, Default)]
pub(super) struct Accepts {
    listeners: Vec<Listener>,
    /// Places for addresses that belong to no armed accept.
    places: Vec<u32>,
    slots: u32,
    /// Those that hold no socket.
    free: u32,
    /// How often an accept had to be paused.
    pauses: u64,
    /// How fast connections may come, if that is bounded, and on how many listeners, from the first.
    pace: Option<Pace>,
    paced: usize,
    /// How often nothing was armed on those because of that, and whether it is so now.
    rests: u64,
    is_resting: bool,
}

#[derive(Debug, Clone, Default)]
struct Listener {
    /// Accepts in the kernel.
    armed: u32,
    /// Descriptors or memory had run out.
    is_paused: bool,
}

/// An accept of one connection that is to be submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    /// The listener's index.
    pub(super) listener: u32,
    /// Where the address goes.
    pub(super) place: u32,
}

impl Accepts {
    pub(super) fn new(slots: u32) -> Self {
        Self { slots, free: slots, ..Self::default() }
    }

    pub(super) fn listen(&mut self, listeners: usize) {
        self.listeners = vec![Listener::default(); listeners];
        self.places = (0..small(listeners) * ARMED_MAX).rev().collect();
    }

    /// How many places for addresses there have to be.
    pub(super) fn places(&self) -> u32 {
        small(self.listeners.len()) * ARMED_MAX
    }

    /// On the first so many listeners no more connections come in a second, all together, than this.
    pub(super) fn pace(&mut self, rate: u32, listeners: usize, now: Time) {
        self.pace = Some(Pace::new(rate, now));
        self.paced = listeners;
    }

    /// Time has passed: more may come.
    pub(super) fn pass(&mut self, now: Time) {
        let Some(pace) = &mut self.pace else { return };
        pace.pass(now);
        let rests = pace.tokens() == 0 && self.armed_paced() == 0;
        self.rests += u64::from(rests && !self.is_resting);
        self.is_resting = rests;
    }

    /// When accepts that rest are to be armed again.
    pub(super) fn rest_until(&self) -> Option<Time> {
        self.pace.filter(|_| self.is_resting && self.paced <= self.listeners.len()).map(|pace| pace.next())
    }

    pub(super) fn rests(&self) -> u64 {
        self.rests
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

    /// A connection has come with this accept.
    pub(super) fn accepted(&mut self, accept: Order) {
        self.took_slot();
        if let Some(pace) = self.pace.as_mut().filter(|_| (accept.listener as usize) < self.paced) {
            pace.spend();
        }
    }

    /// An accept is no longer in the kernel, and its address has been read.
    pub(super) fn ended(&mut self, accept: Order) {
        self.places.push(accept.place);
        if let Some(listener) = self.listeners.get_mut(accept.listener as usize) {
            listener.armed -= 1;
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
        let listener = self.find()?;
        self.listeners[listener as usize].armed += 1;
        let place = self.places.pop().expect("there is a place for each accept that a listener may have");
        Some(Order { listener, place })
    }

    /// Whether there is anything to submit.
    pub(super) fn has_order(&self) -> bool {
        self.find().is_some()
    }

    /// The listener that wants an accept. The last one's comes first: the last slots are for it, so that an operator can
    /// look into a server that is full.
    // Hot: once or twice per turn, and once for each accept.
    fn find(&self) -> Option<u32> {
        let armed: u32 = self.listeners.iter().map(|listener| listener.armed).sum();
        if armed >= self.free {
            return None;
        }
        let share = (self.free / small(self.listeners.len()).max(1)).clamp(1, ARMED_MAX);
        let may_come = self.pace.is_none_or(|pace| self.armed_paced() < pace.tokens());
        let from = if may_come { 0 } else { self.paced.min(self.listeners.len()) };
        let wants = |listener: &Listener| !listener.is_paused && listener.armed < share;
        self.listeners[from..].iter().rposition(wants).map(|index| small(from + index))
    }

    fn armed_paced(&self) -> u32 {
        self.listeners.iter().take(self.paced).map(|listener| listener.armed).sum()
    }
}

/// How many accepts a listener has at most: so many connections come in a turn, and so many slots are kept for it.
const ARMED_MAX: u32 = 64;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn accepts(slots: u32, listeners: usize) -> Accepts {
        let mut accepts = Accepts::new(slots);
        accepts.listen(listeners);
        accepts
    }

    fn orders(accepts: &mut Accepts) -> Vec<Order> {
        std::iter::from_fn(|| accepts.next_order()).collect()
    }

    fn listeners(orders: &[Order]) -> Vec<u32> {
        orders.iter().map(|order| order.listener).collect()
    }

    fn accepted(accepts: &mut Accepts, accept: Order) {
        accepts.took_slot();
        accepts.ended(accept);
    }

    #[test]
    fn each_listener_has_its_accepts_and_each_of_them_a_place_of_its_own() {
        let mut accepts = accepts(20_000, 2);
        let first = orders(&mut accepts);
        assert_eq!(first.len(), 2 * ARMED_MAX as usize);
        let mut places: Vec<u32> = first.iter().map(|order| order.place).collect();
        places.sort_unstable();
        assert_eq!(places, (0..accepts.places()).collect::<Vec<_>>());
        accepted(&mut accepts, first[3]);
        assert_eq!(orders(&mut accepts), [first[3]], "the place that is free again");
        accepts.ended(first[4]);
        assert_eq!(orders(&mut accepts), [first[4]], "however it ended");
    }

    #[test]
    fn no_more_accepts_are_armed_than_slots_are_free() {
        let mut accepts = accepts(3, 1);
        let armed = orders(&mut accepts);
        assert_eq!(listeners(&armed), [0; 3]);
        for accept in armed {
            accepted(&mut accepts, accept);
            assert!(!accepts.has_order(), "the other slots have their accepts");
        }
        accepts.freed_slot();
        assert_eq!(listeners(&orders(&mut accepts)), [0]);
        (0..9).for_each(|_| accepts.freed_slot());
        assert_eq!(listeners(&orders(&mut accepts)), [0; 2], "a table does not grow");
    }

    #[test]
    fn the_last_slot_is_for_the_last_listener() {
        let mut accepts = accepts(2, 2);
        let armed = orders(&mut accepts);
        assert_eq!(listeners(&armed), [1, 0]);
        accepted(&mut accepts, armed[1]);
        assert!(!accepts.has_order());
        accepted(&mut accepts, armed[0]);
        accepts.freed_slot();
        assert_eq!(listeners(&orders(&mut accepts)), [1]);
    }

    #[test]
    fn no_more_come_in_a_second_than_the_rate_says_but_on_the_last_listener() {
        let mut now = Time::from_nanos(1);
        let mut accepts = accepts(20_000, 2);
        accepts.pace(2, 1, now);
        let armed = orders(&mut accepts);
        assert_eq!(armed.iter().filter(|order| order.listener == 0).count(), 2);
        for &accept in armed.iter().filter(|order| order.listener == 0) {
            accepts.accepted(accept);
            accepts.ended(accept);
        }
        let of_last = armed[0];
        accepts.accepted(of_last);
        accepts.ended(of_last);
        assert_eq!(listeners(&orders(&mut accepts)), [1]);
        accepts.pass(now);
        assert_eq!(accepts.rest_until(), Some(now.after(Duration::from_millis(500))));
        now = now.after(Duration::from_millis(500));
        accepts.pass(now);
        assert_eq!((accepts.rest_until(), accepts.rests()), (None, 1));
        assert_eq!(listeners(&orders(&mut accepts)), [0]);
    }

    #[test]
    fn a_listener_that_is_paused_or_gone_has_nothing_armed() {
        let mut accepts = accepts(20_000, 2);
        let armed = orders(&mut accepts);
        let last = armed[0];
        assert_eq!(last.listener, 1);
        accepts.ended(last);
        accepts.pause(1);
        assert!(accepts.is_paused() && !accepts.has_order());
        accepts.resume();
        assert_eq!((orders(&mut accepts), accepts.pauses()), (vec![last], 1));
        accepts.stop();
        accepts.ended(last);
        assert!(!accepts.has_order() && !accepts.is_paused());
    }
}
