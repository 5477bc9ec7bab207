//! Gaps of a full queue that were told for several channels, each in a notice with an id of its own.
//!
//! What such a gap covers is in the history: only one shard was not given it. So a client that was cut off between two
//! of its notices and resumes from the id of the first would be taken for one that misses nothing of the other channels.
//! From what is remembered here such an id is recognised, and where the gap began.
//!
//! Bounded: beyond [`SPLIT_GAPS`] the two oldest become one, which covers what lies between them as well.

use std::collections::VecDeque;

use crate::base::limits::SPLIT_GAPS;
use crate::base::position::Position;

#[derive(Debug, Default)]
pub(super) struct Overflows(VecDeque<Overflow>);

#[derive(Debug, Clone, Copy)]
struct Overflow {
    /// Everything up to here was given to the shard.
    from: Position,
    /// Its notices have the positions from the first to the last.
    first: Position,
    last: Position,
}

impl Overflows {
    pub(super) fn note(&mut self, from: Position, first: Position, last: Position) {
        if first == last {
            return;
        }
        if self.0.len() == SPLIT_GAPS {
            let oldest = self.0.pop_front().expect("the bound is not zero");
            let next = self.0.front_mut().expect("the bound is above one");
            (next.from, next.first) = (oldest.from, oldest.first);
        }
        self.0.push_back(Overflow { from, first, last });
    }

    /// Where the gap began of which a client that has seen everything up to `position` may not have had every notice.
    pub(super) fn began(&self, position: Position) -> Option<Position> {
        let is_split = |overflow: &&Overflow| overflow.first <= position && position < overflow.last;
        self.0.iter().find(is_split).map(|overflow| overflow.from)
    }
}

const _: () = assert!(SPLIT_GAPS > 1);

#[cfg(test)]
mod tests {
    use super::*;

    fn began(overflows: &Overflows, position: u64) -> Option<u64> {
        overflows.began(Position(position)).map(|position| position.0)
    }

    #[test]
    fn an_id_between_two_notices_is_recognised_and_no_other() {
        let mut overflows = Overflows::default();
        overflows.note(Position(59), Position(74), Position(76));
        overflows.note(Position(90), Position(99), Position(99));
        let found: Vec<_> = (73..=76).map(|position| began(&overflows, position)).collect();
        assert_eq!(found, [None, Some(59), Some(59), None]);
        assert_eq!(began(&overflows, 99), None, "one notice is had or not");
    }

    #[test]
    fn beyond_the_bound_the_two_oldest_become_one() {
        let mut overflows = Overflows::default();
        for number in 0..=SPLIT_GAPS as u64 {
            let at = 10 * number;
            overflows.note(Position(at), Position(at + 5), Position(at + 7));
        }
        assert_eq!(overflows.0.len(), SPLIT_GAPS);
        assert_eq!(began(&overflows, 5), Some(0));
        assert_eq!(began(&overflows, 12), Some(0), "what lies between");
        assert_eq!(began(&overflows, 26), Some(20));
    }
}
