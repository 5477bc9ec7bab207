//! Streams that end by the server's doing: when it stops, when they have lasted as long as they may, and when they
//! cannot be served at all.
//!
//! A stream that ends gets what it is owed and then words that tell an EventSource to come back, and when: `retry:`,
//! jittered. Many are not ended at once, nor built up for at once: a sweep goes through the rows, and the flush writes
//! the last words, a volley at a time. Until its turn comes, a stream is served as ever.
//!
//! While the shard drains, connections are still accepted, so that whoever waits in the listener's backlog is told when
//! to come back instead of being reset. When the sweep is through, the listener is closed.

use std::collections::btree_map::Entry;
use std::time::Duration;

use crate::base::disconnect::Disconnect;
use crate::base::number::small;
use crate::base::socket::Slot;
use crate::protocol::site::Opening;
use crate::protocol::{Closing, WireFormat};

use super::Shard;
use super::input::Output;
use super::row::{Flags, NO_TAIL, State};
use super::sweep::Sweep;

/// How far the shard is with stopping.
#[derive(Debug)]
pub(super) enum Drain {
    /// It is not.
    No,
    /// Streams are ended one by one.
    Ending(Sweep),
    /// Every stream has had its turn; nobody new is accepted.
    Ended,
}

impl Drain {
    pub(super) fn deadline(&self) -> Option<crate::base::time::Time> {
        match self {
            Self::Ending(sweep) => Some(sweep.next()),
            Self::No | Self::Ended => None,
        }
    }
}

impl Shard {
    pub(super) fn is_draining(&self) -> bool {
        !matches!(self.drain, Drain::No)
    }

    /// Begins to stop: over the window at most, and a thousand streams a second at least.
    pub(super) fn begin_drain(&mut self) {
        let streams = Duration::from_millis(self.connections);
        let period = streams.clamp(DRAIN_LEAST.min(self.drain_window), self.drain_window);
        self.drain = Drain::Ending(Sweep::new(period, self.now));
        self.end_idle_connections();
        self.drain_sweep();
    }

    /// Ends those streams whose turn has come.
    pub(super) fn drain_sweep(&mut self) {
        let Drain::Ending(sweep) = &mut self.drain else { return };
        if self.now < sweep.next() {
            return;
        }
        let due = sweep.take_due(self.now, self.rows.len());
        for row in due.rows {
            self.retire(Slot(small(row)), Disconnect::Drain);
        }
        if due.is_round {
            self.drain = Drain::Ended;
            self.outputs.push_back(Output::StopListening);
            self.end_idle_connections();
            self.say_if_drained();
        }
    }

    pub(super) fn say_if_drained(&mut self) {
        if matches!(self.drain, Drain::Ended) && self.connections == 0 {
            self.outputs.push_back(Output::Drained);
        }
    }

    /// Ends every second time those streams whose turn has come: a stream lasts for one round at least and two at most.
    pub(super) fn lifetime_sweep(&mut self) {
        let Some(sweep) = &mut self.lifetimes else { return };
        if self.opened == 0 || self.now < sweep.next() {
            return;
        }
        let due = sweep.take_due(self.now, self.rows.len());
        for slot in due.rows.map(|row| Slot(small(row))) {
            let row = &mut self.rows[slot.index()];
            match row.state {
                State::Live if row.flags.has(Flags::AGED) => self.retire(slot, Disconnect::Lifetime),
                State::Live => row.flags.set(Flags::AGED),
                State::Free
                | State::Request(_)
                | State::Joining(_)
                | State::Ending
                | State::Lingering { .. }
                | State::Closing => {}
            }
        }
    }

    /// The stream ends with its next flush. Of several reasons the first counts.
    pub(super) fn retire(&mut self, slot: Slot, reason: Disconnect) {
        let row = &mut self.rows[slot.index()];
        if matches!(row.state, State::Live | State::Joining(_)) && row.retiring.is_none() {
            row.retiring = Some(reason);
            let must_wait = row.flags.has(Flags::BLOCKED) || row.tail != NO_TAIL;
            // Who comes back loses nothing by a message more, and a drain of many streams shall not note each.
            let may_come_back = matches!(reason, Disconnect::Drain | Disconnect::Lifetime);
            if must_wait || !may_come_back {
                self.owe_no_more(slot);
            }
            self.queue(slot);
        }
    }

    /// What comes from here on is not for a stream that ends, and it must take the rest in time.
    pub(super) fn owe_no_more(&mut self, slot: Slot) {
        if let Entry::Vacant(last) = self.last_owed.entry(slot) {
            last.insert(self.hub.position());
            self.watch_ending(slot);
        }
    }

    /// A connection on which nobody waits for an answer ends, and so does one for which the application was asked: it would
    /// be told the same. Any other request that is under way is answered first.
    fn end_idle_connections(&mut self) {
        for slot in (0..self.rows.len()).map(|row| Slot(small(row))) {
            if let State::Request(request) = self.rows[slot.index()].state {
                if self.is_between_requests(request) {
                    self.end_after_tail(slot, Disconnect::Drain);
                } else {
                    self.shed_awaiting(slot);
                }
            }
        }
    }

    /// Appends the last words of a stream, and its head if it is still to come; nothing follows them.
    pub(super) fn close_stream(&mut self, slot: Slot, reason: Disconnect, out: &mut Vec<u8>) {
        let row = &self.rows[slot.index()];
        let mut format = WireFormat::SseRaw;
        if let State::Joining(join) = row.state {
            let (head, wanted) = self.take_head(join);
            out.extend_from_slice(&head);
            format = wanted;
        }
        let retry = self.random.jitter(self.site.retry);
        let closing = match reason {
            Disconnect::Expired => Closing::Expired,
            Disconnect::UserDismissed | Disconnect::ChannelDismissed => Closing::Dismissed(reason.name()),
            _ => Closing::ComeBack,
        };
        format.encode_closing(closing, retry, out);
        self.counters.disconnect(reason);
        self.release(slot);
        self.begin_ending(slot);
        let flags = self.rows[slot.index()].flags;
        debug_assert!(!flags.has(Flags::OPENED), "release takes the stream out of the count");
    }

    /// Ends a stream that cannot be served now, and that waits to open.
    pub(super) fn shed(&mut self, slot: Slot, reason: Disconnect) {
        let retry = self.random.jitter(self.site.retry);
        let unopened = match self.rows[slot.index()].state {
            State::Joining(join) => self.take_busy(join).map(|busy| busy.answer(retry)),
            _ => None,
        };
        let mut bytes = Vec::new();
        match unopened {
            Some(answer) => {
                answer.refusal.into_iter().for_each(|refusal| self.counters.refusal(refusal));
                self.end_with(slot, answer.bytes, reason);
            }
            // The one way that makes an EventSource come back: 200, `retry:`, end.
            None => {
                self.close_stream(slot, reason, &mut bytes);
                self.push_tail(slot, bytes);
            }
        }
    }

    /// Ends a request for a stream that cannot be served now, before anything is subscribed for it.
    pub(super) fn shed_request(&mut self, slot: Slot, opening: Opening, reason: Disconnect) {
        let retry = self.random.jitter(self.site.retry);
        let bytes = match opening.busy {
            Some(busy) => {
                let answer = busy.answer(retry);
                answer.refusal.into_iter().for_each(|refusal| self.counters.refusal(refusal));
                answer.bytes
            }
            None => {
                let mut bytes = opening.head;
                opening.format.encode_closing(Closing::ComeBack, retry, &mut bytes);
                bytes
            }
        };
        self.end_with(slot, bytes, reason);
    }
}

/// Long enough that those who are in the backlog when the order comes are accepted and answered.
const DRAIN_LEAST: Duration = Duration::from_millis(20);
