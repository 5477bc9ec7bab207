//! Fan-out to ever more subscribers of one channel, one message at a time: whether a delivery costs the same when there
//! are many more of them. A round of `fanout` for each number of subscribers, all else being the same.

use serde::Serialize;

use crate::arguments::{ContenderName, CurveArguments, FanoutArguments};
use crate::contender::Contender;
use crate::report::{Align, Report, Table, share, spread, thousands};
use crate::scenario::trial::{Trial, remarks};
use crate::scenario::{Bench, fanout};
use crate::statistics::Spread;
use crate::trouble::Trouble;

/// The figures of one contender in one round: one part for each number of subscribers.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    pub parts: Vec<Part>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Part {
    pub connections: usize,
    #[serde(flatten)]
    pub round: fanout::Round,
}

#[derive(Debug, Serialize)]
struct Summary {
    contender: &'static str,
    connections: usize,
    cpu_nanos_per_delivery: Option<Spread>,
    /// The same as a multiple of the one with the fewest subscribers in the same round.
    multiple_of_first: Option<Spread>,
    delivered: u64,
    expected: u64,
}

pub fn run(arguments: &CurveArguments) -> Result<bool, Trouble> {
    let sizes = &arguments.sizes;
    let most = sizes.iter().copied().max().unwrap_or_default();
    let fanout = FanoutArguments {
        messages: arguments.messages,
        warm_up: arguments.warm_up,
        rate: None,
        common: arguments.common.clone(),
    };
    let steps = (arguments.warm_up + arguments.messages) * sizes.len() as u64;
    let (bench, contenders) = Bench::new(&arguments.common.or_contenders(&[ContenderName::Courier]), steps)?;
    let trials = bench.take_turns(
        &contenders,
        |bench, contender| round(bench, &fanout, sizes, contender),
        |round| {
            let figure = |part: &Part| {
                let nanos = part.round.cpu_nanos_per_delivery;
                nanos.map_or_else(|| "-".to_owned(), |nanos| format!("{:.2}", nanos / 1e3))
            };
            let figures: Vec<String> = round.parts.iter().map(figure).collect();
            format!("{} us of CPU per delivery", figures.join(", "))
        },
    );
    let summaries: Vec<Summary> =
        trials.iter().flat_map(|trial| (0..sizes.len()).map(|at| summary(trial, at, sizes[at]))).collect();
    let title = format!(
        "curve: up to {} subscribers of one channel, {} bytes a message; {} rounds of {} messages, one at a time",
        thousands(most as u64),
        arguments.common.payload,
        arguments.common.rounds,
        arguments.messages,
    );
    let is_flawless = trials.iter().all(is_good);
    let (table, remarks) = (table(&summaries), remarks(&trials, words));
    Report { scenario: "curve", title, table, remarks, trials, summaries }.show(&bench)?;
    Ok(is_flawless)
}

fn round(
    bench: &Bench,
    fanout: &FanoutArguments,
    sizes: &[usize],
    contender: &Contender,
) -> Result<Round, Trouble> {
    let part = |&connections: &usize| {
        Ok(Part { connections, round: fanout::round(bench, fanout, connections, contender)? })
    };
    Ok(Round { parts: sizes.iter().map(part).collect::<Result<_, Trouble>>()? })
}

fn summary(trial: &Trial<Round>, at: usize, connections: usize) -> Summary {
    let figure = |round: &Round, at: usize| round.parts[at].round.cpu_nanos_per_delivery;
    let multiple = |round: &Round| Some(figure(round, at)? / figure(round, 0)?);
    let tallies = || trial.measured().map(|round| &round.parts[at].round.tally);
    Summary {
        contender: trial.contender,
        connections,
        cpu_nanos_per_delivery: Spread::of(trial.measured().filter_map(|round| figure(round, at))),
        multiple_of_first: Spread::of(trial.measured().filter_map(multiple)),
        delivered: tallies().map(|tally| tally.delivered).sum(),
        expected: tallies().map(|tally| tally.expected).sum(),
    }
}

fn table(summaries: &[Summary]) -> Table {
    let mut table = Table::new(&[
        ("contender", Align::Left),
        ("subscribers", Align::Right),
        ("CPU us per delivery", Align::Right),
        ("x first", Align::Right),
        ("delivered", Align::Right),
    ]);
    for summary in summaries {
        table.row(vec![
            summary.contender.to_owned(),
            thousands(summary.connections as u64),
            spread(summary.cpu_nanos_per_delivery, 1e-3, 2),
            spread(summary.multiple_of_first, 1.0, 2),
            share(summary.delivered, summary.expected),
        ]);
    }
    table
}

/// Whether every round was measured and every message delivered as it should be.
fn is_good(trial: &Trial<Round>) -> bool {
    let is_good = |part: &Part| part.round.tally.is_flawless() && !part.round.is_cut_short;
    trial.is_good(|round| round.parts.iter().all(is_good))
}

fn words(round: &Round) -> Vec<String> {
    let words = |Part { connections, round }: &Part| {
        let of = format!("{} subscribers", thousands(*connections as u64));
        fanout::words(round).into_iter().map(move |words| format!("{of}: {words}"))
    };
    round.parts.iter().flat_map(words).collect()
}
