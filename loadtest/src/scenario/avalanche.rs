//! The server ends under all its subscribers and is started again: how long until all are back, and what it costs.
//!
//! Each subscriber does what an EventSource does: it waits as long as the last `retry:` told it, and not a moment longer,
//! then dials with its last id, and again after as long if nobody answers. Nothing paces the dials, so that the queue of
//! the server's listener meets what it would meet. Back is who was told where it stands. The server that was started
//! knows none of the ids, so each has to be told so, once, by a gap; and then one message goes to all, which shows
//! whether they are subscribed and not only answered.
//!
//! Times count from when the old server was gone, which after a SIGTERM is when it has ended its streams.

use std::process::Command;
use std::time::Duration;

use serde::Serialize;

use crate::arguments::{AvalancheArguments, Signal};
use crate::contender::{Contender, Server};
use crate::observe::listen_drops;
use crate::payload::{Payload, Stamp};
use crate::publisher::Publisher;
use crate::report::{Align, Report, Table, share, spread, thousands};
use crate::scenario::jitter::only_who_can_resume;
use crate::scenario::trial::{Trial, faults, remarks};
use crate::scenario::{Bench, Manner};
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
    /// From the signal until the old server was gone, and from then until the new one listened.
    pub ending_seconds: f64,
    pub starting_seconds: f64,
    /// From when it was gone until so many of the subscribers were back; none if fewer are.
    pub half_seconds: Option<f64>,
    pub most_seconds: Option<f64>,
    pub all_seconds: Option<f64>,
    /// How long a subscriber was without a stream.
    pub away: Option<Percentiles>,
    /// Connections that the machine's listeners turned away meanwhile for want of room.
    pub listen_drops: u64,
    /// Of the new server, from when it listened until all were back.
    pub usage: Usage,
    pub returns: Returns,
    /// Of the messages before and the one after.
    pub tally: Tally,
}

#[derive(Debug, Serialize)]
struct Summary {
    contender: &'static str,
    half_seconds: Option<Spread>,
    most_seconds: Option<Spread>,
    all_seconds: Option<Spread>,
    server_cpu_seconds: Option<Spread>,
    refused: u64,
    listen_drops: u64,
    told_once: u64,
    delivered: u64,
    expected: u64,
}

pub fn run(arguments: &AvalancheArguments) -> Result<bool, Trouble> {
    let common = only_who_can_resume(&arguments.common)?;
    if common.target.is_some() != arguments.restart.is_some() {
        return Err(Trouble::Usage(
            "--target and --restart go together: only you know how it is restarted".to_owned(),
        ));
    }
    let (bench, contenders) = Bench::new(&common, STEPS)?;
    let trials = bench.take_turns(
        &contenders,
        |bench, contender| round(bench, arguments, contender),
        |round| match round.all_seconds {
            Some(seconds) => format!("all back after {seconds:.2} s"),
            None => format!("{} are not back", thousands(round.returns.missing)),
        },
    );
    let summaries: Vec<Summary> = trials.iter().map(summary).collect();
    let title = format!(
        "avalanche: {} subscribers of one channel, whose server is {} and started again; {} rounds",
        thousands(common.connections as u64),
        match (arguments.signal, &arguments.restart) {
            (_, Some(_)) => "restarted",
            (Signal::Kill, None) => "killed",
            (Signal::Term, None) => "asked to end",
        },
        common.rounds,
    );
    let is_good = trials.iter().all(|trial| is_good(trial, arguments));
    let (table, remarks) = (table(&summaries), remarks(&trials, |round| words(round, arguments)));
    Report { scenario: "avalanche", title, table, remarks, trials, summaries }.show(&bench)?;
    Ok(is_good)
}

/// All are connected, the server is there again, all are back, all have the message.
const STEPS: u64 = 4;
/// Each has an id of the server's before it goes.
const MESSAGES_BEFORE: u64 = 2;
/// How long a server may take to end: courier's drain window and some time.
const END_PATIENCE: Duration = Duration::from_secs(30);
/// How much longer than they may, subscribers are waited for, so that there is a figure also then.
const RETURN_PATIENCE: Duration = Duration::from_secs(20);

fn round(bench: &Bench, arguments: &AvalancheArguments, contender: &Contender) -> Result<Round, Trouble> {
    let connections = arguments.common.connections;
    let mut server = contender.start(&bench.placement, connections)?;
    let resume = Resume { cut_micros: 0, away_micros: 0 };
    let manner = Manner { resume: Some(resume), ..bench.usual() };
    let mut swarm = bench.swarm_in(&server, bench.shared_channel(connections), 0, manner)?;
    bench.connect(&mut swarm, &mut server, connections)?;
    for sequence in 0..MESSAGES_BEFORE {
        publish(bench, arguments, &server, &mut swarm, sequence)?;
    }
    bench.progress.step();
    bench.progress.say("the server goes");
    let (drops, signalled) = (listen_drops(), sys::monotonic_nanos());
    swarm.mark(signalled)?;
    let (gone, again) = restart(&mut server, arguments)?;
    let window = bench.window(&server, &swarm)?;
    bench.progress.step();
    let (all, patience) = (connections as u64, arguments.within + RETURN_PATIENCE);
    let returns = swarm.wait_for_returns(all, patience, |returns| {
        bench.progress.say(&format!("{} of {all} are back", returns.returned));
    })?;
    let usage = window.close()?;
    bench.progress.step();
    publish(bench, arguments, &server, &mut swarm, MESSAGES_BEFORE)?;
    bench.progress.step();
    server.check()?;
    let listen_drops = listen_drops().saturating_sub(drops);
    let times = Times { signalled, gone, again };
    conclude(swarm, times, connections, listen_drops, usage, all - returns.returned)
}

/// Moments of the monotonic clock.
#[derive(Debug, Clone, Copy)]
struct Times {
    signalled: u64,
    gone: u64,
    again: u64,
}

fn conclude(
    mut swarm: Swarm,
    times: Times,
    connections: usize,
    listen_drops: u64,
    usage: Usage,
    missing: u64,
) -> Result<Round, Trouble> {
    // As it was when they were waited for; all else as it is after the message.
    let returns = Returns { missing, ..swarm.returns()? };
    let mut back = Latencies::default();
    back.merge(&returns.back);
    let ending_seconds = seconds(times.gone.saturating_sub(times.signalled));
    // Nobody is back before the old server is gone.
    let after = |share: f64| {
        let nanos = back.at(share, connections as u64)?;
        Some((seconds(nanos) - ending_seconds).max(0.0))
    };
    let mut away = Latencies::default();
    away.merge(&returns.away);
    let (half_seconds, most_seconds, all_seconds) = (after(0.5), after(0.9), after(1.0));
    let (tally, _) = swarm.finish(&Published::ToAll(MESSAGES_BEFORE + 1))?;
    Ok(Round {
        ending_seconds,
        starting_seconds: seconds(times.again.saturating_sub(times.gone)),
        half_seconds,
        most_seconds,
        all_seconds,
        away: away.percentiles(),
        listen_drops,
        usage,
        returns,
        tally,
    })
}

/// One message to everybody, by a publisher of its own: the server's broker does not outlive it.
fn publish(
    bench: &Bench,
    arguments: &AvalancheArguments,
    server: &Server,
    swarm: &mut Swarm,
    sequence: u64,
) -> Result<(), Trouble> {
    let mut publisher = Publisher::connect(&server.intake, Payload::new(arguments.common.payload))?;
    publisher.publish(&bench.channel, Stamp { sequence, due_nanos: sys::monotonic_nanos() })?;
    swarm.wait_for(sequence + 1, arguments.common.patience)?;
    publisher.look_at_replies()
}

/// When the old server was gone, and when the new one was there.
fn restart(server: &mut Server, arguments: &AvalancheArguments) -> Result<(u64, u64), Trouble> {
    let Some(command) = &arguments.restart else {
        return server.restart(arguments.signal.number(), END_PATIENCE);
    };
    let before = sys::monotonic_nanos();
    let status =
        Command::new("sh").args(["-c", command]).status().map_err(Trouble::doing("run the shell"))?;
    if !status.success() {
        return Err(Trouble::Process(format!("what restarts the server ended with {status}")));
    }
    Ok((before, sys::monotonic_nanos()))
}

fn summary(trial: &Trial<Round>) -> Summary {
    let of = |figure: fn(&Round) -> Option<f64>| Spread::of(trial.measured().filter_map(figure));
    let sum = |count: fn(&Round) -> u64| trial.measured().map(count).sum();
    Summary {
        contender: trial.contender,
        half_seconds: of(|round| round.half_seconds),
        most_seconds: of(|round| round.most_seconds),
        all_seconds: of(|round| round.all_seconds),
        server_cpu_seconds: of(|round| round.usage.server_cpu_seconds),
        refused: sum(|round| round.returns.refused),
        listen_drops: sum(|round| round.listen_drops),
        told_once: sum(|round| round.returns.told[1]),
        delivered: sum(|round| round.tally.delivered),
        expected: sum(|round| round.tally.expected),
    }
}

fn table(summaries: &[Summary]) -> Table {
    let mut table = Table::new(&[
        ("contender", Align::Left),
        ("50 % back s", Align::Right),
        ("90 % s", Align::Right),
        ("100 % s", Align::Right),
        ("server CPU s", Align::Right),
        ("refused", Align::Right),
        ("SYNs dropped", Align::Right),
        ("told of one gap", Align::Right),
        ("delivered", Align::Right),
    ]);
    for summary in summaries {
        table.row(vec![
            summary.contender.to_owned(),
            spread(summary.half_seconds, 1.0, 2),
            spread(summary.most_seconds, 1.0, 2),
            spread(summary.all_seconds, 1.0, 2),
            spread(summary.server_cpu_seconds, 1.0, 2),
            thousands(summary.refused),
            thousands(summary.listen_drops),
            thousands(summary.told_once),
            share(summary.delivered, summary.expected),
        ]);
    }
    table
}

fn is_good(trial: &Trial<Round>, arguments: &AvalancheArguments) -> bool {
    trial.is_good(|round| shortcomings(round, arguments).is_empty())
}

/// What was not as it should be, in words.
fn shortcomings(round: &Round, arguments: &AvalancheArguments) -> Vec<String> {
    let mut words: Vec<String> = faults(&round.tally).into_iter().collect();
    let Returns { missing, told: [untold, _, told_again], .. } = round.returns;
    match round.all_seconds {
        Some(seconds) if seconds <= arguments.within.as_secs_f64() => {}
        Some(seconds) => words.push(format!("the last was back only after {seconds:.2} s")),
        None => words.push(format!("{} are not back", thousands(missing))),
    }
    if untold > 0 {
        words.push(format!("{} were not told that their ids are of another server", thousands(untold)));
    }
    if told_again > 0 {
        words.push(format!("{} were told so more than once", thousands(told_again)));
    }
    for (reason, count) in round.returns.gaps.iter().filter(|(reason, _)| *reason != UNKNOWN_EPOCH) {
        words.push(format!("{} gaps for another reason: {reason}", thousands(*count)));
    }
    words
}

/// What a server says that did not give the id.
const UNKNOWN_EPOCH: &str = "unknown-epoch";

fn words(round: &Round, arguments: &AvalancheArguments) -> Vec<String> {
    let mut words = round.usage.remarks();
    let away = round.away.map_or_else(String::new, |away| {
        let (p50, p99) = (away.p50_ms / 1e3, away.p99_ms / 1e3);
        format!("; without a stream {p50:.2} s (p50), {p99:.2} s (p99)")
    });
    let (ending, starting) = (round.ending_seconds, round.starting_seconds);
    words.push(format!("gone after {ending:.2} s, there again {starting:.2} s later{away}"));
    words.extend(shortcomings(round, arguments));
    words
}

// Exact: nanoseconds of a run are far below 2^52.
#[allow(clippy::cast_precision_loss)]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
