//! Scripts for the whole machine: inputs, and the outputs, bytes and deliveries they lead to, in words.

mod channels;
mod control;
mod embedded;
mod links;
mod losses;
mod publishing;
mod queues;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::base::channel::ChannelName;
use crate::base::queue::{ChannelKey, Gap, JoinOutcome, Replayed, Since};
use crate::base::slab::Key;
use crate::base::socket::{HangUp, Slot};
use crate::reader::input::Link;
use crate::wire::resp::request::encode_command;

/// A reader with two shards, and a hand on its clock.
struct Rig {
    reader: Reader,
    now: Time,
    counters: Arc<ReaderCounters>,
    push: SocketKey,
    ask: SocketKey,
}

const LOGGED_IN: &[u8] = b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n+OK\r\n";

fn redis_options() -> RedisOptions {
    RedisOptions {
        address: RedisAddress::Tcp { host: "127.0.0.1".to_owned(), port: 6379 },
        username: None,
        password: None,
        database: 0,
        client_name: "courier-test".to_owned(),
        dial_timeout: Duration::from_secs(5),
        ping_interval: Duration::from_secs(10),
        ping_timeout: Duration::from_secs(5),
    }
}

impl Rig {
    fn new(upstream: Upstream, limits: Limits, rules: Rules, seed: u64) -> Self {
        Self::with(upstream, limits, rules, seed, None)
    }

    /// With what signs the orders that it takes.
    fn taking_orders(upstream: Upstream, key: SigningKey) -> Self {
        Self::with(upstream, Limits::default(), Rules::default(), 1, Some(key))
    }

    fn with(
        upstream: Upstream,
        limits: Limits,
        rules: Rules,
        seed: u64,
        control: Option<SigningKey>,
    ) -> Self {
        let counters = Arc::new(ReaderCounters::default());
        let reader = Reader::new(ReaderOptions {
            upstream,
            epoch: Epoch(7),
            rules,
            limits,
            counters: Arc::clone(&counters),
            shards: 2,
            seed,
            control,
            start: Time::ZERO,
        });
        let key = |slot| SocketKey { slot: Slot(slot), generation: 0 };
        Self { reader, now: Time::ZERO, counters, push: key(0), ask: key(1) }
    }

    /// With a Redis that is dialed.
    fn dialing(options: RedisOptions) -> Self {
        let mut rig = Self::new(Upstream::Redis(options), Limits::default(), Rules::default(), 1);
        assert_eq!(rig.outputs(), "dial Push, dial Ask");
        rig.are_told("Down");
        rig
    }

    /// With a Redis that is up, in slots 0 and 1.
    fn up() -> Self {
        Self::up_with(Limits::default())
    }

    fn up_with(limits: Limits) -> Self {
        Self::up_by(limits, Rules::default())
    }

    fn up_by(limits: Limits, rules: Rules) -> Self {
        let mut rig = Self::new(Upstream::Redis(redis_options()), limits, rules, 1);
        rig.connect(Link::Push, 0);
        rig.connect(Link::Ask, 1);
        rig.sent();
        rig.receive(rig.push, LOGGED_IN);
        rig.receive(rig.ask, LOGGED_IN);
        rig.outputs();
        for shard in 0..2 {
            assert_eq!(rig.deliveries(shard), ["upstream Down", "upstream Up"]);
        }
        rig
    }

    /// Both shards are told this of the upstream, and nothing else.
    fn are_told(&mut self, reach: &str) {
        for shard in 0..2 {
            assert_eq!(self.deliveries(shard), [format!("upstream {reach}")]);
        }
    }

    fn go(&mut self, input: Input<'_>) {
        self.reader.handle(self.now, input);
    }

    fn connect(&mut self, link: Link, slot: u32) {
        self.go(Input::Connected { link, slot: Slot(slot) });
    }

    fn receive(&mut self, socket: SocketKey, bytes: &[u8]) {
        self.go(Input::Received { socket, bytes });
    }

    /// Redis goes away on both links and comes back in slots 2 and 3, logged in.
    fn lose(&mut self) {
        for socket in [self.push, self.ask] {
            self.go(Input::HungUp { socket, cause: HangUp::Closed });
        }
    }

    fn come_back(&mut self, slot: u32) {
        self.pass(Duration::from_secs(2));
        self.connect(Link::Push, slot);
        self.connect(Link::Ask, slot + 1);
        let key = |slot| SocketKey { slot: Slot(slot), generation: 0 };
        (self.push, self.ask) = (key(slot), key(slot + 1));
        self.sent();
        self.receive(self.push, LOGGED_IN);
        self.receive(self.ask, LOGGED_IN);
        self.outputs();
    }

    /// Time goes by; the machine is ticked when it wants to be.
    fn pass(&mut self, span: Duration) {
        let end = self.now.after(span);
        while let Some(deadline) = self.reader.next_deadline()
            && deadline <= end
        {
            self.now = self.now.max(deadline);
            self.go(Input::Tick);
        }
        self.now = end;
    }

    fn join(&mut self, shard: u16, key: u32, name: &str, connection: u32) {
        self.join_since(shard, key, name, connection, Since::Now);
    }

    fn join_after(&mut self, shard: u16, key: u32, name: &str, connection: u32, position: u64) {
        self.join_since(shard, key, name, connection, Since::After(Position(position)));
    }

    fn join_since(&mut self, shard: u16, key: u32, name: &str, connection: u32, since: Since) {
        self.go(Input::Control(Control::Join {
            shard: ShardIndex(shard),
            channel: channel_key(key),
            name: name_of(name),
            connection: connection_key(connection),
            since,
        }));
    }

    fn leave(&mut self, shard: u16, key: u32, name: &str) {
        self.go(Input::Control(Control::Leave {
            shard: ShardIndex(shard),
            channel: channel_key(key),
            name: name_of(name),
        }));
    }

    fn publish(&mut self, shard: u16, connection: u32, name: &str, payload: &str) {
        self.go(Input::Control(Control::Publish {
            shard: ShardIndex(shard),
            connection: connection_key(connection),
            messages: vec![publication(name, payload)],
        }));
    }

    fn publish_batch(&mut self, shard: u16, connection: u32, messages: &[(&str, &str)]) {
        let messages = messages.iter().map(|(name, payload)| publication(name, payload)).collect();
        let (shard, connection) = (ShardIndex(shard), connection_key(connection));
        self.go(Input::Control(Control::Publish { shard, connection, messages }));
    }

    /// What the machine asks of its driver, in words.
    fn outputs(&mut self) -> String {
        let mut said = Vec::new();
        while let Some(output) = self.reader.next_output() {
            said.push(match output {
                Output::Unheard { .. } => continue,
                Output::Dial { link } => format!("dial {link:?}"),
                Output::Receive { socket } => format!("receive {}", socket.slot.0),
                Output::AwaitWritable { socket } => format!("await {}", socket.slot.0),
                Output::Shutdown { socket } => format!("shutdown {}", socket.slot.0),
                Output::Close { socket } => format!("close {}", socket.slot.0),
                Output::Notice(notice) => format!("{notice:?}"),
            });
        }
        said.join(", ")
    }

    /// Sends what there is to send; returns it, as commands in words.
    fn sent(&mut self) -> String {
        let mut bytes = Vec::new();
        while let Some(socket) = self.reader.next_to_send() {
            let outgoing = self.reader.outgoing(socket).to_vec();
            self.reader.sent(self.now, socket, outgoing.len());
            bytes.extend_from_slice(&outgoing);
        }
        in_words(&bytes)
    }

    /// Everything that one shard is given, one item a line.
    fn deliveries(&mut self, shard: u16) -> Vec<String> {
        std::iter::from_fn(|| self.reader.next_delivery(ShardIndex(shard)))
            .map(|item| delivery(&item))
            .collect()
    }
}

fn name_of(name: &str) -> ChannelName {
    ChannelName::parse(name.as_bytes()).unwrap()
}

fn publication(name: &str, payload: &str) -> Publication {
    Publication { name: name_of(name), payload: Bytes::copy_from_slice(payload.as_bytes()) }
}

fn channel_key(index: u32) -> ChannelKey {
    Key { index, generation: 0 }
}

fn connection_key(slot: u32) -> SocketKey {
    SocketKey { slot: Slot(slot), generation: 0 }
}

/// `batch 3:k0:hi 4:k1:ho`, `joined c5 k0 @4 [3:hi] gap 1 too-old`, `gap k0@9 k1@10 from 4 queue-full`,
/// `published c5 at 3`, `published c5 behind 2`, `published c5 not`, `upstream Down`.
fn delivery(item: &Delivery) -> String {
    let mut text = String::new();
    match item {
        Delivery::Batch(batch) => {
            text.push_str("batch");
            for message in batch.messages() {
                let payload = batch.payload(message).escape_ascii();
                write!(text, " {}:k{}:{payload}", message.position.0, message.channel.index).unwrap();
            }
        }
        Delivery::Joined(joined) => {
            write!(
                text,
                "joined c{} k{} @{}",
                joined.connection.slot.0, joined.channel.index, joined.position.0
            )
            .unwrap();
            match &joined.outcome {
                JoinOutcome::Forbidden => text.push_str(" forbidden"),
                JoinOutcome::Full => text.push_str(" full"),
                JoinOutcome::Live { replay, gap } => {
                    let replay: Vec<String> = replay.iter().map(replayed).collect();
                    write!(text, " [{}]", replay.join(" ")).unwrap();
                    if let Some(gap) = gap {
                        write!(text, " gap {} {}", gap.from.0, gap.reason.name()).unwrap();
                    }
                }
            }
        }
        Delivery::Gap(Gap { channels, from, reason }) => {
            text.push_str("gap");
            channels.iter().for_each(|(channel, at)| write!(text, " k{}@{}", channel.index, at.0).unwrap());
            write!(text, " from {} {}", from.0, reason.name()).unwrap();
        }
        Delivery::Dismiss(dismissal) => {
            write!(text, "dismiss {:?} until {}", dismissal.whom, dismissal.until.as_secs()).unwrap();
        }
        Delivery::Upstream(reach) => write!(text, "upstream {reach:?}").unwrap(),
        Delivery::Published(published) => {
            write!(text, "published c{}", published.connection.slot.0).unwrap();
            match &published.outcome {
                PublishOutcome::Unavailable { taken: 0 } => text.push_str(" not"),
                PublishOutcome::Unavailable { taken } => write!(text, " only {taken}").unwrap(),
                PublishOutcome::Accepted(placed) => placed.iter().for_each(|placed| match placed {
                    Placed::At(position) => write!(text, " at {}", position.0).unwrap(),
                    Placed::Behind(position) => write!(text, " behind {}", position.0).unwrap(),
                }),
            }
        }
    }
    text
}

fn replayed(item: &Replayed) -> String {
    match item {
        Replayed::Message { position, payload } => format!("{}:{}", position.0, payload.escape_ascii()),
        Replayed::Gap { position, from, reason } => {
            format!("{}:gap-from-{}-{}", position.0, from.0, reason.name())
        }
    }
}

/// Commands, each a line of words, joined by ` / `.
fn in_words(bytes: &[u8]) -> String {
    let mut commands: Vec<String> = Vec::new();
    let mut rest = bytes;
    while let Some((reply, length)) = crate::wire::resp::reply::decode_reply(rest).unwrap() {
        let crate::wire::resp::reply::Reply::Array(words) = reply else { panic!("a command is an array") };
        let words: Vec<String> =
            words.iter().map(|word| word.as_text().unwrap().escape_ascii().to_string()).collect();
        commands.push(words.join(" "));
        rest = &rest[length..];
    }
    assert!(rest.is_empty(), "whole commands");
    commands.join(" / ")
}

/// The pushes that acknowledge SUBSCRIBE of these names.
fn subscribed(names: &[&str]) -> Vec<u8> {
    names.iter().flat_map(|name| push(&["subscribe", name], 1)).collect()
}

fn unsubscribed(names: &[&str]) -> Vec<u8> {
    names.iter().flat_map(|name| push(&["unsubscribe", name], 0)).collect()
}

fn push(words: &[&str], count: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_command(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>(), &mut bytes);
    let header = format!(">{}\r\n", words.len() + 1);
    [header.as_bytes(), &bytes[4..], format!(":{count}\r\n").as_bytes()].concat()
}

/// The pushes of messages, given as channel and payload.
fn messages(messages: &[(&str, &str)]) -> Vec<u8> {
    messages
        .iter()
        .map(|(channel, payload)| {
            format!(
                ">3\r\n$7\r\nmessage\r\n${}\r\n{channel}\r\n${}\r\n{payload}\r\n",
                channel.len(),
                payload.len()
            )
        })
        .collect::<String>()
        .into_bytes()
}
