//! A few subscribers of one channel that read all they get, and one that reads far too slowly: whether the others notice,
//! and what becomes of the slow one.
//!
//! Phases without it and phases with it take turns in the same run of the server, so that both meet the same machine.
//! When a phase with it is over, it reads whatever is there, as a phone does that has its network back; if the server has
//! given it up meanwhile, it comes back with its last id. Then it must have, or have been told that it lacks, every message
//! since it came: it is the one for whom a server is tempted to lose something in silence.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::arguments::SlowArguments;
use crate::contender::{Contender, Server};
use crate::payload::{Payload, Stamp};
use crate::publisher::Publisher;
use crate::report::{Align, Report, Table, milliseconds, share, thousands};
use crate::scenario::jitter::only_who_can_resume;
use crate::scenario::trial::{Trial, faults, remarks};
use crate::scenario::{Bench, Manner};
use crate::statistics::{Latencies, Percentiles};
use crate::swarm::Swarm;
use crate::swarm::orders::{Look, Published, Tally};
use crate::swarm::resume::{Resume, Returns};
use crate::sys;
use crate::trouble::Trouble;
use crate::window::Usage;

/// The figures of one contender in one round.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    pub phases: Vec<Phase>,
    /// Of the others, all phases of a kind together.
    pub without: Option<Percentiles>,
    pub with: Option<Percentiles>,
}

/// A stretch of time without or with the slow subscribers.
#[derive(Debug, Clone, Serialize)]
pub struct Phase {
    pub published: u64,
    /// Of those that are not slow.
    pub latency: Option<Percentiles>,
    pub tally: Tally,
    pub usage: Usage,
    /// The most that it was seen to have.
    pub server_user_bytes: Option<u64>,
    /// In a phase with them.
    pub slow: Option<Slow>,
}

/// What became of the slow ones.
#[derive(Debug, Clone, Serialize)]
pub struct Slow {
    /// Messages that each of them had to get, and those that all of them got.
    pub published: u64,
    pub delivered: u64,
    /// Of the rest: messages that a gap was stated for, and messages lost without a word.
    pub stated: u64,
    pub silent: u64,
    /// Messages that they did not have when there was no more patience.
    pub awaited: u64,
    pub repeated: u64,
    /// Connections that the server says it ended because they were behind; none where it does not say.
    pub given_up: Option<f64>,
    pub returns: Returns,
}

#[derive(Debug, Serialize)]
struct Summary {
    contender: &'static str,
    without: Option<Percentiles>,
    with: Option<Percentiles>,
    delivered: u64,
    expected: u64,
    slow_delivered: u64,
    slow_stated: u64,
    slow_silent: u64,
    slow_given_up: u64,
}

pub fn run(arguments: &SlowArguments) -> Result<bool, Trouble> {
    let common = only_who_can_resume(&arguments.common)?;
    let (bench, contenders) = Bench::new(&common, 2 * u64::from(arguments.phases))?;
    let trials = bench.take_turns(
        &contenders,
        |bench, contender| round(bench, arguments, contender),
        |round| {
            let p99 = |latency: Option<Percentiles>| latency.map_or(f64::NAN, |latency| latency.p99_ms);
            format!("p99 {:.2} ms without, {:.2} ms with", p99(round.without), p99(round.with))
        },
    );
    let summaries: Vec<Summary> = trials.iter().map(summary).collect();
    let title = format!(
        "slow: {} subscribers of one channel, and {} that read {} bytes a second, {} bytes a message, {} messages a \
         second; {} phases of {} s without and as many with the slow",
        thousands(common.connections as u64),
        arguments.slow,
        thousands(arguments.slow_bytes),
        thousands(common.payload as u64),
        arguments.rate,
        u32::from(arguments.phases) * u32::from(common.rounds),
        arguments.phase.as_secs_f64(),
    );
    let is_good = trials.iter().all(is_good);
    let (table, remarks) = (table(&summaries), remarks(&trials, words));
    Report { scenario: "slow", title, table, remarks, trials, summaries }.show(&bench)?;
    Ok(is_good)
}

fn round(bench: &Bench, arguments: &SlowArguments, contender: &Contender) -> Result<Round, Trouble> {
    let others = arguments.common.connections;
    let mut server = contender.start(&bench.placement, others + arguments.slow)?;
    let mut swarm = bench.swarm(&server, bench.shared_channel(others), 0)?;
    bench.connect(&mut swarm, &mut server, others)?;
    let mut publisher = Publisher::connect(&server.intake, Payload::new(arguments.common.payload))?;
    let mut feed = Feed { bench, arguments, publisher: &mut publisher, next: 0 };
    // Nobody is slow to warm up.
    feed.publish_for(WARM_UP, &server)?;
    swarm.wait_for(feed.next, arguments.common.patience)?;
    swarm.cut(feed.next)?;
    let mut phases = Vec::new();
    for _ in 0..arguments.phases {
        bench.progress.say("without the slow");
        phases.push(phase(&mut feed, &mut swarm, &server)?);
        bench.progress.step();
        bench.progress.say("with the slow");
        phases.push(phase_with_slow(&mut feed, &mut swarm, &mut server)?);
        bench.progress.step();
        server.check()?;
    }
    let of = |is_with: bool| {
        let mut latencies = Latencies::default();
        phases.iter().filter(|phase| phase.slow.is_some() == is_with).for_each(|phase| {
            latencies.merge(&phase.tally.latencies);
        });
        latencies.percentiles()
    };
    let (without, with) = (of(false), of(true));
    Ok(Round { phases, without, with })
}

const WARM_UP: Duration = Duration::from_millis(500);

/// Publishes for one phase; what the others had.
fn phase(feed: &mut Feed<'_>, swarm: &mut Swarm, server: &Server) -> Result<Phase, Trouble> {
    let before = feed.next;
    let window = feed.bench.window(server, swarm)?;
    let server_user_bytes = feed.publish_for(feed.arguments.phase, server)?;
    swarm.wait_for(feed.next, feed.arguments.common.patience)?;
    let usage = window.close()?;
    let (tally, latencies) = swarm.cut(feed.next)?;
    let latency = latencies.percentiles();
    Ok(Phase { published: feed.next - before, latency, tally, usage, server_user_bytes, slow: None })
}

/// The same while the slow ones are there, and then what became of them.
fn phase_with_slow(feed: &mut Feed<'_>, swarm: &mut Swarm, server: &mut Server) -> Result<Phase, Trouble> {
    let (bench, arguments) = (feed.bench, feed.arguments);
    let bytes = usize::try_from(arguments.slow_bytes / SIPS_A_SECOND).unwrap_or(usize::MAX);
    let manner = Manner {
        look: Look::Slowly { every_micros: 1_000_000 / SIPS_A_SECOND, bytes: bytes.min(SIP_BYTES_MAX) },
        resume: Some(Resume { cut_micros: 0, away_micros: 0 }),
        ..bench.usual()
    };
    let first = feed.next;
    let mut slow = bench.swarm_in(server, bench.shared_channel(arguments.slow), first, manner)?;
    bench.connect(&mut slow, server, arguments.slow)?;
    let given_up_before = server.metric(GIVEN_UP)?;
    let mut phase = phase(feed, swarm, server)?;
    slow.hurry()?;
    let deadline = Instant::now() + arguments.common.patience;
    loop {
        // Who was told of a gap at the very end learns how wide it was from the message behind it.
        feed.publish()?;
        swarm.wait_for(feed.next, arguments.common.patience)?;
        let is_there = slow.wait_for(feed.next, TRICKLE)? && slow.returns()?.missing == 0;
        if is_there || Instant::now() >= deadline {
            break;
        }
    }
    let given_up_after = server.metric(GIVEN_UP)?;
    // What came after the phase is nobody's figure.
    let (after, _) = swarm.cut(feed.next)?;
    phase.tally.add(&Tally { expected: 0, delivered: 0, disconnected: 0, ..after });
    let returns = slow.returns()?;
    let (tally, _) = slow.finish(&Published::ToAll(feed.next))?;
    phase.slow = Some(Slow {
        published: feed.next - first,
        delivered: tally.delivered,
        stated: returns.stated,
        silent: returns.silent,
        awaited: tally.lost.saturating_sub(returns.stated + returns.silent),
        repeated: tally.repeated + tally.reordered + tally.foreign,
        given_up: given_up_after.zip(given_up_before).map(|(after, before)| after - before),
        returns,
    });
    Ok(phase)
}

/// How often the slow read.
const SIPS_A_SECOND: u64 = 10;
const SIP_BYTES_MAX: usize = 64 << 10;
/// How courier counts those it gave up.
const GIVEN_UP: &str = "courier_disconnects_total{reason=\"lagged\"}";
/// Between the messages that go on while the slow ones catch up.
const TRICKLE: Duration = Duration::from_millis(200);
const MEMORY_INTERVAL: Duration = Duration::from_secs(1);

/// Publishes messages in order.
struct Feed<'a> {
    bench: &'a Bench,
    arguments: &'a SlowArguments,
    publisher: &'a mut Publisher,
    /// The sequence number of the next message.
    next: u64,
}

impl Feed<'_> {
    /// Publishes for so long by the schedule; the most memory that the server was seen to have meanwhile.
    fn publish_for(&mut self, duration: Duration, server: &Server) -> Result<Option<u64>, Trouble> {
        let (start, start_nanos) = (Instant::now(), sys::monotonic_nanos());
        let (mut number, mut next_look, mut most) = (0, start + MEMORY_INTERVAL, None);
        loop {
            let due = Duration::from_secs_f64(real(number) / self.arguments.rate);
            if due >= duration {
                break;
            }
            std::thread::sleep(due.saturating_sub(start.elapsed()));
            let due_nanos = start_nanos.saturating_add(u64::try_from(due.as_nanos()).unwrap_or(u64::MAX));
            self.publish_due(due_nanos)?;
            number += 1;
            if Instant::now() >= next_look {
                next_look += MEMORY_INTERVAL;
                most = most.max(server.observer.user_bytes()?);
            }
        }
        Ok(most.max(server.observer.user_bytes()?))
    }

    fn publish(&mut self) -> Result<(), Trouble> {
        self.publish_due(sys::monotonic_nanos())
    }

    fn publish_due(&mut self, due_nanos: u64) -> Result<(), Trouble> {
        self.publisher.publish(&self.bench.channel, Stamp { sequence: self.next, due_nanos })?;
        self.next += 1;
        Ok(())
    }
}

fn summary(trial: &Trial<Round>) -> Summary {
    let (mut without, mut with) = (Latencies::default(), Latencies::default());
    let (mut tally, mut slow) = (Tally::default(), [0; 4]);
    for phase in trial.measured().flat_map(|round| &round.phases) {
        let latencies = if phase.slow.is_some() { &mut with } else { &mut without };
        latencies.merge(&phase.tally.latencies);
        tally.add(&phase.tally);
        if let Some(Slow { delivered, stated, silent, returns, .. }) = &phase.slow {
            let counts = [*delivered, *stated, *silent, returns.ended];
            slow.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }
    let [slow_delivered, slow_stated, slow_silent, slow_given_up] = slow;
    Summary {
        contender: trial.contender,
        without: without.percentiles(),
        with: with.percentiles(),
        delivered: tally.delivered,
        expected: tally.expected,
        slow_delivered,
        slow_stated,
        slow_silent,
        slow_given_up,
    }
}

fn table(summaries: &[Summary]) -> Table {
    let mut table = Table::new(&[
        ("contender", Align::Left),
        ("p50 ms without", Align::Right),
        ("with", Align::Right),
        ("p99 ms without", Align::Right),
        ("with", Align::Right),
        ("delivered", Align::Right),
        ("the slow: ended", Align::Right),
        ("had", Align::Right),
        ("stated missing", Align::Right),
        ("lost in silence", Align::Right),
    ]);
    for summary in summaries {
        table.row(vec![
            summary.contender.to_owned(),
            milliseconds(summary.without, |latency| latency.p50_ms),
            milliseconds(summary.with, |latency| latency.p50_ms),
            milliseconds(summary.without, |latency| latency.p99_ms),
            milliseconds(summary.with, |latency| latency.p99_ms),
            share(summary.delivered, summary.expected),
            thousands(summary.slow_given_up),
            thousands(summary.slow_delivered),
            thousands(summary.slow_stated),
            thousands(summary.slow_silent),
        ]);
    }
    table
}

/// Whether the others had everything, and the slow ones everything or a word about it.
fn is_good(trial: &Trial<Round>) -> bool {
    let is_good = |phase: &Phase| phase.tally.is_flawless() && phase.slow.as_ref().is_none_or(is_honest);
    trial.is_good(|round| round.phases.iter().all(is_good))
}

fn is_honest(slow: &Slow) -> bool {
    slow.silent + slow.awaited + slow.repeated == 0
}

fn words(round: &Round) -> Vec<String> {
    let mut words = vec![format!("p99 {}", p99_of_phases(round))];
    for (number, phase) in round.phases.iter().enumerate() {
        let fate = phase.slow.as_ref().map(|slow| fate(slow, phase));
        let of_phase = phase.usage.remarks().into_iter().chain(fate).chain(faults(&phase.tally));
        words.extend(of_phase.map(|words| format!("phase {}: {words}", number + 1)));
    }
    words
}

/// Phase by phase, so that a difference can be told from how far phases of a kind lie apart.
fn p99_of_phases(round: &Round) -> String {
    let of = |is_with: bool| {
        let phases = round.phases.iter().filter(|phase| phase.slow.is_some() == is_with);
        let p99 = |phase: &Phase| {
            phase.latency.map_or_else(|| "-".to_owned(), |latency| format!("{:.2}", latency.p99_ms))
        };
        phases.map(p99).collect::<Vec<_>>().join(", ")
    };
    format!("{} ms without, {} ms with the slow", of(false), of(true))
}

/// What became of the slow ones of a phase, in words.
fn fate(slow: &Slow, phase: &Phase) -> String {
    let gaps: Vec<String> =
        slow.returns.gaps.iter().map(|(reason, count)| format!("{count} gaps {reason}")).collect();
    let memory = phase.server_user_bytes.map_or_else(String::new, |bytes| {
        format!("; the server had at most {} KiB", thousands(bytes / 1_024))
    });
    let given_up = slow.given_up.map_or_else(String::new, |count| format!(" ({count} as lagged)"));
    let faults = if is_honest(slow) {
        String::new()
    } else {
        format!(
            "; {} lost in silence, {} awaited in vain, {} repeated or worse",
            slow.silent, slow.awaited, slow.repeated
        )
    };
    format!(
        "of {} messages the slow had {}, and were told that {} are missing; {} streams ended by the server{given_up}, {} \
         resumed, {}{memory}{faults}",
        thousands(slow.published),
        thousands(slow.delivered),
        thousands(slow.stated),
        slow.returns.ended,
        slow.returns.resumed,
        if gaps.is_empty() { "no gap".to_owned() } else { gaps.join(", ") },
    )
}

// Exact: counts of a run are far below 2^52.
#[allow(clippy::cast_precision_loss)]
fn real(count: u64) -> f64 {
    count as f64
}
