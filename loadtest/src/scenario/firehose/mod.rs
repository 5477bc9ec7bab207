//! One channel, few subscribers, as many messages as go through: what one CPU can deliver when it may send several
//! messages at once, and how long they take.
//!
//! First the rate is searched that the server sustains, then each round measures at that rate for a while. Messages are due
//! in small batches on a fixed schedule, whether or not the earlier ones have arrived, and latency counts from when a
//! message was due. With `--load` all contenders are measured at the same part of what the slowest of them sustains.

pub mod search;
pub mod session;

use std::time::Duration;

use serde::Serialize;

use crate::arguments::{FirehoseArguments, Rate};
use crate::contender::Contender;
use crate::report::{Align, Report, Table, milliseconds, share, spread, thousands};
use crate::scenario::Bench;
use crate::scenario::trial::{Arrivals, Trial, faults, remarks};
use crate::statistics::Spread;
use crate::trouble::Trouble;

use search::{Found, Limit, Next, Search, Step};
use session::{Session, Stretch};

/// The figures of one contender in one round.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    pub deliveries_per_second: f64,
    pub deliveries_per_cpu_second: Option<f64>,
    #[serde(flatten)]
    pub stretch: Stretch,
}

#[derive(Debug, Serialize)]
struct Summary {
    contender: &'static str,
    /// None with a rate that was given.
    search: Option<Found>,
    rate: Option<f64>,
    deliveries_per_second: Option<Spread>,
    deliveries_per_cpu_second: Option<Spread>,
    server_busy: Option<Spread>,
    #[serde(flatten)]
    arrivals: Arrivals,
}

pub fn run(arguments: &FirehoseArguments) -> Result<bool, Trouble> {
    let (bench, contenders) = Bench::new(&arguments.common, 1)?;
    let searches: Vec<Result<Option<Found>, String>> = contenders
        .iter()
        .map(|contender| match arguments.rate {
            Rate::Fixed(_) => Ok(None),
            Rate::Auto => {
                search(&bench, arguments, contender).map(Some).map_err(|trouble| trouble.to_string())
            }
        })
        .collect();
    let rates = rates(arguments, &searches);
    let trials = bench.take_turns(
        &contenders,
        |bench, contender| {
            let index = contenders.iter().position(|other| other.name() == contender.name());
            match index.map(|index| &rates[index]) {
                Some(Ok(rate)) => round(bench, arguments, contender, *rate),
                Some(Err(reason)) => Err(Trouble::Swarm(reason.clone())),
                None => unreachable!("a round is of one of the contenders"),
            }
        },
        tell,
    );
    let summaries: Vec<Summary> =
        trials.iter().zip(searches).map(|(trial, search)| summary(trial, search)).collect();
    let mut limits: Vec<String> = summaries.iter().filter_map(limit_of_generator).collect();
    limits.extend(remarks(&trials, words));
    let title = format!(
        "firehose: {} subscribers of one channel, {} bytes a message, batches due every {} us; {} rounds of {} s",
        thousands(arguments.common.connections as u64),
        arguments.common.payload,
        arguments.batch_interval.as_micros(),
        arguments.common.rounds,
        arguments.duration.as_secs_f64(),
    );
    let is_good = trials.iter().all(is_good);
    Report { scenario: "firehose", title, table: table(&summaries), remarks: limits, trials, summaries }
        .show(&bench)?;
    Ok(is_good)
}

/// The rate of each contender's rounds.
fn rates(
    arguments: &FirehoseArguments,
    searches: &[Result<Option<Found>, String>],
) -> Vec<Result<f64, String>> {
    let own = |search: &Result<Option<Found>, String>| match (search, arguments.rate) {
        (Ok(Some(found)), _) => Ok(found.rate),
        (Ok(None), Rate::Fixed(rate)) => Ok(rate),
        (Ok(None), Rate::Auto) => unreachable!("an automatic rate is searched"),
        (Err(reason), _) => Err(reason.clone()),
    };
    let rates: Vec<_> = searches.iter().map(own).collect();
    let Some(load) = arguments.load else { return rates };
    let least = rates.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    rates.into_iter().map(|rate| rate.map(|_| least * load)).collect()
}

/// Finds the greatest rate that `contender` sustains.
fn search(bench: &Bench, arguments: &FirehoseArguments, contender: &Contender) -> Result<Found, Trouble> {
    bench.progress.tell(&format!("{}: looking for the rate that it sustains", contender.name()));
    let mut prober = Prober { bench, arguments, contender, session: None };
    let (mut search, mut rate) = (Search::default(), Search::START);
    let mut found = loop {
        let mut step = prober.probe(rate, arguments.step)?;
        if !step.is_sustained {
            // A moment of the machine's can spoil so short a step.
            step = prober.probe(rate, arguments.step)?;
        }
        match search.after(step) {
            Next::Try(next) => rate = next,
            Next::Found(found) => break found,
            Next::Hopeless => return Err(Trouble::Swarm(format!("sustains no rate: at last {step:?}"))),
        }
    };
    // What is borne for a moment need not be borne for long.
    for _ in 0..HOLDS_MAX {
        let step = prober.probe(found.rate, HOLD_STEPS * arguments.step)?;
        found.steps.push(step);
        if step.is_sustained {
            return Ok(found);
        }
        found.rate *= HOLD_FACTOR;
    }
    Err(Trouble::Swarm(format!("sustains no rate for long: {} a second at last", rounded(found.rate))))
}

/// Tries rates on one contender, with the same server as long as that takes no harm.
struct Prober<'a> {
    bench: &'a Bench,
    arguments: &'a FirehoseArguments,
    contender: &'a Contender,
    session: Option<Session<'a>>,
}

impl Prober<'_> {
    fn probe(&mut self, rate: f64, span: Duration) -> Result<Step, Trouble> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => Session::start(self.bench, self.arguments, self.contender)?,
        };
        let stretch = session.stretch(rate, span, LAG_MAX)?;
        let p99_ms = stretch.latency.map(|latency| latency.p99_ms);
        let p99_max_ms = 1e3 * self.arguments.p99_max.as_secs_f64();
        let is_quick = p99_ms.is_some_and(|p99| p99 <= p99_max_ms);
        let is_sustained = stretch.has_kept_up && stretch.tally.is_flawless() && is_quick;
        let (server_busy, generator_share) = (stretch.server_busy, stretch.usage.generator_share);
        // What has lost or still owes something is not asked for more.
        self.session = stretch.tally.is_flawless().then_some(session);
        self.bench.progress.tell(&format!(
            "{}: {} a second: server {}, load generator {:.0} %, p99 {} ms{}",
            self.contender.name(),
            rounded(rate),
            percent(server_busy),
            100.0 * generator_share,
            p99_ms.map_or_else(|| "-".to_owned(), |p99| format!("{p99:.2}")),
            if is_sustained { "" } else { ": too much" },
        ));
        Ok(Step { rate, is_sustained, server_busy, generator_share, p99_ms })
    }
}

fn round(
    bench: &Bench,
    arguments: &FirehoseArguments,
    contender: &Contender,
    rate: f64,
) -> Result<Round, Trouble> {
    let mut session = Session::start(bench, arguments, contender)?;
    let warm_up = session.stretch(rate, arguments.step, ROUND_LAG_MAX)?;
    if let Some(faults) = faults(&warm_up.tally) {
        return Err(Trouble::Swarm(format!("while warming up: {faults}")));
    }
    let stretch = session.stretch(rate, arguments.duration, ROUND_LAG_MAX)?;
    bench.progress.step();
    let delivered = real(stretch.tally.delivered);
    Ok(Round {
        deliveries_per_second: delivered / stretch.usage.wall_seconds.max(1e-9),
        deliveries_per_cpu_second: stretch
            .usage
            .server_cpu_seconds
            .filter(|&seconds| seconds > 0.0)
            .map(|seconds| delivered / seconds),
        stretch,
    })
}

/// How far behind what was due the subscribers may be before a step of the search is given up: soon enough that no
/// server has to give them up.
const LAG_MAX: Duration = Duration::from_millis(100);
/// The same in a round.
const ROUND_LAG_MAX: Duration = Duration::from_secs(2);

/// How much longer than a step of the search the rate must be borne that was found, and how much less is tried if not.
const HOLD_STEPS: u32 = 4;
const HOLD_FACTOR: f64 = 0.9;
const HOLDS_MAX: usize = 20;

fn tell(round: &Round) -> String {
    let Round { deliveries_per_second, deliveries_per_cpu_second, stretch } = round;
    format!(
        "{:.2} M deliveries a second, {} M per CPU-second, server {}, p99 {} ms",
        deliveries_per_second / 1e6,
        deliveries_per_cpu_second.map_or_else(|| "-".to_owned(), |count| format!("{:.2}", count / 1e6)),
        percent(stretch.server_busy),
        stretch.latency.map_or_else(|| "-".to_owned(), |latency| format!("{:.2}", latency.p99_ms)),
    )
}

fn summary(trial: &Trial<Round>, search: Result<Option<Found>, String>) -> Summary {
    let of = |figure: fn(&Round) -> Option<f64>| Spread::of(trial.measured().filter_map(figure));
    Summary {
        contender: trial.contender,
        search: search.ok().flatten(),
        rate: trial.measured().next().map(|round| round.stretch.rate),
        deliveries_per_second: of(|round| Some(round.deliveries_per_second)),
        deliveries_per_cpu_second: of(|round| round.deliveries_per_cpu_second),
        server_busy: of(|round| round.stretch.server_busy),
        arrivals: trial.arrivals(|round| &round.stretch.tally),
    }
}

fn table(summaries: &[Summary]) -> Table {
    let mut table = Table::new(&[
        ("contender", Align::Left),
        ("messages/s", Align::Right),
        ("M deliveries/s", Align::Right),
        ("M per CPU-second", Align::Right),
        ("server busy %", Align::Right),
        ("p50 ms", Align::Right),
        ("p99 ms", Align::Right),
        ("p99.9 ms", Align::Right),
        ("max ms", Align::Right),
        ("delivered", Align::Right),
    ]);
    for summary in summaries {
        let latency = |figure| milliseconds(summary.arrivals.latency, figure);
        table.row(vec![
            summary.contender.to_owned(),
            summary.rate.map_or_else(|| "-".to_owned(), rounded),
            spread(summary.deliveries_per_second, 1e-6, 2),
            spread(summary.deliveries_per_cpu_second, 1e-6, 2),
            spread(summary.server_busy, 1e2, 0),
            latency(|latency| latency.p50_ms),
            latency(|latency| latency.p99_ms),
            latency(|latency| latency.p999_ms),
            latency(|latency| latency.max_ms),
            share(summary.arrivals.delivered, summary.arrivals.expected),
        ]);
    }
    table
}

/// Whether every round was measured and every message delivered as it should be.
fn is_good(trial: &Trial<Round>) -> bool {
    trial.is_good(|Round { stretch, .. }| stretch.has_kept_up && stretch.tally.is_flawless())
}

fn limit_of_generator(summary: &Summary) -> Option<String> {
    match summary.search {
        Some(Found { limit: Limit::LoadGenerator, rate, .. }) => Some(format!(
            "{}: the load generator was the limit at {} messages/s; the server may do more",
            summary.contender,
            rounded(rate)
        )),
        _ => None,
    }
}

fn words(Round { stretch, .. }: &Round) -> Vec<String> {
    // Not whether the server had to wait for its CPU: under such a load its threads wait for each other.
    let mut words: Vec<String> = stretch.usage.generator_remark().into_iter().collect();
    if !stretch.has_kept_up {
        words.push("the subscribers fell behind what was due".to_owned());
    }
    words.extend(faults(&stretch.tally));
    words
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", 100.0 * share))
}

// A rate is at most ten million.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn rounded(rate: f64) -> String {
    thousands(rate.round() as u64)
}

// Exact: counts of a run are far below 2^52.
#[allow(clippy::cast_precision_loss)]
fn real(count: u64) -> f64 {
    count as f64
}
