//! One server with its subscribers and its publisher, and stretches of messages at a fixed rate through all three.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::arguments::FirehoseArguments;
use crate::contender::{Contender, Server};
use crate::payload::{Payload, Stamp};
use crate::publisher::Publisher;
use crate::scenario::{Bench, micros};
use crate::statistics::{Latencies, Percentiles};
use crate::swarm::Swarm;
use crate::swarm::orders::{Look, Tally};
use crate::sys;
use crate::trouble::Trouble;
use crate::window::Usage;

#[derive(Debug)]
pub struct Session<'a> {
    bench: &'a Bench,
    arguments: &'a FirehoseArguments,
    server: Server,
    swarm: Swarm,
    publisher: Publisher,
    /// The sequence number of the next message.
    next: u64,
}

/// What came of one stretch.
#[derive(Debug, Clone, Serialize)]
pub struct Stretch {
    /// Messages a second that were due.
    pub rate: f64,
    pub published: u64,
    /// Whether all subscribers had all messages, never later than they may be.
    pub has_kept_up: bool,
    /// The share of its CPUs that the server used; none where it cannot be observed.
    pub server_busy: Option<f64>,
    pub latency: Option<Percentiles>,
    pub usage: Usage,
    pub tally: Tally,
}

impl<'a> Session<'a> {
    pub fn start(
        bench: &'a Bench,
        arguments: &'a FirehoseArguments,
        contender: &Contender,
    ) -> Result<Self, Trouble> {
        let mut server = contender.start(&bench.placement, arguments.common.connections)?;
        let look = Look::Regularly { every_micros: micros(arguments.common.client_rest) };
        let mut swarm = bench.swarm_looking(
            &server,
            bench.shared_channel(arguments.common.connections),
            WARM_UP,
            look,
        )?;
        bench.connect(&mut swarm, &mut server, arguments.common.connections)?;
        let payload = Payload::new(arguments.common.payload);
        let mut publisher = Publisher::connect(&server.intake, payload)?;
        // These may get lost: a server may still be joining its subscribers.
        for sequence in 0..WARM_UP {
            publisher.publish(&bench.channel, Stamp { sequence, due_nanos: sys::monotonic_nanos() })?;
            swarm.wait_for(sequence + 1, WARM_UP_PATIENCE)?;
        }
        Ok(Self { bench, arguments, server, swarm, publisher, next: WARM_UP })
    }

    /// Publishes at `rate` messages a second for `span`, in batches that are due on a fixed schedule, late ones at once.
    /// Goes no further once the subscribers are `lag_max` behind what was due.
    pub fn stretch(&mut self, rate: f64, span: Duration, lag_max: Duration) -> Result<Stretch, Trouble> {
        let first = self.next;
        let window = self.bench.window(&self.server, &self.swarm)?;
        let (start, start_nanos) = (Instant::now(), sys::monotonic_nanos());
        let interval = self.arguments.batch_interval;
        let (mut due, mut is_in_time) = (Duration::ZERO, true);
        while due < span && is_in_time {
            std::thread::sleep(due.saturating_sub(start.elapsed()));
            let end = first + count(rate * (due + interval).as_secs_f64());
            if end > self.next {
                let due_nanos = start_nanos + u64::try_from(due.as_nanos()).unwrap_or(u64::MAX);
                for sequence in self.next..end {
                    self.publisher.add(&self.bench.channel, Stamp { sequence, due_nanos });
                }
                self.publisher.flush()?;
                self.next = end;
            }
            due += interval;
            let had = self.swarm.frontier()?.saturating_sub(first);
            let overdue = start.elapsed().min(due).saturating_sub(lag_max);
            is_in_time = had >= count(rate * overdue.as_secs_f64());
        }
        let is_complete = self.swarm.wait_for(self.next, self.arguments.common.patience)?;
        let usage = window.close()?;
        self.publisher.look_at_replies()?;
        self.server.check()?;
        let (tally, latencies) = self.swarm.cut(self.next)?;
        Ok(self.result(rate, first, is_complete && is_in_time, usage, tally, &latencies))
    }

    fn result(
        &self,
        rate: f64,
        first: u64,
        has_kept_up: bool,
        usage: Usage,
        tally: Tally,
        latencies: &Latencies,
    ) -> Stretch {
        let cpus = real(self.bench.placement.server.len().max(1) as u64);
        Stretch {
            rate,
            published: self.next - first,
            has_kept_up,
            server_busy: usage
                .server_cpu_seconds
                .map(|seconds| seconds / usage.wall_seconds.max(1e-9) / cpus),
            latency: latencies.percentiles(),
            usage,
            tally,
        }
    }
}

/// Messages before the first that counts.
const WARM_UP: u64 = 5;
const WARM_UP_PATIENCE: Duration = Duration::from_secs(2);

// Exact: counts of a run are far below 2^52.
#[allow(clippy::cast_precision_loss)]
fn real(count: u64) -> f64 {
    count as f64
}

// The same; and neither rates nor times are negative.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn count(real: f64) -> u64 {
    real as u64
}
