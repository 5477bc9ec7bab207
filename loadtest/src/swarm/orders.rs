//! What the run tells a swarm process and hears from it: one JSON value a line, over its standard input and output.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::statistics::Buckets;

/// The first line: who is to be subscribed to what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    pub target: SocketAddr,
    /// The `Host` header.
    pub host: String,
    /// Request targets, in turn: subscriber `n` takes number `n` modulo their count.
    pub paths: Vec<String>,
    pub payload_bytes: usize,
    /// The sequence number of the first message that counts; those before it warm up.
    pub owed_from: u64,
    /// How long to rest after fewer messages than are worth a look, in microseconds.
    pub rest_micros: u64,
    /// Which of the swarm's processes this is; decides its source addresses.
    pub process: u8,
}

/// The further lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Be `subscribers` in all.
    Connect { subscribers: usize },
    /// Report and end; `published` messages went out in all.
    Finish { published: u64 },
}

/// What a swarm process says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    Connected(Connected),
    /// Every subscriber has, or can no longer get, every message before this one.
    Frontier {
        next: u64,
    },
    Finished(Tally),
}

/// How far connecting has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connected {
    /// Subscribers whose stream is open.
    pub live: usize,
    /// Connections that were refused, answered otherwise, or ended.
    pub failed: usize,
    /// Why the first of them failed.
    pub reason: Option<String>,
}

/// What all subscribers of a process had, from the first message that counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Messages that had to arrive.
    pub expected: u64,
    /// Messages that arrived, each counted once for its subscriber.
    pub delivered: u64,
    pub lost: u64,
    pub repeated: u64,
    /// Messages that came after a later one.
    pub reordered: u64,
    /// Data that was no message of the run, or was altered.
    pub foreign: u64,
    /// Times that the server said that messages are missing.
    pub gaps_stated: u64,
    /// Streams that ended before the run did.
    pub disconnected: u64,
    pub latencies: Buckets,
}

impl Tally {
    /// Adds another process's counts; the latencies are merged by whoever shows them.
    pub fn add(&mut self, other: &Self) {
        self.expected += other.expected;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.reordered += other.reordered;
        self.foreign += other.foreign;
        self.gaps_stated += other.gaps_stated;
        self.disconnected += other.disconnected;
    }

    /// Whether every subscriber had every message once, in order and unaltered.
    pub fn is_flawless(&self) -> bool {
        let faults = self.lost + self.repeated + self.reordered + self.foreign + self.disconnected;
        faults == 0 && self.delivered == self.expected
    }
}
