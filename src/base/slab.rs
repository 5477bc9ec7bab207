//! A slab whose keys know which use of an entry they mean, so that a key kept too long finds nothing.
//!
//! Cost: insert, remove and get are O(1); an entry is the value and at most 8 bytes. Freed entries are reused, last
//! first; a slab that has become empty after a burst gives its memory back, and one that is trimmed what is behind its last entry.

/// One use of one entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub index: u32,
    pub generation: u32,
}

#[derive(Debug)]
pub struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: u32,
    count: u32,
    /// Where the generations of new entries begin: above every one that was ever given out.
    first_generation: u32,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    Used(T),
    Free { next: u32 },
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), free: NONE, count: 0, first_generation: 0 }
    }
}

impl<T> Slab<T> {
    pub fn insert(&mut self, value: T) -> Key {
        self.count += 1;
        if self.free == NONE {
            let index = u32::try_from(self.entries.len()).expect("a slab holds fewer than 2^32 entries");
            let generation = self.first_generation;
            self.entries.push(Entry { generation, state: State::Used(value) });
            return Key { index, generation };
        }
        let index = self.free;
        let entry = &mut self.entries[index as usize];
        match entry.state {
            State::Free { next } => self.free = next,
            State::Used(_) => unreachable!("an entry on the free list is in use"),
        }
        entry.state = State::Used(value);
        Key { index, generation: entry.generation }
    }

    pub fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation != key.generation || matches!(entry.state, State::Free { .. }) {
            return None;
        }
        entry.generation = entry.generation.wrapping_add(1);
        let state = std::mem::replace(&mut entry.state, State::Free { next: self.free });
        self.free = key.index;
        self.count -= 1;
        if self.count == 0 && self.entries.len() > ENTRIES_KEPT {
            self.trim();
        }
        match state {
            State::Used(value) => Some(value),
            State::Free { .. } => unreachable!("a free entry was removed"),
        }
    }

    pub fn get(&self, key: Key) -> Option<&T> {
        match self.entries.get(key.index as usize) {
            Some(Entry { generation, state: State::Used(value) }) if *generation == key.generation => {
                Some(value)
            }
            _ => None,
        }
    }

    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.entries.get_mut(key.index as usize) {
            Some(Entry { generation, state: State::Used(value) }) if *generation == key.generation => {
                Some(value)
            }
            _ => None,
        }
    }

    /// The entry at an index that its owner knows to be in use.
    ///
    /// # Panics
    /// If it is free: the owner's bookkeeping is wrong.
    pub fn at(&self, index: u32) -> &T {
        match &self.entries[index as usize].state {
            State::Used(value) => value,
            State::Free { .. } => panic!("a slab entry that its owner holds is free"),
        }
    }

    /// As [`Slab::at`], to change it.
    pub fn at_mut(&mut self, index: u32) -> &mut T {
        match &mut self.entries[index as usize].state {
            State::Used(value) => value,
            State::Free { .. } => panic!("a slab entry that its owner holds is free"),
        }
    }

    /// The whole key of an entry that its owner knows to be in use.
    pub fn key_at(&self, index: u32) -> Key {
        Key { index, generation: self.entries[index as usize].generation }
    }

    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// A burst is over: the memory behind the last entry in use is not kept, but no key of it may ever mean anything
    /// again. Looks at every entry.
    pub fn trim(&mut self) {
        let is_used = |entry: &Entry<T>| matches!(entry.state, State::Used(_));
        let kept = self.entries.iter().rposition(is_used).map_or(0, |last| last + 1);
        let last = self.entries.drain(kept..).map(|entry| entry.generation).max();
        let Some(last) = last else { return };
        self.first_generation = self.first_generation.max(last.wrapping_add(1));
        self.entries.shrink_to_fit();
        self.free = NONE;
        for (index, entry) in (0..).zip(&mut self.entries) {
            if let State::Free { next } = &mut entry.state {
                *next = std::mem::replace(&mut self.free, index);
            }
        }
    }

    /// The entries in use, in the order of their index.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        (0_u32..).zip(&self.entries).filter_map(|(index, entry)| match &entry.state {
            State::Used(value) => Some((Key { index, generation: entry.generation }, value)),
            State::Free { .. } => None,
        })
    }
}

const NONE: u32 = u32::MAX;

/// An empty slab of no more than this keeps its memory.
const ENTRIES_KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_kept_too_long_finds_nothing() {
        let mut slab = Slab::default();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(second.index, first.index);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn a_burst_gives_its_memory_back_and_its_keys_stay_stale() {
        let mut slab = Slab::default();
        let keys: Vec<Key> = (0..1_000).map(|value| slab.insert(value)).collect();
        keys.iter().for_each(|&key| assert!(slab.remove(key).is_some()));
        assert_eq!(slab.entries.capacity(), 0);
        let again: Vec<Key> = (0..1_000).map(|value| slab.insert(value)).collect();
        assert!(keys.iter().all(|&key| slab.get(key).is_none()));
        assert!(again.iter().all(|&key| slab.get(key).is_some()));
    }

    #[test]
    fn a_trimmed_slab_keeps_what_is_in_use_and_its_keys_stay_stale() {
        let mut slab = Slab::default();
        let keys: Vec<Key> = (0..1_000).map(|value| slab.insert(value)).collect();
        for &key in keys.iter().filter(|key| ![0, 3].contains(&key.index)) {
            assert!(slab.remove(key).is_some());
        }
        slab.trim();
        assert_eq!((slab.len(), slab.entries.capacity()), (2, 4));
        assert_eq!((slab.get(keys[0]), slab.get(keys[3])), (Some(&0), Some(&3)));
        let again: Vec<Key> = (0..1_000).map(|value| slab.insert(value)).collect();
        assert_eq!(slab.len(), 1_002);
        for (&stale, &fresh) in keys.iter().zip(&again) {
            assert!([0, 3].contains(&stale.index) || slab.get(stale).is_none());
            assert!(slab.get(fresh).is_some());
        }
    }

    #[test]
    fn freed_entries_are_reused_last_first() {
        let mut slab = Slab::default();
        let keys: Vec<Key> = (0..3).map(|value| slab.insert(value)).collect();
        slab.remove(keys[0]);
        slab.remove(keys[2]);
        assert_eq!(slab.insert(7).index, 2);
        assert_eq!(slab.insert(8).index, 0);
        assert_eq!(slab.insert(9).index, 3);
        assert_eq!(slab.iter().map(|(_, &value)| value).collect::<Vec<_>>(), [8, 1, 7, 9]);
    }
}
