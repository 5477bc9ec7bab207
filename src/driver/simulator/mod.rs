//! The second driver of the same machines: one seed, one thread, no clock but its own.
//!
//! A world has a model of Redis, the reader, some shards, and clients that subscribe, read slowly, vanish and come back
//! with the last id they saw. The seed chooses who moves next and how much: in which fragments bytes arrive, how much a
//! socket takes, when Redis is lost. Each client checks what it is told against what was published (see
//! [`client`]); at the end everything comes to rest, and then nobody may have missed anything, and nothing may be kept.
//!
//! A run is a pure function of its seed: `run(seed)` repeats a failure exactly.

mod client;
mod network;
mod redis;
mod shard_side;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::access::{Access, AllowedOrigins, Pattern, Rule, Rules};
use crate::base::channel::SlowMode;
use crate::base::counters::ReaderCounters;
use crate::base::limits::Limits;
use crate::base::position::Epoch;
use crate::base::queue::{Control, ShardIndex};
use crate::base::random::Random;
use crate::base::socket::{HangUp, Slot, SocketKey};
use crate::base::time::Time;
use crate::protocol::site::{Shedding, Site};
use crate::reader::input::{Input as ReaderInput, Link, Output as ReaderOutput};
use crate::reader::{Reader, ReaderOptions, RedisAddress, RedisOptions, Upstream};
use crate::shard::input::{Input, Output};

use client::Client;
use redis::Redis;
use shard_side::ShardSide;

/// What a run did, so that a test can see that it tried what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    pub published: u64,
    pub received: u64,
    pub replayed_or_live: u64,
    pub gaps: u64,
    pub resumes: u64,
    pub outages: u64,
    pub short_sends: u64,
}

/// Runs the world of one seed to its end.
///
/// # Panics
/// If anything is lost, repeated, out of order, or kept: the message names the seed and the client.
pub fn run(seed: u64) -> Summary {
    let mut world = World::new(seed);
    for _ in 0..world.steps {
        world.step();
    }
    world.come_to_rest();
    world.check_everybody_has_everything();
    world.everybody_leaves();
    world.summary()
}

struct World {
    seed: u64,
    random: Random,
    now: Time,
    steps: u64,
    channels: usize,
    redis: Redis,
    reader: Reader,
    reader_sockets: BTreeMap<Slot, ReaderSocket>,
    links: Vec<(Link, Slot)>,
    dials: VecDeque<Link>,
    shards: Vec<ShardSide>,
    controls: VecDeque<Control>,
    control_room: usize,
    clients: Vec<Client>,
    summary: Summary,
}

/// One end of a connection between the reader and Redis.
struct ReaderSocket {
    socket: Option<SocketKey>,
    link: Link,
    hung_up: bool,
    told: bool,
}

const EPOCH: Epoch = Epoch(0x5eed);

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let shard_count = u16::try_from(1 + random.below(4)).expect("at most four shards");
        let channels = usize::try_from(1 + random.below(6)).expect("at most six channels");
        let limits = Limits {
            // Small enough that slow readers are lapped in some runs and histories are trimmed in others.
            lag_bytes: 1 << (9 + random.below(8)),
            // Small enough that resumes have to wait for room.
            spill_bytes: 1 << (12 + random.below(6)),
            ..Limits::default()
        };
        let reader = Reader::new(ReaderOptions {
            upstream: Upstream::Redis(redis_options()),
            epoch: EPOCH,
            rules: Rules::default(),
            limits: limits.clone(),
            counters: Arc::new(ReaderCounters::default()),
            shards: shard_count,
            seed: random.word(),
            start: Time::ZERO,
        });
        let site = Arc::new(site());
        let shards = (0..shard_count)
            .map(|index| ShardSide::new(ShardIndex(index), &site, &limits, &mut random))
            .collect();
        let clients =
            (0..1 + random.below(12)).map(|number| Client::new(number, channels, &mut random)).collect();
        Self {
            seed,
            now: Time::from_nanos(1),
            steps: 400 + random.below(1_600),
            channels,
            redis: Redis::new(channels),
            reader,
            reader_sockets: BTreeMap::new(),
            links: Vec::new(),
            dials: VecDeque::new(),
            shards,
            controls: VecDeque::new(),
            control_room: 1 << random.below(8),
            clients,
            summary: Summary::default(),
            random,
        }
    }

    /// One move of somebody.
    fn step(&mut self) {
        match self.random.below(100) {
            0..20 => self.publish(),
            20..40 => self.redis_speaks(),
            40..55 => self.reader_turn(),
            55..75 => {
                let shard = self.any_shard();
                self.shard_turn(shard);
            }
            75..90 => self.client_moves(),
            90..97 => self.time_passes(),
            97..99 => self.dial(),
            _ => self.trouble(),
        }
    }

    fn publish(&mut self) {
        let channel = self.random.below(self.channels as u64);
        for _ in 0..1 + self.random.below(4) {
            self.redis.publish(usize::try_from(channel).expect("an index of a channel"), &mut self.random);
            self.summary.published += 1;
        }
    }

    /// Some of what Redis has to say arrives.
    fn redis_speaks(&mut self) {
        for index in 0..self.links.len() {
            let (link, slot) = self.links[index];
            let bytes = self.redis.take_output(link, &mut self.random);
            let socket = self.reader_sockets[&slot].socket;
            if let (Some(socket), false) = (socket, bytes.is_empty()) {
                self.reader.handle(self.now, ReaderInput::Received { socket, bytes: &bytes });
            }
        }
        self.reader_turn();
    }

    fn reader_turn(&mut self) {
        while let Some(shard) = self.controls.front().map(Control::shard) {
            if !self.reader.takes_control(shard) {
                self.fill_queues();
                if !self.reader.takes_control(shard) {
                    break;
                }
            }
            let control = self.controls.pop_front().expect("the front was looked at");
            self.reader.handle(self.now, ReaderInput::Control(control));
        }
        self.reader_tick();
        self.carry_out_reader();
        self.fill_queues();
        while let Some(socket) = self.reader.next_to_send() {
            let bytes = self.reader.outgoing(socket).to_vec();
            let link = self.reader_sockets[&socket.slot].link;
            self.redis.receive(link, &bytes);
            self.reader.sent(self.now, socket, bytes.len());
        }
        self.carry_out_reader();
    }

    /// Moves deliveries into the shards' queues while they have room.
    fn fill_queues(&mut self) {
        for index in 0..self.shards.len() {
            let side = &mut self.shards[index];
            while side.queue.len() < side.queue_room {
                let shard = ShardIndex(u16::try_from(index).expect("at most four shards"));
                match self.reader.next_delivery(shard) {
                    Some(delivery) => side.queue.push_back(delivery),
                    None => break,
                }
            }
        }
    }

    fn reader_tick(&mut self) {
        if self.reader.next_deadline().is_some_and(|due| due <= self.now) {
            self.reader.handle(self.now, ReaderInput::Tick);
        }
    }

    fn carry_out_reader(&mut self) {
        while let Some(output) = self.reader.next_output() {
            match output {
                ReaderOutput::Dial { link } => self.dials.push_back(link),
                ReaderOutput::Receive { socket } => {
                    let entry = self.reader_sockets.get_mut(&socket.slot);
                    entry.expect("the slot was connected").socket = Some(socket);
                }
                ReaderOutput::Shutdown { socket } => self.reader_socket_ends(socket.slot),
                ReaderOutput::Close { socket } => {
                    let entry = self.reader_sockets.remove(&socket.slot).expect("the slot was connected");
                    assert!(entry.told, "a socket is closed after its hang-up, seed {}", self.seed);
                }
                ReaderOutput::AwaitWritable { .. } => unreachable!("the model of Redis takes every byte"),
                ReaderOutput::Unheard { .. } | ReaderOutput::Notice(_) => {}
            }
            self.tell_hang_ups();
        }
    }

    /// The connection in this slot ends: Redis forgets it, the reader's receive ends.
    fn reader_socket_ends(&mut self, slot: Slot) {
        let entry = self.reader_sockets.get_mut(&slot).expect("the slot was connected");
        if !entry.hung_up {
            entry.hung_up = true;
            self.redis.disconnect(entry.link);
            self.links.retain(|&(_, linked)| linked != slot);
        }
    }

    fn tell_hang_ups(&mut self) {
        let untold = |(_, entry): &(&Slot, &mut ReaderSocket)| entry.hung_up && !entry.told;
        while let Some((_, entry)) = self.reader_sockets.iter_mut().find(untold) {
            entry.told = true;
            let Some(socket) = entry.socket else { continue };
            self.reader.handle(self.now, ReaderInput::HungUp { socket, cause: HangUp::Reset });
        }
    }

    fn dial(&mut self) {
        let Some(link) = self.dials.pop_front() else { return };
        if self.redis.refuses {
            self.reader.handle(self.now, ReaderInput::DialFailed { link, reason: "connection refused" });
        } else {
            let slot = (0..).map(Slot).find(|slot| !self.reader_sockets.contains_key(slot));
            let slot = slot.expect("there are always free slots");
            let entry = ReaderSocket { socket: None, link, hung_up: false, told: false };
            self.reader_sockets.insert(slot, entry);
            self.links.push((link, slot));
            self.redis.connect(link);
            self.reader.handle(self.now, ReaderInput::Connected { link, slot });
        }
        self.carry_out_reader();
    }

    /// Redis goes away, or comes back, or one of its connections breaks.
    fn trouble(&mut self) {
        match self.random.below(6) {
            0 => self.redis.refuses = !self.redis.refuses,
            1 => self.break_links(|_| true),
            2 => self.break_links(|link| link == Link::Push),
            3 => self.break_links(|link| link == Link::Ask),
            _ => {}
        }
    }

    fn break_links(&mut self, is_broken: impl Fn(Link) -> bool) {
        let broken: Vec<Slot> =
            self.links.iter().filter(|(link, _)| is_broken(*link)).map(|&(_, slot)| slot).collect();
        for slot in broken {
            self.summary.outages += 1;
            self.reader_socket_ends(slot);
        }
        self.tell_hang_ups();
        self.reader_turn();
    }

    fn shard_turn(&mut self, index: usize) {
        let side = &mut self.shards[index];
        side.tick(self.now);
        for _ in 0..1 + self.random.below(4) {
            if !side.shard.takes_delivery() {
                break;
            }
            let Some(delivery) = side.queue.pop_front() else { break };
            side.shard.handle(self.now, Input::Delivery(delivery));
        }
        self.carry_out_shard(index);
        let side = &mut self.shards[index];
        side.volley(self.now, &mut self.random, &mut self.summary);
        self.carry_out_shard(index);
    }

    fn carry_out_shard(&mut self, index: usize) {
        let side = &mut self.shards[index];
        while let Some(output) = side.shard.next_output() {
            match output {
                Output::Control(control) => {
                    side.controls_blocked |= self.controls.len() >= self.control_room;
                    if side.controls_blocked {
                        side.shard.handle(self.now, Input::ControlReturned(control));
                    } else {
                        self.controls.push_back(control);
                    }
                }
                Output::Receive { socket } => side.socket(socket.slot).key = Some(socket),
                Output::AwaitWritable { socket } => side.socket(socket.slot).is_awaited = true,
                Output::ShutdownWrite { socket } => side.socket(socket.slot).server_ended = true,
                Output::Shutdown { socket } => {
                    if let Some(entry) = side.sockets.get_mut(&socket.slot) {
                        entry.server_ended = true;
                        entry.shut_down = true;
                    }
                }
                Output::Close { socket } => {
                    let entry = side.sockets.remove(&socket.slot).expect("an open socket is closed");
                    assert!(entry.told_hang_up, "a socket is closed after its hang-up, seed {}", self.seed);
                    side.free_slots.push(socket.slot.0);
                    self.clients[entry.client].disconnected((index, socket.slot));
                }
                Output::GiveBackMemory => {}
                Output::AskAdmin { .. } | Output::Notice(_) | Output::StopListening | Output::Drained => {
                    unreachable!("no client asks for the admin side")
                }
            }
        }
        side.tell_hang_ups(self.now);
    }

    fn any_shard(&mut self) -> usize {
        usize::try_from(self.random.below(self.shards.len() as u64)).expect("an index of a shard")
    }

    fn client_moves(&mut self) {
        let index =
            usize::try_from(self.random.below(self.clients.len() as u64)).expect("an index of a client");
        let shard = self.any_shard();
        match self.clients[index].place {
            None => {
                let side = &mut self.shards[shard];
                let slot = side.accept(self.now, index, &mut self.random);
                self.summary.resumes += u64::from(self.clients[index].connect((shard, slot)));
                self.carry_out_shard(shard);
            }
            Some((shard, slot)) => {
                self.client_speaks_or_reads(index, shard, slot);
                self.carry_out_shard(shard);
            }
        }
    }

    fn client_speaks_or_reads(&mut self, index: usize, shard: usize, slot: Slot) {
        let (client, side) = (&mut self.clients[index], &mut self.shards[shard]);
        let Some(socket) = side.sockets.get_mut(&slot) else { return };
        let Some(key) = socket.key else { return };
        if client.is_tired(&mut self.random) {
            socket.client_ended = true;
            side.tell_hang_ups(self.now);
            return;
        }
        let said = client.speak(&mut self.random);
        if !said.is_empty() && !socket.told_hang_up {
            side.shard.handle(self.now, Input::Received { socket: key, bytes: &said });
        }
        if client.rested {
            side.socket(slot).widen();
        }
        let bytes = side.socket_take(slot, &mut self.random);
        client.hear(&bytes, &self.redis.published, self.seed);
        side.tell_writable(self.now, slot);
        if self.shards[shard].is_over(slot) {
            self.clients[index].disconnected((shard, slot));
        }
    }

    fn time_passes(&mut self) {
        let most = [Duration::from_millis(1), Duration::from_millis(50), Duration::from_secs(3)];
        let kind = usize::try_from(self.random.below(most.len() as u64)).expect("an index");
        let nanos = u64::try_from(most[kind].as_nanos()).expect("a few seconds");
        self.now = self.now.after(Duration::from_nanos(1 + self.random.below(nanos)));
        self.reader_turn();
        for index in 0..self.shards.len() {
            self.shards[index].tick(self.now);
            self.carry_out_shard(index);
        }
    }

    /// No more trouble: Redis is there, everybody connects and reads, until nothing moves any more.
    fn come_to_rest(&mut self) {
        self.redis.refuses = false;
        self.settle();
        for channel in 0..self.channels {
            self.redis.publish(channel, &mut self.random);
            self.summary.published += 1;
        }
        self.settle();
    }

    /// Sixty seconds in which everybody gets to move.
    fn settle(&mut self) {
        for _ in 0..600 {
            self.now = self.now.after(Duration::from_millis(100));
            while !self.dials.is_empty() {
                self.dial();
            }
            for _ in 0..4 {
                self.redis_speaks();
                for index in 0..self.shards.len() {
                    self.shard_turn(index);
                }
            }
            for index in 0..self.clients.len() {
                match self.clients[index].place {
                    None => {
                        let shard = self.any_shard();
                        let slot = self.shards[shard].accept(self.now, index, &mut self.random);
                        self.summary.resumes += u64::from(self.clients[index].connect((shard, slot)));
                        self.clients[index].rested = true;
                        self.carry_out_shard(shard);
                    }
                    Some((shard, slot)) => {
                        self.clients[index].rested = true;
                        self.client_speaks_or_reads(index, shard, slot);
                        self.carry_out_shard(shard);
                    }
                }
            }
        }
    }

    fn check_everybody_has_everything(&self) {
        for client in &self.clients {
            client.check_complete(&self.redis.published, self.seed);
        }
    }

    /// Everybody goes; nothing may be left of them.
    fn everybody_leaves(&mut self) {
        for index in 0..self.clients.len() {
            if let Some((shard, slot)) = self.clients[index].place {
                if let Some(socket) = self.shards[shard].sockets.get_mut(&slot) {
                    socket.client_ended = true;
                }
                self.shards[shard].tell_hang_ups(self.now);
                self.carry_out_shard(shard);
            }
        }
        for index in 0..self.shards.len() {
            self.now = self.now.after(Duration::from_secs(60));
            self.shards[index].tell_all_writable(self.now);
            self.carry_out_shard(index);
            self.shard_turn(index);
            self.shard_turn(index);
        }
        for side in &self.shards {
            assert_eq!(side.shard.connections(), 0, "a connection is left, seed {}", self.seed);
            assert_eq!(side.shard.kept_bytes(), 0, "bytes are kept for nobody, seed {}", self.seed);
            assert_eq!(side.shard.channel_names().count(), 0, "a channel is left, seed {}", self.seed);
            let counters = &side.counters;
            let ends: u64 = (0..crate::base::disconnect::Disconnect::ALL.len())
                .map(|reason| counters.disconnects[reason].get())
                .sum();
            let accepted = counters.cells.connections_accepted.get();
            assert_eq!(ends, accepted, "each connection ends once, for one reason, seed {}", self.seed);
        }
    }

    fn summary(&self) -> Summary {
        let mut summary = self.summary;
        summary.received = self.clients.iter().map(|client| client.messages).sum();
        summary.gaps = self.clients.iter().map(|client| client.gaps).sum();
        summary
    }
}

fn redis_options() -> RedisOptions {
    RedisOptions {
        address: RedisAddress::Tcp { host: "redis".into(), port: 6_379 },
        username: None,
        password: None,
        database: 0,
        client_name: "courier-simulator".into(),
        dial_timeout: Duration::from_secs(1),
        ping_interval: Duration::from_secs(5),
        ping_timeout: Duration::from_secs(60),
    }
}

fn site() -> Site {
    let rule = |pattern, slow| {
        let pattern = Pattern::parse(pattern).expect("it is not empty");
        Rule { slow, ..Rule::new(pattern, Access::Public) }
    };
    Site {
        // Of every second channel a slow reader is told of a gap instead of being closed.
        rules: Rules::new(vec![rule("*[02468]", SlowMode::Latest), rule("*", SlowMode::Disconnect)]),
        origins: AllowedOrigins::Any,
        try_out: false,
        demo_page: b"",
        publish_limit: 0,
        retry: Duration::from_secs(2),
        shedding: Shedding::Retry,
    }
}
