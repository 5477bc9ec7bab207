//! Stopping: no further requests; every stream gets what it is owed and an end that tells it when to come back.
//!
//! Streams are ended from the flush, a volley at a time, so that nothing is built up for all of them at once. The
//! `retry:` is jittered, so that the clients do not all come back in the same moment.

use crate::base::disconnect::Disconnect;
use crate::base::number::small;
use crate::base::socket::Slot;
use crate::protocol::WireFormat;

use super::Shard;
use super::input::Output;
use super::row::{Flags, State};

impl Shard {
    pub(super) fn drain(&mut self) {
        self.draining = true;
        if self.connections == 0 {
            self.outputs.push_back(Output::Drained);
        }
        for slot in 0..self.rows.len() {
            let slot = Slot(small(slot));
            match self.rows[slot.index()].state {
                State::Live | State::Joining(_) => self.queue(slot),
                State::Request(request) if self.is_between_requests(request) => {
                    self.end_after_tail(slot, Disconnect::Drain);
                }
                // A request that is under way is answered, and its connection ends behind the answer.
                State::Request(_)
                | State::Ending
                | State::Lingering { .. }
                | State::Closing
                | State::Free => {}
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
        format.encode_closing(retry, out);
        self.counters.disconnect(reason);
        self.release(slot);
        let row = &mut self.rows[slot.index()];
        row.state = State::Ending;
        debug_assert!(!row.flags.has(Flags::OPENED), "release takes the stream out of the count");
    }

    /// Ends a stream that cannot be served now in the one way that makes an EventSource come back: 200, `retry:`, end.
    pub(super) fn shed(&mut self, slot: Slot, reason: Disconnect) {
        let mut bytes = Vec::new();
        self.close_stream(slot, reason, &mut bytes);
        self.push_tail(slot, bytes);
    }
}
