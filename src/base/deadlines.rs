//! Deadlines of one kind: every entry lies the same span after the moment it was added.
//!
//! That makes a plain FIFO sorted, so adding and taking are O(1) with nothing per tick, and an owner keeps one of
//! these for each span (head, join, linger, ..) where a general server would keep a timer wheel. An entry is not
//! removed when its reason goes away: the owner checks whether what it finds is still waiting.
//!
//! A deadline is rounded up to the next 32nd of the span: whoever waits for these wakes at most 32 times in a span,
//! however many were added in between. Nothing here is early, and nothing late by more than that.
//!
//! Invariant: deadlines rise from front to back, also if the clock that is passed in steps back.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::time::Time;

#[derive(Debug)]
pub struct Deadlines<T> {
    span: Duration,
    queue: VecDeque<(Time, T)>,
}

impl<T> Deadlines<T> {
    pub fn new(span: Duration) -> Self {
        Self { span, queue: VecDeque::new() }
    }

    pub fn add(&mut self, now: Time, item: T) {
        let grain = (u64::try_from(self.span.as_nanos()).unwrap_or(u64::MAX) / GRAINS).max(1);
        let due = now.after(self.span).as_nanos().div_ceil(grain).saturating_mul(grain);
        let due = Time::from_nanos(due);
        let due = self.queue.back().map_or(due, |&(last, _)| last.max(due));
        self.queue.push_back((due, item));
    }

    /// The earliest deadline, if there is any.
    pub fn next(&self) -> Option<Time> {
        self.queue.front().map(|&(due, _)| due)
    }

    /// Takes one item whose deadline has passed.
    pub fn take_due(&mut self, now: Time) -> Option<T> {
        if self.queue.front()?.0 > now {
            return None;
        }
        let (_, item) = self.queue.pop_front()?;
        // A connect storm leaves room for tens of thousands; nothing keeps it once it has passed.
        if self.queue.is_empty() && self.queue.capacity() > CAPACITY_KEPT {
            self.queue = VecDeque::new();
        }
        Some(item)
    }

    /// Forgets all: nothing that they were for is left.
    pub fn clear(&mut self) {
        self.queue.clear();
    }

    /// Keeps no more room than is needed.
    pub fn trim(&mut self) {
        self.queue.shrink_to(CAPACITY_KEPT);
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

const CAPACITY_KEPT: usize = 64;
/// How many times a span is divided.
const GRAINS: u64 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_out_in_order_when_their_span_has_passed() {
        let mut deadlines = Deadlines::new(Duration::from_nanos(10));
        deadlines.add(Time::from_nanos(0), "a");
        deadlines.add(Time::from_nanos(5), "b");
        assert_eq!(deadlines.next(), Some(Time::from_nanos(10)));
        assert_eq!(deadlines.take_due(Time::from_nanos(9)), None);
        assert_eq!(deadlines.take_due(Time::from_nanos(10)), Some("a"));
        assert_eq!(deadlines.take_due(Time::from_nanos(14)), None);
        assert_eq!(deadlines.take_due(Time::from_nanos(15)), Some("b"));
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn a_storm_of_items_wakes_32_times_a_span_and_none_comes_early() {
        let mut deadlines = Deadlines::new(Duration::from_nanos(3_200));
        (0..3_200).for_each(|now| deadlines.add(Time::from_nanos(now), now));
        let mut wakes = 0;
        while let Some(due) = deadlines.next() {
            wakes += 1;
            while let Some(added) = deadlines.take_due(due) {
                let late = due.as_nanos() - (added + 3_200);
                assert!(late < 100, "{late}");
            }
        }
        assert_eq!(wakes, 33);
    }

    #[test]
    fn a_clock_that_steps_back_does_not_unsort_them() {
        let mut deadlines = Deadlines::new(Duration::from_nanos(10));
        deadlines.add(Time::from_nanos(100), "a");
        deadlines.add(Time::from_nanos(50), "b");
        assert_eq!(deadlines.take_due(Time::from_nanos(109)), None);
        assert_eq!(deadlines.take_due(Time::from_nanos(110)), Some("a"));
        assert_eq!(deadlines.take_due(Time::from_nanos(110)), Some("b"));
    }
}
