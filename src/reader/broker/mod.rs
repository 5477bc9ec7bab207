//! The embedded broker: a small Redis-compatible server, so that `redis-cli PUBLISH` and every Redis client library
//! reach a courier that has no Redis behind it.
//!
//! A part of the reader's machine: bytes of its clients go in, answers lie ready per client, and what was published on
//! channels that courier relays is handed to the reader in order. It is a message broker with a few keys for locks and
//! settings; it is not a database: nothing is written to disk, nothing is evicted, there are no types but strings.
//!
//! Answers are those of Redis 7.0, byte for byte (`tests/broker_like_redis/` runs the same commands against a real
//! one), with these differences: commands that are not in the table are unknown; inline commands are refused, as a web
//! page can make a browser send them; a client that is owed more than its bound is closed whether it subscribes or not.
//!
//! Contract: after every call the reader carries out `next_output`, takes `published` and clears it. For each socket of
//! `next_to_send` it sends `outgoing` and reports with `sent`. The reader gives the generations, since the links to
//! Redis and the broker's clients live in one table of slots.

mod about;
mod clients;
mod command;
mod dispatch;
mod keys;
mod keyspace;
mod memory;
mod published;
mod pubsub;
mod session;
mod subscribe;
#[cfg(test)]
mod tests;
mod text;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use crate::base::channel::ChannelName;
use crate::base::counters::ReaderCounters;
use crate::base::socket::{HangUp, SocketKey};
use crate::base::time::{Time, UnixTime, WallClock};
use crate::reader::broker::clients::{Clients, State};
use crate::reader::broker::dispatch::request_bounds;
use crate::reader::broker::keyspace::Keyspace;
use crate::reader::broker::memory::Memory;
pub use crate::reader::broker::published::Published;
use crate::reader::broker::published::PublishedMessages;
use crate::reader::broker::pubsub::Subscriptions;
use crate::reader::input::Output;
use crate::wire::resp::answer::Answer;
use crate::wire::resp::request::{RequestBounds, Who};

#[derive(Debug)]
pub struct BrokerOptions {
    /// Keys, values, subscriptions and queued commands (`limits.broker_memory_bytes`).
    pub memory_bytes: usize,
    /// Clients at a time (`limits.broker_clients`).
    pub clients_max: usize,
    /// One argument of a command (`limits.message_bytes`); below 2^31.
    pub message_bytes: usize,
    /// What a client may be owed (`limits::BROKER_OUTPUT_BYTES`).
    pub output_bytes_max: usize,
    /// What all clients may be owed and have sent of incomplete requests (`limits::BROKER_BUFFER_BYTES`). Beyond: those
    /// with the most are closed.
    pub buffer_bytes_max: usize,
    /// Clients must `AUTH` with it.
    pub password: Option<Box<[u8]>>,
    /// courier's version, for `INFO`.
    pub version: &'static str,
    pub wall_clock: WallClock,
    pub counters: Arc<ReaderCounters>,
}

#[derive(Debug)]
pub struct Broker {
    options: BrokerOptions,
    clients: Clients,
    subscriptions: Subscriptions,
    keyspace: Keyspace,
    memory: Memory,
    published: PublishedMessages,
    /// Where the answer to a command is written before its client gets it; empty between commands.
    answer: Answer,
    bounds: RequestBounds,
    bounds_before_login: RequestBounds,
    started_at: Time,
}

impl Broker {
    pub fn new(options: BrokerOptions) -> Self {
        assert!(options.message_bytes < 1 << 31, "offsets in a request have 32 bits");
        Self {
            clients: Clients::new(options.output_bytes_max, options.buffer_bytes_max),
            subscriptions: Subscriptions::default(),
            keyspace: Keyspace::new(),
            memory: Memory::new(options.memory_bytes),
            published: PublishedMessages::default(),
            answer: Answer::default(),
            bounds: request_bounds(Who::LoggedIn, options.message_bytes),
            bounds_before_login: request_bounds(Who::NotLoggedIn, options.message_bytes),
            started_at: options.wall_clock.at,
            options,
        }
    }

    /// A client was accepted into the slot of `socket`.
    pub fn accepted(&mut self, now: Time, socket: SocketKey) {
        let is_full = self.clients.count() >= self.options.clients_max;
        let state = if is_full { State::Refused } else { State::Open };
        let client = self.clients.insert(now, socket, state);
        client.is_logged_in = self.options.password.is_none();
        if is_full {
            self.clients.append(socket, text::TOO_MANY_CLIENTS);
        }
        self.write_gauges();
    }

    /// Bytes from a client; nothing happens if `socket` is none of the broker's, or no longer.
    pub fn received(&mut self, now: Time, socket: SocketKey, bytes: &[u8]) {
        self.read_requests(now, socket, bytes);
        self.write_gauges();
    }

    /// The receive of the client's socket has ended.
    pub fn hung_up(&mut self, socket: SocketKey, cause: HangUp) {
        if self.clients.find(socket).is_some() {
            self.forget(socket);
            self.clients.hung_up(socket, cause);
        }
        self.write_gauges();
    }

    /// The client's socket takes bytes again.
    pub fn writable(&mut self, socket: SocketKey) {
        self.clients.writable(socket);
    }

    /// `Receive`, `AwaitWritable`, `Shutdown` or `Close`.
    pub fn next_output(&mut self) -> Option<Output> {
        self.clients.next_output()
    }

    /// The next client that something is to be sent to; each is named once, until `sent` or `writable`.
    pub fn next_to_send(&mut self) -> Option<SocketKey> {
        self.clients.next_to_send()
    }

    /// What is to be sent to the client.
    pub fn outgoing(&self, socket: SocketKey) -> &[u8] {
        self.clients.outgoing(socket)
    }

    /// So many bytes of `outgoing` were sent, perhaps none.
    pub fn sent(&mut self, socket: SocketKey, bytes: usize) {
        self.clients.sent(socket, bytes);
        self.write_gauges();
    }

    /// From here on, messages on this channel come out of `published`. At once: there is nothing to wait for.
    pub fn relay(&mut self, channel: &ChannelName) {
        self.subscriptions.relay(channel.shared_bytes());
    }

    /// The opposite of `relay`.
    pub fn stop_relaying(&mut self, channel: &ChannelName) {
        self.subscriptions.stop_relaying(channel.as_bytes());
    }

    /// What was published on relayed channels since `clear_published`, in order.
    pub fn published(&self) -> impl Iterator<Item = Published<'_>> {
        self.published.iter()
    }

    pub fn clear_published(&mut self) {
        self.published.clear();
    }

    /// Publishes for courier itself (`POST /publish`), to the broker's clients and to `published`; returns how many
    /// heard it, courier counting as one.
    pub fn publish(&mut self, channel: &[u8], payload: &[u8]) -> usize {
        self.subscriptions.publish(channel, payload, &mut self.clients, &mut self.published)
    }

    /// When the next key expires.
    pub fn next_deadline(&self) -> Option<Time> {
        let clock = self.options.wall_clock;
        let expired_at = UnixTime::from_millis(self.keyspace.next_expiry()?.max(0).unsigned_abs() + 1);
        Some(clock.time(clock.at, expired_at))
    }

    /// The time of `next_deadline` may have come.
    pub fn tick(&mut self, now: Time) {
        let now = self.wall_milliseconds(now);
        self.keyspace.expire(&mut self.memory, now);
        self.write_gauges();
    }

    /// Since the beginning of 1970.
    fn wall_time(&self, now: Time) -> Duration {
        let WallClock { at, unix } = self.options.wall_clock;
        Duration::from_millis(unix.as_millis()) + now.since(at)
    }

    fn write_gauges(&self) {
        let cells = &self.options.counters.cells;
        cells.broker_clients.set(self.clients.count() as u64);
        cells.broker_memory_bytes.set(self.memory.used() as u64);
    }
}

/// What the broker behaves like; client libraries choose what they send by it.
const REDIS_VERSION: &str = "7.0.15";
