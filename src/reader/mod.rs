//! Machine one: turns upstream bytes into messages in order. One a process.
//!
//! This file dispatches; what happens lies in the files beside it: `redis` (the two connections), `channels` (which
//! channels are subscribed), `sequence` (the one counter), `history` (what may be replayed), `router` (which shard
//! wants what). Nothing here does I/O, reads a clock or draws randomness: see [`input`].

pub mod broker;
mod channels;
mod control;
mod history;
pub mod input;
mod lent;
mod lingering;
mod overflows;
mod redis;
mod relay;
mod router;
mod routes;
mod sequence;
mod sockets;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::access::{Rules, SigningKey};
use crate::base::channel::ChannelName;
use crate::base::counters::ReaderCounters;
use crate::base::limits::{BROKER_BUFFER_BYTES, BROKER_OUTPUT_BYTES, Limits};
use crate::base::position::{Epoch, Position};
use crate::base::queue::{Control, Delivery, Placed, Publication, PublishOutcome, ShardIndex};
pub use crate::base::secret::Secret;
use crate::base::socket::SocketKey;
use crate::base::time::{Time, WallClock};
use crate::reader::broker::{Broker, BrokerOptions};
use crate::reader::channels::Waiter;
use crate::reader::input::{Input, Output};
use crate::reader::redis::Redis;
pub use crate::reader::redis::ask::Answered;
use crate::reader::relay::Relay;
use crate::reader::sockets::Sockets;
use crate::wire::resp::command::Command;

/// The machine.
#[derive(Debug)]
pub struct Reader {
    source: Source,
    relay: Relay,
    sockets: Sockets,
    counters: Arc<ReaderCounters>,
}

/// Where messages come from, at work.
#[derive(Debug)]
enum Source {
    Redis(Box<Redis>),
    Embedded(Box<Broker>),
}

#[derive(Debug, Clone)]
pub struct ReaderOptions {
    pub upstream: Upstream,
    pub epoch: Epoch,
    /// What is kept of which channel.
    pub rules: Rules,
    pub limits: Limits,
    pub counters: Arc<ReaderCounters>,
    /// How many shards there are.
    pub shards: u16,
    /// Of the jitter and of the hash of channel names.
    pub seed: u64,
    /// The time at which the machine is made.
    pub start: Time,
    /// Orders that are signed with it are obeyed.
    pub control: Option<SigningKey>,
}

/// Where messages come from.
#[derive(Debug, Clone)]
pub enum Upstream {
    Redis(RedisOptions),
    /// Clients of courier's own broker.
    Embedded(EmbeddedOptions),
}

#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// Clients of the broker must `AUTH` with it.
    pub password: Option<Secret>,
    /// What the machine's clock means, for expiries that are given as a date.
    pub wall_clock: WallClock,
}

#[derive(Debug, Clone)]
pub struct RedisOptions {
    pub address: RedisAddress,
    /// Given only together with a password.
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub database: u32,
    /// What CLIENT LIST shows: `courier-<host>`.
    pub client_name: String,
    /// The driver bounds a dial by it.
    pub dial_timeout: Duration,
    /// After this much silence a PING is sent.
    pub ping_interval: Duration,
    /// How long a PING, and the login, may go unanswered.
    pub ping_timeout: Duration,
}

/// What the driver dials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisAddress {
    Tcp { host: String, port: u16 },
    Unix { path: PathBuf },
}

impl Reader {
    pub fn new(options: ReaderOptions) -> Self {
        let ReaderOptions { upstream, epoch, rules, limits, counters, shards, seed, start, control } =
            options;
        let mut relay = Relay::new(epoch, shards, rules, &limits, seed, Arc::clone(&counters));
        let takes_orders = control.is_some();
        let source = match upstream {
            Upstream::Redis(redis) => {
                relay.tell_down();
                Source::Redis(Box::new(Redis::new(redis, seed, start, Arc::clone(&counters))))
            }
            Upstream::Embedded(embedded) => {
                relay.reached();
                // Nothing stands between courier and its own broker.
                counters.cells.redis_up.set(1);
                Source::Embedded(Box::new(broker(embedded, &limits, Arc::clone(&counters))))
            }
        };
        control.into_iter().for_each(|key| relay.take_orders(start, key));
        let mut reader = Self { source, relay, sockets: Sockets::default(), counters };
        if let (true, Source::Embedded(broker)) = (takes_orders, &mut reader.source) {
            change_relayed(broker, &mut reader.relay, start);
        }
        reader
    }

    pub fn epoch(&self) -> Epoch {
        self.relay.epoch()
    }

    /// Whether the answer to one more [`Input::Control`] of this shard has room. While it has not, the driver moves
    /// deliveries into the shard's queue and lets its controls wait: an answer without room would have to leave out its
    /// replay.
    // Hot: once per control.
    pub fn takes_control(&self, shard: ShardIndex) -> bool {
        self.relay.takes_control(shard)
    }

    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        match &mut self.source {
            Source::Redis(redis) => {
                handle_redis(redis, &mut self.relay, &mut self.sockets, &self.counters, now, input);
                redis.note_health(now, &self.relay);
            }
            Source::Embedded(broker) => {
                handle_embedded(broker, &mut self.relay, &mut self.sockets, &self.counters, now, input);
                relay_published(broker, &mut self.relay, now);
            }
        }
        self.relay.write_gauges();
    }

    /// Asks Redis for something that has a reply, for whoever knows it by the number `caller`. Each is answered exactly
    /// once by `next_answer`, in the order of asking; at once and without a reply if Redis cannot be asked, and so with the
    /// embedded broker, which is asked directly. Answers wait until they are taken: as many as were asked for.
    pub fn ask(&mut self, command: &Command, caller: u64) {
        match &mut self.source {
            Source::Redis(redis) => redis.ask(command, caller, &mut self.relay),
            Source::Embedded(_) => self.relay.answered(Answered { caller, reply: None }),
        }
    }

    /// The next answer to `ask`.
    pub fn next_answer(&mut self) -> Option<Answered> {
        self.relay.next_answer()
    }

    /// The next thing the driver shall do, in order.
    pub fn next_output(&mut self) -> Option<Output> {
        let notice = self.relay.next_notice().map(Output::Notice);
        notice.or_else(|| match &mut self.source {
            Source::Redis(redis) => redis.next_output(),
            Source::Embedded(broker) => broker.next_output(),
        })
    }

    /// The next item for this shard's queue; the driver asks only while the queue has room.
    // Hot: once per read and shard.
    pub fn next_delivery(&mut self, shard: ShardIndex) -> Option<Delivery> {
        self.relay.next_delivery(shard)
    }

    /// A socket that has bytes to send and takes them. The driver sends `outgoing` and reports with `sent`.
    pub fn next_to_send(&mut self) -> Option<SocketKey> {
        match &mut self.source {
            Source::Redis(redis) => redis.next_to_send(&mut self.relay),
            Source::Embedded(broker) => broker.next_to_send(),
        }
    }

    pub fn outgoing(&self, socket: SocketKey) -> &[u8] {
        match &self.source {
            Source::Redis(redis) => redis.outgoing(socket),
            Source::Embedded(broker) => broker.outgoing(socket),
        }
    }

    /// The kernel took so many bytes of `outgoing`; fewer than all of them: the socket's buffer is full, and an
    /// `Output::AwaitWritable` follows.
    pub fn sent(&mut self, now: Time, socket: SocketKey, bytes: usize) {
        let _ = now;
        match &mut self.source {
            Source::Redis(redis) => redis.sent(socket, bytes),
            Source::Embedded(broker) => broker.sent(socket, bytes),
        }
    }

    /// Which shards are routed which channels, for checks against the shards' own view.
    pub fn routed(&self) -> impl Iterator<Item = (&ChannelName, ShardIndex)> {
        self.relay.routed()
    }

    /// When `Input::Tick` is wanted, at the latest.
    pub fn next_deadline(&self) -> Option<Time> {
        let source = match &self.source {
            Source::Redis(redis) => redis.next_deadline(),
            Source::Embedded(broker) => broker.next_deadline(),
        };
        [source, self.relay.next_deadline()].into_iter().flatten().min()
    }
}

fn handle_redis(
    redis: &mut Redis,
    relay: &mut Relay,
    sockets: &mut Sockets,
    counters: &ReaderCounters,
    now: Time,
    input: Input<'_>,
) {
    match input {
        Input::Connected { link, slot } => redis.connected(now, link, sockets.claim(slot)),
        Input::Password(password) => redis.set_password(password),
        Input::DialFailed { link, reason } => redis.dial_failed(now, link, reason, relay),
        Input::Accepted { .. } => unreachable!("a reader of Redis has no clients"),
        Input::Received { socket, bytes } => {
            counters.cells.received_bytes.add(bytes.len() as u64);
            redis.received(now, socket, bytes, relay);
        }
        Input::HungUp { socket, cause } => redis.hung_up(now, socket, cause, relay),
        Input::Writable { socket } => redis.writable(socket),
        Input::Control(Control::Publish { shard, connection, messages }) => {
            redis.publish(shard, connection, &messages, relay);
        }
        Input::Control(control) => change_routes(relay, now, control),
        Input::Calendar(unix) => relay.calendar(now, unix),
        Input::Tick => {
            relay.tick(now);
            redis.tick(now, relay);
        }
    }
}

fn handle_embedded(
    broker: &mut Broker,
    relay: &mut Relay,
    sockets: &mut Sockets,
    counters: &ReaderCounters,
    now: Time,
    input: Input<'_>,
) {
    match input {
        Input::Connected { .. } | Input::Password(_) | Input::DialFailed { .. } => {
            unreachable!("the embedded broker dials nobody")
        }
        Input::Accepted { slot } => broker.accepted(now, sockets.claim(slot)),
        Input::Received { socket, bytes } => {
            counters.cells.received_bytes.add(bytes.len() as u64);
            broker.received(now, socket, bytes);
        }
        Input::HungUp { socket, cause } => broker.hung_up(socket, cause),
        Input::Writable { socket } => broker.writable(socket),
        Input::Control(Control::Publish { shard, connection, messages }) => {
            let mut placed = SmallVec::new();
            for Publication { name, payload } in messages {
                let before = relay.last_position();
                broker.publish(name.as_bytes(), &payload);
                let position = take_published(broker, relay, now);
                placed.push(position.map_or(Placed::Behind(before), Placed::At));
            }
            relay.finish_read(now);
            relay.published(shard, connection, PublishOutcome::Accepted(placed));
        }
        Input::Control(control) => {
            change_routes(relay, now, control);
            change_relayed(broker, relay, now);
        }
        Input::Calendar(unix) => relay.calendar(now, unix),
        Input::Tick => {
            broker.tick(now);
            relay.tick(now);
            change_relayed(broker, relay, now);
        }
    }
}

/// Joins and leaves, which are the same for both sources.
fn change_routes(relay: &mut Relay, now: Time, control: Control) {
    match control {
        Control::Join { shard, channel, name, connection, since } => {
            relay.join(now, name, Waiter { shard, channel, connection, since });
        }
        Control::Leave { shard, channel, name } => relay.leave(now, &name, shard, channel),
        Control::Publish { .. } => unreachable!("a publish goes to the source"),
    }
}

/// The embedded broker needs no asking: what is wanted is acknowledged at once.
fn change_relayed(broker: &mut Broker, relay: &mut Relay, now: Time) {
    while let Some(name) = relay.subscribe_at_once() {
        broker.relay(&name);
    }
    while let Some(name) = relay.unsubscribe_at_once() {
        broker.stop_relaying(&name);
    }
    relay.finish_read(now);
}

/// What the broker's clients published, in order.
fn relay_published(broker: &mut Broker, relay: &mut Relay, now: Time) {
    take_published(broker, relay, now);
    relay.finish_read(now);
}

/// The same within a read; returns where the last of them stands, if anyone wants it.
fn take_published(broker: &mut Broker, relay: &mut Relay, now: Time) -> Option<Position> {
    let mut last = None;
    for message in broker.published() {
        last = relay.message(now, message.channel, message.payload).map(|(_, position)| position);
    }
    broker.clear_published();
    last
}

fn broker(options: EmbeddedOptions, limits: &Limits, counters: Arc<ReaderCounters>) -> Broker {
    Broker::new(BrokerOptions {
        memory_bytes: limits.broker_memory_bytes,
        clients_max: limits.broker_clients,
        message_bytes: limits.message_bytes,
        output_bytes_max: BROKER_OUTPUT_BYTES,
        buffer_bytes_max: BROKER_BUFFER_BYTES,
        password: options.password.map(|password| password.reveal().as_bytes().into()),
        version: env!("CARGO_PKG_VERSION"),
        wall_clock: options.wall_clock,
        counters,
    })
}
