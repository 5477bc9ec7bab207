//! What was published, and where the reader put it: what every client's view is compared with.
//!
//! The messages of a channel are numbered from 1 and say so in their payload, so from every delivery it can be read
//! which message has which position. A message has one position for everybody, and a position one message.

use std::collections::BTreeMap;

use crate::base::position::Position;
use crate::base::queue::{Delivery, JoinOutcome, Replayed};

/// A message: the index of its channel, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Message {
    pub(super) channel: usize,
    pub(super) number: u64,
}

#[derive(Debug)]
pub(super) struct Order {
    /// The number of the last message of each channel.
    published: Vec<u64>,
    /// By channel, the position of each number that the reader took.
    positions: Vec<BTreeMap<u64, Position>>,
    messages: BTreeMap<Position, Message>,
}

impl Order {
    pub(super) fn new(channels: usize) -> Self {
        Self {
            published: vec![0; channels],
            positions: vec![BTreeMap::new(); channels],
            messages: BTreeMap::new(),
        }
    }

    /// The channel's next message.
    pub(super) fn publish(&mut self, channel: usize) -> Message {
        self.published[channel] += 1;
        Message { channel, number: self.published[channel] }
    }

    /// By channel, the number of the last message.
    pub(super) fn published(&self) -> &[u64] {
        &self.published
    }

    /// What the reader hands to a shard.
    pub(super) fn note(&mut self, delivery: &Delivery) {
        match delivery {
            Delivery::Batch(batch) => {
                for message in batch.messages() {
                    self.note_message(message.position, batch.payload(message));
                }
            }
            Delivery::Joined(joined) => {
                let JoinOutcome::Live { replay, .. } = &joined.outcome else { return };
                for piece in replay {
                    if let Replayed::Message { position, payload } = piece {
                        self.note_message(*position, payload);
                    }
                }
            }
            Delivery::Gap(gap) => {
                for (_, position) in &gap.channels {
                    assert!(
                        !self.messages.contains_key(position),
                        "{position:?} is of a message and of a gap"
                    );
                }
            }
            Delivery::Published(_) | Delivery::Dismiss(_) | Delivery::Upstream(_) => {}
        }
    }

    /// The number of the channel's last message that the reader has given to anybody: what it has had until then.
    pub(super) fn last_given(&self, channel: usize) -> u64 {
        self.positions[channel].last_key_value().map_or(0, |(&number, _)| number)
    }

    pub(super) fn position(&self, message: Message) -> Option<Position> {
        self.positions[message.channel].get(&message.number).copied()
    }

    /// The channel's messages behind `after` and before `before`, with their positions.
    pub(super) fn between(
        &self,
        channel: usize,
        after: Position,
        before: Position,
    ) -> impl Iterator<Item = (Position, Message)> {
        let range = after.next()..before.max(after.next());
        let all = self.messages.range(range).map(|(&position, &message)| (position, message));
        all.filter(move |(_, message)| message.channel == channel)
    }

    fn note_message(&mut self, position: Position, payload: &[u8]) {
        let text = std::str::from_utf8(payload).expect("payloads are texts");
        let message = Message::parse(text).unwrap_or_else(|| panic!("a payload was changed: {text:?}"));
        let before = *self.messages.entry(position).or_insert(message);
        assert_eq!(before, message, "{position:?} is given twice");
        let numbers = &mut self.positions[message.channel];
        let known = *numbers.entry(message.number).or_insert(position);
        assert_eq!(known, position, "{message:?} has two positions");
        let is_behind = numbers.range(..message.number).next_back().is_none_or(|(_, &last)| last < position);
        assert!(is_behind, "{message:?} stands before one that was published earlier");
    }
}

impl Message {
    /// The payload: of any length, so that frames are cut at any place, and now and then of several lines.
    pub(super) fn payload(self) -> String {
        let Self { channel, number } = self;
        let spread = number.wrapping_mul(0x9e37_79b9).wrapping_add(channel as u64 * 31);
        let filler = "x".repeat(usize::try_from(spread % 120).expect("a short text"));
        let end = if spread % 7 == 0 { "\n: and\n\nmore" } else { "" };
        format!("{channel} {number} {filler}{end}")
    }

    /// The message whose payload this is.
    pub(super) fn parse(payload: &str) -> Option<Self> {
        let mut words = payload.split(' ');
        let message = Self { channel: words.next()?.parse().ok()?, number: words.next()?.parse().ok()? };
        (message.payload() == payload).then_some(message)
    }
}

/// The name of a channel by its index.
pub(super) fn channel_name(channel: usize) -> String {
    format!("channel-{channel}")
}
