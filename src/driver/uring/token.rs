//! `user_data`: how a request is recognised in its completion. 8 bits of kind, 24 of generation, 32 of slot.

use crate::base::socket::{Slot, SocketKey};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// An accept; the slot is the index of the listener, and of an accept of one connection the generation is the place of the
    /// address.
    Accept = 1,
    /// A multishot receive of a socket.
    Receive,
    /// A poll for room in a socket's send buffer.
    Writable,
    /// A send of a volley; the slot is the index in the volley, the generation counts volleys.
    Send,
    /// The timer.
    Timer,
    /// The installation of a descriptor in a slot, or of a slot's file as a descriptor.
    Install,
    /// A request whose outcome shows elsewhere: close, cancel, change of the timer.
    Quiet,
    /// A multishot poll of the near bell.
    Bell,
    /// The end of one or both directions of a socket, which a worker thread of the kernel carries out.
    Shutdown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub kind: Kind,
    /// Below `SocketKey::GENERATIONS`.
    pub generation: u32,
    pub slot: u32,
}

impl Token {
    pub(super) const fn new(kind: Kind, slot: u32) -> Self {
        Self { kind, generation: 0, slot }
    }

    pub(super) const fn of(kind: Kind, socket: SocketKey) -> Self {
        Self { kind, generation: socket.generation % SocketKey::GENERATIONS, slot: socket.slot.0 }
    }

    pub(super) const fn socket(self) -> SocketKey {
        SocketKey { slot: Slot(self.slot), generation: self.generation }
    }

    pub(super) const fn pack(self) -> u64 {
        debug_assert!(self.generation < SocketKey::GENERATIONS);
        (self.kind as u64) << 56 | (self.generation as u64) << 32 | self.slot as u64
    }

    /// # Panics
    /// If the number is none of ours: the kernel gives back what it was given.
    #[allow(clippy::cast_possible_truncation)] // The parts are cut to their width by shifts and masks.
    pub(super) fn unpack(number: u64) -> Self {
        let kind = match (number >> 56) as u8 {
            1 => Kind::Accept,
            2 => Kind::Receive,
            3 => Kind::Writable,
            4 => Kind::Send,
            5 => Kind::Timer,
            6 => Kind::Install,
            7 => Kind::Quiet,
            8 => Kind::Bell,
            9 => Kind::Shutdown,
            kind => unreachable!("a completion of kind {kind}, which nothing was submitted with"),
        };
        Self { kind, generation: (number >> 32) as u32 % SocketKey::GENERATIONS, slot: number as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_was_packed() {
        let kinds = [
            Kind::Accept,
            Kind::Receive,
            Kind::Writable,
            Kind::Send,
            Kind::Timer,
            Kind::Install,
            Kind::Quiet,
            Kind::Bell,
            Kind::Shutdown,
        ];
        for kind in kinds {
            for (generation, slot) in [(0, 0), (SocketKey::GENERATIONS - 1, u32::MAX), (7, 9)] {
                let token = Token { kind, generation, slot };
                assert_eq!(Token::unpack(token.pack()), token);
            }
        }
    }
}
