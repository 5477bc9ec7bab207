//! The reader's thread: Redis or the embedded broker's clients on one side, the shards' queues on the other.
//!
//! A turn: reap the ring -> outcomes of dials -> controls of the shards -> timers -> fill the queues -> send; when none
//! of these found anything to do, rest. What a full queue does not take stays in the machine, which bounds it; it is
//! offered again every millisecond, and no controls of that shard are taken while too much of it is there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::base::counters::ShardCounters;
use crate::base::limits::{CONTROLS_PER_TURN, FLUSH_CONNECTIONS};
use crate::base::queue::{Control, Delivery, ShardIndex};
use crate::base::socket::SocketKey;
use crate::base::time::Time;
use crate::driver::admin::AdminPages;
use crate::driver::dialer::{Dialed, Dialer};
use crate::driver::doorbell::Doorbell;
use crate::driver::orders::{Order, Orders, Report};
use crate::driver::sys::time;
use crate::driver::uring::{End, Event, Ring};
use crate::reader::Reader;
use crate::reader::input::{Input, Link, Notice, Output};
use crate::shard::input::{SendOutcome, Unsent};

/// What the reader's thread works with.
#[derive(Debug)]
pub struct ReaderParts {
    pub reader: Reader,
    /// In the order of their indexes.
    pub shards: Vec<ShardQueue>,
    /// Only with a Redis to dial.
    pub dialer: Option<Dialer>,
    /// This thread's own.
    pub doorbell: Arc<Doorbell>,
    pub pages: Arc<AdminPages>,
    pub orders: Arc<Orders>,
    pub reports: mpsc::Sender<Report>,
}

/// The reader's ends of one shard's queues.
#[derive(Debug)]
pub struct ShardQueue {
    pub queue: Sender<Delivery>,
    /// The other direction.
    pub controls: Receiver<Control>,
    pub doorbell: Arc<Doorbell>,
    pub counters: Arc<ShardCounters>,
    /// The bytes that the queue holds at most; one item may go beyond.
    pub bytes_max: usize,
}

#[derive(Debug)]
pub struct ReaderLoop {
    parts: ReaderParts,
    ring: Ring,
    sending: Vec<(SocketKey, usize)>,
    unsent: Vec<Unsent>,
    /// When full queues are tried again.
    retry_at: Option<Time>,
    /// True once the upstream was up: from then on a refusal is a state and no reason to end.
    was_up: bool,
    /// True once the server was told how the first try to reach Redis went.
    was_tried: bool,
    draining: bool,
    /// When the machine was last told what the calendar says.
    calendar_at: Option<Time>,
}

impl ReaderLoop {
    /// `ring` has been given the broker's listener, if there is one.
    pub fn new(parts: ReaderParts, ring: Ring) -> Self {
        Self {
            parts,
            ring,
            sending: Vec::new(),
            unsent: Vec::new(),
            retry_at: None,
            was_up: false,
            was_tried: false,
            draining: false,
            calendar_at: None,
        }
    }

    /// Until it is stopped.
    pub async fn run(mut self) {
        loop {
            match self.parts.orders.present() {
                Order::Work => {}
                Order::Drain if self.draining => {}
                Order::Drain => {
                    self.draining = true;
                    self.ring.stop_listening();
                }
                Order::Stop => return,
            }
            let now = time::now();
            if !self.turn(now) {
                self.rest(now).await;
            }
        }
    }

    /// One turn; true if there was anything to do.
    // Hot: once per read of the upstream.
    fn turn(&mut self, now: Time) -> bool {
        self.tell_calendar(now);
        self.ring.reap(now);
        let mut is_busy = false;
        while let Some(event) = self.ring.next_event() {
            is_busy = true;
            self.event(now, event);
        }
        is_busy |= self.take_dials(now);
        is_busy |= self.take_controls(now);
        is_busy |= self.tick(now);
        // The first turn of all finds what a new machine wants.
        self.carry_out();
        is_busy |= self.fill_queues(now);
        is_busy |= self.send(now);
        is_busy
    }

    fn tell_calendar(&mut self, now: Time) {
        if self.calendar_at.is_none_or(|at| now.since(at) >= CALENDAR_INTERVAL) {
            self.calendar_at = Some(now);
            self.parts.reader.handle(now, Input::Calendar(time::unix_now()));
        }
    }

    fn event(&mut self, now: Time, event: Event) {
        let reader = &mut self.parts.reader;
        match event {
            Event::Accepted { slot, .. } => reader.handle(now, Input::Accepted { slot }),
            Event::Received { socket, chunk } => {
                reader.handle(now, Input::Received { socket, bytes: self.ring.bytes(&chunk) });
                self.ring.give_back(chunk);
            }
            Event::HungUp { socket, cause } => reader.handle(now, Input::HungUp { socket, cause }),
            Event::Writable { socket } => reader.handle(now, Input::Writable { socket }),
            // Deadlines are looked at in every turn.
            Event::Timer => {}
        }
        self.carry_out();
    }

    fn take_dials(&mut self, now: Time) -> bool {
        let mut is_busy = false;
        while let Some((link, outcome)) = self.parts.dialer.as_mut().and_then(Dialer::next_result) {
            is_busy = true;
            let installed = outcome.and_then(|Dialed { descriptor, password }| {
                let slot = self.ring.install(descriptor);
                Ok((slot.map_err(|error| format!("no room for the connection: {error}"))?, password))
            });
            match installed {
                Ok((slot, password)) => {
                    if let Some(password) = password {
                        self.parts.reader.handle(now, Input::Password(password));
                    }
                    self.parts.reader.handle(now, Input::Connected { link, slot });
                }
                Err(reason) => self.parts.reader.handle(now, Input::DialFailed { link, reason: &reason }),
            }
            self.carry_out();
        }
        is_busy
    }

    /// Takes what the shards have sent, up to a bound, so that messages are not held up by a storm of joins. The answers
    /// go into the queues as they come: in a storm of resumes they are larger together than what the machine keeps. A
    /// shard whose answers have no room waits, and no other shard does.
    fn take_controls(&mut self, now: Time) -> bool {
        let share = (CONTROLS_PER_TURN / self.parts.shards.len()).max(1);
        let mut is_busy = false;
        for shard in (0..).take(self.parts.shards.len()).map(ShardIndex) {
            for _ in 0..share {
                if !self.parts.reader.takes_control(shard) {
                    is_busy |= self.fill_queues(now);
                    if !self.parts.reader.takes_control(shard) {
                        break;
                    }
                }
                let Ok(control) = self.parts.shards[shard.index()].controls.try_recv() else { break };
                self.parts.reader.handle(now, Input::Control(control));
                self.carry_out();
                is_busy = true;
            }
        }
        is_busy
    }

    fn tick(&mut self, now: Time) -> bool {
        let is_due = self.parts.reader.next_deadline().is_some_and(|deadline| deadline <= now);
        if is_due {
            self.parts.reader.handle(now, Input::Tick);
            self.carry_out();
        }
        is_due
    }

    /// Sends to each socket that has something, once each.
    fn send(&mut self, now: Time) -> bool {
        self.sending.clear();
        while self.sending.len() < FLUSH_CONNECTIONS {
            let Some(socket) = self.parts.reader.next_to_send() else { break };
            // A machine that has one socket at a time names it until it has been sent.
            if self.sending.iter().any(|(sending, _)| *sending == socket) {
                break;
            }
            self.sending.push((socket, self.parts.reader.outgoing(socket).len()));
        }
        if self.sending.is_empty() {
            return false;
        }
        self.unsent.clear();
        let (sending, reader) = (&self.sending, &self.parts.reader);
        let send = |index: usize| (sending[index].0.slot, reader.outgoing(sending[index].0));
        self.ring.volley(sending.len(), send, &mut self.unsent);
        for unsent in &self.unsent {
            let sent = match unsent.outcome {
                SendOutcome::Short { sent } => sent as usize,
                // The hang-up follows.
                SendOutcome::Failed(_) => 0,
            };
            self.sending[unsent.index as usize].1 = sent;
        }
        for &(socket, sent) in &self.sending {
            self.parts.reader.sent(now, socket, sent);
        }
        self.carry_out();
        true
    }

    /// Moves deliveries into the queues while they have room. True if any was moved.
    // Hot: once per turn and shard; one bell for each shard that sleeps.
    fn fill_queues(&mut self, now: Time) -> bool {
        self.retry_at = None;
        let mut is_busy = false;
        for (index, shard) in (0..).map(ShardIndex).zip(&self.parts.shards) {
            let mut has_new = false;
            // Looked at once an item: a queue that gets room behind a second look would never be tried again.
            let is_full = loop {
                if !shard.has_room() {
                    break true;
                }
                let Some(delivery) = self.parts.reader.next_delivery(index) else { break false };
                let bytes = delivery.queue_bytes() as u64;
                shard.counters.queue_bytes.fetch_add(bytes, Ordering::Relaxed);
                match shard.queue.try_send(delivery) {
                    Ok(()) => has_new = true,
                    Err(TrySendError::Full(_)) => {
                        unreachable!("only the reader fills the queue, and it had room")
                    }
                    // The shard has drained and gone; what was meant for it is for nobody.
                    Err(TrySendError::Disconnected(_)) => {
                        shard.counters.queue_bytes.fetch_sub(bytes, Ordering::Relaxed);
                    }
                }
            };
            if is_full {
                self.retry_at = Some(now.after(QUEUE_RETRY));
            }
            if has_new {
                is_busy = true;
                shard.doorbell.notify();
            }
        }
        is_busy
    }

    async fn rest(&mut self, now: Time) {
        let Self { parts, ring, draining, retry_at, .. } = self;
        let dials = parts.dialer.as_ref().and_then(Dialer::wait).map(|wait| now.after(wait));
        let deadline = [parts.reader.next_deadline(), *retry_at, dials].into_iter().flatten().min();
        let has_something = || {
            let has_order = parts.orders.present() > if *draining { Order::Drain } else { Order::Work };
            let has_dial = parts.dialer.as_ref().is_some_and(Dialer::has_result);
            // Controls that the machine does not take wait for a queue, which is tried again at `retry_at`.
            let has_control = |(index, shard): (u16, &ShardQueue)| {
                !shard.controls.is_empty() && parts.reader.takes_control(ShardIndex(index))
            };
            has_order || has_dial || (0..).zip(&parts.shards).any(has_control)
        };
        parts.doorbell.rest(ring, now, deadline, has_something).await;
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.parts.reader.next_output() {
            match output {
                Output::Dial { link } => self.dial(link),
                Output::Receive { socket } => self.ring.receive(socket),
                Output::AwaitWritable { socket } => self.ring.await_writable(socket),
                Output::Shutdown { socket } => self.ring.shutdown(socket, End::Both),
                Output::Close { socket } => self.ring.close(socket),
                Output::Unheard { reason } => self.parts.pages.redis_is_unheard(reason),
                Output::Notice(notice) => self.notice(notice),
            }
        }
    }

    fn dial(&mut self, link: Link) {
        let dialer = self.parts.dialer.as_mut();
        dialer.expect("a reader that dials was given a dialer").dial(link);
    }

    fn notice(&mut self, notice: Notice) {
        if matches!(notice, Notice::Up { .. } | Notice::Down { .. }) && !self.was_tried {
            self.was_tried = true;
            // The server ends without it; then nobody is left to be told.
            let _ = self.parts.reports.send(Report::Tried);
        }
        match notice {
            Notice::Up { outage } if self.was_up => {
                tracing::info!(outage_seconds = outage.as_secs_f64(), "redis is heard again");
            }
            Notice::Up { .. } => {
                self.was_up = true;
                tracing::info!("redis is heard");
            }
            Notice::Down { reason } => tracing::warn!(reason, "redis cannot be heard"),
            Notice::Refused { reason } if self.was_up => {
                tracing::error!(reason, "redis refuses courier; trying again");
            }
            Notice::Refused { reason } => {
                // The server ends the process; if it has gone already, that is under way.
                let _ = self.parts.reports.send(Report::Refused { reason });
            }
            Notice::AskLost { reason } => {
                tracing::warn!(reason, "redis takes no publishes; its messages are heard");
            }
            Notice::AskBack => tracing::info!("redis takes publishes again"),
            Notice::Forbidden { channels, first } => {
                tracing::warn!(channels, first, "redis does not let courier read channels: see ACL LIST");
            }
            Notice::Ordered { whom } => tracing::info!(whom, "streams are ended, as ordered"),
            Notice::BadOrder(bad) => {
                tracing::warn!(reason = ?bad, "a message on courier:control is not obeyed; others like it are only counted");
            }
            Notice::QueueFull { shard } => {
                tracing::warn!(shard, "a shard does not keep up: subscribers are told of a gap");
            }
        }
    }
}

impl ShardQueue {
    fn has_room(&self) -> bool {
        let bytes = self.counters.queue_bytes.load(Ordering::Relaxed);
        !self.queue.is_full() && bytes < self.bytes_max as u64
    }
}

/// How far the machine's calendar may be behind.
const CALENDAR_INTERVAL: Duration = Duration::from_secs(1);
/// How long a full queue is left alone.
const QUEUE_RETRY: Duration = Duration::from_millis(1);
