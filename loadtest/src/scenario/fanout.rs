//! One channel, very many subscribers: what a delivery costs the server, and how long it takes.
//!
//! By default one message at a time, the next when all have it: then the figures are those of one sweep over all
//! subscribers, and the latency is mostly the place in that sweep. With a rate, messages are due on a fixed schedule
//! and latency counts from then, whether or not the server (or the publisher) has kept up.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::arguments::FanoutArguments;
use crate::contender::{Contender, NCHAN, RING_LOOP};
use crate::payload::{Payload, Stamp};
use crate::publisher::Publisher;
use crate::report::{Align, Report, Table, milliseconds, share, spread, thousands};
use crate::scenario::Bench;
use crate::scenario::trial::{Arrivals, Trial, faults, remarks};
use crate::statistics::{Percentiles, Spread};
use crate::swarm::Swarm;
use crate::swarm::orders::{Published, Tally};
use crate::sys;
use crate::trouble::Trouble;
use crate::window::Usage;

/// The figures of one contender in one round.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    pub published: u64,
    /// A message took longer than it may, or all of them did; the round went no further.
    pub is_cut_short: bool,
    /// CPU time of the server for each message and subscriber.
    pub cpu_nanos_per_delivery: Option<f64>,
    pub latency: Option<Percentiles>,
    pub usage: Usage,
    pub tally: Tally,
}

#[derive(Debug, Serialize)]
struct Summary {
    contender: &'static str,
    cpu_nanos_per_delivery: Option<Spread>,
    multiple_of_ring_loop: Option<Spread>,
    multiple_of_nchan: Option<Spread>,
    #[serde(flatten)]
    arrivals: Arrivals,
}

pub fn run(arguments: &FanoutArguments) -> Result<bool, Trouble> {
    let (bench, contenders) = Bench::new(&arguments.common, arguments.warm_up + arguments.messages)?;
    let trials = bench.take_turns(
        &contenders,
        |bench, contender| round(bench, arguments, arguments.common.connections, contender),
        |round| match (round.cpu_nanos_per_delivery, round.latency) {
            (Some(nanos), _) => format!("{:.2} us of CPU per delivery", nanos / 1e3),
            (None, Some(latency)) => format!("p99 {:.1} ms", latency.p99_ms),
            (None, None) => "nothing arrived".to_owned(),
        },
    );
    let remarks = remarks(&trials, words);
    let summaries: Vec<Summary> = trials.iter().map(|trial| summary(trial, &trials)).collect();
    let mode = match arguments.rate {
        None => "one at a time".to_owned(),
        Some(rate) => format!("{rate} a second"),
    };
    let title = format!(
        "fanout: {} subscribers of one channel, {} bytes a message; {} rounds of {} messages, {mode}",
        thousands(arguments.common.connections as u64),
        arguments.common.payload,
        arguments.common.rounds,
        arguments.messages,
    );
    let is_flawless = trials.iter().all(is_good);
    let report = Report { scenario: "fanout", title, table: table(&summaries), remarks, trials, summaries };
    report.show(&bench)?;
    Ok(is_flawless)
}

/// Starts the contender, connects so many subscribers, publishes, and checks what arrived.
pub(super) fn round(
    bench: &Bench,
    arguments: &FanoutArguments,
    connections: usize,
    contender: &Contender,
) -> Result<Round, Trouble> {
    let mut server = contender.start(&bench.placement, connections)?;
    let mut swarm = bench.swarm(&server, bench.shared_channel(connections), arguments.warm_up)?;
    bench.connect(&mut swarm, &mut server, connections)?;
    let payload = Payload::new(arguments.common.payload);
    let mut publisher = Publisher::connect(&server.intake, payload)?;
    let mut feed = Feed { bench, arguments, publisher: &mut publisher, swarm: &mut swarm, next: 0 };
    feed.warm_up()?;
    let window = bench.window(&server, feed.swarm)?;
    let is_complete = match arguments.rate {
        None => feed.one_at_a_time(arguments.messages)?,
        Some(rate) => feed.on_schedule(arguments.messages, rate)?,
    };
    let published = feed.next;
    let usage = window.close()?;
    publisher.look_at_replies()?;
    server.check()?;
    let (tally, latencies) = swarm.finish(&Published::ToAll(published))?;
    let cpu_nanos_per_delivery = usage
        .server_cpu_seconds
        .filter(|_| tally.delivered > 0)
        .map(|seconds| seconds * 1e9 / real(tally.delivered));
    let (latency, is_cut_short) = (latencies.percentiles(), !is_complete);
    Ok(Round { published, is_cut_short, cpu_nanos_per_delivery, latency, usage, tally })
}

/// Publishes the messages of one round in order.
struct Feed<'a> {
    bench: &'a Bench,
    arguments: &'a FanoutArguments,
    publisher: &'a mut Publisher,
    swarm: &'a mut Swarm,
    /// The sequence number of the next message.
    next: u64,
}

impl Feed<'_> {
    /// Publishes the messages that do not count. They may get lost: a server may still be joining its subscribers.
    fn warm_up(&mut self) -> Result<(), Trouble> {
        for _ in 0..self.arguments.warm_up {
            self.publish(sys::monotonic_nanos())?;
            self.wait(WARM_UP_PATIENCE.min(self.arguments.common.patience))?;
        }
        Ok(())
    }

    /// Publishes `count` messages, each when all subscribers have the one before; whether all have them all.
    fn one_at_a_time(&mut self, count: u64) -> Result<bool, Trouble> {
        let deadline = Instant::now() + self.arguments.common.round_patience;
        for _ in 0..count {
            self.publish(sys::monotonic_nanos())?;
            // What is missing is counted; more of the same would only take time.
            if !self.wait(self.arguments.common.patience)? || Instant::now() >= deadline {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Publishes `count` messages at `rate` a second, late ones at once; whether all subscribers have them all.
    fn on_schedule(&mut self, count: u64, rate: f64) -> Result<bool, Trouble> {
        let (start, start_nanos) = (Instant::now(), sys::monotonic_nanos());
        let patience = self.arguments.common.round_patience;
        for number in 0..count {
            let due = Duration::from_secs_f64(real(number) / rate);
            if due.max(start.elapsed()) > patience {
                return Ok(false);
            }
            std::thread::sleep(due.saturating_sub(start.elapsed()));
            let due_nanos = u64::try_from(due.as_nanos()).unwrap_or(u64::MAX);
            self.publish(start_nanos.saturating_add(due_nanos))?;
        }
        self.wait(self.arguments.common.patience)
    }

    fn publish(&mut self, due_nanos: u64) -> Result<(), Trouble> {
        self.publisher.publish(&self.bench.channel, Stamp { sequence: self.next, due_nanos })?;
        self.next += 1;
        self.bench.progress.step();
        Ok(())
    }

    fn wait(&mut self, patience: Duration) -> Result<bool, Trouble> {
        self.swarm.wait_for(self.next, patience)
    }
}

const WARM_UP_PATIENCE: Duration = Duration::from_secs(2);

fn summary(trial: &Trial<Round>, trials: &[Trial<Round>]) -> Summary {
    let figure = |round: &Round| round.cpu_nanos_per_delivery;
    Summary {
        contender: trial.contender,
        cpu_nanos_per_delivery: Spread::of(trial.measured().filter_map(figure)),
        multiple_of_ring_loop: trial.multiples_of(trials, RING_LOOP, figure),
        multiple_of_nchan: trial.multiples_of(trials, NCHAN, figure),
        arrivals: trial.arrivals(|round| &round.tally),
    }
}

fn table(summaries: &[Summary]) -> Table {
    let mut table = Table::new(&[
        ("contender", Align::Left),
        ("CPU us per delivery", Align::Right),
        ("x io_uring loop", Align::Right),
        ("x nchan", Align::Right),
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
            spread(summary.cpu_nanos_per_delivery, 1e-3, 2),
            spread(summary.multiple_of_ring_loop, 1.0, 2),
            spread(summary.multiple_of_nchan, 1.0, 2),
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
    trial.is_good(|round| round.tally.is_flawless() && !round.is_cut_short)
}

/// What the figures of a round do not say.
pub(super) fn words(round: &Round) -> Vec<String> {
    let cut = round.is_cut_short.then(|| format!("cut short after message {}", round.published));
    round.usage.remarks().into_iter().chain(cut).chain(faults(&round.tally)).collect()
}

// Exact: counts of a run are far below 2^52.
#[allow(clippy::cast_precision_loss)]
fn real(count: u64) -> f64 {
    count as f64
}
