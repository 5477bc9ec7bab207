//! Asking every shard who reads slowly: only a shard knows its connections, and any shard may be asked for the page.
//!
//! A question is a number that rises. Each shard looks at it in each turn, as at its orders, and answers the newest one
//! with what it finds at that moment; who asked waits for an answer of each. A shard that does not turn any more keeps
//! them waiting; `/livez` says so.
//!
//! Cost: two loads a turn. The locks are for questions only, and held for a move or a copy.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::base::channel::ChannelName;
use crate::base::queue::ShardIndex;
use crate::base::socket::SocketKey;
use crate::driver::doorbell::Doorbell;

/// One for the process, shared by the shards.
#[derive(Debug)]
pub struct Survey {
    /// The number of the newest question.
    asked: AtomicU64,
    /// By shard.
    answers: Vec<Answer>,
    /// By shard.
    doorbells: Vec<Arc<Doorbell>>,
}

#[derive(Debug, Default)]
struct Answer {
    /// The number of the question that it is about.
    number: AtomicU64,
    found: Mutex<Found>,
}

/// What a shard found, or all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// How many read slowly.
    pub count: usize,
    /// Those who are behind by the most bytes, worst first.
    pub worst: Vec<SlowReader>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowReader {
    pub shard: ShardIndex,
    /// None if the kernel would not say.
    pub peer: Option<String>,
    pub channels: Vec<ChannelName>,
    pub bytes: usize,
    pub lag: Duration,
}

/// The number of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question(u64);

/// Those on one shard who wait for answers. At most one for each connection of the admin side.
#[derive(Debug, Default)]
pub struct Waiting(Vec<Asker>);

#[derive(Debug)]
struct Asker {
    socket: SocketKey,
    limit: usize,
    question: Question,
}

impl Survey {
    pub fn new(doorbells: Vec<Arc<Doorbell>>) -> Self {
        let answers = doorbells.iter().map(|_| Answer::default()).collect();
        Self { asked: AtomicU64::new(0), answers, doorbells }
    }

    /// A new question to every shard.
    fn ask(&self) -> Question {
        let number = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        self.notify();
        Question(number)
    }

    /// The newest question, if the shard has not answered it.
    // Hot: once per turn; two loads.
    pub fn question(&self, shard: ShardIndex) -> Option<Question> {
        let asked = self.asked.load(Ordering::Acquire);
        (self.answers[shard.index()].number.load(Ordering::Relaxed) < asked).then_some(Question(asked))
    }

    /// What the shard found after it was asked this.
    pub fn answer(&self, shard: ShardIndex, question: Question, found: Found) {
        let answer = &self.answers[shard.index()];
        *answer.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
        answer.number.store(question.0, Ordering::Release);
        self.notify();
    }

    /// The shard has no connections any more and does not turn again.
    pub fn leave(&self, shard: ShardIndex) {
        self.answer(shard, Question(u64::MAX), Found::default());
    }

    fn is_answered(&self, question: Question) -> bool {
        self.answers.iter().all(|answer| answer.number.load(Ordering::Acquire) >= question.0)
    }

    /// What all shards found, the worst of all first.
    fn found(&self, limit: usize) -> Found {
        let mut all = Found::default();
        for answer in &self.answers {
            let found = answer.found.lock().unwrap_or_else(PoisonError::into_inner);
            all.count += found.count;
            all.worst.extend(found.worst.iter().take(limit).cloned());
        }
        all.worst.sort_by_key(|one| Reverse((one.bytes, one.lag)));
        all.worst.truncate(limit);
        all
    }

    fn notify(&self) {
        for doorbell in &self.doorbells {
            doorbell.notify();
        }
    }
}

impl Waiting {
    /// A connection asks for the page with so many at most.
    pub fn ask(&mut self, survey: &Survey, socket: SocketKey, limit: usize) {
        self.0.push(Asker { socket, limit, question: survey.ask() });
    }

    /// Whether somebody's question has been answered by all.
    pub fn has_answer(&self, survey: &Survey) -> bool {
        // Questions rise, so the first is answered first.
        self.0.first().is_some_and(|asker| survey.is_answered(asker.question))
    }

    /// The next whose question has been answered, and the answer.
    pub fn take_answer(&mut self, survey: &Survey) -> Option<(SocketKey, Found)> {
        if !self.has_answer(survey) {
            return None;
        }
        let Asker { socket, limit, .. } = self.0.remove(0);
        Some((socket, survey.found(limit)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::socket::Slot;

    const SOCKET: SocketKey = SocketKey { slot: Slot(7), generation: 1 };

    fn survey() -> Survey {
        Survey::new((0..3).map(|_| Arc::new(Doorbell::new().unwrap())).collect())
    }

    fn found(shard: u16, bytes: &[usize]) -> Found {
        let reader = |&bytes| SlowReader {
            shard: ShardIndex(shard),
            peer: None,
            channels: Vec::new(),
            bytes,
            lag: Duration::from_secs(1),
        };
        Found { count: bytes.len() + 100, worst: bytes.iter().map(reader).collect() }
    }

    #[test]
    fn an_answer_is_of_all_shards_with_the_worst_of_all_first() {
        let (survey, mut waiting) = (survey(), Waiting::default());
        assert_eq!(survey.question(ShardIndex(0)), None);
        waiting.ask(&survey, SOCKET, 3);
        for (shard, bytes) in [(2, &[50, 20][..]), (0, &[]), (1, &[60, 30, 10])] {
            assert_eq!(waiting.take_answer(&survey), None, "shard {shard} has not answered");
            let question = survey.question(ShardIndex(shard)).unwrap();
            survey.answer(ShardIndex(shard), question, found(shard, bytes));
            assert_eq!(survey.question(ShardIndex(shard)), None, "it is asked once");
        }
        let (socket, all) = waiting.take_answer(&survey).unwrap();
        let worst: Vec<(u16, usize)> = all.worst.iter().map(|one| (one.shard.0, one.bytes)).collect();
        assert_eq!((socket, all.count, &worst[..]), (SOCKET, 305, &[(1, 60), (2, 50), (1, 30)][..]));
        assert_eq!(waiting.take_answer(&survey), None);
    }

    #[test]
    fn an_answer_from_before_the_question_is_none() {
        let (survey, mut waiting) = (survey(), Waiting::default());
        waiting.ask(&survey, SOCKET, 3);
        let first = survey.question(ShardIndex(0)).unwrap();
        // While the shard looks, another question comes.
        waiting.ask(&survey, SOCKET, 3);
        for shard in (0..3).map(ShardIndex) {
            survey.answer(shard, first, Found::default());
        }
        assert!(waiting.take_answer(&survey).is_some());
        assert_eq!(waiting.take_answer(&survey), None);
        assert!(survey.question(ShardIndex(0)) > Some(first));
    }

    #[test]
    fn nobody_waits_for_a_shard_that_has_gone() {
        let (survey, mut waiting) = (survey(), Waiting::default());
        (0..3).for_each(|shard| survey.leave(ShardIndex(shard)));
        waiting.ask(&survey, SOCKET, 3);
        assert_eq!(waiting.take_answer(&survey), Some((SOCKET, Found::default())));
    }
}
