//! What may be replayed: the recent messages of each channel, one copy a process.
//!
//! Bounded for each channel by count, bytes and age, and over all channels by bytes. A channel always keeps its newest
//! message, whatever its size, until age or the total bound take it. Knows nothing of shards or of Redis.
//!
//! One rule for gaps: a resume from `n` is exact if `n >= complete_since`, which is the greatest of the position at the
//! first acknowledged SUBSCRIBE, the last position that was dropped, and the end of the last time in which Redis could
//! not be heard. Such a time is a *break*: it is replayed where it lies, between what came before and what came after.
//!
//! Invariants: `bytes` is the sum of the logs' lengths; a channel with messages has exactly one entry in `due`, at or
//! before the time its oldest message comes due. Cost: append is one copy and O(1) without allocation once warm;
//! a channel passes through the heap once in the age of its messages.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use bytes::Bytes;

use crate::base::limits::{HISTORY_AGE, HISTORY_BYTES, HISTORY_COUNT};
use crate::base::log::{Log, Spares};
use crate::base::position::Position;
use crate::base::queue::{GapReason, JoinGap, Replayed};
use crate::base::time::Time;
use crate::reader::channels::ChannelId;

#[derive(Debug)]
pub(super) struct History {
    bounds: Bounds,
    /// By the index of the channel's id.
    pasts: Vec<Past>,
    bytes: usize,
    due: BinaryHeap<Reverse<(Time, ChannelId)>>,
    spares: Spares,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) count: usize,
    pub(super) bytes: usize,
    pub(super) age: Duration,
    /// Of all channels together.
    pub(super) bytes_total: usize,
}

/// One channel's.
#[derive(Debug)]
struct Past {
    channel: Option<ChannelId>,
    log: Log,
    /// Everything after this is in the log, or lies in a break.
    begin: Position,
    /// In rising position; none ends before the log's first message.
    breaks: Vec<Break>,
    /// True exactly while `due` has this channel's entry.
    is_scheduled: bool,
}

/// Messages after `from` and before `position` may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Break {
    from: Position,
    position: Position,
    reason: GapReason,
}

impl Bounds {
    pub(super) fn standard(bytes_total: usize) -> Self {
        Self { count: HISTORY_COUNT, bytes: HISTORY_BYTES, age: HISTORY_AGE, bytes_total }
    }
}

impl History {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, pasts: Vec::new(), bytes: 0, due: BinaryHeap::new(), spares: Spares::default() }
    }

    /// A channel begins; it has no messages, and nothing is complete yet.
    pub(super) fn open(&mut self, channel: ChannelId, now_at: Position) {
        let index = channel.index();
        if index >= self.pasts.len() {
            self.pasts.resize_with(index + 1, Past::default);
        }
        let past = &mut self.pasts[index];
        assert!(past.channel.is_none(), "a channel's history begins once");
        past.channel = Some(channel);
        past.begin = now_at;
    }

    /// The channel ends. Its entry in `due` is recognised by its old id.
    pub(super) fn forget(&mut self, channel: ChannelId) {
        let past = &mut self.pasts[channel.index()];
        assert_eq!(past.channel, Some(channel), "a history that is forgotten is there");
        self.bytes -= past.log.clear(&mut self.spares);
        *past = Past::default();
    }

    /// The channel is subscribed from `position` on; what it has of a subscription before that is given up.
    pub(super) fn begin(&mut self, channel: ChannelId, position: Position) {
        let past = &mut self.pasts[channel.index()];
        assert!(past.begin <= position, "a history is not complete for longer than it was");
        self.bytes -= past.log.clear(&mut self.spares);
        past.begin_after(position);
    }

    /// The channel is subscribed again from `position` on; what came after `from` may have been missed.
    pub(super) fn mend(&mut self, channel: ChannelId, from: Position, position: Position, reason: GapReason) {
        let past = &mut self.pasts[channel.index()];
        if past.breaks.len() == BREAKS_MAX {
            // The two oldest become one: what lies between them is passed over as well, and said so.
            past.breaks[1].from = past.breaks[0].from;
            past.breaks.remove(0);
            let passed = past.breaks[0].position;
            while past.log.first().is_some_and(|frame| frame.position < passed) {
                self.bytes -= past.log.drop_first(&mut self.spares).map_or(0, |(_, length)| length);
            }
        }
        past.breaks.push(Break { from, position, reason });
    }

    // Hot: once per message; one copy of the payload.
    pub(super) fn append(&mut self, channel: ChannelId, position: Position, now: Time, payload: &[u8]) {
        let past = &mut self.pasts[channel.index()];
        self.bytes +=
            past.log.append(position, now, &mut self.spares, |bytes| bytes.extend_from_slice(payload));
        while past.count() > self.bounds.count || (past.count() > 1 && past.log.len() > self.bounds.bytes) {
            self.bytes -= past.drop_first(&mut self.spares);
        }
        if !past.is_scheduled {
            past.is_scheduled = true;
            self.due.push(Reverse((now.after(self.bounds.age), channel)));
        }
        while self.bytes > self.bounds.bytes_total {
            self.drop_oldest_channel();
        }
    }

    /// What there is of the channel after `position`, in order, and what is missing before it.
    pub(super) fn replay(&self, channel: ChannelId, position: Position) -> (Vec<Replayed>, Option<JoinGap>) {
        let past = &self.pasts[channel.index()];
        let bytes: usize = past.log.after(position).map(|(_, payload)| payload.len()).sum();
        let mut all = Vec::with_capacity(bytes);
        past.log.after(position).for_each(|(_, payload)| all.extend_from_slice(payload));
        let all = Bytes::from(all);
        let mut start = 0;
        let mut breaks = past.breaks.iter().filter(|gap| gap.position > position).peekable();
        let mut replay = Vec::new();
        for (frame, payload) in past.log.after(position) {
            while let Some(gap) = breaks.next_if(|gap| gap.position < frame.position) {
                replay.push(gap.replayed(position));
            }
            let payload = all.slice(start..start + payload.len());
            start += payload.len();
            replay.push(Replayed::Message { position: frame.position, payload });
        }
        replay.extend(breaks.map(|gap| gap.replayed(position)));
        let gap = (position < past.begin).then_some(JoinGap { from: position, reason: GapReason::TooOld });
        (replay, gap)
    }

    /// Drops what is too old.
    pub(super) fn sweep(&mut self, now: Time) {
        while let Some(&Reverse((due, channel))) = self.due.peek()
            && due <= now
        {
            self.due.pop();
            let past = &mut self.pasts[channel.index()];
            if past.channel != Some(channel) {
                continue;
            }
            while past.oldest_due(self.bounds.age).is_some_and(|due| due <= now) {
                self.bytes -= past.drop_first(&mut self.spares);
            }
            self.schedule(channel);
        }
    }

    /// When `sweep` has something to do: to the second, so that a trickle of messages does not wake the reader for each.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        let Reverse((due, _)) = self.due.peek()?;
        Some(Time::from_nanos(due.as_nanos().div_ceil(NANOS_PER_SECOND).saturating_mul(NANOS_PER_SECOND)))
    }

    /// Payload bytes of all channels.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn drop_oldest_channel(&mut self) {
        let Some(Reverse((due, channel))) = self.due.pop() else {
            unreachable!("a history that has bytes has a channel with messages");
        };
        let past = &mut self.pasts[channel.index()];
        if past.channel != Some(channel) {
            return;
        }
        // Its oldest message may have gone since the entry was made.
        if past.oldest_due(self.bounds.age) == Some(due) {
            past.begin_after(past.log.last().expect("it has an oldest message").position);
            self.bytes -= past.log.clear(&mut self.spares);
        }
        self.schedule(channel);
    }

    /// Makes the channel's entry anew, if it has messages.
    fn schedule(&mut self, channel: ChannelId) {
        let past = &mut self.pasts[channel.index()];
        past.is_scheduled = false;
        if let Some(due) = past.oldest_due(self.bounds.age) {
            past.is_scheduled = true;
            self.due.push(Reverse((due, channel)));
        }
    }
}

impl Past {
    fn count(&self) -> usize {
        self.log.frames().len()
    }

    fn oldest_due(&self, age: Duration) -> Option<Time> {
        self.log.first().map(|frame| frame.at.after(age))
    }

    fn drop_first(&mut self, spares: &mut Spares) -> usize {
        let Some((frame, length)) = self.log.drop_first(spares) else { return 0 };
        self.begin_after(frame.position);
        length
    }

    /// What was kept up to this position has been dropped.
    fn begin_after(&mut self, position: Position) {
        self.begin = self.begin.max(position);
        // A break that lies before what is kept is part of what is too old.
        self.breaks.retain(|gap| gap.position > position);
    }
}

impl Break {
    /// As it is told to someone who has seen everything up to `position`.
    fn replayed(&self, position: Position) -> Replayed {
        let Self { from, position: end, reason } = *self;
        Replayed::Gap { position: end, from: from.max(position), reason }
    }
}

impl Default for Past {
    fn default() -> Self {
        Self {
            channel: None,
            log: Log::default(),
            begin: Position::ZERO,
            breaks: Vec::new(),
            is_scheduled: false,
        }
    }
}

/// Breaks of one channel that are told apart.
const BREAKS_MAX: usize = 16;
const NANOS_PER_SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::channel::ChannelName;
    use crate::reader::channels::{Channels, State};

    const SECOND: Duration = Duration::from_secs(1);

    struct Rig {
        history: History,
        channels: Vec<ChannelId>,
        position: Position,
        now: Time,
    }

    impl Rig {
        fn new(bounds: Bounds, count: u32) -> Self {
            let mut channels = Channels::new(1);
            let mut history = History::new(bounds);
            let channels: Vec<ChannelId> = (0..count)
                .map(|number| {
                    let name = ChannelName::parse(format!("c{number}").as_bytes()).unwrap();
                    channels.insert(name, State::Live, Time::ZERO)
                })
                .collect();
            channels.iter().for_each(|&channel| history.open(channel, Position::ZERO));
            Self { history, channels, position: Position::ZERO, now: Time::ZERO }
        }

        fn append(&mut self, channel: usize, payload: &str) {
            self.position = self.position.next();
            self.history.append(self.channels[channel], self.position, self.now, payload.as_bytes());
        }

        /// What is replayed from `position` on, and whether that is everything.
        fn replay(&self, channel: usize, position: u64) -> (Vec<String>, bool) {
            let (replay, gap) = self.history.replay(self.channels[channel], Position(position));
            let replay = replay.iter().map(shown).collect();
            if let Some(gap) = gap {
                assert_eq!(gap, JoinGap { from: Position(position), reason: GapReason::TooOld });
            }
            (replay, gap.is_none())
        }

        fn pass(&mut self, span: Duration) {
            self.now = self.now.after(span);
            self.history.sweep(self.now);
        }
    }

    fn shown(item: &Replayed) -> String {
        match item {
            Replayed::Message { position, payload } => format!("{}:{}", position.0, payload.escape_ascii()),
            Replayed::Gap { position, from, reason } => {
                format!("{}:gap from {} {}", position.0, from.0, reason.name())
            }
        }
    }

    fn bounds() -> Bounds {
        Bounds { count: 3, bytes: 10, age: 60 * SECOND, bytes_total: 30 }
    }

    fn replayed(messages: &[&str], is_exact: bool) -> (Vec<String>, bool) {
        (messages.iter().map(|&message| message.to_owned()).collect(), is_exact)
    }

    #[test]
    fn a_resume_is_exact_from_the_last_position_that_was_dropped() {
        let mut rig = Rig::new(bounds(), 1);
        for payload in ["a", "b", "c", "d"] {
            rig.append(0, payload);
        }
        assert_eq!(rig.replay(0, 0), replayed(&["2:b", "3:c", "4:d"], false));
        assert_eq!(rig.replay(0, 1), replayed(&["2:b", "3:c", "4:d"], true));
        assert_eq!(rig.replay(0, 3), replayed(&["4:d"], true));
        assert_eq!(rig.replay(0, 4), replayed(&[], true));
    }

    #[test]
    fn bytes_are_bounded_but_the_newest_message_stays_whatever_its_size() {
        let mut rig = Rig::new(bounds(), 1);
        rig.append(0, "123456");
        rig.append(0, "1234");
        assert_eq!(rig.replay(0, 0), replayed(&["1:123456", "2:1234"], true));
        rig.append(0, "1");
        assert_eq!(rig.replay(0, 1), replayed(&["2:1234", "3:1"], true));
        rig.append(0, "12345678901");
        assert_eq!(rig.replay(0, 3), replayed(&["4:12345678901"], true));
        assert_eq!(rig.replay(0, 2), replayed(&["4:12345678901"], false));
        assert_eq!(rig.history.bytes(), 11);
    }

    #[test]
    fn messages_without_payload_count_too() {
        let mut rig = Rig::new(bounds(), 1);
        for _ in 0..4 {
            rig.append(0, "");
        }
        assert_eq!(rig.replay(0, 1), replayed(&["2:", "3:", "4:"], true));
        rig.pass(60 * SECOND);
        assert_eq!(rig.replay(0, 3), replayed(&[], false));
        assert_eq!(rig.history.next_deadline(), None);
    }

    #[test]
    fn messages_go_when_they_are_too_old() {
        let mut rig = Rig::new(bounds(), 2);
        rig.append(0, "a");
        rig.pass(10 * SECOND);
        rig.append(0, "b");
        rig.append(1, "c");
        assert_eq!(rig.history.next_deadline(), Some(Time::ZERO.after(60 * SECOND)));
        rig.pass(50 * SECOND);
        assert_eq!(rig.replay(0, 0), replayed(&["2:b"], false));
        assert_eq!(rig.history.next_deadline(), Some(Time::ZERO.after(70 * SECOND)));
        rig.pass(10 * SECOND);
        assert_eq!(rig.replay(0, 1), replayed(&[], false));
        assert_eq!(rig.replay(1, 3), replayed(&[], true));
        assert_eq!((rig.history.bytes(), rig.history.next_deadline()), (0, None));
    }

    #[test]
    fn at_the_total_bound_the_channel_with_the_oldest_message_loses_its_history() {
        let mut rig = Rig::new(bounds(), 4);
        rig.append(0, "old");
        rig.pass(SECOND);
        rig.append(1, "0123456789");
        rig.pass(SECOND);
        // Its oldest goes by count, so that it is no longer the one with the oldest message.
        for payload in ["x", "y", "z"] {
            rig.append(0, payload);
        }
        rig.pass(SECOND);
        rig.append(2, "0123456789");
        rig.append(3, "0123456789");
        assert_eq!(rig.replay(1, 1), replayed(&[], false));
        assert_eq!(rig.replay(0, 1), replayed(&["3:x", "4:y", "5:z"], true));
        assert_eq!(rig.replay(2, 5), replayed(&["6:0123456789"], true));
        assert_eq!(rig.history.bytes(), 23);
    }

    #[test]
    fn a_message_larger_than_everything_is_not_kept() {
        let mut rig = Rig::new(bounds(), 1);
        rig.append(0, &"x".repeat(31));
        assert_eq!(rig.replay(0, 0), replayed(&[], false));
        assert_eq!(rig.replay(0, 1), replayed(&[], true));
    }

    #[test]
    fn a_channel_that_takes_the_place_of_a_forgotten_one_has_a_history_of_its_own() {
        let mut channels = Channels::new(1);
        let mut history = History::new(bounds());
        let name = ChannelName::parse(b"a").unwrap();
        let first = channels.insert(name.clone(), State::Live, Time::ZERO);
        history.open(first, Position::ZERO);
        history.append(first, Position(1), Time::ZERO, b"first");
        history.forget(first);
        channels.remove(first);
        assert_eq!(history.bytes(), 0);
        let second = channels.insert(name, State::Live, Time::ZERO);
        assert_eq!(first.index(), second.index());
        history.open(second, Position(1));
        let later = Time::ZERO.after(SECOND);
        history.append(second, Position(2), later, b"second");
        history.sweep(Time::ZERO.after(60 * SECOND));
        assert_eq!(history.replay(second, Position(1)).0.len(), 1);
        history.sweep(later.after(60 * SECOND));
        assert_eq!(history.bytes(), 0);
    }
    #[test]
    fn a_break_is_replayed_where_it_lies() {
        let mut rig = Rig::new(bounds(), 1);
        rig.append(0, "a");
        rig.append(0, "b");
        rig.position = Position(5);
        rig.history.mend(rig.channels[0], Position(3), Position(5), GapReason::UpstreamDown);
        rig.append(0, "c");
        assert_eq!(rig.replay(0, 1), replayed(&["2:b", "5:gap from 3 upstream-down", "6:c"], true));
        assert_eq!(rig.replay(0, 4), replayed(&["5:gap from 4 upstream-down", "6:c"], true));
        assert_eq!(rig.replay(0, 5), replayed(&["6:c"], true));
        for payload in ["d", "e", "f"] {
            rig.append(0, payload);
        }
        assert_eq!(rig.replay(0, 2), replayed(&["7:d", "8:e", "9:f"], false));
    }

    #[test]
    fn a_subscription_that_begins_again_gives_up_what_was_there() {
        let mut rig = Rig::new(bounds(), 1);
        rig.append(0, "a");
        rig.history.mend(rig.channels[0], Position(1), Position(2), GapReason::UpstreamDown);
        rig.history.begin(rig.channels[0], Position(3));
        assert_eq!(rig.history.bytes(), 0);
        rig.position = Position(3);
        rig.append(0, "b");
        assert_eq!(rig.replay(0, 1), replayed(&["4:b"], false));
        assert_eq!(rig.replay(0, 3), replayed(&["4:b"], true));
    }

    #[test]
    fn many_breaks_become_one_with_what_lies_between_them() {
        let mut rig = Rig::new(Bounds { count: 100, ..bounds() }, 1);
        for number in 0..17_u64 {
            rig.append(0, "");
            let from = rig.position;
            rig.position = rig.position.next();
            rig.history.mend(rig.channels[0], from, rig.position, GapReason::UpstreamDown);
            assert_eq!(rig.position.0, 2 * number + 2);
        }
        let (replay, is_exact) = rig.replay(0, 1);
        assert_eq!(replay[..3], ["4:gap from 1 upstream-down", "5:", "6:gap from 5 upstream-down"]);
        assert!(is_exact);
    }
}
