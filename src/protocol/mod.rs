//! One file a client protocol: how a connection opens, what its frames look like, how it is kept alive and closed.
//!
//! Protocols are an enum, not a trait object: a new one is a file, an arm in `WireFormat` and a page in docs.

use std::time::Duration;

use crate::base::channel::{ChannelName, PayloadMode};
use crate::base::position::{Epoch, Position};
use crate::base::queue::GapReason;

pub mod admin;
mod answer;
mod batch;
mod cors;
pub mod inquiry;
pub mod publish;
pub mod site;
pub mod sse;

/// What a message's bytes look like to a client. A shard encodes a message once for each format it has clients of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WireFormat {
    /// `format=raw`: the event's data is the payload.
    SseRaw,
    /// `format=event`: as raw, and the event's type is the channel.
    SseEvent,
    /// `format=json`: the event's data is `{"channel","id","data"}`.
    SseJson,
}

/// A message as an encoder sees it.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    pub epoch: Epoch,
    pub position: Position,
    pub channel: &'a ChannelName,
    pub payload: &'a [u8],
    pub mode: PayloadMode,
}

/// What a client is told when messages of a channel may be missing.
#[derive(Debug, Clone, Copy)]
pub struct GapNotice<'a> {
    pub epoch: Epoch,
    /// What the client has seen once it has this notice: its id resumes behind the gap. None while there are gaps of
    /// other channels to tell to a client whose id is not of this process: it keeps that id, and is told of all of them
    /// again if it is cut off in between.
    pub position: Option<Position>,
    pub channel: &'a ChannelName,
    /// The last position before the gap; none if what the client had is not of this process.
    pub from: Option<Position>,
    /// Where the gap ends: at `position`, or behind it if messages of other channels lie in between.
    pub until: Position,
    pub reason: GapReason,
}

/// Why a stream ends by the server's doing, as far as its client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// For no reason that is the client's: it comes back as it is.
    ComeBack,
    /// What it was let in with holds no longer: it comes back with something newer.
    Expired,
    /// The application wants it to end, for this reason. Whether it may come back it learns when it asks.
    Dismissed(&'static str),
}

/// What an encoder noticed about a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Encoded {
    /// Something in it was no UTF-8 and became U+FFFD.
    pub invalid_utf8: bool,
    /// The channel's payloads are envelopes and this one was none; it was delivered as it is.
    pub plain_envelope: bool,
}

impl WireFormat {
    pub const ALL: [Self; 3] = [Self::SseRaw, Self::SseEvent, Self::SseJson];

    /// The format's place in `ALL`, for tables by format.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The label of the metrics, and of the documentation.
    pub const fn protocol(self) -> &'static str {
        match self {
            Self::SseRaw | Self::SseEvent | Self::SseJson => "sse",
        }
    }

    /// Appends the frame of one message.
    // Hot: once per message, wire format and shard.
    pub fn encode(self, event: &Event<'_>, out: &mut Vec<u8>) -> Encoded {
        match self {
            Self::SseRaw => sse::encode(sse::Format::Raw, event, out),
            Self::SseEvent => sse::encode(sse::Format::Event, event, out),
            Self::SseJson => sse::encode(sse::Format::Json, event, out),
        }
    }

    /// Appends the frame that states a gap.
    pub fn encode_gap(self, gap: &GapNotice<'_>, out: &mut Vec<u8>) {
        match self {
            Self::SseRaw | Self::SseEvent | Self::SseJson => sse::encode_gap(gap, out),
        }
    }

    /// What is sent to a connection that was silent for the heartbeat's interval.
    pub const fn heartbeat(self) -> &'static [u8] {
        match self {
            Self::SseRaw | Self::SseEvent | Self::SseJson => sse::HEARTBEAT,
        }
    }

    /// Appends what follows the head when a stream opens: how soon to reconnect, and the id to resume from. None while
    /// that is not known: a client that comes back then asks for the same as before.
    pub fn encode_opening(
        self,
        epoch: Epoch,
        position: Option<Position>,
        retry: Duration,
        out: &mut Vec<u8>,
    ) {
        match self {
            Self::SseRaw | Self::SseEvent | Self::SseJson => sse::encode_opening(epoch, position, retry, out),
        }
    }

    /// Appends what ends a stream: why, if the client can do something about it, and how soon to reconnect.
    pub fn encode_closing(self, closing: Closing, retry: Duration, out: &mut Vec<u8>) {
        match self {
            Self::SseRaw | Self::SseEvent | Self::SseJson => sse::encode_closing(closing, retry, out),
        }
    }
}
