//! A line of the log that many clients could bring about: once a minute at most, for all shards together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::time::Time;

#[derive(Debug, Default)]
pub struct Seldom {
    /// From when on the line may be written again.
    next_nanos: AtomicU64,
}

impl Seldom {
    /// Whether the line is to be written now. True for one of several threads that ask at the same time.
    pub fn is_due(&self, now: Time) -> bool {
        let next = self.next_nanos.load(Ordering::Relaxed);
        let after = now.after(INTERVAL).as_nanos();
        let take = || self.next_nanos.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed);
        now.as_nanos() >= next && take().is_ok()
    }
}

const INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_due_at_once_and_then_once_a_minute() {
        let seldom = Seldom::default();
        let due = |seconds| seldom.is_due(Time::ZERO.after(Duration::from_secs(seconds)));
        assert_eq!([0, 1, 59, 60, 61, 119, 300].map(due), [true, false, false, true, false, false, true]);
    }
}
