//! The channels that the reader knows, and how each stands with the upstream.
//!
//! A channel that is in no state here is idle: nobody wants it and nothing is known of it. Names are found by hash;
//! order never comes from the hash but from the slab, so a run repeats exactly. Knows nothing of routes or of bytes. Names
//! are found behind a secret: clients choose them, and must not be able to choose names that collide.
//!
//! Invariants: each name has one channel and each channel one name; `resubscribing` and `unsubscribing` count the
//! channels in that state.
//! Cost: finding a channel is one hash of its name.

use crate::base::channel::ChannelName;
use crate::base::names::Names;
use crate::base::position::Position;
use crate::base::queue::{ChannelKey, ShardIndex, Since};
use crate::base::slab::{Key, Slab};
use crate::base::socket::SocketKey;
use crate::base::time::Time;

/// One use of one entry of the reader's table of channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ChannelId(Key);

#[derive(Debug)]
pub(super) struct Channels {
    names: Names,
    channels: Slab<Channel>,
    resubscribing: usize,
    unsubscribing: usize,
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: ChannelName,
    state: State,
    /// When the last route went; of meaning only while there is none.
    pub(super) left_at: Time,
    /// True exactly while the deadlines of lingering have an entry for this channel.
    pub(super) is_timed: bool,
    /// True exactly while the deadlines of forbidden channels have an entry for this one.
    pub(super) is_retried: bool,
}

const _: () = assert!(size_of::<Channel>() <= 48, "there is one for each channel");

#[derive(Debug)]
pub(super) enum State {
    /// SUBSCRIBE is to be sent or under way. Those who joined wait for its acknowledgement.
    #[allow(clippy::box_collection)] // A list in place is 16 bytes more, for every channel at rest.
    Subscribing { waiters: Box<Vec<Waiter>> },
    /// Acknowledged, and some shard wants it.
    Live,
    /// Acknowledged, and no shard wants it; its history goes on.
    Lingering,
    /// UNSUBSCRIBE is to be sent, or under way.
    Unsubscribing { is_sent: bool },
    /// The upstream was lost after this position: SUBSCRIBE is to be sent when it is back, or under way. Those who
    /// join are answered at once, with a gap.
    Resubscribing { lost_at: Position },
    /// The upstream was lost after this position and has since not let us read the channel, which shards still want.
    /// Those who join are answered at once, with a gap. `is_asked`: SUBSCRIBE is to be sent again, or under way.
    Forbidden { lost_at: Position, is_asked: bool },
}

/// A join that is not answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) shard: ShardIndex,
    pub(super) channel: ChannelKey,
    pub(super) connection: SocketKey,
    pub(super) since: Since,
}

impl ChannelId {
    pub(super) fn index(self) -> usize {
        self.0.index as usize
    }
}

impl Channels {
    pub(super) fn new(seed: u64) -> Self {
        Self { names: Names::seeded(seed), channels: Slab::default(), resubscribing: 0, unsubscribing: 0 }
    }

    // Hot: once per message; one hash.
    pub(super) fn find(&self, name: &[u8]) -> Option<ChannelId> {
        let index = self.names.find(name, |index| self.channels.at(index).name.as_bytes())?;
        Some(ChannelId(self.channels.key_at(index)))
    }

    pub(super) fn insert(&mut self, name: ChannelName, state: State, now: Time) -> ChannelId {
        self.count(&state, 1);
        let channel = Channel { name, state, left_at: now, is_timed: false, is_retried: false };
        let id = ChannelId(self.channels.insert(channel));
        self.names.insert(id.0.index, |index| self.channels.at(index).name.as_bytes());
        id
    }

    pub(super) fn remove(&mut self, id: ChannelId) -> Channel {
        let channel = self.channels.remove(id.0).expect("a channel that is removed is there");
        self.names.remove(id.0.index, channel.name.as_bytes());
        self.count(&channel.state, -1);
        channel
    }

    /// The channel, unless its id is stale.
    pub(super) fn get(&self, id: ChannelId) -> Option<&Channel> {
        self.channels.get(id.0)
    }

    pub(super) fn get_mut(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.channels.get_mut(id.0)
    }

    /// The state of a channel that is there.
    pub(super) fn state(&self, id: ChannelId) -> &State {
        &self.channels.get(id.0).expect("the channel is there").state
    }

    /// Those who wait for the acknowledgement, if it is awaited.
    pub(super) fn waiters(&mut self, id: ChannelId) -> Option<&mut Vec<Waiter>> {
        match &mut self.channels.get_mut(id.0)?.state {
            State::Subscribing { waiters } => Some(waiters.as_mut()),
            State::Live
            | State::Lingering
            | State::Unsubscribing { .. }
            | State::Resubscribing { .. }
            | State::Forbidden { .. } => None,
        }
    }

    /// Changes the state of a channel that is there; returns the one before.
    pub(super) fn change(&mut self, id: ChannelId, state: State) -> State {
        self.count(&state, 1);
        let channel = self.channels.get_mut(id.0).expect("the channel is there");
        let before = std::mem::replace(&mut channel.state, state);
        self.count(&before, -1);
        before
    }

    /// All channels, in an order that is the same in every run.
    pub(super) fn ids(&self) -> impl Iterator<Item = ChannelId> {
        self.channels.iter().map(|(key, _)| ChannelId(key))
    }

    /// How many channels were lost with the upstream and are not acknowledged again.
    pub(super) fn resubscribing(&self) -> usize {
        self.resubscribing
    }

    /// How many channels are about to end.
    pub(super) fn unsubscribing(&self) -> usize {
        self.unsubscribing
    }

    pub(super) fn len(&self) -> usize {
        self.channels.len()
    }

    fn count(&mut self, state: &State, change: isize) {
        let count = match state {
            State::Resubscribing { .. } => &mut self.resubscribing,
            State::Unsubscribing { .. } => &mut self.unsubscribing,
            State::Subscribing { .. } | State::Live | State::Lingering | State::Forbidden { .. } => return,
        };
        *count = count.checked_add_signed(change).expect("as many channels leave a state as enter it");
    }
}
