//! Very many subscribers and hardly a message: what a connection costs in memory, before any message and after a few,
//! and what the server does at rest.
//!
//! Memory is a slope: a quarter of the connections first, then all, and only what came in between is divided by how
//! many came in between. What the server needs without any connection is a figure of its own. Each look waits until
//! memory has come to rest: what a server gives back after a storm is not what a connection costs.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::arguments::IdleArguments;
use crate::contender::{Contender, Server};
use crate::observe::kernel_slab_bytes;
use crate::payload::{Payload, Stamp};
use crate::publisher::Publisher;
use crate::report::{Align, Report, Table, spread, thousands};
use crate::scenario::Bench;
use crate::scenario::trial::{Trial, remarks};
use crate::statistics::Spread;
use crate::swarm::Swarm;
use crate::swarm::orders::Published;
use crate::sys;
use crate::trouble::Trouble;
use crate::window::Usage;

/// The figures of one contender in one round.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    pub none: Memory,
    pub few: Memory,
    pub all: Memory,
    /// With all connections, when each had the messages.
    pub after_messages: Memory,
    /// User-space bytes of the server for each further connection.
    pub user_bytes_per_connection: Option<f64>,
    /// The same when all but the few had the messages as well: what these leave behind counts in full.
    pub user_bytes_per_connection_after_messages: Option<f64>,
    /// Kernel slab bytes of the machine for each further connection: both ends, if the subscribers are on it too.
    pub kernel_bytes_per_connection: f64,
    /// CPU time of the server for each message and subscriber.
    pub cpu_nanos_per_delivery: Option<f64>,
    /// The server at rest, with all connections.
    pub rest: Usage,
    pub heartbeats: Option<Heartbeats>,
}

/// Memory with so many connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    pub connections: usize,
    pub user_bytes: Option<u64>,
    pub kernel_slab_bytes: u64,
}

/// What came at rest when the server was told to send heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Heartbeats {
    pub count: u64,
    pub cpu_nanos_each: Option<f64>,
    /// The largest share of them that came in the same twentieth of the interval.
    pub largest_share: f64,
}

#[derive(Debug, Serialize)]
struct Summary {
    contender: &'static str,
    user_bytes_per_connection: Option<Spread>,
    user_bytes_per_connection_after_messages: Option<Spread>,
    user_bytes_without_connections: Option<Spread>,
    user_bytes_in_all: Option<Spread>,
    kernel_bytes_per_connection: Option<Spread>,
    rest_cpu_seconds: Option<Spread>,
    rest_runs: Option<Spread>,
}

pub fn run(arguments: &IdleArguments) -> Result<bool, Trouble> {
    if arguments.common.connections < CONNECTIONS_MIN {
        return Err(Trouble::Usage(format!("a slope needs at least {CONNECTIONS_MIN} connections")));
    }
    let (bench, contenders) = Bench::new(&arguments.common, STEPS)?;
    let trials = bench.take_turns(
        &contenders,
        |bench, contender| round(bench, arguments, contender),
        |round| match (round.user_bytes_per_connection, round.user_bytes_per_connection_after_messages) {
            (Some(before), Some(after)) => {
                format!("{before:.0} bytes a connection, {after:.0} after messages")
            }
            _ => "connected; its memory cannot be observed".to_owned(),
        },
    );
    let summaries: Vec<Summary> = trials.iter().map(summary).collect();
    let is_good = trials.iter().all(|trial| trial.failures().next().is_none());
    let title = format!(
        "idle: {} connections, {} messages, {} rounds of {} s at rest",
        thousands(arguments.common.connections as u64),
        arguments.messages,
        arguments.common.rounds,
        arguments.rest.as_secs_f64(),
    );
    let mut remarks = remarks(&trials, words);
    remarks.push(
        "kernel bytes are slab memory of the whole machine: sockets, files and epoll items of both ends"
            .to_owned(),
    );
    let table = table(&summaries);
    Report { scenario: "idle", title, table, remarks, trials, summaries }.show(&bench)?;
    Ok(is_good)
}

const CONNECTIONS_MIN: usize = 8;
const STEPS: u64 = 5;

fn round(bench: &Bench, arguments: &IdleArguments, contender: &Contender) -> Result<Round, Trouble> {
    let connections = arguments.common.connections;
    let mut server = contender.start(&bench.placement, connections)?;
    let none = settled(&server, 0, arguments.settle)?;
    bench.progress.step();
    let mut swarm = bench.swarm(&server, bench.shared_channel(connections), 0)?;
    // 5,000 of 18,000, and as a rule a quarter.
    let some = (connections / 4).min(FEW_MAX);
    bench.connect(&mut swarm, &mut server, some)?;
    let few = settled(&server, some, arguments.settle)?;
    bench.progress.step();
    bench.connect(&mut swarm, &mut server, connections)?;
    let all = settled(&server, connections, arguments.settle)?;
    bench.progress.step();
    let cpu_nanos_per_delivery = publish(bench, arguments, &server, &mut swarm)?;
    let after_messages = settled(&server, connections, arguments.settle)?;
    bench.progress.step();
    bench.progress.say("at rest");
    let beats = swarm.beats()?;
    let window = bench.window(&server, &swarm)?;
    std::thread::sleep(arguments.rest);
    let rest = window.close()?;
    let beats = swarm.beats()?.since(&beats);
    bench.progress.step();
    server.check()?;
    let (tally, _) = swarm.finish(&Published::ToAll(arguments.messages))?;
    if !tally.is_flawless() {
        return Err(Trouble::Swarm(format!(
            "{} of {} messages arrived, {} streams ended",
            tally.delivered, tally.expected, tally.disconnected
        )));
    }
    let user_slope = |all: Memory| Some(slope(few, all, few.user_bytes?, all.user_bytes?));
    Ok(Round {
        user_bytes_per_connection: user_slope(all),
        user_bytes_per_connection_after_messages: user_slope(after_messages),
        kernel_bytes_per_connection: slope(few, all, few.kernel_slab_bytes, all.kernel_slab_bytes),
        cpu_nanos_per_delivery,
        none,
        few,
        all,
        after_messages,
        rest,
        heartbeats: (beats.count() > 0).then(|| Heartbeats {
            count: beats.count(),
            cpu_nanos_each: rest.server_cpu_seconds.map(|seconds| seconds * 1e9 / real(beats.count())),
            largest_share: real(beats.most()) / real(beats.count()),
        }),
    })
}

/// From where on the slope is taken, at most.
const FEW_MAX: usize = 5_000;

fn slope(few: Memory, all: Memory, few_bytes: u64, all_bytes: u64) -> f64 {
    (real(all_bytes) - real(few_bytes)) / real((all.connections - few.connections) as u64)
}

/// The messages, one at a time; the server's CPU for each delivery.
fn publish(
    bench: &Bench,
    arguments: &IdleArguments,
    server: &Server,
    swarm: &mut Swarm,
) -> Result<Option<f64>, Trouble> {
    if arguments.messages == 0 {
        return Ok(None);
    }
    bench.progress.say("messages");
    let mut publisher = Publisher::connect(&server.intake, Payload::new(arguments.common.payload))?;
    let window = bench.window(server, swarm)?;
    for sequence in 0..arguments.messages {
        publisher.publish(&bench.channel, Stamp { sequence, due_nanos: sys::monotonic_nanos() })?;
        if !swarm.wait_for(sequence + 1, arguments.common.patience)? {
            return Err(Trouble::Swarm(format!("message {} did not reach everybody in time", sequence + 1)));
        }
    }
    let deliveries = arguments.messages * arguments.common.connections as u64;
    publisher.look_at_replies()?;
    Ok(window.close()?.server_cpu_seconds.map(|seconds| seconds * 1e9 / real(deliveries)))
}

/// Memory when it has come to rest: when it has not moved for so long, or as it is when patience ends.
pub(super) fn settled(server: &Server, connections: usize, settle: Duration) -> Result<Memory, Trouble> {
    let start = Instant::now();
    let look = || {
        Ok(Memory {
            connections,
            user_bytes: server.observer.user_bytes()?,
            kernel_slab_bytes: kernel_slab_bytes()?,
        })
    };
    let (mut last, mut since): (Memory, Instant) = (look()?, start);
    while since.elapsed() < settle && start.elapsed() < settle + SETTLE_TIMEOUT {
        std::thread::sleep(SETTLE_INTERVAL);
        let memory = look()?;
        if memory.user_bytes != last.user_bytes {
            since = Instant::now();
        }
        last = memory;
    }
    Ok(last)
}

/// How long is long, where it is not asked for.
pub(super) const SETTLE: Duration = Duration::from_secs(3);
/// How much longer than asked for memory may take to come to rest.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(15);
const SETTLE_INTERVAL: Duration = Duration::from_millis(250);

fn summary(trial: &Trial<Round>) -> Summary {
    let of = |figure: fn(&Round) -> Option<f64>| Spread::of(trial.measured().filter_map(figure));
    Summary {
        contender: trial.contender,
        user_bytes_per_connection: of(|round| round.user_bytes_per_connection),
        user_bytes_per_connection_after_messages: of(|round| round.user_bytes_per_connection_after_messages),
        user_bytes_without_connections: of(|round| round.none.user_bytes.map(real)),
        user_bytes_in_all: of(|round| round.after_messages.user_bytes.map(real)),
        kernel_bytes_per_connection: of(|round| Some(round.kernel_bytes_per_connection)),
        rest_cpu_seconds: of(|round| round.rest.server_cpu_seconds),
        rest_runs: of(|round| round.rest.server_runs.map(real)),
    }
}

fn table(summaries: &[Summary]) -> Table {
    let mut table = Table::new(&[
        ("contender", Align::Left),
        ("user bytes a connection", Align::Right),
        ("after messages", Align::Right),
        ("user MiB without any", Align::Right),
        ("kernel bytes a connection", Align::Right),
        ("CPU ms at rest", Align::Right),
        ("runs at rest", Align::Right),
    ]);
    for summary in summaries {
        table.row(vec![
            summary.contender.to_owned(),
            spread(summary.user_bytes_per_connection, 1.0, 0),
            spread(summary.user_bytes_per_connection_after_messages, 1.0, 0),
            spread(summary.user_bytes_without_connections, 1.0 / 1_048_576.0, 1),
            spread(summary.kernel_bytes_per_connection, 1.0, 0),
            spread(summary.rest_cpu_seconds, 1e3, 2),
            spread(summary.rest_runs, 1.0, 0),
        ]);
    }
    table
}

fn words(round: &Round) -> Vec<String> {
    round.heartbeats.iter().map(|beats| heard(round, *beats)).collect()
}

/// What the heartbeats of a round say, in words.
fn heard(round: &Round, beats: Heartbeats) -> String {
    let micros =
        |nanos: Option<f64>| nanos.map_or_else(|| "?".to_owned(), |nanos| format!("{:.2}", nanos / 1e3));
    format!(
        "{} heartbeats of {} us of CPU, where a delivery was {} us; at most {:.1} % in one twentieth of the interval",
        thousands(beats.count),
        micros(beats.cpu_nanos_each),
        micros(round.cpu_nanos_per_delivery),
        100.0 * beats.largest_share,
    )
}

// Exact: bytes of a machine are below 2^52.
#[allow(clippy::cast_precision_loss)]
fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_what_came_in_between_over_how_many_came_in_between() {
        let memory = |connections| Memory { connections, user_bytes: None, kernel_slab_bytes: 0 };
        assert_eq!(slope(memory(5_000), memory(18_000), 1_000_000, 2_300_000), 100.0);
        assert_eq!(slope(memory(1), memory(3), 50, 10), -20.0);
    }
}
