//! Memory of reads that was lent to the shards and comes back by itself.
//!
//! The reader keeps a handle of what it lends. A shard that is done with a batch drops its own; when the reader's is the
//! only one left, it may be filled again. So there is no queue on which a shard would have to send anything back, and
//! nothing to be lost with one. Shards take their batches in order, so the oldest is free first, and only it is asked.
//!
//! Invariant: `bytes` is the sum over `reads`, and at most [`LENT_BYTES`]; what goes beyond is freed by the last shard.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::limits::LENT_BYTES;
use crate::base::queue::{Message, Read};

#[derive(Debug, Default)]
pub(super) struct Lent {
    /// In the order in which they were lent.
    reads: VecDeque<Arc<Read>>,
    bytes: usize,
}

impl Lent {
    /// Moves what was gathered to where it can be shared, and leaves an empty read in its place: one that is as warm as
    /// it was, if any is free.
    // Hot: once per read.
    pub(super) fn share(&mut self, gathered: &mut Read) -> Arc<Read> {
        let mut read = self.take().unwrap_or_else(|| Arc::new(empty_like(gathered)));
        let ours = Arc::get_mut(&mut read).expect("nobody else has a read that is new or has come back");
        std::mem::swap(ours, gathered);
        read
    }

    /// Keeps a handle of what is shared from here on.
    pub(super) fn keep(&mut self, read: Arc<Read>) {
        let bytes = bytes_of(&read);
        if self.bytes + bytes <= LENT_BYTES {
            self.bytes += bytes;
            self.reads.push_back(read);
        }
    }

    fn take(&mut self) -> Option<Arc<Read>> {
        let oldest = Arc::get_mut(self.reads.front_mut()?)?;
        self.bytes -= bytes_of(oldest);
        oldest.chunk.clear();
        oldest.messages.iter_mut().for_each(Vec::clear);
        self.reads.pop_front()
    }
}

/// The next read will be about as large as the last.
fn empty_like(read: &Read) -> Read {
    Read {
        chunk: Vec::with_capacity(read.chunk.len()),
        messages: read.messages.iter().map(|messages| Vec::with_capacity(messages.len())).collect(),
        ..Read::default()
    }
}

fn bytes_of(read: &Read) -> usize {
    let lists =
        read.messages.iter().map(|messages| messages.capacity() * size_of::<Message>()).sum::<usize>();
    size_of::<Read>() + read.messages.capacity() * size_of::<Vec<Message>>() + lists + read.chunk.capacity()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lend(lent: &mut Lent, text: &[u8]) -> Arc<Read> {
        let mut gathered = Read { chunk: text.to_vec(), messages: vec![Vec::new()], ..Read::default() };
        let read = lent.share(&mut gathered);
        assert!(gathered.chunk.is_empty());
        assert_eq!(gathered.messages.len(), 1);
        lent.keep(Arc::clone(&read));
        read
    }

    #[test]
    fn what_every_shard_has_dropped_is_filled_again() {
        let mut lent = Lent::default();
        let first = lend(&mut lent, b"first");
        let address = Arc::as_ptr(&first);
        let shard = Arc::clone(&first);
        drop(first);
        let second = lend(&mut lent, b"second");
        assert_ne!(Arc::as_ptr(&second), address, "a shard still has it");
        assert_eq!(shard.chunk, b"first");
        drop(shard);
        let third = lend(&mut lent, b"third");
        assert_eq!(Arc::as_ptr(&third), address);
        assert_eq!(third.chunk, b"third");
        assert_eq!(second.chunk, b"second");
    }

    #[test]
    fn no_more_is_kept_than_the_bound_however_slow_a_shard_is() {
        let mut lent = Lent::default();
        let text = vec![b'x'; 100_000];
        let held: Vec<Arc<Read>> = (0..20).map(|_| lend(&mut lent, &text)).collect();
        assert!(lent.bytes <= LENT_BYTES);
        assert_eq!(lent.reads.len(), 10);
        assert_eq!(held.iter().filter(|read| Arc::strong_count(read) == 1).count(), 10);
        drop(held);
        (0..10).for_each(|_| assert!(lent.take().is_some()));
        assert_eq!((lent.bytes, lent.reads.len()), (0, 0));
    }
}
