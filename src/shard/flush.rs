//! Turning what is owed into sends: a volley is planned, the driver submits it, the outcome is settled.
//!
//! Planning takes success for granted: cursors move to the end. Settling puts right what the kernel did not take. A
//! connection whose send came back short is left alone until its socket is writable; the unsent rest of the one frame
//! that was cut lies in its tail and goes first, so a cursor always stands at a frame boundary.

use crate::base::disconnect::Disconnect;
use crate::base::limits;
use crate::base::number::{index, small};
use crate::base::slab::Key;
use crate::base::socket::Slot;
use crate::base::time::Time;
use crate::hub::{NO_SUBSCRIPTION, Owed, SubscriptionIndex};
use crate::protocol::WireFormat;

use super::Shard;
use super::input::{Output, Send, SendOutcome, Source, Unsent};
use super::row::{Flags, NO_TAIL, State};

/// What one connection is owed by the logs.
enum Owing {
    Nothing,
    /// By one log: a slice of it.
    One {
        subscription: SubscriptionIndex,
        stream: Key,
        owed: Owed,
    },
    /// By several, or a gap in front of it.
    Several,
}

impl Shard {
    /// Fills `volley` with at most [`limits::FLUSH_CONNECTIONS`] sends, one for each connection.
    ///
    /// The driver must submit all of them before it touches the shard in any other way, and then call `settle`.
    // Hot: once per turn; per send one visit of a row, a subscription and a stream, and no allocation.
    pub fn plan(&mut self, now: Time, volley: &mut Vec<Send>) {
        self.now = now;
        volley.clear();
        self.scratch.clear();
        self.scratch.shrink_to(limits::SCRATCH_BYTES);
        // Half of the volley at most for those who queued by themselves, so that heartbeats never hold up a message.
        let mut budget = limits::FLUSH_CONNECTIONS / 2;
        while budget > 0 && self.scratch.len() <= limits::SCRATCH_BYTES - limits::GATHER_BYTES {
            let Some(slot) = self.ready.pop_front() else { break };
            budget -= 1;
            self.rows[slot.index()].flags.clear(Flags::QUEUED);
            volley.extend(self.plan_connection(slot));
        }
        budget += limits::FLUSH_CONNECTIONS / 2;
        while budget > 0 && self.scratch.len() <= limits::SCRATCH_BYTES - limits::GATHER_BYTES {
            let Some(subscription) = self.hub.next_visit() else { break };
            budget -= 1;
            let slot = self.hub.slot_of(subscription);
            volley.extend(self.plan_connection(slot));
        }
        self.hub.rotate();
        if volley.is_empty() {
            self.tidy();
        } else {
            self.counters.cells.flushes.add(1);
            self.counters.cells.sends.add(volley.len() as u64);
        }
    }

    /// The bytes of a send of the present volley.
    pub fn bytes(&self, send: &Send) -> &[u8] {
        match send.source {
            Source::Log { stream, start } => self.hub.slice(stream, start, send.length),
            Source::Tail { tail } => self.tails.rest(tail.index),
            Source::Scratch { start } => &self.scratch[start as usize..][..send.length as usize],
            Source::Heartbeat => HEARTBEAT.heartbeat(),
        }
    }

    /// What became of the volley: `unsent` names those sends that the kernel did not take whole, in any order.
    pub fn settle(&mut self, now: Time, volley: &[Send], unsent: &[Unsent]) {
        self.now = now;
        let mut troubles = std::mem::take(&mut self.unsent);
        troubles.extend_from_slice(unsent);
        troubles.sort_unstable_by_key(|unsent| unsent.index);
        let mut next_trouble = troubles.iter().peekable();
        let mut sent_bytes = 0;
        for (at, send) in volley.iter().enumerate() {
            let trouble = next_trouble.next_if(|unsent| unsent.index as usize == at);
            let row = &mut self.rows[send.socket.slot.index()];
            row.flags.clear(Flags::PLANNED);
            // Settling another send may have ended this connection: at the bound of all tails the longest goes.
            if row.generation != send.socket.generation || row.state == State::Closing {
                continue;
            }
            match trouble {
                None => {
                    sent_bytes += u64::from(send.length);
                    self.sent_whole(send);
                }
                Some(Unsent { outcome: SendOutcome::Short { sent }, .. }) => {
                    sent_bytes += u64::from(*sent);
                    self.sent_short(send, *sent);
                }
                Some(Unsent { outcome: SendOutcome::Failed(cause), .. }) => {
                    self.fail(send.socket.slot, Disconnect::of(*cause));
                }
            }
        }
        assert!(next_trouble.next().is_none(), "every unsent send is of this volley");
        troubles.clear();
        self.unsent = troubles;
        self.counters.cells.sent_bytes.add(sent_bytes);
        while let Some(slot) = self.again.pop() {
            if self.rows[slot.index()].state == State::Live {
                self.queue(slot);
            }
        }
        self.tidy();
    }

    // Hot: once per visit.
    fn plan_connection(&mut self, slot: Slot) -> Option<Send> {
        let row = &self.rows[slot.index()];
        if row.flags.has(Flags::BLOCKED) || row.flags.has(Flags::PLANNED) {
            return None;
        }
        match row.state {
            State::Free | State::Lingering { .. } | State::Closing => return None,
            State::Request(_) | State::Joining(_) | State::Live | State::Ending => {}
        }
        if row.tail != NO_TAIL {
            let tail = row.tail;
            let source = Source::Tail { tail: self.tails.key(tail) };
            return Some(self.send(slot, source, self.tails.rest(tail).len()));
        }
        if let (Some(reason), State::Joining(_) | State::Live) = (row.retiring, row.state) {
            return Some(self.plan_closing(slot, reason));
        }
        if row.state == State::Live {
            match self.owing(slot) {
                Owing::Nothing => {}
                Owing::One { subscription, stream, owed } => {
                    return Some(self.plan_slice(slot, subscription, stream, owed));
                }
                Owing::Several => return Some(self.plan_gathered(slot)),
            }
        }
        if self.rows[slot.index()].flags.has(Flags::HEARTBEAT) {
            self.counters.cells.heartbeats.add(1);
            return Some(self.send(slot, Source::Heartbeat, HEARTBEAT.heartbeat().len()));
        }
        None
    }

    fn plan_slice(&mut self, slot: Slot, subscription: SubscriptionIndex, stream: Key, owed: Owed) -> Send {
        let owed = if owed.end - owed.start > limits::SEND_BYTES as u64 {
            // Far beyond what a socket takes at once: one frame, and the rest in later turns.
            let end = self.hub.first_owed(subscription).map_or(owed.end, |(.., end)| end);
            self.again.push(slot);
            Owed { end, frames: 1, ..owed }
        } else {
            owed
        };
        self.hub.sent_to(subscription, owed.end);
        self.counters.cells.messages_delivered.add(u64::from(owed.frames));
        self.send(slot, Source::Log { stream, start: owed.start }, index(owed.end - owed.start))
    }

    /// Several channels in one send, in rising position, and what they have to say of gaps.
    fn plan_gathered(&mut self, slot: Slot) -> Send {
        let mut scratch = std::mem::take(&mut self.scratch);
        let start = scratch.len();
        let mut frames = 0;
        while scratch.len() - start < limits::GATHER_BYTES {
            match self.gather_first(slot, None, &mut scratch) {
                Some(gathered) => frames += gathered.messages(),
                None => break,
            }
        }
        let length = scratch.len() - start;
        self.scratch = scratch;
        self.counters.cells.messages_delivered.add(frames);
        self.queue_if_owed(slot);
        self.send(slot, Source::Scratch { start: small(start) }, length)
    }

    /// What is owed, as much as one send gathers; behind the last of it, the words that end a stream. So a client that is
    /// far behind and takes little puts no more into the tails than any other.
    fn plan_closing(&mut self, slot: Slot, reason: Disconnect) -> Send {
        let mut scratch = std::mem::take(&mut self.scratch);
        let start = scratch.len();
        let mut frames = 0;
        let limit = self.last_owed.get(&slot).map(|last| last.next());
        let is_all = loop {
            // What comes live on one channel of a stream that waits for another must not go out in front of the other's
            // replay, nor in front of the head: the client comes back with the id that it has.
            if let State::Joining(_) = self.rows[slot.index()].state {
                break true;
            }
            if scratch.len() - start >= limits::GATHER_BYTES {
                break false;
            }
            match self.gather_first(slot, limit, &mut scratch) {
                Some(gathered) => frames += gathered.messages(),
                None => break true,
            }
        };
        if is_all {
            self.close_stream(slot, reason, &mut scratch);
        } else {
            // What comes from here on is not waited for: a broadcast may be faster than the stream.
            self.owe_no_more(slot);
            self.again.push(slot);
        }
        let length = scratch.len() - start;
        self.scratch = scratch;
        self.counters.cells.messages_delivered.add(frames);
        self.send(slot, Source::Scratch { start: small(start) }, length)
    }

    // Hot: once per visit.
    fn owing(&mut self, slot: Slot) -> Owing {
        let mut subscription = self.rows[slot.index()].subscriptions;
        let mut owing = Owing::Nothing;
        while subscription != NO_SUBSCRIPTION {
            if let Some((stream, owed)) = self.hub.owed(subscription) {
                if let Owing::One { .. } = owing {
                    return Owing::Several;
                }
                owing = Owing::One { subscription, stream, owed };
            } else if self.hub.is_passed_over(subscription) {
                return Owing::Several;
            }
            subscription = self.hub.next_of(subscription);
        }
        owing
    }

    fn send(&mut self, slot: Slot, source: Source, length: usize) -> Send {
        let socket = self.key(slot);
        let written = self.heartbeat.tick(self.now);
        let row = &mut self.rows[slot.index()];
        row.flags.set(Flags::PLANNED);
        row.flags.clear(Flags::HEARTBEAT);
        row.written = written;
        Send { socket, source, length: small(length) }
    }

    fn sent_whole(&mut self, send: &Send) {
        let slot = send.socket.slot;
        match send.source {
            Source::Log { .. } | Source::Heartbeat => {}
            Source::Scratch { .. } => self.after_tail(slot),
            Source::Tail { .. } => {
                self.drop_tail(slot);
                self.after_tail(slot);
            }
        }
    }

    /// What had to go first has gone.
    fn after_tail(&mut self, slot: Slot) {
        match self.rows[slot.index()].state {
            State::Ending => self.finish(slot),
            State::Live | State::Joining(_) if self.rows[slot.index()].retiring.is_some() => {
                self.queue(slot);
            }
            State::Live => self.queue_if_owed(slot),
            State::Request(_) => self.advance_request(slot),
            State::Joining(_) | State::Lingering { .. } | State::Closing | State::Free => {}
        }
    }

    fn queue_if_owed(&mut self, slot: Slot) {
        if self.hub.is_owed(self.rows[slot.index()].subscriptions) {
            self.again.push(slot);
        }
    }

    fn sent_short(&mut self, send: &Send, sent: u32) {
        let slot = send.socket.slot;
        self.counters.cells.short_sends.add(1);
        self.rows[slot.index()].flags.set(Flags::BLOCKED);
        self.outputs.push_back(Output::AwaitWritable { socket: send.socket });
        if self.rows[slot.index()].state == State::Ending {
            self.watch_ending(slot);
        }
        let rest = match send.source {
            Source::Tail { .. } => {
                self.tails.sent(self.rows[slot.index()].tail, sent as usize);
                return;
            }
            Source::Log { stream, start } => {
                let (rest, again) = self.unsend(slot, stream, start + u64::from(sent));
                self.counters.cells.messages_delivered.subtract(u64::from(again));
                rest
            }
            Source::Scratch { .. } => self.bytes(send)[sent as usize..].to_vec(),
            // Half a heartbeat is finished; of one that did not even begin nothing is missed.
            Source::Heartbeat if sent == 0 => return,
            Source::Heartbeat => self.bytes(send)[sent as usize..].to_vec(),
        };
        if !rest.is_empty() {
            self.push_tail(slot, rest);
        }
    }

    fn unsend(&mut self, slot: Slot, stream: Key, at: u64) -> (Vec<u8>, u32) {
        let mut subscription = self.rows[slot.index()].subscriptions;
        while subscription != NO_SUBSCRIPTION {
            if self.hub.is_of(subscription, stream) {
                let (rest, again) = self.hub.unsend(subscription, at);
                return (rest.to_vec(), again);
            }
            subscription = self.hub.next_of(subscription);
        }
        unreachable!("a slice was sent for one of the connection's subscriptions");
    }

    /// No slice is in use now: drops what nobody is owed any more, and ends who fell out of a log whose channel's rule
    /// wants that.
    fn tidy(&mut self) {
        let (now, lag) = (self.now, &self.counters.delivery_lag);
        let mut lapped = std::mem::take(&mut self.lapped);
        self.hub.tidy(&mut lapped, |since| lag.record(now.since(since)));
        // One end may concern several of a connection's subscriptions: look the slots up before any of them ends.
        let slots: Vec<Slot> = lapped.drain(..).map(|subscription| self.hub.slot_of(subscription)).collect();
        for slot in slots {
            // One that still waits for the rest of its channels may fall out of the log of the first as well.
            if matches!(self.rows[slot.index()].state, State::Live | State::Joining(_)) {
                self.disconnect(slot, Disconnect::Lagged);
            }
        }
        self.lapped = lapped;
        self.counters.cells.log_bytes.set(self.hub.log_bytes() as u64);
    }
}

/// Every protocol that is spoken here has the same heartbeat.
const HEARTBEAT: WireFormat = WireFormat::SseRaw;
