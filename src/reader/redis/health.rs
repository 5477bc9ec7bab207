//! Whether Redis can be heard, as the operator is told: one line a transition, a gauge, and the length of outages.
//!
//! Heard is what the push link gives. The ask link has a state and lines of its own: without it nothing can be
//! published through courier, yet every message flows, and that is no outage. Which of the two is noticed first when Redis
//! itself goes is chance; so the loss of the ask link is said only when the push link has answered a PING since.

use std::sync::Arc;
use std::time::Duration;

use crate::base::counters::ReaderCounters;
use crate::base::time::Time;
use crate::reader::input::Notice;
use crate::reader::redis::login::Failure;

#[derive(Debug)]
pub(super) struct Health {
    state: State,
    asking: Asking,
    /// The outages that are over, together.
    outages: Duration,
    counters: Arc<ReaderCounters>,
}

#[derive(Debug)]
enum State {
    /// The push link is ready and no channel waits to be subscribed again.
    Up,
    /// Not so since then, for the reason that was said last.
    Down { since: Time, said: Option<Failure> },
}

/// What follows when the ask link failed.
#[derive(Debug)]
pub(super) enum AskFailed {
    /// This line, if any.
    Say(Option<Notice>),
    /// The push link is to be asked whether Redis is there.
    FindOut,
}

/// What the operator knows of the ask link.
#[derive(Debug)]
enum Asking {
    /// Nothing, or that it is back.
    Fine,
    /// Nothing: it was lost in the outage that is over, and a dial of that time may still be under way.
    Returning,
    /// Nothing yet: it was lost for this reason, and the push link is asked whether Redis is there.
    Doubted { reason: String },
    /// That it is lost.
    Lost,
}

impl Health {
    /// Down, since nothing has been tried.
    pub(super) fn new(now: Time, counters: Arc<ReaderCounters>) -> Self {
        let state = State::Down { since: now, said: None };
        Self { state, asking: Asking::Fine, outages: Duration::ZERO, counters }
    }

    /// The push link failed. The line to say, unless it was said.
    pub(super) fn failed(&mut self, now: Time, failure: Failure) -> Option<Notice> {
        self.counters.cells.redis_up.set(0);
        if let Asking::Doubted { .. } = self.asking {
            self.asking = Asking::Fine;
        }
        match &mut self.state {
            State::Down { said, .. } if said.as_ref() == Some(&failure) => return None,
            // The second link of a Redis that went away tells nothing new.
            State::Down { said: Some(Failure::Down(_)), .. } if matches!(failure, Failure::Down(_)) => {
                return None;
            }
            State::Down { said, .. } => *said = Some(failure.clone()),
            State::Up => self.state = State::Down { since: now, said: Some(failure.clone()) },
        }
        Some(match failure {
            Failure::Down(reason) => Notice::Down { reason },
            Failure::Refused(reason) => Notice::Refused { reason },
        })
    }

    /// The ask link failed. While nothing is heard that is part of the outage.
    pub(super) fn ask_failed(&mut self, now: Time, failure: Failure) -> AskFailed {
        if matches!(self.state, State::Down { .. }) {
            return AskFailed::Say(self.failed(now, failure));
        }
        match self.asking {
            Asking::Fine => {}
            Asking::Returning => {
                self.asking = Asking::Fine;
                return AskFailed::Say(None);
            }
            Asking::Doubted { .. } | Asking::Lost => return AskFailed::Say(None),
        }
        let (Failure::Down(reason) | Failure::Refused(reason)) = failure;
        self.asking = Asking::Doubted { reason };
        AskFailed::FindOut
    }

    /// The push link answered what was asked out of doubt. The line to say, unless the ask link is back already.
    pub(super) fn is_alive(&mut self) -> Option<Notice> {
        match std::mem::replace(&mut self.asking, Asking::Lost) {
            Asking::Doubted { reason } => Some(Notice::AskLost { reason }),
            before @ (Asking::Fine | Asking::Returning | Asking::Lost) => {
                self.asking = before;
                None
            }
        }
    }

    /// The ask link is logged in. The line to say, if its loss was said.
    pub(super) fn ask_ready(&mut self) -> Option<Notice> {
        match std::mem::replace(&mut self.asking, Asking::Fine) {
            Asking::Lost => Some(Notice::AskBack),
            Asking::Fine | Asking::Returning | Asking::Doubted { .. } => None,
        }
    }

    /// Everything is heard as it should be. The line to say, if that is new.
    pub(super) fn up(&mut self, now: Time, is_ask_ready: bool) -> Option<Notice> {
        let State::Down { since, .. } = self.state else { return None };
        if !is_ask_ready && matches!(self.asking, Asking::Fine) {
            self.asking = Asking::Returning;
        }
        let outage = now.since(since);
        self.outages += outage;
        self.state = State::Up;
        self.counters.cells.redis_up.set(1);
        Some(Notice::Up { outage })
    }

    /// The outage that lasts is counted as it goes on.
    pub(super) fn count_outage(&self, now: Time) {
        let lasting = match self.state {
            State::Up => Duration::ZERO,
            State::Down { since, .. } => now.since(since),
        };
        let milliseconds = u64::try_from((self.outages + lasting).as_millis()).unwrap_or(u64::MAX);
        self.counters.cells.redis_outage_milliseconds.set(milliseconds);
    }
}
