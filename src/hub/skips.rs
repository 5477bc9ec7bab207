//! Subscriptions that are passed over instead of ended when they fall out of their log: channels with `slow = "latest"`.
//!
//! Such a subscription has no cursor any more: it is remembered what it missed first. When its connection can be sent to
//! again, however much later, it is told of one gap, from there to the newest frame, and its cursor stands at that one.
//! Until then it counts as behind, so that the log keeps its newest frame for it.
//!
//! Cost: an entry of a table for each subscription that is passed over at present; nothing for anybody else.

use std::collections::HashMap;

use crate::base::log::Offset;
use crate::base::number::index;
use crate::base::position::Position;
use crate::base::time::Time;

use super::{Hub, SKIPPING, SubscriptionIndex};

#[derive(Debug, Default)]
pub(super) struct Skips(HashMap<SubscriptionIndex, Skip>);

/// Since when a subscription is passed over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Skip {
    /// The position of the first frame that it was not sent, and when that was received.
    pub(super) first: Position,
    /// Everything of the channel up to here was told.
    pub(super) from: Position,
    pub(super) at: Time,
}

/// What a subscription was not sent and will not be: the frames of its channel from `first` on and before `newest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    pub from: Position,
    /// The position of the frame that it is owed next.
    pub newest: Position,
}

/// How far a subscription is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Bytes that are kept for it; of one that is passed over, all of the log.
    pub bytes: usize,
    /// When the first frame was received that it was not sent.
    pub since: Time,
}

impl Skips {
    pub(super) fn begin(&mut self, subscription: SubscriptionIndex, skip: Skip) {
        let before = self.0.insert(subscription, skip);
        assert!(
            before.is_none(),
            "a subscription that is passed over has no cursor to fall out of a log with"
        );
    }

    pub(super) fn end(&mut self, subscription: SubscriptionIndex) {
        let skip = self.0.remove(&subscription);
        assert!(skip.is_some(), "a subscription without a cursor is one that is passed over");
        if self.0.is_empty() {
            // Nothing is kept of a storm.
            self.0 = HashMap::new();
        }
    }

    pub(super) fn at(&self, subscription: SubscriptionIndex) -> Skip {
        self.0[&subscription]
    }
}

impl Hub {
    /// Whether the subscription fell out of its log and is to be told so.
    pub fn is_passed_over(&self, subscription: SubscriptionIndex) -> bool {
        self.subscriptions[subscription as usize].cursor == SKIPPING
    }

    /// The position of what the subscription is owed first: a frame, or the first that it missed.
    pub fn first_position(&self, subscription: SubscriptionIndex) -> Option<Position> {
        if self.is_passed_over(subscription) {
            return Some(self.skips.at(subscription).first);
        }
        self.first_owed(subscription).map(|(position, ..)| position)
    }

    /// Lets the cursor of a subscription that was passed over stand at the newest frame, and says what it missed.
    pub fn skip(&mut self, subscription: SubscriptionIndex) -> Missed {
        let Skip { from, .. } = self.skips.at(subscription);
        let (start, newest) = self.newest_of(subscription);
        self.set_cursor(subscription, start);
        Missed { from, newest }
    }

    /// How far the subscription is behind; none if it is owed nothing.
    pub fn lag(&self, subscription: SubscriptionIndex) -> Option<Lag> {
        let log = self.stream_of(subscription).log();
        if self.is_passed_over(subscription) {
            return Some(Lag { bytes: log.len(), since: self.skips.at(subscription).at });
        }
        let cursor = self.subscriptions[subscription as usize].cursor;
        let first = log.frame_at(cursor).filter(|_| cursor < log.end())?;
        Some(Lag { bytes: index(log.end() - cursor), since: first.at })
    }

    /// Where the newest frame starts that is kept for a subscription which is behind, and its position.
    fn newest_of(&self, subscription: SubscriptionIndex) -> (Offset, Position) {
        let log = self.stream_of(subscription).log();
        let mut from_behind = log.frames().rev();
        let newest = from_behind.next().expect("a log with somebody behind holds its newest frame");
        (from_behind.next().map_or_else(|| log.start(), |before| before.end), newest.position)
    }
}
