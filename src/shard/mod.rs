//! Machine two: turns messages into client bytes. One a core.
//!
//! A shard owns its connections, each a row in a table, and a hub with their subscriptions. It is told what happened
//! ([`input::Input`]), says what it wants done ([`input::Output`]), and in between plans volleys of sends. It does no
//! I/O, reads no clock and draws no randomness, so the simulator can run it move by move.
//!
//! A turn: inputs -> [`Shard::plan`] -> the driver submits -> [`Shard::settle`]. A connection is flushed at most once a
//! turn, whatever came; a turn flushes at most [`limits::FLUSH_CONNECTIONS`]; the rest wait in a FIFO where newer
//! messages coalesce.

mod admission;
mod asking;
mod asks;
mod burst;
mod connection;
mod dismissals;
mod drain;
mod flush;
mod grants;
mod heartbeat;
pub mod input;
mod joining;
pub mod laggards;
mod merge;
mod publishers;
mod replay;
mod request;
mod row;
mod sweep;
mod tails;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::base::census::Census;
use crate::base::counters::ShardCounters;
use crate::base::deadlines::Deadlines;
use crate::base::limits::{self, Limits};
use crate::base::position::{Epoch, Position};
use crate::base::queue::{Batch, Control, Delivery, Gap, GapReason, Reach, ShardIndex};
use crate::base::random::Random;
use crate::base::slab::Slab;
use crate::base::socket::{Slot, SocketKey};
use crate::base::time::{Time, WallClock};
use crate::hub::{Bounds, FORMATS_MAX, Hub, SubscriptionIndex};
use crate::protocol::site::Site;
use crate::protocol::{Event, GapNotice, WireFormat};

use asking::Asking;
use burst::Burst;
use dismissals::Dismissals;
use drain::Drain;
use grants::Grants;
use heartbeat::Heartbeat;
use input::{Input, Notice, Output};
use joining::Join;
use publishers::Publishers;
use request::Request;
use row::{Flags, Row, State};
use sweep::Sweep;
use tails::Tails;

#[derive(Debug)]
pub struct ShardOptions {
    pub index: ShardIndex,
    /// The same for all shards and the reader.
    pub epoch: Epoch,
    pub site: Arc<Site>,
    pub limits: Limits,
    /// Longest silence on a stream; zero: no heartbeats.
    pub heartbeat: Duration,
    /// Longest life of a stream; zero: for ever.
    pub lifetime: Duration,
    /// Over how long the ends of streams are spread when the shard stops.
    pub drain_window: Duration,
    /// How long the application may take to say whether a client is let in.
    pub callback_timeout: Duration,
    pub counters: Arc<ShardCounters>,
    /// The same for all shards.
    pub census: Arc<Census>,
    /// For jitter.
    pub seed: u64,
}

#[derive(Debug)]
pub struct Shard {
    index: ShardIndex,
    epoch: Epoch,
    site: Arc<Site>,
    limits: Limits,
    counters: Arc<ShardCounters>,
    census: Arc<Census>,
    random: Random,
    /// By slot. Room for all that there may be is reserved at the start and faulted in as it is used: the table never
    /// moves, so a connection costs its row, and none has to wait while others are copied.
    rows: Vec<Row>,
    connections: u64,
    /// Streams whose head has been handed over.
    opened: u64,
    hub: Hub,
    requests: Slab<Request>,
    /// Bytes of all request bodies that are being received.
    body_bytes: usize,
    publishers: Publishers,
    joins: Slab<Join>,
    grants: Grants,
    dismissals: Dismissals,
    asking: Asking,
    tails: Tails,
    /// Streams that end and cannot at once, or must hear nothing more: up to where they are owed, as it was when they began
    /// to end.
    last_owed: BTreeMap<Slot, Position>,
    /// Connections to flush, beside those that a round of the hub leads to.
    ready: VecDeque<Slot>,
    /// Connections that are to be queued again once the present volley is settled.
    again: Vec<Slot>,
    scratch: Vec<u8>,
    unsent: Vec<input::Unsent>,
    lapped: Vec<SubscriptionIndex>,
    outputs: VecDeque<Output>,
    /// Controls that came back because the queue was full, in order, and those behind them.
    returned: VecDeque<Control>,
    returned_until: Option<Time>,
    heads: Deadlines<SocketKey>,
    idles: Deadlines<SocketKey>,
    waits: Deadlines<SocketKey>,
    endings: Deadlines<SocketKey>,
    lingers: Deadlines<SocketKey>,
    heartbeat: Heartbeat,
    burst: Burst,
    /// As the reader last said.
    upstream: Reach,
    lifetimes: Option<Sweep>,
    drain: Drain,
    drain_window: Duration,
    /// When the operator was last told of each kind of thing.
    noticed: [Option<Time>; Notice::KINDS],
    wall_clock: WallClock,
    /// The time that came with the present input, plan or settlement.
    now: Time,
}

const _: () = assert!(WireFormat::ALL.len() <= FORMATS_MAX);

/// How long controls wait before they are offered to a full queue again.
const CONTROL_RETRY: Duration = Duration::from_millis(1);

impl Shard {
    pub fn new(options: ShardOptions) -> Self {
        let ShardOptions { index, epoch, site, limits, heartbeat, lifetime, .. } = options;
        let ShardOptions { drain_window, callback_timeout, counters, census, seed, .. } = options;
        // Slots of connections to applications may lie between those of clients.
        let to_applications = site.gate.endpoints().len().min(1) * 2 * limits.callback_in_flight;
        let asking =
            Asking::new(site.gate.endpoints().len(), callback_timeout, &limits, &mut Random::new(!seed));
        Self {
            index,
            epoch,
            site,
            counters,
            census,
            random: Random::new(seed),
            rows: Vec::with_capacity(
                limits.connections_per_shard + limits::CONNECTIONS_SPARE + to_applications,
            ),
            connections: 0,
            opened: 0,
            hub: Hub::new(Bounds {
                lag_bytes: limits.lag_bytes,
                log_bytes: limits.log_bytes,
                reserved_subscriptions: limits.connections_per_shard,
            }),
            requests: Slab::default(),
            body_bytes: 0,
            publishers: Publishers::new(&limits),
            joins: Slab::default(),
            grants: Grants::default(),
            dismissals: Dismissals::default(),
            asking,
            tails: Tails::default(),
            last_owed: BTreeMap::new(),
            ready: VecDeque::new(),
            again: Vec::new(),
            scratch: Vec::new(),
            unsent: Vec::new(),
            lapped: Vec::new(),
            outputs: VecDeque::new(),
            returned: VecDeque::new(),
            returned_until: None,
            heads: Deadlines::new(limits.head_timeout),
            idles: Deadlines::new(limits.idle_timeout),
            waits: Deadlines::new(limits::JOIN_TIMEOUT),
            endings: Deadlines::new(limits::USER_TIMEOUT),
            lingers: Deadlines::new(limits::LINGER_TIMEOUT),
            heartbeat: Heartbeat::new(heartbeat),
            burst: Burst::default(),
            upstream: Reach::Up,
            lifetimes: (!lifetime.is_zero()).then(|| Sweep::new(lifetime / 2, Time::ZERO)),
            drain: Drain::No,
            drain_window,
            noticed: [None; Notice::KINDS],
            wall_clock: WallClock::default(),
            now: Time::ZERO,
            limits,
        }
    }

    /// Tells the machine what happened. The outputs it gives rise to come from `next_output`.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        self.now = now;
        match input {
            Input::Accepted { slot, arrival } => self.accepted(slot, arrival),
            Input::Received { socket, bytes } => self.received(socket, bytes),
            Input::HungUp { socket, cause } => self.hung_up(socket, cause),
            Input::Writable { socket } => self.writable(socket),
            Input::Delivery(delivery) => self.delivery(delivery),
            Input::ControlReturned(control) => {
                self.returned.push_back(control);
                self.returned_until.get_or_insert_with(|| now.after(CONTROL_RETRY));
            }
            Input::AdminAnswer { socket, answer } => self.admin_answer(socket, &answer),
            Input::Keys(ring) => Arc::make_mut(&mut self.site).gate.keys = ring,
            Input::AppReplied { question, reply } => self.app_replied(question, reply),
            Input::Calendar(unix) => self.wall_clock = WallClock { at: now, unix },
            Input::Tick => self.tick(),
            Input::Drain => self.begin_drain(),
        }
    }

    /// What the machine wants done next.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether there is somebody to flush.
    pub fn has_work(&self) -> bool {
        !self.ready.is_empty() || self.hub.has_rounds()
    }

    /// Whether the machine wants more from the reader: not while so much waits to be flushed that more would push
    /// somebody out of a log who only has not had a turn yet. What it does not take waits in the queue.
    pub fn takes_delivery(&self) -> bool {
        self.hub.round_bytes() < self.limits.lag_bytes / 2
    }

    /// When the machine wants a [`Input::Tick`], if nothing else happens.
    pub fn next_deadline(&self) -> Option<Time> {
        let deadlines = [
            self.heads.next(),
            self.idles.next(),
            self.waits.next(),
            self.endings.next(),
            self.lingers.next(),
            self.heartbeat_deadline(),
            self.burst.deadline(),
            self.lifetimes.as_ref().filter(|_| self.opened > 0).map(Sweep::next),
            self.drain.deadline(),
            self.grants.next(self.wall_clock, self.now),
            self.dismissals.next(self.wall_clock, self.now),
            self.asking.next_deadline(),
            self.returned_until,
        ];
        deadlines.into_iter().flatten().min()
    }

    /// The names of the channels that connections of this shard are subscribed to, for checks against the router.
    pub fn channel_names(&self) -> impl Iterator<Item = &crate::base::channel::ChannelName> {
        self.hub.channel_names()
    }

    /// Bytes kept for subscribers: logs and tails. Zero when everybody has been sent everything.
    pub fn kept_bytes(&self) -> usize {
        self.hub.log_bytes() + self.tails.bytes()
    }

    /// Open connections.
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// What is kept beside rows and logs: requests, who waits for the application, joins, grants, bytes of bodies and
    /// tails, subscriptions. Zero when everybody has gone.
    pub fn leftovers(&self) -> usize {
        let slabs = self.requests.len()
            + self.joins.len()
            + self.grants.len()
            + self.hub.subscription_count()
            + self.last_owed.len();
        slabs + self.asking.waiters() + self.body_bytes + self.tails.bytes()
    }

    /// Streams that wait for the reader's answer for one of their channels or more.
    pub fn joining(&self) -> usize {
        self.joins.len()
    }

    /// Controls that came back from a full queue and wait to be offered again.
    pub fn controls_waiting(&self) -> usize {
        self.returned.len()
    }

    fn delivery(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Batch(batch) => self.batch(&batch),
            Delivery::Joined(joined) => self.joined(joined),
            Delivery::Gap(gap) => self.gap(&gap),
            Delivery::Published(published) => self.published(&published),
            Delivery::Dismiss(dismissal) => self.dismiss(dismissal),
            Delivery::Upstream(reach) => self.upstream = reach,
        }
        self.counters.cells.log_bytes.set(self.hub.log_bytes() as u64);
    }

    // Hot: once per message; encodes once per wire format, nothing here costs per subscriber.
    fn batch(&mut self, batch: &Batch) {
        let (mut frames, mut invalid, mut plain) = (0, 0, 0);
        for message in batch.messages() {
            let payload = batch.payload(message);
            let (epoch, position) = (self.epoch, message.position);
            self.hub.append(
                message.channel,
                position,
                batch.received_at(),
                |format, channel, mode, bytes| {
                    let event = Event { epoch, position, channel, payload, mode };
                    let encoded = WireFormat::ALL[format].encode(&event, bytes);
                    frames += 1;
                    invalid += u64::from(encoded.invalid_utf8);
                    plain += u64::from(encoded.plain_envelope);
                },
            );
        }
        self.counters.cells.frames_encoded.add(frames);
        self.counters.cells.invalid_utf8.add(invalid);
        self.counters.cells.envelopes_plain.add(plain);
    }

    fn gap(&mut self, gap: &Gap) {
        for &(channel, position) in &gap.channels {
            let epoch = self.epoch;
            self.hub.append(channel, position, self.now, |format, channel, _, bytes| {
                let notice = GapNotice {
                    epoch,
                    position: Some(position),
                    channel,
                    from: Some(gap.from),
                    until: position,
                    reason: gap.reason,
                };
                WireFormat::ALL[format].encode_gap(&notice, bytes);
            });
            self.counters.gap(gap.reason, self.hub.listeners(channel));
            if gap.reason == GapReason::Forbidden {
                self.hub.unheard(channel);
            }
        }
    }

    fn tick(&mut self) {
        let now = self.now;
        while let Some(socket) = self.heads.take_due(now) {
            self.head_overdue(socket);
        }
        while let Some(socket) = self.idles.take_due(now) {
            self.idle_overdue(socket);
        }
        while let Some(socket) = self.waits.take_due(now) {
            self.wait_overdue(socket);
        }
        while let Some(socket) = self.endings.take_due(now) {
            self.ending_overdue(socket);
        }
        while let Some(socket) = self.lingers.take_due(now) {
            self.linger_overdue(socket);
        }
        self.heartbeat_sweep();
        self.give_back_burst();
        self.lifetime_sweep();
        self.drain_sweep();
        self.end_expired();
        self.end_dismissals();
        self.end_overdue_questions();
        if self.returned_until.is_some_and(|until| until <= now) {
            self.returned_until = None;
            self.outputs.extend(self.returned.drain(..).map(Output::Control));
        }
    }

    /// Sends a control to the reader, behind those that are waiting.
    fn control(&mut self, control: Control) {
        if self.returned.is_empty() {
            self.outputs.push_back(Output::Control(control));
        } else {
            self.returned.push_back(control);
        }
    }

    /// The connection's row, if the key means the slot's present use; otherwise it is stale and counted.
    fn row(&mut self, socket: SocketKey) -> Option<&mut Row> {
        let row = self.rows.get_mut(socket.slot.index());
        let row = row.filter(|row| row.generation == socket.generation && row.state != State::Free);
        if row.is_none() {
            self.counters.cells.stale_completions.add(1);
        }
        row
    }

    fn key(&self, slot: Slot) -> SocketKey {
        SocketKey { slot, generation: self.rows[slot.index()].generation }
    }

    /// Puts the connection into the FIFO of those to flush, once.
    fn queue(&mut self, slot: Slot) {
        let flags = &mut self.rows[slot.index()].flags;
        if !flags.has(Flags::QUEUED) {
            flags.set(Flags::QUEUED);
            self.ready.push_back(slot);
        }
    }
}

#[cfg(test)]
mod tests;
