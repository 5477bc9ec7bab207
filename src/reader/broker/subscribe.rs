//! Commands of publish and subscribe.

use std::sync::Arc;

use crate::base::limits;
use crate::base::socket::SocketKey;
use crate::reader::broker::Broker;
use crate::reader::broker::clients::Client;
use crate::reader::broker::command::Call;
use crate::reader::broker::memory::ENTRY_BYTES;
use crate::reader::broker::pubsub::Kind;
use crate::reader::broker::text;
use crate::wire::resp::answer::Answer;

impl Broker {
    pub(super) fn publish_command(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let receivers = self.publish(call.arguments.at(1), call.arguments.at(2));
        answer.count(receivers);
    }

    pub(super) fn subscribe(&mut self, call: &Call<'_>, answer: &mut Answer) {
        self.subscribe_to(Kind::Channel, call, answer);
    }

    pub(super) fn psubscribe(&mut self, call: &Call<'_>, answer: &mut Answer) {
        self.subscribe_to(Kind::Pattern, call, answer);
    }

    pub(super) fn unsubscribe(&mut self, call: &Call<'_>, answer: &mut Answer) {
        self.unsubscribe_from(Kind::Channel, call, answer);
    }

    pub(super) fn punsubscribe(&mut self, call: &Call<'_>, answer: &mut Answer) {
        self.unsubscribe_from(Kind::Pattern, call, answer);
    }

    pub(super) fn pubsub_channels(&mut self, call: &Call<'_>, answer: &mut Answer) {
        if call.arguments.count() > 3 {
            return answer.error(&text::wrong_subcommand_arity("PUBSUB", call.arguments.at(1)));
        }
        let names = self.subscriptions.channel_names(call.arguments.from(2).next());
        answer.array(names.len());
        for name in names {
            answer.bulk(name);
        }
    }

    pub(super) fn pubsub_numsub(&mut self, call: &Call<'_>, answer: &mut Answer) {
        answer.array((call.arguments.count() - 2) * 2);
        for name in call.arguments.from(2) {
            answer.bulk(name);
            answer.count(self.subscriptions.subscriber_count(name));
        }
    }

    pub(super) fn pubsub_numpat(&mut self, _: &Call<'_>, answer: &mut Answer) {
        answer.count(self.subscriptions.pattern_count());
    }

    /// Ends everything that the client has beyond its connection: subscriptions, transaction, watched keys.
    pub(super) fn forget(&mut self, socket: SocketKey) {
        for kind in [Kind::Channel, Kind::Pattern] {
            for name in std::mem::take(names(kind, self.client(socket))) {
                self.subscriptions.unsubscribe(kind, &name, socket);
                self.memory.release(name.len() + ENTRY_BYTES);
            }
        }
        self.end_transaction(socket);
        self.forget_watched(socket);
    }

    fn subscribe_to(&mut self, kind: Kind, call: &Call<'_>, answer: &mut Answer) {
        for name in call.arguments.from(1) {
            let client = self.client(call.client);
            if !names(kind, client).contains(name) {
                let is_within = client.subscription_count() < limits::BROKER_SUBSCRIPTIONS;
                if !is_within || !self.memory.charge(name.len() + ENTRY_BYTES) {
                    answer.error(text::OUT_OF_MEMORY);
                    continue;
                }
                let shared = self.subscriptions.subscribe(kind, name, call.client);
                names(kind, self.client(call.client)).insert(shared);
            }
            let word: &[u8] = match kind {
                Kind::Channel => b"subscribe",
                Kind::Pattern => b"psubscribe",
            };
            self.acknowledge(call, word, Some(name), answer);
        }
    }

    fn unsubscribe_from(&mut self, kind: Kind, call: &Call<'_>, answer: &mut Answer) {
        let word: &[u8] = match kind {
            Kind::Channel => b"unsubscribe",
            Kind::Pattern => b"punsubscribe",
        };
        if call.arguments.count() > 1 {
            for name in call.arguments.from(1) {
                self.unsubscribe_one(kind, call, name);
                self.acknowledge(call, word, Some(name), answer);
            }
            return;
        }
        let all: Vec<Arc<[u8]>> = names(kind, self.client(call.client)).iter().cloned().collect();
        for name in &all {
            self.unsubscribe_one(kind, call, name);
            self.acknowledge(call, word, Some(name), answer);
        }
        if all.is_empty() {
            self.acknowledge(call, word, None, answer);
        }
    }

    fn unsubscribe_one(&mut self, kind: Kind, call: &Call<'_>, name: &[u8]) {
        if names(kind, self.client(call.client)).remove(name) {
            self.subscriptions.unsubscribe(kind, name, call.client);
            self.memory.release(name.len() + ENTRY_BYTES);
        }
    }

    fn acknowledge(&mut self, call: &Call<'_>, word: &[u8], name: Option<&[u8]>, answer: &mut Answer) {
        answer.push(3);
        answer.bulk(word);
        match name {
            Some(name) => answer.bulk(name),
            None => answer.null(),
        }
        answer.count(self.client(call.client).subscription_count());
    }
}

fn names(kind: Kind, client: &mut Client) -> &mut std::collections::BTreeSet<Arc<[u8]>> {
    match kind {
        Kind::Channel => &mut client.channels,
        Kind::Pattern => &mut client.patterns,
    }
}
