//! Which shard wants which channel, and what waits for each shard.
//!
//! Of one read, each shard gets one batch; the batches share what the read gave, into which each payload that anyone
//! wants was copied once (the driver only lends the bytes it read). What a shard's queue does not take waits here, in order, up to
//! `limits.spill_bytes`; beyond, messages are dropped and owed as a gap. Nobody waits for anybody.
//!
//! Invariants: what a shard is given is in rising position; an answer to a join or a publish is never dropped; while a
//! shard is owed a gap it is given no messages, so the gap lies exactly where they are missing; `bytes` is the sum of
//! the outboxes' bytes.
//! Cost: a read copies what anyone wants once; neither a read nor a message allocates anything once it is warm.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::base::number::small;
use crate::base::position::Position;
use crate::base::queue::{Batch, ChannelKey, Delivery, Gap, GapReason, Message, Read, ShardIndex};
use crate::base::time::Time;
use crate::reader::channels::ChannelId;
use crate::reader::lent::Lent;
use crate::reader::overflows::Overflows;
use crate::reader::routes::{Route, Routes};
use crate::reader::sequence::Sequence;

#[derive(Debug)]
pub(super) struct Router {
    /// By the index of the channel's id.
    routes: Vec<Routes>,
    shards: Vec<Outbox>,
    /// What the read at hand has given so far.
    read: Read,
    /// Reads that the shards may still have, to be filled again.
    lent: Lent,
    overflows: Overflows,
    /// Bytes that wait, for all shards.
    bytes: usize,
    spill_bytes_max: usize,
}

/// What waits for one shard.
#[derive(Debug, Default)]
struct Outbox {
    waiting: VecDeque<Delivery>,
    /// The sum of the waiting items' `queue_bytes`.
    bytes: usize,
    owed: Option<Owed>,
}

/// Messages that were dropped.
#[derive(Debug)]
struct Owed {
    from: Position,
    channels: BTreeSet<ChannelKey>,
}

impl Router {
    pub(super) fn new(shards: u16, spill_bytes_max: usize) -> Self {
        Self {
            routes: Vec::new(),
            shards: (0..shards).map(|_| Outbox::default()).collect(),
            read: Read { messages: (0..shards).map(|_| Vec::new()).collect(), ..Read::default() },
            lent: Lent::default(),
            overflows: Overflows::default(),
            bytes: 0,
            spill_bytes_max,
        }
    }

    /// Adds the shard's route, or gives it its new key.
    pub(super) fn add(&mut self, channel: ChannelId, route: Route) {
        if channel.index() >= self.routes.len() {
            self.routes.resize_with(channel.index() + 1, Routes::default);
        }
        self.routes[channel.index()].add(route);
    }

    /// Removes the shard's route, unless it has another key by now. Whether there was one.
    pub(super) fn remove(&mut self, channel: ChannelId, route: Route) -> bool {
        self.routes.get_mut(channel.index()).is_some_and(|routes| routes.remove(route))
    }

    /// Removes all routes of the channel.
    pub(super) fn forget(&mut self, channel: ChannelId) {
        if let Some(routes) = self.routes.get_mut(channel.index()) {
            *routes = Routes::default();
        }
    }

    /// The shards that want the channel, in their order.
    pub(super) fn routes(&self, channel: ChannelId) -> &[Route] {
        self.routes.get(channel.index()).map_or(&[], Routes::as_slice)
    }

    /// Puts one message into the batches at hand.
    // Hot: once per message; one copy of the payload here, whatever the number of shards.
    pub(super) fn route(&mut self, channel: ChannelId, position: Position, payload: &[u8]) {
        let Some(routes) = self.routes.get(channel.index()) else { return };
        let routes = routes.as_slice();
        if routes.is_empty() {
            return;
        }
        let start = small(self.read.chunk.len());
        self.read.chunk.extend_from_slice(payload);
        let length = small(payload.len());
        for route in routes {
            let message = Message { channel: route.channel, position, start, length };
            self.read.messages[route.shard.index()].push(message);
        }
    }

    /// Closes the batches at hand. Returns the shards that from here on are owed a gap.
    pub(super) fn seal(&mut self, received_at: Time) -> SmallVec<[ShardIndex; 1]> {
        let mut overflowed = SmallVec::new();
        if self.read.messages.iter().all(Vec::is_empty) {
            return overflowed;
        }
        self.read.received_at = received_at;
        let read = self.lent.share(&mut self.read);
        for index in (0..).take(self.shards.len()).map(ShardIndex) {
            if read.messages[index.index()].is_empty() {
                continue;
            }
            let batch = Batch::new(Arc::clone(&read), index);
            let shard = &mut self.shards[index.index()];
            if shard.takes(batch.queue_bytes(), self.spill_bytes_max) {
                self.put(index, Delivery::Batch(batch));
            } else if shard.owe(&batch) {
                overflowed.push(index);
            }
        }
        self.lent.keep(read);
        overflowed
    }

    /// Puts an item behind everything that waits for the shard. The batches at hand must have been sealed.
    pub(super) fn push(&mut self, shard: ShardIndex, delivery: Delivery) {
        assert!(self.read.messages[shard.index()].is_empty(), "messages that came before go before");
        self.put(shard, delivery);
    }

    /// The same for every shard.
    pub(super) fn push_to_all(&mut self, delivery: &Delivery) {
        for shard in (0..).take(self.shards.len()).map(ShardIndex) {
            self.push(shard, delivery.clone());
        }
    }

    /// Whether the shard has room for large answers: no more than half of the bound waits for it.
    // Hot: once per control.
    pub(super) fn has_room(&self, shard: ShardIndex) -> bool {
        self.shards[shard.index()].bytes <= self.spill_bytes_max / 2
    }

    /// Whether the shard takes no large answers at present.
    pub(super) fn is_full(&self, shard: ShardIndex) -> bool {
        let shard = &self.shards[shard.index()];
        shard.owed.is_some() || shard.bytes > self.spill_bytes_max
    }

    /// Where a gap of a full queue began, if a client that has seen everything up to `position` may have been told it of some
    /// of its channels only.
    pub(super) fn overflow_began(&self, position: Position) -> Option<Position> {
        self.overflows.began(position)
    }

    /// The shard's next item.
    // Hot: once per read and shard.
    pub(super) fn next_delivery(&mut self, shard: ShardIndex, sequence: &mut Sequence) -> Option<Delivery> {
        let outbox = self.shards.get_mut(shard.index())?;
        // Half of the bound: a shard that is barely keeping up is told of one gap, not of hundreds.
        if outbox.bytes <= self.spill_bytes_max / 2
            && let Some(owed) = outbox.owed.take()
        {
            let (before, from) = (sequence.last(), owed.from);
            let channels = owed.channels.into_iter().map(|channel| (channel, sequence.take())).collect();
            self.overflows.note(from, before.next(), sequence.last());
            let gap = Gap { channels, from, reason: GapReason::QueueFull };
            self.put(shard, Delivery::Gap(gap));
        }
        self.take(shard)
    }

    fn put(&mut self, shard: ShardIndex, delivery: Delivery) {
        let (outbox, bytes) = (&mut self.shards[shard.index()], delivery.queue_bytes());
        outbox.bytes += bytes;
        self.bytes += bytes;
        outbox.waiting.push_back(delivery);
    }

    fn take(&mut self, shard: ShardIndex) -> Option<Delivery> {
        let outbox = &mut self.shards[shard.index()];
        let delivery = outbox.waiting.pop_front()?;
        let bytes = delivery.queue_bytes();
        outbox.bytes -= bytes;
        self.bytes -= bytes;
        Some(delivery)
    }

    /// Bytes that wait, for all shards.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Outbox {
    /// Whether a batch of so many bytes can wait here. An empty outbox takes a batch of any size: else a message larger
    /// than the bound would never pass.
    fn takes(&self, bytes: usize, bytes_max: usize) -> bool {
        self.owed.is_none() && (self.waiting.is_empty() || self.bytes + bytes <= bytes_max)
    }

    /// Drops the batch and owes a gap. Whether a gap is owed from here on that was not before.
    fn owe(&mut self, batch: &Batch) -> bool {
        let first = batch.messages().first().expect("a batch has a message").position;
        let overflows = self.owed.is_none();
        let from = Position(first.0 - 1);
        let owed = self.owed.get_or_insert_with(|| Owed { from, channels: BTreeSet::new() });
        owed.channels.extend(batch.messages().iter().map(|message| message.channel));
        overflows
    }
}
