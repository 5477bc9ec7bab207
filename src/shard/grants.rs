//! As whom and until when streams were let in: only for those of which that has to be remembered.
//!
//! Invariant: the set has one entry for each grant that expires, so what has ended costs nothing any more. What is due
//! is decided by the calendar as it is then: an expiry keeps its meaning when the clock is set.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::access::Grant;
use crate::base::disconnect::Disconnect;
use crate::base::slab::Slab;
use crate::base::socket::{Slot, SocketKey};
use crate::base::time::{Time, UnixTime, WallClock};

use super::Shard;
use super::row::NO_GRANT;

#[derive(Debug, Default)]
pub(super) struct Grants {
    entries: Slab<Granted>,
    expiries: BTreeSet<(UnixTime, u32)>,
}

#[derive(Debug)]
struct Granted {
    socket: SocketKey,
    user: Option<Arc<str>>,
    expires: Option<UnixTime>,
}

impl Grants {
    fn insert(&mut self, socket: SocketKey, grant: Grant) -> u32 {
        let Grant { user, expires } = grant;
        let index = self.entries.insert(Granted { socket, user, expires }).index;
        self.expiries.extend(expires.map(|expires| (expires, index)));
        index
    }

    /// Whose it was.
    fn remove(&mut self, index: u32) -> Option<Arc<str>> {
        let granted = self.entries.remove(self.entries.key_at(index)).expect("the row holds the grant");
        if let Some(expires) = granted.expires {
            self.expiries.remove(&(expires, index));
        }
        granted.user
    }

    /// When the next one expires.
    pub(super) fn next(&self, clock: WallClock, now: Time) -> Option<Time> {
        self.expiries.first().map(|&(expires, _)| clock.time(now, expires))
    }

    /// Forgets when one of those expires that have expired; it stays until its stream ends.
    fn take_expired(&mut self, now: UnixTime) -> Option<SocketKey> {
        let index = self.expiries.first().filter(|(expires, _)| *expires <= now)?.1;
        self.expiries.pop_first();
        let granted = self.entries.at_mut(index);
        granted.expires = None;
        Some(granted.socket)
    }

    /// The streams of a user.
    pub(super) fn slots_of(&self, user: &str) -> Vec<Slot> {
        let granted = self.entries.iter().map(|(_, granted)| granted);
        let of_user = granted.filter(|granted| granted.user.as_deref() == Some(user));
        of_user.map(|granted| granted.socket.slot).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl Shard {
    /// The grant of a stream that was admitted.
    pub(super) fn remember_grant(&mut self, slot: Slot, grant: Grant) {
        if grant != Grant::default() {
            self.rows[slot.index()].grant = self.grants.insert(self.key(slot), grant);
        }
    }

    pub(super) fn forget_grant(&mut self, slot: Slot) {
        let grant = std::mem::replace(&mut self.rows[slot.index()].grant, NO_GRANT);
        if grant != NO_GRANT {
            let user = self.grants.remove(grant);
            user.into_iter().for_each(|user| self.user_left(user));
        }
    }

    /// Ends the streams of those whose time is over.
    pub(super) fn end_expired(&mut self) {
        let unix = self.wall_clock.unix(self.now);
        while let Some(socket) = self.grants.take_expired(unix) {
            self.retire(socket.slot, Disconnect::Expired);
        }
    }
}
