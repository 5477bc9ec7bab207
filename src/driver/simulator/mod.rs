//! The second driver of the same machines: one seed, one thread, no clock but its own.
//!
//! A world has a model of Redis, the reader, some shards, and clients that subscribe, read slowly, vanish and come back
//! in every way that a client can. The seed chooses who moves next and how much: in which fragments bytes arrive, how
//! much a socket takes, which thread runs, when Redis is lost or says no, when time leaps and a shard drains (see
//! [`plan`]). Reader and shards sleep as their threads do, and run only when they are rung or something of their own
//! comes ([`thread`]).
//!
//! Each client checks what it is told against what was published ([`witness`]); after every move the machines' bounds
//! are checked ([`checks`]); at the end everything comes to rest, and then nobody may have missed anything, and nothing
//! may be kept ([`rest`]).
//!
//! A run is a pure function of its seed: `run(seed)` repeats a failure exactly.

mod apps;
mod causes;
mod checks;
mod client;
mod crowd;
mod event_stream;
mod network;
mod order;
mod plan;
mod reader_side;
mod redis;
mod rest;
mod shard_side;
mod thread;
mod turns;
mod witness;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::base::census::Census;
use crate::base::counters::ReaderCounters;
use crate::base::disconnect::Disconnect;
use crate::base::number::index;
use crate::base::position::Epoch;
use crate::base::queue::{Control, GapReason, ShardIndex};
use crate::base::random::Random;
use crate::base::refusal::Refusal;
use crate::base::socket::{Slot, SocketKey};
use crate::base::time::Time;
use crate::reader::input::Link;
use crate::reader::{Reader, ReaderOptions, Upstream};
use crate::shard::input::Input;

use causes::Causes;
use client::Client;
use crowd::Crowd;
use order::Order;
use plan::{Plan, Troubles};
use reader_side::ReaderSocket;
use redis::{Fate, Redis};
use shard_side::ShardSide;
use thread::Thread;

/// What a run did, so that a test can see that it tried what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    pub published: u64,
    pub received: u64,
    /// By reason, as in [`GapReason::ALL`].
    pub gaps: [u64; GapReason::ALL.len()],
    /// By reason, as in [`Disconnect::ALL`].
    pub disconnects: [u64; Disconnect::ALL.len()],
    pub resumes: u64,
    pub outages: u64,
    pub forbidden: u64,
    pub short_sends: u64,
    pub stale_completions: u64,
    pub stale_answers: u64,
    pub returned_controls: u64,
    pub leaps: u64,
    pub drains: u64,
    /// Questions that the application answered, in some way, and streams that it kept out.
    pub app_answers: u64,
    pub kept_out: u64,
    pub rings: u64,
}

impl Summary {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        self.published += other.published;
        self.received += other.received;
        self.gaps.iter_mut().zip(other.gaps).for_each(|(sum, gaps)| *sum += gaps);
        self.disconnects.iter_mut().zip(other.disconnects).for_each(|(sum, ends)| *sum += ends);
        self.resumes += other.resumes;
        self.outages += other.outages;
        self.forbidden += other.forbidden;
        self.short_sends += other.short_sends;
        self.stale_completions += other.stale_completions;
        self.stale_answers += other.stale_answers;
        self.returned_controls += other.returned_controls;
        self.leaps += other.leaps;
        self.drains += other.drains;
        self.app_answers += other.app_answers;
        self.kept_out += other.kept_out;
        self.rings += other.rings;
    }
}

/// Runs the world of one seed to its end.
///
/// # Panics
/// If anything is lost, repeated, out of order, unexplained, out of bounds or kept: the message names the seed, and the
/// client if it is one that saw it.
pub fn run(seed: u64) -> Summary {
    let mut world = World::new(seed);
    for _ in 0..world.steps {
        world.step();
    }
    world.come_to_rest();
    world.everybody_leaves();
    world.summary()
}

struct World {
    seed: u64,
    random: Random,
    now: Time,
    steps: u64,
    plan: Plan,
    troubles: Troubles,
    order: Order,
    causes: Causes,
    redis: Redis,
    reader: Reader,
    reader_counters: Arc<ReaderCounters>,
    reader_thread: Thread,
    reader_sockets: BTreeMap<Slot, ReaderSocket>,
    links: Vec<(Link, Slot)>,
    /// Connections to Redis that are no more.
    past_links: Vec<SocketKey>,
    dials: VecDeque<Link>,
    /// When the reader looks again at a queue that was full.
    retry_at: Option<Time>,
    shards: Vec<ShardSide>,
    census: Arc<Census>,
    queue_room: usize,
    controls: VecDeque<Control>,
    control_room: usize,
    clients: Vec<Client>,
    /// The application answers, and as it should.
    is_app_calm: bool,
    app_random: Random,
    summary: Summary,
}

const APP_SEED: u64 = 0xa5ce_d0ff;
const EPOCH: Epoch = Epoch(0x5eed);

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        // Of its own, so that a world in which nothing is asked is the same as if nothing could be.
        let mut app_random = Random::new(seed ^ APP_SEED);
        let mut plan = Plan::new(&mut random, &mut app_random);
        let mut crowd = Crowd::new(seed, &mut plan);
        let census = Arc::new(Census::default());
        let reader_counters = Arc::new(ReaderCounters::default());
        let reader = Reader::new(ReaderOptions {
            upstream: Upstream::Redis(plan::redis_options()),
            epoch: EPOCH,
            rules: plan.rules.clone(),
            limits: plan.limits.clone(),
            counters: Arc::clone(&reader_counters),
            shards: plan.shards,
            seed: random.word(),
            control: None,
            start: Time::ZERO,
        });
        let site = Arc::new(plan.site());
        let shards = (0..plan.shards)
            .map(|index| ShardSide::new(ShardIndex(index), &site, &plan, &census, &mut random))
            .collect();
        let mut clients: Vec<Client> = (0..plan.clients)
            .map(|number| Client::new(seed, number, plan.channels, crowd.next(), &mut random))
            .collect();
        if !plan.asked.is_empty() {
            clients.iter_mut().for_each(|client| client.is_allowed = Some(app_random.below(4) > 0));
        }
        let causes = Causes {
            tight_queues: plan.tight_queues,
            tight_tails: plan.tight_tails,
            kept_whole: plan.kept_whole.clone(),
            ..Causes::default()
        };
        let mut world = Self {
            seed,
            now: Time::from_nanos(1),
            steps: plan.steps,
            troubles: plan.troubles,
            order: Order::new(plan.channels),
            causes,
            redis: Redis::default(),
            reader,
            reader_counters,
            reader_thread: Thread::default(),
            reader_sockets: BTreeMap::new(),
            links: Vec::new(),
            past_links: Vec::new(),
            dials: VecDeque::new(),
            retry_at: None,
            shards,
            census,
            queue_room: plan.queue_room,
            controls: VecDeque::new(),
            control_room: plan.control_room,
            clients,
            is_app_calm: false,
            app_random,
            summary: Summary::default(),
            plan,
            random,
        };
        world.begin();
        world
    }

    /// In a world without outages Redis is there before anybody comes.
    fn begin(&mut self) {
        self.causes.outage = self.troubles.upstream;
        if !self.troubles.upstream {
            self.reader_turn();
            while !self.dials.is_empty() {
                self.dial();
            }
            (0..50).for_each(|_| self.redis_speaks());
            (0..self.shards.len()).for_each(|shard| while self.shard_turn(shard) {});
        }
    }

    /// One move of somebody.
    fn step(&mut self) {
        match self.random.below(100) {
            0..20 => self.publish(),
            20..35 => self.redis_speaks(),
            35..53 => self.reader_turn(),
            53..74 => {
                let shard = self.any_shard();
                self.shard_turn(shard);
            }
            74..89 => self.client_moves(),
            89..95 => self.time_passes(),
            95..97 => self.dial(),
            97 => self.stale_completion(),
            _ => self.trouble(),
        }
        if !self.plan.asked.is_empty() && self.app_random.below(3) == 0 {
            let shard = index(self.app_random.below(self.shards.len() as u64));
            self.app_moves(shard);
        }
    }

    fn publish(&mut self) {
        let channel = index(self.random.below(self.plan.channels as u64));
        for _ in 0..1 + self.random.below(4) {
            self.publish_on(channel);
        }
    }

    fn publish_on(&mut self, channel: usize) {
        let message = self.order.publish(channel);
        self.redis.publish(message);
        self.summary.published += 1;
    }

    fn time_passes(&mut self) {
        let most = match self.random.below(24) {
            0..8 => Duration::from_millis(1),
            8..16 => Duration::from_millis(50),
            16..23 => Duration::from_secs(3),
            _ if self.troubles.clock => {
                self.summary.leaps += 1;
                Duration::from_secs(600)
            }
            _ => Duration::from_secs(10),
        };
        let nanos = u64::try_from(most.as_nanos()).expect("some minutes");
        self.now = self.now.after(Duration::from_nanos(1 + self.random.below(nanos)));
        self.reader_turn();
        self.shards_turn();
        self.check_routes();
        self.check_census();
    }

    /// What comes too late is for nobody.
    fn stale_completion(&mut self) {
        let shard = self.any_shard();
        let side = &mut self.shards[shard];
        if !side.is_gone && side.stale_completion(self.now, &mut self.random) {
            self.summary.stale_completions += 1;
        }
        if !side.is_gone && side.stale_answer(self.now, &mut self.random) {
            self.summary.stale_answers += 1;
        }
        self.stale_link_speaks();
    }

    fn trouble(&mut self) {
        match self.random.below(4) {
            0 | 1 if self.troubles.upstream => self.upstream_trouble(),
            2 if self.troubles.acl => self.acl_changes(),
            3 if self.troubles.drain => self.drain_one(),
            _ => {}
        }
    }

    /// Redis goes away, or comes back, or one of its connections breaks, or falls silent.
    fn upstream_trouble(&mut self) {
        let link = if self.random.below(2) == 0 { Link::Push } else { Link::Ask };
        let bytes = index(self.random.below(400));
        match self.random.below(10) {
            0..2 => self.redis.refuses = !self.redis.refuses,
            2 => self.break_links(|_| true),
            3 => self.break_links(|broken| broken == link),
            4 => self.redis.doom(link, Fate::Breaks(bytes)),
            5 => {
                self.causes.outage = true;
                self.redis.doom(link, Fate::FallsSilent(bytes));
            }
            // Lost again before everything is subscribed again, and again.
            6 => {
                self.redis.fates = vec![Fate::Breaks(bytes), Fate::Breaks(400 - bytes)];
                self.break_links(|_| true);
            }
            _ => self.redis.refuses = false,
        }
    }

    fn acl_changes(&mut self) {
        if self.random.below(3) == 0 {
            return self.redis.allow_all();
        }
        let channel = index(self.random.below(self.plan.channels as u64));
        self.summary.forbidden += 1;
        self.causes.forbidden.insert(channel);
        if self.redis.forbid(channel) {
            self.break_links(|link| link == Link::Push);
        }
    }

    /// One shard stops while others go on; never the last.
    fn drain_one(&mut self) {
        let left = self.shards.iter().filter(|side| !side.is_draining).count();
        let shard = self.any_shard();
        if left > 1 && !self.shards[shard].is_draining {
            self.drain(shard);
        }
    }

    fn drain(&mut self, shard: usize) {
        self.summary.drains += 1;
        let side = &mut self.shards[shard];
        side.is_draining = true;
        side.input(self.now, Input::Drain);
        self.carry_out_shard(shard);
    }

    fn shards_turn(&mut self) {
        for shard in 0..self.shards.len() {
            self.shard_turn(shard);
        }
    }

    fn any_shard(&mut self) -> usize {
        index(self.random.below(self.shards.len() as u64))
    }

    fn summary(&self) -> Summary {
        let mut summary = self.summary;
        for client in &self.clients {
            summary.received += client.witness.messages;
            summary.gaps.iter_mut().zip(client.witness.gaps).for_each(|(sum, gaps)| *sum += gaps);
        }
        for side in &self.shards {
            summary.rings += side.thread.rings;
            summary.kept_out += side.counters.refusals[Refusal::ApplicationForbidden as usize].get();
            for (reason, ends) in summary.disconnects.iter_mut().enumerate() {
                *ends += side.counters.disconnects[reason].get();
            }
        }
        summary.rings += self.reader_thread.rings;
        summary
    }
}
