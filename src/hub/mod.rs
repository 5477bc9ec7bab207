//! Who hears what on one shard: channels, their logs, and the cursors that stand in them.
//!
//! A channel has one stream for each wire format that somebody listens in: a log of encoded frames and the list of its
//! subscriptions. A subscription is a cursor into that log, 24 bytes; what a subscriber is owed is the slice from its
//! cursor to the log's end. Appending costs nothing per subscriber: it starts a *round*, in which every subscription of
//! the stream is visited once more, a volley at a time, by whoever calls [`Hub::next_visit`].
//!
//! Knows nothing of sockets, protocols or HTTP: a wire format is an index, a connection is its slot.
//!
//! Invariants: `behind` of a stream is the number of its live cursors below the log's end, and of those passed over; a log without anybody behind
//! and outside a round owns no buffer; a stream without subscriptions, and a channel without streams, does not exist.
//! Slices handed out for a volley stay valid until [`Hub::tidy`]: only there are frames dropped.

mod oldest;
mod rounds;
mod skips;
mod streams;
mod subscribers;

use std::collections::VecDeque;

use crate::base::channel::{ChannelMode, ChannelName, PayloadMode};
use crate::base::log::{Offset, Spares};
use crate::base::names::Names;
use crate::base::position::Position;
use crate::base::queue::ChannelKey;
use crate::base::slab::{Key, Slab};
use crate::base::socket::Slot;
use crate::base::time::Time;

use oldest::Oldest;
use skips::Skips;
pub use skips::{Lag, Missed};
use streams::Counted;
pub use streams::{Owed, Stream};

/// How many wire formats a channel may be encoded in.
pub const FORMATS_MAX: usize = 4;

/// An index into the hub's subscriptions; `NO_SUBSCRIPTION` ends a connection's list.
pub type SubscriptionIndex = u32;

pub const NO_SUBSCRIPTION: SubscriptionIndex = u32::MAX;

#[derive(Debug)]
pub struct Hub {
    channels: Slab<Channel>,
    names: Names,
    streams: Slab<Stream>,
    /// Room for as many as the shard may have connections is reserved at the start and faulted in as it is used.
    subscriptions: Vec<Subscription>,
    free: SubscriptionIndex,
    subscription_count: usize,
    /// Everything up to here has come out of the queue.
    position: Position,
    /// Streams in a round, and those to look at in `tidy`.
    rounds: VecDeque<Key>,
    untidy: Vec<Key>,
    oldest: Oldest,
    skips: Skips,
    spares: Spares,
    log_bytes: usize,
    /// Bytes appended since no stream was in a round: what limits the intake.
    round_bytes: usize,
    counted: Counted,
    bounds: Bounds,
}

/// The bounds of the logs, and what to expect, from `limits`.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of one log after a round.
    pub lag_bytes: usize,
    /// Bytes of all logs.
    pub log_bytes: usize,
    /// So many subscriptions have their place reserved; more make the table move.
    pub reserved_subscriptions: usize,
}

#[derive(Debug)]
pub struct Channel {
    name: ChannelName,
    mode: ChannelMode,
    state: ChannelState,
    /// The first of its streams, or `NO_STREAM`: there is one for each wire format that is listened in, and mostly one.
    streams: u32,
}

const _: () = assert!(size_of::<Channel>() == 24);

/// Ends a channel's list of streams.
const NO_STREAM: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChannelState {
    /// The reader has been asked and has not answered.
    Joining,
    /// Every message of the channel reaches this shard.
    Live,
}

/// A cursor, and where to find it. 24 bytes: one for each connection and channel.
#[derive(Debug)]
struct Subscription {
    cursor: Offset,
    slot: Slot,
    /// The stream's index.
    stream: u32,
    /// Where this subscription stands in the stream's list.
    place: u32,
    /// The connection's next subscription; of a free entry, the next free one.
    next: SubscriptionIndex,
}

const _: () = assert!(size_of::<Subscription>() == 24);

/// The cursor of a subscription that is not live yet: it is owed nothing.
const NOT_LIVE: Offset = Offset::MAX;

/// The cursor of a subscription that is passed over: see [`skips`].
const SKIPPING: Offset = Offset::MAX - 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribed {
    pub subscription: SubscriptionIndex,
    pub channel: ChannelKey,
}

/// A channel that nobody on this shard listens to any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    pub channel: ChannelKey,
    pub name: ChannelName,
}

impl Hub {
    pub fn new(bounds: Bounds) -> Self {
        Self {
            channels: Slab::default(),
            names: Names::default(),
            streams: Slab::default(),
            subscriptions: Vec::with_capacity(bounds.reserved_subscriptions),
            free: NO_SUBSCRIPTION,
            subscription_count: 0,
            position: Position::ZERO,
            rounds: VecDeque::new(),
            untidy: Vec::new(),
            oldest: Oldest::default(),
            skips: Skips::default(),
            spares: Spares::default(),
            log_bytes: 0,
            round_bytes: 0,
            counted: Counted::default(),
            bounds,
        }
    }

    /// Subscribes a connection to a channel in a wire format. `next` is the head of the connection's list so far; the
    /// new subscription becomes its head. It is owed nothing until `start_at_end` or `start_after`.
    pub fn subscribe(
        &mut self,
        name: &ChannelName,
        mode: ChannelMode,
        format: usize,
        slot: Slot,
        next: SubscriptionIndex,
    ) -> Subscribed {
        let channel = self.channel(name, mode);
        let stream = self.stream(channel, format);
        let place = self.streams.at(stream).subscriber_count();
        let subscription = self.insert(Subscription { cursor: NOT_LIVE, slot, stream, place, next });
        self.streams.at_mut(stream).insert(subscription);
        self.subscription_count += 1;
        Subscribed { subscription, channel }
    }

    /// Ends a subscription. The caller has taken it out of its connection's list, or drops that list whole. Returns the
    /// channel, if nobody listens to it any more, and a connection that must be visited, since the round under way may
    /// pass it over.
    pub fn unsubscribe(&mut self, subscription: SubscriptionIndex) -> (Option<Left>, Option<Slot>) {
        let Subscription { stream, place, cursor, .. } = self.subscriptions[subscription as usize];
        let moved = self.streams.at_mut(stream).remove(place, cursor);
        if let Some(moved) = moved {
            self.subscriptions[moved as usize].place = place;
        }
        if cursor == SKIPPING {
            self.skips.end(subscription);
        }
        self.subscriptions[subscription as usize].next = self.free;
        self.free = subscription;
        self.subscription_count -= 1;
        self.untidy.push(self.streams.key_at(stream));
        let stream_entry = self.streams.at(stream);
        if stream_entry.subscriber_count() > 0 {
            let moved = moved.filter(|_| stream_entry.is_in_round());
            return (None, moved.map(|moved| self.slot_of(moved)));
        }
        (self.drop_stream(stream), None)
    }

    /// The reader has answered: every message of the channel after `position` reaches this shard.
    pub fn joined(&mut self, channel: ChannelKey, position: Position) {
        self.advance(position);
        let Some(entry) = self.channels.get_mut(channel) else { return };
        if entry.state == ChannelState::Joining {
            entry.state = ChannelState::Live;
            // What the logs have seen before is nothing: they are complete from here on.
            let mut stream = entry.streams;
            while stream != NO_STREAM {
                let entry = self.streams.at_mut(stream);
                entry.begin_at(position);
                stream = entry.sibling();
            }
        }
    }

    /// The reader no longer hears this channel: who comes next must ask it.
    pub fn unheard(&mut self, channel: ChannelKey) {
        if let Some(entry) = self.channels.get_mut(channel) {
            entry.state = ChannelState::Joining;
        }
    }

    /// Whether messages of this channel reach the shard.
    pub fn is_live(&self, channel: ChannelKey) -> bool {
        self.channels.get(channel).is_some_and(|channel| channel.state == ChannelState::Live)
    }

    /// Everything up to `position` has come out of the queue.
    pub fn advance(&mut self, position: Position) {
        self.position = self.position.max(position);
    }

    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether the shard itself knows every message of the subscription's channel after `position`.
    ///
    /// Not if the position lies ahead of this shard: the client got it from a shard that was faster, and what comes
    /// out of the queue next may be what it already has.
    pub fn reaches_back_to(&self, subscription: SubscriptionIndex, position: Position) -> bool {
        let stream = self.stream_of(subscription);
        let channel = self.channels.at(stream.channel());
        channel.state == ChannelState::Live && stream.begin() <= position && position <= self.position
    }

    /// The subscription is owed what comes from now on.
    pub fn start_at_end(&mut self, subscription: SubscriptionIndex) {
        let end = self.stream_of(subscription).log().end();
        self.set_cursor(subscription, end);
    }

    /// The subscription is owed what its stream has after `position`.
    pub fn start_after(&mut self, subscription: SubscriptionIndex, position: Position) {
        let cursor = self.stream_of(subscription).offset_after(position);
        self.set_cursor(subscription, cursor);
    }

    /// Appends a message to every stream of its channel: `encode` is called once for each wire format that is listened
    /// in, and its frame starts a round.
    // Hot: once per message; nothing here costs per subscriber.
    pub fn append(
        &mut self,
        channel: ChannelKey,
        position: Position,
        at: Time,
        mut encode: impl FnMut(usize, &ChannelName, PayloadMode, &mut Vec<u8>),
    ) {
        self.advance(position);
        let Some(entry) = self.channels.get(channel) else { return };
        let mut next = entry.streams;
        while next != NO_STREAM {
            let key = self.streams.key_at(next);
            let stream = self.streams.at_mut(next);
            let format = stream.format();
            next = stream.sibling();
            let length = stream.append(position, at, &mut self.spares, |bytes| {
                encode(format, &entry.name, entry.mode.payload, bytes)
            });
            self.log_bytes += length;
            self.round_bytes += length;
            if stream.start_round(at) {
                self.oldest.forget(key.index, stream);
                self.rounds.push_back(key);
            }
        }
    }

    /// How many subscriptions of the channel are owed what is appended to it.
    pub fn listeners(&self, channel: ChannelKey) -> u64 {
        let mut next = self.channels.get(channel).map_or(NO_STREAM, |channel| channel.streams);
        let mut listeners = 0;
        while next != NO_STREAM {
            let stream = self.streams.at(next);
            listeners += u64::from(stream.live());
            next = stream.sibling();
        }
        listeners
    }

    pub fn name(&self, channel: ChannelKey) -> Option<&ChannelName> {
        self.channels.get(channel).map(|channel| &channel.name)
    }

    /// The channel of a subscription, with its name and what its payloads are.
    pub fn channel_of(&self, subscription: SubscriptionIndex) -> (ChannelKey, &ChannelName, PayloadMode) {
        let index = self.stream_of(subscription).channel();
        let channel = self.channels.at(index);
        (self.channels.key_at(index), &channel.name, channel.mode.payload)
    }

    pub fn slot_of(&self, subscription: SubscriptionIndex) -> Slot {
        self.subscriptions[subscription as usize].slot
    }

    /// The connections that listen to a channel.
    pub fn slots_of(&self, name: &ChannelName) -> Vec<Slot> {
        let mut slots = Vec::new();
        let found = self.names.find(name.as_bytes(), |index| self.channels.at(index).name.as_bytes());
        let mut stream = found.map_or(NO_STREAM, |index| self.channels.at(index).streams);
        while stream != NO_STREAM {
            let entry = self.streams.at(stream);
            slots.extend(entry.subscribers().iter().map(|&subscription| self.slot_of(subscription)));
            stream = entry.sibling();
        }
        slots
    }

    /// The connection's subscription after this one.
    pub fn next_of(&self, subscription: SubscriptionIndex) -> SubscriptionIndex {
        self.subscriptions[subscription as usize].next
    }

    /// The head of the connection's list without one subscription, which is in it.
    pub fn without(&mut self, head: SubscriptionIndex, subscription: SubscriptionIndex) -> SubscriptionIndex {
        let next = self.next_of(subscription);
        if head == subscription {
            return next;
        }
        let mut before = head;
        while self.next_of(before) != subscription {
            before = self.next_of(before);
            assert!(before != NO_SUBSCRIPTION, "the subscription is in its connection's list");
        }
        self.subscriptions[before as usize].next = next;
        head
    }

    /// The wire format of a subscription, as the index it was subscribed with.
    pub fn format_of(&self, subscription: SubscriptionIndex) -> usize {
        self.stream_of(subscription).format()
    }

    pub fn channel_count(&self) -> usize {
        self.channels.len()
    }

    pub fn subscription_count(&self) -> usize {
        self.subscription_count
    }

    pub fn log_bytes(&self) -> usize {
        self.log_bytes
    }

    /// Whether the shard has the channel already.
    pub fn has_channel(&self, name: &ChannelName) -> bool {
        self.names.find(name.as_bytes(), |index| self.channels.at(index).name.as_bytes()).is_some()
    }

    /// The names of the shard's channels, in the order of their keys: for tests that compare it with the router.
    pub fn channel_names(&self) -> impl Iterator<Item = &ChannelName> {
        self.channels.iter().map(|(_, channel)| &channel.name)
    }

    fn channel(&mut self, name: &ChannelName, mode: ChannelMode) -> ChannelKey {
        let found = self.names.find(name.as_bytes(), |index| self.channels.at(index).name.as_bytes());
        if let Some(index) = found {
            return self.channels.key_at(index);
        }
        let channel = Channel { name: name.clone(), mode, state: ChannelState::Joining, streams: NO_STREAM };
        let key = self.channels.insert(channel);
        self.names.insert(key.index, |index| self.channels.at(index).name.as_bytes());
        key
    }

    fn stream(&mut self, channel: ChannelKey, format: usize) -> u32 {
        let entry = self.channels.at_mut(channel.index);
        let mut stream = entry.streams;
        while stream != NO_STREAM {
            let of_channel = self.streams.at(stream);
            if of_channel.format() == format {
                return stream;
            }
            stream = of_channel.sibling();
        }
        let stream = Stream::new(channel.index, format, self.position, entry.streams);
        entry.streams = self.streams.insert(stream).index;
        entry.streams
    }

    fn drop_stream(&mut self, stream: u32) -> Option<Left> {
        let key = self.streams.key_at(stream);
        let mut stream = self.streams.remove(key).expect("the stream is in use");
        self.oldest.forget(key.index, &mut stream);
        self.log_bytes -= stream.clear(&mut self.spares);
        let channel = self.channels.key_at(stream.channel());
        self.unlink(channel, key.index, stream.sibling());
        if self.channels.at(channel.index).streams != NO_STREAM {
            return None;
        }
        let entry = self.channels.remove(channel).expect("a stream's channel exists as long as the stream");
        self.names.remove(channel.index, entry.name.as_bytes());
        Some(Left { channel, name: entry.name })
    }

    /// Takes a stream that was removed out of its channel's list, where `next` stands behind it.
    fn unlink(&mut self, channel: ChannelKey, stream: u32, next: u32) {
        let entry = self.channels.at_mut(channel.index);
        if entry.streams == stream {
            entry.streams = next;
            return;
        }
        let mut before = entry.streams;
        while self.streams.at(before).sibling() != stream {
            before = self.streams.at(before).sibling();
        }
        self.streams.at_mut(before).set_sibling(next);
    }

    fn insert(&mut self, subscription: Subscription) -> SubscriptionIndex {
        if self.free == NO_SUBSCRIPTION {
            let index = u32::try_from(self.subscriptions.len()).expect("fewer than 2^32 subscriptions");
            self.subscriptions.push(subscription);
            return index;
        }
        let index = self.free;
        self.free = self.subscriptions[index as usize].next;
        self.subscriptions[index as usize] = subscription;
        index
    }

    fn set_cursor(&mut self, subscription: SubscriptionIndex, cursor: Offset) {
        let Subscription { stream, cursor: before, .. } = self.subscriptions[subscription as usize];
        self.subscriptions[subscription as usize].cursor = cursor;
        debug_assert!(
            self.streams.at(stream).log().is_boundary(cursor),
            "a cursor always stands between two frames"
        );
        if before == SKIPPING {
            self.skips.end(subscription);
        }
        if self.streams.at_mut(stream).moved(before, cursor) && before != NOT_LIVE {
            self.untidy.push(self.streams.key_at(stream));
        }
    }

    fn stream_of(&self, subscription: SubscriptionIndex) -> &Stream {
        self.streams.at(self.subscriptions[subscription as usize].stream)
    }
}

#[cfg(test)]
mod tests;
