//! Which messages one subscriber has had: finds loss, repeats and wrong order in 24 bytes a subscriber.
//!
//! Looks back over 64 messages: one that comes later than that counts as a repeat, since nobody remembers whether it
//! was there before. Either way it is a fault of the server.

/// One subscriber's place in the sequence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tracker {
    /// Nothing has come yet.
    #[default]
    Waiting,
    Following {
        /// The next sequence number in order.
        next: u64,
        /// Bit `n` says that `next - 1 - n` came, or was never owed.
        recent: u64,
    },
}

/// What one message means for its subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    InOrder,
    /// The first, or the first after a hole of `missing` messages.
    AfterGap {
        missing: u64,
    },
    /// A missing one, after a later one.
    Late,
    Repeat,
}

impl Tracker {
    /// Takes one message. A subscriber is owed every message after its first, and from `owed_from` on in any case;
    /// what is published before that is there to warm up and may have gone out before the subscriber was heard.
    // Hot: once per delivery; two comparisons and a shift when all is well.
    pub fn arrive(&mut self, sequence: u64, owed_from: u64) -> Arrival {
        match *self {
            Self::Following { next, recent } if sequence == next => {
                *self = Self::Following { next: next + 1, recent: recent << 1 | 1 };
                Arrival::InOrder
            }
            Self::Following { next, recent } if sequence > next => {
                let missing = sequence - next;
                *self = Self::Following { next: sequence + 1, recent: after_hole(recent, missing) };
                Arrival::AfterGap { missing }
            }
            Self::Following { next, recent } => {
                let bit = u32::try_from(next - 1 - sequence).ok().and_then(|age| 1_u64.checked_shl(age));
                match bit {
                    Some(bit) if recent & bit == 0 => {
                        *self = Self::Following { next, recent: recent | bit };
                        Arrival::Late
                    }
                    _ => Arrival::Repeat,
                }
            }
            Self::Waiting => {
                let missing = sequence.saturating_sub(owed_from);
                *self = Self::Following { next: sequence + 1, recent: after_hole(u64::MAX, missing) };
                if missing == 0 { Arrival::InOrder } else { Arrival::AfterGap { missing } }
            }
        }
    }

    /// Takes the next `count` messages, all of them in order.
    // Hot: once per read that follows the reference.
    pub fn follow(&mut self, count: u64) {
        if let Self::Following { next, recent } = *self {
            let came = u32::try_from(count).ok().and_then(|count| 1_u64.checked_shl(count));
            let recent = came.map_or(u64::MAX, |bit| recent << count | (bit - 1));
            *self = Self::Following { next: next + count, recent };
        }
    }

    /// The first sequence number that is still to come, with how many before it are taken as settled.
    pub fn next(&self) -> u64 {
        match self {
            Self::Waiting => 0,
            Self::Following { next, .. } => *next,
        }
    }

    /// How many of `published` messages have not come at the end.
    pub fn missing_at_end(&self, published: u64, owed_from: u64) -> u64 {
        match self {
            Self::Waiting => published.saturating_sub(owed_from),
            // What was owed before has been counted when the count began anew.
            Self::Following { next, .. } => published.saturating_sub(owed_from.max(*next)),
        }
    }
}

/// `recent` after `missing` messages that did not come and one that did.
fn after_hole(recent: u64, missing: u64) -> u64 {
    let shift = u32::try_from(missing + 1).unwrap_or(u32::MAX);
    recent.checked_shl(shift).unwrap_or(0) | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(owed_from: u64, sequences: &[u64]) -> Vec<Arrival> {
        let mut tracker = Tracker::default();
        sequences.iter().map(|&sequence| tracker.arrive(sequence, owed_from)).collect()
    }

    use Arrival::{AfterGap, InOrder, Late, Repeat};

    #[test]
    fn messages_in_order_are_in_order() {
        assert_eq!(arrivals(0, &[0, 1, 2, 3]), [InOrder; 4]);
    }

    #[test]
    fn a_lost_message_is_a_hole_before_the_next() {
        assert_eq!(arrivals(0, &[0, 1, 4, 5]), [InOrder, InOrder, AfterGap { missing: 2 }, InOrder]);
    }

    #[test]
    fn a_repeated_message_is_a_repeat_wherever_it_comes() {
        assert_eq!(arrivals(0, &[0, 0, 1, 0, 1]), [InOrder, Repeat, InOrder, Repeat, Repeat]);
    }

    #[test]
    fn messages_in_wrong_order_are_late_once_and_then_repeats() {
        assert_eq!(arrivals(0, &[0, 2, 1, 1, 3]), [InOrder, AfterGap { missing: 1 }, Late, Repeat, InOrder]);
    }

    #[test]
    fn a_subscriber_is_owed_the_measured_messages_also_if_none_came_before() {
        assert_eq!(arrivals(5, &[2, 3]), [InOrder, InOrder]);
        assert_eq!(arrivals(5, &[2, 4]), [InOrder, AfterGap { missing: 1 }]);
        assert_eq!(arrivals(5, &[7, 5, 4]), [AfterGap { missing: 2 }, Late, Repeat]);
    }

    #[test]
    fn a_hole_wider_than_the_memory_is_counted_whole() {
        let mut tracker = Tracker::default();
        tracker.arrive(0, 0);
        assert_eq!(tracker.arrive(1_000, 0), AfterGap { missing: 999 });
        assert_eq!(tracker.arrive(999, 0), Late);
        assert_eq!(tracker.arrive(1, 0), Repeat);
    }

    #[test]
    fn a_stretch_in_order_is_the_same_as_each_of_its_messages() {
        for start in [&[0, 1, 2][..], &[0, 5], &[0, 70, 68]] {
            for count in [0_u64, 1, 2, 62, 63, 64, 65, 1_000] {
                let mut one_by_one = Tracker::default();
                for &sequence in start {
                    one_by_one.arrive(sequence, 0);
                }
                let mut at_once = one_by_one;
                for _ in 0..count {
                    assert_eq!(one_by_one.arrive(one_by_one.next(), 0), InOrder);
                }
                at_once.follow(count);
                assert_eq!(at_once, one_by_one, "{count} after {start:?}");
            }
        }
    }

    #[test]
    fn what_is_missing_at_the_end_is_counted_for_those_who_had_nothing_too() {
        let mut tracker = Tracker::default();
        assert_eq!(tracker.missing_at_end(10, 4), 6);
        tracker.arrive(4, 4);
        assert_eq!(tracker.missing_at_end(10, 4), 5);
        assert_eq!(tracker.missing_at_end(5, 4), 0);
    }
}
