//! The broker's clients: a row each, by the slot of its socket, and what the driver is asked to do for them.
//!
//! What a client is owed lies in one buffer of its own. A row is [`State::Open`] until the client or the broker ends
//! the connection; then it lives on, deaf, until its socket has hung up and may be closed.
//!
//! Invariants: a socket of another generation than the row's finds nothing. A row whose buffer is not empty is in the
//! queue of `next_to_send`, or is being sent, or waits for `writable`. `Close` is asked for once, after the hang-up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::base::socket::{HangUp, SocketKey};
use crate::base::time::Time;
use crate::reader::broker::transaction::Transaction;
use crate::reader::input::Output;
use crate::wire::resp::Protocol;
use crate::wire::resp::request::Requests;

#[derive(Debug)]
pub(super) struct Clients {
    /// By slot. Boxed: most slots of the reader's table are never a client's.
    rows: Vec<Option<Box<Client>>>,
    to_send: VecDeque<SocketKey>,
    outputs: VecDeque<Output>,
    /// Rows that were not refused.
    count: usize,
    last_id: u64,
    output_bytes_max: usize,
    /// What all clients are owed, and have sent of incomplete requests: the sum of their `buffered_bytes`.
    buffered: usize,
    buffer_bytes_max: usize,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) socket: SocketKey,
    pub(super) state: State,
    /// Whether it is one of `Clients::count`.
    counts: bool,
    outgoing: Outgoing,
    flush: Flush,
    requests: Requests,
    pub(super) id: u64,
    pub(super) accepted_at: Time,
    pub(super) heard_at: Time,
    pub(super) last_command: &'static str,
    pub(super) protocol: Protocol,
    pub(super) is_logged_in: bool,
    /// The index of the selected database.
    pub(super) database: usize,
    pub(super) name: Box<[u8]>,
    pub(super) library_name: Box<[u8]>,
    pub(super) library_version: Box<[u8]>,
    pub(super) is_no_evict: bool,
    pub(super) is_no_touch: bool,
    pub(super) transaction: Transaction,
    /// The watched keys, by database, with the version they had.
    pub(super) watched: BTreeMap<(usize, Box<[u8]>), u64>,
    pub(super) channels: BTreeSet<Arc<[u8]>>,
    pub(super) patterns: BTreeSet<Arc<[u8]>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Requests are read and answered.
    Open,
    /// There were too many clients: it gets one sentence, in one send, and is shut down.
    Refused,
    /// No request is read any more; what is outgoing is sent, then it is shut down.
    Ending,
    /// The peer has ended its half: what is outgoing gets one send, then the socket is closed.
    HungUp,
    /// It was shut down; its hang-up follows.
    ShutDown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flush {
    /// There is nothing to send, or nothing may be sent.
    Idle,
    /// It stands in the queue of `next_to_send`.
    Queued,
    /// The driver has been handed what is outgoing and has not said how much was taken.
    Sending,
    /// The socket's buffer is full.
    Blocked,
}

/// Bytes to be sent; those before `start` have been.
#[derive(Debug, Default)]
struct Outgoing {
    bytes: Vec<u8>,
    start: usize,
}

impl Clients {
    pub(super) fn new(output_bytes_max: usize, buffer_bytes_max: usize) -> Self {
        Self {
            rows: Vec::new(),
            to_send: VecDeque::new(),
            outputs: VecDeque::new(),
            count: 0,
            last_id: 0,
            output_bytes_max,
            buffered: 0,
            buffer_bytes_max,
        }
    }

    /// How many there are; the refused do not count.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// # Panics
    /// If the row of the slot is in use: the driver closes a socket before its slot is accepted into again.
    pub(super) fn insert(&mut self, now: Time, socket: SocketKey, state: State) -> &mut Client {
        let index = socket.slot.index();
        if self.rows.len() <= index {
            self.rows.resize_with(index + 1, || None);
        }
        assert!(self.rows[index].is_none(), "a slot is accepted into only after it was closed");
        if state != State::Refused {
            self.count += 1;
        }
        self.last_id += 1;
        self.outputs.push_back(Output::Receive { socket });
        self.rows[index].insert(Box::new(Client::new(now, socket, state, self.last_id)))
    }

    pub(super) fn find(&self, socket: SocketKey) -> Option<&Client> {
        let client = self.rows.get(socket.slot.index())?.as_deref()?;
        (client.socket == socket).then_some(client)
    }

    pub(super) fn find_mut(&mut self, socket: SocketKey) -> Option<&mut Client> {
        let client = self.rows.get_mut(socket.slot.index())?.as_deref_mut()?;
        (client.socket == socket).then_some(client)
    }

    /// The client, if its requests are still read.
    pub(super) fn open(&mut self, socket: SocketKey) -> Option<&mut Client> {
        self.find_mut(socket).filter(|client| client.state == State::Open)
    }

    /// All clients that are not refused, in the order of their slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Client> {
        self.rows.iter().filter_map(Option::as_deref).filter(|client| client.counts)
    }

    pub(super) fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn next_to_send(&mut self) -> Option<SocketKey> {
        while let Some(socket) = self.to_send.pop_front() {
            if let Some(client) = self.find_mut(socket)
                && client.flush == Flush::Queued
            {
                client.flush = Flush::Sending;
                return Some(socket);
            }
        }
        None
    }

    pub(super) fn outgoing(&self, socket: SocketKey) -> &[u8] {
        self.find(socket).map_or(&[], |client| client.outgoing.rest())
    }

    /// Appends to what the client is owed, unless it is being shut down. False if it did not take it: a client that
    /// is owed more than the bound is shut down, as in Redis. One reply may exceed the bound, the next may not follow
    /// before that one is sent.
    pub(super) fn append(&mut self, socket: SocketKey, bytes: &[u8]) -> bool {
        let output_bytes_max = self.output_bytes_max;
        let Some(client) = self.find_mut(socket) else { return false };
        if !matches!(client.state, State::Open | State::Refused | State::Ending) {
            return false;
        }
        if client.outgoing.rest().len() > output_bytes_max {
            self.shut_down(socket);
            return false;
        }
        client.outgoing.bytes.extend_from_slice(bytes);
        self.buffered += bytes.len();
        self.queue(socket);
        self.make_room();
        true
    }

    /// Takes what the client has sent of an incomplete request, to be given back with `keep`.
    pub(super) fn take_requests(&mut self, socket: SocketKey) -> Requests {
        let Some(client) = self.find_mut(socket) else { return Requests::default() };
        let requests = std::mem::take(&mut client.requests);
        self.buffered -= requests.kept_bytes();
        requests
    }

    pub(super) fn keep(&mut self, socket: SocketKey, requests: Requests) {
        let Some(client) = self.open(socket) else { return };
        client.requests = requests;
        self.buffered += client.requests.kept_bytes();
        self.make_room();
    }

    /// If all buffers together are too large, those with the largest are shut down, as with Redis's
    /// `maxmemory-clients`.
    fn make_room(&mut self) {
        while self.buffered > self.buffer_bytes_max {
            let rows = self.rows.iter().filter_map(Option::as_deref);
            let may_go = rows.filter(|client| !matches!(client.state, State::HungUp | State::ShutDown));
            let Some(largest) = may_go.max_by_key(|client| client.buffered_bytes()) else { return };
            self.shut_down(largest.socket);
        }
    }

    #[cfg(test)]
    pub(super) fn buffered_bytes(&self) -> usize {
        self.buffered
    }

    /// Reads no more requests; what is outgoing is sent, then the client is shut down.
    pub(super) fn end(&mut self, socket: SocketKey) {
        let Some(client) = self.open(socket) else { return };
        client.state = State::Ending;
        self.take_requests(socket);
        let Some(client) = self.find_mut(socket) else { return };
        if client.outgoing.rest().is_empty() {
            self.shut_down(socket);
        }
    }

    /// Shuts the client down at once.
    pub(super) fn shut_down(&mut self, socket: SocketKey) {
        let Some(client) = self.find_mut(socket) else { return };
        match client.state {
            State::Open | State::Refused | State::Ending => {
                let freed = client.buffered_bytes();
                client.state = State::ShutDown;
                client.flush = Flush::Idle;
                client.outgoing = Outgoing::default();
                client.requests = Requests::default();
                self.buffered -= freed;
                self.outputs.push_back(Output::Shutdown { socket });
            }
            // Its socket is closed as soon as its one send is over, or its hang-up has come.
            State::HungUp | State::ShutDown => {}
        }
    }

    /// The driver sent so many bytes of what was outgoing.
    pub(super) fn sent(&mut self, socket: SocketKey, bytes: usize) {
        let Some(client) = self.find_mut(socket) else { return };
        if client.flush != Flush::Sending {
            return; // Shut down in the meantime: nothing is outgoing any more.
        }
        client.outgoing.advance(bytes);
        let is_all = client.outgoing.rest().is_empty();
        client.flush = if is_all { Flush::Idle } else { Flush::Blocked };
        let state = client.state;
        self.buffered -= bytes;
        match (state, is_all) {
            (State::Open, true) | (State::ShutDown, _) => {}
            (State::Open | State::Ending, false) => self.outputs.push_back(Output::AwaitWritable { socket }),
            (State::Ending, true) | (State::Refused, _) => self.shut_down(socket),
            (State::HungUp, _) => self.close(socket),
        }
    }

    pub(super) fn writable(&mut self, socket: SocketKey) {
        if let Some(client) = self.find_mut(socket)
            && client.flush == Flush::Blocked
        {
            client.flush = Flush::Idle;
            self.queue(socket);
        }
    }

    /// The socket will bring nothing more. A client that only ended its own half, as `printf .. | nc` does, is still
    /// sent its answers, in one send.
    pub(super) fn hung_up(&mut self, socket: SocketKey, cause: HangUp) {
        let Some(client) = self.find_mut(socket) else { return };
        let may_listen = cause == HangUp::Closed && matches!(client.flush, Flush::Queued | Flush::Sending);
        match client.state {
            State::Open | State::Refused | State::Ending if may_listen => {
                client.state = State::HungUp;
                self.take_requests(socket);
            }
            State::Open | State::Refused | State::Ending | State::ShutDown => self.close(socket),
            State::HungUp => {}
        }
    }

    fn queue(&mut self, socket: SocketKey) {
        let Some(client) = self.find_mut(socket) else { return };
        if client.flush == Flush::Idle && !client.outgoing.rest().is_empty() {
            client.flush = Flush::Queued;
            self.to_send.push_back(socket);
        }
    }

    /// Frees the row.
    fn close(&mut self, socket: SocketKey) {
        let Some(row) = self.rows.get_mut(socket.slot.index()) else { return };
        if let Some(client) = row.take_if(|client| client.socket == socket) {
            if client.counts {
                self.count -= 1;
            }
            self.buffered -= client.buffered_bytes();
            self.outputs.push_back(Output::Close { socket });
        }
    }
}

impl Client {
    fn new(now: Time, socket: SocketKey, state: State, id: u64) -> Self {
        Self {
            socket,
            state,
            counts: state != State::Refused,
            outgoing: Outgoing::default(),
            flush: Flush::Idle,
            requests: Requests::default(),
            id,
            accepted_at: now,
            heard_at: now,
            last_command: "NULL",
            protocol: Protocol::Resp2,
            is_logged_in: false,
            database: 0,
            name: Box::default(),
            library_name: Box::default(),
            library_version: Box::default(),
            is_no_evict: false,
            is_no_touch: false,
            transaction: Transaction::None,
            watched: BTreeMap::new(),
            channels: BTreeSet::new(),
            patterns: BTreeSet::new(),
        }
    }

    /// Channels and patterns it is subscribed to.
    pub(super) fn subscription_count(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    pub(super) fn outgoing_bytes(&self) -> usize {
        self.outgoing.rest().len()
    }

    pub(super) fn request_bytes(&self) -> usize {
        self.requests.kept_bytes()
    }

    /// What it is owed, and what it has sent of an incomplete request.
    pub(super) fn buffered_bytes(&self) -> usize {
        self.outgoing_bytes() + self.request_bytes()
    }
}

impl Outgoing {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.rest().len(), "no more is sent than is outgoing");
        self.start += bytes;
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(CAPACITY_KEPT);
            self.start = 0;
        } else if self.start >= self.bytes.len() / 2 {
            // Moves at most as much as was sent.
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }
}

/// What a client that is up to date keeps of its buffer.
const CAPACITY_KEPT: usize = 4 * 1_024;
