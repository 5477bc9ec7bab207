//! An accept storm: very many subscribers come at once. What accepting, answering and subscribing one costs the server,
//! and how many come through in a second.
//!
//! So many connections at a time are on their way that the server has always something to do, but fewer than the queue
//! of its listener holds, so that no SYN is dropped and sent again a second later. That all of them are subscribed and
//! not only answered is seen by messages that go out afterwards, each checked at each.

use serde::Serialize;

use crate::arguments::ConnectArguments;
use crate::contender::{Contender, NCHAN, RING_LOOP};
use crate::payload::{Payload, Stamp};
use crate::publisher::Publisher;
use crate::report::{Align, Report, Table, share, spread, thousands};
use crate::scenario::Bench;
use crate::scenario::trial::{Trial, faults, remarks};
use crate::statistics::Spread;
use crate::swarm::orders::{Published, Tally};
use crate::sys;
use crate::trouble::Trouble;
use crate::window::Usage;

/// The figures of one contender in one round.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    /// Connections that came within the window.
    pub connections: usize,
    pub connections_per_cpu_second: Option<f64>,
    pub connections_per_second: f64,
    pub usage: Usage,
    /// The messages afterwards.
    pub tally: Tally,
}

#[derive(Debug, Serialize)]
struct Summary {
    contender: &'static str,
    connections_per_cpu_second: Option<Spread>,
    multiple_of_ring_loop: Option<Spread>,
    multiple_of_nchan: Option<Spread>,
    connections_per_second: Option<Spread>,
    delivered: u64,
    expected: u64,
}

pub fn run(arguments: &ConnectArguments) -> Result<bool, Trouble> {
    let (bench, contenders) = Bench::new(&arguments.common, 1)?;
    let trials = bench.take_turns(
        &contenders,
        |bench, contender| round(bench, arguments, contender),
        |round| match round.connections_per_cpu_second {
            Some(rate) => format!("{rate:.0} connections a CPU-second"),
            None => format!("{:.0} connections a second", round.connections_per_second),
        },
    );
    let summaries: Vec<Summary> = trials.iter().map(|trial| summary(trial, &trials)).collect();
    let is_good = trials.iter().all(|trial| trial.is_good(|round| round.tally.is_flawless()));
    let title = format!(
        "connect: {} subscribers of one channel, {} at a time for each process; {} rounds",
        thousands(arguments.common.connections as u64),
        arguments.at_once,
        arguments.common.rounds,
    );
    let (table, remarks) = (table(&summaries), remarks(&trials, words));
    Report { scenario: "connect", title, table, remarks, trials, summaries }.show(&bench)?;
    Ok(is_good)
}

fn round(bench: &Bench, arguments: &ConnectArguments, contender: &Contender) -> Result<Round, Trouble> {
    let connections = arguments.common.connections;
    let mut server = contender.start(&bench.placement, connections)?;
    let mut swarm =
        bench.swarm_opening(&server, bench.shared_channel(connections), 0, arguments.at_once.into())?;
    // The first ones find a server that has never done it before.
    let warm_up = connections / WARM_UP_SHARE;
    bench.connect(&mut swarm, &mut server, warm_up)?;
    let window = bench.window(&server, &swarm)?;
    bench.connect(&mut swarm, &mut server, connections)?;
    let usage = window.close()?;
    let payload = Payload::new(arguments.common.payload);
    let mut publisher = Publisher::connect(&server.intake, payload)?;
    for sequence in 0..MESSAGES {
        publisher.publish(&bench.channel, Stamp { sequence, due_nanos: sys::monotonic_nanos() })?;
        swarm.wait_for(sequence + 1, arguments.common.patience)?;
    }
    publisher.look_at_replies()?;
    server.check()?;
    let (tally, _) = swarm.finish(&Published::ToAll(MESSAGES))?;
    bench.progress.step();
    let came = connections - warm_up;
    let per = |seconds: f64| real(came) / seconds;
    Ok(Round {
        connections: came,
        connections_per_cpu_second: usage.server_cpu_seconds.filter(|&seconds| seconds > 0.0).map(per),
        connections_per_second: per(usage.wall_seconds.max(1e-9)),
        usage,
        tally,
    })
}

/// One in so many connections comes before the window.
const WARM_UP_SHARE: usize = 10;
const MESSAGES: u64 = 1;

fn summary(trial: &Trial<Round>, trials: &[Trial<Round>]) -> Summary {
    let figure = |round: &Round| round.connections_per_cpu_second;
    Summary {
        contender: trial.contender,
        connections_per_cpu_second: Spread::of(trial.measured().filter_map(figure)),
        multiple_of_ring_loop: trial.multiples_of(trials, RING_LOOP, figure),
        multiple_of_nchan: trial.multiples_of(trials, NCHAN, figure),
        connections_per_second: Spread::of(trial.measured().map(|round| round.connections_per_second)),
        delivered: trial.measured().map(|round| round.tally.delivered).sum(),
        expected: trial.measured().map(|round| round.tally.expected).sum(),
    }
}

fn table(summaries: &[Summary]) -> Table {
    let mut table = Table::new(&[
        ("contender", Align::Left),
        ("connections a CPU-second", Align::Right),
        ("x io_uring loop", Align::Right),
        ("x nchan", Align::Right),
        ("connections a second", Align::Right),
        ("delivered afterwards", Align::Right),
    ]);
    for summary in summaries {
        table.row(vec![
            summary.contender.to_owned(),
            spread(summary.connections_per_cpu_second, 1.0, 0),
            spread(summary.multiple_of_ring_loop, 1.0, 2),
            spread(summary.multiple_of_nchan, 1.0, 2),
            spread(summary.connections_per_second, 1.0, 0),
            share(summary.delivered, summary.expected),
        ]);
    }
    table
}

fn words(round: &Round) -> Vec<String> {
    round.usage.remarks().into_iter().chain(faults(&round.tally)).collect()
}

// Exact: counts of a run are far below 2^52.
#[allow(clippy::cast_precision_loss)]
fn real(count: usize) -> f64 {
    count as f64
}
