//! Which accepts stand in the kernel, so that it takes no connection for which there is no slot.
//!
//! The kernel takes a connection before it looks for a slot; with none it closes it: the client sees its connection come and
//! go. So an accept is only armed with a slot in hand. As long as slots abound that is one multishot accept for each listener;
//! when they get scarce, accepts that end with their connection, no more of them than there are slots. Whoever finds none
//! waits in the listener's backlog.
//!
//! A multishot accept cannot say who came, nor stop after so many: where addresses are wanted or a pace is set, each accept is
//! for one connection from the start, and has a place for its address.
//!
//! Plain state without I/O. Invariants: while slots are scarce and nothing but accepts takes any, no more accepts are armed
//! than slots are free; a place for an address belongs to one armed accept at most. Cost: a look at each listener a turn.

use crate::base::limits::CONNECTIONS_SPARE;
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
    /// Whether it is to be known who comes.
    wants_peers: bool,
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
    /// The one that is armed is a multishot one.
    is_multishot: bool,
    /// It has been told to end.
    is_cancelled: bool,
    /// Descriptors or memory had run out.
    is_paused: bool,
}

/// What is to be submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// An accept that goes on, for the listener of this index.
    Multishot(u32),
    /// An accept of one connection.
    Single(Single),
    /// The end of the listener's multishot accept.
    Cancel(u32),
}

/// An accept of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Single {
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

    /// From now on it is to be known who comes.
    pub(super) fn want_peers(&mut self) {
        self.wants_peers = true;
    }

    /// Whether what comes with this accept has been written to its place.
    pub(super) fn has_peer(&self, accept: Single) -> bool {
        self.listeners.get(accept.listener as usize).is_some_and(|listener| !listener.is_multishot)
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
    pub(super) fn accepted(&mut self, accept: Single) {
        self.took_slot();
        if let Some(pace) = self.pace.as_mut().filter(|_| (accept.listener as usize) < self.paced) {
            pace.spend();
        }
    }

    /// An accept is no longer in the kernel, and its address has been read.
    pub(super) fn ended(&mut self, accept: Single) {
        let Some(listener) = self.listeners.get_mut(accept.listener as usize) else { return };
        listener.armed -= 1;
        listener.is_cancelled = false;
        if !std::mem::take(&mut listener.is_multishot) {
            self.places.push(accept.place);
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
        Some(match order {
            Wanted::Multishot(listener) => {
                let entry = &mut self.listeners[listener as usize];
                entry.is_multishot = true;
                entry.armed = 1;
                Order::Multishot(listener)
            }
            Wanted::Single(listener) => {
                self.listeners[listener as usize].armed += 1;
                let place =
                    self.places.pop().expect("there is a place for each accept that a listener may have");
                Order::Single(Single { listener, place })
            }
            Wanted::Cancel(listener) => {
                self.listeners[listener as usize].is_cancelled = true;
                Order::Cancel(listener)
            }
        })
    }

    /// Whether there is anything to submit.
    pub(super) fn has_order(&self) -> bool {
        self.find().is_some()
    }

    /// The last listener's comes first: the last slots are for it, so that an operator can look into a server that is full.
    // Hot: once or twice per turn, and once for each accept of one connection.
    fn find(&self) -> Option<Wanted> {
        let takes_one = self.wants_peers || self.pace.is_some() || self.free < SLOTS_ABOUND;
        let armed: u32 = self.listeners.iter().map(|listener| listener.armed).sum();
        let share = (self.free / small(self.listeners.len()).max(1)).max(1);
        let may_come = self.pace.is_none_or(|pace| self.armed_paced() < pace.tokens());
        let mut wanted = None;
        for (index, listener) in (0..).zip(&self.listeners) {
            if listener.is_multishot {
                if takes_one && !listener.is_cancelled {
                    wanted = Some(Wanted::Cancel(index));
                }
            } else if listener.is_paused {
                // Until `resume`.
            } else if !takes_one {
                if listener.armed == 0 {
                    wanted = Some(Wanted::Multishot(index));
                }
            } else if listener.armed < share.min(self.armed_max(index))
                && armed < self.free
                && (may_come || index as usize >= self.paced)
            {
                wanted = Some(Wanted::Single(index));
            }
        }
        wanted
    }

    /// How many accepts of one connection the listener may have. Each keeps a slot from the others for as long as nobody comes
    /// to it, so those of quiet listeners together stay well below the slots that are to spare: otherwise, in a table that
    /// is nearly full, nobody would be left to tell those on a busy one that there is no room.
    fn armed_max(&self, listener: u32) -> u32 {
        let listeners = small(self.listeners.len());
        if listeners == 1 {
            return ARMED_MAX;
        }
        let is_last = listener + 1 == listeners;
        let most = match listeners - 1 {
            _ if is_last => ARMED_LAST_MAX,
            1 => ARMED_MAX,
            clients => ARMED_QUIET_MAX / (clients - 1),
        };
        most.min(self.slots / (4 * listeners)).max(1)
    }

    fn armed_paced(&self) -> u32 {
        self.listeners.iter().take(self.paced).map(|listener| listener.armed).sum()
    }
}

/// What a listener of this index wants.
enum Wanted {
    Multishot(u32),
    Single(u32),
    Cancel(u32),
}

/// A multishot accept takes whole backlogs at a time (`net.core.somaxconn`, 4,096 by default) before anybody can tell it
/// to stop: with fewer slots than this there is none.
const SLOTS_ABOUND: u32 = 8_192;
/// How many accepts of one connection a listener has at most: so many connections come in a turn, and so many slots are kept for it.
const ARMED_MAX: u32 = 64;
/// And the last of several, to which an operator comes.
const ARMED_LAST_MAX: u32 = 4;
/// And all but one of several for clients together.
const ARMED_QUIET_MAX: u32 = 32;
const _: () = assert!((ARMED_LAST_MAX + ARMED_QUIET_MAX) as usize <= CONNECTIONS_SPARE * 2 / 3);

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

    /// All are of one connection.
    fn singles(accepts: &mut Accepts) -> Vec<Single> {
        let single = |order| match order {
            Order::Single(accept) => accept,
            other => panic!("{other:?}"),
        };
        orders(accepts).into_iter().map(single).collect()
    }

    fn listeners(accepts: &[Single]) -> Vec<u32> {
        accepts.iter().map(|accept| accept.listener).collect()
    }

    fn accepted(accepts: &mut Accepts, accept: Single) {
        accepts.accepted(accept);
        accepts.ended(accept);
    }

    /// The multishot accept of a listener, as its completions name it.
    fn multishot(listener: u32) -> Single {
        Single { listener, place: 0 }
    }

    #[test]
    fn with_slots_in_plenty_each_listener_has_one_accept_that_goes_on() {
        let mut accepts = accepts(20_000, 2);
        assert_eq!(orders(&mut accepts), [Order::Multishot(1), Order::Multishot(0)]);
        (0..1_000).for_each(|_| accepts.accepted(multishot(0)));
        assert!(!accepts.has_order() && !accepts.has_peer(multishot(0)));
        accepts.ended(multishot(0));
        assert_eq!(orders(&mut accepts), [Order::Multishot(0)], "however it ended");
    }

    #[test]
    fn when_slots_get_scarce_accepts_are_for_one_connection_each_and_back_again() {
        let mut accepts = accepts(SLOTS_ABOUND, 1);
        assert_eq!(orders(&mut accepts), [Order::Multishot(0)]);
        accepts.accepted(multishot(0));
        assert_eq!(orders(&mut accepts), [Order::Cancel(0)]);
        accepts.accepted(multishot(0));
        assert_eq!(orders(&mut accepts), [], "it ends when it ends");
        accepts.ended(multishot(0));
        let armed = singles(&mut accepts);
        assert_eq!(listeners(&armed), [0; ARMED_MAX as usize]);
        (0..2).for_each(|_| accepts.freed_slot());
        for accept in armed {
            assert!(!accepts.has_order());
            accepts.ended(accept);
        }
        assert_eq!(orders(&mut accepts), [Order::Multishot(0)]);
    }

    #[test]
    fn where_it_is_to_be_known_who_comes_each_accept_has_a_place_of_its_own() {
        let mut accepts = accepts(20_000, 2);
        accepts.want_peers();
        let first = singles(&mut accepts);
        assert_eq!(first.len(), (ARMED_MAX + ARMED_LAST_MAX) as usize);
        let mut places: Vec<u32> = first.iter().map(|accept| accept.place).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), first.len());
        assert!(places.iter().all(|&place| place < accepts.places()));
        assert!(accepts.has_peer(first[3]));
        accepted(&mut accepts, first[3]);
        assert_eq!(singles(&mut accepts), [first[3]], "the place that is free again");
        accepts.ended(first[4]);
        assert_eq!(singles(&mut accepts), [first[4]], "however it ended");
    }

    #[test]
    fn no_more_accepts_are_armed_than_slots_are_free() {
        let mut accepts = accepts(3, 1);
        let armed = singles(&mut accepts);
        assert_eq!(listeners(&armed), [0; 3]);
        for accept in armed {
            accepted(&mut accepts, accept);
            assert!(!accepts.has_order(), "the other slots have their accepts");
        }
        accepts.freed_slot();
        assert_eq!(listeners(&singles(&mut accepts)), [0]);
        (0..9).for_each(|_| accepts.freed_slot());
        assert_eq!(listeners(&singles(&mut accepts)), [0; 2], "a table does not grow");
    }

    #[test]
    fn quiet_listeners_leave_slots_for_a_busy_one_in_a_table_that_gets_full() {
        for (slots, listeners, spare) in
            [(128, 2, 64), (704, 2, 64), (20_000, 2, 64), (704, 5, 64), (40, 2, 20)]
        {
            let mut accepts = accepts(slots, listeners);
            accepts.want_peers();
            let mut armed = singles(&mut accepts);
            let mut came = 0;
            // All come to the first listener.
            while let Some(at) = armed.iter().position(|accept| accept.listener == 0) {
                accepted(&mut accepts, armed.swap_remove(at));
                came += 1;
                armed.extend(singles(&mut accepts));
            }
            assert!(came > slots - spare, "{came} of {slots}, {listeners} listeners");
        }
    }

    #[test]
    fn the_last_slot_is_for_the_last_listener() {
        let mut accepts = accepts(2, 2);
        let armed = singles(&mut accepts);
        assert_eq!(listeners(&armed), [1, 0]);
        accepted(&mut accepts, armed[1]);
        assert!(!accepts.has_order());
        accepted(&mut accepts, armed[0]);
        accepts.freed_slot();
        assert_eq!(listeners(&singles(&mut accepts)), [1]);
    }

    #[test]
    fn no_more_come_in_a_second_than_the_rate_says_but_on_the_last_listener() {
        let mut now = Time::from_nanos(1);
        let mut accepts = accepts(20_000, 2);
        accepts.pace(2, 1, now);
        let armed = singles(&mut accepts);
        assert_eq!(armed.iter().filter(|accept| accept.listener == 0).count(), 2);
        for &accept in armed.iter().filter(|accept| accept.listener == 0) {
            accepted(&mut accepts, accept);
        }
        let of_last = armed[0];
        accepted(&mut accepts, of_last);
        assert_eq!(listeners(&singles(&mut accepts)), [1]);
        accepts.pass(now);
        assert_eq!(accepts.rest_until(), Some(now.after(Duration::from_millis(500))));
        now = now.after(Duration::from_millis(500));
        accepts.pass(now);
        assert_eq!((accepts.rest_until(), accepts.rests()), (None, 1));
        assert_eq!(listeners(&singles(&mut accepts)), [0]);
    }

    #[test]
    fn a_listener_that_is_paused_or_gone_has_nothing_armed() {
        let mut accepts = accepts(20_000, 2);
        accepts.want_peers();
        let armed = singles(&mut accepts);
        let last = armed[0];
        assert_eq!(last.listener, 1);
        accepts.ended(last);
        accepts.pause(1);
        assert!(accepts.is_paused() && !accepts.has_order());
        accepts.resume();
        assert_eq!((singles(&mut accepts), accepts.pauses()), (vec![last], 1));
        accepts.stop();
        accepts.ended(last);
        assert!(!accepts.has_order() && !accepts.is_paused());
    }
}
