//! How far all subscribers of a process have come: the first message that somebody still waits for.
//!
//! Counts settled messages (had, or found lost, or owed to one that has gone), so that a single loss does not hold up
//! the rest. Cost: two additions for each stretch of messages that a subscriber has at once, and memory for the messages
//! under way.

use std::collections::VecDeque;

#[derive(Debug, Default)]
pub struct Frontier {
    subscribers: u64,
    /// The first message that is not settled for all.
    first: u64,
    /// How many subscribers the message before `first` was settled for, as far as their stretches went on.
    level: u64,
    /// From `first` on.
    cells: VecDeque<Cell>,
    /// Subscribers that went away at or before `first`.
    gone: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    /// Stretches of settled messages that begin here, and those that ended before.
    begun: u64,
    ended: u64,
    /// Subscribers that went away while this was their next message.
    departed: u64,
}

impl Frontier {
    /// One more subscriber, before the first message.
    pub fn join(&mut self) {
        self.subscribers += 1;
    }

    /// The messages from `from` up to, but without, `to` are settled for one more subscriber.
    // Hot: once per read that follows the reference, else once per delivery.
    pub fn settle(&mut self, from: u64, to: u64) {
        let (from, to) = (from.max(self.first), to.min(self.first + MESSAGES_MAX as u64 - 1));
        if from >= to {
            return;
        }
        if let Some(cell) = self.cell(to) {
            cell.ended += 1;
        }
        if let Some(cell) = self.cell(from) {
            cell.begun += 1;
        }
    }

    /// A subscriber went away that waited for `next`.
    pub fn depart(&mut self, next: u64) {
        match self.cell(next.max(self.first)) {
            Some(cell) => cell.departed += 1,
            None => self.gone += 1,
        }
    }

    /// Moves on as far as everything is settled; the new place if it moved.
    pub fn advance(&mut self) -> Option<u64> {
        let before = self.first;
        while let Some(cell) = self.cells.front() {
            let settled = self.level + cell.begun - cell.ended;
            if settled + cell.departed + self.gone < self.subscribers {
                break;
            }
            self.level = settled;
            self.gone += cell.departed;
            self.cells.pop_front();
            self.first += 1;
        }
        (self.first > before).then_some(self.first)
    }

    fn cell(&mut self, sequence: u64) -> Option<&mut Cell> {
        let index =
            usize::try_from(sequence.checked_sub(self.first)?).ok().filter(|&at| at < MESSAGES_MAX)?;
        if index >= self.cells.len() {
            self.cells.resize(index + 1, Cell::default());
        }
        self.cells.get_mut(index)
    }
}

/// Messages under way at once that are told apart; those beyond are not waited for. 64 MiB.
const MESSAGES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(subscribers: u64) -> Frontier {
        let mut frontier = Frontier::default();
        (0..subscribers).for_each(|_| frontier.join());
        frontier
    }

    #[test]
    fn it_moves_when_the_last_subscriber_has_the_message() {
        let mut frontier = of(2);
        frontier.settle(0, 1);
        assert_eq!(frontier.advance(), None);
        frontier.settle(0, 2);
        assert_eq!(frontier.advance(), Some(1));
        frontier.settle(1, 2);
        assert_eq!(frontier.advance(), Some(2));
        assert_eq!(frontier.advance(), None);
    }

    #[test]
    fn it_moves_over_what_was_lost() {
        let mut frontier = of(1);
        frontier.settle(0, 5);
        assert_eq!(frontier.advance(), Some(5));
    }

    #[test]
    fn stretches_that_overlap_count_each_message_once_for_each_subscriber() {
        let mut frontier = of(3);
        frontier.settle(0, 100);
        frontier.settle(0, 40);
        frontier.settle(40, 60);
        frontier.settle(0, 50);
        assert_eq!(frontier.advance(), Some(50));
        frontier.settle(60, 61);
        frontier.settle(50, 70);
        assert_eq!(frontier.advance(), Some(61));
    }

    #[test]
    fn it_does_not_wait_for_those_who_went_away() {
        let mut frontier = of(3);
        frontier.settle(0, 1);
        frontier.depart(1);
        frontier.settle(0, 1);
        frontier.depart(0);
        frontier.settle(1, 2);
        assert_eq!(
            frontier.advance(),
            Some(2),
            "two had message 0 and one of them left; the third left before it"
        );
        frontier.settle(2, 3);
        assert_eq!(frontier.advance(), Some(3));
    }
}
