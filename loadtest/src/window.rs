//! A span of time that is measured: the server's CPU, and whether the load generator itself was the limit.

use std::time::Instant;

use serde::Serialize;

use crate::machine::Placement;
use crate::observe::{CpuTime, Observer, kernel_network_nanos, process_cpu};
use crate::trouble::Trouble;

#[derive(Debug)]
pub struct Window {
    observer: Observer,
    /// True if the server's threads wait for each other by design.
    is_crowded: bool,
    /// Processes of the load generator; each works on one thread.
    generators: Vec<u32>,
    /// Theirs and the server's.
    placement: Placement,
    opened: Instant,
    server: Option<CpuTime>,
    kernel_network_nanos: u64,
    before: Vec<CpuTime>,
}

/// What happened within a window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Usage {
    pub wall_seconds: f64,
    /// CPU time of the server; none where it cannot be observed.
    pub server_cpu_seconds: Option<f64>,
    /// How long the server's threads waited for a CPU that was busy with something else; none where they have to wait
    /// for each other.
    pub server_wait_seconds: Option<f64>,
    /// How long the kernel's network threads ran on the server's CPUs, which the server mostly waited for.
    pub kernel_network_seconds: f64,
    /// How often one of the server's threads was put on a CPU.
    pub server_runs: Option<u64>,
    /// The share of one CPU that the busiest process of the load generator used, or of their CPUs that all of them
    /// used together, whichever is greater.
    pub generator_share: f64,
}

impl Window {
    /// Opens a window around what `generators` and this process do to the server.
    pub fn open(
        observer: &Observer,
        is_crowded: bool,
        mut generators: Vec<u32>,
        placement: &Placement,
    ) -> Result<Self, Trouble> {
        generators.push(std::process::id());
        let before = generators.iter().map(|&pid| process_cpu(pid)).collect::<Result<_, _>>()?;
        let server = observer.cpu()?;
        Ok(Self {
            observer: observer.clone(),
            is_crowded,
            generators,
            placement: placement.clone(),
            opened: Instant::now(),
            server,
            kernel_network_nanos: kernel_network_nanos(&placement.server),
            before,
        })
    }

    pub fn close(self) -> Result<Usage, Trouble> {
        let wall_seconds = self.opened.elapsed().as_secs_f64();
        let server = self.observer.cpu()?;
        let spent = self.server.zip(server);
        let run = spent.map(|(before, after)| seconds(before.run_nanos, after.run_nanos));
        let wait = spent.and_then(|(before, after)| Some(seconds(before.wait_nanos?, after.wait_nanos?)));
        let wait = wait.filter(|_| !self.is_crowded);
        let server_runs = spent.and_then(|(before, after)| after.runs?.checked_sub(before.runs?));
        let (mut share, mut sum) = (0.0_f64, 0.0);
        for (&pid, before) in self.generators.iter().zip(&self.before) {
            let after = process_cpu(pid)?;
            let used = seconds(before.run_nanos, after.run_nanos) / wall_seconds.max(1e-9);
            (share, sum) = (share.max(used), sum + used);
        }
        if let Some(cpus) = u32::try_from(self.placement.clients.len()).ok().filter(|&cpus| cpus > 0) {
            share = share.max(sum / f64::from(cpus));
        }
        let network_nanos = kernel_network_nanos(&self.placement.server);
        Ok(Usage {
            wall_seconds,
            server_cpu_seconds: run,
            server_wait_seconds: wait,
            kernel_network_seconds: seconds(self.kernel_network_nanos, network_nanos),
            server_runs,
            generator_share: share,
        })
    }
}

impl Usage {
    /// What to say about the window besides its figures, if anything.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks: Vec<_> = self.generator_remark().into_iter().collect();
        if let (Some(wait), Some(run)) = (self.server_wait_seconds, self.server_cpu_seconds)
            && wait - self.kernel_network_seconds > SERVER_WAIT_MAX * run
        {
            remarks.push(format!(
                "the server had to share its CPU: it waited {:.0} ms while it ran {:.0} ms, {:.0} ms of that for the \
                 kernel's network thread",
                1e3 * wait,
                1e3 * run,
                1e3 * self.kernel_network_seconds
            ));
        }
        remarks
    }

    /// The part of it that holds also when the server's own threads keep each other waiting.
    pub fn generator_remark(&self) -> Option<String> {
        (self.generator_share > GENERATOR_SHARE_MAX).then(|| {
            format!(
                "the load generator was the limit: it used {:.0} % of its CPU; latencies and rates are its own",
                100.0 * self.generator_share
            )
        })
    }
}

/// Above this the generator, not the server, decides the figures.
pub const GENERATOR_SHARE_MAX: f64 = 0.85;
/// Waiting for this share of the time that it ran, the server was disturbed.
const SERVER_WAIT_MAX: f64 = 0.05;

// Exact: nanoseconds of a run are far below 2^52.
#[allow(clippy::cast_precision_loss)]
fn seconds(before: u64, after: u64) -> f64 {
    after.saturating_sub(before) as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_when_the_generator_was_the_limit_or_the_server_disturbed() {
        let quiet = Usage {
            wall_seconds: 1.0,
            server_cpu_seconds: Some(0.5),
            server_wait_seconds: Some(0.01),
            kernel_network_seconds: 0.0,
            server_runs: Some(7),
            generator_share: 0.5,
        };
        assert_eq!(quiet.remarks(), Vec::<String>::new());
        assert!(Usage { generator_share: 0.9, ..quiet }.remarks()[0].contains("90 %"));
        assert!(Usage { server_wait_seconds: Some(0.1), ..quiet }.remarks()[0].contains("waited 100 ms"));
        let own = Usage { server_wait_seconds: Some(0.1), kernel_network_seconds: 0.08, ..quiet };
        assert_eq!(own.remarks(), Vec::<String>::new(), "what it waited for was work of its own");
        assert_eq!(Usage { server_wait_seconds: None, ..quiet }.remarks(), Vec::<String>::new());
    }
}
