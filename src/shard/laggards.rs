//! Who reads slowly, for an operator who asks.
//!
//! Not on the data path and nothing is kept for it: a look at each row when somebody asks, and at what the slow ones are
//! owed. Slow is whose socket is full at present: who has only not had its turn yet is not.

use std::time::Duration;

use crate::base::channel::ChannelName;
use crate::base::number::small;
use crate::base::socket::{Slot, SocketKey};
use crate::base::time::Time;
use crate::hub::NO_SUBSCRIPTION;

use super::Shard;
use super::row::{Flags, NO_TAIL, State};

/// A stream whose client does not take what it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Laggard {
    pub socket: SocketKey,
    /// All that it listens to, in no particular order.
    pub channels: Vec<ChannelName>,
    /// How many bytes it is behind by: what is kept for it, and of a channel that passes it over the whole log.
    pub bytes: usize,
    /// How long ago the first message came that it has not got whole.
    pub lag: Duration,
}

impl Shard {
    /// How many there are, and those who are behind by the most bytes, worst first.
    pub fn laggards(&self, now: Time, most: usize) -> (usize, Vec<Laggard>) {
        let slots = (0..self.rows.len()).map(|row| Slot(small(row)));
        let mut found: Vec<(usize, Duration, Slot)> =
            slots.filter_map(|slot| self.lag(now, slot).map(|(bytes, lag)| (bytes, lag, slot))).collect();
        let count = found.len();
        found.sort_unstable_by(|one, other| other.cmp(one));
        found.truncate(most);
        let laggard = |(bytes, lag, slot)| Laggard {
            socket: self.key(slot),
            channels: self.channels_of(slot),
            bytes,
            lag,
        };
        (count, found.into_iter().map(laggard).collect())
    }

    /// By how much a stream is behind whose socket is full.
    fn lag(&self, now: Time, slot: Slot) -> Option<(usize, Duration)> {
        let row = &self.rows[slot.index()];
        if !row.flags.has(Flags::BLOCKED) || !matches!(row.state, State::Live | State::Joining(_)) {
            return None;
        }
        let (mut bytes, mut since) = (0, now);
        if row.tail != NO_TAIL {
            bytes += self.tails.rest(row.tail).len();
            since = since.min(self.tails.since(row.tail));
        }
        let mut subscription = row.subscriptions;
        while subscription != NO_SUBSCRIPTION {
            if let Some(lag) = self.hub.lag(subscription) {
                bytes += lag.bytes;
                since = since.min(lag.since);
            }
            subscription = self.hub.next_of(subscription);
        }
        // A full socket that was only to get a heartbeat is not behind.
        (bytes > 0).then(|| (bytes, now.since(since)))
    }

    fn channels_of(&self, slot: Slot) -> Vec<ChannelName> {
        let mut channels = Vec::new();
        let mut subscription = self.rows[slot.index()].subscriptions;
        while subscription != NO_SUBSCRIPTION {
            channels.push(self.hub.channel_of(subscription).1.clone());
            subscription = self.hub.next_of(subscription);
        }
        channels
    }
}
