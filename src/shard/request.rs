//! A connection between requests: it reads heads, and gives each to the site, which decides.
//!
//! A head may come in any fragments; bytes behind it are the next request's. Short answers are pipelined: the next
//! request is looked at while what is to be sent is small. A stream is the last request of its connection.

use std::time::Duration;

use bytes::Bytes;

use crate::base::disconnect::Disconnect;
use crate::base::limits::KIB;
use crate::base::queue::{Control, PublishOutcome, Published};
use crate::base::refusal::{After, Refusal};
use crate::base::socket::{Arrival, Slot, SocketKey};
use crate::base::time::Time;
use crate::protocol::publish::{PendingAnswer, PublishRequest, Publisher, Publishing};
use crate::protocol::site::{AdminRequest, Answer, Decision};
use crate::wire::http::{self, HeadBounds, HeadError};

use super::Shard;
use super::asks::Awaited;
use super::input::{AdminAnswer, Notice, Output};
use super::publishers::Client;
use super::row::{Flags, NO_TAIL, State};

#[derive(Debug)]
pub(super) struct Request {
    arrival: Arrival,
    buffer: Vec<u8>,
    /// How much of the buffer has been searched for the end of a head.
    scanned: usize,
    /// When this head, or the pause before it, began.
    since: Time,
    pub(super) phase: Phase,
    /// True exactly while the deadlines have an entry of this kind for the connection: one, however many requests.
    has_head_deadline: bool,
    has_idle_deadline: bool,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// Nothing of the next head has come.
    Idle,
    Head,
    Body(PublishRequest),
    /// The reader or the driver has been asked.
    AwaitPublished(PendingAnswer),
    AwaitAdmin(AdminRequest),
    /// The application has been asked whether the client is let in.
    AwaitGrant(Box<Awaited>),
}

/// What a look at the buffer gave.
pub(super) enum Step {
    /// More bytes are needed, or an answer.
    Wait,
    /// The next request may lie in the buffer.
    Next,
    /// The connection is no longer in this state.
    Over,
}

/// While more than this waits to be sent, the next pipelined request waits too.
const PIPELINE_BYTES: usize = 16 * KIB;

impl Request {
    /// A connection that was just accepted must send a head as if it had begun one.
    pub(super) fn new(arrival: Arrival, now: Time) -> Self {
        Self {
            arrival,
            buffer: Vec::new(),
            scanned: 0,
            since: now,
            phase: Phase::Head,
            has_head_deadline: true,
            has_idle_deadline: false,
        }
    }
}

impl Shard {
    pub(super) fn request_received(&mut self, slot: Slot, request: u32, bytes: &[u8]) {
        let entry = self.requests.at_mut(request);
        entry.buffer.extend_from_slice(bytes);
        if let Phase::Idle = entry.phase {
            entry.phase = Phase::Head;
            entry.since = self.now;
            self.watch_head(slot, request);
        }
        self.advance_request(slot);
    }

    /// Looks at the buffer until more bytes or an answer are needed.
    pub(super) fn advance_request(&mut self, slot: Slot) {
        while let State::Request(request) = self.rows[slot.index()].state {
            let tail = self.rows[slot.index()].tail;
            if tail != NO_TAIL && self.tails.rest(tail).len() > PIPELINE_BYTES {
                return self.bound_buffer(slot, request);
            }
            let step = match &self.requests.at(request).phase {
                Phase::Idle | Phase::Head => self.read_head(slot, request),
                Phase::Body(_) => self.read_body(slot, request),
                Phase::AwaitPublished(_) | Phase::AwaitAdmin(_) | Phase::AwaitGrant(_) => Step::Wait,
            };
            match step {
                Step::Next => {}
                Step::Wait => return self.bound_buffer(slot, request),
                Step::Over => return,
            }
        }
    }

    /// Who sends on and on while an answer is due is not waiting for it.
    fn bound_buffer(&mut self, slot: Slot, request: u32) {
        let entry = self.requests.at(request);
        let bound = match &entry.phase {
            Phase::Body(publish) => publish.length,
            Phase::Idle
            | Phase::Head
            | Phase::AwaitPublished(_)
            | Phase::AwaitAdmin(_)
            | Phase::AwaitGrant(_) => self.limits.head_bytes,
        };
        if entry.buffer.len() > bound + BUFFER_SLACK {
            self.disconnect(slot, Disconnect::BadRequest);
        }
    }

    fn read_head(&mut self, slot: Slot, request: u32) -> Step {
        let entry = self.requests.at_mut(request);
        if entry.buffer.is_empty() {
            return Step::Wait;
        }
        let bounds = HeadBounds { bytes: self.limits.head_bytes, fields: self.limits.head_fields };
        let read = match http::parse_from(&entry.buffer, entry.scanned, bounds) {
            Ok(Some((head, used))) => {
                let unix = self.wall_clock.unix(self.now);
                Ok(Some((self.site.decide(entry.arrival, &head, self.epoch, unix), used)))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        let listener = entry.arrival.listener;
        let (decision, used) = match read {
            Ok(Some(decided)) => decided,
            Ok(None) => {
                entry.scanned = entry.buffer.len();
                return Step::Wait;
            }
            Err(HeadError::Tls) => {
                self.notice(Notice::TlsOnPlainPort);
                self.disconnect(slot, Disconnect::TlsOnPlainPort);
                return Step::Over;
            }
            Err(HeadError::Refused(refusal)) => {
                let answer = self.site.refuse(listener, refusal);
                return self.answer(slot, answer);
            }
        };
        entry.buffer.drain(..used);
        entry.scanned = 0;
        self.carry_out(slot, request, decision)
    }

    /// Does with a request what was decided.
    pub(super) fn carry_out(&mut self, slot: Slot, request: u32, decision: Decision) -> Step {
        match decision {
            Decision::Answer(answer) => self.answer(slot, answer),
            Decision::Stream(opening) => {
                self.open_stream(slot, opening);
                Step::Over
            }
            Decision::Head(opening) if self.is_kept_away(&opening) => {
                self.stop_request(slot, &opening);
                Step::Over
            }
            Decision::Head(opening) => self.answer(slot, opening.head_alone()),
            Decision::Publish(publish) => {
                // Room for all of it from the start: else many heads that come first would all find room.
                if self.body_bytes + publish.length > self.limits.tail_bytes {
                    return self.answer(slot, publish.answer_unread());
                }
                self.body_bytes += publish.length;
                let interim = publish.interim;
                let entry = self.requests.at_mut(request);
                entry.phase = Phase::Body(publish);
                if !interim.is_empty() {
                    self.push_tail(slot, interim.to_vec());
                }
                Step::Next
            }
            Decision::Ask(inquiry) => self.inquire(slot, request, inquiry),
            Decision::Admin(admin) => {
                let page = admin.page;
                self.requests.at_mut(request).phase = Phase::AwaitAdmin(admin);
                self.outputs.push_back(Output::AskAdmin { socket: self.key(slot), page });
                Step::Wait
            }
        }
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        let noticed = &mut self.noticed[notice.kind()];
        if noticed.is_none_or(|at| self.now.since(at) >= NOTICE_INTERVAL) {
            *noticed = Some(self.now);
            self.outputs.push_back(Output::Notice(notice));
        }
    }

    fn read_body(&mut self, slot: Slot, request: u32) -> Step {
        let socket = self.key(slot);
        let entry = self.requests.at_mut(request);
        let Phase::Body(publish) = &entry.phase else { return Step::Wait };
        if entry.buffer.len() < publish.length {
            return Step::Wait;
        }
        self.body_bytes -= publish.length;
        let rest = entry.buffer.split_off(publish.length);
        let body = Bytes::from(std::mem::replace(&mut entry.buffer, rest));
        let Phase::Body(publish) = std::mem::replace(&mut entry.phase, Phase::Idle) else {
            unreachable!("the phase was looked at above");
        };
        let publishing = match publish.with_body(&self.site, body, self.wall_clock.unix(self.now)) {
            Ok(publishing) => publishing,
            Err(answer) => return self.answer(slot, answer),
        };
        let Publishing { publisher, messages, pending } = publishing;
        if let Publisher::Client { grant, peer } = publisher {
            let channels = messages.iter().map(|message| &message.name);
            if self.dismissals.keep_away(grant.user.as_ref(), channels, self.wall_clock.unix(self.now)) {
                return self.answer(slot, pending.answer_kept_away());
            }
            let nobody = || peer.network().map_or(Client::Connection(socket), Client::Network);
            let client = grant.user.map_or_else(nobody, Client::User);
            if let Err(wait) = self.publishers.take(self.now, client, messages.len()) {
                return self.answer(slot, pending.answer_too_fast(wait));
            }
        }
        self.requests.at_mut(request).phase = Phase::AwaitPublished(pending);
        self.control(Control::Publish { shard: self.index, connection: socket, messages });
        Step::Wait
    }

    pub(super) fn published(&mut self, published: &Published) {
        if let PublishOutcome::Accepted(placed) = &published.outcome {
            self.counters.cells.messages_published.add(placed.len() as u64);
        }
        let Some(request) = self.waiting_request(published.connection) else { return };
        let entry = self.requests.at_mut(request);
        match std::mem::replace(&mut entry.phase, Phase::Idle) {
            Phase::AwaitPublished(publish) => {
                let answer = publish.answer(self.epoch, &published.outcome);
                self.answer_awaited(published.connection.slot, answer);
            }
            other => entry.phase = other,
        }
    }

    pub(super) fn admin_answer(&mut self, socket: SocketKey, answer: &AdminAnswer) {
        let Some(request) = self.waiting_request(socket) else { return };
        let entry = self.requests.at_mut(request);
        match std::mem::replace(&mut entry.phase, Phase::Idle) {
            Phase::AwaitAdmin(admin) => {
                let answer = admin.answer(answer.status, answer.content_type, &answer.body);
                self.answer_awaited(socket.slot, answer);
            }
            other => entry.phase = other,
        }
    }

    fn waiting_request(&mut self, socket: SocketKey) -> Option<u32> {
        match self.row(socket)?.state {
            State::Request(request) => Some(request),
            _ => None,
        }
    }

    fn answer_awaited(&mut self, slot: Slot, answer: Answer) {
        if let Step::Next = self.answer(slot, answer) {
            self.advance_request(slot);
        }
    }

    /// Hands over a complete answer, and either ends the connection behind it or goes on with the next request.
    pub(super) fn answer(&mut self, slot: Slot, answer: Answer) -> Step {
        if let Some(refusal) = answer.refusal {
            self.counters.refusal(refusal);
        }
        self.push_tail(slot, answer.bytes);
        let State::Request(request) = self.rows[slot.index()].state else { return Step::Over };
        let is_half_closed = !self.rows[slot.index()].flags.has(Flags::RECEIVING);
        if answer.after == After::Close || self.is_draining() || is_half_closed {
            let reason = match answer.refusal {
                Some(Refusal::HeadTimeout) => Disconnect::HeadTimeout,
                Some(refusal) if refusal.after() == After::Close => Disconnect::BadRequest,
                Some(_) | None => Disconnect::Finished,
            };
            self.end_after_tail(slot, reason);
            return Step::Over;
        }
        let entry = self.requests.at_mut(request);
        entry.since = self.now;
        if entry.buffer.is_empty() {
            entry.phase = Phase::Idle;
            // Nothing is kept for a connection that only waits.
            entry.buffer = Vec::new();
            self.watch_idle(slot, request);
        } else {
            entry.phase = Phase::Head;
            self.watch_head(slot, request);
        }
        Step::Next
    }

    fn watch_head(&mut self, slot: Slot, request: u32) {
        if !std::mem::replace(&mut self.requests.at_mut(request).has_head_deadline, true) {
            self.heads.add(self.now, self.key(slot));
        }
    }

    fn watch_idle(&mut self, slot: Slot, request: u32) {
        if !std::mem::replace(&mut self.requests.at_mut(request).has_idle_deadline, true) {
            self.idles.add(self.now, self.key(slot));
        }
    }

    pub(super) fn head_overdue(&mut self, socket: SocketKey) {
        let Some(request) = self.present_request(socket) else { return };
        let entry = self.requests.at_mut(request);
        entry.has_head_deadline = false;
        let is_over = self.now.since(entry.since) >= self.limits.head_timeout;
        match entry.phase {
            Phase::Head | Phase::Body(_) if !is_over => self.watch_head(socket.slot, request),
            // A connection that has sent nothing at all, as browsers open them ahead of need, is owed no answer.
            Phase::Head if entry.buffer.is_empty() => self.disconnect(socket.slot, Disconnect::HeadTimeout),
            Phase::Head | Phase::Body(_) => {
                let answer = self.site.refuse(entry.arrival.listener, Refusal::HeadTimeout);
                self.answer(socket.slot, answer);
            }
            Phase::Idle | Phase::AwaitPublished(_) | Phase::AwaitAdmin(_) | Phase::AwaitGrant(_) => {}
        }
    }

    pub(super) fn idle_overdue(&mut self, socket: SocketKey) {
        let Some(request) = self.present_request(socket) else { return };
        let entry = self.requests.at_mut(request);
        entry.has_idle_deadline = false;
        if let Phase::Idle = entry.phase {
            if self.now.since(entry.since) >= self.limits.idle_timeout {
                self.end_after_tail(socket.slot, Disconnect::IdleTimeout);
            } else {
                self.watch_idle(socket.slot, request);
            }
        }
    }

    /// The request that this key was kept for, by a deadline or a question, if the connection still is at requests.
    pub(super) fn present_request(&self, socket: SocketKey) -> Option<u32> {
        let row = &self.rows[socket.slot.index()];
        match row.state {
            State::Request(request) if row.generation == socket.generation => Some(request),
            _ => None,
        }
    }

    /// Whether somebody else has been asked for an answer to this request, which its client waits for although it has
    /// nothing more to say.
    pub(super) fn is_answer_awaited(&self, request: u32) -> bool {
        match &self.requests.at(request).phase {
            Phase::AwaitPublished(_) | Phase::AwaitAdmin(_) => true,
            Phase::AwaitGrant(awaited) => !awaited.inquiry.is_for_stream(),
            Phase::Idle | Phase::Head | Phase::Body(_) => false,
        }
    }

    pub(super) fn drop_request(&mut self, request: u32) {
        let entry = self.requests.remove(self.requests.key_at(request)).expect("the row holds the request");
        match &entry.phase {
            Phase::Body(publish) => self.body_bytes -= publish.length,
            Phase::AwaitGrant(awaited) => self.forget_awaited(awaited),
            Phase::Idle | Phase::Head | Phase::AwaitPublished(_) | Phase::AwaitAdmin(_) => {}
        }
        // Each of these deadlines is of a request: with the last one there is nothing to wake up for.
        if self.requests.is_empty() {
            self.heads.clear();
            self.idles.clear();
        }
    }

    /// Whether nothing of a request has come, so that nobody waits for an answer.
    pub(super) fn is_between_requests(&self, request: u32) -> bool {
        let entry = self.requests.at(request);
        matches!(entry.phase, Phase::Idle) || matches!(entry.phase, Phase::Head) && entry.buffer.is_empty()
    }
}

/// Neither a port scanner nor a crowd fills the log.
const NOTICE_INTERVAL: Duration = Duration::from_secs(60);
/// What may lie in a buffer beside the head or body it is for: one read's worth of the next requests.
const BUFFER_SLACK: usize = 64 * KIB;
