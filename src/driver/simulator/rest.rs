//! How a run ends: no more trouble, until everybody has heard a last message of each of its channels; then everybody
//! leaves, and nothing may be left of anybody.

use std::time::Duration;

use super::World;
use super::redis::Redis;
use crate::base::number::index;

/// The longest that anything may take, in steps of 100 ms: longer than a forbidden channel waits to be asked for again.
const PATIENCE: usize = 1_200;
/// How often a last message is sent on every channel, at most, and for how many steps it is waited for: so long and less
/// than twice as long, by chance, so that it keeps no step with the ends of streams.
const ROUNDS: usize = 24;
const ROUND: u64 = 50;
const STEP: Duration = Duration::from_millis(100);

impl World {
    pub(super) fn come_to_rest(&mut self) {
        self.redis.calm();
        self.is_app_calm = true;
        for client in 0..self.clients.len() {
            self.retire_if_it_must(client);
            self.clients[client].rested = true;
        }
        self.retire_the_crowd();
        self.settle("is served", |world| world.unserved());
        let before = self.order.published().to_vec();
        // A stream may end just then by its age, and its client is told of a gap instead: there is more to come.
        for _ in 0..ROUNDS {
            (0..self.plan.channels).for_each(|channel| self.publish_on(channel));
            let patience = index(ROUND + self.random.below(ROUND));
            if self.settles(patience, |world| world.lacking(&before)) {
                break;
            }
        }
        self.settle("has everything", |world| world.lacking(&before));
        self.settle("is routed", |world| (!world.check_routes()).then(|| "the reader".to_owned()));
    }

    /// Either everybody goes, or everybody is told to.
    pub(super) fn everybody_leaves(&mut self) {
        if self.random.below(2) == 0 {
            for client in 0..self.clients.len() {
                self.client_hangs_up(client);
                self.clients[client].retired = true;
            }
        } else {
            for shard in 0..self.shards.len() {
                if !self.shards[shard].is_draining {
                    self.drain(shard);
                }
            }
        }
        self.settle("has gone", |world| {
            let shard = world.shards.iter().position(|side| side.shard.connections() > 0)?;
            Some(format!("a connection of shard {shard}"))
        });
        self.shards.iter().for_each(|side| side.check_nothing_is_left(self.seed));
        self.check_census();
        self.forget_channels();
    }

    /// Who wants a channel beyond those that there may be would be sent away for ever, and so would whom the application
    /// does not let in.
    fn retire_if_it_must(&mut self, client: usize) {
        let channels = self.plan.limits.channels.min(self.plan.limits.channels_per_shard);
        let is_beyond = self.clients[client].witness.channels.iter().any(|wanted| wanted.channel >= channels);
        if is_beyond || self.clients[client].is_kept_out(&self.plan.asked) {
            self.client_hangs_up(client);
            self.clients[client].retired = true;
        }
    }

    /// Everybody gets to move until nobody is `left`; says who it is, if that takes too long.
    fn settle(&mut self, what: &str, left: impl Fn(&Self) -> Option<String>) {
        if self.settles(PATIENCE, &left) {
            return;
        }
        let left = left(self).unwrap_or_default();
        panic!("seed {}: two minutes without trouble, and not everybody {what}: {left}", self.seed);
    }

    /// Whether nobody is `left` within so many steps.
    fn settles(&mut self, patience: usize, left: impl Fn(&Self) -> Option<String>) -> bool {
        for _ in 0..patience {
            for _ in 0..4 {
                self.redis_speaks();
                self.shards_turn();
            }
            (0..self.clients.len()).for_each(|client| self.client_move(client));
            for shard in 0..self.shards.len() {
                (0..self.shards[shard].questions.len()).for_each(|_| self.app_moves(shard));
            }
            for shard in 0..self.shards.len() {
                self.shards[shard].tell_all_writable(self.now);
                self.carry_out_shard(shard);
            }
            if left(self).is_none() {
                return true;
            }
            self.now = self.now.after(STEP);
            while !self.dials.is_empty() {
                self.dial();
            }
        }
        false
    }

    fn unserved(&self) -> Option<String> {
        let clients = self.clients.iter().filter(|client| !client.retired);
        for client in clients {
            let wanted = &client.witness.channels;
            if !client.has_opened() || !wanted.iter().all(|wanted| self.redis.is_subscribed(wanted.channel)) {
                return Some(client.witness.name.clone());
            }
        }
        None
    }

    fn lacking(&self, before: &[u64]) -> Option<String> {
        let clients = self.clients.iter().filter(|client| !client.retired);
        clients.into_iter().find_map(|client| {
            let wanted = client.witness.lacks(before)?;
            Some(format!("{} lacks {wanted:?} of {:?}", client.witness.name, self.order.published()))
        })
    }

    /// When everything has lingered long enough, the reader has nothing either.
    fn forget_channels(&mut self) {
        let linger = self.plan.linger();
        for _ in 0..20 {
            self.now = self.now.after(linger);
            for _ in 0..40 {
                // A control that found its queue full is offered again a millisecond later.
                self.now = self.now.after(Duration::from_millis(1));
                self.redis_speaks();
                self.shards_turn();
                while !self.dials.is_empty() {
                    self.dial();
                }
            }
            if self.reader_keeps_nothing() {
                return;
            }
        }
        let cells = &self.reader_counters.cells;
        let (channels, history) = (cells.upstream_channels.get(), cells.history_bytes.get());
        panic!("seed {}: {channels} channels and {history} bytes are kept for nobody", self.seed);
    }

    fn reader_keeps_nothing(&self) -> bool {
        let cells = &self.reader_counters.cells;
        let kept = cells.upstream_channels.get() + cells.history_bytes.get() + cells.spill_bytes.get();
        kept == 0 && Redis::subscriptions(&self.redis) == 0
    }
}
