//! Which log loses its frames first when all logs together are at their bound: the one whose first frame is the oldest.
//!
//! Only logs that are kept for laggards stand here, and only while no round goes through them, so a shard without laggards
//! pays nothing. Invariant, between calls of the hub: a stream stands here, under its first frame's position, exactly if
//! it is marked, and each stream outside a round that has more than its newest frame is marked once it has been tidied.
//!
//! Cost: O(log n) when a log with laggards comes to rest, is appended to, trimmed or emptied; finding the oldest is the same.

use std::collections::BTreeSet;

use crate::base::position::Position;

use super::Stream;

#[derive(Debug, Default)]
pub(super) struct Oldest(BTreeSet<(Position, u32)>);

impl Oldest {
    /// The stream at this index is at rest: it stands here if there is something that it could lose.
    pub(super) fn note(&mut self, index: u32, stream: &mut Stream) {
        if stream.log().frames().len() > 1 && !stream.replace_marked(true) {
            let is_new = self.0.insert((first(stream), index));
            assert!(is_new, "a stream that is not marked does not stand among the oldest");
        }
    }

    /// The stream is about to be in a round, to lose frames or to end.
    // Hot: once per message and stream; beyond a look at the mark only for logs with laggards.
    pub(super) fn forget(&mut self, index: u32, stream: &mut Stream) {
        if stream.replace_marked(false) {
            let was_there = self.0.remove(&(first(stream), index));
            assert!(was_there, "a marked stream stands among the oldest");
        }
    }

    /// The index of the stream whose first frame is the oldest.
    pub(super) fn first(&self) -> Option<u32> {
        self.0.first().map(|&(_, index)| index)
    }
}

fn first(stream: &Stream) -> Position {
    stream.log().first().expect("a marked log has frames").position
}
