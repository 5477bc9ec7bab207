//! Which use of which slot: every socket of the reader gets its key here.
//!
//! Invariant: no key is given twice while one completion can be under way for both (see [`SocketKey`]).

use crate::base::socket::{Slot, SocketKey};

#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// The generation of each slot's last use.
    generations: Vec<u32>,
}

impl Sockets {
    /// A socket came into the slot.
    pub(super) fn claim(&mut self, slot: Slot) -> SocketKey {
        if slot.index() >= self.generations.len() {
            self.generations.resize(slot.index() + 1, SocketKey::GENERATIONS - 1);
        }
        let generation = &mut self.generations[slot.index()];
        *generation = (*generation + 1) % SocketKey::GENERATIONS;
        SocketKey { slot, generation: *generation }
    }
}
