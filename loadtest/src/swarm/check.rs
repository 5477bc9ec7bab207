//! What is found out about one subscriber's bytes, and the account of it for all subscribers of a process.
//!
//! Two ways lead to the same findings. The slow one reads every event and asks the subscriber's tracker what it means.
//! The quick one takes bytes that equal what another subscriber was sent (`reference`) for what they were there. It only
//! ever takes messages that are next for this subscriber, whole, from where a block begins; anything else is left to the
//! slow one. A property test at the end of this file holds the two equal.

use std::mem;

use crate::payload::{Payload, Stamp};
use crate::statistics::Latencies;
use crate::swarm::events::{EndlessBlock, Event, EventReader};
use crate::swarm::frontier::Frontier;
use crate::swarm::orders::{Beats, Published, Tally};
use crate::swarm::reference::{Followed, Reference};
use crate::swarm::resume::{Counts, Memory};
use crate::swarm::sequence::{Arrival, Tracker};
use crate::sys;

/// What is counted for all subscribers of a process.
#[derive(Debug)]
pub struct Account {
    /// The first message that counts.
    owed_from: u64,
    pub tally: Tally,
    latencies: Latencies,
    /// Of the whole run, whatever is cut meanwhile.
    pub beats: Beats,
    /// The interval that they are spread over.
    beat_micros: u64,
    /// Of those who come back.
    pub returns: Counts,
    /// None where each subscriber has a channel of its own.
    shared: Option<Shared>,
}

/// What is known of the one channel of all subscribers.
#[derive(Debug, Default)]
struct Shared {
    frontier: Frontier,
    reference: Reference,
}

/// One subscriber, for the time of looking at its socket.
#[derive(Debug)]
pub struct Check<'a> {
    pub payload: &'a Payload,
    pub account: &'a mut Account,
    pub tracker: &'a mut Tracker,
    /// Of one who comes back when its stream ends.
    pub memory: Option<&'a mut Memory>,
}

impl Account {
    pub fn new(owed_from: u64, is_one_channel: bool, beat_micros: u64) -> Self {
        Self {
            owed_from,
            tally: Tally::default(),
            latencies: Latencies::default(),
            beats: Beats::default(),
            beat_micros,
            returns: Counts::default(),
            shared: is_one_channel.then(Shared::default),
        }
    }

    /// One more subscriber, before the first message.
    pub fn join(&mut self) {
        self.shared.iter_mut().for_each(|shared| shared.frontier.join());
    }

    /// A subscriber went away that waited for `next`.
    pub fn depart(&mut self, next: u64) {
        self.shared.iter_mut().for_each(|shared| shared.frontier.depart(next));
    }

    /// How far all subscribers have come, if it is further than when it was last asked.
    pub fn advance(&mut self) -> Option<u64> {
        self.shared.as_mut()?.frontier.advance()
    }

    /// Latencies count from here on.
    pub fn forget_latencies(&mut self) {
        self.latencies = Latencies::default();
    }

    /// Ends the count and begins a new one, of what is published from now on. `places` are those of all subscribers whose
    /// streams opened, with their indexes.
    pub fn cut(&mut self, published: &Published, places: impl Iterator<Item = (usize, Tracker)>) -> Tally {
        for (index, tracker) in places {
            let published = published.to(index);
            self.tally.lost += tracker.missing_at_end(published, self.owed_from);
            self.tally.expected += published.saturating_sub(self.owed_from);
        }
        self.tally.latencies = mem::take(&mut self.latencies).buckets();
        if let Published::ToAll(published) = published {
            self.owed_from = *published;
        }
        // Who is gone stays gone, and is owed what it does not get.
        let disconnected = self.tally.disconnected;
        mem::replace(&mut self.tally, Tally { disconnected, ..Tally::default() })
    }
}

impl Check<'_> {
    /// Takes bytes of the subscriber's stream; `events` is its reader.
    // Hot: once per read. The clock is read once and holds for all of it.
    pub fn read(&mut self, events: &mut EventReader, bytes: &[u8]) -> Result<(), EndlessBlock> {
        self.read_at(events, bytes, &mut None)
    }

    fn read_at(
        &mut self,
        events: &mut EventReader,
        bytes: &[u8],
        now: &mut Option<u64>,
    ) -> Result<(), EndlessBlock> {
        match self.follow(events.carry(), bytes, now) {
            None => self.read_slowly(events, bytes, now),
            Some(taken) => {
                events.skip_to_block();
                self.read_slowly(events, &bytes[taken..], now)
            }
        }
    }

    /// The slow way.
    fn read_slowly(
        &mut self,
        events: &mut EventReader,
        bytes: &[u8],
        now: &mut Option<u64>,
    ) -> Result<(), EndlessBlock> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (account, tracker) = (&mut *self.account, &mut *self.tracker);
        let mut memory = self.memory.as_deref_mut();
        events.read(bytes, self.payload, |event, block| {
            account.take(event, block, now, tracker, memory.as_deref_mut());
        })
    }

    /// The quick way: how many bytes it took, if any.
    // Hot: once per read; per message one comparison of its bytes and of its due time.
    fn follow(&mut self, carry: &[u8], bytes: &[u8], now: &mut Option<u64>) -> Option<usize> {
        let Tracker::Following { next, .. } = *self.tracker else { return None };
        if self.memory.as_ref().is_some_and(|memory| memory.is_behind()) {
            return None;
        }
        let account = &mut *self.account;
        let shared = account.shared.as_mut()?;
        let Followed { blocks, last, taken } = shared.reference.follow(next, carry, bytes)?;
        let count = blocks.len() as u64;
        self.tracker.follow(count);
        if let Some(memory) = &mut self.memory {
            let mut now = || *now.get_or_insert_with(sys::monotonic_nanos);
            memory.read(last, next + count, &mut account.returns, &mut now);
            memory.take_message(0, &mut account.returns);
            memory.follow(next + count, &mut account.returns, now);
        }
        shared.frontier.settle(next, next + count);
        let warm_up = usize::try_from(account.owed_from.saturating_sub(next)).unwrap_or(usize::MAX);
        let counted = blocks.get(warm_up..).unwrap_or_default();
        if !counted.is_empty() {
            let now = *now.get_or_insert_with(sys::monotonic_nanos);
            account.tally.delivered += counted.len() as u64;
            // Messages that were published together were due together.
            for due in counted.chunk_by(|one, next| one.due_nanos == next.due_nanos) {
                account.latencies.record_many(now.saturating_sub(due[0].due_nanos), due.len() as u64);
            }
        }
        Some(taken)
    }
}

impl Account {
    // Hot: once per delivery that is read the slow way.
    fn take(
        &mut self,
        event: Event,
        block: &[u8],
        now: &mut Option<u64>,
        tracker: &mut Tracker,
        mut memory: Option<&mut Memory>,
    ) {
        if let Some(memory) = &mut memory {
            memory.read(block, tracker.next(), &mut self.returns, || {
                *now.get_or_insert_with(sys::monotonic_nanos)
            });
        }
        let stamp = match event {
            Event::Message(stamp) => stamp,
            Event::Beat => {
                self.beats.note(*now.get_or_insert_with(sys::monotonic_nanos), self.beat_micros);
                return;
            }
            Event::Setting => return,
            Event::GapStated => {
                self.tally.gaps_stated += 1;
                memory.into_iter().for_each(|memory| memory.take_gap(block, &mut self.returns));
                return;
            }
            Event::Foreign => {
                self.tally.foreign += 1;
                return;
            }
        };
        let before = tracker.next();
        let arrival = tracker.arrive(stamp.sequence, self.owed_from);
        if let Some(shared) = &mut self.shared
            && tracker.next() > before
        {
            shared.frontier.settle(before, tracker.next());
        }
        let is_behind = memory.as_ref().is_some_and(|memory| memory.is_behind());
        if let Some(memory) = memory
            && arrival != Arrival::Repeat
        {
            let missing = if let Arrival::AfterGap { missing } = arrival { missing } else { 0 };
            memory.take_message(missing, &mut self.returns);
            memory
                .follow(tracker.next(), &mut self.returns, || *now.get_or_insert_with(sys::monotonic_nanos));
        }
        match arrival {
            Arrival::InOrder => self.learn(stamp, block),
            Arrival::AfterGap { missing } => self.tally.lost += missing,
            Arrival::Late => {
                // It may have been counted as lost before the present count began.
                self.tally.lost = self.tally.lost.saturating_sub(1);
                self.tally.reordered += 1;
            }
            Arrival::Repeat => {
                self.tally.repeated += 1;
                return;
            }
        }
        if stamp.sequence >= self.owed_from {
            self.tally.delivered += 1;
            // Of what somebody missed while it was away, the server owes no latency.
            if !is_behind {
                let now = *now.get_or_insert_with(sys::monotonic_nanos);
                self.latencies.record(now.saturating_sub(stamp.due_nanos));
            }
        }
    }

    fn learn(&mut self, Stamp { sequence, due_nanos }: Stamp, block: &[u8]) {
        if let Some(shared) = &mut self.shared {
            shared.reference.learn(sequence, due_nanos, block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBSCRIBERS: usize = 4;
    const MESSAGES: u64 = 60;
    const NOW: u64 = 1_000_000;

    /// xorshift64*: the same faults on every machine.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % bound
        }
    }

    /// One process's subscribers, checked in one of the two ways.
    struct Swarm {
        is_quick: bool,
        payload: Payload,
        account: Account,
        subscribers: Vec<(Tracker, EventReader)>,
    }

    impl Swarm {
        fn new(is_quick: bool) -> Self {
            let mut account = Account::new(5, true, 0);
            (0..SUBSCRIBERS).for_each(|_| account.join());
            let subscribers = (0..SUBSCRIBERS).map(|_| Default::default()).collect();
            Self { is_quick, payload: Payload::new(50), account, subscribers }
        }

        fn read(&mut self, index: usize, bytes: &[u8]) {
            let (tracker, events) = &mut self.subscribers[index];
            let mut check =
                Check { payload: &self.payload, account: &mut self.account, tracker, memory: None };
            match self.is_quick {
                true => check.read_at(events, bytes, &mut Some(NOW)).unwrap(),
                false => check.read_slowly(events, bytes, &mut Some(NOW)).unwrap(),
            }
        }

        fn cut(&mut self, published: u64) -> Tally {
            let trackers = self.trackers();
            self.account.cut(&Published::ToAll(published), trackers.into_iter().enumerate())
        }

        fn trackers(&self) -> Vec<Tracker> {
            self.subscribers.iter().map(|(tracker, _)| *tracker).collect()
        }
    }

    fn frame(sequence: u64) -> Vec<u8> {
        let mut frame = b"data: ".to_vec();
        Payload::new(50).write(Stamp { sequence, due_nanos: 100 + sequence / 4 }, &mut frame);
        frame.extend_from_slice(format!("\nid: e.{}\n\n", sequence + 5).as_bytes());
        frame
    }

    /// What one subscriber is sent: all frames in order, but for `faults` things that go wrong.
    fn stream(random: &mut Random, faults: usize) -> Vec<u8> {
        let mut frames: Vec<Vec<u8>> = (0..MESSAGES).map(frame).collect();
        for _ in 0..faults {
            let at = random.below(frames.len().max(3) - 2);
            match random.below(8) {
                0 => drop(frames.remove(at)),
                1 => frames.insert(at, frames[at].clone()),
                2 => frames.swap(at, at + 1),
                3 => {
                    let byte = random.below(frames[at].len());
                    frames[at][byte] ^= 1 << random.below(7);
                }
                4 => frames.insert(at, b":\n\n".to_vec()),
                5 => frames.insert(at, b"event: courier-gap\ndata: {}\nid: e.9\n\n".to_vec()),
                6 => {
                    let from = random.below(frames.len());
                    frames.insert(at, frames[from].clone());
                }
                _ => frames.truncate(at + 2),
            }
        }
        [b"retry: 2000\nid: e.4\n\n".to_vec(), frames.concat()].concat()
    }

    #[test]
    fn the_quick_way_finds_what_the_slow_way_finds() {
        let mut random = Random(4_711);
        let (mut flawless, mut faulty) = (0, 0);
        for round in 0..300 {
            let (mut quick, mut slow) = (Swarm::new(true), Swarm::new(false));
            let streams: Vec<_> = (0..SUBSCRIBERS)
                .map(|_| {
                    let faults = random.below(4).saturating_sub(1);
                    stream(&mut random, faults)
                })
                .collect();
            let mut at = [0; SUBSCRIBERS];
            let longest = 1 + random.below(2_000);
            while let Some(index) = (0..SUBSCRIBERS)
                .map(|step| (step + round) % SUBSCRIBERS)
                .filter(|&index| at[index] < streams[index].len())
                .max_by_key(|_| random.below(100))
            {
                let end = (at[index] + 1 + random.below(longest)).min(streams[index].len());
                for swarm in [&mut quick, &mut slow] {
                    swarm.read(index, &streams[index][at[index]..end]);
                }
                at[index] = end;
                assert_eq!(quick.trackers(), slow.trackers(), "round {round}");
                assert_eq!(quick.account.advance(), slow.account.advance(), "round {round}");
                if random.below(500) == 0 {
                    let published = slow.subscribers[index].0.next();
                    assert_eq!(quick.cut(published), slow.cut(published), "round {round}");
                }
            }
            let tally = quick.cut(MESSAGES);
            assert_eq!(tally, slow.cut(MESSAGES), "round {round}");
            if tally.is_flawless() { flawless += 1 } else { faulty += 1 }
        }
        assert!(flawless > 5 && faulty > 150, "{flawless} flawless, {faulty} faulty");
    }

    #[test]
    fn a_subscriber_that_is_sent_what_another_was_is_not_read_the_slow_way() {
        let mut swarm = Swarm::new(true);
        let all: Vec<u8> = (0..MESSAGES).flat_map(frame).collect();
        swarm.read(0, &all);
        swarm.read(1, &frame(0));
        // Without a payload to compare with, the slow way takes nothing for a message of the run.
        swarm.payload = Payload::new(33);
        swarm.read(1, &all[frame(0).len()..]);
        swarm.subscribers.truncate(2);
        let tally = swarm.cut(MESSAGES);
        assert!(tally.is_flawless(), "{tally:?}");
        assert_eq!(tally.delivered, 2 * (MESSAGES - 5));
    }
}
