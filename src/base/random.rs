//! Randomness as an input: a small generator that a driver seeds, so that a run can be repeated from its seed.

/// SplitMix64 (Steele, Lea and Flood 2014): one word of state, passes BigCrush, good enough for jitter and tests.
/// Not for secrets.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `bound`, which is not zero. The bias is below 2^-32 for every bound in use here.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a number below zero was asked for");
        let product = u128::from(self.word()) * u128::from(bound);
        u64::try_from(product >> 64).expect("the upper half of 128 bits has 64")
    }

    /// `span` spread evenly over its upper half: from half of it (inclusive) to all of it (exclusive).
    pub fn jitter(&mut self, span: std::time::Duration) -> std::time::Duration {
        let half = span / 2;
        let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
        half + std::time::Duration::from_nanos(self.below(nanos))
    }
}
