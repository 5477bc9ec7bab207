//! Very many channels with one subscriber each, and messages to random ones at a fixed rate: what a delivery costs when
//! nothing is shared, and what a channel costs in memory.
//!
//! Open loop: messages are due on a schedule, whether or not the server keeps up, and latency counts from then. The
//! publisher writes what has come due every `--pace`, as a client that pipelines does. Each channel counts its own
//! messages, so each subscriber knows of loss, repeats and order. Memory is a slope, as in `idle`: a connection together
//! with its channel.

use std::fmt::Write;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::arguments::{ContenderName, SpreadArguments};
use crate::contender::{Contender, NCHAN, RING_LOOP};
use crate::payload::{Payload, Stamp};
use crate::publisher::Publisher;
use crate::report::{Align, Report, Table, milliseconds, share, spread, thousands};
use crate::scenario::Bench;
use crate::scenario::idle::{Memory, SETTLE, settled};
use crate::scenario::trial::{Arrivals, Trial, faults, remarks};
use crate::statistics::{Percentiles, Spread};
use crate::swarm::orders::{Published, Tally};
use crate::sys;
use crate::trouble::Trouble;
use crate::window::Usage;

/// The figures of one contender in one round.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    pub few: Memory,
    pub all: Memory,
    /// Behind the last message: what the server keeps of them is in it.
    pub after_messages: Memory,
    /// User-space bytes of the server for each further connection with its channel, before any message.
    pub user_bytes_per_channel: Option<f64>,
    /// Messages in the window, and in all with those that warmed up.
    pub published: u64,
    pub published_in_all: u64,
    /// What the publisher achieved in the window.
    pub messages_per_second: f64,
    pub cpu_nanos_per_delivery: Option<f64>,
    pub latency: Option<Percentiles>,
    pub usage: Usage,
    /// Of all messages; the latencies are of the window.
    pub tally: Tally,
}

#[derive(Debug, Serialize)]
struct Summary {
    contender: &'static str,
    cpu_nanos_per_delivery: Option<Spread>,
    multiple_of_ring_loop: Option<Spread>,
    multiple_of_nchan: Option<Spread>,
    messages_per_second: Option<Spread>,
    user_bytes_per_channel: Option<Spread>,
    #[serde(flatten)]
    arrivals: Arrivals,
}

pub fn run(arguments: &SpreadArguments) -> Result<bool, Trouble> {
    if arguments.common.connections < CONNECTIONS_MIN {
        return Err(Trouble::Usage(format!("a slope needs at least {CONNECTIONS_MIN} connections")));
    }
    let common = arguments.common.or_contenders(&[ContenderName::Courier, ContenderName::RingLoop]);
    let (bench, contenders) = Bench::new(&common, STEPS)?;
    let contenders: Vec<Contender> =
        contenders.into_iter().map(Contender::with_own_channels).collect::<Result<_, _>>()?;
    let trials = bench.take_turns(
        &contenders,
        |bench, contender| round(bench, arguments, contender),
        |round| {
            let rate = round.messages_per_second;
            match round.cpu_nanos_per_delivery {
                Some(nanos) => format!("{:.2} us of CPU per delivery at {rate:.0} a second", nanos / 1e3),
                None => format!("{rate:.0} a second; its CPU cannot be observed"),
            }
        },
    );
    let mut remarks = remarks(&trials, |round| words(round, arguments));
    remarks.push(
        "user bytes a channel are those of a connection together with its channel, before any message; `idle` says \
         what the connection has of them"
            .to_owned(),
    );
    let summaries: Vec<Summary> = trials.iter().map(|trial| summary(trial, &trials)).collect();
    let title = format!(
        "spread: {} channels with one subscriber each, {} bytes a message; {} rounds of {} s, {} messages a second to \
         random channels",
        thousands(arguments.common.connections as u64),
        arguments.common.payload,
        arguments.common.rounds,
        arguments.duration.as_secs_f64(),
        arguments.rate,
    );
    let is_flawless = trials.iter().all(is_good);
    Report { scenario: "spread", title, table: table(&summaries), remarks, trials, summaries }
        .show(&bench)?;
    Ok(is_flawless)
}

const CONNECTIONS_MIN: usize = 8;
/// A quarter is connected, all are, all is warm, all has been published.
const STEPS: u64 = 4;

fn round(bench: &Bench, arguments: &SpreadArguments, contender: &Contender) -> Result<Round, Trouble> {
    let connections = arguments.common.connections;
    let mut server = contender.start(&bench.placement, connections)?;
    let mut swarm = bench.swarm(&server, bench.own_channels(connections), 0)?;
    bench.connect(&mut swarm, &mut server, connections / 4)?;
    let few = settled(&server, connections / 4, SETTLE)?;
    bench.progress.step();
    bench.connect(&mut swarm, &mut server, connections)?;
    let all = settled(&server, connections, SETTLE)?;
    bench.progress.step();
    let publisher = Publisher::connect(&server.intake, Payload::new(arguments.common.payload))?;
    let mut feed = Feed::new(bench, arguments, publisher);
    bench.progress.say("warming up");
    feed.publish_for(arguments.warm_up)?;
    let warm = feed.published;
    swarm.wait_for_count(warm, arguments.common.patience)?;
    swarm.forget_latencies()?;
    bench.progress.step();
    bench.progress.say("publishing");
    let window = bench.window(&server, &swarm)?;
    let took = feed.publish_for(arguments.duration)?;
    let published = feed.published - warm;
    let arrived = swarm.wait_for_count(feed.published, arguments.common.patience)?;
    let usage = window.close()?;
    feed.publisher.look_at_replies()?;
    let after_messages = settled(&server, connections, SETTLE)?;
    bench.progress.step();
    server.check()?;
    let (tally, latencies) = swarm.finish(&Published::ToEach(feed.sequences))?;
    let further = real((all.connections - few.connections) as u64);
    Ok(Round {
        user_bytes_per_channel: few
            .user_bytes
            .zip(all.user_bytes)
            .map(|(few, all)| (real(all) - real(few)) / further),
        few,
        all,
        after_messages,
        published,
        published_in_all: feed.published,
        messages_per_second: real(published) / took.as_secs_f64(),
        cpu_nanos_per_delivery: usage
            .server_cpu_seconds
            .filter(|_| arrived > warm)
            .map(|seconds| seconds * 1e9 / real(arrived - warm)),
        latency: latencies.percentiles(),
        usage,
        tally,
    })
}

/// Publishes to random channels on a schedule.
struct Feed<'a> {
    bench: &'a Bench,
    publisher: Publisher,
    interval_nanos: f64,
    pace: Duration,
    /// How many messages each channel has had.
    sequences: Vec<u64>,
    published: u64,
    random: u64,
    channel: String,
}

impl<'a> Feed<'a> {
    fn new(bench: &'a Bench, arguments: &SpreadArguments, publisher: Publisher) -> Self {
        Self {
            bench,
            publisher,
            interval_nanos: 1e9 / arguments.rate,
            pace: arguments.pace,
            sequences: vec![0; arguments.common.connections],
            published: 0,
            random: 0,
            channel: String::new(),
        }
    }

    /// Publishes for so long by the schedule; how long it really took.
    fn publish_for(&mut self, duration: Duration) -> Result<Duration, Trouble> {
        let (start, start_nanos) = (Instant::now(), sys::monotonic_nanos());
        let total = count(duration, self.interval_nanos);
        let mut sent = 0;
        while sent < total {
            let due = count(start.elapsed(), self.interval_nanos).min(total);
            // What has come due while the last write waited goes in pieces, so that replies are read in between.
            for _ in 0..(due - sent).min(WRITE_MESSAGES_MAX) {
                self.add(start_nanos.saturating_add(nanos(sent, self.interval_nanos)));
                sent += 1;
            }
            self.publisher.flush()?;
            if sent == due {
                std::thread::sleep(self.pace);
            }
        }
        Ok(start.elapsed())
    }

    /// Adds one message to a random channel.
    // Hot: once per message.
    fn add(&mut self, due_nanos: u64) {
        let channels = self.sequences.len() as u64;
        let number = usize::try_from(self.next_random() % channels).expect("an index of the channels");
        self.channel.clear();
        // A string takes every number.
        let _ = write!(self.channel, "{}.{number}", self.bench.channel);
        let sequence = self.sequences[number];
        self.publisher.add(&self.channel, Stamp { sequence, due_nanos });
        self.sequences[number] += 1;
        self.published += 1;
    }

    /// SplitMix64: the same channels in the same order in every run.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.random;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

/// Messages of one write: 64 KiB of those of 100 bytes.
const WRITE_MESSAGES_MAX: u64 = 400;

/// How many messages are due after `elapsed`.
// Exact: no run has 2^52 messages.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn count(elapsed: Duration, interval_nanos: f64) -> u64 {
    (elapsed.as_secs_f64() * 1e9 / interval_nanos) as u64
}

/// When message `number` is due.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn nanos(number: u64, interval_nanos: f64) -> u64 {
    (real(number) * interval_nanos) as u64
}

fn summary(trial: &Trial<Round>, trials: &[Trial<Round>]) -> Summary {
    let of = |figure: fn(&Round) -> Option<f64>| Spread::of(trial.measured().filter_map(figure));
    let cost = |round: &Round| round.cpu_nanos_per_delivery;
    Summary {
        contender: trial.contender,
        cpu_nanos_per_delivery: of(cost),
        multiple_of_ring_loop: trial.multiples_of(trials, RING_LOOP, cost),
        multiple_of_nchan: trial.multiples_of(trials, NCHAN, cost),
        messages_per_second: of(|round| Some(round.messages_per_second)),
        user_bytes_per_channel: of(|round| round.user_bytes_per_channel),
        arrivals: trial.arrivals(|round| &round.tally),
    }
}

fn table(summaries: &[Summary]) -> Table {
    let mut table = Table::new(&[
        ("contender", Align::Left),
        ("CPU us per delivery", Align::Right),
        ("x io_uring loop", Align::Right),
        ("x nchan", Align::Right),
        ("messages a second", Align::Right),
        ("user bytes a channel", Align::Right),
        ("p50 ms", Align::Right),
        ("p99 ms", Align::Right),
        ("p99.9 ms", Align::Right),
        ("delivered", Align::Right),
    ]);
    for summary in summaries {
        let latency = |figure| milliseconds(summary.arrivals.latency, figure);
        table.row(vec![
            summary.contender.to_owned(),
            spread(summary.cpu_nanos_per_delivery, 1e-3, 2),
            spread(summary.multiple_of_ring_loop, 1.0, 2),
            spread(summary.multiple_of_nchan, 1.0, 2),
            spread(summary.messages_per_second, 1.0, 0),
            spread(summary.user_bytes_per_channel, 1.0, 0),
            latency(|latency| latency.p50_ms),
            latency(|latency| latency.p99_ms),
            latency(|latency| latency.p999_ms),
            share(summary.arrivals.delivered, summary.arrivals.expected),
        ]);
    }
    table
}

/// Whether every round was measured and every message delivered as it should be.
fn is_good(trial: &Trial<Round>) -> bool {
    trial.is_good(|round| round.tally.is_flawless())
}

fn words(round: &Round, arguments: &SpreadArguments) -> Vec<String> {
    let rate = round.messages_per_second;
    let is_short = rate < arguments.rate * RATE_SHARE_MIN;
    let short = is_short.then(|| format!("only {rate:.0} messages a second were taken"));
    round.usage.remarks().into_iter().chain(short).chain(faults(&round.tally)).collect()
}

/// Below this share of the rate that was asked for, it says so.
const RATE_SHARE_MIN: f64 = 0.99;

// Exact: counts of a run are far below 2^52.
#[allow(clippy::cast_precision_loss)]
fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_neither_gains_nor_loses_messages() {
        let interval = 1e9 / 50_000.0;
        assert_eq!(count(Duration::from_secs(20), interval), 1_000_000);
        for number in [0, 1, 999_999] {
            let due = Duration::from_nanos(nanos(number, interval));
            assert_eq!(count(due + Duration::from_nanos(1), interval), number, "{number} is due at its time");
        }
    }
}
