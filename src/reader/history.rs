//! What may be replayed: the recent messages of each channel, one copy a process.
//!
//! Bounded for each channel by its rule (count, bytes and age), and over all channels by bytes: there the channel with
//! the oldest message loses its history. A channel always keeps its newest message, whatever its size, until age or the
//! total bound take it, unless its rule keeps nothing. Knows nothing of shards or of Redis.
//!
//! One rule for gaps: a resume from `n` is exact if `n >= complete_since`, which is the greatest of the position at the
//! first acknowledged SUBSCRIBE, the last position that was dropped, and the end of the last time in which Redis could
//! not be heard. Such a time is a *break*: it is replayed where it lies, between what came before and what came after.
//!
//! Invariants: `bytes` is the sum of the logs' lengths; a channel with messages has exactly one entry in the heap of its
//! group, at or before the time of its oldest message. Cost: append is one copy and O(1) without allocation once warm;
//! a channel passes through the heap once in the age of its messages.

use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::base::log::{Log, Spares};
use crate::base::position::Position;
use crate::base::queue::{GapReason, JoinGap, Replayed, Since};
use crate::base::retention::Retention;
use crate::base::time::Time;
use crate::reader::channels::ChannelId;

#[derive(Debug)]
pub(super) struct History {
    /// By the index of the channel's id.
    pasts: Vec<Past>,
    /// One for each retention that a rule gives, in the order of their first channels.
    groups: Vec<Group>,
    bytes: usize,
    /// Of all channels together.
    bytes_max: usize,
    spares: Spares,
}

/// The channels of one retention. Their messages grow old in the order in which they came.
#[derive(Debug)]
struct Group {
    retention: Retention,
    /// The oldest first.
    oldest: BinaryHeap<Reverse<(Time, ChannelId)>>,
}

/// One channel's.
#[derive(Debug)]
struct Past {
    channel: Option<ChannelId>,
    log: Log,
    /// Everything after this is in the log, or lies in a break.
    begin: Position,
    /// In rising position; none ends before the log's first message.
    breaks: Breaks,
    /// The index of its group.
    group: u16,
    /// True exactly while its group's heap has this channel's entry.
    is_scheduled: bool,
}

/// A list of breaks. Hardly any channel has one, so it is 8 bytes and lies elsewhere.
#[derive(Debug, Default)]
#[allow(clippy::box_collection)] // A list in place is 16 bytes more, for every channel.
struct Breaks(Option<Box<Vec<Break>>>);

/// Messages after `from` and before `position` may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Break {
    from: Position,
    position: Position,
    reason: GapReason,
}

impl History {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { pasts: Vec::new(), groups: Vec::new(), bytes: 0, bytes_max, spares: Spares::default() }
    }

    /// A channel begins; it has no messages, and nothing is complete yet.
    pub(super) fn open(&mut self, channel: ChannelId, retention: Retention, now_at: Position) {
        let index = channel.index();
        if index >= self.pasts.len() {
            self.pasts.resize_with(index + 1, Past::default);
        }
        let group = self.group(retention);
        let past = &mut self.pasts[index];
        assert!(past.channel.is_none(), "a channel's history begins once");
        past.channel = Some(channel);
        past.group = group;
        past.begin = now_at;
    }

    /// What is kept of the channel.
    pub(super) fn retention(&self, channel: ChannelId) -> &Retention {
        &self.groups[usize::from(self.pasts[channel.index()].group)].retention
    }

    /// The channel ends. Its entry in the heap is recognised by its old id.
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
        let breaks = past.breaks.list();
        if breaks.len() == BREAKS_MAX {
            // The two oldest become one: what lies between them is passed over as well, and said so.
            breaks[1].from = breaks[0].from;
            breaks.remove(0);
            let passed = breaks[0].position;
            while past.log.first().is_some_and(|frame| frame.position < passed) {
                self.bytes -= past.log.drop_first(&mut self.spares).map_or(0, |(_, length)| length);
            }
        }
        past.breaks.list().push(Break { from, position, reason });
    }

    // Hot: once per message; one copy of the payload.
    pub(super) fn append(&mut self, channel: ChannelId, position: Position, now: Time, payload: &[u8]) {
        let past = &mut self.pasts[channel.index()];
        let group = &mut self.groups[usize::from(past.group)];
        let Retention { count, bytes, .. } = group.retention;
        if group.retention.keeps_nothing() {
            past.begin_after(position);
            return;
        }
        self.bytes +=
            past.log.append(position, now, &mut self.spares, |bytes| bytes.extend_from_slice(payload));
        while past.count() > count || (past.count() > 1 && past.log.len() > bytes) {
            self.bytes -= past.drop_first(&mut self.spares);
        }
        if !std::mem::replace(&mut past.is_scheduled, true) {
            group.oldest.push(Reverse((now, channel)));
        }
        while self.bytes > self.bytes_max {
            self.drop_oldest_channel();
        }
    }

    /// The position after which a join is given what there is; none if it wants only what comes.
    pub(super) fn start(&self, channel: ChannelId, since: Since) -> Option<Position> {
        let past = &self.pasts[channel.index()];
        match since {
            Since::Now => None,
            Since::After(position) => Some(position),
            Since::Earliest => Some(past.begin),
            Since::Last(count) => Some(past.before_last(count)),
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
        let mut breaks = past.breaks.as_slice().iter().filter(|gap| gap.position > position).peekable();
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
        let gap = (position < past.begin).then_some(JoinGap {
            from: position,
            until: past.begin,
            reason: GapReason::TooOld,
        });
        (replay, gap)
    }

    /// Drops what is too old.
    pub(super) fn sweep(&mut self, now: Time) {
        for index in 0..self.groups.len() {
            while let Some(channel) = self.groups[index].take_due(now) {
                let age = self.groups[index].retention.age;
                let past = &mut self.pasts[channel.index()];
                if past.channel != Some(channel) {
                    continue;
                }
                while past.oldest().is_some_and(|at| at.after(age) <= now) {
                    self.bytes -= past.drop_first(&mut self.spares);
                }
                self.schedule(channel);
            }
        }
    }

    /// When `sweep` has something to do: to the second, so that a trickle of messages does not wake the reader for each.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        let due = self.groups.iter().filter_map(Group::next_due).min()?;
        Some(Time::from_nanos(due.as_nanos().div_ceil(NANOS_PER_SECOND).saturating_mul(NANOS_PER_SECOND)))
    }

    /// Payload bytes of all channels.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn drop_oldest_channel(&mut self) {
        let groups = self.groups.iter_mut().filter(|group| !group.oldest.is_empty());
        let oldest = groups.min_by_key(|group| group.oldest.peek().map(|&Reverse((at, _))| at));
        let Some(Reverse((at, channel))) = oldest.and_then(|group| group.oldest.pop()) else {
            unreachable!("a history that has bytes has a channel with messages");
        };
        let past = &mut self.pasts[channel.index()];
        if past.channel != Some(channel) {
            return;
        }
        // Its oldest message may have gone since the entry was made.
        if past.oldest() == Some(at) {
            past.begin_after(past.log.last().expect("it has an oldest message").position);
            self.bytes -= past.log.clear(&mut self.spares);
        }
        self.schedule(channel);
    }

    /// Makes the channel's entry anew, if it has messages.
    fn schedule(&mut self, channel: ChannelId) {
        let past = &mut self.pasts[channel.index()];
        past.is_scheduled = false;
        if let Some(at) = past.oldest() {
            past.is_scheduled = true;
            self.groups[usize::from(past.group)].oldest.push(Reverse((at, channel)));
        }
    }

    fn group(&mut self, retention: Retention) -> u16 {
        let index = self.groups.iter().position(|group| group.retention == retention).unwrap_or_else(|| {
            self.groups.push(Group { retention, oldest: BinaryHeap::new() });
            self.groups.len() - 1
        });
        u16::try_from(index).expect("a configuration file has room for fewer than 2^16 rules")
    }
}

impl Group {
    /// Takes the channel that may have messages that are too old.
    fn take_due(&mut self, now: Time) -> Option<ChannelId> {
        self.next_due().filter(|&due| due <= now)?;
        self.oldest.pop().map(|Reverse((_, channel))| channel)
    }

    fn next_due(&self) -> Option<Time> {
        self.oldest.peek().map(|&Reverse((at, _))| at.after(self.retention.age))
    }
}

impl Past {
    fn count(&self) -> usize {
        self.log.frames().len()
    }

    /// When the oldest message was received.
    fn oldest(&self) -> Option<Time> {
        self.log.first().map(|frame| frame.at)
    }

    /// The position before the newest `count` messages, as far as there are so many.
    fn before_last(&self, count: u32) -> Position {
        let index = self.count().checked_sub(usize::try_from(count).unwrap_or(usize::MAX));
        match index.and_then(|index| index.checked_sub(1)) {
            Some(index) => self.log.frames().nth(index).expect("an index below the count").position,
            None => self.begin,
        }
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
        self.breaks.retain_after(position);
    }
}

impl Breaks {
    fn as_slice(&self) -> &[Break] {
        self.0.as_ref().map_or(&[], |list| list.as_slice())
    }

    /// The list, to be added to.
    fn list(&mut self) -> &mut Vec<Break> {
        self.0.get_or_insert_default()
    }

    /// Forgets those that end at or before `position`.
    fn retain_after(&mut self, position: Position) {
        if let Some(list) = &mut self.0 {
            list.retain(|gap| gap.position > position);
            if list.is_empty() {
                self.0 = None;
            }
        }
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
            breaks: Breaks::default(),
            group: 0,
            is_scheduled: false,
        }
    }
}

/// Breaks of one channel that are told apart.
const BREAKS_MAX: usize = 16;
const NANOS_PER_SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        fn new(retention: Retention, count: u32) -> Self {
            let mut channels = Channels::new(1);
            let mut history = History::new(BYTES_MAX);
            let channels: Vec<ChannelId> = (0..count)
                .map(|number| {
                    let name = ChannelName::parse(format!("c{number}").as_bytes()).unwrap();
                    channels.insert(name, State::Live, Time::ZERO)
                })
                .collect();
            channels.iter().for_each(|&channel| history.open(channel, retention, Position::ZERO));
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
                let until = self.history.pasts[self.channels[channel].index()].begin;
                assert_eq!(gap, JoinGap { from: Position(position), until, reason: GapReason::TooOld });
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

    const FEW: Retention = Retention { count: 3, bytes: 10, age: Duration::from_secs(60) };
    const BYTES_MAX: usize = 30;

    fn replayed(messages: &[&str], is_exact: bool) -> (Vec<String>, bool) {
        (messages.iter().map(|&message| message.to_owned()).collect(), is_exact)
    }

    #[test]
    fn a_resume_is_exact_from_the_last_position_that_was_dropped() {
        let mut rig = Rig::new(FEW, 1);
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
        let mut rig = Rig::new(FEW, 1);
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
        let mut rig = Rig::new(FEW, 1);
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
        let mut rig = Rig::new(FEW, 2);
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
        let mut rig = Rig::new(FEW, 4);
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
        let mut rig = Rig::new(FEW, 1);
        rig.append(0, &"x".repeat(31));
        assert_eq!(rig.replay(0, 0), replayed(&[], false));
        assert_eq!(rig.replay(0, 1), replayed(&[], true));
    }

    #[test]
    fn a_channel_that_takes_the_place_of_a_forgotten_one_has_a_history_of_its_own() {
        let mut channels = Channels::new(1);
        let mut history = History::new(BYTES_MAX);
        let name = ChannelName::parse(b"a").unwrap();
        let first = channels.insert(name.clone(), State::Live, Time::ZERO);
        history.open(first, FEW, Position::ZERO);
        history.append(first, Position(1), Time::ZERO, b"first");
        history.forget(first);
        channels.remove(first);
        assert_eq!(history.bytes(), 0);
        let second = channels.insert(name, State::Live, Time::ZERO);
        assert_eq!(first.index(), second.index());
        history.open(second, FEW, Position(1));
        let later = Time::ZERO.after(SECOND);
        history.append(second, Position(2), later, b"second");
        history.sweep(Time::ZERO.after(60 * SECOND));
        assert_eq!(history.replay(second, Position(1)).0.len(), 1);
        history.sweep(later.after(60 * SECOND));
        assert_eq!(history.bytes(), 0);
    }

    #[test]
    fn everything_that_is_kept_and_the_newest_few_can_be_asked_for_without_a_gap() {
        let mut rig = Rig::new(FEW, 1);
        for payload in ["a", "b", "c", "d"] {
            rig.append(0, payload);
        }
        let since = |since| {
            let start = rig.history.start(rig.channels[0], since).unwrap();
            rig.replay(0, start.0)
        };
        assert_eq!(since(Since::Earliest), replayed(&["2:b", "3:c", "4:d"], true));
        assert_eq!(since(Since::Last(2)), replayed(&["3:c", "4:d"], true));
        assert_eq!(since(Since::Last(0)), replayed(&[], true));
        assert_eq!(since(Since::Last(3)), since(Since::Earliest));
        assert_eq!(since(Since::Last(u32::MAX)), since(Since::Earliest));
        assert_eq!(rig.history.start(rig.channels[0], Since::Now), None);
    }

    #[test]
    fn a_rule_that_keeps_nothing_keeps_nothing_and_says_so() {
        let mut rig = Rig::new(Retention { count: 0, ..FEW }, 1);
        rig.append(0, "a");
        rig.append(0, "b");
        assert_eq!((rig.history.bytes(), rig.history.next_deadline()), (0, None));
        assert_eq!(rig.replay(0, 1), replayed(&[], false));
        assert_eq!(rig.replay(0, 2), replayed(&[], true));
    }

    /// Two channels, of which the second's messages live ten times as long.
    fn short_and_long() -> Rig {
        let mut rig = Rig::new(FEW, 2);
        let long = rig.channels[1];
        rig.history.forget(long);
        rig.history.open(long, Retention { age: 600 * SECOND, ..FEW }, Position::ZERO);
        rig
    }

    #[test]
    fn each_channel_keeps_as_long_as_its_own_rule_says() {
        let mut rig = short_and_long();
        rig.append(1, "long");
        rig.append(0, "short");
        assert_eq!(rig.history.next_deadline(), Some(Time::ZERO.after(60 * SECOND)));
        rig.pass(60 * SECOND);
        assert_eq!(rig.replay(0, 0), replayed(&[], false));
        assert_eq!(rig.replay(1, 0), replayed(&["1:long"], true));
        rig.pass(540 * SECOND);
        assert_eq!((rig.history.bytes(), rig.history.next_deadline()), (0, None));
    }

    #[test]
    fn at_the_total_bound_the_oldest_message_counts_and_not_the_one_that_would_go_first() {
        let mut rig = short_and_long();
        rig.append(1, "0123456789");
        rig.pass(SECOND);
        rig.append(0, &"x".repeat(25));
        assert_eq!(rig.replay(1, 0), replayed(&[], false));
        assert_eq!(rig.replay(0, 1).0.len(), 1);
    }

    #[test]
    fn a_break_is_replayed_where_it_lies() {
        let mut rig = Rig::new(FEW, 1);
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
        let mut rig = Rig::new(FEW, 1);
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
        let mut rig = Rig::new(Retention { count: 100, ..FEW }, 1);
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
