//! Keys and their values: strings that may expire, in 16 databases.
//!
//! An expired key is removed when it is looked at or when its time has come, whichever is first; the two agree.
//! Invariants: `expiries` has exactly one entry for each key with an expiry. The memory of every entry is charged.
//! Cost: a lookup is one hash; an expiry is one step in an ordered set.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::reader::broker::memory::{ENTRY_BYTES, Memory};

/// Milliseconds since the beginning of 1970, as Redis keeps expiries.
pub(super) type Milliseconds = i64;

#[derive(Debug)]
pub(super) struct Keyspace {
    databases: [HashMap<Arc<[u8]>, Entry>; DATABASES],
    expiries: BTreeSet<(Milliseconds, usize, Arc<[u8]>)>,
    last_version: u64,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) value: Box<[u8]>,
    /// The last millisecond in which the key exists.
    pub(super) expires_at: Option<Milliseconds>,
    /// Another one after every change, unique among all keys.
    version: u64,
}

/// The bound of the broker's memory does not allow it; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutOfMemory;

impl Keyspace {
    pub(super) fn new() -> Self {
        Self {
            databases: std::array::from_fn(|_| HashMap::new()),
            expiries: BTreeSet::new(),
            last_version: ABSENT,
        }
    }

    pub(super) fn find(
        &mut self,
        memory: &mut Memory,
        database: usize,
        key: &[u8],
        now: Milliseconds,
    ) -> Option<&Entry> {
        let entry = self.databases[database].get(key)?;
        if entry.expires_at.is_some_and(|expires_at| now > expires_at) {
            self.remove(memory, database, key);
            return None;
        }
        self.databases[database].get(key)
    }

    /// Changes whenever the key does.
    pub(super) fn version(
        &mut self,
        memory: &mut Memory,
        database: usize,
        key: &[u8],
        now: Milliseconds,
    ) -> u64 {
        self.find(memory, database, key, now).map_or(ABSENT, |entry| entry.version)
    }

    /// Sets a key, whether it exists or not; returns the value it had.
    pub(super) fn set(
        &mut self,
        memory: &mut Memory,
        database: usize,
        key: &[u8],
        value: &[u8],
        expires_at: Option<Milliseconds>,
    ) -> Result<Option<Box<[u8]>>, OutOfMemory> {
        let old_bytes = self.databases[database].get(key).map_or(0, |entry| memory_bytes(key, &entry.value));
        memory.release(old_bytes);
        if !memory.charge(memory_bytes(key, value)) {
            let is_charged = memory.charge(old_bytes);
            assert!(is_charged, "what was released just now fits again");
            return Err(OutOfMemory);
        }
        let version = self.next_version();
        let entry = Entry { value: value.into(), expires_at: None, version };
        let old = match self.databases[database].get_mut(key) {
            Some(old) => {
                let old_expiry = old.expires_at;
                let old = std::mem::replace(old, Entry { expires_at: old_expiry, ..entry });
                Some(old.value)
            }
            None => {
                self.databases[database].insert(Arc::from(key), entry);
                None
            }
        };
        self.set_expiry(database, key, expires_at);
        Ok(old)
    }

    /// Sets or removes a key's expiry; nothing happens if there is no such key.
    pub(super) fn set_expiry(&mut self, database: usize, key: &[u8], expires_at: Option<Milliseconds>) {
        let version = self.next_version();
        let Some((shared, _)) = self.databases[database].get_key_value(key) else { return };
        let shared = Arc::clone(shared);
        let Some(entry) = self.databases[database].get_mut(key) else { return };
        entry.version = version;
        let old = std::mem::replace(&mut entry.expires_at, expires_at);
        if let Some(old) = old {
            self.expiries.remove(&(old, database, Arc::clone(&shared)));
        }
        if let Some(new) = expires_at {
            self.expiries.insert((new, database, shared));
        }
    }

    /// Returns whether there was such a key.
    pub(super) fn remove(&mut self, memory: &mut Memory, database: usize, key: &[u8]) -> bool {
        let Some((shared, entry)) = self.databases[database].remove_entry(key) else { return false };
        memory.release(memory_bytes(key, &entry.value));
        if let Some(expires_at) = entry.expires_at {
            self.expiries.remove(&(expires_at, database, shared));
        }
        true
    }

    pub(super) fn clear(&mut self, memory: &mut Memory, database: usize) {
        for (key, entry) in std::mem::take(&mut self.databases[database]) {
            memory.release(memory_bytes(&key, &entry.value));
        }
        self.expiries.retain(|&(_, of, _)| of != database);
    }

    /// Keys of a database.
    pub(super) fn count(&self, database: usize) -> usize {
        self.databases[database].len()
    }

    /// Keys of a database that have an expiry. Looks at all that have one.
    pub(super) fn expiry_count(&self, database: usize) -> usize {
        self.expiries.iter().filter(|&&(_, of, _)| of == database).count()
    }

    /// The last millisecond of the key that expires first.
    pub(super) fn next_expiry(&self) -> Option<Milliseconds> {
        self.expiries.first().map(|&(expires_at, _, _)| expires_at)
    }

    /// Removes keys whose time has come, some at a time: the rest is still due.
    pub(super) fn expire(&mut self, memory: &mut Memory, now: Milliseconds) {
        for _ in 0..EXPIRIES_AT_A_TIME {
            let Some((expires_at, database, key)) = self.expiries.first() else { return };
            if now <= *expires_at {
                return;
            }
            let (database, key) = (*database, Arc::clone(key));
            self.remove(memory, database, &key);
        }
    }

    fn next_version(&mut self) -> u64 {
        self.last_version += 1;
        self.last_version
    }
}

fn memory_bytes(key: &[u8], value: &[u8]) -> usize {
    key.len() + value.len() + ENTRY_BYTES
}

/// As many as Redis has by default.
pub(super) const DATABASES: usize = 16;
/// The version of a key that does not exist.
const ABSENT: u64 = 0;
/// A burst of expiries must not hold up messages: this many take under a millisecond.
const EXPIRIES_AT_A_TIME: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_exists_up_to_and_with_its_last_millisecond() {
        let (mut keyspace, mut memory) = (Keyspace::new(), Memory::new(10_000));
        keyspace.set(&mut memory, 0, b"k", b"v", Some(1_000)).unwrap();
        assert!(keyspace.find(&mut memory, 0, b"k", 1_000).is_some());
        assert!(keyspace.find(&mut memory, 1, b"k", 1_000).is_none());
        assert!(keyspace.find(&mut memory, 0, b"k", 1_001).is_none());
        assert_eq!((memory.used(), keyspace.next_expiry(), keyspace.count(0)), (0, None, 0));
    }

    #[test]
    fn due_keys_are_removed_some_at_a_time() {
        let (mut keyspace, mut memory) = (Keyspace::new(), Memory::new(10_000_000));
        for key in 0..EXPIRIES_AT_A_TIME + 1 {
            keyspace.set(&mut memory, 3, key.to_string().as_bytes(), b"v", Some(1_000)).unwrap();
        }
        keyspace.set(&mut memory, 3, b"later", b"v", Some(2_000)).unwrap();
        keyspace.expire(&mut memory, 1_001);
        assert_eq!((keyspace.count(3), keyspace.next_expiry()), (2, Some(1_000)));
        keyspace.expire(&mut memory, 1_001);
        assert_eq!((keyspace.count(3), keyspace.next_expiry()), (1, Some(2_000)));
        keyspace.clear(&mut memory, 3);
        assert_eq!((memory.used(), keyspace.next_expiry()), (0, None));
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let (mut keyspace, mut memory) = (Keyspace::new(), Memory::new(ENTRY_BYTES + 10));
        keyspace.set(&mut memory, 0, b"k", b"123456789", Some(5)).unwrap();
        assert_eq!(keyspace.set(&mut memory, 0, b"k", b"1234567890", None), Err(OutOfMemory));
        assert_eq!(keyspace.set(&mut memory, 0, b"l", b"", None), Err(OutOfMemory));
        let entry = keyspace.find(&mut memory, 0, b"k", 0).unwrap();
        assert_eq!((&*entry.value, entry.expires_at), (b"123456789".as_slice(), Some(5)));
        assert_eq!(memory.used(), ENTRY_BYTES + 10);
        keyspace.set(&mut memory, 0, b"k", b"", None).unwrap();
        assert_eq!(memory.used(), ENTRY_BYTES + 1);
    }
}
