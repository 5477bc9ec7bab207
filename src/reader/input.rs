//! What a driver tells the reader, and what the reader asks of its driver. The seam is data, as for a shard.
//!
//! Contract of a turn: the driver calls `Reader::handle` for each input and carries out the
//! outputs in order; then, for each shard, it moves deliveries from `next_delivery` into the shard's queue while the
//! queue has room; then, for each socket in `to_send`, it sends `outgoing`, and reports how much the kernel took with
//! `sent`. Before each control it asks `takes_control`: while that is false, deliveries are moved and the shard's controls
//! wait in their queue, in order.

use crate::access::control::BadOrder;
use crate::base::queue::Control;
use crate::base::secret::Secret;
use crate::base::socket::{HangUp, Slot, SocketKey};
use crate::base::time::UnixTime;

/// The two connections to Redis. A subscribed client's ordinary replies count against the pub/sub output limit too,
/// so commands with replies have a connection of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Link {
    /// HELLO 3, SUBSCRIBE, UNSUBSCRIBE, PING; never MULTI.
    Push,
    /// Everything with a reply: GET, SET, EVALSHA, XRANGE, PUBLISH; replies matched in order.
    Ask,
}

#[derive(Debug)]
pub enum Input<'a> {
    /// [`Output::Dial`] succeeded; the socket lies in this slot.
    Connected { link: Link, slot: Slot },
    /// What the password file holds now, for the logins from here on.
    Password(Secret),
    /// [`Output::Dial`] failed, for the reason given in words.
    DialFailed { link: Link, reason: &'a str },
    /// A client of the embedded broker was accepted into this slot.
    Accepted { slot: Slot },
    /// Bytes from Redis or from a client of the broker.
    Received { socket: SocketKey, bytes: &'a [u8] },
    /// The receive of this socket has ended; nothing will come from it any more.
    HungUp { socket: SocketKey, cause: HangUp },
    /// The socket takes bytes again, after [`Output::AwaitWritable`].
    Writable { socket: SocketKey },
    /// From a shard, in order.
    Control(Control),
    /// What the calendar says now. Comes before everything else, and again every second or so while there is something to
    /// do: the calendar may jump.
    Calendar(UnixTime),
    /// The time that `Reader::next_deadline` asked for may have come.
    Tick,
}

#[derive(Debug)]
pub enum Output {
    /// Resolve the name and connect, both off this thread; answer with `Connected` or `DialFailed`. One dial a link at
    /// a time; the driver bounds its time by `redis.dial_timeout`. A `Password` may come before it: who rotates it
    /// changes the file and restarts nothing.
    Dial { link: Link },
    /// Arm a receive that stays armed until the socket hangs up.
    Receive { socket: SocketKey },
    /// Report once when the socket takes bytes again.
    AwaitWritable { socket: SocketKey },
    /// End both directions: the receive completes with a hang-up.
    Shutdown { socket: SocketKey },
    /// Close the descriptor; the row is free from here on. Comes only after `HungUp`.
    Close { socket: SocketKey },
    /// Why nothing is heard at present: after each loss, and each attempt that failed. For whoever asks; the log has one
    /// line a transition, and an outage may go on for another reason than it began.
    Unheard { reason: String },
    /// The state of the upstream changed, or something the operator must know: one log line.
    Notice(Notice),
}

/// One line of the log each; never one a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The push link is logged in and every wanted channel subscribed.
    Up { outage: std::time::Duration },
    /// Lost, and why.
    Down { reason: String },
    /// Redis said no in a way that will not mend by itself (wrong password, RESP2 only, not Redis at all). The driver
    /// ends the process with exit code 2 if this comes before the first `Up`.
    Refused { reason: String },
    /// The ask link is lost, and why: nothing can be published through courier, while everything is heard.
    AskLost { reason: String },
    /// The ask link is back.
    AskBack,
    /// Redis does not let courier read these channels.
    Forbidden { channels: usize, first: String },
    /// An order to all couriers was obeyed: streams of these end.
    Ordered { whom: &'static str },
    /// A message on the control channel was not obeyed; said at most once a minute.
    BadOrder(BadOrder),
    /// A shard could not take its messages; so many bytes are owed as a gap.
    QueueFull { shard: u16 },
}
