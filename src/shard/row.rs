//! A connection: a row of 36 bytes in a table, not a task. What a connection needs only for a while (the head it is
//! sending, the channels it waits for, the unsent rest of a frame) lies in slabs beside, and is gone afterwards.

use crate::base::disconnect::Disconnect;
use crate::base::peer::Network;
use crate::base::socket::SocketKey;
use crate::hub::{NO_SUBSCRIPTION, SubscriptionIndex};

#[derive(Debug)]
pub(super) struct Row {
    pub(super) generation: u32,
    /// The head of the list of its subscriptions.
    pub(super) subscriptions: SubscriptionIndex,
    /// Its tail in the slab of tails, or `NO_TAIL`.
    pub(super) tail: u32,
    /// Its grant in the slab of grants, or `NO_GRANT`.
    pub(super) grant: u32,
    /// Where it comes from, as far as that is counted; `Network::NONE` otherwise.
    pub(super) network: Network,
    pub(super) state: State,
    /// The heartbeat tick in which it was last written to.
    pub(super) written: u16,
    pub(super) flags: Flags,
    /// Why the stream ends with its next flush, if it does.
    pub(super) retiring: Option<Disconnect>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// No connection uses the slot.
    Free,
    /// Between requests, reading one, or waiting for its answer: an index into the requests.
    Request(u32),
    /// A stream that waits for the reader: an index into the joins.
    Joining(u32),
    /// A stream.
    Live,
    /// What has been handed over is the last; then FIN. The disconnect has been counted.
    Ending,
    /// FIN is sent; the peer may still send so many bytes.
    Lingering { left: u32 },
    /// Shut down; the hang-up is awaited.
    Closing,
}

/// Facts that hold in several states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flags(u8);

impl Flags {
    pub(super) const NONE: Self = Self(0);
    /// True exactly while a receive is armed: no hang-up has been reported.
    pub(super) const RECEIVING: Self = Self(1);
    /// True exactly from a short send until the socket is writable.
    pub(super) const BLOCKED: Self = Self(2);
    /// True exactly while the slot stands in the queue of connections to flush.
    pub(super) const QUEUED: Self = Self(4);
    /// True exactly while a send of the present volley is this connection's.
    pub(super) const PLANNED: Self = Self(8);
    /// A heartbeat is due.
    pub(super) const HEARTBEAT: Self = Self(16);
    /// The head of a stream has been handed over.
    pub(super) const OPENED: Self = Self(32);
    /// A sweep of the lifetimes has come by once.
    pub(super) const AGED: Self = Self(64);
    /// Its address had more connections than it may have when it came.
    pub(super) const CROWDED: Self = Self(128);

    pub(super) fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    pub(super) fn set(&mut self, flag: Self) {
        self.0 |= flag.0;
    }

    pub(super) fn clear(&mut self, flag: Self) {
        self.0 &= !flag.0;
    }

    /// Clears the flag and says whether it was set.
    pub(super) fn take(&mut self, flag: Self) -> bool {
        let had = self.has(flag);
        self.clear(flag);
        had
    }
}

pub(super) const NO_TAIL: u32 = u32::MAX;
pub(super) const NO_GRANT: u32 = u32::MAX;

impl Row {
    pub(super) const fn free() -> Self {
        Self {
            generation: 0,
            subscriptions: NO_SUBSCRIPTION,
            tail: NO_TAIL,
            grant: NO_GRANT,
            network: Network::NONE,
            state: State::Free,
            written: 0,
            flags: Flags::NONE,
            retiring: None,
        }
    }

    /// Frees the slot for its next use.
    pub(super) fn end(&mut self) {
        assert!(self.subscriptions == NO_SUBSCRIPTION, "a row that ends has left its channels");
        assert!(self.tail == NO_TAIL, "a row that ends has no tail");
        assert!(self.grant == NO_GRANT, "a row that ends has given back its grant");
        assert!(self.network == Network::NONE, "a row that ends is no longer counted for its address");
        let generation = (self.generation + 1) % SocketKey::GENERATIONS;
        *self = Self { generation, ..Self::free() };
    }
}

const _: () = assert!(size_of::<Row>() == 36);
const _: () = assert!(size_of::<Disconnect>() == 1);
