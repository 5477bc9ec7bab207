//! Finds channels by their names: a hash table of indexes into the owner's table, where the names are.
//!
//! Five bytes a place instead of a name and a key, and the name is not held twice. The owner says which name an index
//! has, so every call is given the same function for it. The order of the table never comes out.
//!
//! Invariant: each index is in it once. Cost: one hash and, with few exceptions, one comparison a look.

use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};

use hashbrown::HashTable;

#[derive(Debug)]
pub struct Names {
    indexes: HashTable<u32>,
    seed: Seed,
}

/// SipHash behind a secret: names come from clients, who must not be able to choose names that collide.
#[derive(Debug)]
enum Seed {
    Given(u64),
    Random(RandomState),
}

impl Names {
    /// With the secret that is given, so that a run repeats exactly.
    pub fn seeded(seed: u64) -> Self {
        Self { indexes: HashTable::new(), seed: Seed::Given(seed) }
    }

    // Hot: once per message in the reader.
    pub fn find<'a>(&self, name: &[u8], name_of: impl Fn(u32) -> &'a [u8]) -> Option<u32> {
        self.indexes.find(self.seed.hash(name), |&index| name_of(index) == name).copied()
    }

    /// Adds the index, whose name is not in it yet.
    pub fn insert<'a>(&mut self, index: u32, name_of: impl Fn(u32) -> &'a [u8]) {
        let Self { indexes, seed } = self;
        let name = name_of(index);
        debug_assert!(
            indexes.find(seed.hash(name), |&other| name_of(other) == name).is_none(),
            "a name has one channel"
        );
        indexes.insert_unique(seed.hash(name), index, |&other| seed.hash(name_of(other)));
    }

    /// Removes the index, which has this name.
    pub fn remove(&mut self, index: u32, name: &[u8]) {
        match self.indexes.find_entry(self.seed.hash(name), |&other| other == index) {
            Ok(entry) => drop(entry.remove()),
            Err(_) => unreachable!("an index that is removed is in the table under its name"),
        }
        // A burst of channels is over: its memory is not kept.
        if self.indexes.is_empty() && self.indexes.capacity() > CAPACITY_KEPT {
            self.indexes = HashTable::new();
        }
    }
}

impl Default for Names {
    fn default() -> Self {
        Self { indexes: HashTable::new(), seed: Seed::Random(RandomState::new()) }
    }
}

impl Seed {
    fn hash(&self, name: &[u8]) -> u64 {
        match self {
            Self::Random(state) => state.hash_one(name),
            Self::Given(seed) => {
                let mut hasher = DefaultHasher::new();
                hasher.write_u64(*seed);
                hasher.write(name);
                hasher.finish()
            }
        }
    }
}

const CAPACITY_KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_until_its_index_is_removed() {
        for mut names in [Names::default(), Names::seeded(7)] {
            let texts: Vec<String> = (0..1_000).map(|number| format!("channel.{number}")).collect();
            let name_of = |index: u32| texts[index as usize].as_bytes();
            (0..1_000).for_each(|index| names.insert(index, name_of));
            for index in (0..1_000).step_by(2) {
                names.remove(index, name_of(index));
            }
            for index in 0..1_000 {
                let expected = (index % 2 == 1).then_some(index);
                assert_eq!(names.find(name_of(index), name_of), expected);
            }
            assert_eq!(names.find(b"channel.", name_of), None);
        }
    }

    #[test]
    fn a_burst_of_names_leaves_no_memory_behind() {
        let mut names = Names::seeded(1);
        let texts: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
        let name_of = |index: u32| texts[index as usize].as_bytes();
        (0..1_000).for_each(|index| names.insert(index, name_of));
        (0..1_000).for_each(|index| names.remove(index, name_of(index)));
        assert_eq!(names.indexes.capacity(), 0);
    }
}
