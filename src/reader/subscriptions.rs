//! What is asked of Redis on the push link, and which answer belongs to what.
//!
//! Channels are subscribed in batches of at most `SUBSCRIBE_BATCH`. Redis answers a command with one push a channel, in
//! order, or fails it as a whole with one error: a name that the ACL forbids fails the other 511 too, so a refused batch
//! is halved until the forbidden names are alone. Everything that was sent waits in one FIFO for its answer.
//!
//! Invariants: a channel is in at most one command that is under way; at most `SUBSCRIBES_IN_FLIGHT` are.

use std::collections::VecDeque;

use crate::base::limits::{SUBSCRIBE_BATCH, SUBSCRIBES_IN_FLIGHT};
use crate::reader::channels::{ChannelId, Channels, State};
use crate::wire::resp::request::encode_command;

#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// To be subscribed; an entry whose channel is not waiting for that any more is passed over.
    wanted: VecDeque<ChannelId>,
    /// To be unsubscribed, likewise.
    unwanted: VecDeque<ChannelId>,
    /// Halves of batches that were refused.
    halves: VecDeque<Vec<ChannelId>>,
    sent: VecDeque<Sent>,
}

/// A command that waits for its answer.
#[derive(Debug)]
enum Sent {
    Subscribe { batch: Vec<ChannelId>, answered: usize },
    Unsubscribe { batch: Vec<ChannelId>, answered: usize },
    Ping(Why),
}

/// Why a PING is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Nothing was heard for a while.
    Silence,
    /// The other link was lost: has Redis gone, or that link alone?
    Doubt,
}

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    Subscribed(ChannelId),
    Unsubscribed(ChannelId),
    /// Redis does not let us read these.
    Forbidden(Vec<ChannelId>),
    /// Redis is there: a PING out of doubt was answered.
    Alive,
    Nothing,
}

/// An answer that nothing asked for: what follows cannot be trusted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unexpected;

impl Subscriptions {
    pub(super) fn want(&mut self, channel: ChannelId) {
        self.wanted.push_back(channel);
    }

    pub(super) fn unwant(&mut self, channel: ChannelId) {
        self.unwanted.push_back(channel);
    }

    /// The link was lost: nothing is under way any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The next channel to be subscribed, where that needs no command.
    pub(super) fn take_wanted(&mut self, channels: &Channels) -> Option<ChannelId> {
        take(&mut self.wanted, |id| awaits_subscribe(channels, id))
    }

    /// The next channel to be unsubscribed, where that needs no command.
    pub(super) fn take_unwanted(&mut self, channels: &Channels) -> Option<ChannelId> {
        take(&mut self.unwanted, |id| awaits_unsubscribe(channels, id))
    }

    /// Appends the commands that can be sent now.
    pub(super) fn write(&mut self, channels: &mut Channels, out: &mut Vec<u8>) {
        while self.sent.len() < SUBSCRIBES_IN_FLIGHT {
            if let Some(batch) = self.next_unsubscribe(channels) {
                encode(b"UNSUBSCRIBE", &batch, channels, out);
                self.sent.push_back(Sent::Unsubscribe { batch, answered: 0 });
            } else if let Some(batch) = self.next_subscribe(channels) {
                encode(b"SUBSCRIBE", &batch, channels, out);
                self.sent.push_back(Sent::Subscribe { batch, answered: 0 });
            } else {
                break;
            }
        }
    }

    pub(super) fn write_ping(&mut self, why: Why, out: &mut Vec<u8>) {
        encode_command(&[b"PING"], out);
        self.sent.push_back(Sent::Ping(why));
    }

    /// A push that acknowledges one channel of a SUBSCRIBE or UNSUBSCRIBE.
    pub(super) fn acknowledged(
        &mut self,
        is_subscribe: bool,
        name: &[u8],
        channels: &Channels,
    ) -> Result<Event, Unexpected> {
        let (batch, answered, event): (_, _, fn(ChannelId) -> Event) = match self.sent.front_mut() {
            Some(Sent::Subscribe { batch, answered }) if is_subscribe => (batch, answered, Event::Subscribed),
            Some(Sent::Unsubscribe { batch, answered }) if !is_subscribe => {
                (batch, answered, Event::Unsubscribed)
            }
            Some(Sent::Subscribe { .. } | Sent::Unsubscribe { .. } | Sent::Ping(_)) | None => {
                return Err(Unexpected);
            }
        };
        let id = batch[*answered];
        if channels.get(id).is_none_or(|channel| channel.name.as_bytes() != name) {
            return Err(Unexpected);
        }
        *answered += 1;
        if *answered == batch.len() {
            self.sent.pop_front();
        }
        Ok(event(id))
    }

    /// An ordinary reply that is no error: only PING has one.
    pub(super) fn replied(&mut self) -> Result<Event, Unexpected> {
        match self.sent.pop_front() {
            Some(Sent::Ping(why)) => Ok(why.answered()),
            Some(Sent::Subscribe { .. } | Sent::Unsubscribe { .. }) | None => Err(Unexpected),
        }
    }

    /// An error. A refused SUBSCRIBE is halved; a PING has been answered, however.
    pub(super) fn refused(&mut self, error: &[u8]) -> Result<Event, Unexpected> {
        match self.sent.pop_front() {
            Some(Sent::Ping(why)) => Ok(why.answered()),
            Some(Sent::Subscribe { batch, answered: 0 }) if error.starts_with(b"NOPERM") => {
                Ok(self.halve(batch, error))
            }
            Some(Sent::Subscribe { .. } | Sent::Unsubscribe { .. }) | None => Err(Unexpected),
        }
    }

    fn halve(&mut self, mut batch: Vec<ChannelId>, error: &[u8]) -> Event {
        // "NOPERM User x has no permissions to run the 'subscribe' command": no half will fare better.
        let is_about_command = memchr::memmem::find(error, b" to run the ").is_some();
        if batch.len() == 1 || is_about_command {
            return Event::Forbidden(batch);
        }
        let second = batch.split_off(batch.len() / 2);
        self.halves.push_back(batch);
        self.halves.push_back(second);
        Event::Nothing
    }

    fn next_subscribe(&mut self, channels: &Channels) -> Option<Vec<ChannelId>> {
        // A refused half has not lost its wish: a channel leaves these states by an answer only.
        if let Some(half) = self.halves.pop_front() {
            return Some(half);
        }
        let mut batch = Vec::new();
        while batch.len() < SUBSCRIBE_BATCH
            && let Some(id) = self.take_wanted(channels)
        {
            batch.push(id);
        }
        (!batch.is_empty()).then_some(batch)
    }

    fn next_unsubscribe(&mut self, channels: &mut Channels) -> Option<Vec<ChannelId>> {
        let mut batch = Vec::new();
        while batch.len() < SUBSCRIBE_BATCH
            && let Some(id) = self.take_unwanted(channels)
        {
            channels.change(id, State::Unsubscribing { is_sent: true });
            batch.push(id);
        }
        (!batch.is_empty()).then_some(batch)
    }
}

impl Why {
    /// What any answer to the PING means.
    fn answered(self) -> Event {
        match self {
            Self::Silence => Event::Nothing,
            Self::Doubt => Event::Alive,
        }
    }
}

fn take(queue: &mut VecDeque<ChannelId>, is_due: impl Fn(ChannelId) -> bool) -> Option<ChannelId> {
    while let Some(id) = queue.pop_front() {
        if is_due(id) {
            return Some(id);
        }
    }
    None
}

fn awaits_subscribe(channels: &Channels, id: ChannelId) -> bool {
    channels.get(id).is_some()
        && matches!(
            channels.state(id),
            State::Subscribing { .. } | State::Resubscribing { .. } | State::Forbidden { is_asked: true, .. }
        )
}

fn awaits_unsubscribe(channels: &Channels, id: ChannelId) -> bool {
    channels.get(id).is_some() && matches!(channels.state(id), State::Unsubscribing { is_sent: false })
}

fn encode(command: &[u8], batch: &[ChannelId], channels: &Channels, out: &mut Vec<u8>) {
    let names = batch.iter().filter_map(|&id| channels.get(id)).map(|channel| channel.name.as_bytes());
    let arguments: Vec<&[u8]> = std::iter::once(command).chain(names).collect();
    debug_assert_eq!(arguments.len(), batch.len() + 1, "a channel under way is not forgotten");
    encode_command(&arguments, out);
}
