//! Who hears which channel: the broker's own clients, and courier itself.
//!
//! Cost of a publish: one lookup of the name, one match for each pattern, one copy for each receiver; the message is
//! encoded at most once for each of Redis's two protocols and the two kinds of subscription.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::base::glob;
use crate::base::socket::SocketKey;
use crate::reader::broker::clients::{Clients, State};
use crate::reader::broker::published::PublishedMessages;
use crate::wire::resp::Protocol;
use crate::wire::resp::answer::Answer;

#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// Each has at least one subscriber. The order of a hash table never reaches an output: lists are sorted.
    channels: HashMap<Arc<[u8]>, Vec<SocketKey>>,
    /// Courier delivers the messages of these to web clients; to other clients of the broker it looks like one more
    /// subscriber. Apart from the others, for they are very many.
    relayed: HashSet<Arc<[u8]>>,
    /// Each has at least one subscriber.
    patterns: BTreeMap<Arc<[u8]>, Vec<SocketKey>>,
}

/// What a subscription names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Channel,
    Pattern,
}

impl Subscriptions {
    /// The name is shared with whoever has it already.
    pub(super) fn relay(&mut self, name: Arc<[u8]>) {
        self.relayed.insert(name);
    }

    pub(super) fn stop_relaying(&mut self, name: &[u8]) {
        self.relayed.remove(name);
    }

    /// The caller has made sure that this client does not have it yet. Returns the shared name.
    pub(super) fn subscribe(&mut self, kind: Kind, name: &[u8], client: SocketKey) -> Arc<[u8]> {
        match kind {
            Kind::Channel => {
                let shared = match self.channels.get_key_value(name) {
                    Some((shared, _)) => Arc::clone(shared),
                    None => Arc::from(name),
                };
                self.channels.entry(Arc::clone(&shared)).or_default().push(client);
                shared
            }
            Kind::Pattern => {
                let shared = match self.patterns.get_key_value(name) {
                    Some((shared, _)) => Arc::clone(shared),
                    None => Arc::from(name),
                };
                self.patterns.entry(Arc::clone(&shared)).or_default().push(client);
                shared
            }
        }
    }

    pub(super) fn unsubscribe(&mut self, kind: Kind, name: &[u8], client: SocketKey) {
        match kind {
            Kind::Channel => {
                let Some(subscribers) = self.channels.get_mut(name) else { return };
                subscribers.retain(|&subscriber| subscriber != client);
                if subscribers.is_empty() {
                    self.channels.remove(name);
                }
            }
            Kind::Pattern => {
                let Some(subscribers) = self.patterns.get_mut(name) else { return };
                subscribers.retain(|&subscriber| subscriber != client);
                if subscribers.is_empty() {
                    self.patterns.remove(name);
                }
            }
        }
    }

    /// The names of the channels that someone hears, sorted.
    pub(super) fn channel_names(&self, pattern: Option<&[u8]>) -> Vec<&[u8]> {
        let names = self.channels.keys().chain(&self.relayed).map(|name| &**name);
        let mut names: Vec<&[u8]> =
            names.filter(|name| pattern.is_none_or(|pattern| glob::matches(pattern, name))).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// How many hear this channel by its name; courier counts as one.
    pub(super) fn subscriber_count(&self, name: &[u8]) -> usize {
        self.channels.get(name).map_or(0, Vec::len) + usize::from(self.relayed.contains(name))
    }

    pub(super) fn pattern_count(&self) -> usize {
        self.patterns.len()
    }

    pub(super) fn channel_count(&self) -> usize {
        let relayed_alone = self.relayed.iter().filter(|name| !self.channels.contains_key(*name)).count();
        self.channels.len() + relayed_alone
    }

    // Hot: once per published message.
    /// Hands the message to everyone who hears the channel; returns how many do.
    pub(super) fn publish(
        &self,
        channel: &[u8],
        payload: &[u8],
        clients: &mut Clients,
        published: &mut PublishedMessages,
    ) -> usize {
        let mut receivers = 0;
        if self.relayed.contains(channel) {
            published.push(channel, payload);
            receivers += 1;
        }
        // Mostly courier is the only one who listens; then there is one lookup.
        if !self.channels.is_empty()
            && let Some(subscribers) = self.channels.get(channel)
        {
            receivers += deliver(subscribers, &[b"message", channel, payload], clients);
        }
        for (pattern, subscribers) in &self.patterns {
            if glob::matches(pattern, channel) {
                receivers += deliver(subscribers, &[b"pmessage", pattern, channel, payload], clients);
            }
        }
        receivers
    }
}

/// Appends one push to what each of these clients is owed; returns how many took it.
fn deliver(subscribers: &[SocketKey], push: &[&[u8]], clients: &mut Clients) -> usize {
    let mut frames: [Option<Answer>; 2] = [None, None];
    let mut receivers = 0;
    for &subscriber in subscribers {
        let Some(client) = clients.find(subscriber).filter(|client| client.state == State::Open) else {
            continue;
        };
        let protocol = client.protocol;
        let frame = frames[match protocol {
            Protocol::Resp2 => 0,
            Protocol::Resp3 => 1,
        }]
        .get_or_insert_with(|| encode(protocol, push));
        receivers += usize::from(clients.append(subscriber, frame.bytes()));
    }
    receivers
}

fn encode(protocol: Protocol, push: &[&[u8]]) -> Answer {
    let mut frame = Answer::new(protocol);
    frame.push(push.len());
    for part in push {
        frame.bulk(part);
    }
    frame
}
