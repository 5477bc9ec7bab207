//! How everybody gets what was appended: rounds through the subscriptions of a stream, and what is dropped after them.

use crate::base::channel::SlowMode;
use crate::base::log::Offset;
use crate::base::position::Position;
use crate::base::slab::Key;
use crate::base::time::Time;

use super::skips::Skip;
use super::{Hub, NO_SUBSCRIPTION, Owed, SKIPPING, SubscriptionIndex};

impl Hub {
    /// The next subscription to look at. Each one of a stream in a round comes up once after the last append.
    // Hot: once per subscriber per round.
    pub fn next_visit(&mut self) -> Option<SubscriptionIndex> {
        loop {
            let &key = self.rounds.front()?;
            // The stream may have lost its last subscription meanwhile.
            if let Some(stream) = self.streams.get_mut(key) {
                if let Some(subscription) = stream.visit() {
                    return Some(subscription);
                }
                self.untidy.push(key);
            }
            self.rounds.pop_front();
        }
    }

    /// Lets the other streams come first: called after each volley, so that a small channel waits for one volley of a
    /// large one at most.
    pub fn rotate(&mut self) {
        self.rounds.rotate_left(usize::from(self.rounds.len() > 1));
    }

    /// Whether a round is under way.
    pub fn has_rounds(&self) -> bool {
        !self.rounds.is_empty()
    }

    /// Bytes appended since no stream was in a round. The shard takes nothing more from the queue while this is large:
    /// nobody falls behind because others have not had their turn yet.
    pub fn round_bytes(&self) -> usize {
        self.round_bytes
    }

    /// What the subscription has not been sent yet; none as well if it is passed over.
    // Hot: once per visit.
    pub fn owed(&mut self, subscription: SubscriptionIndex) -> Option<(Key, Owed)> {
        let entry = &self.subscriptions[subscription as usize];
        let key = self.streams.key_at(entry.stream);
        let owed = self.streams.at(entry.stream).owed(key, entry.cursor, &mut self.counted)?;
        Some((key, owed))
    }

    /// Whether the subscription is one of this stream.
    pub fn is_of(&self, subscription: SubscriptionIndex, stream: Key) -> bool {
        self.subscriptions[subscription as usize].stream == stream.index
    }

    /// Whether any subscription of a connection, from the head of its list, is owed anything.
    pub fn is_owed(&self, mut subscription: SubscriptionIndex) -> bool {
        while subscription != NO_SUBSCRIPTION {
            let entry = &self.subscriptions[subscription as usize];
            if self.streams.at(entry.stream).is_behind(entry.cursor) {
                return true;
            }
            subscription = entry.next;
        }
        false
    }

    /// The subscription has been sent everything up to `cursor`.
    // Hot: once per send.
    pub fn sent_to(&mut self, subscription: SubscriptionIndex, cursor: Offset) {
        self.set_cursor(subscription, cursor);
    }

    /// The kernel took only part of a slice: the cursor goes back to the frame boundary behind what it took. Returns
    /// the unsent rest of the frame that was cut, and how many frames are owed again.
    pub fn unsend(&mut self, subscription: SubscriptionIndex, at: Offset) -> (&[u8], u32) {
        let index = self.subscriptions[subscription as usize].stream;
        let Some(rest) = self.streams.at(index).boundary_at_or_after(at) else { return (&[], 0) };
        self.set_cursor(subscription, rest);
        let stream = self.streams.at(index);
        let again = stream.log().frames_from(rest).count();
        (stream.log().slice(at, rest), u32::try_from(again).expect("a log has fewer than 2^32 frames"))
    }

    /// The first frame that a subscription is owed: its position, and where it lies. None as well if it is passed over.
    pub fn first_owed(&self, subscription: SubscriptionIndex) -> Option<(Position, &[u8], Offset)> {
        let entry = &self.subscriptions[subscription as usize];
        let stream = self.streams.at(entry.stream);
        if entry.cursor >= stream.log().end() {
            return None;
        }
        let frame = stream.log().frame_at(entry.cursor).expect("a cursor below the end stands at a frame");
        Some((frame.position, stream.log().slice(entry.cursor, frame.end), frame.end))
    }

    /// The bytes of a slice that `owed` described.
    // Hot: once per send.
    pub fn slice(&self, stream: Key, start: Offset, length: u32) -> &[u8] {
        let stream = self.streams.get(stream).expect("a stream does not end between plan and settle");
        stream.log().slice(start, start + Offset::from(length))
    }

    /// Drops what nobody is owed any more and what exceeds the bounds; no slice is in use now. `lapped` gets the
    /// subscriptions whose next frame is gone and whose channel's rule ends them for it, and `finished` is told when the oldest message of each round that has
    /// ended was received.
    pub fn tidy(&mut self, lapped: &mut Vec<SubscriptionIndex>, mut finished: impl FnMut(Time)) {
        while let Some(key) = self.untidy.pop() {
            let Some(stream) = self.streams.get_mut(key) else { continue };
            if stream.is_in_round() {
                continue;
            }
            if !stream.log().is_empty() && stream.take_finished() {
                finished(stream.round_since());
            }
            if stream.behind() == 0 {
                self.oldest.forget(key.index, stream);
                self.log_bytes -= stream.clear(&mut self.spares);
            } else if stream.log().len() > self.bounds.lag_bytes {
                self.trim(key.index, self.bounds.lag_bytes / 2, lapped);
            } else {
                self.oldest.note(key.index, stream);
            }
        }
        while self.log_bytes > self.bounds.log_bytes {
            let Some(oldest) = self.oldest.first() else { break };
            self.trim(oldest, 0, lapped);
        }
        if self.rounds.is_empty() {
            self.round_bytes = 0;
        }
    }

    /// Drops frames from the front of a log until at most `bytes` are left, or one frame: a log with laggards always
    /// holds its newest.
    fn trim(&mut self, index: u32, bytes: usize, lapped: &mut Vec<SubscriptionIndex>) {
        let stream = self.streams.at_mut(index);
        self.oldest.forget(index, stream);
        let start = stream.start_within(bytes);
        let slow = self.channels.at(stream.channel()).mode.slow;
        for &subscription in stream.subscribers() {
            let cursor = &mut self.subscriptions[subscription as usize].cursor;
            if *cursor >= start {
                continue;
            }
            match slow {
                SlowMode::Disconnect => lapped.push(subscription),
                SlowMode::Latest => {
                    let first =
                        stream.log().frame_at(*cursor).expect("a cursor below the end stands at a frame");
                    // Not just before the first missed frame: that may state a gap itself, which begins behind the frame
                    // before it.
                    let before = stream.log().frame_before(*cursor);
                    // The stream's begin lies behind frames that it still has where a channel was forbidden and is heard again.
                    let begin = stream.begin().min(first.position.before());
                    let from = before.map_or(begin, |frame| frame.position);
                    self.skips.begin(subscription, Skip { first: first.position, from, at: first.at });
                    // It was behind and stays so: no count changes.
                    *cursor = SKIPPING;
                }
            }
        }
        while stream.log().start() < start {
            let Some((_, length)) = stream.drop_first(&mut self.spares) else { break };
            self.log_bytes -= length;
        }
        self.oldest.note(index, stream);
    }
}
