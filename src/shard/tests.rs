use std::collections::BTreeMap;

use bytes::Bytes;

use super::input::{AdminAnswer, Send, SendOutcome, Unsent};
use super::*;
use crate::access::{Access, AllowedOrigins, Pattern, Rule, Rules};
use crate::base::channel::PayloadMode;
use crate::base::disconnect::Disconnect;
use crate::base::position::Position;
use crate::base::queue::{
    ChannelKey, GapReason, JoinGap, JoinOutcome, Joined, Message, PublishOutcome, Published, Reach, Replayed,
    Since,
};
use crate::base::socket::{HangUp, Listener};
use crate::protocol::admin::AdminPage;

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
    outputs: Vec<String>,
    sends: usize,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut ShardOptions)) -> Self {
        let rule =
            Rule { pattern: Pattern::parse("*").unwrap(), access: Access::Public, payload: PayloadMode::Raw };
        let site = Site {
            rules: Rules::new(vec![rule]),
            origins: AllowedOrigins::Any,
            try_out: true,
            demo_page: b"<html>",
            publish_limit: 1_000,
            retry: Duration::from_secs(2),
        };
        let mut options = ShardOptions {
            index: ShardIndex(0),
            epoch: EPOCH,
            site: Arc::new(site),
            limits: Limits::default(),
            heartbeat: Duration::ZERO,
            counters: Arc::default(),
            seed: 1,
        };
        change(&mut options);
        Self {
            shard: Shard::new(options),
            now: Time::from_nanos(1),
            received: BTreeMap::new(),
            room: BTreeMap::new(),
            controls: Vec::new(),
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
        self.input(Input::Accepted { slot: Slot(slot), listener });
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
        let batch = Batch { chunk: Bytes::from(chunk), received_at: self.now, messages: list };
        self.input(Input::Delivery(Delivery::Batch(batch)));
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

#[test]
fn a_stream_opens_when_its_channel_is_joined_and_then_gets_every_message() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=news");
    bench.flush();
    assert_eq!(bench.body(1), "", "nothing is known yet");
    let (news, _, since) = bench.asked("news");
    assert_eq!(since, Since::Now);
    bench.join_all(7);
    assert_eq!(bench.body(1), "retry: 2000\nid: a.7\n\n");
    bench.publish(&[(news, 8, "hello"), (news, 9, "world")]);
    bench.flush();
    assert_eq!(bench.body(1), "data: hello\nid: a.8\n\ndata: world\nid: a.9\n\n");
    assert_eq!(bench.shard.kept_bytes(), 0);
}

#[test]
fn the_second_stream_of_a_channel_needs_no_answer_from_the_reader() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=news");
    let (news, ..) = bench.asked("news");
    bench.join_all(7);
    bench.publish(&[(news, 8, "one")]);
    bench.stream(2, "channel=news");
    assert!(bench.controls.is_empty());
    bench.publish(&[(news, 9, "two")]);
    bench.flush();
    assert_eq!(bench.body(2), "retry: 2000\nid: a.8\n\ndata: two\nid: a.9\n\n");
}

#[test]
fn however_many_messages_come_a_connection_is_sent_to_once_a_turn() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a&channel=b");
    let (a, ..) = bench.asked("a");
    let (b, ..) = bench.asked("b");
    bench.join_all(0);
    bench.sends = 0;
    for position in 1..=100 {
        bench.publish(&[(if position % 3 == 0 { a } else { b }, position, "x")]);
    }
    bench.turn();
    assert_eq!(bench.sends, 1);
    let ids: Vec<u64> =
        bench.body(1).lines().filter_map(|line| line.strip_prefix("id: a.")?.parse().ok()).collect();
    assert_eq!(ids, (0..=100).collect::<Vec<_>>(), "several channels go out in rising position");
}

#[test]
fn a_half_sent_frame_is_finished_first_and_nothing_comes_in_between() {
    let whole = "data: one\nid: a.1\n\ndata: two\nid: a.2\n\n";
    for room in 0..whole.len() {
        for query in ["channel=a", "channel=a&channel=b"] {
            let mut bench = Bench::with(|options| options.heartbeat = Duration::from_millis(320));
            let socket = bench.stream(1, query);
            let (a, ..) = bench.asked("a");
            let b = if query.contains('b') { bench.asked("b").0 } else { a };
            bench.join_all(0);
            bench.body(1);
            bench.room.insert(1, room);
            bench.publish(&[(a, 1, "one"), (b, 2, "two")]);
            bench.flush();
            bench.publish(&[(b, 3, "three")]);
            bench.now = bench.now.after(Duration::from_secs(10));
            bench.input(Input::Tick);
            bench.flush();
            assert_eq!(bench.body(1), whole[..room], "nothing is sent to a socket that is full");
            bench.room.clear();
            bench.input(Input::Writable { socket });
            bench.flush();
            assert_eq!(
                bench.body(1),
                format!("{}data: three\nid: a.3\n\n", &whole[room..]),
                "{query} {room}"
            );
            assert_eq!(bench.shard.kept_bytes(), 0);
            assert_eq!(bench.shard.counters.cells.messages_delivered.get(), 3);
        }
    }
}

#[test]
fn a_reader_that_falls_out_of_the_log_is_disconnected_and_the_others_go_on() {
    let mut bench = Bench::with(|options| options.limits.lag_bytes = 1_000);
    bench.stream(1, "channel=a");
    let (a, ..) = bench.asked("a");
    bench.stream(2, "channel=a");
    bench.join_all(0);
    bench.room.insert(1, 5);
    for position in 1..=100 {
        bench.publish(&[(a, position, "some text of a few bytes")]);
        bench.flush();
    }
    assert_eq!(bench.disconnects(Disconnect::Lagged), 1);
    assert_eq!(bench.body(2).matches("data:").count(), 100);
    assert_eq!(bench.shard.kept_bytes(), 0);
}

#[test]
fn a_stream_that_falls_out_of_one_log_while_it_waits_for_another_channel_is_disconnected() {
    let mut bench = Bench::with(|options| options.limits.lag_bytes = 1_000);
    bench.stream(1, "channel=a&channel=b&last_event_id=a.0");
    let (a, socket, _) = bench.asked("a");
    let (b, ..) = bench.asked("b");
    bench.joined(socket, a, 1, Vec::new(), None);
    for position in 2..100 {
        bench.publish(&[(a, position, "some text of a few bytes")]);
        bench.flush();
    }
    assert_eq!(bench.disconnects(Disconnect::Lagged), 1);
    bench.joined(socket, b, 100, Vec::new(), None);
    bench.flush();
    assert_eq!(bench.shard.kept_bytes(), 0);
}

#[test]
fn a_resume_replays_from_the_readers_history_and_goes_on_without_repeat() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a&channel=b&last_event_id=a.10");
    let (a, socket, since) = bench.asked("a");
    let (b, ..) = bench.asked("b");
    assert_eq!(since, Since::After(Position(10)));
    bench.joined(socket, a, 20, vec![replayed(12, "a12"), replayed(19, "a19")], None);
    bench.publish(&[(a, 21, "a21"), (a, 23, "a23")]);
    bench.joined(socket, b, 24, vec![replayed(11, "b11"), replayed(22, "b22")], None);
    bench.publish(&[(b, 25, "b25")]);
    bench.flush();
    let expected = "retry: 2000\nid: a.10\n\ndata: b11\nid: a.11\n\ndata: a12\nid: a.12\n\ndata: a19\nid: a.19\n\n\
                    data: a21\nid: a.21\n\ndata: b22\nid: a.22\n\ndata: a23\nid: a.23\n\ndata: b25\nid: a.25\n\n";
    assert_eq!(bench.body(1), expected);
    assert_eq!(bench.shard.kept_bytes(), 0);
}

#[test]
fn a_resume_that_missed_nothing_is_answered_by_the_shard_itself() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a");
    let (a, ..) = bench.asked("a");
    bench.join_all(0);
    bench.publish(&[(a, 5, "five")]);
    bench.flush();
    bench.stream(2, "channel=a&last_event_id=a.5");
    assert!(bench.controls.is_empty());
    bench.publish(&[(a, 6, "six")]);
    bench.flush();
    assert_eq!(bench.body(2), "retry: 2000\nid: a.5\n\ndata: six\nid: a.6\n\n");
}

#[test]
fn a_client_that_is_ahead_of_this_shard_gets_nothing_twice() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a");
    let (a, ..) = bench.asked("a");
    bench.join_all(3);
    bench.stream(2, "channel=a&last_event_id=a.5");
    let (_, socket, since) = bench.asked("a");
    assert_eq!(since, Since::After(Position(5)));
    bench.publish(&[(a, 4, "four"), (a, 5, "five")]);
    bench.joined(socket, a, 5, Vec::new(), None);
    bench.publish(&[(a, 6, "six")]);
    bench.flush();
    assert_eq!(bench.body(2), "retry: 2000\nid: a.5\n\ndata: six\nid: a.6\n\n");
}

#[test]
fn an_id_of_another_run_is_answered_by_a_stated_gap() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=news&last_event_id=zzz.5");
    bench.join_all(7);
    let expected = "retry: 2000\nid: a.7\n\nevent: courier-gap\n\
                    data: {\"channel\":\"news\",\"from\":null,\"reason\":\"unknown-epoch\"}\nid: a.7\n\n";
    assert_eq!(bench.body(1), expected);
}

#[test]
fn a_replay_that_is_not_everything_states_its_gap_first_and_a_cut_behind_it_loses_nothing() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=news&last_event_id=a.5");
    let (news, socket, _) = bench.asked("news");
    let gap = JoinGap { from: Position(5), reason: GapReason::TooOld };
    bench.joined(socket, news, 40, vec![replayed(30, "x")], Some(gap));
    bench.flush();
    let expected = "retry: 2000\nid: a.5\n\nevent: courier-gap\n\
                    data: {\"channel\":\"news\",\"from\":\"a.5\",\"reason\":\"too-old\"}\nid: a.29\n\n\
                    data: x\nid: a.30\n\n";
    assert_eq!(bench.body(1), expected);
}

#[test]
fn a_gap_that_the_reader_states_comes_in_order_with_the_messages() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=news");
    let (news, ..) = bench.asked("news");
    bench.join_all(0);
    bench.body(1);
    bench.publish(&[(news, 1, "before")]);
    let gap = Gap { channels: vec![(news, Position(2))], from: Position(1), reason: GapReason::UpstreamDown };
    bench.input(Input::Delivery(Delivery::Gap(gap)));
    bench.publish(&[(news, 3, "after")]);
    bench.flush();
    let expected = "data: before\nid: a.1\n\nevent: courier-gap\n\
                    data: {\"channel\":\"news\",\"from\":\"a.1\",\"reason\":\"upstream-down\"}\nid: a.2\n\n\
                    data: after\nid: a.3\n\n";
    assert_eq!(bench.body(1), expected);
}

#[test]
fn the_head_goes_out_after_two_seconds_and_what_was_missed_until_the_join_is_a_gap() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a&channel=b");
    let (a, socket, _) = bench.asked("a");
    let (b, ..) = bench.asked("b");
    bench.joined(socket, a, 3, Vec::new(), None);
    bench.flush();
    assert_eq!(bench.body(1), "");
    let earliest = bench.now.after(limits::JOIN_TIMEOUT);
    bench.now = bench.shard.waits.next().unwrap();
    assert!(bench.now.since(earliest) < Duration::from_millis(100));
    bench.input(Input::Tick);
    bench.flush();
    assert_eq!(bench.body(1), "retry: 2000\nid: a.3\n\n");
    bench.publish(&[(a, 4, "four")]);
    bench.joined(socket, b, 5, Vec::new(), None);
    bench.flush();
    let expected = "event: courier-gap\ndata: {\"channel\":\"b\",\"from\":\"a.3\",\"reason\":\"upstream-down\"}\n\
                    id: a.3\n\ndata: four\nid: a.4\n\n";
    assert_eq!(bench.body(1), expected);
}

#[test]
fn a_channel_that_redis_forbids_is_stated_and_the_others_go_on() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a&channel=secret");
    let (a, socket, _) = bench.asked("a");
    let (secret, ..) = bench.asked("secret");
    let outcome = JoinOutcome::Forbidden;
    let joined = Joined { connection: socket, channel: secret, position: Position(1), outcome };
    bench.input(Input::Delivery(Delivery::Joined(joined)));
    bench.joined(socket, a, 2, Vec::new(), None);
    bench.publish(&[(a, 3, "three")]);
    bench.flush();
    let expected = "retry: 2000\nid: a.2\n\nevent: courier-gap\n\
                    data: {\"channel\":\"secret\",\"from\":null,\"reason\":\"forbidden\"}\nid: a.2\n\n\
                    data: three\nid: a.3\n\n";
    assert_eq!(bench.body(1), expected);
    assert!(bench.controls.iter().any(|control| matches!(control, Control::Leave { .. })));
}

#[test]
fn the_last_client_of_a_channel_leaves_it() {
    let mut bench = Bench::new();
    let first = bench.stream(1, "channel=news");
    let second = bench.stream(2, "channel=news");
    bench.join_all(0);
    bench.input(Input::HungUp { socket: first, cause: HangUp::Closed });
    assert!(bench.controls.is_empty());
    bench.input(Input::HungUp { socket: second, cause: HangUp::Reset });
    assert!(matches!(&bench.controls[..], [Control::Leave { name, .. }] if name.as_str() == "news"));
    assert_eq!(
        (bench.disconnects(Disconnect::ClientClosed), bench.disconnects(Disconnect::ClientReset)),
        (1, 1)
    );
    assert_eq!(bench.shard.connections(), 0);
}

#[test]
fn a_client_that_goes_while_it_waits_for_its_join_leaves_nothing_behind() {
    let mut bench = Bench::new();
    let socket = bench.stream(1, "channel=news");
    let (news, ..) = bench.asked("news");
    bench.input(Input::HungUp { socket, cause: HangUp::Closed });
    bench.joined(socket, news, 5, vec![replayed(4, "x")], None);
    bench.flush();
    assert_eq!(
        (bench.shard.joins.len(), bench.shard.hub.channel_count(), bench.shard.kept_bytes()),
        (0, 0, 0)
    );
}

#[test]
fn completions_of_an_earlier_use_of_a_slot_are_dropped_and_counted() {
    let mut bench = Bench::new();
    let old = bench.stream(1, "channel=news");
    bench.join_all(0);
    bench.input(Input::HungUp { socket: old, cause: HangUp::Closed });
    bench.body(1);
    let new = bench.accept(1);
    assert_ne!(old, new);
    bench.input(Input::Received { socket: old, bytes: b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" });
    bench.input(Input::HungUp { socket: old, cause: HangUp::Closed });
    bench.input(Input::Writable { socket: old });
    bench.flush();
    assert_eq!(bench.body(1), "");
    assert_eq!(bench.shard.counters.cells.stale_completions.get(), 3);
    assert_eq!(bench.shard.connections(), 1);
}

#[test]
fn heads_may_come_in_any_fragments_and_short_answers_are_pipelined() {
    let request = "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for cut in 1..request.len() {
        let mut bench = Bench::new();
        let socket = bench.accept(1);
        bench.input(Input::Received { socket, bytes: &request.as_bytes()[..cut] });
        bench.flush();
        bench.input(Input::Received { socket, bytes: &request.as_bytes()[cut..] });
        bench.flush();
        let answers = String::from_utf8(bench.received[&1].clone()).unwrap();
        let statuses: Vec<&str> = answers.lines().filter(|line| line.starts_with("HTTP/")).collect();
        assert_eq!(statuses, ["HTTP/1.1 404 Not Found", "HTTP/1.1 200 OK"], "cut at {cut}");
        assert!(bench.outputs.is_empty(), "the connection is kept");
    }
}

#[test]
fn a_client_that_ends_its_side_behind_its_request_still_gets_the_answer() {
    let mut bench = Bench::new();
    let socket = bench.request(1, "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n");
    bench.input(Input::HungUp { socket, cause: HangUp::Closed });
    bench.flush();
    assert!(bench.body(1).contains("not-found"));
    assert_eq!(bench.outputs, [format!("{:?}", Output::Close { socket })]);
}

#[test]
fn a_malformed_request_is_answered_then_the_connection_lingers_and_closes() {
    let mut bench = Bench::new();
    let socket = bench.request(1, "GET / HTTP/1.1\nHost: localhost\n\n");
    bench.flush();
    assert!(bench.body(1).contains("\"code\":\"bad-request\""));
    assert_eq!(bench.outputs, [format!("{:?}", Output::ShutdownWrite { socket })]);
    bench.input(Input::Received { socket, bytes: &[b'x'; 60_000] });
    assert_eq!(bench.outputs.len(), 1);
    bench.input(Input::Received { socket, bytes: &[b'x'; 60_000] });
    assert_eq!(bench.outputs[1], format!("{:?}", Output::Shutdown { socket }));
    bench.input(Input::HungUp { socket, cause: HangUp::Closed });
    assert_eq!(bench.outputs[2], format!("{:?}", Output::Close { socket }));
    assert_eq!(bench.disconnects(Disconnect::BadRequest), 1);
}

#[test]
fn a_head_that_is_not_complete_in_time_is_answered_408() {
    let mut bench = Bench::new();
    bench.request(1, "GET /events?channel=a HT");
    let earliest = bench.now.after(Limits::default().head_timeout);
    bench.now = bench.shard.next_deadline().unwrap();
    assert!(earliest <= bench.now && bench.now.since(earliest) < Duration::from_millis(500));
    bench.input(Input::Tick);
    bench.flush();
    assert!(String::from_utf8_lossy(&bench.received[&1]).starts_with("HTTP/1.1 408 "));
    assert_eq!(bench.disconnects(Disconnect::HeadTimeout), 1);
}

#[test]
fn tls_on_a_plain_port_is_closed_and_told_once_a_minute() {
    let mut bench = Bench::new();
    let count = |bench: &Bench| bench.outputs.iter().filter(|output| output.starts_with("Notice")).count();
    for (slot, notices) in [(1, 1), (2, 1), (3, 2)] {
        let socket = bench.accept(slot);
        bench.input(Input::Received { socket, bytes: b"\x16\x03\x01\x02\x00\x01" });
        assert_eq!(count(&bench), notices);
        bench.now = bench.now.after(Duration::from_secs(40));
    }
    assert_eq!(bench.disconnects(Disconnect::TlsOnPlainPort), 3);
}

#[test]
fn a_stream_has_no_deadline_and_a_shard_at_rest_none_at_all() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a");
    bench.join_all(0);
    bench.now = bench.now.after(Duration::from_secs(60));
    bench.input(Input::Tick);
    assert_eq!(bench.shard.next_deadline(), None);
}

#[test]
fn a_quiet_stream_gets_a_heartbeat_within_the_interval_and_a_busy_one_none() {
    let mut bench = Bench::with(|options| options.heartbeat = Duration::from_secs(16));
    bench.stream(1, "channel=quiet");
    bench.stream(2, "channel=busy");
    let (busy, ..) = bench.asked("busy");
    bench.join_all(0);
    bench.body(1);
    bench.body(2);
    for position in 1..=33 {
        bench.now = bench.now.after(Duration::from_millis(500));
        bench.input(Input::Tick);
        bench.publish(&[(busy, position, "x")]);
        bench.flush();
    }
    assert_eq!(bench.body(1), ":\n\n");
    assert!(!bench.body(2).contains(":\n\n"));
}

#[test]
fn a_published_body_goes_to_the_reader_and_its_outcome_to_the_client() {
    let mut bench = Bench::new();
    let head = "POST /publish?channel=demo HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 5\r\n\r\n";
    let socket = bench.request(1, head);
    bench.input(Input::Received { socket, bytes: b"hel" });
    bench.input(Input::Received { socket, bytes: b"lo" });
    assert!(matches!(&bench.controls[..], [Control::Publish { name, payload, .. }]
        if name.as_str() == "demo" && &payload[..] == b"hello"));
    assert_eq!(bench.shard.body_bytes, 0);
    let published = Published { connection: socket, outcome: PublishOutcome::Accepted };
    bench.input(Input::Delivery(Delivery::Published(published)));
    bench.flush();
    assert!(String::from_utf8_lossy(&bench.received[&1]).starts_with("HTTP/1.1 202 "));
}

#[test]
fn admin_pages_are_rendered_by_the_driver() {
    let mut bench = Bench::new();
    let socket = bench.accept_on(1, Listener::Admin);
    bench.input(Input::Received { socket, bytes: b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n" });
    assert_eq!(bench.outputs, [format!("{:?}", Output::AskAdmin { socket, page: AdminPage::Ready })]);
    let answer = AdminAnswer {
        status: 503,
        content_type: "text/plain",
        body: Bytes::from_static(b"not subscribed\n"),
    };
    bench.input(Input::AdminAnswer { socket, answer });
    bench.flush();
    assert!(String::from_utf8_lossy(&bench.received[&1]).starts_with("HTTP/1.1 503 "));
    assert_eq!(bench.body(1), "not subscribed\n");
}

#[test]
fn draining_gives_every_stream_what_it_is_owed_and_a_time_to_come_back() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a");
    let (a, ..) = bench.asked("a");
    let waiting = bench.stream(2, "channel=b");
    let idle = bench.request(3, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    bench.flush();
    let controls = std::mem::take(&mut bench.controls);
    bench.controls = controls.into_iter().take(1).collect();
    bench.join_all(0);
    bench.body(1);
    bench.publish(&[(a, 1, "last")]);
    bench.input(Input::Drain);
    bench.flush();
    let body = bench.body(1);
    let retry: u64 = body.strip_prefix("data: last\nid: a.1\n\nretry: ").unwrap().trim().parse().unwrap();
    assert!((1_000..2_000).contains(&retry), "{retry}");
    assert!(
        bench.body(2).starts_with("retry: "),
        "a stream that had not opened gets its head and the same words"
    );
    assert_eq!(bench.disconnects(Disconnect::Drain), 3);
    for socket in [bench.shard.key(Slot(1)), waiting, idle] {
        bench.input(Input::HungUp { socket, cause: HangUp::Closed });
    }
    assert_eq!(bench.outputs.last(), Some(&format!("{:?}", Output::Drained)));
}

#[test]
fn draining_ends_streams_that_still_wait_for_the_reader() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a");
    bench.now = bench.shard.waits.next().unwrap();
    bench.input(Input::Tick);
    // The early head is on its way when the order comes.
    bench.input(Input::Drain);
    bench.flush();
    assert!(bench.body(1).contains("retry: "));
    let slow = bench.stream(2, "channel=b");
    bench.flush();
    assert!(bench.body(2).starts_with("retry: "));
    assert_eq!(bench.disconnects(Disconnect::Drain), 2);
    for socket in [bench.shard.key(Slot(1)), slow] {
        bench.input(Input::HungUp { socket, cause: HangUp::Closed });
    }
    assert_eq!(bench.outputs.last(), Some(&format!("{:?}", Output::Drained)));
}

#[test]
fn a_browsers_spare_connection_does_not_hold_up_the_drain() {
    let mut bench = Bench::new();
    let spare = bench.accept(1);
    bench.input(Input::Drain);
    bench.input(Input::HungUp { socket: spare, cause: HangUp::Closed });
    assert_eq!(bench.outputs.last(), Some(&format!("{:?}", Output::Drained)));
}

#[test]
fn who_comes_after_a_channel_became_forbidden_asks_the_reader() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a");
    let (a, ..) = bench.asked("a");
    bench.join_all(1);
    let gap = Gap { channels: vec![(a, Position(2))], from: Position(1), reason: GapReason::Forbidden };
    bench.input(Input::Delivery(Delivery::Gap(gap)));
    for slot in [2, 3] {
        bench.stream(slot, "channel=a");
        let (_, socket, since) = bench.asked("a");
        assert_eq!(since, Since::Now);
        bench.controls.clear();
        let gap = JoinGap { from: Position(2), reason: GapReason::Forbidden };
        bench.joined(socket, a, 2, Vec::new(), Some(gap));
        bench.flush();
        assert!(bench.body(slot).contains("\"reason\":\"forbidden\""));
    }
}

#[test]
fn while_the_upstream_is_down_every_stream_asks_the_reader() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a");
    bench.join_all(1);
    bench.input(Input::Delivery(Delivery::Upstream(Reach::Down)));
    bench.stream(2, "channel=a");
    let (a, socket, _) = bench.asked("a");
    let gap = JoinGap { from: Position(1), reason: GapReason::UpstreamDown };
    bench.joined(socket, a, 1, Vec::new(), Some(gap));
    bench.flush();
    assert!(bench.body(2).contains("upstream-down"));
    bench.controls.clear();
    bench.input(Input::Delivery(Delivery::Upstream(Reach::Up)));
    bench.stream(3, "channel=a");
    assert!(bench.controls.is_empty());
}

#[test]
fn a_stream_for_which_the_reader_has_no_room_is_complete_and_says_when_to_come_back() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a");
    let (a, socket, _) = bench.asked("a");
    let joined = Joined { connection: socket, channel: a, position: Position(0), outcome: JoinOutcome::Full };
    bench.input(Input::Delivery(Delivery::Joined(joined)));
    bench.flush();
    let text = String::from_utf8(bench.received[&1].clone()).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.contains("\r\n\r\nretry: "), "{text}");
    assert_eq!(bench.outputs, [format!("{:?}", Output::ShutdownWrite { socket })]);
    assert_eq!(bench.disconnects(Disconnect::ChannelLimit), 1);
}

#[test]
fn a_kept_alive_connection_has_one_deadline_however_many_requests_it_makes() {
    let mut bench = Bench::new();
    let socket = bench.accept(1);
    for _ in 0..100 {
        bench.input(Input::Received { socket, bytes: b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n" });
        bench.flush();
        bench.now = bench.now.after(Duration::from_secs(1));
        bench.input(Input::Tick);
    }
    assert!(bench.shard.idles.len() <= 1 && bench.shard.heads.len() <= 1);
    assert!(bench.outputs.is_empty(), "a connection that is used is kept");
    let used = bench.now;
    while bench.disconnects(Disconnect::IdleTimeout) == 0 {
        bench.now = bench.shard.next_deadline().unwrap();
        bench.input(Input::Tick);
    }
    assert!(bench.now.since(used) <= 2 * Limits::default().idle_timeout + Duration::from_secs(2));
}

#[test]
fn who_does_not_take_the_last_words_is_closed_all_the_same() {
    let mut bench = Bench::new();
    bench.room.insert(1, 10);
    let socket = bench.request(1, "GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    bench.flush();
    assert!(bench.outputs.iter().any(|output| output.starts_with("AwaitWritable")));
    while bench.outputs.last() != Some(&format!("{:?}", Output::Shutdown { socket })) {
        bench.now = bench.shard.next_deadline().expect("it is watched");
        bench.input(Input::Tick);
    }
    assert!(bench.now.since(Time::ZERO) < limits::USER_TIMEOUT + Duration::from_secs(2));
}

#[test]
fn controls_that_found_the_queue_full_are_offered_again_in_order() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a&channel=b");
    for control in std::mem::take(&mut bench.controls) {
        bench.input(Input::ControlReturned(control));
    }
    bench.stream(2, "channel=c");
    assert!(bench.controls.is_empty(), "those that come later wait behind");
    bench.now = bench.now.after(CONTROL_RETRY);
    assert_eq!(bench.shard.next_deadline(), Some(bench.now));
    bench.input(Input::Tick);
    let names: Vec<&str> = bench
        .controls
        .iter()
        .map(|control| match control {
            Control::Join { name, .. } => name.as_str(),
            _ => "",
        })
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn tails_are_bounded_together() {
    let mut bench = Bench::with(|options| options.limits.tail_bytes = 1_000);
    for slot in 0..20 {
        bench.room.insert(slot, 10);
        bench.request(slot, "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n");
        bench.flush();
    }
    assert!(bench.shard.kept_bytes() <= 1_000);
    assert!(bench.disconnects(Disconnect::TailLimit) > 10);
}
