//! When a quiet stream is written to, so that proxies keep it open and a peer that vanished is noticed.
//!
//! A row remembers in which tick it was last written to; a tick is a 32nd of the interval. It is due when it has been
//! quiet for 17 to 32 ticks, by its slot: so never later than the interval, and rows that were written to together
//! by one broadcast come due spread over the second half of it. Costs a look at each row a tick, and nothing at all
//! when there is no stream or heartbeats are off.

use std::time::Duration;

use crate::base::socket::Slot;
use crate::base::time::Time;

use super::Shard;
use super::row::{Flags, NO_TAIL, State};

#[derive(Debug)]
pub(super) struct Heartbeat {
    /// Length of a tick; none if heartbeats are off.
    tick: Option<Duration>,
    next: Time,
}

const TICKS: u32 = 32;
/// Slots that come due in the same tick if they were written to in the same.
const NEIGHBOURS: u32 = 64;

impl Heartbeat {
    pub(super) fn new(interval: Duration) -> Self {
        let tick = (!interval.is_zero()).then(|| (interval / TICKS).max(Duration::from_millis(1)));
        Self { tick, next: Time::ZERO }
    }

    /// The number of the tick that `now` lies in, modulo 2^16.
    pub(super) fn tick(&self, now: Time) -> u16 {
        let Some(tick) = self.tick else { return 0 };
        let number = u128::from(now.as_nanos()) / tick.as_nanos() % (1 << 16);
        u16::try_from(number).expect("a remainder of 2^16 has 16 bits")
    }

    fn is_due(slot: Slot, quiet: u16) -> bool {
        // Any spread will do that is not the order of the slots. Neighbours go together: their sockets, made one after the
        // other, lie side by side, and the kernel sends to 64 of those for 15 % less than to as many from everywhere.
        let block = slot.0 / NEIGHBOURS;
        let spread = u16::try_from(block.wrapping_mul(0x9e37_79b9) >> 28).expect("four bits are left");
        quiet > 16 + spread
    }
}

impl Shard {
    pub(super) fn heartbeat_deadline(&self) -> Option<Time> {
        self.heartbeat.tick.filter(|_| self.opened > 0).map(|_| self.heartbeat.next)
    }

    /// Queues every stream that has been quiet for long enough.
    pub(super) fn heartbeat_sweep(&mut self) {
        let now = self.now;
        let Some(tick) = self.heartbeat.tick else { return };
        if self.opened == 0 || now < self.heartbeat.next {
            return;
        }
        self.heartbeat.next = now.after(tick);
        let current = self.heartbeat.tick(now);
        for slot in 0..self.rows.len() {
            let slot = Slot(crate::base::number::small(slot));
            let row = &mut self.rows[slot.index()];
            let is_stream =
                matches!(row.state, State::Live | State::Joining(_)) && row.flags.has(Flags::OPENED);
            let is_free = !row.flags.has(Flags::BLOCKED) && row.tail == NO_TAIL;
            if is_stream && is_free && Heartbeat::is_due(slot, current.wrapping_sub(row.written)) {
                row.flags.set(Flags::HEARTBEAT);
                self.queue(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_due_after_half_an_interval_at_the_earliest_and_a_whole_one_at_the_latest() {
        let due: Vec<u16> = (0..64_000)
            .map(|slot| (0..=32).find(|&quiet| Heartbeat::is_due(Slot(slot), quiet)).unwrap())
            .collect();
        assert_eq!(due.iter().min(), Some(&17));
        assert_eq!(due.iter().max(), Some(&32));
        for ticks in 17..=32 {
            let share = due.iter().filter(|&&due| due == ticks).count();
            assert!((2_560..5_760).contains(&share), "{share} of 64,000 slots are due after {ticks} ticks");
        }
    }
}
