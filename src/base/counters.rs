//! What is counted: one table for each machine, and the cells that the numbers live in.
//!
//! A cell has one writer (its machine's thread), so adding is a relaxed load and store and no atomic operation of the
//! read-modify-write kind; the scraper only reads. Labels are closed sets, never a channel or a user.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::asked::AskOutcome;
use crate::base::disconnect::Disconnect;
use crate::base::histogram::Histogram;
use crate::base::queue::GapReason;
use crate::base::refusal::Refusal;

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    pub fn add(&self, amount: u64) {
        self.set(self.get().wrapping_add(amount));
    }

    pub fn subtract(&self, amount: u64) {
        let value = self.get();
        debug_assert!(value >= amount, "a gauge does not go below zero");
        self.set(value.wrapping_sub(amount));
    }

    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Cells by the value of one closed label.
#[derive(Debug)]
pub struct Cells<const COUNT: usize>([Cell; COUNT]);

impl<const COUNT: usize> Default for Cells<COUNT> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Cell::default()))
    }
}

impl<const COUNT: usize> std::ops::Index<usize> for Cells<COUNT> {
    type Output = Cell;

    fn index(&self, index: usize) -> &Cell {
        &self.0[index]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises; exposed with the suffix `_total`.
    Counter,
    /// Rises and falls.
    Gauge,
}

/// One row of the metrics table.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Without the prefix `courier_` and without `_total`.
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
}

macro_rules! cells {
    ($(#[doc = $doc:literal])+ $table:ident { $($field:ident: $kind:ident $help:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Default)]
        pub struct $table {
            $(#[doc = $help] pub $field: Cell,)+
        }

        impl $table {
            /// The table's rows, in the order of `values`.
            pub const METRICS: &'static [Metric] =
                &[$(Metric { name: stringify!($field), kind: Kind::$kind, help: $help },)+];

            pub fn values(&self) -> [u64; Self::METRICS.len()] {
                [$(self.$field.get(),)+]
            }
        }
    };
}

cells! {
    /// What one shard counts.
    ShardCells {
        connections: Gauge "Client connections that are open.",
        subscriptions: Gauge "Channels that connections are subscribed to, counted once for each connection.",
        channels: Gauge "Channels with at least one subscription, counted once for each shard that has one.",
        connections_accepted: Counter "Connections accepted.",
        accept_rests: Counter "Times that accepting rested because as many connections had come as limits.accept_rate says.",
        messages_delivered: Counter "Messages handed to the kernel, counted once for each subscription.",
        sent_bytes: Counter "Bytes handed to the kernel.",
        frames_encoded: Counter "Frames encoded: once for each message, wire format and shard, and once for each replayed message.",
        flushes: Counter "Turns in which at least one connection was flushed.",
        sends: Counter "Sends submitted to the kernel.",
        short_sends: Counter "Sends that the kernel took only in part, or not at all, because the client's buffer was full.",
        stale_completions: Counter "Completions that belonged to an earlier use of a slot and were dropped.",
        log_bytes: Gauge "Encoded bytes kept for subscribers that have not been sent them yet.",
        tail_bytes: Gauge "Bytes of half-sent frames, heads and replays.",
        invalid_utf8: Counter "Messages in which invalid UTF-8 was replaced by U+FFFD.",
        envelopes_plain: Counter "Messages of an envelope channel that were no envelope and were delivered as they are.",
        heartbeats: Counter "Heartbeats sent.",
        dismissals: Gauge "Users and channels that courier disconnect keeps away at present, counted once for each shard.",
        streams_kept_away: Counter "Requests for streams that were answered 204, because courier disconnect keeps their user or channel away.",
        messages_published: Counter "Messages that came over HTTP and that Redis or the embedded broker took.",
        callback_in_flight: Gauge "Questions that the application is answering.",
        callback_waiting: Gauge "Questions that wait to be asked.",
        callback_joined: Counter "Requests that waited for a question that somebody else had asked already.",
        callback_cache_hits: Counter "Requests that got an answer that the application had given before.",
        callback_cache_bytes: Gauge "Bytes of answers that may be given again.",
        callback_breakers_open: Gauge "Applications that are not asked at present because they failed, counted once for each shard.",
    }
}

cells! {
    /// What the reader counts.
    ReaderCells {
        messages_received: Counter "Messages received from Redis or through the embedded broker on subscribed channels.",
        received_bytes: Counter "Bytes received from Redis or from clients of the embedded broker.",
        redis_up: Gauge "1 while every wanted channel is subscribed at the upstream, 0 otherwise.",
        redis_reconnects: Counter "Times that the connection on which Redis is heard was made anew.",
        redis_failed_attempts: Counter "Attempts to reach Redis that came to nothing, on either connection: dials and logins.",
        redis_outage_milliseconds: Counter "How long Redis could not be heard, in total; exposed in seconds.",
        upstream_channels: Gauge "Channels that the reader is subscribed to at the upstream, or lingers on.",
        history_bytes: Gauge "Payload bytes kept for replay.",
        spill_bytes: Gauge "Bytes that wait for a shard whose queue is full.",
        control_obeyed: Counter "Orders to all couriers that were obeyed.",
        control_unsigned: Counter "Messages on the control channel that are not signed with the secret.",
        control_stale: Counter "Signed orders of another time, or that were obeyed before.",
        control_refused: Counter "Signed orders that are not understood, or that came when too many were remembered.",
        broker_clients: Gauge "Clients of the embedded broker.",
        broker_commands: Counter "Commands that the embedded broker carried out.",
        broker_protocol_errors: Counter "Clients of the embedded broker that were closed because what they sent was no Redis command.",
        broker_memory_bytes: Gauge "Bytes of the embedded broker's keys and values.",
    }
}

/// All that one shard writes and the admin side reads.
#[derive(Debug, Default)]
pub struct ShardCounters {
    pub cells: ShardCells,
    pub disconnects: Cells<{ Disconnect::ALL.len() }>,
    pub refusals: Cells<{ Refusal::ALL.len() }>,
    pub gaps: Cells<{ GapReason::ALL.len() }>,
    pub questions: Cells<{ AskOutcome::ALL.len() }>,
    /// From Redis receive to socket write: one sample a flush of a channel.
    pub delivery_lag: Histogram,
    /// Bytes in this shard's queue from the reader: the reader adds, the shard subtracts. The one cell with two
    /// writers, hence a true atomic.
    pub queue_bytes: AtomicU64,
}

impl ShardCounters {
    pub fn disconnect(&self, reason: Disconnect) {
        self.disconnects[reason as usize].add(1);
    }

    pub fn refusal(&self, reason: Refusal) {
        self.refusals[reason as usize].add(1);
    }

    pub fn question(&self, outcome: AskOutcome) {
        self.questions[outcome as usize].add(1);
    }

    /// So many subscribers were told of a gap.
    pub fn gap(&self, reason: GapReason, subscribers: u64) {
        self.gaps[reason as usize].add(subscribers);
    }
}

/// All that the reader writes and the admin side reads.
#[derive(Debug, Default)]
pub struct ReaderCounters {
    pub cells: ReaderCells,
}
