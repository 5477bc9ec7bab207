//! Very many subscribers and no message: what a connection costs in memory, and what the server does at rest.
//!
//! Memory is a slope: a quarter of the connections first, then all, and only what came in between is divided by how
//! many came in between. What the program needs anyway drops out.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::arguments::IdleArguments;
use crate::contender::{Contender, Server};
use crate::observe::kernel_slab_bytes;
use crate::report::{Align, Report, Table, spread, thousands};
use crate::scenario::{Bench, Outcome, Trial};
use crate::statistics::Spread;
use crate::swarm::orders::Published;
use crate::trouble::Trouble;
use crate::window::Usage;

/// The figures of one contender in one round.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    pub few: Memory,
    pub all: Memory,
    /// User-space bytes of the server for each further connection.
    pub user_bytes_per_connection: Option<f64>,
    /// Kernel slab bytes of the machine for each further connection: both ends, if the subscribers are on it too.
    pub kernel_bytes_per_connection: f64,
    /// The server at rest, with all connections.
    pub rest: Usage,
}

/// Memory with so many connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    pub connections: usize,
    pub user_bytes: Option<u64>,
    pub kernel_slab_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Summary {
    contender: &'static str,
    user_bytes_per_connection: Option<Spread>,
    kernel_bytes_per_connection: Option<Spread>,
    user_bytes_in_all: Option<Spread>,
    rest_cpu_seconds: Option<Spread>,
}

pub fn run(arguments: &IdleArguments) -> Result<bool, Trouble> {
    if arguments.common.connections < CONNECTIONS_MIN {
        return Err(Trouble::Usage(format!("a slope needs at least {CONNECTIONS_MIN} connections")));
    }
    let (bench, contenders) = Bench::new(&arguments.common, STEPS)?;
    let trials = bench.take_turns(
        &contenders,
        |bench, contender| round(bench, arguments, contender),
        |round| match round.user_bytes_per_connection {
            Some(bytes) => format!("{bytes:.0} bytes a connection"),
            None => "connected; its memory cannot be observed".to_owned(),
        },
    );
    let summaries: Vec<Summary> = trials.iter().map(summary).collect();
    let is_good = trials.iter().all(|trial| trial.failures().next().is_none());
    let title = format!(
        "idle: {} connections without messages, {} rounds of {} s at rest",
        thousands(arguments.common.connections as u64),
        arguments.common.rounds,
        arguments.rest.as_secs_f64(),
    );
    let (table, remarks) = (table(&summaries), remarks(&trials));
    Report { scenario: "idle", title, table, remarks, trials, summaries }.show(&bench)?;
    Ok(is_good)
}

const CONNECTIONS_MIN: usize = 8;
const STEPS: u64 = 3;

fn round(bench: &Bench, arguments: &IdleArguments, contender: &Contender) -> Result<Round, Trouble> {
    let connections = arguments.common.connections;
    let mut server = contender.start(&bench.placement, connections)?;
    let mut swarm = bench.swarm(&server, bench.shared_channel(connections), 0)?;
    bench.connect(&mut swarm, &mut server, connections / 4)?;
    let few = settled(&server, connections / 4)?;
    bench.progress.step();
    bench.connect(&mut swarm, &mut server, connections)?;
    let all = settled(&server, connections)?;
    bench.progress.step();
    bench.progress.say("at rest");
    let window = bench.window(&server, &swarm)?;
    std::thread::sleep(arguments.rest);
    let rest = window.close()?;
    bench.progress.step();
    server.check()?;
    let (tally, _) = swarm.finish(&Published::ToAll(0))?;
    if tally.disconnected > 0 {
        return Err(Trouble::Swarm(format!("{} streams ended while nothing happened", tally.disconnected)));
    }
    let further = all.connections - few.connections;
    let slope = |few: u64, all: u64| (real(all) - real(few)) / real(further as u64);
    Ok(Round {
        user_bytes_per_connection: few.user_bytes.zip(all.user_bytes).map(|(few, all)| slope(few, all)),
        kernel_bytes_per_connection: slope(few.kernel_slab_bytes, all.kernel_slab_bytes),
        few,
        all,
        rest,
    })
}

/// Memory when it has come to rest: two looks in a row that agree, or the last one.
pub(super) fn settled(server: &Server, connections: usize) -> Result<Memory, Trouble> {
    let deadline = Instant::now() + SETTLE_TIMEOUT;
    let look = || {
        Ok(Memory {
            connections,
            user_bytes: server.observer.user_bytes()?,
            kernel_slab_bytes: kernel_slab_bytes()?,
        })
    };
    let mut last: Memory = look()?;
    loop {
        std::thread::sleep(SETTLE_INTERVAL);
        let memory = look()?;
        let kernel_moved = memory.kernel_slab_bytes.abs_diff(last.kernel_slab_bytes);
        let is_settled = memory.user_bytes == last.user_bytes && kernel_moved <= SLAB_NOISE_BYTES;
        if is_settled || Instant::now() >= deadline {
            return Ok(memory);
        }
        last = memory;
    }
}

const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
const SETTLE_INTERVAL: Duration = Duration::from_millis(250);
/// What the rest of the machine moves in a quarter of a second.
const SLAB_NOISE_BYTES: u64 = 256 * 1_024;

fn summary(trial: &Trial<Round>) -> Summary {
    let of = |figure: fn(&Round) -> Option<f64>| Spread::of(trial.measured().filter_map(figure));
    Summary {
        contender: trial.contender,
        user_bytes_per_connection: of(|round| round.user_bytes_per_connection),
        kernel_bytes_per_connection: of(|round| Some(round.kernel_bytes_per_connection)),
        user_bytes_in_all: of(|round| round.all.user_bytes.map(real)),
        rest_cpu_seconds: of(|round| round.rest.server_cpu_seconds),
    }
}

fn table(summaries: &[Summary]) -> Table {
    let mut table = Table::new(&[
        ("contender", Align::Left),
        ("user bytes a connection", Align::Right),
        ("user MiB in all", Align::Right),
        ("kernel bytes a connection", Align::Right),
        ("CPU ms at rest", Align::Right),
    ]);
    for summary in summaries {
        table.row(vec![
            summary.contender.to_owned(),
            spread(summary.user_bytes_per_connection, 1.0, 0),
            spread(summary.user_bytes_in_all, 1.0 / 1_048_576.0, 1),
            spread(summary.kernel_bytes_per_connection, 1.0, 0),
            spread(summary.rest_cpu_seconds, 1e3, 2),
        ]);
    }
    table
}

fn remarks(trials: &[Trial<Round>]) -> Vec<String> {
    let mut remarks = Vec::new();
    for trial in trials {
        for (number, outcome) in trial.rounds.iter().enumerate() {
            if let Outcome::Failed(reason) = outcome {
                remarks.push(format!("{}, round {}: failed: {reason}", trial.contender, number + 1));
            }
        }
    }
    remarks.push(
        "kernel bytes are slab memory of the whole machine: sockets, files and epoll items of both ends"
            .to_owned(),
    );
    remarks
}

// Exact: bytes of a machine are below 2^52.
#[allow(clippy::cast_precision_loss)]
fn real(count: u64) -> f64 {
    count as f64
}
