//! Where a message stands in the reader's one order, and the event id that says so to a client.
//!
//! The reader numbers every message of every channel from one counter, so one position covers all channels of a
//! connection and stays valid when their set changes. On the wire it is `<epoch>.<n>`: the epoch is random, once a
//! process, in base 36; `n` is decimal. An application's own id may follow a `~`, and is not read.
//! Ids match `[A-Za-z0-9._-]{1,64}` up to the `~`.

use std::fmt;

use crate::base::number::index;

/// The number of a message in the reader's order; the first message of a process has 1, and 0 is "before any".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Position(pub u64);

impl Position {
    /// Before the first message.
    pub const ZERO: Self = Self(0);

    /// The position that follows.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The position in front; of the first, itself.
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

/// Which run of the process a position belongs to: random, so that an id of another run is recognised as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0_u8; EPOCH_DIGITS_MAX];
        let mut rest = self.0;
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b"0123456789abcdefghijklmnopqrstuvwxyz"[index(rest % 36)];
            rest /= 36;
            if rest == 0 {
                break;
            }
        }
        formatter.write_str(std::str::from_utf8(&digits[first..]).expect("base-36 digits are ASCII"))
    }
}

/// What a client says it has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Everything up to this position of this process.
    Here(Position),
    /// Something that this process cannot place: another epoch, or not an id of ours at all.
    Elsewhere,
}

/// From where a stream wants its channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// From the moment it opens.
    Live,
    /// Behind what the client has seen.
    Behind(Seen),
    /// From the first message that is kept.
    Earliest,
    /// From so many messages of each channel before now, as far as they are kept.
    Last(u32),
}

impl Start {
    /// Reads what stands where an event id may stand: an id, or the word `earliest`.
    pub fn parse(id: &[u8], epoch: Epoch) -> Self {
        if id == EARLIEST { Self::Earliest } else { Self::Behind(Seen::parse(id, epoch)) }
    }
}

impl Seen {
    /// Reads an event id as a client sent it back. Never fails: what is no id of ours is `Elsewhere`.
    pub fn parse(id: &[u8], epoch: Epoch) -> Self {
        let position = id.split(|&byte| byte == b'~').next().unwrap_or_default();
        Self::parse_position(position, epoch).map_or(Self::Elsewhere, Self::Here)
    }

    fn parse_position(id: &[u8], epoch: Epoch) -> Option<Position> {
        if id.len() > ID_BYTES_MAX {
            return None;
        }
        let id = std::str::from_utf8(id).ok()?;
        let (said, number) = id.split_once('.')?;
        if said.is_empty() || said.len() > EPOCH_DIGITS_MAX || u64::from_str_radix(said, 36).ok()? != epoch.0
        {
            return None;
        }
        // `parse` would take a leading plus sign; an id has none.
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        number.parse().ok().map(Position)
    }
}

/// In place of an id: everything that is kept. No id of ours is this word: it has no dot.
const EARLIEST: &[u8] = b"earliest";

/// The longest id that is read, in bytes, up to a `~`.
pub const ID_BYTES_MAX: usize = 64;

/// A `u64` has at most 13 digits in base 36.
const EPOCH_DIGITS_MAX: usize = 13;

const _: () = assert!(EPOCH_DIGITS_MAX + 1 + 20 <= ID_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_as_it_was_written() {
        for number in [0, 1, 35, 36, u64::MAX] {
            for position in [0, 7, u64::MAX] {
                let id = format!("{}.{}", Epoch(number), position);
                assert_eq!(Seen::parse(id.as_bytes(), Epoch(number)), Seen::Here(Position(position)), "{id}");
            }
        }
    }

    #[test]
    fn a_word_asks_for_everything_that_is_kept() {
        assert_eq!(Start::parse(b"earliest", Epoch(10)), Start::Earliest);
        assert_eq!(Start::parse(b"a.5", Epoch(10)), Start::Behind(Seen::Here(Position(5))));
        for other in [b"Earliest".as_slice(), b"earliest~1", b"latest", b""] {
            assert_eq!(Start::parse(other, Epoch(10)), Start::Behind(Seen::Elsewhere));
        }
    }

    #[test]
    fn an_applications_own_id_after_the_tilde_is_not_read() {
        assert_eq!(Seen::parse(b"a.5~order-17", Epoch(10)), Seen::Here(Position(5)));
        assert_eq!(Seen::parse(b"a.5~\xff", Epoch(10)), Seen::Here(Position(5)));
    }

    #[test]
    fn what_is_no_id_of_this_process_is_elsewhere() {
        let long = [b'1'; 65];
        let foreign: [&[u8]; 11] =
            [b"", b".", b"a", b"a.", b".5", b"b.5", b"a.+5", b"a.-5", b"a.5.5", b"\xff.5", &long];
        for id in foreign {
            assert_eq!(Seen::parse(id, Epoch(10)), Seen::Elsewhere, "{id:?}");
        }
        assert_eq!(Seen::parse(b"a.18446744073709551616", Epoch(10)), Seen::Elsewhere);
    }
}
