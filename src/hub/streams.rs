//! One channel in one wire format: its log, its subscriptions, and how far the present round has come.

use crate::base::log::{Frame, Log, Offset, Spares};
use crate::base::number::small;
use crate::base::position::Position;
use crate::base::slab::Key;
use crate::base::time::Time;

use super::subscribers::Subscribers;
use super::{FORMATS_MAX, NOT_LIVE, SKIPPING, SubscriptionIndex};

#[derive(Debug)]
pub struct Stream {
    /// The index of its channel, which exists as long as the stream.
    channel: u32,
    /// The next stream of the channel, or `NO_STREAM`.
    sibling: u32,
    format: u8,
    log: Log,
    /// The log has every message of the channel after this position.
    begin: Position,
    subscribers: Subscribers,
    /// The round goes through `subscribers` in a circle: from here, this many more.
    next: u32,
    remaining: u32,
    /// Subscriptions that are owed what comes, and those of them whose cursor is below the log's end or passed over.
    live: u32,
    behind: u32,
    /// When the oldest message of the present round was received.
    round_since: Time,
    round: Round,
    /// True from the end of a round until `tidy` has reported it.
    finished: bool,
    /// True exactly while it stands among the hub's oldest.
    marked: bool,
}

const _: () = assert!(size_of::<Stream>() <= 96, "there is one for each channel");

/// Whether the stream stands in the hub's queue of rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    Over,
    Queued,
}

/// The last answer to "how many frames are owed from here": in a round nearly everybody asks the same.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    /// The stream; of meaning only with frames.
    stream: Key,
    from: Offset,
    to: Offset,
    frames: u32,
}

/// What one subscription is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owed {
    pub start: Offset,
    pub end: Offset,
    pub frames: u32,
}

impl Stream {
    pub(super) fn new(channel: u32, format: usize, begin: Position, sibling: u32) -> Self {
        Self {
            channel,
            sibling,
            format: u8::try_from(format).expect("there are fewer formats"),
            log: Log::default(),
            begin,
            subscribers: Subscribers::None,
            next: 0,
            remaining: 0,
            live: 0,
            behind: 0,
            round_since: Time::ZERO,
            round: Round::Over,
            finished: false,
            marked: false,
        }
    }

    /// The index of its channel.
    pub(super) fn channel(&self) -> u32 {
        self.channel
    }

    /// The channel's stream behind this one.
    pub(super) fn sibling(&self) -> u32 {
        self.sibling
    }

    pub(super) fn set_sibling(&mut self, sibling: u32) {
        self.sibling = sibling;
    }

    pub fn format(&self) -> usize {
        usize::from(self.format)
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    pub fn begin(&self) -> Position {
        self.begin
    }

    pub fn live(&self) -> u32 {
        self.live
    }

    pub fn behind(&self) -> u32 {
        self.behind
    }

    pub fn round_since(&self) -> Time {
        self.round_since
    }

    pub(super) fn subscriber_count(&self) -> u32 {
        small(self.subscribers.as_slice().len())
    }

    pub(super) fn subscribers(&self) -> &[SubscriptionIndex] {
        self.subscribers.as_slice()
    }

    pub(super) fn begin_at(&mut self, position: Position) {
        self.begin = self.begin.max(position);
    }

    pub(super) fn insert(&mut self, subscription: SubscriptionIndex) {
        self.subscribers.push(subscription);
        // The rest of the round may wrap around: it now leads past the new place as well.
        if self.remaining > 0 {
            self.remaining += 1;
        }
    }

    /// Takes the subscription at `place` out; returns the one that stands there now, if another does. In a round its
    /// new place may lie where the circle has already been: whoever asks for this must visit it.
    pub(super) fn remove(&mut self, place: u32, cursor: Offset) -> Option<SubscriptionIndex> {
        if cursor != NOT_LIVE {
            self.live -= 1;
        }
        if self.is_behind(cursor) {
            self.behind -= 1;
        }
        self.subscribers.swap_remove(place as usize);
        let count = self.subscriber_count();
        self.remaining = self.remaining.min(count);
        if self.next >= count {
            self.next = 0;
        }
        self.subscribers.as_slice().get(place as usize).copied()
    }

    // Hot: once per message and wire format.
    pub(super) fn append(
        &mut self,
        position: Position,
        at: Time,
        spares: &mut Spares,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> usize {
        self.log.append(position, at, spares, write)
    }

    /// After an append: everybody who is live is behind now. True if the stream must be queued for its round.
    pub(super) fn start_round(&mut self, at: Time) -> bool {
        if self.remaining == 0 {
            self.round_since = at;
        }
        self.behind = self.live;
        self.remaining = self.subscriber_count();
        std::mem::replace(&mut self.round, Round::Queued) == Round::Over
    }

    /// The next subscription of the round; none if it is over.
    // Hot: once per subscriber per round.
    pub(super) fn visit(&mut self) -> Option<SubscriptionIndex> {
        if self.remaining == 0 {
            self.round = Round::Over;
            self.finished = true;
            return None;
        }
        self.remaining -= 1;
        let subscription = self.subscribers.as_slice()[self.next as usize];
        self.next += 1;
        if self.next == self.subscriber_count() {
            self.next = 0;
        }
        Some(subscription)
    }

    pub(super) fn is_in_round(&self) -> bool {
        self.round == Round::Queued
    }

    /// Sets the mark of [`super::oldest`]; returns what it was.
    pub(super) fn replace_marked(&mut self, marked: bool) -> bool {
        std::mem::replace(&mut self.marked, marked)
    }

    pub(super) fn is_behind(&self, cursor: Offset) -> bool {
        cursor < self.log.end() || cursor == SKIPPING
    }

    /// A cursor moved. True if nobody is behind any more.
    pub(super) fn moved(&mut self, before: Offset, after: Offset) -> bool {
        debug_assert!(after != NOT_LIVE, "a subscription does not stop being live");
        if before == NOT_LIVE {
            self.live += 1;
        }
        match (self.is_behind(before), self.is_behind(after)) {
            (false, true) => self.behind += 1,
            (true, false) => self.behind -= 1,
            (true, true) | (false, false) => {}
        }
        self.behind == 0
    }

    /// What is owed from `cursor` on; `key` is this stream's.
    pub(super) fn owed(&self, key: Key, cursor: Offset, counted: &mut Counted) -> Option<Owed> {
        if cursor >= self.log.end() {
            return None;
        }
        let (from, to) = (cursor, self.log.end());
        if (counted.stream, counted.from, counted.to) != (key, from, to) {
            let frames = small(self.log.frames_from(from).count());
            *counted = Counted { stream: key, from, to, frames };
        }
        Some(Owed { start: from, end: to, frames: counted.frames })
    }

    /// Where the first frame after `position` starts.
    pub(super) fn offset_after(&self, position: Position) -> Offset {
        let after: usize = self.log.after(position).map(|(_, bytes)| bytes.len()).sum();
        self.log.end() - after as u64
    }

    /// The first frame boundary that is not before `at`; none at the log's end.
    pub(super) fn boundary_at_or_after(&self, at: Offset) -> Option<Offset> {
        if at == self.log.end() {
            return None;
        }
        // The end of the frame that holds the byte before `at` is `at` itself exactly if `at` is a boundary.
        if at == self.log.start() {
            return Some(at);
        }
        self.log.frame_at(at - 1).map(|frame| frame.end)
    }

    /// Whether a round ended since this was last asked.
    pub(super) fn take_finished(&mut self) -> bool {
        std::mem::replace(&mut self.finished, false)
    }

    /// Where the log starts once frames are dropped until at most `bytes` are left, or one frame.
    pub(super) fn start_within(&self, bytes: usize) -> Offset {
        let (mut start, mut frames) = (self.log.start(), self.log.frames());
        while frames.len() > 1 && self.log.end() - start > bytes as u64 {
            start = frames.next().map_or(start, |frame| frame.end);
        }
        start
    }

    pub(super) fn drop_first(&mut self, spares: &mut Spares) -> Option<(Frame, usize)> {
        let dropped = self.log.drop_first(spares)?;
        self.begin = self.begin.max(dropped.0.position);
        Some(dropped)
    }

    pub(super) fn clear(&mut self, spares: &mut Spares) -> usize {
        if let Some(last) = self.log.last() {
            self.begin = self.begin.max(last.position);
        }
        self.log.clear(spares)
    }
}

const _: () = assert!(FORMATS_MAX <= u8::MAX as usize);
const _: () = assert!(NOT_LIVE == Offset::MAX, "a cursor that is not live is never below a log's end");
const _: () = assert!(SKIPPING == NOT_LIVE - 1, "nor is one that is passed over");
