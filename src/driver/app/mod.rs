//! Asks applications over HTTP/1.1: the outbound side of a shard, on the shard's own ring.
//!
//! A connection to an application is a socket of the ring beside the clients': it is written to in volleys, read by
//! multishot receives, and closed after its hang-up. It carries one question at a time, and is kept for the next. A kept
//! one that the application has closed meanwhile is noticed when no byte of the answer comes; then the question goes on a
//! new one, once. How many questions there are, and for how long, is the machine's to say. Connecting does not wait; only
//! names are looked up by a thread of their own ([`names`]).
//!
//! Cost: nothing while nothing is asked; a look into a small tree for each event of the ring while connections are kept.

mod connect;
mod names;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::access::{AppAddress, Endpoint, EndpointIndex};
use crate::base::asked::AskOutcome;
use crate::base::limits::{CALLBACK_IDLE_TIMEOUT, FLUSH_CONNECTIONS};
use crate::base::slab::Key;
use crate::base::socket::{Slot, SocketKey};
use crate::base::time::Time;
use crate::driver::doorbell::Doorbell;
use crate::driver::uring::{End, Ring};
use crate::shard::input::{AppReply, SendOutcome, Unsent};
use crate::wire::http::{Reply, ReplyError, ReplyReader};

use names::Names;

/// The applications that a shard asks.
#[derive(Debug)]
pub struct Apps {
    apps: Vec<App>,
    answer_bytes_max: usize,
    kept_max: usize,
    names: Names,
    /// By slot.
    lines: BTreeMap<Slot, Line>,
    /// Which line a question is on.
    asked: BTreeMap<Key, Slot>,
    /// Questions whose application's name is being looked up.
    nameless: BTreeMap<Key, (EndpointIndex, Vec<u8>)>,
    /// Lines that have something to send.
    to_send: VecDeque<Slot>,
    replies: VecDeque<(Key, Outcome)>,
    /// Tells uses of a slot apart.
    generation: u32,
    unsent: Vec<Unsent>,
}

type Outcome = Result<AppReply, AskOutcome>;

#[derive(Debug)]
struct App {
    address: AppAddress,
    /// How many of its addresses have failed: of several, the next one is tried first.
    failed_addresses: usize,
    /// Kept connections, with the time of their last use, rising: the one used last goes first, so that those beyond the
    /// need of the moment grow old.
    kept: VecDeque<(Time, Slot)>,
}

/// A connection to an application.
#[derive(Debug)]
struct Line {
    socket: SocketKey,
    app: EndpointIndex,
    state: State,
}

#[derive(Debug)]
enum State {
    Asking(Exchange),
    Kept,
    /// Shut down; the hang-up is awaited.
    Ending,
}

/// A question on its line.
#[derive(Debug)]
struct Exchange {
    question: Key,
    request: Vec<u8>,
    sent: usize,
    reader: ReplyReader,
    /// Nothing was asked on the connection before.
    is_fresh: bool,
}

impl Exchange {
    fn is_sent(&self) -> bool {
        self.sent == self.request.len()
    }
}

impl Apps {
    /// `kept_max`: how many connections to an application are kept at most.
    pub fn new(
        endpoints: &[Endpoint],
        kept_max: usize,
        answer_bytes_max: usize,
        doorbell: Arc<Doorbell>,
    ) -> Self {
        let app = |endpoint: &Endpoint| App {
            address: endpoint.address.clone(),
            failed_addresses: 0,
            kept: VecDeque::new(),
        };
        Self {
            apps: endpoints.iter().map(app).collect(),
            answer_bytes_max,
            kept_max,
            names: Names::new(doorbell),
            lines: BTreeMap::new(),
            asked: BTreeMap::new(),
            nameless: BTreeMap::new(),
            to_send: VecDeque::new(),
            replies: VecDeque::new(),
            generation: 0,
            unsent: Vec::new(),
        }
    }

    pub fn ask(
        &mut self,
        ring: &mut Ring,
        now: Time,
        question: Key,
        endpoint: EndpointIndex,
        request: Vec<u8>,
    ) {
        self.close_idle(ring, now);
        match self.apps[endpoint.index()].kept.pop_back() {
            Some((_, slot)) => self.put(slot, question, request, false),
            None => self.connect(ring, now, question, endpoint, request),
        }
    }

    /// The answer is not wanted any more.
    pub fn stop(&mut self, ring: &mut Ring, question: Key) {
        self.nameless.remove(&question);
        if let Some(slot) = self.asked.remove(&question) {
            if let Line { app, state: State::Asking(exchange), .. } = &self.lines[&slot]
                && exchange.sent == 0
            {
                // It does not even connect.
                self.apps[app.index()].failed_addresses += 1;
            }
            self.end(ring, slot);
        }
    }

    /// What became of a question that was not stopped.
    pub fn next_reply(&mut self) -> Option<(Key, Outcome)> {
        self.replies.pop_front()
    }

    /// Whether a slot of the ring is a connection to an application, and no client's.
    // Hot: once per event of the ring; one load while there is none.
    pub fn owns(&self, slot: Slot) -> bool {
        !self.lines.is_empty() && self.lines.contains_key(&slot)
    }

    pub fn received(&mut self, ring: &mut Ring, now: Time, socket: SocketKey, bytes: &[u8]) {
        let Some(line) = self.lines.get_mut(&socket.slot) else { return };
        match &mut line.state {
            State::Asking(exchange) => match exchange.reader.receive(bytes) {
                Ok(None) => {}
                Ok(Some(reply)) => {
                    let may_stay = reply.keep_alive && exchange.is_sent();
                    let question = exchange.question;
                    self.finish(question, Ok(reply));
                    self.keep_or_end(ring, now, socket.slot, may_stay);
                }
                Err(error) => {
                    let question = exchange.question;
                    self.finish(question, Err(outcome_of(error)));
                    self.end(ring, socket.slot);
                }
            },
            // Nobody has asked for this.
            State::Kept => self.end(ring, socket.slot),
            State::Ending => {}
        }
    }

    pub fn hung_up(&mut self, ring: &mut Ring, now: Time, socket: SocketKey) {
        let Some(line) = self.lines.remove(&socket.slot) else { return };
        ring.close(socket);
        match line.state {
            State::Asking(exchange) => self.cut(ring, now, line.app, exchange),
            State::Kept => self.apps[line.app.index()].kept.retain(|(_, slot)| *slot != socket.slot),
            State::Ending => {}
        }
    }

    pub fn writable(&mut self, socket: SocketKey) {
        self.to_send.push_back(socket.slot);
    }

    /// Sends what is to be sent, in one volley; true if there was anything.
    pub fn send(&mut self, ring: &mut Ring) -> bool {
        let mut slots = Vec::new();
        while let Some(slot) = self.to_send.pop_front() {
            // Of a line that has ended since, nothing is sent.
            let is_unsent = self.lines.get(&slot).is_some_and(|line| match &line.state {
                State::Asking(exchange) => !exchange.is_sent(),
                State::Kept | State::Ending => false,
            });
            if is_unsent && !slots.contains(&slot) {
                slots.push(slot);
            }
            if slots.len() == FLUSH_CONNECTIONS {
                break;
            }
        }
        if slots.is_empty() {
            return false;
        }
        self.unsent.clear();
        let lines = &self.lines;
        let rest = |index: usize| (slots[index], rest(lines, slots[index]));
        ring.volley(slots.len(), rest, &mut self.unsent);
        let mut sent: Vec<usize> = slots.iter().map(|slot| rest_length(&self.lines, *slot)).collect();
        for unsent in &self.unsent {
            let index = unsent.index as usize;
            sent[index] = match unsent.outcome {
                SendOutcome::Short { sent } => {
                    // The socket is full, or not connected yet.
                    ring.await_writable(self.lines[&slots[index]].socket);
                    sent as usize
                }
                // The hang-up of its receive follows.
                SendOutcome::Failed(_) => 0,
            };
        }
        for (slot, sent) in slots.into_iter().zip(sent) {
            if let Some(Line { state: State::Asking(exchange), .. }) = self.lines.get_mut(&slot) {
                exchange.sent += sent;
            }
        }
        true
    }

    /// Connects those whose application's name has been looked up; true if there was any.
    pub fn take_names(&mut self, ring: &mut Ring, now: Time) -> bool {
        let mut is_busy = false;
        while self.names.take_result(now) {
            is_busy = true;
            for (question, (endpoint, request)) in std::mem::take(&mut self.nameless) {
                self.connect(ring, now, question, endpoint, request);
            }
        }
        is_busy
    }

    /// Whether a name has been looked up.
    pub fn has_name(&self) -> bool {
        self.names.has_result()
    }

    /// When the next connection has been kept for long enough.
    pub fn next_deadline(&self) -> Option<Time> {
        let oldest = self.apps.iter().filter_map(|app| app.kept.front());
        oldest.map(|(used, _)| used.after(CALLBACK_IDLE_TIMEOUT)).min()
    }

    /// Closes what has been kept for long enough; true if there was any.
    pub fn close_idle(&mut self, ring: &mut Ring, now: Time) -> bool {
        let mut is_busy = false;
        for app in 0..self.apps.len() {
            while let Some(&(used, slot)) = self.apps[app].kept.front()
                && used.after(CALLBACK_IDLE_TIMEOUT) <= now
            {
                self.apps[app].kept.pop_front();
                self.end(ring, slot);
                is_busy = true;
            }
        }
        is_busy
    }

    /// Puts a question on a line.
    fn put(&mut self, slot: Slot, question: Key, request: Vec<u8>, is_fresh: bool) {
        let reader = ReplyReader::new(self.answer_bytes_max);
        let line = self.lines.get_mut(&slot).expect("a question is put on an open line");
        line.state = State::Asking(Exchange { question, request, sent: 0, reader, is_fresh });
        self.asked.insert(question, slot);
        self.to_send.push_back(slot);
    }

    fn connect(
        &mut self,
        ring: &mut Ring,
        now: Time,
        question: Key,
        endpoint: EndpointIndex,
        request: Vec<u8>,
    ) {
        let App { address, failed_addresses, .. } = &self.apps[endpoint.index()];
        let connected = match address {
            AppAddress::Unix { path } => connect::unix(path),
            AppAddress::Tcp { host, port } => match self.names.addresses(now, host) {
                Some(mut addresses) => {
                    let first = failed_addresses.checked_rem(addresses.len()).unwrap_or(0);
                    addresses.rotate_left(first);
                    connect::first(addresses.into_iter().map(|ip| SocketAddr::new(ip, *port)))
                }
                None => {
                    self.nameless.insert(question, (endpoint, request));
                    return;
                }
            },
        };
        let Ok(slot) = connected.and_then(|descriptor| ring.install(descriptor)) else {
            return self.finish(question, Err(AskOutcome::Unreachable));
        };
        self.generation = (self.generation + 1) % SocketKey::GENERATIONS;
        let socket = SocketKey { slot, generation: self.generation };
        self.lines.insert(slot, Line { socket, app: endpoint, state: State::Kept });
        ring.receive(socket);
        self.put(slot, question, request, true);
    }

    /// The connection has ended under a question.
    fn cut(&mut self, ring: &mut Ring, now: Time, app: EndpointIndex, exchange: Exchange) {
        let Exchange { question, request, reader, is_fresh, .. } = exchange;
        let is_unsent = exchange.sent == 0;
        if reader.has_begun() {
            return self.finish(question, reader.end().map_err(outcome_of));
        }
        if is_fresh {
            self.apps[app.index()].failed_addresses += usize::from(is_unsent);
            let outcome = if is_unsent { AskOutcome::Unreachable } else { AskOutcome::Closed };
            return self.finish(question, Err(outcome));
        }
        // The application had closed it; most likely it has closed those that are older too.
        self.asked.remove(&question);
        for (_, slot) in std::mem::take(&mut self.apps[app.index()].kept) {
            self.end(ring, slot);
        }
        self.connect(ring, now, question, app, request);
    }

    fn finish(&mut self, question: Key, result: Result<Reply, AskOutcome>) {
        self.asked.remove(&question);
        self.replies
            .push_back((question, result.map(|Reply { status, body, .. }| AppReply { status, body })));
    }

    fn keep_or_end(&mut self, ring: &mut Ring, now: Time, slot: Slot, may_stay: bool) {
        let line = self.lines.get_mut(&slot).expect("the line has just spoken");
        let kept = &mut self.apps[line.app.index()].kept;
        if !may_stay || kept.len() >= self.kept_max {
            return self.end(ring, slot);
        }
        line.state = State::Kept;
        kept.push_back((now, slot));
    }

    /// Ends a line of which nothing is expected any more.
    fn end(&mut self, ring: &mut Ring, slot: Slot) {
        let Some(line) = self.lines.get_mut(&slot) else { return };
        match std::mem::replace(&mut line.state, State::Ending) {
            State::Ending => {}
            State::Asking(_) => ring.shutdown(line.socket, End::Both),
            State::Kept => {
                ring.shutdown(line.socket, End::Both);
                self.apps[line.app.index()].kept.retain(|(_, kept)| *kept != slot);
            }
        }
    }
}

/// What is still to be sent on a line.
fn rest(lines: &BTreeMap<Slot, Line>, slot: Slot) -> &[u8] {
    match &lines[&slot].state {
        State::Asking(exchange) => &exchange.request[exchange.sent..],
        State::Kept | State::Ending => &[],
    }
}

fn rest_length(lines: &BTreeMap<Slot, Line>, slot: Slot) -> usize {
    rest(lines, slot).len()
}

fn outcome_of(error: ReplyError) -> AskOutcome {
    match error {
        ReplyError::Malformed => AskOutcome::Malformed,
        ReplyError::TooLarge => AskOutcome::TooLarge,
        ReplyError::Cut => AskOutcome::Closed,
    }
}
