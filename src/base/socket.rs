//! What a machine calls a socket: its slot in the ring's file table, and which use of that slot is meant.

use crate::base::peer::Peer;

/// An index into the ring's table of direct descriptors, and so of the machine's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

impl Slot {
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One use of a slot. A completion that carries another generation than the row is stale: dropped and counted.
///
/// 24 bits of generation are kept in `user_data`; a slot would have to be reused 16 million times while one
/// completion is under way for two uses to be confused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketKey {
    pub slot: Slot,
    pub generation: u32,
}

impl SocketKey {
    /// Generations count modulo this.
    pub const GENERATIONS: u32 = 1 << 24;
}

/// Which listening socket a connection came in on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listener {
    /// The web side: clients of the event streams.
    Web,
    /// The admin side: metrics, health, statistics.
    Admin,
    /// The embedded broker's Redis side.
    Broker,
}

/// How a connection came: on which listening socket, and from whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    pub listener: Listener,
    pub peer: Peer,
}

impl Arrival {
    /// On this side, from nobody knows where.
    pub const fn on(listener: Listener) -> Self {
        Self { listener, peer: Peer::Unknown }
    }
}

/// How a peer's half of a socket ended: the last completion of its receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HangUp {
    /// The peer sent its FIN.
    Closed,
    /// The peer reset the connection.
    Reset,
    /// The peer did not acknowledge for as long as TCP_USER_TIMEOUT allows, or left keep-alive probes unanswered.
    TimedOut,
    /// Anything else, with the kernel's errno.
    Failed(i32),
}
