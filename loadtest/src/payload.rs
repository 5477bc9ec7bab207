//! What a published message looks like: a sequence number, the publisher's clock, and padding up to a fixed length.
//!
//! `000000000000002a 00000000deadbeef abcdefgh..`: 16 hexadecimal digits each, so that every payload of a run has the
//! same length and a receiver knows by one comparison where it ends. Plain ASCII: no server has a reason to alter it.

use std::io::Write;

/// What a message says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Counts the messages of one channel from zero.
    pub sequence: u64,
    /// When the message was due to be published, CLOCK_MONOTONIC in nanoseconds. Due, not sent: a publisher that falls
    /// behind its schedule shows in the latency instead of hiding it.
    pub due_nanos: u64,
}

/// The payloads of one run.
#[derive(Debug, Clone)]
pub struct Payload {
    padding: Vec<u8>,
}

impl Payload {
    /// The shortest payload: two numbers and the space between them.
    pub const BYTES_MIN: usize = 2 * DIGITS + 1;

    /// Payloads of `bytes` bytes, or of the least possible.
    pub fn new(bytes: usize) -> Self {
        let padding = bytes.saturating_sub(Self::BYTES_MIN);
        Self { padding: b" abcdefghijklmnopqrstuvwxyz".iter().copied().cycle().take(padding).collect() }
    }

    pub fn bytes(&self) -> usize {
        Self::BYTES_MIN + self.padding.len()
    }

    pub fn write(&self, stamp: Stamp, bytes: &mut Vec<u8>) {
        write!(bytes, "{:016x} {:016x}", stamp.sequence, stamp.due_nanos)
            .expect("a vector takes what it is given");
        bytes.extend_from_slice(&self.padding);
    }

    /// The stamp of a payload that is, byte for byte, one of this run.
    // Hot: once per delivery; two numbers and one comparison of the padding.
    pub fn read(&self, bytes: &[u8]) -> Option<Stamp> {
        let (stamp, padding) = bytes.split_at_checked(Self::BYTES_MIN)?;
        if padding != self.padding || stamp[DIGITS] != b' ' {
            return None;
        }
        Some(Stamp { sequence: number(&stamp[..DIGITS])?, due_nanos: number(&stamp[DIGITS + 1..])? })
    }
}

const DIGITS: usize = 16;

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, &digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_two_numbers_and_padding_to_its_length() {
        let mut bytes = Vec::new();
        Payload::new(40).write(Stamp { sequence: 42, due_nanos: 0xdead_beef }, &mut bytes);
        assert_eq!(bytes, b"000000000000002a 00000000deadbeef abcdef");
        assert_eq!(Payload::new(40).read(&bytes), Some(Stamp { sequence: 42, due_nanos: 0xdead_beef }));
    }

    #[test]
    fn a_payload_that_was_altered_anywhere_is_none_of_the_run() {
        let payload = Payload::new(40);
        let mut bytes = Vec::new();
        payload.write(Stamp { sequence: 1, due_nanos: 2 }, &mut bytes);
        for index in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[index] = b'?';
            assert_eq!(payload.read(&altered), None, "byte {index}");
        }
        assert_eq!(payload.read(&bytes[..39]), None);
        assert_eq!(Payload::new(39).read(&bytes), None);
        assert_eq!(payload.read(b""), None);
    }
}
