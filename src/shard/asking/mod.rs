//! Questions to the application: which are under way, which wait for room, who waits for which, what is known already.
//!
//! Knows nothing of requests or connections: a question comes with the key of who waits for its answer, and an end comes
//! out with all who do. Questions with the same bytes are one. What is under way is bounded, what waits for room is
//! bounded in number, bytes and time, and an application that fails again and again is not asked ([`breaker`]).
//!
//! Invariants: a question waits for room or is under way; who waits for it stands in its set, and in no other; one that
//! waits for room has somebody who waits for it. Cost: O(log n) in the questions, and one digest of a question's bytes.

mod breaker;
mod cache;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_lc_rs::hmac;

use crate::access::{Answer, Answered, EndpointIndex, Question};
use crate::base::asked::AskOutcome;
use crate::base::dismissal::Whom;
use crate::base::limits::{CALLBACK_QUESTION_BYTES, Limits};
use crate::base::random::Random;
use crate::base::slab::{Key, Slab};
use crate::base::socket::SocketKey;
use crate::base::time::{Time, UnixTime};

use breaker::Breaker;
use cache::Cache;

pub(super) use breaker::Change;

/// What tells two questions apart: HMAC-SHA256 of their bytes.
type Digest = [u8; 32];

#[derive(Debug)]
pub(super) struct Asking {
    /// How long a question may wait for room, and then for its answer.
    timeout: Duration,
    in_flight_max: usize,
    waiting_max: usize,
    key: hmac::Key,
    questions: Slab<Open>,
    /// All but those that were under way when answers were forgotten.
    by_digest: BTreeMap<Digest, u32>,
    /// Those that wait for room and those under way, in the order in which they came there.
    waiting: BTreeMap<u64, u32>,
    in_flight: BTreeMap<u64, u32>,
    /// Gives the order.
    turn: u64,
    bytes: usize,
    waiters: usize,
    breakers: Vec<Breaker>,
    cache: Cache,
}

/// A question that has no answer yet.
#[derive(Debug)]
struct Open {
    question: Question,
    digest: Digest,
    /// Since when it waits for room, or is under way.
    since: Time,
    /// Its place in the order.
    turn: u64,
    is_in_flight: bool,
    waiters: BTreeSet<SocketKey>,
}

/// What comes of asking.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The application has said so before.
    Known(Answer),
    /// Whoever asks waits for this question.
    Waits {
        question: Key,
        /// Others ask the same.
        is_joined: bool,
    },
    /// There is no room, or the application is not asked at present.
    Unavailable,
}

/// A question that is over.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) question: Key,
    pub(super) endpoint: EndpointIndex,
    /// None if there is no answer.
    pub(super) answer: Option<Answer>,
    /// None if it was never asked.
    pub(super) outcome: Option<AskOutcome>,
    pub(super) waiters: BTreeSet<SocketKey>,
    pub(super) change: Change,
}

impl Asking {
    pub(super) fn new(endpoints: usize, timeout: Duration, limits: &Limits, random: &mut Random) -> Self {
        let words = [(); 4].map(|()| random.word().to_be_bytes());
        Self {
            timeout,
            in_flight_max: limits.callback_in_flight,
            waiting_max: limits.callback_waiting,
            key: hmac::Key::new(hmac::HMAC_SHA256, words.as_flattened()),
            questions: Slab::default(),
            by_digest: BTreeMap::new(),
            waiting: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            turn: 0,
            bytes: 0,
            waiters: 0,
            breakers: (0..endpoints).map(|_| Breaker::new()).collect(),
            cache: Cache::new(limits.callback_cache_bytes),
        }
    }

    /// Somebody wants to know.
    pub(super) fn ask(&mut self, now: Time, unix: UnixTime, question: Question, who: SocketKey) -> Asked {
        let digest = self.digest(&question);
        if let Some(answer) = self.cache.find(&digest, now, unix) {
            return Asked::Known(answer.clone());
        }
        if let Some(&index) = self.by_digest.get(&digest) {
            self.waiters += usize::from(self.questions.at_mut(index).waiters.insert(who));
            return Asked::Waits { question: self.questions.key_at(index), is_joined: true };
        }
        let breaker = &mut self.breakers[question.endpoint.index()];
        let bytes = question.bytes();
        let has_room = self.in_flight.len() < self.in_flight_max || self.waiting.len() < self.waiting_max;
        if !has_room || self.bytes + bytes > CALLBACK_QUESTION_BYTES || !breaker.admits(now) {
            return Asked::Unavailable;
        }
        self.turn += 1;
        let turn = self.turn;
        let waiters = BTreeSet::from([who]);
        let open = Open { question, digest, since: now, turn, is_in_flight: false, waiters };
        let key = self.questions.insert(open);
        breaker.asks(key);
        self.by_digest.insert(digest, key.index);
        self.waiting.insert(turn, key.index);
        self.bytes += bytes;
        self.waiters += 1;
        Asked::Waits { question: key, is_joined: false }
    }

    /// The next question to put on its way, if there is room: it is under way now.
    pub(super) fn depart(&mut self, now: Time) -> Option<(Key, &Question)> {
        if self.in_flight.len() >= self.in_flight_max {
            return None;
        }
        let (_, index) = self.waiting.pop_first()?;
        let key = self.questions.key_at(index);
        self.turn += 1;
        let open = self.questions.at_mut(index);
        (open.since, open.turn, open.is_in_flight) = (now, self.turn, true);
        self.in_flight.insert(self.turn, index);
        Some((key, &open.question))
    }

    /// Somebody waits no longer. A question that is under way goes on: its answer serves others.
    pub(super) fn forget(&mut self, now: Time, question: Key, who: SocketKey) {
        let Some(open) = self.questions.get_mut(question) else { return };
        self.waiters -= usize::from(open.waiters.remove(&who));
        if open.waiters.is_empty() && !open.is_in_flight {
            let endpoint = open.question.endpoint;
            self.remove(question);
            self.breakers[endpoint.index()].gives_up(question, now);
        }
    }

    /// What became of a question that was under way. None if it is over already.
    pub(super) fn answered(
        &mut self,
        now: Time,
        unix: UnixTime,
        question: Key,
        reply: Result<(u16, &[u8]), AskOutcome>,
    ) -> Option<Ended> {
        let open = self.questions.get(question)?;
        assert!(open.is_in_flight, "a question is answered after it was put on its way");
        let read = reply.and_then(|(status, body)| open.question.read(status, body, unix));
        Some(self.end(now, question, read))
    }

    /// What was known of a user or a channel holds no longer: whoever comes from here on is asked about anew. What is under
    /// way serves those who wait for it already, and nobody else. Which channels an answer is about is not kept, so of a
    /// channel everything is forgotten.
    pub(super) fn forget_answers(&mut self, whom: &Whom) {
        match whom {
            Whom::User(user) => self.cache.forget_user(user),
            Whom::Channel(_) => self.cache.clear(),
        }
        let under_way: Vec<u32> = self.in_flight.values().copied().collect();
        under_way.into_iter().for_each(|index| self.unlist(index));
    }

    /// A question that has waited for too long, for room or for its answer.
    pub(super) fn take_overdue(&mut self, now: Time) -> Option<Ended> {
        let is_overdue = |index: &u32| self.questions.at(*index).since.after(self.timeout) <= now;
        if let Some(index) = self.in_flight.first_key_value().map(|(_, index)| *index).filter(is_overdue) {
            return Some(self.end(now, self.questions.key_at(index), Err(AskOutcome::Timeout)));
        }
        let index = self.waiting.first_key_value().map(|(_, index)| *index).filter(is_overdue)?;
        Some(self.give_up(now, index))
    }

    /// One of those that wait for room while their application is not asked.
    pub(super) fn take_shed(&mut self, now: Time, endpoint: EndpointIndex) -> Option<Ended> {
        if self.breakers[endpoint.index()].is_closed() {
            return None;
        }
        let mut waiting = self.waiting.values().copied();
        let index = waiting.find(|&index| self.questions.at(index).question.endpoint == endpoint)?;
        Some(self.give_up(now, index))
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        let firsts = [&self.waiting, &self.in_flight].map(|order| order.first_key_value());
        firsts
            .into_iter()
            .flatten()
            .map(|(_, &index)| self.questions.at(index).since.after(self.timeout))
            .min()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Those who wait for an answer.
    pub(super) fn waiters(&self) -> usize {
        self.waiters
    }

    pub(super) fn cache_bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// Applications that are not asked at present, or only tried.
    pub(super) fn open_breakers(&self) -> usize {
        self.breakers.iter().filter(|breaker| !breaker.is_closed()).count()
    }

    /// A question that was under way ends.
    fn end(&mut self, now: Time, question: Key, read: Result<Answered, AskOutcome>) -> Ended {
        let is_listed = self.is_listed(question.index);
        let open = self.remove(question);
        let endpoint = open.question.endpoint;
        let breaker = &mut self.breakers[endpoint.index()];
        let (answer, outcome, change) = match read {
            Ok(Answered { answer, cache }) => {
                let outcome = match answer {
                    Answer::Granted(_) => AskOutcome::Granted,
                    Answer::Refused(_) => AskOutcome::Refused,
                };
                if !cache.is_zero() && is_listed {
                    self.cache.keep(open.digest, answer.clone(), now.after(cache), now);
                }
                (Some(answer), outcome, breaker.succeeded())
            }
            Err(outcome) if outcome.is_failure() => (None, outcome, breaker.failed(question, now)),
            Err(outcome) => (None, outcome, breaker.succeeded()),
        };
        Ended { question, endpoint, answer, outcome: Some(outcome), waiters: open.waiters, change }
    }

    /// A question that waits for room is not asked any more.
    fn give_up(&mut self, now: Time, index: u32) -> Ended {
        let question = self.questions.key_at(index);
        let open = self.remove(question);
        let endpoint = open.question.endpoint;
        self.breakers[endpoint.index()].gives_up(question, now);
        Ended { question, endpoint, answer: None, outcome: None, waiters: open.waiters, change: Change::None }
    }

    fn digest(&self, question: &Question) -> Digest {
        let tag = hmac::sign(&self.key, &question.identity());
        tag.as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    /// Whether others may wait for this question too, and its answer be kept.
    fn is_listed(&self, index: u32) -> bool {
        self.by_digest.get(&self.questions.at(index).digest) == Some(&index)
    }

    /// The same may have been asked anew since; that one stays.
    fn unlist(&mut self, index: u32) {
        if self.is_listed(index) {
            self.by_digest.remove(&self.questions.at(index).digest);
        }
    }

    fn remove(&mut self, question: Key) -> Open {
        self.unlist(question.index);
        let open = self.questions.remove(question).expect("the question is open");
        let order = if open.is_in_flight { &mut self.in_flight } else { &mut self.waiting };
        order.remove(&open.turn).expect("an open question has its place");
        self.bytes -= open.question.bytes();
        self.waiters -= open.waiters.len();
        open
    }
}
