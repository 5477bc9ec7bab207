//! A request that the application decides about: what is to be asked, and what the request gets by what is answered.

use std::collections::VecDeque;
use std::time::Duration;

use crate::access::{Credentials, Grant, Question, Questions};
use crate::base::refusal::Refusal;
use crate::protocol::answer::{Answer, Exchange};
use crate::protocol::site::{Decision, Opening};

/// A request that waits for the application. Its questions are asked one by one: the first refusal is its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inquiry {
    questions: VecDeque<Question>,
    /// What has been granted so far, by the rules and by answers.
    granted: Grant,
    wanted: Wanted,
    /// There were cookies that the application is not shown, because of the page that asks.
    cookies_withheld: bool,
    exchange: Exchange,
}

/// What it gets when everything is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    Stream(Opening),
    /// The head of a stream, and nothing behind it.
    Head(Opening),
}

/// How a request is told that nobody can say now whether it is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForNow {
    /// As any stream that cannot be served now.
    Shed(Opening),
    Answer(Answer),
}

impl Wanted {
    pub(super) fn get(self) -> Decision {
        match self {
            Self::Stream(opening) => Decision::Stream(opening),
            Self::Head(opening) => Decision::Head(opening),
        }
    }
}

impl Inquiry {
    pub(super) fn new(
        questions: Questions,
        wanted: Wanted,
        credentials: &Credentials<'_>,
        exchange: Exchange,
    ) -> Self {
        let Questions { granted, questions } = questions;
        let cookies_withheld = credentials.cookies_withheld;
        Self { questions: questions.into(), granted, wanted, cookies_withheld, exchange }
    }

    /// The next question; none: everything is granted, and `finish` says what follows.
    pub fn next_question(&mut self) -> Option<Question> {
        self.questions.pop_front()
    }

    /// The answer to a question.
    ///
    /// # Errors
    /// With what the request gets if it is somebody else whom the application let in than whom the others did.
    pub fn grant(&mut self, grant: Grant) -> Result<(), Answer> {
        let both = std::mem::take(&mut self.granted).and(grant);
        self.granted = both.map_err(|refusal| self.exchange.refuse(refusal))?;
        Ok(())
    }

    /// What the request gets once everything is granted.
    pub fn finish(mut self) -> Decision {
        let (Wanted::Stream(opening) | Wanted::Head(opening)) = &mut self.wanted;
        opening.grant = self.granted;
        self.wanted.get()
    }

    /// What it gets if the application says no. What the application says of why is not passed on.
    pub fn refuse(&self, refusal: Refusal) -> Answer {
        // What is wrong may not be what was shown, but on whose page.
        let refusal = if self.cookies_withheld { Refusal::OriginNotAllowed } else { refusal };
        self.exchange.refuse(refusal)
    }

    /// What it gets while nobody can say.
    pub fn for_now(self, retry: Duration) -> ForNow {
        match self.wanted {
            Wanted::Stream(opening) => ForNow::Shed(opening),
            Wanted::Head(_) => ForNow::Answer(self.exchange.refuse_for_now(Refusal::Busy, retry)),
        }
    }

    /// Whether its client waits for a stream: one that has closed its side waits for none.
    pub fn is_for_stream(&self) -> bool {
        match self.wanted {
            Wanted::Stream(_) => true,
            Wanted::Head(_) => false,
        }
    }
}
