//! A histogram with one writer and fixed buckets: no lock, no allocation, one relaxed store a sample.

use std::time::Duration;

use crate::base::counters::Cell;

/// Upper bounds of the buckets, in nanoseconds: 50 us to 10 s, about 2.5 x apart. The last bucket is unbounded.
pub const BOUNDS_NANOS: [u64; 16] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    10_000_000_000,
];

#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Cell; BOUNDS_NANOS.len() + 1],
    sum_nanos: Cell,
}

impl Histogram {
    // Hot: once per flushed channel and turn.
    pub fn record(&self, sample: Duration) {
        let nanos = u64::try_from(sample.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[BOUNDS_NANOS.partition_point(|&bound| bound < nanos)].add(1);
        self.sum_nanos.add(nanos);
    }

    /// The count of each bucket (not cumulative) and the sum of all samples in nanoseconds.
    pub fn snapshot(&self) -> ([u64; BOUNDS_NANOS.len() + 1], u64) {
        (std::array::from_fn(|index| self.buckets[index].get()), self.sum_nanos.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_falls_into_the_first_bucket_that_is_not_below_it() {
        let histogram = Histogram::default();
        for nanos in [0, 50_000, 50_001, 10_000_000_001] {
            histogram.record(Duration::from_nanos(nanos));
        }
        let (buckets, sum) = histogram.snapshot();
        assert_eq!((buckets[0], buckets[1], buckets[16], sum), (2, 1, 1, 10_000_100_002));
    }
}
