//! The quick way to check what many subscribers of one channel are sent: by comparing it with what one of them was sent.
//!
//! Frames of a channel are usually the same bytes for every subscriber. So the first who is sent a message has it read
//! with care, and its block (all bytes up to the next message's) is kept, with the sequence number and when it was due.
//! Bytes of another subscriber that equal the blocks it must get next, byte for byte, need no second reading: reading
//! them would find the same messages in order. Whatever differs in any byte is read the slow way.
//!
//! Not a cache of positions: a subscriber has no place in here. Its tracker says which message is next, its carry how
//! much of that has come, and both are what they would be without this file.
//!
//! Invariants: the blocks are consecutive messages, and `bytes` is their blocks one after the other; each block, read
//! from its first byte on, says its message and nothing else, whatever follows it. Cost: one comparison and one search
//! for each read; memory up to `BYTES_MAX` and what the blocks are worth, for a process.

/// The recent messages of one channel, with the bytes in which they came.
#[derive(Debug, Default)]
pub struct Reference {
    bytes: Vec<u8>,
    /// The sequence number of the first block.
    first: u64,
    blocks: Vec<Block>,
}

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Where the next block begins.
    end: usize,
    pub due_nanos: u64,
}

/// What a read had in common with the reference.
#[derive(Debug, PartialEq, Eq)]
pub struct Followed<'a> {
    /// The messages that came whole, the one that was due next and those after it; at least one.
    pub blocks: &'a [Block],
    /// The bytes of the last of them.
    pub last: &'a [u8],
    /// How many bytes of the read they took.
    pub taken: usize,
}

impl Reference {
    /// The whole messages at the front of `carry` and `bytes` together, if they are those from `next` on. None, if they
    /// are not, or not one is whole.
    // Hot: once per read; one comparison of as many bytes as are known.
    pub fn follow(&self, next: u64, carry: &[u8], bytes: &[u8]) -> Option<Followed<'_>> {
        let index = usize::try_from(next.checked_sub(self.first)?).ok()?;
        let blocks = self.blocks.get(index..)?;
        let start = self.start(index);
        if blocks.first()?.end <= start + carry.len() {
            return None;
        }
        let known = self.bytes[start..].strip_prefix(carry)?;
        let length = known.len().min(bytes.len());
        let whole = blocks.partition_point(|block| block.end <= start + carry.len() + length);
        let blocks = &blocks[..whole];
        let taken = blocks.last()?.end - start - carry.len();
        let last = &self.bytes[self.start(index + whole - 1)..blocks.last()?.end];
        (known[..taken] == bytes[..taken]).then_some(Followed { blocks, last, taken })
    }

    /// Takes a message that was read with care and came in order. `block` is all that was sent for it, from the end of the
    /// block before.
    // Hot: once per message, whatever the number of subscribers.
    pub fn learn(&mut self, sequence: u64, due_nanos: u64, block: &[u8]) {
        if sequence < self.next() && !self.blocks.is_empty() {
            return; // Known; whoever brought it was sent it in other bytes, or late.
        }
        if sequence != self.next() {
            // Nobody had what lies between, or this is the first.
            self.bytes.clear();
            self.blocks.clear();
            self.first = sequence;
        }
        if self.bytes.len() + block.len() > BYTES_MAX {
            self.forget_half();
        }
        self.bytes.extend_from_slice(block);
        self.blocks.push(Block { end: self.bytes.len(), due_nanos });
    }

    /// The sequence number of the message that is not known yet.
    fn next(&self) -> u64 {
        self.first + self.blocks.len() as u64
    }

    fn start(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.blocks[index - 1].end }
    }

    /// Makes room: the older half of the blocks goes. Whoever is that far behind is read the slow way.
    fn forget_half(&mut self) {
        let count = self.blocks.len().div_ceil(2);
        let start = self.start(count);
        self.bytes.drain(..start);
        self.blocks.drain(..count);
        self.blocks.iter_mut().for_each(|block| block.end -= start);
        self.first += count as u64;
    }
}

/// Half a second of a stream of 16 MB/s, which is 100,000 messages a second to each subscriber.
const BYTES_MAX: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn known(blocks: &[&[u8]]) -> Reference {
        let mut reference = Reference::default();
        (7..).zip(blocks).for_each(|(sequence, block)| reference.learn(sequence, sequence * 10, block));
        reference
    }

    fn dues(reference: &Reference, next: u64, carry: &[u8], bytes: &[u8]) -> Option<(Vec<u64>, usize)> {
        let Followed { blocks, taken, .. } = reference.follow(next, carry, bytes)?;
        Some((blocks.iter().map(|block| block.due_nanos).collect(), taken))
    }

    #[test]
    fn equal_bytes_are_the_messages_that_are_known_and_the_rest_is_left() {
        let reference = known(&[b"aaa", b"bb", b"cccc"]);
        assert_eq!(dues(&reference, 7, b"", b"aaabbcc"), Some((vec![70, 80], 5)));
        assert_eq!(dues(&reference, 7, b"aa", b"abb"), Some((vec![70, 80], 3)));
        assert_eq!(dues(&reference, 9, b"", b"ccccdd"), Some((vec![90], 4)));
    }

    #[test]
    fn the_last_of_the_messages_is_given_whole() {
        let reference = known(&[b"aaa", b"bb", b"cccc"]);
        let last = |next, carry, bytes| reference.follow(next, carry, bytes).map(|followed| followed.last);
        assert_eq!(last(7, b"", b"aaabbcc"), Some(&b"bb"[..]));
        assert_eq!(last(9, b"cc", b"cc"), Some(&b"cccc"[..]));
    }

    #[test]
    fn nothing_is_said_of_bytes_that_differ_or_of_messages_that_are_not_whole() {
        let reference = known(&[b"aaa", b"bb", b"cccc"]);
        for (next, carry, bytes) in [
            (7, &b""[..], &b"aab"[..]),
            (7, b"", b"aaabx"),
            (7, b"ab", b"abb"),
            (7, b"", b"aa"),
            (6, b"", b"aaa"),
            (8, b"", b"aaa"),
            (10, b"", b"cccc"),
            (7, b"aaab", b"b"),
        ] {
            let followed = reference.follow(next, carry, bytes);
            assert!(
                followed.is_none(),
                "{next} {} {}: {followed:?}",
                carry.escape_ascii(),
                bytes.escape_ascii()
            );
        }
    }

    #[test]
    fn what_is_too_old_is_forgotten_and_the_rest_stays_where_it_is() {
        let block = vec![b'x'; BYTES_MAX / 4];
        let mut reference = Reference::default();
        (0..5).for_each(|sequence| reference.learn(sequence, sequence, &block));
        assert_eq!(dues(&reference, 1, b"", &block), None);
        assert_eq!(dues(&reference, 2, b"", &[&block[..], b"x"].concat()), Some((vec![2], block.len())));
        assert!(reference.bytes.len() <= BYTES_MAX);
    }

    #[test]
    fn it_begins_anew_behind_a_message_that_nobody_had() {
        let mut reference = known(&[b"aaa", b"bb"]);
        reference.learn(8, 0, b"other bytes of a known message");
        assert_eq!(dues(&reference, 8, b"", b"bb"), Some((vec![80], 2)));
        reference.learn(12, 120, b"ee");
        assert_eq!(dues(&reference, 8, b"", b"bb"), None);
        assert_eq!(dues(&reference, 12, b"", b"ee"), Some((vec![120], 2)));
    }
}
