//! A thread that sleeps: it runs while it has something to do, then parks, looks once more, and sleeps until it is rung,
//! or something of its own comes: a deadline, or a completion of its ring.
//!
//! Parks by courier's own protocol ([`Parking`]); between the announcement and the last look others may move, as they may
//! between threads. So a bell that is not rung is a thread that sleeps over what waits for it.

use crate::base::parking::{Parking, Rest};

#[derive(Debug, Default)]
pub(super) struct Thread {
    parking: Parking,
    state: State,
    is_rung: bool,
    /// How often it was woken by its bell.
    pub(super) rings: u64,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Awake,
    /// It has said that it is about to sleep, and has still to look whether anything has come.
    Parked,
    Asleep,
}

impl Thread {
    /// A producer has put something where this thread looks.
    pub(super) fn notify(&mut self) {
        self.is_rung |= self.parking.must_ring().is_some();
    }

    /// Something of its own has come.
    pub(super) fn wake(&mut self) {
        self.parking.unpark();
        self.state = State::Awake;
    }

    /// Its next move: whether it takes a turn. `is_due`: a deadline has come.
    pub(super) fn takes_turn(&mut self, is_due: bool, has_something: impl FnOnce() -> bool) -> bool {
        match self.state {
            State::Awake => return true,
            State::Parked if is_due || has_something() => {}
            State::Parked => {
                self.state = State::Asleep;
                return false;
            }
            State::Asleep if self.is_rung || is_due => self.rings += u64::from(self.is_rung),
            State::Asleep => return false,
        }
        self.wake();
        true
    }

    /// A turn found nothing to do.
    pub(super) fn park(&mut self) {
        self.parking.park(Rest::Long);
        self.is_rung = false;
        self.state = State::Parked;
    }
}
