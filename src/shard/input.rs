//! What a driver tells a shard, and what a shard asks of its driver. The seam is data: the real driver and the
//! simulator are two drivers of the same machine.
//!
//! Contract of a turn: the driver calls `Shard::handle` for each input, carries out the outputs
//! in order, then calls `plan` to fill a volley of [`Send`]s, submits it in one go while the shard is not touched,
//! and reports with `settle` exactly the sends that were not taken whole. A send is never in flight after that.

use std::sync::Arc;

use bytes::Bytes;

use crate::access::EndpointIndex;
use crate::access::keys::KeyRing;
use crate::base::asked::AskOutcome;
use crate::base::peer::Network;
use crate::base::queue::{Control, Delivery};
use crate::base::slab::Key;
use crate::base::socket::{Arrival, HangUp, Slot, SocketKey};
use crate::base::time::UnixTime;
use crate::protocol::admin::AdminPage;

#[derive(Debug)]
pub enum Input<'a> {
    /// A connection was accepted into this slot; the row of the slot is free.
    Accepted { slot: Slot, arrival: Arrival },
    /// Bytes from the client.
    Received { socket: SocketKey, bytes: &'a [u8] },
    /// The receive of this socket has ended; nothing will come from it any more.
    HungUp { socket: SocketKey, cause: HangUp },
    /// The socket takes bytes again, after [`Output::AwaitWritable`].
    Writable { socket: SocketKey },
    /// Next from the reader, in order.
    Delivery(Delivery),
    /// The control queue was full: this control came back and must be offered again. Contract: once a control has come
    /// back, so do all that were put out behind it, in order, up to the next `Tick`.
    ControlReturned(Control),
    /// The answer to [`Output::AskAdmin`].
    AdminAnswer { socket: SocketKey, answer: AdminAnswer },
    /// What became of a question ([`Output::Ask`]): an answer, whatever it says, or a failure. At most once for each.
    AppReplied { question: Key, reply: Result<AppReply, AskOutcome> },
    /// What the calendar says now. Comes before everything else, and again every second or so while there is something
    /// to do: the calendar may jump.
    Calendar(UnixTime),
    /// Other keys hold from here on. Streams that were let in by the old ones go on.
    Keys(Arc<KeyRing>),
    /// The time that `Shard::next_deadline` asked for may have come.
    Tick,
    /// Stop: end the streams, over a while. Comes at most once.
    Drain,
}

#[derive(Debug)]
pub enum Output {
    /// Arm a receive that stays armed until the socket hangs up.
    Receive { socket: SocketKey },
    /// Report once when the socket takes bytes again.
    AwaitWritable { socket: SocketKey },
    /// Send FIN; the peer may still send.
    ShutdownWrite { socket: SocketKey },
    /// End both directions: the receive completes with a hang-up.
    Shutdown { socket: SocketKey },
    /// Close the descriptor; the row is free from here on. Comes only after `HungUp`.
    Close { socket: SocketKey },
    /// To the reader.
    Control(Control),
    /// Render an admin page and answer with [`Input::AdminAnswer`].
    AskAdmin { socket: SocketKey, page: AdminPage },
    /// Send this request to the application, and tell of what comes with [`Input::AppReplied`].
    Ask { question: Key, endpoint: EndpointIndex, request: Vec<u8> },
    /// The answer is not wanted any more; none is to be told of.
    StopAsking { question: Key },
    /// An application has failed again and again, the last time so, and is not asked for a while.
    AppUnavailable { endpoint: EndpointIndex, last: AskOutcome },
    /// It answers again.
    AppBack { endpoint: EndpointIndex },
    /// A burst is over, and what it needed is free: it can go back to the system.
    GiveBackMemory,
    /// A thing the operator should know, at most once a minute for each kind.
    Notice(Notice),
    /// Draining, and every stream has been told: accept nobody any more.
    StopListening,
    /// Draining, and the last connection has ended.
    Drained,
}

/// One send of a volley. At most one for each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Send {
    pub socket: SocketKey,
    pub source: Source,
    pub length: u32,
}

/// Where the bytes of a send lie; `Shard::bytes` resolves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// In the log of a stream (a channel in one wire format), from this offset.
    Log { stream: Key, start: u64 },
    /// In the connection's tail, from its beginning.
    Tail { tail: Key },
    /// In the scratch buffer of this flush: several channels in one send.
    Scratch { start: u32 },
    /// The heartbeat of the connection's protocol.
    Heartbeat,
}

/// What the kernel did with a send that it did not take whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsent {
    /// The index in the volley.
    pub index: u32,
    pub outcome: SendOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    /// It took this many bytes, fewer than the length, perhaps none: the socket's buffer is full.
    Short { sent: u32 },
    /// The connection is gone, in this way; the hang-up of its receive follows, if it has not come.
    Failed(HangUp),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminAnswer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Bytes,
}

/// What an application answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppReply {
    pub status: u16,
    pub body: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// A TLS handshake arrived on a plain port.
    TlsOnPlainPort,
    /// Somebody came when the shard had all the connections that it takes,
    ShardFull,
    /// or the process,
    ProcessFull,
    /// or an address had; this one for example,
    AddressFull(Network),
    /// or when the user had all the streams that it may have,
    UserFull,
    /// or the shard had all the channels.
    ChannelsFull,
    /// More are kept away than are remembered.
    DismissalsFull,
}

impl Notice {
    pub const KINDS: usize = 7;

    /// What it is one of, below `KINDS`.
    pub const fn kind(self) -> usize {
        match self {
            Self::TlsOnPlainPort => 0,
            Self::ShardFull => 1,
            Self::ProcessFull => 2,
            Self::AddressFull(_) => 3,
            Self::UserFull => 4,
            Self::ChannelsFull => 5,
            Self::DismissalsFull => 6,
        }
    }
}
