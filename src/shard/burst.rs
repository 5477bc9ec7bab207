//! What a burst of connections leaves behind, and when it goes.
//!
//! Until its stream is live a connection has a request, a join, a head to send and deadlines for each; all of it is over
//! in a moment, but room was made for as many as were under way at once. When nobody has come for a second, that room is
//! given back: 18,000 streams at rest own their rows and their subscriptions. Costs two stores an accept, and nothing for
//! few connections.

use std::time::Duration;

use crate::base::limits::FLUSH_CONNECTIONS;
use crate::base::time::Time;

use super::Shard;
use super::input::Output;

#[derive(Debug, Default)]
pub(super) struct Burst {
    /// Connections since this was last given back.
    count: u32,
    last: Time,
}

/// Fewer connections than this leave nothing behind that is worth a call.
const CONNECTIONS_MIN: u32 = 1_024;
/// No connection for so long, and the burst is over.
const QUIET: Duration = Duration::from_secs(1);

impl Burst {
    // Hot: once per connection.
    pub(super) fn accepted(&mut self, now: Time) {
        self.count = self.count.saturating_add(1);
        self.last = now;
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        (self.count >= CONNECTIONS_MIN).then(|| self.last.after(QUIET))
    }
}

impl Shard {
    /// Gives back what the last burst needed, if it is over.
    pub(super) fn give_back_burst(&mut self) {
        if self.burst.deadline().is_none_or(|deadline| deadline > self.now) {
            return;
        }
        if !self.heads.is_empty() || !self.waits.is_empty() {
            // Some are still under way, for as long as a head may take: look again.
            self.burst.last = self.now;
            return;
        }
        self.burst = Burst::default();
        self.requests.trim();
        self.joins.trim();
        for deadlines in [&mut self.heads, &mut self.idles, &mut self.waits] {
            deadlines.trim();
        }
        self.ready.shrink_to(FLUSH_CONNECTIONS);
        self.again.shrink_to(FLUSH_CONNECTIONS);
        self.outputs.shrink_to(FLUSH_CONNECTIONS);
        self.outputs.push_back(Output::GiveBackMemory);
    }
}
