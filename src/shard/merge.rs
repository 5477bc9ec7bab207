//! What a connection is owed by several channels, in rising position; and the gaps of channels that passed it over.
//!
//! A gap stands where the first missed frame would stand, before any frame behind it: whoever is cut off between two
//! frames resumes from the id of the first, and must know by then what is missing in front of it. Its id is the last
//! position before whatever comes next on another channel, so ids rise; how far the gap itself reaches is said apart.
//!
//! Cost: a look at each channel of the connection for each frame.

use crate::base::position::Position;
use crate::base::queue::GapReason;
use crate::base::socket::Slot;
use crate::hub::{Missed, NO_SUBSCRIPTION, SubscriptionIndex};
use crate::protocol::{GapNotice, WireFormat};

use super::Shard;

/// What was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gathered {
    Frame,
    Gap,
}

impl Gathered {
    /// What it counts as a message that is delivered.
    pub(super) fn messages(self) -> u64 {
        match self {
            Self::Frame => 1,
            Self::Gap => 0,
        }
    }
}

impl Shard {
    /// Appends the first that the connection is owed by any of its channels, if it stands before `limit`, and moves that
    /// cursor behind it.
    pub(super) fn gather_first(
        &mut self,
        slot: Slot,
        limit: Option<Position>,
        out: &mut Vec<u8>,
    ) -> Option<Gathered> {
        let mut first: Option<(Position, SubscriptionIndex)> = None;
        // The position of what comes behind it.
        let mut next = limit;
        let mut subscription = self.rows[slot.index()].subscriptions;
        while subscription != NO_SUBSCRIPTION {
            if let Some(position) = self.hub.first_position(subscription) {
                let behind = match first {
                    Some((least, _)) if least <= position => Some(position),
                    _ => first.replace((position, subscription)).map(|(before, _)| before),
                };
                next = next.into_iter().chain(behind).min();
            }
            subscription = self.hub.next_of(subscription);
        }
        let (position, subscription) = first?;
        if limit.is_some_and(|limit| position >= limit) {
            return None;
        }
        if self.hub.is_passed_over(subscription) {
            self.state_what_was_missed(subscription, next, out);
            return Some(Gathered::Gap);
        }
        let (_, bytes, end) = self.hub.first_owed(subscription)?;
        out.extend_from_slice(bytes);
        self.hub.sent_to(subscription, end);
        Some(Gathered::Frame)
    }

    /// States the gap of a channel that passed the connection over; `next` is where what comes behind it stands.
    fn state_what_was_missed(
        &mut self,
        subscription: SubscriptionIndex,
        next: Option<Position>,
        out: &mut Vec<u8>,
    ) {
        let Missed { from, newest } = self.hub.skip(subscription);
        let until = newest.before();
        let position = next.map_or(until, |next| until.min(next.before()));
        let format = WireFormat::ALL[self.hub.format_of(subscription)];
        let notice = GapNotice {
            epoch: self.epoch,
            position: Some(position),
            channel: self.hub.channel_of(subscription).1,
            from: Some(from),
            until,
            reason: GapReason::Lagged,
        };
        format.encode_gap(&notice, out);
        self.counters.gap(GapReason::Lagged, 1);
    }
}
