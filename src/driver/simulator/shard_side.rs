//! One shard and what its driver keeps for it: the end of the reader's queue, and its sockets with the clients at them.
//!
//! Carries out what concerns the sockets; what concerns the rest of the world is the world's.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::{EPOCH, Summary, network};
use crate::base::counters::ShardCounters;
use crate::base::limits::Limits;
use crate::base::queue::{Delivery, ShardIndex};
use crate::base::random::Random;
use crate::base::socket::{HangUp, Listener, Slot};
use crate::base::time::Time;
use crate::protocol::site::Site;
use crate::shard::input::{Input, Send, SendOutcome, Unsent};
use crate::shard::{Shard, ShardOptions};

pub(super) struct ShardSide {
    pub(super) shard: Shard,
    pub(super) counters: Arc<ShardCounters>,
    pub(super) queue: VecDeque<Delivery>,
    pub(super) queue_room: usize,
    /// Set from a control that came back until the next tick: the contract of `ControlReturned`.
    pub(super) controls_blocked: bool,
    pub(super) sockets: BTreeMap<Slot, network::Socket>,
    pub(super) next_slot: u32,
    pub(super) free_slots: Vec<u32>,
}

impl ShardSide {
    pub(super) fn new(index: ShardIndex, site: &Arc<Site>, limits: &Limits, random: &mut Random) -> Self {
        let counters = Arc::new(ShardCounters::default());
        let shard = Shard::new(ShardOptions {
            index,
            epoch: EPOCH,
            site: Arc::clone(site),
            limits: limits.clone(),
            heartbeat: Duration::from_secs(random.below(3)),
            lifetime: Duration::ZERO,
            drain_window: Duration::from_secs(5),
            counters: Arc::clone(&counters),
            seed: random.word(),
        });
        Self {
            shard,
            counters,
            queue: VecDeque::new(),
            queue_room: 1 << random.below(8),
            controls_blocked: false,
            sockets: BTreeMap::new(),
            next_slot: 0,
            free_slots: Vec::new(),
        }
    }

    pub(super) fn accept(&mut self, now: Time, client: usize, random: &mut Random) -> Slot {
        let slot = Slot(self.free_slots.pop().unwrap_or_else(|| {
            self.next_slot += 1;
            self.next_slot - 1
        }));
        self.sockets.insert(slot, network::Socket::new(client, random));
        self.shard.handle(now, Input::Accepted { slot, listener: Listener::Web });
        slot
    }

    pub(super) fn socket(&mut self, slot: Slot) -> &mut network::Socket {
        self.sockets.get_mut(&slot).expect("the shard speaks of an open socket")
    }

    pub(super) fn tick(&mut self, now: Time) {
        if self.shard.next_deadline().is_some_and(|due| due <= now) {
            self.controls_blocked = false;
            self.shard.handle(now, Input::Tick);
        }
    }

    /// Plans a volley and lets each socket take what it has room for.
    pub(super) fn volley(&mut self, now: Time, random: &mut Random, summary: &mut Summary) {
        let mut volley: Vec<Send> = Vec::new();
        self.shard.plan(now, &mut volley);
        let mut unsent = Vec::new();
        for (index, send) in (0..).zip(&volley) {
            let bytes = self.shard.bytes(send);
            let socket = self.sockets.get_mut(&send.socket.slot).expect("a send goes to an open socket");
            assert_eq!(socket.key, Some(send.socket), "a send goes to the slot's present use");
            assert!(!socket.is_awaited, "nothing is sent to a socket that is full");
            let outcome = if socket.is_gone() {
                SendOutcome::Failed(HangUp::Reset)
            } else {
                let taken = socket.offer(bytes, random);
                if taken == bytes.len() {
                    continue;
                }
                summary.short_sends += 1;
                SendOutcome::Short { sent: u32::try_from(taken).expect("a part of a send") }
            };
            unsent.push(Unsent { index, outcome });
        }
        self.shard.settle(now, &volley, &unsent);
    }

    pub(super) fn socket_take(&mut self, slot: Slot, random: &mut Random) -> Vec<u8> {
        self.sockets.get_mut(&slot).map_or_else(Vec::new, |socket| socket.take(random))
    }

    pub(super) fn tell_writable(&mut self, now: Time, slot: Slot) {
        let Some(socket) = self.sockets.get_mut(&slot) else { return };
        if socket.is_awaited && socket.has_room() {
            socket.is_awaited = false;
            let key = socket.key.expect("a socket that was sent to is received from");
            self.shard.handle(now, Input::Writable { socket: key });
        }
    }

    /// A peer that is gone answers with a reset, and what waits for its socket hears of it.
    pub(super) fn tell_all_writable(&mut self, now: Time) {
        let slots: Vec<Slot> = self.sockets.keys().copied().collect();
        slots.into_iter().for_each(|slot| self.tell_writable(now, slot));
    }

    /// Tells the shard of every socket whose receive has ended.
    pub(super) fn tell_hang_ups(&mut self, now: Time) {
        let ended = |(_, socket): &(&Slot, &mut network::Socket)| {
            (socket.client_ended || socket.shut_down) && !socket.told_hang_up && socket.key.is_some()
        };
        let slots: Vec<Slot> = self.sockets.iter_mut().filter(ended).map(|(&slot, _)| slot).collect();
        for slot in slots {
            let socket = self.socket(slot);
            socket.told_hang_up = true;
            let key = socket.key.expect("looked at above");
            let cause = if slot.0 % 2 == 0 { HangUp::Closed } else { HangUp::Reset };
            self.shard.handle(now, Input::HungUp { socket: key, cause });
        }
    }

    /// Whether the client has read the server's end to its last byte; then it hangs up as well.
    pub(super) fn is_over(&mut self, slot: Slot) -> bool {
        let Some(socket) = self.sockets.get_mut(&slot) else { return true };
        if socket.server_ended && socket.is_empty() {
            socket.client_ended = true;
        }
        socket.client_ended
    }
}
