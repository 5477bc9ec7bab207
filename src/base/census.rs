//! Who is there, over all shards of a process: what the bounds of the process as a whole are held to.
//!
//! Looked at when a connection comes or goes and when a stream opens or ends, never for a message. A shard cannot hold to
//! its share of such a bound instead: of an address or a user with a few connections, all may be on one shard.
//!
//! Invariant: each count is what was added and not yet given back; who counts zero is not kept. Keys come from outside, so
//! they are hashed with a secret. Cost: one atomic addition for a connection; for an address or a user one lock, which is
//! one of many and held for a look into a table.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::peer::Network;

#[derive(Debug, Default)]
pub struct Census {
    connections: AtomicUsize,
    /// Connections, where their number is bounded for each address.
    pub networks: Tally<Network>,
    /// Streams, where their number is bounded for each user.
    pub users: Tally<Arc<str>>,
}

/// How many there are of each, for very many keys and few threads.
#[derive(Debug)]
pub struct Tally<K> {
    /// Chooses the part, and is another secret than those of the parts' tables.
    hasher: RandomState,
    parts: Box<[Mutex<HashMap<K, usize>>]>,
}

impl Census {
    /// One connection more; how many there are with it.
    pub fn add_connection(&self) -> usize {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn remove_connection(&self) {
        let before = self.connections.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a connection is removed once");
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// What is counted beside the connections. Zero when everybody has gone.
    pub fn entries(&self) -> usize {
        self.networks.len() + self.users.len()
    }
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        let parts = (0..PARTS).map(|_| Mutex::default()).collect();
        Self { hasher: RandomState::new(), parts }
    }
}

impl<K: Hash + Eq> Tally<K> {
    /// One more; how many there are with it.
    pub fn add(&self, key: K) -> usize {
        self.with(key, |key, counts| {
            let count = counts.entry(key).or_default();
            *count += 1;
            *count
        })
    }

    /// One more, unless that would be more than `most`: whether it is counted.
    pub fn try_add(&self, key: K, most: usize) -> bool {
        self.with(key, |key, counts| {
            if counts.get(&key).is_some_and(|&count| count >= most) || most == 0 {
                return false;
            }
            *counts.entry(key).or_default() += 1;
            true
        })
    }

    pub fn count(&self, key: K) -> usize {
        self.with(key, |key, counts| counts.get(&key).copied().unwrap_or_default())
    }

    /// One fewer.
    ///
    /// # Panics
    /// If there is none: what was counted is given back once.
    pub fn remove(&self, key: K) {
        self.with(key, |key, counts| {
            let count = counts.get_mut(&key).expect("what is given back was counted");
            *count -= 1;
            if *count == 0 {
                counts.remove(&key);
                // A crowd that has gone leaves no memory behind.
                if counts.len() < counts.capacity() / 8 && counts.capacity() > ENTRIES_KEPT {
                    counts.shrink_to(2 * counts.len());
                }
            }
        });
    }

    fn with<T>(&self, key: K, look: impl FnOnce(K, &mut HashMap<K, usize>) -> T) -> T {
        let part = usize::try_from(self.hasher.hash_one(&key) % PARTS).expect("there are few parts");
        // A thread that panics ends the process, so nobody is there to find a table half changed.
        look(key, &mut self.parts[part].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<K> Tally<K> {
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keys that are counted. Looks at every part.
    pub fn len(&self) -> usize {
        let length =
            |part: &Mutex<HashMap<K, usize>>| part.lock().unwrap_or_else(PoisonError::into_inner).len();
        self.parts.iter().map(length).sum()
    }
}

/// Several times the cores of a machine, so that two shards rarely wait for each other.
const PARTS: u64 = 256;
/// A part's table of no more than this keeps its memory.
const ENTRIES_KEPT: usize = 64;

#[cfg(test)]
mod tests;
