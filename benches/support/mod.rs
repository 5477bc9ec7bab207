//! Both machines and the queues between them, driven in user space alone: what `benches/` and `tests/allocations.rs`
//! have in common.
//!
//! The reader is real, so are the queues and the shards, and so are the bytes that go in. Only the kernel is missing: a
//! send is looked up, where its bytes lie, and taken whole at once. The driver here allocates nothing once it is
//! warm, so whatever is counted is the machines' own.

#![allow(dead_code, unreachable_pub)] // Each of the programs is a crate of its own and uses a part of this.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use courier::access::{Access, AllowedOrigins, Gate, Pattern, Proxies, Rule, Rules};
use courier::base::channel::ChannelName;
use courier::base::counters::{ReaderCounters, ShardCounters};
use courier::base::limits::{Limits, QUEUE_ITEMS};
use courier::base::position::Epoch;
use courier::base::queue::{Control, Delivery, ShardIndex};
use courier::base::socket::{Arrival, HangUp, Listener, Slot, SocketKey};
use courier::base::time::{Time, UnixTime, WallClock};
use courier::protocol::site::{Shedding, Site};

use courier::reader::input::{Input as ReaderInput, Link};
use courier::reader::{EmbeddedOptions, Reader, ReaderOptions, RedisAddress, RedisOptions, Upstream};
use courier::shard::input::{Input, Output, Send};
use courier::shard::{Shard, ShardOptions};

/// What a message of the measurements carries.
pub const PAYLOAD_BYTES: usize = 100;

const EPOCH: Epoch = Epoch(0x1234_5678_9abc_def0);

/// Where the messages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Redis,
    Embedded,
}

pub struct Machines {
    pub now: Time,
    pub reader: Reader,
    pub shards: Vec<Side>,
    source: Source,
    /// The reader's socket that messages come in on.
    upstream: SocketKey,
    /// Channels that Redis has been asked for and has not acknowledged, and those that it was asked for at all.
    unacknowledged: Vec<ChannelName>,
    subscribed: HashSet<ChannelName>,
}

/// A shard and what its driver keeps for it.
pub struct Side {
    pub shard: Shard,
    sender: Sender<Delivery>,
    receiver: Receiver<Delivery>,
    volley: Vec<Send>,
    slots: u32,
    free: Vec<Slot>,
    /// The connection that was accepted last.
    accepted: Option<SocketKey>,
}

/// What a shard has sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    pub sends: usize,
    pub bytes: usize,
}

impl Machines {
    pub fn new(source: Source, shards: u16) -> Self {
        Self::with_heartbeat(source, shards, Duration::ZERO)
    }

    pub fn with_heartbeat(source: Source, shards: u16, heartbeat: Duration) -> Self {
        let mut machines = Self {
            now: Time::from_nanos(1),
            reader: reader(source, shards),
            shards: (0..shards).map(|index| Side::new(ShardIndex(index), heartbeat)).collect(),
            source,
            upstream: SocketKey { slot: Slot(0), generation: 0 },
            unacknowledged: Vec::new(),
            subscribed: HashSet::new(),
        };
        let slot = machines.upstream.slot;
        match source {
            Source::Redis => {
                machines.reader.handle(machines.now, ReaderInput::Connected { link: Link::Push, slot });
                machines.receive(b"%1\r\n+proto\r\n:3\r\n+OK\r\n");
            }
            Source::Embedded => machines.reader.handle(machines.now, ReaderInput::Accepted { slot }),
        }
        machines.carry_out_reader();
        machines.run();
        machines
    }

    /// Bytes from Redis, or from a client of the embedded broker.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.reader.handle(self.now, ReaderInput::Received { socket: self.upstream, bytes });
    }

    /// A browser connects to the shard and asks for these channels; it is live after the next `run`.
    pub fn connect(&mut self, shard: u16, query: &str) -> SocketKey {
        let request = request(query);
        self.connect_with(shard, request.as_bytes())
    }

    pub fn connect_with(&mut self, shard: u16, request: &[u8]) -> SocketKey {
        let now = self.now;
        let side = &mut self.shards[usize::from(shard)];
        let slot = side.free.pop().unwrap_or_else(|| {
            side.slots += 1;
            Slot(side.slots - 1)
        });
        side.shard.handle(now, Input::Accepted { slot, arrival: Arrival::on(Listener::Web) });
        self.carry_out(usize::from(shard));
        let side = &mut self.shards[usize::from(shard)];
        let socket = side.accepted.take().expect("what is accepted is received from");
        side.shard.handle(now, Input::Received { socket, bytes: request });
        self.carry_out(usize::from(shard));
        socket
    }

    pub fn hang_up(&mut self, shard: u16, socket: SocketKey) {
        let side = &mut self.shards[usize::from(shard)];
        side.shard.handle(self.now, Input::HungUp { socket, cause: HangUp::Closed });
        self.carry_out(usize::from(shard));
    }

    /// Connects so many, all live.
    pub fn connect_all(&mut self, shard: u16, queries: impl IntoIterator<Item = String>) {
        for (number, query) in queries.into_iter().enumerate() {
            self.connect(shard, &query);
            if number % 1_024 == 0 {
                self.run();
            }
        }
        self.run();
    }

    /// Until nothing is left to do: answers, deliveries, flushes.
    pub fn run(&mut self) -> Sent {
        self.acknowledge();
        self.deliver();
        let mut sent = Sent::default();
        for shard in 0..self.shards.len() {
            self.take_deliveries(shard);
            sent = sent + self.flush(shard);
        }
        sent
    }

    /// Moves what the reader has for each shard into its queue.
    pub fn deliver(&mut self) {
        self.carry_out_reader();
        for (index, side) in (0..).zip(&self.shards) {
            while let Some(delivery) = self.reader.next_delivery(ShardIndex(index)) {
                side.sender.try_send(delivery).expect("the queue has room");
            }
        }
    }

    /// Lets the shard take everything that lies in its queue.
    pub fn take_deliveries(&mut self, shard: usize) {
        while let Ok(delivery) = self.shards[shard].receiver.try_recv() {
            self.shards[shard].shard.handle(self.now, Input::Delivery(delivery));
            self.carry_out(shard);
        }
    }

    /// Drops what lies in the queues.
    pub fn discard(&self) {
        self.shards.iter().for_each(|side| side.receiver.try_iter().for_each(drop));
    }

    /// Volleys until nobody is left to be sent anything.
    pub fn flush(&mut self, shard: usize) -> Sent {
        let mut sent = Sent::default();
        while self.shards[shard].shard.has_work() {
            sent = sent + self.shards[shard].volley(self.now);
            self.carry_out(shard);
        }
        sent
    }

    pub fn tick(&mut self, shard: usize) {
        self.shards[shard].shard.handle(self.now, Input::Tick);
        self.carry_out(shard);
    }

    pub fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }

    fn carry_out(&mut self, shard: usize) {
        while let Some(output) = self.shards[shard].shard.next_output() {
            match output {
                Output::Receive { socket } => self.shards[shard].accepted = Some(socket),
                Output::Close { socket } => self.shards[shard].free.push(socket.slot),
                Output::Control(control) => self.control(control),
                other => panic!("nothing here leads to {other:?}"),
            }
        }
    }

    fn control(&mut self, control: Control) {
        if let Control::Join { name, .. } = &control
            && self.source == Source::Redis
            && !self.subscribed.contains(name)
        {
            self.subscribed.insert(name.clone());
            self.unacknowledged.push(name.clone());
        }
        self.reader.handle(self.now, ReaderInput::Control(control));
    }

    /// Redis acknowledges what it was asked for, command by command.
    fn acknowledge(&mut self) {
        for names in std::mem::take(&mut self.unacknowledged).chunks(512) {
            self.carry_out_reader();
            let mut pushes = Vec::new();
            for name in names {
                let name = name.as_str();
                pushes
                    .extend(format!(">3\r\n$9\r\nsubscribe\r\n${}\r\n{name}\r\n:1\r\n", name.len()).bytes());
            }
            self.receive(&pushes);
        }
    }

    fn carry_out_reader(&mut self) {
        while self.reader.next_output().is_some() {}
        while let Some(socket) = self.reader.next_to_send() {
            let bytes = self.reader.outgoing(socket).len();
            self.reader.sent(self.now, socket, bytes);
        }
    }
}

impl Side {
    fn new(index: ShardIndex, heartbeat: Duration) -> Self {
        let (sender, receiver) = bounded(QUEUE_ITEMS);
        let site = Site {
            gate: Gate::new(rules()),
            origins: AllowedOrigins::Any,
            allow_credentials: false,
            proxies: Proxies::default(),
            channels_per_connection: 64,
            try_out: false,
            demo_page: b"",
            admin_token: None,
            publish_limit: 1_024,
            retry: Duration::from_secs(2),
            shedding: Shedding::Retry,
        };
        let shard = Shard::new(ShardOptions {
            index,
            epoch: EPOCH,
            site: Arc::new(site),
            limits: Limits::default(),
            heartbeat,
            lifetime: Duration::ZERO,
            drain_window: Duration::ZERO,
            callback_timeout: Duration::from_secs(3),
            counters: Arc::new(ShardCounters::default()),
            census: Arc::default(),
            seed: 1,
        });
        Self { shard, sender, receiver, volley: Vec::new(), slots: 0, free: Vec::new(), accepted: None }
    }

    /// One volley, of which the kernel would take everything.
    pub fn volley(&mut self, now: Time) -> Sent {
        self.shard.plan(now, &mut self.volley);
        let mut bytes = 0;
        for send in &self.volley {
            // As the ring does: the address of the bytes, none of the bytes themselves.
            bytes += std::hint::black_box(self.shard.bytes(send)).len();
        }
        self.shard.settle(now, &self.volley, &[]);
        Sent { sends: self.volley.len(), bytes }
    }
}

impl std::ops::Add for Sent {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { sends: self.sends + other.sends, bytes: self.bytes + other.bytes }
    }
}

/// As a browser asks.
pub fn request(query: &str) -> String {
    format!(
        "GET /events?{query} HTTP/1.1\r\nHost: localhost:8080\r\nConnection: keep-alive\r\n\
         Cache-Control: no-cache\r\nAccept: text/event-stream\r\nOrigin: https://example.org\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n\r\n"
    )
}

/// As Redis pushes a message, or as a client of the embedded broker publishes one.
pub fn message(source: Source, channel: &str, payload_bytes: usize) -> Vec<u8> {
    let payload = "x".repeat(payload_bytes);
    let (head, channel_bytes) = match source {
        Source::Redis => (">3\r\n$7\r\nmessage", channel.len()),
        Source::Embedded => ("*3\r\n$7\r\nPUBLISH", channel.len()),
    };
    format!("{head}\r\n${channel_bytes}\r\n{channel}\r\n${payload_bytes}\r\n{payload}\r\n").into_bytes()
}

/// Every channel is open, with the history that is kept by default.
fn rules() -> Rules {
    let every = Pattern::parse("*").expect("the pattern is well-formed");
    Rules::new(vec![Rule::new(every, Access::public())])
}

fn reader(source: Source, shards: u16) -> Reader {
    let upstream = match source {
        Source::Redis => Upstream::Redis(RedisOptions {
            address: RedisAddress::Tcp { host: "127.0.0.1".to_owned(), port: 6379 },
            username: None,
            password: None,
            database: 0,
            client_name: "courier-bench".to_owned(),
            dial_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(5),
        }),
        Source::Embedded => Upstream::Embedded(EmbeddedOptions {
            password: None,
            wall_clock: WallClock { at: Time::ZERO, unix: UnixTime::from_secs(1_700_000_000) },
        }),
    };
    Reader::new(ReaderOptions {
        upstream,
        epoch: EPOCH,
        rules: rules(),
        limits: Limits::default(),
        counters: Arc::new(ReaderCounters::default()),
        shards,
        seed: 1,
        control: None,
        start: Time::ZERO,
    })
}
