//! Orders that end streams, and who is kept away for how long.
//!
//! Cost of an order about a user: a look at each stream that was let in as somebody or for a time, and at each answer of an
//! application that is kept; of one about a channel, a look at its subscribers. A request for a stream costs one lookup for each of its channels and one for its user while
//! anybody is kept away, and nothing otherwise. What is due is decided by the calendar as it is then.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::base::channel::ChannelName;
use crate::base::disconnect::Disconnect;
use crate::base::dismissal::{Dismissal, Whom};
use crate::base::limits::DISMISSALS;
use crate::base::socket::Slot;
use crate::base::time::{Time, UnixTime, WallClock};
use crate::protocol::site::Opening;

use super::Shard;
use super::input::Notice;

/// Who is kept away.
#[derive(Debug, Default)]
pub(super) struct Dismissals {
    until: HashMap<Whom, UnixTime>,
    /// The same by its end.
    ends: BTreeSet<(UnixTime, Whom)>,
}

impl Dismissals {
    /// Whether this user, or who listens to one of these channels, is kept away.
    pub(super) fn keep_away<'a>(
        &self,
        user: Option<&Arc<str>>,
        channels: impl IntoIterator<Item = &'a ChannelName>,
        now: UnixTime,
    ) -> bool {
        let is_away = |whom: &Whom| self.until.get(whom).is_some_and(|until| *until > now);
        !self.until.is_empty()
            && (user.is_some_and(|user| is_away(&Whom::User(Arc::clone(user))))
                || channels.into_iter().any(|channel| is_away(&Whom::Channel(channel.clone()))))
    }

    /// Keeps them away until then, also if it was said otherwise before. Returns whether somebody had to be let in again for it.
    fn insert(&mut self, dismissal: Dismissal) -> bool {
        let Dismissal { whom, until } = dismissal;
        if let Some(before) = self.until.insert(whom.clone(), until) {
            self.ends.remove(&(before, whom.clone()));
        }
        self.ends.insert((until, whom));
        self.until.len() > DISMISSALS && self.remove_first()
    }

    fn remove(&mut self, whom: &Whom) {
        if let Some((whom, until)) = self.until.remove_entry(whom) {
            self.ends.remove(&(until, whom));
        }
    }

    fn remove_first(&mut self) -> bool {
        self.ends.pop_first().is_some_and(|(_, whom)| self.until.remove(&whom).is_some())
    }

    /// When the next one may come back.
    pub(super) fn next(&self, clock: WallClock, now: Time) -> Option<Time> {
        self.ends.first().map(|(until, _)| clock.time(now, *until))
    }

    pub(super) fn len(&self) -> usize {
        self.until.len()
    }
}

impl Shard {
    /// Ends the streams that an order is about, and forgets by what answers of the application they were let in.
    pub(super) fn dismiss(&mut self, dismissal: Dismissal) {
        let reason = dismissal.whom.disconnect();
        self.forget_answers(&dismissal.whom);
        let slots = match &dismissal.whom {
            Whom::User(user) => self.grants.slots_of(user),
            Whom::Channel(channel) => self.hub.slots_of(channel),
        };
        for slot in slots {
            self.retire(slot, reason);
        }
        if dismissal.until > self.wall_clock.unix(self.now) {
            if self.dismissals.insert(dismissal) {
                self.notice(Notice::DismissalsFull);
            }
        } else {
            self.dismissals.remove(&dismissal.whom);
        }
        self.count_dismissals();
    }

    /// Whether nobody is to be let in with this.
    pub(super) fn is_kept_away(&self, opening: &Opening) -> bool {
        let channels = opening.channels.iter().map(|(name, _)| name);
        self.dismissals.keep_away(opening.grant.user.as_ref(), channels, self.wall_clock.unix(self.now))
    }

    /// Answers a request for a stream so that an EventSource stops for good.
    pub(super) fn stop_request(&mut self, slot: Slot, opening: &Opening) {
        self.counters.cells.streams_kept_away.add(1);
        self.end_with(slot, opening.stop().bytes, Disconnect::Finished);
    }

    /// Forgets those who may come back.
    pub(super) fn end_dismissals(&mut self) {
        let unix = self.wall_clock.unix(self.now);
        while self.dismissals.ends.first().is_some_and(|(until, _)| *until <= unix) {
            self.dismissals.remove_first();
        }
        self.count_dismissals();
    }

    fn count_dismissals(&self) {
        self.counters.cells.dismissals.set(self.dismissals.len() as u64);
    }
}
