//! All rounds of one contender, and what every scenario says of them: what arrived, what went wrong.

use serde::Serialize;

use crate::statistics::{Latencies, Percentiles, Spread};
use crate::swarm::orders::Tally;

/// All rounds of one contender.
#[derive(Debug, Serialize)]
pub struct Trial<R> {
    pub contender: &'static str,
    /// How it was configured, where that is more than its name says.
    pub configuration: Option<String>,
    pub rounds: Vec<Outcome<R>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome<R> {
    Measured(R),
    /// Why there are no figures of this round.
    Failed(String),
}

/// What arrived, and how long it took: all rounds merged, nothing averaged.
#[derive(Debug, Serialize)]
pub struct Arrivals {
    pub latency: Option<Percentiles>,
    pub delivered: u64,
    pub expected: u64,
}

impl<R> Trial<R> {
    /// The rounds that gave figures.
    pub fn measured(&self) -> impl Iterator<Item = &R> {
        self.rounds.iter().filter_map(|outcome| match outcome {
            Outcome::Measured(round) => Some(round),
            Outcome::Failed(_) => None,
        })
    }

    pub fn failures(&self) -> impl Iterator<Item = &str> {
        self.rounds.iter().filter_map(|outcome| match outcome {
            Outcome::Measured(_) => None,
            Outcome::Failed(reason) => Some(reason.as_str()),
        })
    }

    /// The figure of each round as a multiple of what the contender `other` had in the same round, where both have one.
    /// None if it did not take part.
    pub fn multiples_of(
        &self,
        trials: &[Self],
        other: &str,
        figure: impl Fn(&R) -> Option<f64>,
    ) -> Option<Spread> {
        let other = trials.iter().find(|trial| trial.contender == other)?;
        Spread::of(self.rounds.iter().zip(&other.rounds).filter_map(|pair| match pair {
            (Outcome::Measured(own), Outcome::Measured(other)) => {
                Some(figure(own)? / figure(other).filter(|&figure| figure > 0.0)?)
            }
            _ => None,
        }))
    }

    /// What arrived in all rounds that gave figures.
    pub fn arrivals<'a>(&'a self, tally: impl Fn(&'a R) -> &'a Tally) -> Arrivals {
        let mut latencies = Latencies::default();
        let (mut delivered, mut expected) = (0, 0);
        for tally in self.measured().map(tally) {
            latencies.merge(&tally.latencies);
            delivered += tally.delivered;
            expected += tally.expected;
        }
        Arrivals { latency: latencies.percentiles(), delivered, expected }
    }

    /// Whether there are figures of every round, and all are as they should be.
    pub fn is_good(&self, is_good: impl FnMut(&R) -> bool) -> bool {
        self.failures().next().is_none() && self.measured().all(is_good)
    }
}

/// What is to be said of each round: why it failed, or what `words` finds.
pub fn remarks<R>(trials: &[Trial<R>], words: impl Fn(&R) -> Vec<String>) -> Vec<String> {
    let mut remarks = Vec::new();
    for trial in trials {
        for (number, outcome) in trial.rounds.iter().enumerate() {
            let words = match outcome {
                Outcome::Failed(reason) => vec![format!("failed: {reason}")],
                Outcome::Measured(round) => words(round),
            };
            let of = format!("{}, round {}", trial.contender, number + 1);
            remarks.extend(words.into_iter().map(|words| format!("{of}: {words}")));
        }
    }
    remarks
}

/// What went wrong with deliveries, in words.
pub fn faults(tally: &Tally) -> Option<String> {
    if tally.is_flawless() {
        return None;
    }
    let counts = [
        (tally.lost, "lost"),
        (tally.repeated, "repeated"),
        (tally.reordered, "out of order"),
        (tally.foreign, "altered or foreign"),
        (tally.gaps_stated, "gaps stated by the server"),
        (tally.disconnected, "streams ended early"),
    ];
    let words = counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
    Some(words.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_multiple_compares_the_same_round() {
        let trial = |contender, rounds: &[Option<f64>]| Trial {
            contender,
            configuration: None,
            rounds: rounds
                .iter()
                .map(|round| round.map_or(Outcome::Failed("no".to_owned()), Outcome::Measured))
                .collect(),
        };
        let trials =
            [trial("own", &[Some(6.0), None, Some(9.0)]), trial("other", &[Some(3.0), Some(1.0), Some(2.0)])];
        let multiples = |other| trials[0].multiples_of(&trials, other, |&figure| Some(figure));
        assert_eq!(multiples("other"), Spread::of([2.0, 4.5]));
        assert_eq!(multiples("nobody"), None);
    }

    #[test]
    fn faults_are_named_and_a_flawless_tally_has_none() {
        let good = Tally { expected: 2, delivered: 2, ..Tally::default() };
        assert_eq!(faults(&good), None);
        let bad = Tally { delivered: 1, lost: 1, disconnected: 3, ..good };
        assert_eq!(faults(&bad).unwrap(), "1 lost, 3 streams ended early");
    }

    #[test]
    fn each_round_is_remarked_by_its_number() {
        let trial = Trial {
            contender: "own",
            configuration: None,
            rounds: vec![Outcome::Measured(3), Outcome::Failed("no".to_owned())],
        };
        let remarks = remarks(&[trial], |figure: &u32| vec![format!("{figure} lost"), "slow".to_owned()]);
        assert_eq!(remarks, ["own, round 1: 3 lost", "own, round 1: slow", "own, round 2: failed: no"]);
    }
}
