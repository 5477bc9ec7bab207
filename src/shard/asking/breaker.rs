//! Whether an application is asked at all: one that fails again and again is left alone for a while, and then asked one
//! question to see whether it is back.

use crate::base::limits::{CALLBACK_BREAKER_FAILURES, CALLBACK_BREAKER_PAUSE};
use crate::base::slab::Key;
use crate::base::time::Time;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Breaker {
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// So many questions in a row have failed, fewer than it takes.
    Closed { failures: u32 },
    /// Nothing is asked until then.
    Open { until: Time },
    /// One question is under way, on which it depends.
    Trying { probe: Key },
}

/// What an outcome changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shard) enum Change {
    None,
    /// From here on nothing is asked.
    Opened,
    /// As before, after one more try.
    StaysOpen,
    Closed,
}

impl Breaker {
    pub(super) fn new() -> Self {
        Self { state: State::Closed { failures: 0 } }
    }

    /// Whether another question may be asked; if it is to be the one on which it depends, `begin_trial` follows.
    pub(super) fn admits(&self, now: Time) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until } => until <= now,
            State::Trying { .. } => false,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// A question that was admitted is to be asked.
    pub(super) fn asks(&mut self, question: Key) {
        if let State::Open { .. } = self.state {
            self.state = State::Trying { probe: question };
        }
    }

    /// A question was given up before it was asked: if it was the one on which it depended, the next one is that.
    pub(super) fn gives_up(&mut self, question: Key, now: Time) {
        if self.state == (State::Trying { probe: question }) {
            self.state = State::Open { until: now };
        }
    }

    /// The application has answered, whatever it said.
    pub(super) fn succeeded(&mut self) -> Change {
        let before = std::mem::replace(&mut self.state, State::Closed { failures: 0 });
        match before {
            State::Closed { .. } => Change::None,
            State::Open { .. } | State::Trying { .. } => Change::Closed,
        }
    }

    pub(super) fn failed(&mut self, question: Key, now: Time) -> Change {
        let open = State::Open { until: now.after(CALLBACK_BREAKER_PAUSE) };
        match &mut self.state {
            State::Closed { failures } => {
                *failures += 1;
                if *failures < CALLBACK_BREAKER_FAILURES {
                    return Change::None;
                }
                self.state = open;
                Change::Opened
            }
            State::Trying { probe } if *probe == question => {
                self.state = open;
                Change::StaysOpen
            }
            // It was asked before.
            State::Trying { .. } | State::Open { .. } => Change::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u32) -> Key {
        Key { index, generation: 0 }
    }

    #[test]
    fn it_opens_after_failures_in_a_row_only() {
        let (mut breaker, now) = (Breaker::new(), Time::from_nanos(1));
        for _ in 0..3 {
            for failure in 1..CALLBACK_BREAKER_FAILURES {
                assert_eq!(breaker.failed(key(failure), now), Change::None);
            }
            assert_eq!(breaker.succeeded(), Change::None);
        }
        for failure in 1..CALLBACK_BREAKER_FAILURES {
            assert_eq!(breaker.failed(key(failure), now), Change::None);
        }
        assert!(breaker.admits(now));
        assert_eq!(breaker.failed(key(9), now), Change::Opened);
        assert!(!breaker.admits(now));
    }

    #[test]
    fn after_the_pause_one_question_decides() {
        let (mut breaker, now) = (Breaker::new(), Time::from_nanos(1));
        (0..CALLBACK_BREAKER_FAILURES).for_each(|failure| _ = breaker.failed(key(failure), now));
        let later = now.after(CALLBACK_BREAKER_PAUSE);
        assert!(breaker.admits(later));
        breaker.asks(key(10));
        assert!(!breaker.admits(later), "one at a time");
        assert_eq!(breaker.failed(key(3), later), Change::None, "one that was asked before says nothing new");
        assert_eq!(breaker.failed(key(10), later), Change::StaysOpen);
        assert!(!breaker.admits(later));
        let later = later.after(CALLBACK_BREAKER_PAUSE);
        breaker.asks(key(11));
        breaker.gives_up(key(11), later);
        assert!(breaker.admits(later), "a trial that nobody waits for any more is no trial");
        breaker.asks(key(12));
        assert_eq!(breaker.succeeded(), Change::Closed);
        assert!(breaker.is_closed() && breaker.admits(later));
    }
}
