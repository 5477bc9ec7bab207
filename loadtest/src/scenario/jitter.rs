//! Every subscriber's connection cut again and again, each time for a while, and messages that go on meanwhile: whether
//! everybody has every message in the end, and how long somebody who comes back takes to have what the others have.
//!
//! A subscriber cuts its connection with a reset and dials again as an EventSource does, with its last id. Nothing spares
//! the server: who was away when a message came is owed it all the same. A gap that the server states is honest, but with
//! a history that is longer than the absence it is a fault here.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::arguments::{ContenderName, JitterArguments};
use crate::contender::Contender;
use crate::payload::{Payload, Stamp};
use crate::publisher::Publisher;
use crate::report::{Align, Report, Table, milliseconds, share, spread, thousands};
use crate::scenario::trial::{Trial, faults, remarks};
use crate::scenario::{Bench, Manner, micros};
use crate::statistics::{Latencies, Percentiles, Spread};
use crate::swarm::Swarm;
use crate::swarm::orders::{Published, Tally};
use crate::swarm::resume::{Resume, Returns};
use crate::sys;
use crate::trouble::Trouble;
use crate::window::Usage;

/// The figures of one contender in one round.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    pub published: u64,
    /// From dialling until a subscriber had what the others had when it dialled.
    pub caught_up: Option<Percentiles>,
    /// From the end of a stream until the next one had begun.
    pub away: Option<Percentiles>,
    /// Of messages to those who were there.
    pub latency: Option<Percentiles>,
    /// The share of one CPU that the server used.
    pub server_share: Option<f64>,
    pub usage: Usage,
    pub returns: Returns,
    pub tally: Tally,
}

#[derive(Debug, Serialize)]
struct Summary {
    contender: &'static str,
    delivered: u64,
    expected: u64,
    cut: u64,
    gaps_stated: u64,
    lost_in_silence: u64,
    caught_up: Option<Percentiles>,
    latency: Option<Percentiles>,
    server_share: Option<Spread>,
}

pub fn run(arguments: &JitterArguments) -> Result<bool, Trouble> {
    let common = only_who_can_resume(&arguments.common)?;
    let messages = messages(arguments);
    let (bench, contenders) = Bench::new(&common, messages)?;
    let trials = bench.take_turns(
        &contenders,
        |bench, contender| round(bench, arguments, contender),
        |round| {
            let Tally { delivered, expected, .. } = round.tally;
            format!("{} delivered, {} cuts", share(delivered, expected), thousands(round.returns.cut))
        },
    );
    let summaries: Vec<Summary> = trials.iter().map(summary).collect();
    let title = format!(
        "jitter: {} subscribers of one channel, each cut every {} s or so and away for {} s; {} rounds of {} messages, \
         {} a second",
        thousands(common.connections as u64),
        arguments.cut_every.as_secs_f64(),
        arguments.away.as_secs_f64(),
        common.rounds,
        messages,
        arguments.rate,
    );
    let is_flawless = trials.iter().all(is_good);
    let (table, remarks) = (table(&summaries), remarks(&trials, words));
    Report { scenario: "jitter", title, table, remarks, trials, summaries }.show(&bench)?;
    Ok(is_flawless)
}

/// Courier alone if nobody is named; an error if somebody is who cannot go on where a subscriber was.
pub(super) fn only_who_can_resume(
    common: &crate::arguments::Common,
) -> Result<crate::arguments::Common, Trouble> {
    let common = common.or_contenders(&[ContenderName::Courier]);
    let can_resume = |name: &ContenderName| {
        matches!(name, ContenderName::Courier | ContenderName::CourierRedis | ContenderName::Target)
    };
    if !common.contenders.iter().all(can_resume) {
        return Err(Trouble::Usage(
            "the bare loops know no ids, and nchan keeps no messages as it is configured here: they cannot take part"
                .to_owned(),
        ));
    }
    Ok(common)
}

// Exact: no run has 2^52 messages.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn messages(arguments: &JitterArguments) -> u64 {
    (arguments.rate * arguments.duration.as_secs_f64()).ceil() as u64
}

fn round(bench: &Bench, arguments: &JitterArguments, contender: &Contender) -> Result<Round, Trouble> {
    let connections = arguments.common.connections;
    let mut server = contender.start(&bench.placement, connections)?;
    let resume = Resume { cut_micros: micros(arguments.cut_every), away_micros: micros(arguments.away) };
    let manner = Manner { resume: Some(resume), ..bench.usual() };
    let mut swarm = bench.swarm_in(&server, bench.shared_channel(connections), 0, manner)?;
    bench.connect(&mut swarm, &mut server, connections)?;
    let mut publisher = Publisher::connect(&server.intake, Payload::new(arguments.common.payload))?;
    let window = bench.window(&server, &swarm)?;
    swarm.set_cutting(true)?;
    let published = publish(bench, arguments, &mut publisher)?;
    let usage = window.close()?;
    swarm.set_cutting(false)?;
    bench.progress.say("until all are back");
    let away_at_most = Duration::from_micros(resume.away_micros);
    swarm.wait_for_returns(0, away_at_most + arguments.common.patience, |_| {})?;
    swarm.wait_for(published, arguments.common.patience)?;
    publisher.look_at_replies()?;
    server.check()?;
    conclude(swarm, published, usage)
}

fn conclude(mut swarm: Swarm, published: u64, usage: Usage) -> Result<Round, Trouble> {
    let returns = swarm.returns()?;
    let (tally, latencies) = swarm.finish(&Published::ToAll(published))?;
    let percentiles = |buckets| {
        let mut latencies = Latencies::default();
        latencies.merge(buckets);
        latencies.percentiles()
    };
    Ok(Round {
        published,
        caught_up: percentiles(&returns.caught_up),
        away: percentiles(&returns.away),
        latency: latencies.percentiles(),
        server_share: usage.server_cpu_seconds.map(|seconds| seconds / usage.wall_seconds.max(1e-9)),
        usage,
        returns,
        tally,
    })
}

/// Publishes by the schedule, while the subscribers come and go.
fn publish(bench: &Bench, arguments: &JitterArguments, publisher: &mut Publisher) -> Result<u64, Trouble> {
    let (start, start_nanos, total) = (Instant::now(), sys::monotonic_nanos(), messages(arguments));
    for sequence in 0..total {
        let due = Duration::from_secs_f64(real(sequence) / arguments.rate);
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        let due_nanos = start_nanos.saturating_add(u64::try_from(due.as_nanos()).unwrap_or(u64::MAX));
        publisher.publish(&bench.channel, Stamp { sequence, due_nanos })?;
        bench.progress.step();
    }
    Ok(total)
}

fn summary(trial: &Trial<Round>) -> Summary {
    let (mut latencies, mut caught_up) = (Latencies::default(), Latencies::default());
    for round in trial.measured() {
        latencies.merge(&round.tally.latencies);
        caught_up.merge(&round.returns.caught_up);
    }
    let sum = |count: fn(&Round) -> u64| trial.measured().map(count).sum();
    Summary {
        contender: trial.contender,
        delivered: sum(|round| round.tally.delivered),
        expected: sum(|round| round.tally.expected),
        cut: sum(|round| round.returns.cut),
        gaps_stated: sum(|round| round.tally.gaps_stated),
        lost_in_silence: sum(lost_in_silence),
        caught_up: caught_up.percentiles(),
        latency: latencies.percentiles(),
        server_share: Spread::of(trial.measured().filter_map(|round| round.server_share)),
    }
}

/// Also what was missing at the end, behind which no message came.
fn lost_in_silence(round: &Round) -> u64 {
    round.tally.lost.saturating_sub(round.returns.stated)
}

fn table(summaries: &[Summary]) -> Table {
    let mut table = Table::new(&[
        ("contender", Align::Left),
        ("delivered", Align::Right),
        ("cuts", Align::Right),
        ("gaps stated", Align::Right),
        ("lost in silence", Align::Right),
        ("caught up p50 ms", Align::Right),
        ("p99 ms", Align::Right),
        ("live p50 ms", Align::Right),
        ("p99 ms", Align::Right),
        ("server busy %", Align::Right),
    ]);
    for summary in summaries {
        table.row(vec![
            summary.contender.to_owned(),
            share(summary.delivered, summary.expected),
            thousands(summary.cut),
            thousands(summary.gaps_stated),
            thousands(summary.lost_in_silence),
            milliseconds(summary.caught_up, |percentiles| percentiles.p50_ms),
            milliseconds(summary.caught_up, |percentiles| percentiles.p99_ms),
            milliseconds(summary.latency, |percentiles| percentiles.p50_ms),
            milliseconds(summary.latency, |percentiles| percentiles.p99_ms),
            spread(summary.server_share, 1e2, 1),
        ]);
    }
    table
}

/// Whether everybody had everything, and is there.
fn is_good(trial: &Trial<Round>) -> bool {
    trial.is_good(|round| round.tally.is_flawless() && round.returns.missing == 0)
}

fn words(round: &Round) -> Vec<String> {
    let Returns { missing, replayed, resumed, ended, refused, .. } = round.returns;
    let mut words = round.usage.remarks();
    words.push(format!(
        "{} messages came as replay, to {} who came back; {} streams ended by the server, {} attempts came to nothing",
        thousands(replayed),
        thousands(resumed),
        thousands(ended),
        thousands(refused)
    ));
    if missing > 0 {
        words.push(format!("{} are not back, or have not caught up", thousands(missing)));
    }
    words.extend(faults(&round.tally));
    words
}

// Exact: counts of a run are far below 2^52.
#[allow(clippy::cast_precision_loss)]
fn real(count: u64) -> f64 {
    count as f64
}
