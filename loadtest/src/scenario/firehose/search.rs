//! Finds the rate at which a server is saturated: the most that it sustains.
//!
//! Climbs from a rate that everybody bears, in steps of a fixed time, until a step is not sustained; then halves the ratio
//! between the greatest rate that was and the least that was not. How busy the server is does not end the climb, nor how
//! busy the load generator is: who sends, or reads, several messages at once is busy early and does more with the same CPU
//! the more there is to do.
//!
//! Decides only; whoever asks takes the steps.

use serde::Serialize;

/// What came of publishing at one rate for a while.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Step {
    pub rate: f64,
    /// Everything was delivered, as it should be and in time.
    pub is_sustained: bool,
    /// The share of its CPUs that the server used; none where it cannot be observed.
    pub server_busy: Option<f64>,
    pub generator_share: f64,
    pub p99_ms: Option<f64>,
}

/// Where a search ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// The greatest rate that was sustained.
    pub rate: f64,
    pub limit: Limit,
    pub steps: Vec<Step>,
}

/// Who could not do more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    Server,
    LoadGenerator,
    /// Nobody, up to the greatest rate that is tried.
    Nobody,
}

#[derive(Debug, Default)]
pub struct Search {
    steps: Vec<Step>,
}

#[derive(Debug, PartialEq)]
pub enum Next {
    Try(f64),
    Found(Found),
    /// Not even the least rate was sustained.
    Hopeless,
}

impl Search {
    /// The rate to begin with.
    pub const START: f64 = 400.0;

    pub fn after(&mut self, step: Step) -> Next {
        self.steps.push(step);
        let sustained = self.steps.iter().filter(|step| step.is_sustained);
        let low = sustained.map(|step| step.rate).fold(0.0, f64::max);
        let too_high = self.steps.iter().filter(|step| !step.is_sustained);
        let high = too_high.min_by(|one, other| one.rate.total_cmp(&other.rate)).copied();
        match high {
            None if low >= RATE_MAX => self.found(low, Limit::Nobody),
            None => Next::Try((low * stride(&step)).min(RATE_MAX)),
            Some(high) if low == 0.0 && high.rate < RATE_MIN => Next::Hopeless,
            Some(high) if low == 0.0 => Next::Try(high.rate / 4.0),
            Some(high) if high.rate / low <= PRECISION => {
                let is_own = high.generator_share > GENERATOR_SHARE_MAX;
                self.found(low, if is_own { Limit::LoadGenerator } else { Limit::Server })
            }
            Some(high) => Next::Try((low * high.rate).sqrt()),
        }
    }

    fn found(&mut self, rate: f64, limit: Limit) -> Next {
        Next::Found(Found { rate, limit, steps: std::mem::take(&mut self.steps) })
    }
}

/// How much more to ask for after a step that was sustained.
fn stride(step: &Step) -> f64 {
    let busiest = step.server_busy.unwrap_or(1.0).max(step.generator_share);
    if busiest < 0.6 { 2.0 } else { 1.4 }
}

const RATE_MIN: f64 = 1.0;
const RATE_MAX: f64 = 1e7;
/// The ratio of two rates that are near enough to each other.
const PRECISION: f64 = 1.08;
const GENERATOR_SHARE_MAX: f64 = crate::window::GENERATOR_SHARE_MAX;

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches a server that sustains `most`, of a generator that is used up at `generator`.
    fn search(most: f64, generator: f64) -> Next {
        let mut search = Search::default();
        let mut rate = Search::START;
        for _ in 0..100 {
            let step = Step {
                rate,
                is_sustained: rate <= most.min(generator * 1.2),
                server_busy: Some((rate / most).min(1.0)),
                generator_share: rate / generator,
                p99_ms: None,
            };
            match search.after(step) {
                Next::Try(next) => rate = next,
                end => return end,
            }
        }
        panic!("the search has an end");
    }

    #[test]
    fn the_greatest_sustained_rate_is_found_whatever_it_is() {
        for most in [2.0, 300.0, 400.0, 1_234.0, 65_000.0, 2e6] {
            let Next::Found(found) = search(most, 1e9) else { panic!("{most}") };
            assert_eq!(found.limit, Limit::Server);
            assert!(found.rate <= most && most / found.rate <= PRECISION, "{most}: {}", found.rate);
            assert!(found.steps.len() < 30, "{} steps", found.steps.len());
        }
    }

    #[test]
    fn it_says_when_the_load_generator_was_the_limit() {
        let Next::Found(found) = search(1e6, 50_000.0) else { panic!("not found") };
        assert_eq!(found.limit, Limit::LoadGenerator);
        assert!(found.rate <= 60_000.0 && found.rate > 54_000.0, "{}", found.rate);
    }

    #[test]
    fn it_ends_where_nobody_is_the_limit_and_where_nothing_is_sustained() {
        let Next::Found(found) = search(1e12, 1e12) else { panic!("not found") };
        assert_eq!((found.rate, found.limit), (RATE_MAX, Limit::Nobody));
        assert_eq!(search(0.0, 1e12), Next::Hopeless);
    }
}
