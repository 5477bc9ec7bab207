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
    /// What a subscriber asks for. `{number}` in it stands for the subscriber's number in the whole swarm: then each has
    /// a channel of its own.
    pub path: String,
    pub payload_bytes: usize,
    /// The sequence number of the first message that counts; those before it warm up.
    pub owed_from: u64,
    /// How the subscribers come to know that there is something to read.
    pub look: Look,
    /// How many connections are opened at a time: fewer than a listener's queue holds, so that none waits a second for
    /// its SYN to be sent again.
    pub opening_max: usize,
    /// Which of the swarm's processes this is; decides its source addresses.
    pub process: u8,
    /// How many processes there are. They take the numbers in turn, so that all numbers up to the count of subscribers
    /// are used, however many there are to be.
    pub processes: u16,
}

impl Plan {
    /// What stands for a subscriber's number in a path.
    pub const NUMBER: &str = "{number}";
}

/// When a socket is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Look {
    /// When the kernel reports it; after fewer messages than are worth a look, a rest of so many microseconds. For very
    /// many subscribers, of which most have nothing to read.
    WhenReported { rest_micros: u64 },
    /// All of them, every so many microseconds. For few subscribers that always have something to read: nobody is
    /// woken, nothing is reported, and one read takes all that came in between.
    Regularly { every_micros: u64 },
}

impl Look {
    /// Of many processes each has less to do, and must not be woken for each message of it.
    pub fn of_one_among(self, processes: usize) -> Self {
        match self {
            Self::WhenReported { rest_micros } => {
                Self::WhenReported { rest_micros: rest_micros.saturating_mul(processes as u64) }
            }
            Self::Regularly { .. } => self,
        }
    }
}

/// The further lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Be `subscribers` in all.
    Connect { subscribers: usize },
    /// Say how many messages have arrived.
    Count,
    /// Forget the latencies so far: they were of warming up.
    ForgetLatencies,
    /// Report, and begin a new count here.
    Cut { published: Published },
    /// Report and end.
    Finish { published: Published },
}

/// How many messages went out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Published {
    /// To the one channel of all subscribers.
    ToAll(u64),
    /// To each subscriber's own channel, in their order.
    ToEach(Vec<u64>),
}

impl Published {
    /// To the channel of the subscriber at `index`.
    pub fn to(&self, index: usize) -> u64 {
        match self {
            Self::ToAll(count) => *count,
            Self::ToEach(counts) => counts.get(index).copied().unwrap_or_default(),
        }
    }
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
    /// So many messages have arrived, each counted once for its subscriber.
    Counted {
        delivered: u64,
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

/// What all subscribers of a process had, from the first message that counts up to the end of the count.
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
    /// Streams that ended before the run did; also those of earlier counts.
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
