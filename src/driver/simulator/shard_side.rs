//! One shard and what its driver keeps for it: the end of the reader's queue, and its sockets with the clients at them.
//!
//! Carries out what concerns the sockets; what concerns the rest of the world is the world's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::apps::Questions;
use super::plan::Plan;
use super::thread::Thread;
use super::{EPOCH, Summary, network};
use crate::base::census::Census;
use crate::base::counters::ShardCounters;
use crate::base::disconnect::Disconnect;
use crate::base::number::index;
use crate::base::peer::Peer;
use crate::base::position::Position;
use crate::base::queue::{ChannelKey, Delivery, JoinOutcome, Joined, ShardIndex};
use crate::base::random::Random;
use crate::base::socket::{Arrival, HangUp, Listener, Slot, SocketKey};
use crate::base::time::Time;
use crate::protocol::site::Site;
use crate::shard::input::{Input, Send, SendOutcome, Unsent};
use crate::shard::{Shard, ShardOptions};

pub(super) struct ShardSide {
    pub(super) shard: Shard,
    pub(super) counters: Arc<ShardCounters>,
    pub(super) thread: Thread,
    pub(super) queue: VecDeque<Delivery>,
    /// Set from a control that came back until the next tick: the contract of `ControlReturned`.
    pub(super) controls_blocked: bool,
    pub(super) sockets: BTreeMap<Slot, network::Socket>,
    next_slot: u32,
    pub(super) free_slots: Vec<u32>,
    /// Uses of slots that are over, whose last completions may still come.
    pub(super) past_keys: Vec<SocketKey>,
    /// The last joins that were answered, those of past uses among them.
    answered: VecDeque<(SocketKey, ChannelKey)>,
    /// To the application.
    pub(super) questions: Questions,
    pub(super) is_draining: bool,
    pub(super) is_listening: bool,
    /// It has drained, and its thread has ended.
    pub(super) is_gone: bool,
}

impl ShardSide {
    pub(super) fn new(
        index: ShardIndex,
        site: &Arc<Site>,
        plan: &Plan,
        census: &Arc<Census>,
        random: &mut Random,
    ) -> Self {
        let counters = Arc::new(ShardCounters::default());
        let shard = Shard::new(ShardOptions {
            index,
            epoch: EPOCH,
            site: Arc::clone(site),
            limits: plan.limits.clone(),
            heartbeat: plan.heartbeat,
            lifetime: plan.lifetime,
            drain_window: Duration::from_secs(5),
            callback_timeout: Duration::from_secs(3),
            counters: Arc::clone(&counters),
            census: Arc::clone(census),
            seed: random.word(),
        });
        Self {
            shard,
            counters,
            thread: Thread::default(),
            queue: VecDeque::new(),
            controls_blocked: false,
            sockets: BTreeMap::new(),
            next_slot: 0,
            free_slots: Vec::new(),
            past_keys: Vec::new(),
            answered: VecDeque::new(),
            questions: Questions::default(),
            is_draining: false,
            is_listening: true,
            is_gone: false,
        }
    }

    pub(super) fn accept(&mut self, now: Time, client: usize, peer: Peer, random: &mut Random) -> Slot {
        let slot = Slot(self.free_slots.pop().unwrap_or_else(|| {
            self.next_slot += 1;
            self.next_slot - 1
        }));
        self.sockets.insert(slot, network::Socket::new(client, random));
        self.input(now, Input::Accepted { slot, arrival: Arrival { listener: Listener::Web, peer } });
        slot
    }

    /// A completion of the thread's own ring: it is awake with it.
    pub(super) fn input(&mut self, now: Time, input: Input<'_>) {
        self.thread.wake();
        self.shard.handle(now, input);
    }

    /// What comes out of the reader's queue.
    pub(super) fn deliver(&mut self, now: Time, delivery: Delivery) {
        if let Delivery::Joined(joined) = &delivery {
            self.answered.truncate(ANSWERED - 1);
            self.answered.push_front((joined.connection, joined.channel));
        }
        self.shard.handle(now, Input::Delivery(delivery));
    }

    pub(super) fn socket(&mut self, slot: Slot) -> &mut network::Socket {
        self.sockets.get_mut(&slot).expect("the shard speaks of an open socket")
    }

    pub(super) fn is_due(&self, now: Time) -> bool {
        self.shard.next_deadline().is_some_and(|due| due <= now)
    }

    pub(super) fn disconnects(&self) -> u64 {
        (0..Disconnect::ALL.len()).map(|reason| self.counters.disconnects[reason].get()).sum()
    }

    /// Plans a volley and lets each socket take what it has room for.
    pub(super) fn volley(&mut self, now: Time, random: &mut Random, summary: &mut Summary) {
        let mut volley: Vec<Send> = Vec::new();
        self.shard.plan(now, &mut volley);
        let mut unsent = Vec::new();
        let mut sent_to = BTreeSet::new();
        for (index, send) in (0..).zip(&volley) {
            assert!(sent_to.insert(send.socket.slot), "a connection is sent to once in a volley");
            let bytes = self.shard.bytes(send);
            let socket = self.sockets.get_mut(&send.socket.slot).expect("a send goes to an open socket");
            assert_eq!(socket.key, Some(send.socket), "a send goes to the slot's present use");
            assert!(!socket.is_awaited, "nothing is sent to a socket that is full");
            assert!(!socket.server_ended, "nothing is sent behind the end");
            let outcome = if socket.is_gone() {
                SendOutcome::Failed(any_hang_up(random))
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
            self.input(now, Input::Writable { socket: key });
        }
    }

    /// A peer that is gone answers with a reset, and what waits for its socket hears of it.
    pub(super) fn tell_all_writable(&mut self, now: Time) {
        let slots: Vec<Slot> = self.sockets.keys().copied().collect();
        slots.into_iter().for_each(|slot| self.tell_writable(now, slot));
    }

    /// Tells the shard of every socket whose receive has ended; whether there was any.
    pub(super) fn tell_hang_ups(&mut self, now: Time, random: &mut Random) -> bool {
        let ended = |(_, socket): &(&Slot, &mut network::Socket)| {
            (socket.client_ended || socket.shut_down) && !socket.told_hang_up && socket.key.is_some()
        };
        let slots: Vec<Slot> = self.sockets.iter_mut().filter(ended).map(|(&slot, _)| slot).collect();
        for &slot in &slots {
            let socket = self.socket(slot);
            socket.told_hang_up = true;
            let key = socket.key.expect("looked at above");
            self.input(now, Input::HungUp { socket: key, cause: any_hang_up(random) });
        }
        !slots.is_empty()
    }

    /// Whether the client has read the server's end to its last byte; then it hangs up as well.
    pub(super) fn is_over(&mut self, slot: Slot) -> bool {
        let Some(socket) = self.sockets.get_mut(&slot) else { return true };
        if socket.server_ended && socket.is_empty() {
            socket.client_ended = true;
        }
        socket.client_ended
    }

    /// An answer comes that a connection was to have which has ended since. It says that the channel is forbidden: were it
    /// taken for an answer to whoever has the slot now, that client would be told so.
    pub(super) fn stale_answer(&mut self, now: Time, random: &mut Random) -> bool {
        let is_past = |(connection, _): &&(SocketKey, ChannelKey)| self.past_keys.contains(connection);
        let past: Vec<(SocketKey, ChannelKey)> = self.answered.iter().filter(is_past).copied().collect();
        if past.is_empty() {
            return false;
        }
        let (connection, channel) = past[index(random.below(past.len() as u64))];
        let outcome = JoinOutcome::Forbidden;
        let joined = Joined { connection, channel, position: Position::ZERO, outcome };
        let joining = self.shard.joining();
        self.input(now, Input::Delivery(Delivery::Joined(joined)));
        assert!(self.shard.next_output().is_none(), "nothing comes of a stale answer");
        assert_eq!(self.shard.joining(), joining, "a stale answer opens no stream");
        true
    }

    /// A completion comes that is of an earlier use of its slot. The machine drops it and counts it.
    pub(super) fn stale_completion(&mut self, now: Time, random: &mut Random) -> bool {
        if self.past_keys.is_empty() {
            return false;
        }
        let socket = self.past_keys[index(random.below(self.past_keys.len() as u64))];
        let counted = self.counters.cells.stale_completions.get();
        let input = match random.below(3) {
            0 => Input::Received {
                socket,
                bytes: b"GET /events?channel=channel-0 HTTP/1.1\r\nHost: a\r\n\r\n",
            },
            1 => Input::Writable { socket },
            _ => Input::HungUp { socket, cause: any_hang_up(random) },
        };
        let connections = self.shard.connections();
        self.input(now, input);
        assert_eq!(self.counters.cells.stale_completions.get(), counted + 1, "{socket:?} is stale");
        assert!(self.shard.next_output().is_none(), "nothing comes of a stale completion");
        assert_eq!(self.shard.connections(), connections, "a stale completion ends nobody");
        true
    }
}

/// How many answers to joins are remembered.
const ANSWERED: usize = 16;

fn any_hang_up(random: &mut Random) -> HangUp {
    [HangUp::Closed, HangUp::Reset, HangUp::TimedOut, HangUp::Failed(5)][index(random.below(4))]
}
