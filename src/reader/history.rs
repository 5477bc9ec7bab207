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

    /// The channel is subscribed from `position` on; nothing is known of what came before.
    pub(super) fn begin(&mut self, channel: ChannelId, position: Position) {
        let past = &mut self.pasts[channel.index()];
        assert!(past.begin <= position, "a history is not complete for longer than it was");
        assert!(past.count() == 0, "a channel that was not subscribed has no messages");
        past.begin = position;
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
