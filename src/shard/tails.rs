//! What a connection must be sent before anything else: the unsent rest of a half-sent frame, a head, a replay, a short
//! answer. On the heap, only while it is needed, and counted together.

use crate::base::slab::{Key, Slab};
use crate::base::time::Time;

#[derive(Debug, Default)]
pub(super) struct Tails {
    tails: Slab<Tail>,
    bytes: usize,
}

#[derive(Debug)]
struct Tail {
    bytes: Vec<u8>,
    sent: usize,
    since: Time,
}

impl Tails {
    pub(super) fn insert(&mut self, bytes: Vec<u8>, now: Time) -> u32 {
        assert!(!bytes.is_empty(), "a tail has something to send");
        self.bytes += bytes.len();
        self.tails.insert(Tail { bytes, sent: 0, since: now }).index
    }

    pub(super) fn append(&mut self, tail: u32, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.tails.at_mut(tail).bytes.extend_from_slice(bytes);
    }

    pub(super) fn key(&self, tail: u32) -> Key {
        self.tails.key_at(tail)
    }

    /// What is left to send.
    pub(super) fn rest(&self, tail: u32) -> &[u8] {
        let tail = self.tails.at(tail);
        &tail.bytes[tail.sent..]
    }

    /// Since when there has been something to go first.
    pub(super) fn since(&self, tail: u32) -> Time {
        self.tails.at(tail).since
    }

    /// The kernel took so many bytes of it, fewer than all.
    pub(super) fn sent(&mut self, tail: u32, bytes: usize) {
        let tail = self.tails.at_mut(tail);
        tail.sent += bytes;
        assert!(tail.sent < tail.bytes.len(), "a tail that is sent whole is removed");
    }

    pub(super) fn remove(&mut self, tail: u32) {
        let tail = self.tails.remove(self.tails.key_at(tail)).expect("the row holds the tail");
        self.bytes -= tail.bytes.len();
    }

    /// All tails together, including what of them has been sent already.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
