//! What holds after every move: bounds, ends that are counted once, routes that are those of the shards.

use std::collections::BTreeSet;

use super::World;
use super::plan::Plan;
use super::shard_side::ShardSide;
use crate::base::limits::KIB;
use crate::protocol::WireFormat;

/// More than one frame of a message, or of a gap, of this world has.
const FRAME_BYTES: usize = 512;
/// More than one answer to a join brings beyond its history, with the room that buffers have beyond what lies in them.
const ANSWER_BYTES: usize = 256 * KIB;

impl ShardSide {
    /// Logs and tails are within their bounds, and are what the gauges say.
    pub(super) fn check_bounds(&self, plan: &Plan, seed: u64) {
        let cells = &self.counters.cells;
        let (logs, tails) = (cells.log_bytes.get(), cells.tail_bytes.get());
        assert_eq!(self.shard.kept_bytes() as u64, logs + tails, "the gauges are what is kept, seed {seed}");
        let (asked, waiting) = (cells.callback_in_flight.get(), cells.callback_waiting.get());
        assert_eq!(asked, self.questions.len() as u64, "what is under way is what was asked, seed {seed}");
        assert!(asked <= plan.limits.callback_in_flight as u64, "{asked} questions, seed {seed}");
        assert!(waiting <= plan.limits.callback_waiting as u64 + 1, "{waiting} wait, seed {seed}");
        let tail_bytes = plan.limits.tail_bytes as u64;
        assert!(tails <= tail_bytes, "{tails} bytes of tails, at most {tail_bytes}, seed {seed}");
        if !self.shard.has_work() {
            // A log always holds its newest frame.
            let newest = plan.channels * WireFormat::ALL.len() * FRAME_BYTES;
            let most = plan.limits.log_bytes.max(newest) as u64;
            assert!(logs <= most, "{logs} bytes of logs, at most {most}, seed {seed}");
            let most =
                (plan.channels * WireFormat::ALL.len() * plan.limits.lag_bytes.max(FRAME_BYTES)) as u64;
            assert!(logs <= most, "{logs} bytes of logs that lag, at most {most}, seed {seed}");
        }
    }

    /// A connection that is closed has had its one disconnect; one that is not has had one at most.
    pub(super) fn check_ends(&self, seed: u64) {
        let accepted = self.counters.cells.connections_accepted.get();
        let closed = accepted - self.shard.connections();
        let ends = self.disconnects();
        assert!((closed..=accepted).contains(&ends), "{ends} ends of {closed} closed, seed {seed}");
    }

    pub(super) fn check_nothing_is_left(&self, seed: u64) {
        assert_eq!(self.shard.connections(), 0, "a connection is left, seed {seed}");
        assert_eq!(self.shard.kept_bytes(), 0, "bytes are kept for nobody, seed {seed}");
        assert_eq!(self.shard.leftovers(), 0, "something is kept for nobody, seed {seed}");
        assert_eq!(self.shard.channel_names().count(), 0, "a channel is left, seed {seed}");
        let accepted = self.counters.cells.connections_accepted.get();
        assert_eq!(self.disconnects(), accepted, "each connection ends once, for one reason, seed {seed}");
    }
}

impl World {
    /// What waits in the reader for the shards is within its bound, and so are the histories.
    pub(super) fn check_reader(&self) {
        let (cells, limits) = (&self.reader_counters.cells, &self.plan.limits);
        let most = self.shards.len() * (limits.spill_bytes + ANSWER_BYTES);
        let spill = cells.spill_bytes.get();
        assert!(spill <= most as u64, "{spill} bytes are spilled, at most {most}, seed {}", self.seed);
        let history = cells.history_bytes.get();
        assert!(history <= limits.history_bytes as u64, "{history} bytes of history, seed {}", self.seed);
    }

    /// The reader routes to each shard what connections of that shard are subscribed to, whenever nothing that says
    /// otherwise is under way. True if it could be compared.
    pub(super) fn check_routes(&self) -> bool {
        let is_under_way = |side: &ShardSide| !side.queue.is_empty() || side.shard.controls_waiting() > 0;
        let spill = self.reader_counters.cells.spill_bytes.get();
        // A stream that opens keeps a channel that was refused it until all its channels are answered for.
        let opens = |side: &ShardSide| side.shard.joining() > 0;
        let may_be_refused = !self.causes.forbidden.is_empty() && self.shards.iter().any(opens);
        if may_be_refused || spill > 0 || !self.controls.is_empty() || self.shards.iter().any(is_under_way) {
            return false;
        }
        let routed: BTreeSet<(usize, &str)> =
            self.reader.routed().map(|(name, shard)| (shard.index(), name.as_str())).collect();
        let sides = self.shards.iter().enumerate();
        let heard: BTreeSet<(usize, &str)> = sides
            .flat_map(|(index, side)| side.shard.channel_names().map(move |name| (index, name.as_str())))
            .collect();
        assert_eq!(routed, heard, "the routes are those of the hubs, seed {}", self.seed);
        true
    }
}
