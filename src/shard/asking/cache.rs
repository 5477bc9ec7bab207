//! Answers that may be given again, for as long as the application said.
//!
//! Bounded in bytes; at the bound that which ends first goes first. Keyed by a digest: what clients showed is not kept.
//! Cost: two trees, O(log n). What has run out goes with the next answer that is kept.

use std::collections::BTreeMap;

use crate::access::Answer;
use crate::base::time::{Time, UnixTime};

use super::Digest;

#[derive(Debug)]
pub(super) struct Cache {
    bytes_max: usize,
    bytes: usize,
    entries: BTreeMap<Digest, Entry>,
    /// By when they end.
    ends: BTreeMap<(Time, u64), Digest>,
    /// How many were ever kept: tells those apart that end together.
    count: u64,
}

#[derive(Debug)]
struct Entry {
    answer: Answer,
    end: (Time, u64),
    bytes: usize,
}

impl Cache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, entries: BTreeMap::new(), ends: BTreeMap::new(), count: 0 }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The answer to this question, if it still holds.
    pub(super) fn find(&self, question: &Digest, now: Time, unix: UnixTime) -> Option<&Answer> {
        let entry = self.entries.get(question).filter(|entry| entry.end.0 > now)?;
        match &entry.answer {
            Answer::Granted(grant) if grant.expires.is_some_and(|expires| expires <= unix) => None,
            answer => Some(answer),
        }
    }

    pub(super) fn keep(&mut self, question: Digest, answer: Answer, end: Time, now: Time) {
        self.remove(&question);
        while let Some((&(end, _), _)) = self.ends.first_key_value()
            && end <= now
        {
            self.remove_first();
        }
        let user = match &answer {
            Answer::Granted(grant) => grant.user.as_ref().map_or(0, |user| user.len()),
            Answer::Refused(_) => 0,
        };
        let bytes = ENTRY_BYTES + user;
        self.count += 1;
        let end = (end, self.count);
        self.entries.insert(question, Entry { answer, end, bytes });
        self.ends.insert(end, question);
        self.bytes += bytes;
        while self.bytes > self.bytes_max {
            self.remove_first();
        }
    }

    /// Forgets what lets this user in. Cost: a look at each answer.
    pub(super) fn forget_user(&mut self, user: &str) {
        let is_of_user = |entry: &Entry| matches!(&entry.answer, Answer::Granted(grant) if grant.user.as_deref() == Some(user));
        let of_user = self.entries.iter().filter(|(_, entry)| is_of_user(entry));
        let questions: Vec<Digest> = of_user.map(|(question, _)| *question).collect();
        questions.iter().for_each(|question| self.remove(question));
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.ends.clear();
        self.bytes = 0;
    }

    fn remove_first(&mut self) {
        if let Some((_, question)) = self.ends.pop_first() {
            self.remove(&question);
        }
    }

    fn remove(&mut self, question: &Digest) {
        if let Some(entry) = self.entries.remove(question) {
            self.ends.remove(&entry.end);
            self.bytes -= entry.bytes;
        }
    }
}

/// An entry in both trees with their overhead, beside its user.
const ENTRY_BYTES: usize = 256;
const _: () = assert!(2 * (size_of::<Entry>() + 2 * size_of::<Digest>() + 24) <= ENTRY_BYTES + 64);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::access::Grant;
    use crate::base::refusal::Refusal;

    const REFUSED: Answer = Answer::Refused(Refusal::ApplicationForbidden);

    fn time(seconds: u64) -> Time {
        Time::ZERO.after(Duration::from_secs(seconds))
    }

    fn find(cache: &Cache, question: u8, seconds: u64) -> bool {
        cache.find(&[question; 32], time(seconds), UnixTime::from_secs(1_000 + seconds)).is_some()
    }

    #[test]
    fn an_answer_is_given_again_until_its_time_is_over() {
        let mut cache = Cache::new(10_000);
        cache.keep([1; 32], REFUSED, time(10), time(0));
        assert!(find(&cache, 1, 9) && !find(&cache, 2, 9) && !find(&cache, 1, 10));
        cache.keep([1; 32], REFUSED, time(30), time(10));
        assert!(find(&cache, 1, 29));
        // What has run out goes with the next that comes.
        cache.keep([2; 32], REFUSED, time(40), time(35));
        assert_eq!(cache.bytes(), ENTRY_BYTES);
    }

    #[test]
    fn a_grant_that_has_expired_is_not_given_again() {
        let mut cache = Cache::new(10_000);
        let grant = Grant { user: Some("7".into()), expires: Some(UnixTime::from_secs(1_005)) };
        cache.keep([1; 32], Answer::Granted(grant), time(10), time(0));
        assert_eq!(cache.bytes(), ENTRY_BYTES + 1);
        assert!(find(&cache, 1, 4) && !find(&cache, 1, 5));
    }

    #[test]
    fn at_the_bound_what_ends_first_goes_first() {
        let mut cache = Cache::new(2 * ENTRY_BYTES);
        cache.keep([1; 32], REFUSED, time(30), time(0));
        cache.keep([2; 32], REFUSED, time(10), time(0));
        cache.keep([3; 32], REFUSED, time(20), time(0));
        assert!(find(&cache, 1, 1) && !find(&cache, 2, 1) && find(&cache, 3, 1));
        let mut cache = Cache::new(0);
        cache.keep([1; 32], REFUSED, time(30), time(0));
        assert_eq!((cache.bytes(), find(&cache, 1, 1)), (0, false));
    }
}
