//! Machine one: turns upstream bytes into messages in order. One a process.
//!
//! This file dispatches; what happens lies in the files beside it: `redis` (the two connections), `channels` (which
//! channels are subscribed), `sequence` (the one counter), `history` (what may be replayed), `router` (which shard
//! wants what). Nothing here does I/O, reads a clock or draws randomness: see [`input`].

pub mod broker;
pub mod input;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::counters::ReaderCounters;
use crate::base::limits::Limits;
use crate::base::position::Epoch;
use crate::base::queue::{Delivery, ShardIndex};
use crate::base::socket::SocketKey;
use crate::base::time::Time;
use crate::reader::input::{Input, Link, Output};

/// The machine.
#[derive(Debug)]
pub struct Reader {
    options: ReaderOptions,
    outputs: VecDeque<Output>,
}

#[derive(Debug, Clone)]
pub struct ReaderOptions {
    pub upstream: Upstream,
    pub epoch: Epoch,
    pub limits: Limits,
    pub counters: Arc<ReaderCounters>,
    /// How many shards there are.
    pub shards: u16,
    /// Of the jitter and of the hash of channel names.
    pub seed: u64,
    /// The time at which the machine is made.
    pub start: Time,
}

/// Where messages come from.
#[derive(Debug, Clone)]
pub enum Upstream {
    Redis(RedisOptions),
    /// Clients of courier's own broker.
    Embedded,
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

/// A password: never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The password itself, to be sent and not to be shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

impl Reader {
    pub fn new(options: ReaderOptions) -> Self {
        let outputs = match &options.upstream {
            Upstream::Redis(_) => {
                VecDeque::from([Output::Dial { link: Link::Push }, Output::Dial { link: Link::Ask }])
            }
            Upstream::Embedded => VecDeque::new(),
        };
        Self { options, outputs }
    }

    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        let _ = (now, input, &self.options);
    }

    /// The next thing the driver shall do, in order.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next item for this shard's queue; the driver asks only while the queue has room.
    pub fn next_delivery(&mut self, shard: ShardIndex) -> Option<Delivery> {
        let _ = shard;
        None
    }

    /// A socket that has bytes to send and takes them. The driver sends `outgoing` and reports with `sent`.
    pub fn next_to_send(&mut self) -> Option<SocketKey> {
        None
    }

    pub fn outgoing(&self, socket: SocketKey) -> &[u8] {
        let _ = socket;
        &[]
    }

    /// The kernel took so many bytes of `outgoing`; fewer than all of them: the socket's buffer is full.
    pub fn sent(&mut self, now: Time, socket: SocketKey, bytes: usize) {
        let _ = (now, socket, bytes);
    }

    /// When `Input::Tick` is wanted, at the latest.
    pub fn next_deadline(&self) -> Option<Time> {
        None
    }
}
