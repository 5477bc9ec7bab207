//! One connection to Redis: dialed, logged in, watched, and dialed again after a jittered wait.
//!
//! Knows nothing of what is asked once it is ready. Liveness counts any bytes: after `ping_interval` of silence a PING is
//! due, and after `ping_timeout` more without a byte the link is given up, also in the middle of a frame.
//!
//! Invariant: `outgoing` is empty unless there is a socket.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::random::Random;
use crate::base::socket::SocketKey;
use crate::base::time::Time;
use crate::reader::RedisOptions;
use crate::reader::redis::login::{self, Failure, Step};
use crate::wire::resp::reply::{Decoder, Reply};

#[derive(Debug)]
pub(super) struct Connection {
    state: State,
    pub(super) decoder: Decoder,
    pub(super) outgoing: Outgoing,
    /// Since the last login that succeeded.
    failures: u32,
}

#[derive(Debug)]
enum State {
    Idle { until: Time },
    Dialing,
    Login { socket: SocketKey, steps: VecDeque<Step>, deadline: Time },
    Ready { socket: SocketKey, liveness: Liveness },
}

#[derive(Debug, Clone, Copy)]
enum Liveness {
    /// The last bytes came at this time.
    Heard { at: Time },
    /// A PING went out at this time, and nothing has come since.
    Pinged { at: Time },
}

/// Bytes that Redis has not been sent yet.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) bytes: Vec<u8>,
    sent: usize,
    /// True exactly while the socket takes no bytes and its `Writable` is awaited.
    is_blocked: bool,
}

/// What the passing of time asks of a link.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Dial,
    Ping,
    GiveUp(&'static str),
}

impl Connection {
    /// A link that is being dialed.
    pub(super) fn new() -> Self {
        Self {
            state: State::Dialing,
            decoder: Decoder::default(),
            outgoing: Outgoing::default(),
            failures: 0,
        }
    }

    pub(super) fn socket(&self) -> Option<SocketKey> {
        match self.state {
            State::Idle { .. } | State::Dialing => None,
            State::Login { socket, .. } | State::Ready { socket, .. } => Some(socket),
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    /// The dial succeeded: the login goes out.
    pub(super) fn connected(&mut self, now: Time, socket: SocketKey, options: &RedisOptions) {
        assert!(matches!(self.state, State::Dialing), "a link is connected when it was dialed");
        let steps = login::write(options, &mut self.outgoing.bytes);
        self.state = State::Login { socket, steps, deadline: now.after(options.ping_timeout) };
    }

    /// Bytes came.
    pub(super) fn heard(&mut self, now: Time) {
        if let State::Ready { liveness, .. } = &mut self.state {
            *liveness = Liveness::Heard { at: now };
        }
    }

    /// A reply that belongs to the login; whether the link is ready with it.
    pub(super) fn answered_login(&mut self, now: Time, reply: &Reply) -> Result<bool, Failure> {
        let State::Login { socket, steps, .. } = &mut self.state else {
            unreachable!("a login is answered while it lasts");
        };
        let step = steps.pop_front().expect("a login that awaits no answer is over");
        login::judge(step, reply)?;
        if !steps.is_empty() {
            return Ok(false);
        }
        self.state = State::Ready { socket: *socket, liveness: Liveness::Heard { at: now } };
        self.failures = 0;
        Ok(true)
    }

    /// The link is given up, or could not be made; it will be dialed again.
    pub(super) fn fail(&mut self, now: Time, random: &mut Random) {
        let span = BACKOFF_FIRST.saturating_mul(1 << self.failures.min(BACKOFF_DOUBLINGS)).min(BACKOFF_LAST);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Idle { until: now.after(random.jitter(span)) };
        self.decoder = Decoder::default();
        self.outgoing = Outgoing::default();
    }

    pub(super) fn due(&self, now: Time, options: &RedisOptions) -> Due {
        if self.next_deadline(options).is_none_or(|deadline| now < deadline) {
            return Due::Nothing;
        }
        match self.state {
            State::Idle { .. } => Due::Dial,
            State::Dialing => Due::Nothing,
            State::Login { .. } => Due::GiveUp("it did not answer the login"),
            State::Ready { liveness: Liveness::Heard { .. }, .. } => Due::Ping,
            State::Ready { liveness: Liveness::Pinged { .. }, .. } => Due::GiveUp("it did not answer a PING"),
        }
    }

    pub(super) fn dialing(&mut self) {
        self.state = State::Dialing;
    }

    /// A PING went out; its answer may take no longer than that of one before it.
    pub(super) fn pinged(&mut self, now: Time) {
        if let State::Ready { liveness: liveness @ Liveness::Heard { .. }, .. } = &mut self.state {
            *liveness = Liveness::Pinged { at: now };
        }
    }

    pub(super) fn next_deadline(&self, options: &RedisOptions) -> Option<Time> {
        match self.state {
            State::Idle { until } => Some(until),
            State::Dialing => None,
            State::Login { deadline, .. } => Some(deadline),
            State::Ready { liveness: Liveness::Heard { at }, .. } => Some(at.after(options.ping_interval)),
            State::Ready { liveness: Liveness::Pinged { at }, .. } => Some(at.after(options.ping_timeout)),
        }
    }
}

impl Outgoing {
    /// What the socket may be sent now.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    pub(super) fn is_sendable(&self) -> bool {
        !self.is_blocked && self.sent < self.bytes.len()
    }

    /// The kernel took so many bytes; whether it takes no more at present.
    pub(super) fn sent(&mut self, bytes: usize) -> bool {
        self.sent += bytes;
        assert!(self.sent <= self.bytes.len(), "no more is sent than there is");
        if self.sent < self.bytes.len() {
            self.is_blocked = true;
            return true;
        }
        self.bytes.clear();
        self.bytes.shrink_to(OUTGOING_BYTES_KEPT);
        self.sent = 0;
        false
    }

    pub(super) fn writable(&mut self) {
        self.is_blocked = false;
    }
}

const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_LAST: Duration = Duration::from_secs(2);
/// 50 ms doubled so often is more than the last.
const BACKOFF_DOUBLINGS: u32 = 6;
const OUTGOING_BYTES_KEPT: usize = 64 * 1_024;
