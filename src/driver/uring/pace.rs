//! How fast connections may come: as many as a rate says in a second, and as many at once after a pause.
//!
//! Plain state without I/O. What may come now is a budget of time, which grows by itself up to a second; each connection
//! spends its part of a second.

use std::time::Duration;

use crate::base::number::small;
use crate::base::time::Time;

#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// What one connection spends.
    cost: Duration,
    budget: Duration,
    /// The budget has grown up to here.
    at: Time,
}

impl Pace {
    /// So many connections a second, at least one.
    pub(super) fn new(rate: u32, now: Time) -> Self {
        Self { cost: SECOND / rate.max(1), budget: SECOND, at: now }
    }

    pub(super) fn pass(&mut self, now: Time) {
        self.budget = (self.budget + now.since(self.at)).min(SECOND);
        self.at = now;
    }

    pub(super) fn spend(&mut self) {
        self.budget = self.budget.saturating_sub(self.cost);
    }

    /// How many may come now.
    pub(super) fn tokens(&self) -> u32 {
        let tokens = self.budget.as_nanos() / self.cost.as_nanos().max(1);
        small(usize::try_from(tokens).unwrap_or(usize::MAX).min(TOKENS_MAX))
    }

    /// When the next one may come.
    pub(super) fn next(&self) -> Time {
        self.at.after(self.cost.saturating_sub(self.budget))
    }
}

const SECOND: Duration = Duration::from_secs(1);
/// More than are ever armed.
const TOKENS_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_brings_as_many_as_the_rate_says_and_no_pause_brings_more() {
        let mut now = Time::from_nanos(1);
        let mut pace = Pace::new(10, now);
        assert_eq!(pace.tokens(), 10);
        (0..10).for_each(|_| pace.spend());
        assert_eq!((pace.tokens(), pace.next()), (0, now.after(Duration::from_millis(100))));
        now = now.after(Duration::from_millis(250));
        pace.pass(now);
        assert_eq!(pace.tokens(), 2);
        now = now.after(Duration::from_secs(60));
        pace.pass(now);
        assert_eq!(pace.tokens(), 10);
        assert_eq!(Pace::new(1_000_000, now).tokens(), 1_000_000);
    }
}
