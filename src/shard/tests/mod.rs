//! The whole machine against a driver in a few lines.

mod admission;
mod asks;
mod burst;
mod dismissals;
mod drain;
mod grants;
mod joining;
mod requests;
mod slow;
mod streaming;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::input::{AdminAnswer, Send, SendOutcome, Unsent};
use super::*;
use crate::access::{Access, AllowedOrigins, Gate, Grant, Pattern, Proxies, Rule, Rules};
use crate::base::disconnect::Disconnect;
use crate::base::position::Position;
use crate::base::queue::{
    ChannelKey, GapReason, JoinGap, JoinOutcome, Joined, Message, PublishOutcome, Published, Reach, Read,
    Replayed, Since,
};
use crate::base::slab::Key;
use crate::base::socket::{Arrival, HangUp, Listener};
use crate::protocol::admin::AdminPage;
use crate::protocol::site::Shedding;

const EPOCH: Epoch = Epoch(10);

/// A driver in a few lines: sockets take everything, or as much as a test says.
struct Bench {
    shard: Shard,
    now: Time,
    /// What each slot's client has received.
    received: BTreeMap<u32, Vec<u8>>,
    /// How much more each slot's socket takes; no entry: everything.
    room: BTreeMap<u32, usize>,
    controls: Vec<Control>,
    /// What applications have been asked and the test has not looked at.
    asks: VecDeque<(Key, String)>,
    outputs: Vec<String>,
    sends: usize,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut ShardOptions)) -> Self {
        let rule =
            Rule { publish: Access::public(), ..Rule::new(Pattern::parse("*").unwrap(), Access::public()) };
        let site = Site {
            gate: Gate::new(Rules::new(vec![rule])),
            origins: AllowedOrigins::Any,
            allow_credentials: false,
            proxies: Proxies::default(),
            channels_per_connection: 64,
            try_out: true,
            demo_page: b"<html>",
            admin_token: None,
            publish_limit: 1_000,
            retry: Duration::from_secs(2),
            shedding: Shedding::Retry,
        };
        let mut options = ShardOptions {
            index: ShardIndex(0),
            epoch: EPOCH,
            site: Arc::new(site),
            limits: Limits::default(),
            heartbeat: Duration::ZERO,
            lifetime: Duration::ZERO,
            drain_window: Duration::ZERO,
            callback_timeout: Duration::from_secs(3),
            counters: Arc::default(),
            census: Arc::default(),
            seed: 1,
        };
        change(&mut options);
        Self {
            shard: Shard::new(options),
            now: Time::from_nanos(1),
            received: BTreeMap::new(),
            room: BTreeMap::new(),
            controls: Vec::new(),
            asks: VecDeque::new(),
            outputs: Vec::new(),
            sends: 0,
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.shard.handle(self.now, input);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.shard.next_output() {
            match output {
                Output::Control(control) => self.controls.push(control),
                Output::Ask { question, request, .. } => {
                    self.asks.push_back((question, String::from_utf8(request).unwrap()));
                }
                Output::Receive { .. } => {}
                other => self.outputs.push(format!("{other:?}")),
            }
        }
    }

    /// Turns until nobody is left to flush.
    fn flush(&mut self) {
        while self.shard.has_work() {
            self.turn();
        }
    }

    fn turn(&mut self) {
        let mut volley: Vec<Send> = Vec::new();
        self.shard.plan(self.now, &mut volley);
        let mut unsent = Vec::new();
        for (index, send) in (0..).zip(&volley) {
            let bytes = self.shard.bytes(send);
            assert_eq!(bytes.len(), send.length as usize);
            let slot = send.socket.slot.0;
            let taken = self.room.get(&slot).map_or(bytes.len(), |&room| room.min(bytes.len()));
            self.room.entry(slot).and_modify(|room| *room -= taken);
            self.received.entry(slot).or_default().extend_from_slice(&bytes[..taken]);
            if taken < bytes.len() {
                let outcome = SendOutcome::Short { sent: u32::try_from(taken).unwrap() };
                unsent.push(Unsent { index, outcome });
            }
        }
        self.sends += volley.len();
        self.shard.settle(self.now, &volley, &unsent);
        self.carry_out();
    }

    fn accept(&mut self, slot: u32) -> SocketKey {
        self.accept_on(slot, Listener::Web)
    }

    fn accept_on(&mut self, slot: u32, listener: Listener) -> SocketKey {
        self.accept_from(slot, Arrival::on(listener))
    }

    fn accept_from(&mut self, slot: u32, arrival: Arrival) -> SocketKey {
        self.input(Input::Accepted { slot: Slot(slot), arrival });
        self.shard.key(Slot(slot))
    }

    fn request(&mut self, slot: u32, request: &str) -> SocketKey {
        let socket = self.accept(slot);
        self.input(Input::Received { socket, bytes: request.as_bytes() });
        socket
    }

    fn stream(&mut self, slot: u32, query: &str) -> SocketKey {
        self.request(slot, &format!("GET /events?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    /// Answers every join with this position, no replay and no gap.
    fn join_all(&mut self, position: u64) {
        for control in std::mem::take(&mut self.controls) {
            if let Control::Join { channel, connection, .. } = control {
                self.joined(connection, channel, position, Vec::new(), None);
            }
        }
        self.flush();
    }

    fn joined(
        &mut self,
        connection: SocketKey,
        channel: ChannelKey,
        position: u64,
        replay: Vec<Replayed>,
        gap: Option<JoinGap>,
    ) {
        let outcome = JoinOutcome::Live { replay, gap };
        let joined = Joined { connection, channel, position: Position(position), outcome };
        self.input(Input::Delivery(Delivery::Joined(joined)));
    }

    /// The key under which the shard asked for this channel, newest first.
    fn asked(&self, name: &str) -> (ChannelKey, SocketKey, Since) {
        let find = |control: &Control| match control {
            Control::Join { channel, name: asked, connection, since, .. } if asked.as_str() == name => {
                Some((*channel, *connection, *since))
            }
            _ => None,
        };
        self.controls.iter().rev().find_map(find).expect("the shard asked for the channel")
    }

    fn publish(&mut self, messages: &[(ChannelKey, u64, &str)]) {
        let mut chunk = Vec::new();
        let mut list = Vec::new();
        for &(channel, position, text) in messages {
            let (start, length) = (u32::try_from(chunk.len()).unwrap(), u32::try_from(text.len()).unwrap());
            chunk.extend_from_slice(text.as_bytes());
            list.push(Message { channel, position: Position(position), start, length });
        }
        let read = Read { chunk, received_at: self.now, messages: vec![list] };
        self.input(Input::Delivery(Delivery::Batch(Batch::new(Arc::new(read), ShardIndex(0)))));
    }

    /// What the slot's client has received since the last look, without the response head.
    fn body(&mut self, slot: u32) -> String {
        let text = String::from_utf8(std::mem::take(self.received.entry(slot).or_default())).unwrap();
        match text.split_once("\r\n\r\n") {
            Some((_, body)) => body.to_owned(),
            None => text,
        }
    }

    fn disconnects(&self, reason: Disconnect) -> u64 {
        self.shard.counters.disconnects[reason as usize].get()
    }
}

fn replayed(position: u64, payload: &'static str) -> Replayed {
    Replayed::Message { position: Position(position), payload: Bytes::from_static(payload.as_bytes()) }
}
