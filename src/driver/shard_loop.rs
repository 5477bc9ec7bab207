//! A shard's thread: the ring, the queue from the reader and the machine, turn by turn.
//!
//! A turn: reap the ring -> take from the queue -> flush at most 1,024 connections -> timers; when none of these found
//! anything to do, rest. Everything waits at one point, the doorbell; a turn itself never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use crate::access::{Endpoint, EndpointIndex};
use crate::base::asked::AskOutcome;
use crate::base::counters::ShardCounters;
use crate::base::limits::{CALLBACK_BREAKER_PAUSE, DELIVERIES_PER_TURN};
use crate::base::queue::{Control, Delivery, ShardIndex};
use crate::base::socket::{Arrival, Listener};
use crate::base::time::Time;
use crate::driver::admin::{AdminPages, slow};
use crate::driver::app::Apps;
use crate::driver::doorbell::Doorbell;
use crate::driver::keys::KeyBoard;
use crate::driver::orders::{Order, Orders, Report};
use crate::driver::survey::{Found, SlowReader, Survey, Waiting};
use crate::driver::sys::{memory, peer, time};
use crate::driver::uring::{End, Event, Ring};
use crate::protocol::admin::{AdminPage, SLOW_MAX};
use crate::protocol::site::Site;
use crate::shard::Shard;
use crate::shard::input::{Input, Notice, Output, Send, Unsent};

/// What a shard's thread works with.
#[derive(Debug)]
pub struct ShardParts {
    pub index: ShardIndex,
    pub shard: Shard,
    pub counters: Arc<ShardCounters>,
    /// From the reader.
    pub queue: Receiver<Delivery>,
    /// To the reader.
    pub controls: Sender<Control>,
    pub reader: Arc<Doorbell>,
    /// This thread's own.
    pub doorbell: Arc<Doorbell>,
    pub pages: Arc<AdminPages>,
    pub orders: Arc<Orders>,
    pub survey: Arc<Survey>,
    pub keys: Arc<KeyBoard>,
    pub reports: mpsc::Sender<Report>,
    /// What comes in on each of the ring's listeners, in their order.
    pub listeners: Vec<Listener>,
    /// The applications that the machine asks, the most connections that are kept to one, the longest answer.
    pub site: Arc<Site>,
    pub kept_connections: usize,
    pub answer_bytes: usize,
}

#[derive(Debug)]
pub struct ShardLoop {
    parts: ShardParts,
    ring: Ring,
    apps: Apps,
    volley: Vec<Send>,
    unsent: Vec<Unsent>,
    /// True from a control that came back until the next tick: those behind it come back too, in order.
    controls_blocked: bool,
    /// True if the reader has been sent controls that it has not been told of.
    owes_bell: bool,
    draining: bool,
    drained: bool,
    pauses: Told,
    rests: Told,
    /// When the machine was last told what the calendar says.
    calendar_at: Option<Time>,
    /// Which keys the machine has.
    keys_version: u64,
    /// Who has asked for slow readers and waits for all shards.
    waiting: Waiting,
}

impl ShardLoop {
    /// `ring` has been given its listeners.
    pub fn new(parts: ShardParts, ring: Ring) -> Self {
        let doorbell = Arc::clone(&parts.doorbell);
        let endpoints = parts.site.gate.endpoints();
        let apps = Apps::new(endpoints, parts.kept_connections, parts.answer_bytes, doorbell);
        Self {
            parts,
            ring,
            apps,
            volley: Vec::new(),
            unsent: Vec::new(),
            controls_blocked: false,
            owes_bell: false,
            draining: false,
            drained: false,
            pauses: Told::default(),
            rests: Told::default(),
            calendar_at: None,
            keys_version: 0,
            waiting: Waiting::default(),
        }
    }

    /// Until it is drained, or stopped.
    pub async fn run(mut self) {
        self.work().await;
        self.parts.survey.leave(self.parts.index);
    }

    async fn work(&mut self) {
        loop {
            let now = time::now();
            match self.parts.orders.present() {
                Order::Work => {}
                Order::Drain => self.drain(now),
                Order::Stop => return,
            }
            let is_busy = self.turn(now);
            if self.drained {
                // The server may have gone already; then nobody is left to be told.
                let _ = self.parts.reports.send(Report::Drained(self.parts.index));
                return;
            }
            if !is_busy {
                self.rest(now).await;
            }
        }
    }

    /// One turn; true if there was anything to do.
    // Hot: once per turn.
    fn turn(&mut self, now: Time) -> bool {
        self.tell_calendar(now);
        if let Some(ring) = self.parts.keys.newer(&mut self.keys_version) {
            self.parts.shard.handle(now, Input::Keys(ring));
        }
        self.ring.reap(now);
        let mut is_busy = false;
        while let Some(event) = self.ring.next_event() {
            is_busy = true;
            self.event(now, event);
        }
        is_busy |= self.take_deliveries(now);
        is_busy |= self.ask_apps(now);
        is_busy |= self.flush();
        is_busy |= self.tick(now);
        is_busy |= self.answer_surveys(now);
        if std::mem::take(&mut self.owes_bell) {
            self.parts.reader.notify();
        }
        is_busy
    }

    fn tell_calendar(&mut self, now: Time) {
        if self.calendar_at.is_none_or(|at| now.since(at) >= CALENDAR_INTERVAL) {
            self.calendar_at = Some(now);
            self.parts.shard.handle(now, Input::Calendar(time::unix_now()));
        }
    }

    fn event(&mut self, now: Time, event: Event) {
        let shard = &mut self.parts.shard;
        match event {
            Event::Accepted { slot, listener, peer } => {
                let arrival = Arrival { listener: self.parts.listeners[listener], peer };
                shard.handle(now, Input::Accepted { slot, arrival });
            }
            Event::Received { socket, chunk } if self.apps.owns(socket.slot) => {
                let bytes = self.ring.bytes(&chunk).to_vec();
                self.ring.give_back(chunk);
                self.apps.received(&mut self.ring, now, socket, &bytes);
            }
            Event::HungUp { socket, .. } if self.apps.owns(socket.slot) => {
                self.apps.hung_up(&mut self.ring, now, socket);
            }
            Event::Writable { socket } if self.apps.owns(socket.slot) => self.apps.writable(socket),
            Event::Received { socket, chunk } => {
                shard.handle(now, Input::Received { socket, bytes: self.ring.bytes(&chunk) });
                self.ring.give_back(chunk);
            }
            Event::HungUp { socket, cause } => shard.handle(now, Input::HungUp { socket, cause }),
            Event::Writable { socket } => shard.handle(now, Input::Writable { socket }),
            // Deadlines are looked at in every turn.
            Event::Timer => {}
        }
        self.carry_out(now);
    }

    /// Takes what the reader has sent, up to a bound, so that clients get their turn too.
    fn take_deliveries(&mut self, now: Time) -> bool {
        for count in 0..DELIVERIES_PER_TURN {
            if !self.parts.shard.takes_delivery() {
                return count > 0;
            }
            let Ok(delivery) = self.parts.queue.try_recv() else { return count > 0 };
            self.parts.counters.queue_bytes.fetch_sub(delivery.queue_bytes() as u64, Ordering::Relaxed);
            self.parts.shard.handle(now, Input::Delivery(delivery));
            self.carry_out(now);
        }
        true
    }

    /// Sends questions, and takes what applications have answered.
    fn ask_apps(&mut self, now: Time) -> bool {
        let mut is_busy = self.apps.take_names(&mut self.ring, now);
        is_busy |= self.apps.send(&mut self.ring);
        while let Some((question, reply)) = self.apps.next_reply() {
            is_busy = true;
            self.parts.shard.handle(now, Input::AppReplied { question, reply });
            self.carry_out(now);
        }
        is_busy
    }

    /// One volley.
    // Hot: one system call for up to 1,024 connections.
    fn flush(&mut self) -> bool {
        let shard = &mut self.parts.shard;
        if !shard.has_work() {
            return false;
        }
        shard.plan(time::now(), &mut self.volley);
        self.unsent.clear();
        let volley = &self.volley;
        let send = |index: usize| (volley[index].socket.slot, self.parts.shard.bytes(&volley[index]));
        self.ring.volley(volley.len(), send, &mut self.unsent);
        let now = time::now();
        self.parts.shard.settle(now, &self.volley, &self.unsent);
        self.carry_out(now);
        true
    }

    fn tick(&mut self, now: Time) -> bool {
        let is_due = self.parts.shard.next_deadline().is_some_and(|deadline| deadline <= now);
        if is_due {
            self.controls_blocked = false;
            self.parts.shard.handle(now, Input::Tick);
            self.carry_out(now);
        }
        is_due | self.apps.close_idle(&mut self.ring, now)
    }

    /// Says who reads slowly if that is asked, and passes on what all shards have said.
    fn answer_surveys(&mut self, now: Time) -> bool {
        let mut is_busy = false;
        if let Some(question) = self.parts.survey.question(self.parts.index) {
            let (count, laggards) = self.parts.shard.laggards(now, usize::from(SLOW_MAX));
            let worst = laggards.into_iter().map(|laggard| SlowReader {
                shard: self.parts.index,
                peer: self.ring.export(laggard.socket.slot).ok().and_then(|socket| peer::name(&socket)),
                channels: laggard.channels,
                bytes: laggard.bytes,
                lag: laggard.lag,
            });
            let found = Found { count, worst: worst.collect() };
            self.parts.survey.answer(self.parts.index, question, found);
            is_busy = true;
        }
        while let Some((socket, found)) = self.waiting.take_answer(&self.parts.survey) {
            self.parts.shard.handle(now, Input::AdminAnswer { socket, answer: slow::page(&found) });
            self.carry_out(now);
            is_busy = true;
        }
        is_busy
    }

    fn drain(&mut self, now: Time) {
        if !self.draining {
            self.draining = true;
            self.parts.shard.handle(now, Input::Drain);
            self.carry_out(now);
        }
    }

    async fn rest(&mut self, now: Time) {
        self.pauses.note(now, self.ring.accept_pauses(), |pauses| {
            tracing::warn!(
                shard = self.parts.index.0,
                pauses,
                "the kernel has no room for new connections: see fs.file-max and the memory that is left"
            );
        });
        self.parts.counters.cells.accept_rests.set(self.ring.accept_rests());
        self.rests.note(now, self.ring.accept_rests(), |rests| {
            tracing::warn!(
                shard = self.parts.index.0,
                rests,
                "as many connections came as limits.accept_rate says: others wait to be accepted"
            );
        });
        let Self { parts, ring, apps, draining, waiting, .. } = self;
        let deadlines = [parts.shard.next_deadline(), apps.next_deadline()];
        let deadline = deadlines.into_iter().flatten().min();
        let has_something = || {
            let has_order = parts.orders.present() > if *draining { Order::Drain } else { Order::Work };
            let has_survey =
                parts.survey.question(parts.index).is_some() || waiting.has_answer(&parts.survey);
            has_order
                || has_survey
                || apps.has_name()
                || (!parts.queue.is_empty() && parts.shard.takes_delivery())
        };
        parts.doorbell.rest(ring, now, deadline, has_something).await;
    }

    fn carry_out(&mut self, now: Time) {
        while let Some(output) = self.parts.shard.next_output() {
            match output {
                Output::Receive { socket } => self.ring.receive(socket),
                Output::AwaitWritable { socket } => self.ring.await_writable(socket),
                Output::ShutdownWrite { socket } => self.ring.shutdown(socket, End::Write),
                Output::Shutdown { socket } => self.ring.shutdown(socket, End::Both),
                Output::Close { socket } => self.ring.close(socket),
                Output::Control(control) => self.control(now, control),
                Output::AskAdmin { socket, page: AdminPage::Slow { limit } } => {
                    self.waiting.ask(&self.parts.survey, socket, usize::from(limit));
                }
                Output::AskAdmin { socket, page } => {
                    let answer = self.parts.pages.answer(now, page);
                    self.parts.shard.handle(now, Input::AdminAnswer { socket, answer });
                }
                Output::Ask { question, endpoint, request } => {
                    self.apps.ask(&mut self.ring, now, question, endpoint, request)
                }
                Output::StopAsking { question } => self.apps.stop(&mut self.ring, question),
                Output::AppUnavailable { endpoint, last } => self.warn_of_app(endpoint, last),
                Output::AppBack { endpoint } => {
                    tracing::info!(shard = self.parts.index.0, application = %self.endpoint(endpoint), "the application answers again");
                }
                Output::GiveBackMemory => memory::give_back(),
                Output::Notice(notice) => self.warn(now, notice),
                Output::StopListening => self.ring.stop_listening(),
                Output::Drained => self.drained = true,
            }
        }
    }

    fn warn(&self, now: Time, notice: Notice) {
        let shard = self.parts.index.0;
        let connections = self.parts.shard.connections();
        match notice {
            Notice::TlsOnPlainPort => warn_of_tls(now),
            Notice::ShardFull => tracing::warn!(
                shard,
                connections,
                "no room for new streams: raise RLIMIT_NOFILE or limits.connections_per_shard, or add shards"
            ),
            Notice::ProcessFull => tracing::warn!(
                shard,
                "no room for new streams: as many connections as limits.connections says are open"
            ),
            Notice::AddressFull(network) => tracing::warn!(
                shard,
                %network,
                "an address has as many connections as limits.connections_per_address says: if it is a proxy, name it in \
                 server.trusted_proxies; if many people share it, raise the limit"
            ),
            Notice::UserFull => {
                tracing::warn!(shard, "a user has as many streams as limits.streams_per_user says");
            }
            Notice::DismissalsFull => tracing::warn!(
                shard,
                "more users and channels are kept away than are remembered: the first of them may come back early"
            ),
            Notice::ChannelsFull => tracing::warn!(
                shard,
                "no room for streams of further channels: as many as limits.channels_per_shard says are subscribed to"
            ),
        }
    }

    fn warn_of_app(&self, endpoint: EndpointIndex, last: AskOutcome) {
        tracing::warn!(
            shard = self.parts.index.0,
            application = %self.endpoint(endpoint),
            failure = last.name(),
            "the application fails and is asked again in {:?}; until then clients are told to come back later",
            CALLBACK_BREAKER_PAUSE
        );
    }

    fn endpoint(&self, endpoint: EndpointIndex) -> &Endpoint {
        self.parts.site.gate.endpoint(endpoint)
    }

    fn control(&mut self, now: Time, control: Control) {
        let returned = if self.controls_blocked {
            Some(control)
        } else {
            match self.parts.controls.try_send(control) {
                Ok(()) => None,
                // A reader that has gone ends the process; until then its queue is as good as full.
                Err(error) => Some(error.into_inner()),
            }
        };
        match returned {
            None => self.owes_bell = true,
            Some(control) => {
                self.controls_blocked = true;
                self.parts.shard.handle(now, Input::ControlReturned(control));
            }
        }
    }
}

/// How long a jump of the calendar may go unnoticed.
const CALENDAR_INTERVAL: Duration = Duration::from_secs(1);

/// One line a minute for the process: each shard asks for it as often by itself.
fn warn_of_tls(now: Time) {
    static TOLD_AT_NANOS: AtomicU64 = AtomicU64::new(0);
    let told_at = TOLD_AT_NANOS.load(Ordering::Relaxed);
    let is_due = told_at == 0 || now.since(Time::from_nanos(told_at)) >= Duration::from_secs(60);
    // Of two shards that find it due at once, one says it.
    let is_mine = || {
        TOLD_AT_NANOS.compare_exchange(told_at, now.as_nanos(), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    };
    if is_due && is_mine() {
        tracing::warn!("a client tried TLS on a plain port: serve http:// here, or put a TLS proxy in front");
    }
}

/// What the operator is told of something that is counted, at most once a minute.
#[derive(Debug, Default)]
struct Told {
    count: u64,
    next: Time,
}

impl Told {
    /// Tells how many there have been since it was told last, if any.
    fn note(&mut self, now: Time, count: u64, tell: impl FnOnce(u64)) {
        if count > self.count && now >= self.next {
            tell(count - self.count);
            self.count = count;
            self.next = now.after(Duration::from_secs(60));
        }
    }
}
