//! The one counter: every message of every channel, and every gap, takes the next position.
//!
//! Invariant: no position is given twice. One a process, in the reader; nobody else gives positions.

use crate::base::position::{Epoch, Position};

#[derive(Debug)]
pub(super) struct Sequence {
    epoch: Epoch,
    last: Position,
}

impl Sequence {
    pub(super) fn new(epoch: Epoch) -> Self {
        Self { epoch, last: Position::ZERO }
    }

    /// Which run of the process the positions belong to.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The position that was given last.
    pub(super) fn last(&self) -> Position {
        self.last
    }

    pub(super) fn take(&mut self) -> Position {
        self.last = self.last.next();
        self.last
    }
}
