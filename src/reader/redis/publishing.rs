//! What clients publish through courier, from the command to the answer.
//!
//! Redis answers on one link and hands the message out on the other, so what is published is looked for among the
//! messages that come: the first with its channel and its payload, from its command on, is taken for it. Of two
//! publishers that say the same in the same channel at the same moment one may be given the other's place, which nobody can
//! tell apart. A message whose channel is not heard here, or that does not come in time, is known to be behind the last position that
//! there was when its command was written.
//!
//! Invariants: each batch is answered exactly once; `watched_bytes` is the sum of the watched payloads' lengths.
//! Cost: nothing for a message while nothing is being published.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::base::deadlines::Deadlines;
use crate::base::limits::{ASK_BYTES, PUBLISH_HEARD_TIMEOUT, PUBLISHES_WATCHED};
use crate::base::position::Position;
use crate::base::queue::{Placed, PublishOutcome, ShardIndex};
use crate::base::slab::{Key, Slab};
use crate::base::socket::SocketKey;
use crate::base::time::Time;
use crate::reader::channels::ChannelId;

#[derive(Debug)]
pub(super) struct Publishing {
    batches: Slab<Batch>,
    /// By channel, in the order of their commands.
    watched: HashMap<ChannelId, VecDeque<Watched>>,
    watched_count: usize,
    watched_bytes: usize,
    /// When those that Redis has taken are answered, heard or not.
    patience: Deadlines<Key>,
}

/// What one client publishes with one request.
#[derive(Debug)]
struct Batch {
    shard: ShardIndex,
    connection: SocketKey,
    /// Replies that are still to come.
    pending: usize,
    taken: usize,
    placed: SmallVec<[Placed; 1]>,
    /// Messages that are still looked for.
    watched: usize,
}

/// A message that is looked for.
#[derive(Debug)]
struct Watched {
    batch: Key,
    index: usize,
    payload: Bytes,
}

/// The answer to a client.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) shard: ShardIndex,
    pub(super) connection: SocketKey,
    pub(super) outcome: PublishOutcome,
}

impl Publishing {
    pub(super) fn new() -> Self {
        Self {
            batches: Slab::default(),
            watched: HashMap::new(),
            watched_count: 0,
            watched_bytes: 0,
            patience: Deadlines::new(PUBLISH_HEARD_TIMEOUT),
        }
    }

    /// Whether nothing is looked for, and messages need not be shown.
    pub(super) fn is_idle(&self) -> bool {
        self.watched_count == 0
    }

    /// So many commands of this client are being written.
    pub(super) fn begin(&mut self, shard: ShardIndex, connection: SocketKey, commands: usize) -> Key {
        let placed = SmallVec::new();
        self.batches.insert(Batch { shard, connection, pending: commands, taken: 0, placed, watched: 0 })
    }

    /// The next message of the batch; its channel, if that is heard here.
    pub(super) fn add(&mut self, batch: Key, channel: Option<ChannelId>, payload: &Bytes, last: Position) {
        let entry = self.batches.at_mut(batch.index);
        let index = entry.placed.len();
        entry.placed.push(Placed::Behind(last));
        let Some(channel) = channel else { return };
        if self.watched_count >= PUBLISHES_WATCHED || self.watched_bytes + payload.len() > ASK_BYTES {
            return;
        }
        entry.watched += 1;
        self.watched_count += 1;
        self.watched_bytes += payload.len();
        let watched = Watched { batch, index, payload: payload.clone() };
        self.watched.entry(channel).or_default().push_back(watched);
    }

    /// A message came, and got this position.
    pub(super) fn heard(&mut self, channel: ChannelId, position: Position, payload: &[u8]) -> Option<Done> {
        let watched = self.watched.get_mut(&channel)?;
        let at = watched.iter().position(|watched| watched.payload == payload)?;
        let Watched { batch, index, payload } = watched.remove(at)?;
        if watched.is_empty() {
            self.watched.remove(&channel);
        }
        self.watched_count -= 1;
        self.watched_bytes -= payload.len();
        let entry = self.batches.at_mut(batch.index);
        entry.watched -= 1;
        entry.placed[index] = Placed::At(position);
        (entry.pending == 0 && entry.watched == 0).then(|| self.finish(batch))
    }

    /// Redis has answered one of the batch's commands, or will not: in order.
    pub(super) fn answered(&mut self, now: Time, batch: Key, is_taken: bool) -> Option<Done> {
        let entry = self.batches.at_mut(batch.index);
        entry.pending -= 1;
        entry.taken += usize::from(is_taken);
        if entry.pending > 0 {
            return None;
        }
        if entry.taken < entry.placed.len() || entry.watched == 0 {
            return Some(self.finish(batch));
        }
        self.patience.add(now, batch);
        None
    }

    /// The link that hears was lost: what has not come will not be known.
    pub(super) fn unheard(&mut self) -> Vec<Done> {
        self.watched.clear();
        (self.watched_count, self.watched_bytes) = (0, 0);
        let keys: Vec<Key> = self.batches.iter().map(|(key, _)| key).collect();
        let mut done = Vec::new();
        for key in keys {
            let entry = self.batches.at_mut(key.index);
            entry.watched = 0;
            if entry.pending == 0 {
                done.push(self.finish(key));
            }
        }
        done
    }

    /// The next one that has waited long enough to be heard.
    pub(super) fn take_due(&mut self, now: Time) -> Option<Done> {
        while let Some(batch) = self.patience.take_due(now) {
            if self.batches.get(batch).is_some() {
                return Some(self.finish(batch));
            }
        }
        None
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.patience.next()
    }

    fn finish(&mut self, key: Key) -> Done {
        let batch = self.batches.remove(key).expect("a batch is finished once");
        if batch.watched > 0 {
            self.watched.retain(|_, watched| {
                watched.retain(|one| {
                    let is_kept = one.batch != key;
                    if !is_kept {
                        self.watched_count -= 1;
                        self.watched_bytes -= one.payload.len();
                    }
                    is_kept
                });
                !watched.is_empty()
            });
        }
        if self.batches.is_empty() {
            self.patience.clear();
        }
        let Batch { shard, connection, taken, placed, .. } = batch;
        let outcome = if taken == placed.len() {
            PublishOutcome::Accepted(placed)
        } else {
            PublishOutcome::Unavailable { taken }
        };
        Done { shard, connection, outcome }
    }
}
