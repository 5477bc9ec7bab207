//! Requests that wait until the application says whether they are let in.
//!
//! A request is asked about question by question; it waits in its own phase, with the bounds of any request, and every
//! question has its time ([`super::asking`]). An answer serves all who wait for it; no answer is told to each as any
//! stream that cannot be served now, never as a refusal: a browser that was refused once does not come back.

use crate::access::{Answer, EndpointIndex};
use crate::base::asked::AskOutcome;
use crate::base::disconnect::Disconnect;
use crate::base::dismissal::Whom;
use crate::base::slab::Key;
use crate::base::socket::{Slot, SocketKey};
use crate::protocol::inquiry::{ForNow, Inquiry};

use super::Shard;
use super::asking::{Asked, Change, Ended};
use super::input::{AppReply, Output};
use super::request::{Phase, Step};
use super::row::State;

/// A request that waits for an answer.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) inquiry: Inquiry,
    question: Key,
    socket: SocketKey,
}

impl Shard {
    /// Asks what is still to be asked; the request waits, or gets what it gets.
    pub(super) fn inquire(&mut self, slot: Slot, request: u32, mut inquiry: Box<Inquiry>) -> Step {
        if let Err(reason) = self.has_place() {
            return self.say_for_now(slot, *inquiry, reason);
        }
        let (socket, unix) = (self.key(slot), self.wall_clock.unix(self.now));
        while let Some(question) = inquiry.next_question() {
            match self.asking.ask(self.now, unix, question, socket) {
                Asked::Known(Answer::Granted(grant)) => {
                    self.counters.cells.callback_cache_hits.add(1);
                    if let Err(answer) = inquiry.grant(grant) {
                        return self.answer(slot, answer);
                    }
                }
                Asked::Known(Answer::Refused(refusal)) => {
                    self.counters.cells.callback_cache_hits.add(1);
                    let answer = inquiry.refuse(refusal);
                    return self.answer(slot, answer);
                }
                Asked::Waits { question, is_joined } => {
                    self.counters.cells.callback_joined.add(u64::from(is_joined));
                    let awaited = Awaited { inquiry: *inquiry, question, socket };
                    self.requests.at_mut(request).phase = Phase::AwaitGrant(Box::new(awaited));
                    self.depart();
                    return Step::Wait;
                }
                Asked::Unavailable => {
                    return self.say_for_now(slot, *inquiry, Disconnect::ApplicationUnavailable);
                }
            }
        }
        self.carry_out(slot, request, inquiry.finish())
    }

    /// What became of a question.
    pub(super) fn app_replied(&mut self, question: Key, reply: Result<AppReply, AskOutcome>) {
        let unix = self.wall_clock.unix(self.now);
        let reply = reply.as_ref().map(|reply| (reply.status, &reply.body[..])).map_err(|outcome| *outcome);
        if let Some(ended) = self.asking.answered(self.now, unix, question, reply) {
            self.question_ended(ended);
        }
        self.depart();
    }

    /// An order says that what was answered so far may no longer hold.
    pub(super) fn forget_answers(&mut self, whom: &Whom) {
        self.asking.forget_answers(whom);
        self.count_questions();
    }

    /// Ends the questions that nobody shall wait for any longer.
    pub(super) fn end_overdue_questions(&mut self) {
        while let Some(ended) = self.asking.take_overdue(self.now) {
            if ended.outcome.is_some() {
                self.outputs.push_back(Output::StopAsking { question: ended.question });
            }
            self.question_ended(ended);
        }
        self.depart();
    }

    /// The client has gone, or the request has its end by another way.
    pub(super) fn forget_awaited(&mut self, awaited: &Awaited) {
        self.asking.forget(self.now, awaited.question, awaited.socket);
        self.count_questions();
    }

    /// Requests that wait are told to come back.
    pub(super) fn shed_awaiting(&mut self, slot: Slot) {
        let State::Request(request) = self.rows[slot.index()].state else { return };
        if let Some(awaited) = self.take_awaited(request) {
            self.forget_awaited(&awaited);
            let _ = self.say_for_now(slot, awaited.inquiry, Disconnect::Drain);
        }
    }

    fn question_ended(&mut self, ended: Ended) {
        let Ended { question, endpoint, answer, outcome, waiters, change } = ended;
        if let Some(outcome) = outcome {
            self.counters.question(outcome);
            self.tell_of_breaker(endpoint, change, outcome);
        }
        for socket in waiters {
            self.tell_waiter(socket, question, answer.as_ref());
        }
        if matches!(change, Change::Opened) {
            while let Some(ended) = self.asking.take_shed(self.now, endpoint) {
                for socket in ended.waiters {
                    self.tell_waiter(socket, ended.question, None);
                }
            }
        }
    }

    /// Gives one of those who waited what it gets, if it still waits: what those before it were sent may have ended its
    /// connection, whose tail was the longest at the bound of all tails.
    fn tell_waiter(&mut self, socket: SocketKey, question: Key, answer: Option<&Answer>) {
        let slot = socket.slot;
        let Some(request) = self.present_request(socket) else { return };
        let is_its_question =
            |phase: &Phase| matches!(phase, Phase::AwaitGrant(awaited) if awaited.question == question);
        if !is_its_question(&self.requests.at(request).phase) {
            return;
        }
        let Some(awaited) = self.take_awaited(request) else { return };
        let mut inquiry = Box::new(awaited.inquiry);
        let step = match answer {
            Some(Answer::Granted(grant)) => match inquiry.grant(grant.clone()) {
                Ok(()) => self.inquire(slot, request, inquiry),
                Err(answer) => self.answer(slot, answer),
            },
            Some(Answer::Refused(refusal)) => {
                let answer = inquiry.refuse(*refusal);
                self.answer(slot, answer)
            }
            None => self.say_for_now(slot, *inquiry, Disconnect::ApplicationUnavailable),
        };
        if let Step::Next = step {
            self.advance_request(slot);
        }
    }

    fn take_awaited(&mut self, request: u32) -> Option<Box<Awaited>> {
        let entry = self.requests.at_mut(request);
        match std::mem::replace(&mut entry.phase, Phase::Idle) {
            Phase::AwaitGrant(awaited) => Some(awaited),
            other => {
                entry.phase = other;
                None
            }
        }
    }

    fn say_for_now(&mut self, slot: Slot, inquiry: Inquiry, reason: Disconnect) -> Step {
        let retry = self.random.jitter(self.site.retry);
        match inquiry.for_now(retry) {
            ForNow::Shed(opening) => self.shed_request(slot, opening, reason),
            ForNow::Answer(answer) => {
                answer.refusal.into_iter().for_each(|refusal| self.counters.refusal(refusal));
                self.end_with(slot, answer.bytes, reason);
            }
        }
        Step::Over
    }

    fn tell_of_breaker(&mut self, endpoint: EndpointIndex, change: Change, last: AskOutcome) {
        match change {
            Change::Opened => self.outputs.push_back(Output::AppUnavailable { endpoint, last }),
            Change::Closed => self.outputs.push_back(Output::AppBack { endpoint }),
            Change::None | Change::StaysOpen => {}
        }
    }

    /// Puts as many questions on their way as there is room for.
    fn depart(&mut self) {
        let unix = self.wall_clock.unix(self.now);
        while let Some((question, asked)) = self.asking.depart(self.now) {
            let endpoint = asked.endpoint;
            let request = asked.request(self.site.gate.endpoint(endpoint), unix);
            self.outputs.push_back(Output::Ask { question, endpoint, request });
        }
        self.count_questions();
    }

    fn count_questions(&self) {
        let cells = &self.counters.cells;
        cells.callback_in_flight.set(self.asking.in_flight() as u64);
        cells.callback_waiting.set(self.asking.waiting() as u64);
        cells.callback_cache_bytes.set(self.asking.cache_bytes() as u64);
        cells.callback_breakers_open.set(self.asking.open_breakers() as u64);
    }
}
