//! The life of a connection, whatever it speaks: accepted, receiving, hung up, lingering, closed.
//!
//! Every end is counted once, with its reason, when it is decided. The descriptor is closed only after the last
//! completion of its receive, so that nothing of an earlier use can reach a later one.

use crate::base::disconnect::Disconnect;
use crate::base::limits;
use crate::base::number::small;
use crate::base::peer::Network;
use crate::base::queue::Control;
use crate::base::socket::{Arrival, HangUp, Slot, SocketKey};
use crate::hub::{Left, NO_SUBSCRIPTION, SubscriptionIndex};

use super::Shard;
use super::input::Output;
use super::request::Request;
use super::row::{Flags, NO_TAIL, Row, State};

impl Shard {
    pub(super) fn accepted(&mut self, slot: Slot, arrival: Arrival) {
        if self.rows.len() <= slot.index() {
            self.rows.resize_with(slot.index() + 1, Row::free);
        }
        let row = &mut self.rows[slot.index()];
        assert!(row.state == State::Free, "a slot is accepted into only after it was closed");
        row.state = State::Request(self.requests.insert(Request::new(arrival, self.now)).index);
        self.burst.accepted(self.now);
        self.connections += 1;
        self.counters.cells.connections.set(self.connections);
        self.counters.cells.connections_accepted.add(1);
        if let Err(reason) = self.arrived(slot, arrival) {
            return self.disconnect(slot, reason);
        }
        self.rows[slot.index()].flags.set(Flags::RECEIVING);
        let socket = self.key(slot);
        self.heads.add(self.now, socket);
        self.outputs.push_back(Output::Receive { socket });
    }

    pub(super) fn received(&mut self, socket: SocketKey, bytes: &[u8]) {
        let Some(row) = self.row(socket) else { return };
        match row.state {
            State::Request(request) => self.request_received(socket.slot, request, bytes),
            State::Lingering { left } => match left.checked_sub(small(bytes.len())) {
                Some(left) => row.state = State::Lingering { left },
                None => self.shut_down(socket.slot),
            },
            // A stream's client has nothing to say, and what it says after its end is not for anyone.
            State::Joining(_) | State::Live | State::Ending | State::Closing => {}
            State::Free => unreachable!("a stale key finds no row"),
        }
    }

    pub(super) fn hung_up(&mut self, socket: SocketKey, cause: HangUp) {
        let slot = socket.slot;
        let Some(row) = self.row(socket) else { return };
        row.flags.clear(Flags::RECEIVING);
        let (state, has_tail) = (row.state, row.tail != NO_TAIL);
        match state {
            // A client may send its FIN right behind its request and still wait for the answer.
            State::Request(request) if cause == HangUp::Closed && self.is_answer_awaited(request) => {}
            State::Request(_) if cause == HangUp::Closed && has_tail => {
                self.end_after_tail(slot, Disconnect::ClientClosed);
            }
            State::Ending if cause == HangUp::Closed && has_tail => {}
            State::Request(_) | State::Joining(_) | State::Live => {
                self.counters.disconnect(Disconnect::of(cause));
                self.close(slot);
            }
            State::Ending | State::Lingering { .. } | State::Closing => self.close(slot),
            State::Free => unreachable!("a stale key finds no row"),
        }
    }

    pub(super) fn writable(&mut self, socket: SocketKey) {
        let Some(row) = self.row(socket) else { return };
        row.flags.clear(Flags::BLOCKED);
        self.queue(socket.slot);
    }

    pub(super) fn linger_overdue(&mut self, socket: SocketKey) {
        let row = &self.rows[socket.slot.index()];
        if row.generation == socket.generation && matches!(row.state, State::Lingering { .. }) {
            self.shut_down(socket.slot);
        }
    }

    /// Ends a connection at once: what it was still to get is dropped.
    pub(super) fn disconnect(&mut self, slot: Slot, reason: Disconnect) {
        self.counters.disconnect(reason);
        self.shut_down(slot);
    }

    /// Nothing more can be sent, whatever the connection is at; an end that is counted already is not counted again.
    pub(super) fn fail(&mut self, slot: Slot, reason: Disconnect) {
        match self.rows[slot.index()].state {
            State::Request(_) | State::Joining(_) | State::Live => self.disconnect(slot, reason),
            State::Ending => self.shut_down(slot),
            State::Lingering { .. } | State::Closing | State::Free => {}
        }
    }

    /// Ends a connection once its tail has been sent; there may be none.
    pub(super) fn end_after_tail(&mut self, slot: Slot, reason: Disconnect) {
        self.counters.disconnect(reason);
        self.release(slot);
        self.begin_ending(slot);
        if self.rows[slot.index()].tail == NO_TAIL {
            self.finish(slot);
        }
    }

    /// Gives a connection its last bytes and ends it behind them. At the bound of all tails it may be this one that ends
    /// for it, at once and with that reason.
    pub(super) fn end_with(&mut self, slot: Slot, bytes: Vec<u8>, reason: Disconnect) {
        let state = self.rows[slot.index()].state;
        self.push_tail(slot, bytes);
        if self.rows[slot.index()].state == state {
            self.end_after_tail(slot, reason);
        }
    }

    /// The last is handed over.
    pub(super) fn begin_ending(&mut self, slot: Slot) {
        self.rows[slot.index()].state = State::Ending;
        if self.rows[slot.index()].flags.has(Flags::BLOCKED) {
            self.watch_ending(slot);
        }
    }

    /// Who does not take the last within the user timeout never will. On a Unix socket the kernel would wait for ever.
    pub(super) fn watch_ending(&mut self, slot: Slot) {
        self.endings.add(self.now, self.key(slot));
    }

    pub(super) fn ending_overdue(&mut self, socket: SocketKey) {
        let row = &self.rows[socket.slot.index()];
        if row.generation != socket.generation {
            return;
        }
        match (row.state, row.retiring) {
            (State::Ending, _) => self.shut_down(socket.slot),
            // It has not even taken what goes in front of the last words.
            (State::Live | State::Joining(_), Some(reason)) => self.disconnect(socket.slot, reason),
            _ => {}
        }
    }

    /// Everything has been handed over: FIN, then drain what the peer still sends.
    pub(super) fn finish(&mut self, slot: Slot) {
        let socket = self.key(slot);
        let row = &mut self.rows[slot.index()];
        assert!(
            row.state == State::Ending && row.tail == NO_TAIL,
            "only a connection without a tail has finished"
        );
        if !row.flags.has(Flags::RECEIVING) {
            return self.close(slot);
        }
        row.state = State::Lingering { left: small(limits::LINGER_BYTES) };
        self.outputs.push_back(Output::ShutdownWrite { socket });
        self.lingers.add(self.now, socket);
    }

    /// Ends both directions and waits for the receive to say so.
    fn shut_down(&mut self, slot: Slot) {
        self.release(slot);
        self.drop_tail(slot);
        let socket = self.key(slot);
        let row = &mut self.rows[slot.index()];
        row.state = State::Closing;
        if !row.flags.has(Flags::RECEIVING) {
            return self.close(slot);
        }
        self.outputs.push_back(Output::Shutdown { socket });
    }

    /// Closes the descriptor, whose receive has ended, and frees the row.
    fn close(&mut self, slot: Slot) {
        self.release(slot);
        self.drop_tail(slot);
        let socket = self.key(slot);
        let row = &mut self.rows[slot.index()];
        assert!(!row.flags.has(Flags::RECEIVING), "a descriptor is closed after its receive has ended");
        let network = std::mem::replace(&mut row.network, Network::NONE);
        row.end();
        self.departed(network);
        self.connections -= 1;
        self.counters.cells.connections.set(self.connections);
        self.outputs.push_back(Output::Close { socket });
        self.say_if_drained();
    }

    /// Gives back what the connection holds beside its row and its tail: request, join, grant, subscriptions.
    pub(super) fn release(&mut self, slot: Slot) {
        let row = &mut self.rows[slot.index()];
        if row.flags.take(Flags::OPENED) {
            self.opened -= 1;
        }
        let mut subscription = std::mem::replace(&mut row.subscriptions, NO_SUBSCRIPTION);
        let state = row.state;
        self.forget_grant(slot);
        self.last_owed.remove(&slot);
        match state {
            State::Request(request) => self.drop_request(request),
            State::Joining(join) => drop(self.drop_join(join)),
            State::Free | State::Live | State::Ending | State::Lingering { .. } | State::Closing => {}
        }
        while subscription != NO_SUBSCRIPTION {
            let next = self.hub.next_of(subscription);
            self.unsubscribe(subscription);
            subscription = next;
        }
    }

    pub(super) fn unsubscribe(&mut self, subscription: SubscriptionIndex) {
        let (left, moved) = self.hub.unsubscribe(subscription);
        if let Some(Left { channel, name }) = left {
            self.control(Control::Leave { shard: self.index, channel, name });
        }
        if let Some(moved) = moved {
            self.queue(moved);
        }
        self.count_subscriptions();
    }

    pub(super) fn count_subscriptions(&self) {
        self.counters.cells.subscriptions.set(self.hub.subscription_count() as u64);
        self.counters.cells.channels.set(self.hub.channel_count() as u64);
        // The last subscription of a stream takes its log with it.
        self.counters.cells.log_bytes.set(self.hub.log_bytes() as u64);
    }

    /// Gives a connection bytes that go first. If all tails together are at their bound then, a connection ends: this one or
    /// any other.
    pub(super) fn push_tail(&mut self, slot: Slot, bytes: Vec<u8>) {
        let row = &mut self.rows[slot.index()];
        if row.tail == NO_TAIL {
            row.tail = self.tails.insert(bytes, self.now);
        } else {
            self.tails.append(row.tail, &bytes);
        }
        self.counters.cells.tail_bytes.set(self.tails.bytes() as u64);
        if self.tails.bytes() > self.limits.tail_bytes {
            self.end_largest_tail();
        }
        if !self.rows[slot.index()].flags.has(Flags::BLOCKED) {
            self.queue(slot);
        }
    }

    /// At the bound of all tails it is the longest that ends, not whoever comes next.
    fn end_largest_tail(&mut self) {
        let tail_bytes = |row: &Row| if row.tail == NO_TAIL { 0 } else { self.tails.rest(row.tail).len() };
        let largest = (0..).zip(&self.rows).max_by_key(|(_, row)| tail_bytes(row));
        if let Some((slot, _)) = largest {
            self.fail(Slot(slot), Disconnect::TailLimit);
        }
    }

    pub(super) fn drop_tail(&mut self, slot: Slot) {
        let row = &mut self.rows[slot.index()];
        let tail = std::mem::replace(&mut row.tail, NO_TAIL);
        if tail != NO_TAIL {
            self.tails.remove(tail);
            self.counters.cells.tail_bytes.set(self.tails.bytes() as u64);
        }
    }
}
