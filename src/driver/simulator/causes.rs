//! What went wrong in a run, and which gaps that explains.
//!
//! A gap that nothing explains is as wrong as a hole: courier would be crying wolf.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::channel::SlowMode;
use crate::base::limits::JOIN_TIMEOUT;
use crate::base::queue::GapReason;

use super::plan::slow_mode;
use super::witness::Begin;

#[derive(Debug, Default)]
pub(super) struct Causes {
    /// Redis could not be heard, at the start or later.
    pub(super) outage: bool,
    /// Channels that were forbidden at some time.
    pub(super) forbidden: BTreeSet<usize>,
    /// The queues and spills are small.
    pub(super) tight_queues: bool,
    /// The tails may have no room for all of a replay.
    pub(super) tight_tails: bool,
    /// Channels whose history nothing cuts short in this run.
    pub(super) kept_whole: BTreeSet<usize>,
}

/// What holds for one stream at the moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances {
    /// Since the client connected.
    pub(super) age: Duration,
}

impl Causes {
    pub(super) fn explain(
        &self,
        reason: GapReason,
        channel: usize,
        begin: Begin,
        had_message: bool,
        now: Circumstances,
    ) -> bool {
        match reason {
            GapReason::UnknownEpoch => begin == Begin::Foreign,
            GapReason::TooOld => {
                // What is forbidden while nobody wants it is forgotten.
                let is_kept = self.kept_whole.contains(&channel) && !self.forbidden.contains(&channel);
                match begin {
                    Begin::Resume => !(had_message && is_kept),
                    Begin::Earliest | Begin::Last(_) => self.tight_tails,
                    Begin::Live | Begin::Foreign => false,
                }
            }
            // A join that was answered late is stated as one that could not be heard in time.
            GapReason::UpstreamDown => self.outage || now.age >= JOIN_TIMEOUT,
            GapReason::Lagged => slow_mode(channel) == SlowMode::Latest,
            GapReason::QueueFull => self.tight_queues,
            GapReason::Forbidden => self.forbidden.contains(&channel),
        }
    }
}
