//! Subscribers that come back, as an EventSource does: with the last id that they were given, after the time that they
//! were told to wait.
//!
//! Two ways lead away: the server ends a stream (or dies), or the subscriber cuts it, as a phone does that loses its
//! network. A subscriber that was away is owed what came meanwhile; it has caught up when it has every message that
//! others of its process had when it dialled. What it is told instead of messages, gaps, is counted by reason, and
//! every message that it lacks is one of a stated gap or one lost in silence.
//!
//! Not of the other scenarios: without a `Resume` in the plan there is no memory, and nothing of this runs. Cost with
//! one: a look at each block for its id, and a hundred bytes a subscriber.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use serde::{Deserialize, Serialize};

use crate::statistics::{Buckets, Latencies};

/// When subscribers leave, and when they come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// Each stream is cut about so often: after half of it at least and one and a half of it at most. 0: never.
    pub cut_micros: u64,
    /// Who has cut its stream comes back after so long. Who was left by the server comes back after its `retry:`.
    pub away_micros: u64,
}

/// One subscriber's memory from stream to stream.
#[derive(Debug, Default)]
pub struct Memory {
    last_id: Vec<u8>,
    /// As an EventSource has it: that of the last `retry:`.
    retry_millis: Option<u64>,
    stage: Stage,
    /// Whether it ever had a stream.
    pub has_joined: bool,
    /// When its timer is due; any other time is that of an earlier one.
    due_nanos: u64,
    /// Whether it has come back since the last mark.
    has_returned: bool,
    /// Gaps that it was told of since the last mark.
    gaps: u32,
    /// True from a stated gap to the next message: what is missing between them was stated.
    is_in_gap: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    /// It has a stream for as long as that lasts, or never had one.
    #[default]
    There,
    Away {
        since_nanos: u64,
    },
    /// On its way back, and not yet told where it stands.
    Dialling {
        away_nanos: u64,
        since_nanos: u64,
        target: u64,
    },
    /// Its stream has begun, and messages before `target` are to come.
    CatchingUp {
        since_nanos: u64,
        target: u64,
    },
}

/// What came of all that leaving and coming back, in one process or in all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returns {
    /// Subscribers that have no stream at present, or have not caught up.
    pub missing: u64,
    /// Subscribers that have come back since the mark, and have a stream.
    pub returned: u64,
    /// Streams that subscribers cut, and streams that the server ended or broke.
    pub cut: u64,
    pub ended: u64,
    /// Attempts to come back that met nobody or broke before there was an answer.
    pub refused: u64,
    /// Streams that were opened again, and told the subscriber where it stands.
    pub resumed: u64,
    /// Messages that came after their subscriber was away, of those that it missed.
    pub replayed: u64,
    /// Gaps that the server stated, by reason.
    pub gaps: BTreeMap<String, u64>,
    /// Messages that did not come, and that a gap was stated for; and those lost without a word.
    pub stated: u64,
    pub silent: u64,
    /// Subscribers that were told of no gap, of one, and of more since the mark.
    pub told: [u64; 3],
    /// From the end of a stream until the next one told where it stands.
    pub away: Buckets,
    /// From the mark until then.
    pub back: Buckets,
    /// From dialling until caught up, of those that had missed something.
    pub caught_up: Buckets,
}

/// The same while it is counted.
#[derive(Debug, Default)]
pub struct Counts {
    counts: Returns,
    mark_nanos: u64,
    away: Latencies,
    back: Latencies,
    caught_up: Latencies,
    /// The first message that nobody has had.
    latest: u64,
}

/// The subscribers of a process that come back.
#[derive(Debug)]
pub struct Returning {
    plan: Resume,
    memories: Vec<Memory>,
    timers: BinaryHeap<Reverse<(u64, usize)>>,
    /// Whether streams are cut at present.
    is_cutting: bool,
    random: u64,
}

/// What a subscriber's timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Cut(usize),
    Dial(usize),
}

impl Returns {
    /// Adds another process's counts; the latencies are merged by whoever shows them.
    pub fn add(&mut self, other: &Self) {
        self.missing += other.missing;
        self.returned += other.returned;
        self.cut += other.cut;
        self.ended += other.ended;
        self.refused += other.refused;
        self.resumed += other.resumed;
        self.replayed += other.replayed;
        self.stated += other.stated;
        self.silent += other.silent;
        self.told.iter_mut().zip(other.told).for_each(|(sum, count)| *sum += count);
        for (reason, count) in &other.gaps {
            *self.gaps.entry(reason.clone()).or_default() += count;
        }
        for (sum, other) in [
            (&mut self.away, &other.away),
            (&mut self.back, &other.back),
            (&mut self.caught_up, &other.caught_up),
        ] {
            let mut latencies = Latencies::default();
            latencies.merge(sum);
            latencies.merge(other);
            *sum = latencies.buckets();
        }
    }
}

impl Memory {
    pub fn last_id(&self) -> &[u8] {
        &self.last_id
    }

    /// Whether messages are still to come that it missed: then their latency is none of the server's.
    pub fn is_behind(&self) -> bool {
        self.stage != Stage::There
    }

    /// Takes a whole block, whatever it says: its `id:` and `retry:`. `next` is the message that is waited for.
    pub fn read(&mut self, block: &[u8], next: u64, counts: &mut Counts, now: impl FnOnce() -> u64) {
        let mut is_told = false;
        for line in block.split(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if let Some(id) = line.strip_prefix(b"id:") {
                self.last_id.clear();
                self.last_id.extend_from_slice(id.strip_prefix(b" ").unwrap_or(id));
                is_told = true;
            } else if let Some(retry) = line.strip_prefix(b"retry:") {
                let digits = std::str::from_utf8(retry).ok().map(str::trim);
                self.retry_millis = digits.and_then(|digits| digits.parse().ok()).or(self.retry_millis);
            }
        }
        if let (true, Stage::Dialling { away_nanos, since_nanos, target }) = (is_told, self.stage) {
            let now = now();
            counts.counts.resumed += 1;
            self.has_returned = true;
            counts.away.record(now.saturating_sub(away_nanos));
            counts.back.record(now.saturating_sub(counts.mark_nanos));
            self.stage = if next < target { Stage::CatchingUp { since_nanos, target } } else { Stage::There };
        }
    }

    /// The server says that messages are missing.
    pub fn take_gap(&mut self, block: &[u8], counts: &mut Counts) {
        self.gaps = self.gaps.saturating_add(1);
        self.is_in_gap = true;
        *counts.counts.gaps.entry(reason(block)).or_default() += 1;
    }

    /// A message came, behind a hole of so many.
    pub fn take_message(&mut self, missing: u64, counts: &mut Counts) {
        let is_stated = std::mem::take(&mut self.is_in_gap);
        let sum = if is_stated { &mut counts.counts.stated } else { &mut counts.counts.silent };
        *sum += missing;
        counts.counts.replayed += u64::from(self.is_behind());
    }

    /// The next message that it waits for is `next`.
    pub fn follow(&mut self, next: u64, counts: &mut Counts, now: impl FnOnce() -> u64) {
        counts.latest = counts.latest.max(next);
        if let Stage::CatchingUp { since_nanos, target } = self.stage
            && next >= target
        {
            counts.caught_up.record(now().saturating_sub(since_nanos));
            self.stage = Stage::There;
        }
    }
}

impl Counts {
    /// Times count from here, and so do gaps.
    pub fn mark(&mut self, now_nanos: u64) {
        (self.mark_nanos, self.back) = (now_nanos, Latencies::default());
    }
}

impl Returning {
    pub fn new(plan: Resume, seed: u64) -> Self {
        let (memories, timers) = (Vec::new(), BinaryHeap::new());
        Self { plan, memories, timers, is_cutting: false, random: seed }
    }

    pub fn join(&mut self) {
        self.memories.push(Memory::default());
    }

    pub fn memory(&mut self, index: usize) -> &mut Memory {
        &mut self.memories[index]
    }

    pub fn has_joined(&self, index: usize) -> bool {
        self.memories[index].has_joined
    }

    pub fn mark(&mut self) {
        for memory in &mut self.memories {
            (memory.gaps, memory.has_returned) = (0, false);
        }
    }

    /// From now on streams are cut, as if that had been so for long; or no more, and who is away comes back.
    pub fn set_cutting(&mut self, is_cutting: bool, now_nanos: u64) {
        self.is_cutting = is_cutting;
        let span = self.plan.cut_micros.saturating_mul(1_000);
        for index in 0..self.memories.len() {
            let memory = &self.memories[index];
            if is_cutting && memory.has_joined && !matches!(memory.stage, Stage::Away { .. }) {
                let due = now_nanos + self.next_random() % (span + span / 2).max(1);
                self.set_timer(index, due);
            }
        }
    }

    /// The subscriber has a stream.
    pub fn open(&mut self, index: usize, now_nanos: u64) {
        self.memories[index].has_joined = true;
        if self.is_cutting {
            // Half of it at least, one and a half at most.
            let span = self.plan.cut_micros.saturating_mul(1_000);
            let due = now_nanos + span / 2 + self.next_random() % span.max(1);
            self.set_timer(index, due);
        }
    }

    /// It has cut its stream.
    pub fn cut(&mut self, index: usize, now_nanos: u64, counts: &mut Counts) {
        counts.counts.cut += 1;
        self.leave(index, now_nanos);
        self.set_timer(index, now_nanos + self.plan.away_micros.saturating_mul(1_000));
    }

    /// It was left by the server, or did not get so far as to have a stream.
    pub fn end(&mut self, index: usize, was_live: bool, now_nanos: u64, counts: &mut Counts) {
        let count = if was_live { &mut counts.counts.ended } else { &mut counts.counts.refused };
        *count += 1;
        self.leave(index, now_nanos);
        let retry = self.memories[index].retry_millis.unwrap_or(RETRY_MILLIS);
        self.set_timer(index, now_nanos + retry.saturating_mul(1_000_000));
    }

    /// It dials again.
    pub fn dial(&mut self, index: usize, now_nanos: u64, counts: &Counts) {
        if let Stage::Away { since_nanos } = self.memories[index].stage {
            self.memories[index].stage =
                Stage::Dialling { away_nanos: since_nanos, since_nanos: now_nanos, target: counts.latest };
        }
    }

    /// When the next timer is due.
    pub fn next_due(&self) -> Option<u64> {
        self.timers.peek().map(|Reverse((due, _))| *due)
    }

    /// The next subscriber whose time has come.
    pub fn take_due(&mut self, now_nanos: u64) -> Option<Turn> {
        while let Some(&Reverse((due, index))) = self.timers.peek()
            && due <= now_nanos
        {
            self.timers.pop();
            let memory = &mut self.memories[index];
            if memory.due_nanos != due {
                continue;
            }
            memory.due_nanos = 0;
            match memory.stage {
                Stage::Away { .. } => return Some(Turn::Dial(index)),
                Stage::There | Stage::CatchingUp { .. } if self.is_cutting => return Some(Turn::Cut(index)),
                Stage::There | Stage::CatchingUp { .. } | Stage::Dialling { .. } => {}
            }
        }
        None
    }

    /// Everything so far.
    pub fn returns(&self, counts: &Counts) -> Returns {
        let mut returns = counts.counts.clone();
        returns.missing = self.memories.iter().filter(|memory| memory.is_behind()).count() as u64;
        let is_back = |memory: &&Memory| memory.has_returned && !memory.is_behind();
        returns.returned = self.memories.iter().filter(is_back).count() as u64;
        for memory in self.memories.iter().filter(|memory| memory.has_joined) {
            returns.told[usize::try_from(memory.gaps).unwrap_or(usize::MAX).min(2)] += 1;
        }
        returns.away = counts.away.buckets();
        returns.back = counts.back.buckets();
        returns.caught_up = counts.caught_up.buckets();
        returns
    }

    /// Who was on its way and did not get there has been away since it first left.
    fn leave(&mut self, index: usize, now_nanos: u64) {
        let memory = &mut self.memories[index];
        let since_nanos = match memory.stage {
            Stage::Away { since_nanos } => since_nanos,
            Stage::Dialling { away_nanos, .. } => away_nanos,
            Stage::There | Stage::CatchingUp { .. } => now_nanos,
        };
        memory.stage = Stage::Away { since_nanos };
    }

    fn set_timer(&mut self, index: usize, due_nanos: u64) {
        self.memories[index].due_nanos = due_nanos;
        self.timers.push(Reverse((due_nanos, index)));
    }

    /// SplitMix64: the same in every run.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.random;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

/// What browsers wait that were never told.
const RETRY_MILLIS: u64 = 3_000;

/// `reason` of the JSON object of a gap.
fn reason(block: &[u8]) -> String {
    let text = String::from_utf8_lossy(block);
    let reason = text.split_once("\"reason\":\"").and_then(|(_, rest)| rest.split_once('"'));
    reason.map_or_else(|| "none given".to_owned(), |(reason, _)| reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// One subscriber that had message 0 of those up to `latest`.
    fn one(cut_micros: u64, latest: u64) -> (Returning, Counts) {
        let mut returning = Returning::new(Resume { cut_micros, away_micros: 2_000_000 }, 1);
        let mut counts = Counts { latest, ..Counts::default() };
        returning.join();
        returning.set_cutting(cut_micros > 0, SECOND);
        returning.open(0, SECOND);
        returning.memory(0).read(b"retry: 700\nid: e.1\n\n", 0, &mut counts, || SECOND);
        returning.memory(0).follow(1, &mut counts, || SECOND);
        (returning, counts)
    }

    #[test]
    fn who_was_left_comes_back_after_its_retry_with_its_last_id() {
        let (mut returning, mut counts) = one(0, 0);
        returning.end(0, true, 10 * SECOND, &mut counts);
        assert_eq!(returning.take_due(10 * SECOND + 699_000_000), None);
        assert_eq!(returning.take_due(10 * SECOND + 700_000_000), Some(Turn::Dial(0)));
        assert_eq!(returning.memory(0).last_id(), b"e.1");
        returning.dial(0, 11 * SECOND, &counts);
        // Nobody answers: once more after as long.
        returning.end(0, false, 11 * SECOND, &mut counts);
        assert_eq!(returning.take_due(12 * SECOND), Some(Turn::Dial(0)));
        returning.dial(0, 12 * SECOND, &counts);
        returning.open(0, 13 * SECOND);
        returning.memory(0).read(b"id: e.1\n\n", 1, &mut counts, || 13 * SECOND);
        let returns = returning.returns(&counts);
        assert_eq!(returns.returned, 1);
        returning.mark();
        assert_eq!(returning.returns(&counts).returned, 0, "nobody has come back since");
        assert_eq!((returns.ended, returns.refused, returns.resumed, returns.missing), (1, 1, 1, 0));
        assert_eq!(counts.away.percentiles().unwrap().samples, 1);
        assert!(
            counts.away.percentiles().unwrap().max_ms > 2_990.0,
            "since it was left, not since the last try"
        );
    }

    #[test]
    fn who_cuts_its_stream_does_so_within_bounds_and_stays_away_as_long_as_asked() {
        let (mut returning, mut counts) = one(15_000_000, 0);
        let due = returning.next_due().unwrap();
        assert!((SECOND + 15 * SECOND / 2..=SECOND + 15 * SECOND * 3 / 2).contains(&due), "{due}");
        assert_eq!(returning.take_due(due), Some(Turn::Cut(0)));
        returning.cut(0, due, &mut counts);
        assert_eq!(returning.next_due(), Some(due + 2 * SECOND));
        returning.set_cutting(false, due);
        assert_eq!(returning.take_due(due + 2 * SECOND), Some(Turn::Dial(0)), "who is away comes back");
    }

    #[test]
    fn it_has_caught_up_with_what_the_others_had_when_it_dialled() {
        let (mut returning, mut counts) = one(0, 3);
        returning.cut(0, 10 * SECOND, &mut counts);
        returning.dial(0, 12 * SECOND, &counts);
        let memory = returning.memory(0);
        memory.read(b"id: e.1\n\n", 1, &mut counts, || 13 * SECOND);
        for next in [2, 3] {
            assert!(memory.is_behind(), "{next}");
            memory.take_message(0, &mut counts);
            memory.follow(next, &mut counts, || 14 * SECOND);
        }
        assert!(!memory.is_behind());
        let caught_up = counts.caught_up.percentiles().unwrap();
        assert_eq!((counts.counts.replayed, caught_up.samples), (2, 1));
        assert!((caught_up.max_ms - 2_000.0).abs() < 5.0, "{caught_up:?}");
    }

    #[test]
    fn what_is_missing_was_stated_or_is_lost_in_silence() {
        let (mut returning, mut counts) = one(0, 0);
        let gap = b"event: courier-gap\ndata: {\"channel\":\"c\",\"from\":null,\"reason\":\"too-old\"}\nid: e.9\n\n";
        let memory = returning.memory(0);
        memory.take_gap(gap, &mut counts);
        memory.take_message(7, &mut counts);
        memory.take_message(2, &mut counts);
        let returns = returning.returns(&counts);
        assert_eq!((returns.stated, returns.silent, returns.told), (7, 2, [0, 1, 0]));
        assert_eq!(returns.gaps.get("too-old"), Some(&1));
        assert_eq!(reason(b"event: courier-gap\ndata: {}\n\n"), "none given");
    }
}
