//! Figures of many rounds and many processes: medians with their spread, and latency distributions that are merged,
//! never averaged.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The median of several rounds, with how far they lay apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub greatest: f64,
    pub rounds: usize,
}

impl Spread {
    /// None without a figure.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (&least, &greatest) = (sorted.first()?, sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
            _ => sorted[middle],
        };
        Some(Self { median, least, greatest, rounds: sorted.len() })
    }
}

/// A distribution of latencies in nanoseconds, exact to three digits.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

/// A distribution on its way between processes and in the JSON file: each bucket's greatest value in nanoseconds and
/// how often it was met, as the text `1000:3 2000:1`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Buckets(Vec<(u64, u64)>);

/// What is shown of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
    pub samples: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        let mut histogram =
            Histogram::new_with_bounds(1, NANOS_MAX, DIGITS).expect("the bounds are constants in range");
        histogram.auto(false);
        Self(histogram)
    }
}

impl Latencies {
    // Hot: once per delivery; an index and an addition.
    pub fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos.max(1));
    }

    /// The same latency `count` times.
    // Hot: once per batch of messages in a read.
    pub fn record_many(&mut self, nanos: u64, count: u64) {
        self.0.saturating_record_n(nanos.max(1), count);
    }

    /// Adds every sample of `buckets`; as if all had been recorded here.
    pub fn merge(&mut self, buckets: &Buckets) {
        for &(nanos, count) in &buckets.0 {
            self.0.saturating_record_n(nanos, count);
        }
    }

    pub fn buckets(&self) -> Buckets {
        Buckets(
            self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect(),
        )
    }

    /// None without a sample.
    pub fn percentiles(&self) -> Option<Percentiles> {
        if self.0.is_empty() {
            return None;
        }
        let milliseconds = |nanos: u64| Self::nanos(nanos) / 1e6;
        Some(Percentiles {
            p50_ms: milliseconds(self.0.value_at_quantile(0.5)),
            p99_ms: milliseconds(self.0.value_at_quantile(0.99)),
            p999_ms: milliseconds(self.0.value_at_quantile(0.999)),
            max_ms: milliseconds(self.0.max()),
            samples: self.0.len(),
        })
    }

    /// What `share` of `whole` samples are at or below; none if there are not so many of them.
    // Exact: no run has 2^52 samples.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    pub fn at(&self, share: f64, whole: u64) -> Option<u64> {
        let wanted = ((whole as f64 * share).ceil() as u64).max(1);
        let mut steps = self.0.iter_recorded();
        let mut sum = 0;
        steps.find_map(|step| {
            sum += step.count_at_value();
            (sum >= wanted).then(|| step.value_iterated_to())
        })
    }

    // Exact: nothing that is recorded exceeds 2^52.
    #[allow(clippy::cast_precision_loss)]
    fn nanos(nanos: u64) -> f64 {
        nanos as f64
    }
}

impl From<Buckets> for String {
    fn from(buckets: Buckets) -> Self {
        let texts: Vec<Self> = buckets.0.iter().map(|(nanos, count)| format!("{nanos}:{count}")).collect();
        texts.join(" ")
    }
}

impl TryFrom<String> for Buckets {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bucket = |text: &str| {
            let (nanos, count) = text.split_once(':')?;
            Some((nanos.parse().ok()?, count.parse().ok()?))
        };
        let buckets = text.split_ascii_whitespace().map(bucket).collect::<Option<Vec<_>>>();
        buckets.map(Self).ok_or("buckets are `nanoseconds:count`, with spaces between")
    }
}

/// Ten minutes: what is later than that counts as that.
const NANOS_MAX: u64 = 600_000_000_000;
const DIGITS: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((spread.median, spread.least, spread.greatest, spread.rounds), (2.5, 1.0, 4.0, 4));
        assert_eq!(Spread::of([7.0, 9.0, 8.0]).unwrap().median, 8.0);
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn merged_distributions_equal_one_that_recorded_everything() {
        let (mut all, mut merged) = (Latencies::default(), Latencies::default());
        for part in 0..3_u64 {
            let mut latencies = Latencies::default();
            for sample in 0..5_000_u64 {
                let nanos = (part * 7_919 + sample) * (sample + 1) % 90_000_000;
                latencies.record(nanos);
                all.record(nanos);
            }
            merged.merge(&latencies.buckets());
        }
        assert_eq!(merged.percentiles(), all.percentiles());
        assert_eq!(merged.buckets(), all.buckets());
    }

    #[test]
    fn a_distribution_travels_as_text() {
        let mut latencies = Latencies::default();
        [1_000, 1_000, 7].into_iter().for_each(|nanos| latencies.record(nanos));
        let text = serde_json::to_string(&latencies.buckets()).unwrap();
        assert_eq!(text, "\"7:1 1000:2\"");
        assert_eq!(serde_json::from_str::<Buckets>(&text).unwrap(), latencies.buckets());
        assert!(serde_json::from_str::<Buckets>("\"7:x\"").is_err());
    }

    #[test]
    fn a_share_of_more_than_there_are_is_not_reached() {
        let mut latencies = Latencies::default();
        (1..=10).for_each(|nanos| latencies.record(nanos * 100));
        assert_eq!(latencies.at(0.5, 10), Some(500));
        assert_eq!(latencies.at(1.0, 10), Some(1_000));
        assert_eq!(latencies.at(0.5, 19), Some(1_000));
        assert_eq!(latencies.at(0.5, 21), None);
    }

    #[test]
    fn a_merge_is_not_an_average() {
        let (mut fast, mut slow) = (Latencies::default(), Latencies::default());
        for _ in 0..990 {
            fast.record(1_000_000);
        }
        for _ in 0..10 {
            slow.record(100_000_000);
        }
        fast.merge(&slow.buckets());
        let percentiles = fast.percentiles().unwrap();
        assert_eq!(percentiles.samples, 1_000);
        assert!((percentiles.p50_ms - 1.0).abs() < 0.01, "{percentiles:?}");
        assert!((percentiles.p999_ms - 100.0).abs() < 0.1, "{percentiles:?}");
    }

    #[test]
    fn no_sample_has_no_percentiles() {
        assert_eq!(Latencies::default().percentiles(), None);
    }
}
