//! What travels between the reader and a shard. Two FIFOs a shard: deliveries down, controls up.
//!
//! Order replaces locks: a join, its replay and the live messages of a channel pass through the same FIFO, so a
//! subscription is live from the moment its own [`Joined`] comes out of it.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::base::channel::ChannelName;
use crate::base::dismissal::Dismissal;
use crate::base::position::Position;
use crate::base::slab::Key;
use crate::base::socket::SocketKey;
use crate::base::time::Time;

/// Which shard: 0 to the shard count, exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardIndex(pub u16);

impl ShardIndex {
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A shard's own key for one of its channels; the reader stores it and sends it back, so that a shard hashes nothing
/// for a message. A key of a channel that the shard has since dropped is stale and its message is not for anyone.
pub type ChannelKey = Key;

/// From the reader to one shard.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// Live messages, in order.
    Batch(Batch),
    /// The answer to one [`Control::Join`].
    Joined(Joined),
    /// Continuity of these channels was lost: subscribers must be told.
    Gap(Gap),
    /// The answer to one [`Control::Publish`].
    Published(Published),
    /// An order of the application's: streams that end, and who stays away.
    Dismiss(Dismissal),
    /// Whether every channel is heard, as far as the reader knows; what comes behind it in order is under its sign.
    Upstream(Reach),
}

/// Whether the upstream is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Up,
    /// While this holds, a shard knows nothing by itself: every stream that opens asks the reader.
    Down,
}

/// What one read of the reader's socket gave one shard: its part of what the read gave all of them.
#[derive(Debug, Clone)]
pub struct Batch {
    read: Arc<Read>,
    shard: ShardIndex,
}

/// What one read of the reader's socket gave. The reader fills it, shares it with the shards, and fills it again when
/// all of them have dropped it.
#[derive(Debug, Default)]
pub struct Read {
    /// The payloads, back to back.
    pub chunk: Vec<u8>,
    /// When the reader received it, for the delivery-lag histogram.
    pub received_at: Time,
    /// By the index of the shard, in rising position.
    pub messages: Vec<Vec<Message>>,
}

/// One message of a batch for one channel of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    pub channel: ChannelKey,
    pub position: Position,
    /// Where the payload starts in the batch's chunk.
    pub start: u32,
    pub length: u32,
}

impl Batch {
    pub fn new(read: Arc<Read>, shard: ShardIndex) -> Self {
        Self { read, shard }
    }

    /// The shard's messages, in rising position.
    pub fn messages(&self) -> &[Message] {
        &self.read.messages[self.shard.index()]
    }

    pub fn payload(&self, message: &Message) -> &[u8] {
        &self.read.chunk[message.start as usize..][..message.length as usize]
    }

    pub fn received_at(&self) -> Time {
        self.read.received_at
    }

    /// What the batch counts against the queue's bound: its own items and the chunk it pins, with the room that the
    /// buffers have beyond what lies in them.
    pub fn queue_bytes(&self) -> usize {
        let items = self.read.messages[self.shard.index()].capacity();
        size_of::<Delivery>() + items * size_of::<Message>() + self.read.chunk.capacity()
    }
}

/// The answer to a join. From here on, in FIFO order, every message of the channel reaches this shard.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The connection that asked.
    pub connection: SocketKey,
    pub channel: ChannelKey,
    /// Everything up to here was either before the join or is in the replay.
    pub position: Position,
    pub outcome: JoinOutcome,
}

#[derive(Debug, Clone)]
pub enum JoinOutcome {
    /// The channel is live on this shard.
    Live {
        /// What is kept from after the position that was asked for, in rising position.
        replay: Vec<Replayed>,
        /// Set exactly if something is missing before the replay's first message.
        gap: Option<JoinGap>,
    },
    /// The upstream does not let courier read this channel (Redis ACL).
    Forbidden,
    /// The reader has as many channels as it takes (`limits.channels`): come back later.
    Full,
}

impl JoinOutcome {
    /// Whether every message behind this answer reaches the shard: not if the upstream has stopped to let courier read
    /// the channel, which is stated as a gap.
    pub fn is_heard(&self) -> bool {
        match self {
            Self::Live { replay, gap } => {
                let is_forbidden = |reason| reason == GapReason::Forbidden;
                let behind = replay.last().is_some_and(
                    |last| matches!(last, Replayed::Gap { reason, .. } if is_forbidden(*reason)),
                );
                !behind && !gap.is_some_and(|gap| is_forbidden(gap.reason))
            }
            Self::Forbidden | Self::Full => false,
        }
    }
}

/// A piece of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    Message {
        position: Position,
        payload: Bytes,
    },
    /// Messages after `from` and before `position` may be missing here.
    Gap {
        position: Position,
        from: Position,
        reason: GapReason,
    },
}

impl Replayed {
    pub fn position(&self) -> Position {
        match *self {
            Self::Message { position, .. } | Self::Gap { position, .. } => position,
        }
    }

    fn payload_bytes(&self) -> usize {
        match self {
            Self::Message { payload, .. } => payload.len(),
            Self::Gap { .. } => 0,
        }
    }
}

/// What a join could not give: the messages of the channel after `from` and up to `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinGap {
    pub from: Position,
    pub until: Position,
    pub reason: GapReason,
}

/// Messages of these channels after `from` and before the position beside each may be lost.
#[derive(Debug, Clone)]
pub struct Gap {
    /// Each with a position of its own in the reader's order, rising: a connection that is cut between the notices of
    /// two channels is told the second when it resumes.
    pub channels: Vec<(ChannelKey, Position)>,
    pub from: Position,
    pub reason: GapReason,
}

/// Why a subscriber may miss messages: a closed table, the words of the `courier-gap` event and of the metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The id is of another run of courier, or no id of courier's.
    UnknownEpoch,
    /// The history does not reach back that far.
    TooOld,
    /// Redis could not be heard.
    UpstreamDown,
    /// The subscriber read too slowly and asked to skip rather than to be disconnected.
    Lagged,
    /// A shard could not take messages as fast as they came.
    QueueFull,
    /// Redis does not let courier read the channel.
    Forbidden,
}

impl GapReason {
    pub const ALL: [Self; 6] = [
        Self::UnknownEpoch,
        Self::TooOld,
        Self::UpstreamDown,
        Self::Lagged,
        Self::QueueFull,
        Self::Forbidden,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownEpoch => "unknown-epoch",
            Self::TooOld => "too-old",
            Self::UpstreamDown => "upstream-down",
            Self::Lagged => "lagged",
            Self::QueueFull => "queue-full",
            Self::Forbidden => "forbidden",
        }
    }
}

/// What became of the messages that a client published through a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub connection: SocketKey,
    pub outcome: PublishOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishOutcome {
    /// The upstream took every message; where they stand, in the order in which they were given.
    Accepted(SmallVec<[Placed; 1]>),
    /// There is no upstream at present, or it refused: so many of the messages it is known to have taken all the same.
    Unavailable { taken: usize },
}

/// Where a published message stands in the reader's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// Here: the event that it is has this id.
    At(Position),
    /// Behind this position, if it is heard here at all.
    Behind(Position),
}

/// A message that a client publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    pub name: ChannelName,
    pub payload: Bytes,
}

/// From one shard to the reader.
#[derive(Debug, Clone)]
pub enum Control {
    /// Route the channel to this shard, if it is not yet, and answer with one [`Joined`].
    Join { shard: ShardIndex, channel: ChannelKey, name: ChannelName, connection: SocketKey, since: Since },
    /// The shard has no subscription of this channel left and has dropped the key.
    Leave { shard: ShardIndex, channel: ChannelKey, name: ChannelName },
    /// Publish these in their order, at least one, and answer with one [`Published`].
    Publish { shard: ShardIndex, connection: SocketKey, messages: Vec<Publication> },
}

impl Control {
    /// Who sent it.
    pub fn shard(&self) -> ShardIndex {
        match *self {
            Self::Join { shard, .. } | Self::Leave { shard, .. } | Self::Publish { shard, .. } => shard,
        }
    }
}

/// From where a join wants the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// From the join on.
    Now,
    /// Everything after this position of this process.
    After(Position),
    /// Everything that is kept.
    Earliest,
    /// So many of the newest messages that are kept.
    Last(u32),
}

impl Delivery {
    /// What the item counts against the queue's bound, in bytes.
    pub fn queue_bytes(&self) -> usize {
        match self {
            Self::Batch(batch) => batch.queue_bytes(),
            Self::Joined(joined) => size_of::<Self>() + joined.replay_bytes(),
            Self::Gap(gap) => size_of::<Self>() + gap.channels.len() * size_of::<(ChannelKey, Position)>(),
            Self::Published(published) => size_of::<Self>() + published.placed_bytes(),
            Self::Dismiss(_) | Self::Upstream(_) => size_of::<Self>(),
        }
    }
}

impl Published {
    fn placed_bytes(&self) -> usize {
        match &self.outcome {
            PublishOutcome::Accepted(placed) => placed.len() * size_of::<Placed>(),
            PublishOutcome::Unavailable { .. } => 0,
        }
    }
}

impl Joined {
    fn replay_bytes(&self) -> usize {
        match &self.outcome {
            JoinOutcome::Live { replay, .. } => {
                replay.iter().map(|piece| size_of::<Replayed>() + piece.payload_bytes()).sum()
            }
            JoinOutcome::Forbidden | JoinOutcome::Full => 0,
        }
    }
}
