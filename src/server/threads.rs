//! The threads: `courier-reader`, `courier-shard-N`, and what they share.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use crossbeam_channel::bounded;
use glommio::{LocalExecutor, LocalExecutorBuilder};

use crate::base::census::Census;
use crate::base::counters::{ReaderCounters, ShardCounters};
use crate::base::limits::{CONNECTIONS_SPARE, CONTROL_ITEMS, Limits, QUEUE_ITEMS};
use crate::base::number::small;
use crate::base::position::Epoch;
use crate::base::queue::ShardIndex;
use crate::base::random::Random;
use crate::base::socket::Listener;
use crate::config::{self, Config};
use crate::driver::admin::AdminPages;
use crate::driver::dialer::{Dialer, Target};
use crate::driver::doorbell::Doorbell;
use crate::driver::keys::{KeyBoard, KeyWatch};
use crate::driver::log::DroppedLines;
use crate::driver::orders::{Order, Orders, Report};
use crate::driver::placement::{Machine, Placement, PlacementError, Wish};
use crate::driver::reader_loop::{ReaderLoop, ReaderParts, ShardQueue};
use crate::driver::shard_loop::{ShardLoop, ShardParts};
use crate::driver::survey::Survey;
use crate::driver::sys::listen::{ListenError, Listening, Place};
use crate::driver::sys::process::{self, Resource};
use crate::driver::sys::signals::Signals;
use crate::driver::sys::time;
use crate::driver::uring::{Ring, RingOptions};
use crate::reader::Reader;
use crate::server::machines;
use crate::shard::Shard;

/// All that runs. Threads are detached: they report, and the process ends when the server does.
#[derive(Debug)]
pub(super) struct Threads {
    pub(super) placement: Placement,
    /// What the tables of all shards have room for, each.
    pub(super) connections_per_shard: usize,
    orders: Arc<Orders>,
    /// The shards' in their order, then the reader's.
    doorbells: Vec<Arc<Doorbell>>,
    counters: Arc<Vec<Arc<ShardCounters>>>,
    pages: Arc<AdminPages>,
    keys: Arc<KeyBoard>,
    listening: ListeningPlaces,
}

/// Where this process listens; the claims are held as long as this lives.
#[derive(Debug)]
struct ListeningPlaces {
    web: Vec<Listening>,
    admin: Listening,
    broker: Option<Listening>,
}

/// What all threads are started with.
struct Start<'a> {
    config: &'a Config,
    reports: &'a Sender<Report>,
    epoch: Epoch,
    random: Random,
    /// The limit of the process.
    descriptors: u64,
}

/// Why it does not start: one line for the operator.
#[derive(Debug)]
pub(super) enum StartError {
    Placement(PlacementError),
    Listen(ListenError),
    System { what: &'static str, error: io::Error },
}

impl Threads {
    pub(super) fn start(
        config: &Config,
        reports: &Sender<Report>,
        dropped_log_lines: DroppedLines,
    ) -> Result<Self, StartError> {
        let descriptors = process::raise(Resource::Descriptors).map_err(system("RLIMIT_NOFILE"))?;
        let placement = placement(config)?;
        let shards = u16::try_from(placement.shards.len()).expect("a bound in limits keeps it small");
        let listening = ListeningPlaces::open(config, usize::from(shards))?;
        let counters: Vec<_> = (0..shards).map(|_| Arc::new(ShardCounters::default())).collect();
        let counters = Arc::new(counters);
        let reader_counters = Arc::new(ReaderCounters::default());
        let keys = Arc::new(KeyBoard::new(config.keys.clone()));
        let pages =
            AdminPages::new(counters.clone(), reader_counters.clone(), "io_uring", Some(dropped_log_lines))
                .with_keys(Arc::clone(&keys));
        let doorbells = (0..=shards).map(|_| Doorbell::new().map(Arc::new)).collect::<io::Result<_>>();
        let spare = shard_spare(config);
        let slots = shard_ring(&config.limits, spare, descriptors.soft).slots;
        let mut threads = Self {
            placement,
            connections_per_shard: connections(&config.limits, spare, slots),
            orders: Arc::default(),
            doorbells: doorbells.map_err(system("eventfd"))?,
            counters,
            pages: Arc::new(pages),
            keys,
            listening,
        };
        let seed = time::random().map_err(system("getrandom"))?;
        let mut start = Start {
            config,
            reports,
            epoch: Epoch(time::random().map_err(system("getrandom"))?),
            random: Random::new(seed),
            descriptors: descriptors.soft,
        };
        let queues = threads.start_shards(&mut start)?;
        threads.start_reader(&mut start, &reader_counters, queues)?;
        let watch = KeyWatch::new(Arc::clone(&threads.keys), config.key_files.clone());
        watch.start().map_err(system("a thread"))?;
        Ok(threads)
    }

    /// Starts all shards; the reader's ends of their queues.
    fn start_shards(&mut self, start: &mut Start<'_>) -> Result<Vec<ShardQueue>, StartError> {
        let site = Arc::new(machines::site(start.config));
        let census = Arc::new(Census::default());
        let survey = Arc::new(Survey::new(self.doorbells[..self.shards()].to_vec()));
        let mut queues = Vec::new();
        for index in (0..).take(self.shards()).map(ShardIndex) {
            let (queue, queue_end) = bounded(QUEUE_ITEMS);
            let (controls, controls_end) = bounded(CONTROL_ITEMS);
            let (doorbell, counters) = (&self.doorbells[index.index()], &self.counters[index.index()]);
            queues.push(ShardQueue {
                queue,
                controls: controls_end,
                doorbell: Arc::clone(doorbell),
                counters: Arc::clone(counters),
                bytes_max: start.config.limits.queue_bytes,
            });
            let random = &mut start.random;
            let mut options =
                machines::shard(start.config, index, start.epoch, &site, counters, &census, random);
            let ring = shard_ring(&start.config.limits, shard_spare(start.config), start.descriptors);
            options.limits.connections_per_shard = self.connections_per_shard;
            let parts = ShardParts {
                index,
                shard: Shard::new(options),
                counters: Arc::clone(counters),
                queue: queue_end,
                controls,
                reader: Arc::clone(self.reader_doorbell()),
                doorbell: Arc::clone(doorbell),
                pages: Arc::clone(&self.pages),
                orders: Arc::clone(&self.orders),
                survey: Arc::clone(&survey),
                keys: Arc::clone(&self.keys),
                reports: start.reports.clone(),
                listeners: self.listening.kinds(),
                site: Arc::clone(&site),
                kept_connections: start.config.limits.callback_in_flight,
                answer_bytes: start.config.limits.callback_answer_bytes,
            };
            let sockets = self.listening.take_shard();
            let thread = Thread {
                name: format!("courier-shard-{}", index.0),
                cpus: self.placement.cpus(self.placement.shards[index.index()]),
                reports: start.reports.clone(),
            };
            let wants_peers = machines::wants_peers(start.config);
            let accept_rate = small(start.config.limits.accept_rate);
            thread.start(move |thread| run_shard(thread, parts, ring, sockets, wants_peers, accept_rate))?;
        }
        Ok(queues)
    }

    fn start_reader(
        &mut self,
        start: &mut Start<'_>,
        counters: &Arc<ReaderCounters>,
        queues: Vec<ShardQueue>,
    ) -> Result<(), StartError> {
        let config = start.config;
        let shards = u16::try_from(self.shards()).expect("a bound in limits keeps it small");
        let options = machines::reader(config, shards, start.epoch, counters, time::now(), &mut start.random);
        let dialer = match &config.upstream {
            config::Upstream::Broker(_) => None,
            config::Upstream::Redis(redis) => {
                let target =
                    Target { address: redis.url.address.clone(), password_file: redis.password_file.clone() };
                let dialer = Dialer::start(&target, redis.dial_timeout, self.reader_doorbell());
                Some(dialer.map_err(system("a dialing thread"))?)
            }
        };
        let parts = ReaderParts {
            reader: Reader::new(options),
            shards: queues,
            dialer,
            doorbell: Arc::clone(self.reader_doorbell()),
            pages: Arc::clone(&self.pages),
            orders: Arc::clone(&self.orders),
            reports: start.reports.clone(),
        };
        let sockets = self.listening.take_reader();
        let thread = Thread {
            name: "courier-reader".into(),
            cpus: self.placement.cpus(self.placement.reader),
            reports: start.reports.clone(),
        };
        let ring = reader_ring(&config.limits, start.descriptors);
        thread.start(move |thread| run_reader(thread, parts, ring, sockets))
    }

    /// Gives an order and tells everybody.
    pub(super) fn order(&self, order: Order) {
        self.pages.drain();
        self.orders.give(order);
        for doorbell in &self.doorbells {
            doorbell.notify();
        }
    }

    /// Shards and reader.
    pub(super) fn count(&self) -> usize {
        self.doorbells.len()
    }

    pub(super) fn shards(&self) -> usize {
        self.placement.shards.len()
    }

    /// Open connections of all shards.
    pub(super) fn connections(&self) -> u64 {
        self.counters.iter().map(|counters| counters.cells.connections.get()).sum()
    }

    /// The configuration with the ports that were really taken.
    pub(super) fn listening_as(&self, config: &Config) -> Config {
        let mut config = config.clone();
        let places = &self.listening;
        for (address, listening) in config.listen.iter_mut().zip(&places.web) {
            *address = machines::taken(address, &listening.place);
        }
        config.admin = machines::taken(&config.admin, &places.admin.place);
        if let (config::Upstream::Broker(broker), Some(listening)) = (&mut config.upstream, &places.broker) {
            broker.listen = machines::taken(&broker.listen, &listening.place);
        }
        config
    }

    pub(super) fn remove_socket_files(&self) {
        for listening in self.listening.all() {
            if let Place::Unix { path, .. } = &listening.place {
                // Gone already, or not ours to remove any more: either way nobody is served there.
                let _ = std::fs::remove_file(path);
            }
        }
    }

    fn reader_doorbell(&self) -> &Arc<Doorbell> {
        self.doorbells.last().expect("the reader has one")
    }
}

/// Starts the thread that receives the signals.
pub(super) fn receive_signals(mut signals: Signals, reports: Sender<Report>) -> io::Result<()> {
    std::thread::Builder::new().name("courier-signals".into()).spawn(move || {
        while let Ok(signal) = signals.receive() {
            if reports.send(Report::Signal(signal)).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

fn placement(config: &Config) -> Result<Placement, StartError> {
    let affinity = process::affinity().map_err(system("sched_getaffinity"))?;
    let machine = Machine::read(&affinity, |path| std::fs::read_to_string(path).ok());
    let wish = Wish { shards: config.shards, cpus: config.cpus.clone(), reader_cpu: config.reader_cpu };
    machine.place(&wish).map_err(StartError::Placement)
}

impl ListeningPlaces {
    fn open(config: &Config, shards: usize) -> Result<Self, StartError> {
        let open = |address, sockets| {
            let place = machines::place(address);
            Listening::open(&place, sockets, config.limits.send_buffer_bytes).map_err(StartError::Listen)
        };
        Ok(Self {
            web: config.listen.iter().map(|address| open(address, shards)).collect::<Result<_, _>>()?,
            admin: open(&config.admin, shards)?,
            broker: match &config.upstream {
                config::Upstream::Redis(_) => None,
                config::Upstream::Broker(broker) => Some(open(&broker.listen, 1)?),
            },
        })
    }

    /// What comes in on a shard's listeners, in their order.
    fn kinds(&self) -> Vec<Listener> {
        let mut kinds = vec![Listener::Web; self.web.len()];
        kinds.push(Listener::Admin);
        kinds
    }

    /// One socket of each place of a shard, in the order of `kinds`.
    fn take_shard(&mut self) -> Vec<OwnedFd> {
        let places = self.web.iter_mut().chain([&mut self.admin]);
        places.map(|place| place.sockets.pop().expect("a socket was opened for each shard")).collect()
    }

    fn take_reader(&mut self) -> Vec<OwnedFd> {
        self.broker.iter_mut().flat_map(|place| place.sockets.drain(..)).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Listening> {
        self.web.iter().chain([&self.admin]).chain(&self.broker)
    }
}

/// A thread to be started.
struct Thread {
    name: String,
    cpus: Vec<usize>,
    reports: Sender<Report>,
}

impl Thread {
    fn start(self, run: impl FnOnce(&Self) + Send + 'static) -> Result<(), StartError> {
        let builder = std::thread::Builder::new().name(self.name.clone());
        let spawned = builder.spawn(move || {
            run(&self);
            // The server may have gone already; then nobody is left to be told.
            let _ = self.reports.send(Report::Returned { thread: self.name });
        });
        spawned.map(drop).map_err(system("a thread"))
    }

    /// The executor and the ring of this thread; what fails is reported.
    fn set_up(&self, options: RingOptions, doorbell: &Doorbell) -> Option<(LocalExecutor, Ring)> {
        let set_up = || -> Result<_, String> {
            process::bind(&self.cpus).map_err(|error| format!("CPUs {:?}: {error}", self.cpus))?;
            // glommio hosts the thread's one task; its buffers for files are not used.
            let builder = LocalExecutorBuilder::default().name(&self.name).io_memory(0);
            let executor = builder.make().map_err(|error| error.to_string())?;
            let ring = Ring::new(options, doorbell.bells()).map_err(|error| error.to_string())?;
            Ok((executor, ring))
        };
        match set_up() {
            Ok(parts) => {
                let _ = self.reports.send(Report::Ready);
                Some(parts)
            }
            Err(reason) => {
                let _ = self.reports.send(Report::Failed { thread: self.name.clone(), reason });
                None
            }
        }
    }
}

fn run_shard(
    thread: &Thread,
    parts: ShardParts,
    options: RingOptions,
    sockets: Vec<OwnedFd>,
    wants_peers: bool,
    accept_rate: u32,
) {
    if let Some((executor, mut ring)) = thread.set_up(options, &parts.doorbell) {
        ring.listen(sockets);
        if wants_peers {
            ring.want_peers();
        }
        if accept_rate > 0 {
            let web = parts.listeners.iter().filter(|&&listener| listener == Listener::Web).count();
            ring.pace_accepts(accept_rate, web, time::now());
        }
        executor.run(ShardLoop::new(parts, ring).run());
    }
}

fn run_reader(thread: &Thread, parts: ReaderParts, options: RingOptions, sockets: Vec<OwnedFd>) {
    if let Some((executor, mut ring)) = thread.set_up(options, &parts.doorbell) {
        ring.listen(sockets);
        executor.run(ReaderLoop::new(parts, ring).run());
    }
}

/// Slots beside those of clients: for those who are told that there are too many, for the admin side, and for connections
/// to applications, those that are kept and those under way.
fn shard_spare(config: &Config) -> usize {
    let to_applications = config.endpoints.len().min(1) * 2 * config.limits.callback_in_flight;
    CONNECTIONS_SPARE + to_applications
}

/// Clients send little and often at once: many small buffers.
fn shard_ring(limits: &Limits, spare: usize, descriptors: u64) -> RingOptions {
    let wanted = limits.connections_per_shard + spare;
    RingOptions { slots: slots(wanted, descriptors), buffers: 256, buffer_bytes: 4_096 }
}

/// Redis sends much on one connection: few large buffers.
fn reader_ring(limits: &Limits, descriptors: u64) -> RingOptions {
    let clients = limits.broker_clients + READER_SLOTS_SPARE;
    RingOptions { slots: slots(clients, descriptors), buffers: 64, buffer_bytes: 65_536 }
}

/// RLIMIT_NOFILE bounds each ring's file table, apart from the descriptors of the process.
fn slots(wanted: usize, descriptors: u64) -> u32 {
    let slots = u64::try_from(wanted).unwrap_or(u64::MAX).min(descriptors).min(SLOTS_MAX);
    u32::try_from(slots).expect("the table's bound has 21 bits")
}

/// How many connections a table of so many slots has room for, with some to spare: where there are fewer slots than
/// were wished for, a part of them.
fn connections(limits: &Limits, spare: usize, slots: u32) -> usize {
    let slots = slots as usize;
    limits.connections_per_shard.min(slots - spare.min(slots / 2))
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |error| StartError::System { what, error }
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Placement(error) => error.fmt(formatter),
            Self::Listen(error) => error.fmt(formatter),
            Self::System { what, error } => write!(formatter, "{what}: {error}"),
        }
    }
}

/// Both links to Redis, and clients of the broker that are told that there are too many.
const READER_SLOTS_SPARE: usize = 64;
/// IORING_MAX_FIXED_FILES.
const SLOTS_MAX: u64 = 1 << 20;
