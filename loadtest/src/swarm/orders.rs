//! What the run tells a swarm process and hears from it: one JSON value a line, over its standard input and output.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::statistics::Buckets;
use crate::swarm::resume::{Resume, Returns};

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
    /// How subscribers come back whose streams end; none where an end is the end.
    pub resume: Option<Resume>,
    /// The server's heartbeat interval in microseconds, to say how its beats are spread over it; 0: no heartbeats.
    pub beat_micros: u64,
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
    /// All of them, so often, and not more than so many bytes of each: subscribers that are slower than the messages.
    Slowly { every_micros: u64, bytes: usize },
}

impl Look {
    /// Of many processes each has less to do, and must not be woken for each message of it.
    pub fn of_one_among(self, processes: usize) -> Self {
        match self {
            Self::WhenReported { rest_micros } => {
                Self::WhenReported { rest_micros: rest_micros.saturating_mul(processes as u64) }
            }
            Self::Regularly { .. } | Self::Slowly { .. } => self,
        }
    }
}

/// The further lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Be `subscribers` in all.
    Connect { subscribers: usize },
    /// Read whatever comes from now on, also where it was done slowly.
    Hurry,
    /// Times of those who come back count from here.
    Mark { nanos: u64 },
    /// Begin to cut streams, or cut no more.
    Cutting { is_on: bool },
    /// Say who has left and who has come back.
    Returns,
    /// Say how many heartbeats have come.
    Beats,
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
    Returns(Returns),
    Beats(Beats),
    Finished(Tally),
}

/// Heartbeats so far, by where in the interval they came: 20 equal parts of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beats([u64; Self::PARTS]);

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

impl Beats {
    pub const PARTS: usize = 20;

    /// Notes a heartbeat that came at `now` of the clock that all processes share.
    pub fn note(&mut self, now_nanos: u64, interval_micros: u64) {
        let interval = interval_micros.max(1) * 1_000;
        let part = u128::from(now_nanos % interval) * Self::PARTS as u128 / u128::from(interval);
        self.0[usize::try_from(part).expect("a part of the interval")] += 1;
    }

    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, count)| *sum += count);
    }

    /// Those that came since.
    pub fn since(&self, before: &Self) -> Self {
        Self(std::array::from_fn(|part| self.0[part] - before.0[part]))
    }

    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// How many came in the part with most.
    pub fn most(&self) -> u64 {
        self.0.iter().copied().max().unwrap_or_default()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_are_counted_by_where_in_the_interval_they_come() {
        let (mut beats, before) = (Beats::default(), Beats::default());
        // An interval of 20 us: one part is a microsecond, and the second interval lies on the first.
        for nanos in [0, 999, 1_000, 19_999, 20_000, 39_999] {
            beats.note(nanos, 20);
        }
        assert_eq!((beats.count(), beats.most()), (6, 3));
        let mut since = beats.since(&before);
        since.add(&beats);
        assert_eq!((since.count(), since.most()), (12, 6));
    }
}
