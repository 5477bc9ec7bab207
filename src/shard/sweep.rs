//! Visits every row once in a period, evenly: for what must come to all, but not to all at once.
//!
//! When a row's turn comes is decided by its place in the table, so nothing is kept for it. A table that grows in the
//! middle of a period is visited to its new end in the same period.
//!
//! Cost: a look at each row in a period, in up to 1,024 steps.

use std::ops::Range;
use std::time::Duration;

use crate::base::number::index;
use crate::base::time::Time;

#[derive(Debug)]
pub(super) struct Sweep {
    period: Duration,
    /// When the present round began.
    began: Time,
    /// Rows that the present round has visited: those before this one.
    visited: usize,
    /// When the next rows are due.
    next: Time,
}

/// The rows that are due, and whether a round ended with them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) rows: Range<usize>,
    pub(super) is_round: bool,
}

impl Sweep {
    /// A round begins now.
    pub(super) fn new(period: Duration, now: Time) -> Self {
        let mut sweep = Self { period, began: now, visited: 0, next: now };
        sweep.restart(now);
        sweep
    }

    /// A new round begins now.
    pub(super) fn restart(&mut self, now: Time) {
        (self.began, self.visited) = (now, 0);
        self.next = now.after(self.step());
    }

    pub(super) fn next(&self) -> Time {
        self.next
    }

    /// Takes those of `rows` rows whose turn has come.
    pub(super) fn take_due(&mut self, now: Time, rows: usize) -> Due {
        let elapsed = now.since(self.began);
        if elapsed >= self.period {
            let due = self.visited.min(rows)..rows;
            self.restart(now);
            return Due { rows: due, is_round: true };
        }
        let share = rows as u128 * elapsed.as_nanos() / self.period.as_nanos();
        let until = index(u64::try_from(share).expect("a share of the rows")).max(self.visited);
        let due = self.visited.min(rows)..until.min(rows);
        self.visited = until;
        self.next = now.after(self.step());
        Due { rows: due, is_round: false }
    }

    fn step(&self) -> Duration {
        (self.period / STEPS).max(STEP_LEAST).min(self.period)
    }
}

const STEPS: u32 = 1_024;
const STEP_LEAST: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_visited_once_in_a_period_and_evenly() {
        let (period, mut now) = (Duration::from_secs(10), Time::from_nanos(7));
        let mut sweep = Sweep::new(period, now);
        let (mut visits, mut most) = (vec![0; 5_000], 0);
        loop {
            now = now.max(sweep.next());
            let due = sweep.take_due(now, visits.len());
            most = most.max(due.rows.len());
            due.rows.for_each(|row| visits[row] += 1);
            if due.is_round {
                break;
            }
        }
        assert!(visits.iter().all(|&visits| visits == 1));
        assert!(most <= 5, "{most} at once");
        assert!(now.since(Time::from_nanos(7)) <= period + Duration::from_millis(20));
    }

    #[test]
    fn a_table_that_grows_is_visited_to_its_end() {
        let mut sweep = Sweep::new(Duration::from_secs(1), Time::ZERO);
        assert_eq!(sweep.take_due(Time::from_nanos(500_000_000), 10).rows, 0..5);
        assert_eq!(sweep.take_due(Time::from_nanos(600_000_000), 100).rows, 5..60);
        let last = sweep.take_due(Time::from_nanos(1_000_000_000), 100);
        assert_eq!(last, Due { rows: 60..100, is_round: true });
        assert_eq!(sweep.take_due(Time::from_nanos(1_500_000_000), 100).rows, 0..50);
    }

    #[test]
    fn no_time_at_all_is_everything_at_once() {
        let mut sweep = Sweep::new(Duration::ZERO, Time::ZERO);
        assert_eq!(sweep.next(), Time::ZERO);
        assert_eq!(sweep.take_due(Time::ZERO, 3), Due { rows: 0..3, is_round: true });
    }
}
