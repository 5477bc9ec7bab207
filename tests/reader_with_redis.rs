//! The reader against a real redis-server: what its scripts assume Redis to say, Redis does say.
//!
//! A driver in miniature carries bytes between the machine and two Unix sockets; the clock is the real one, and every
//! wait is for an event, with a deadline.

#![allow(clippy::unwrap_used)] // Tests state what must hold by unwrapping it; these are their helpers.

mod support;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use courier::access::Rules;
use courier::base::channel::ChannelName;
use courier::base::counters::ReaderCounters;
use courier::base::limits::Limits;
use courier::base::position::Epoch;
use courier::base::queue::{
    Control, Delivery, GapReason, JoinOutcome, Publication, PublishOutcome, Replayed, ShardIndex, Since,
};
use courier::base::secret::Secret;
use courier::base::slab::Key;
use courier::base::socket::{HangUp, Slot, SocketKey};
use courier::base::time::Time;
use courier::reader::input::{Input, Notice, Output};
use courier::reader::{Answered, Reader, ReaderOptions, RedisAddress, RedisOptions, Upstream};
use courier::wire::resp::command::Command as RespCommand;
use courier::wire::resp::reply::Reply;
use support::redis::Redis;

#[test]
fn messages_reach_the_shard_and_survive_a_killed_connection() {
    let redis = Redis::start();
    let mut driver = Driver::new(options(&redis));
    driver.wait("up", |seen| seen.notices.iter().any(|notice| matches!(notice, Notice::Up { .. })));
    driver.join(0, "news");
    driver.wait("joined", |seen| seen.joined.contains_key(&0));
    driver.wait_until_it_can_ask();

    driver.publish("news", "one\r\ntwo");
    driver.wait("the message", |seen| seen.messages == [(0, b"one\r\ntwo".to_vec())]);
    driver.wait("the answer", |seen| is_accepted(&seen.published));

    assert_eq!(redis.client().say("CLIENT KILL TYPE pubsub"), Reply::Integer(1));
    driver.wait("down", |seen| seen.notices.iter().any(|notice| matches!(notice, Notice::Down { .. })));
    driver.wait("the gap", |seen| seen.gaps == [(0, GapReason::UpstreamDown)]);
    assert_eq!(redis.client().say("PUBLISH news three"), Reply::Integer(1));
    driver.wait("the next message", |seen| seen.messages.len() == 2);
    assert_eq!(driver.counters.cells.redis_up.get(), 1);
    assert_eq!(driver.counters.cells.redis_reconnects.get(), 1);
}

#[test]
fn commands_with_replies_are_answered_in_the_order_of_asking() {
    let redis = Redis::start();
    let mut driver = Driver::new(options(&redis));
    driver.wait("up", |seen| seen.notices.iter().any(|notice| matches!(notice, Notice::Up { .. })));
    driver.wait_until_it_can_ask();
    let loaded = redis.client().say("SCRIPT LOAD return{KEYS[1],ARGV[1]}");
    let digest = Bytes::copy_from_slice(loaded.as_text().unwrap());
    redis.client().say("XADD stream 1-1 d one");
    redis.client().say("XADD stream 2-1 d two");
    let text = |text: &'static str| Bytes::from_static(text.as_bytes());
    let expire = Duration::from_secs(60);
    let set = || RespCommand::SetIfAbsent { key: text("key"), value: text("value"), expire };
    let range = RespCommand::StreamRange { key: text("stream"), from: text("-"), to: text("+"), count: 1 };
    let eval = RespCommand::EvalSha { digest, keys: vec![text("k")], arguments: vec![text("a")] };
    let get = |key| RespCommand::Get { key: text(key) };
    let commands = [set(), set(), get("key"), get("absent"), eval, range, get("stream")];
    for (caller, command) in (0..).zip(&commands) {
        driver.reader.ask(command, caller);
    }
    driver.wait("all answers", |seen| seen.answered.len() == commands.len());
    assert!(driver.seen.answered.iter().map(|answered| answered.caller).eq(0..7));
    let replies: Vec<Reply> =
        driver.seen.answered.drain(..).map(|answered| answered.reply.unwrap()).collect();
    assert_eq!(replies[0].as_text(), Some(&b"OK"[..]));
    assert_eq!(replies[1], Reply::Null);
    assert_eq!(replies[2].as_text(), Some(&b"value"[..]));
    assert_eq!(replies[3], Reply::Null);
    let shown = |reply: &Reply| format!("{reply:?}");
    assert!(matches!(&replies[4], Reply::Array(both) if both.len() == 2), "{}", shown(&replies[4]));
    assert!(matches!(&replies[5], Reply::Array(entries) if entries.len() == 1), "{}", shown(&replies[5]));
    assert!(
        matches!(&replies[6], Reply::Error(text) if text.starts_with(b"WRONGTYPE")),
        "{}",
        shown(&replies[6])
    );
}

#[test]
fn a_large_message_and_many_small_ones_arrive_whole_and_in_order() {
    let redis = Redis::start();
    let mut driver = Driver::new(options(&redis));
    driver.wait("up", |seen| seen.notices.iter().any(|notice| matches!(notice, Notice::Up { .. })));
    driver.join(0, "a");
    driver.wait("joined", |seen| seen.joined.contains_key(&0));
    driver.wait_until_it_can_ask();
    let mut expected = Vec::new();
    for number in 0..2_000 {
        let payload = if number == 1_000 { "x".repeat(1 << 20) } else { format!("{number}") };
        driver.publish("a", &payload);
        expected.push((0, payload.into_bytes()));
    }
    driver.wait("all messages", |seen| seen.messages.len() == expected.len());
    assert!(driver.seen.messages == expected, "in order and whole");
    driver.wait("all answers", |seen| seen.published.len() == expected.len());
}

#[test]
fn forbidden_channels_are_found_among_many_that_are_not() {
    let redis = Redis::with(&["--user", "reader", "on", ">secret", "resetchannels", "&open.*", "+@all"]);
    let options = RedisOptions {
        username: Some("reader".to_owned()),
        password: Some(Secret::new("secret".to_owned())),
        ..options(&redis)
    };
    let mut driver = Driver::new(options);
    driver.wait("up", |seen| seen.notices.iter().any(|notice| matches!(notice, Notice::Up { .. })));
    for number in 0..1_500 {
        let name = if number % 500 == 250 { format!("closed.{number}") } else { format!("open.{number}") };
        driver.join(number, &name);
    }
    driver.wait("all answers", |seen| seen.joined.len() == 1_500);
    let forbidden: Vec<u32> =
        driver.seen.joined.iter().filter(|&(_, &is_live)| !is_live).map(|(&key, _)| key).collect();
    assert_eq!(forbidden, [250, 750, 1_250]);
}

#[test]
fn a_replica_takes_publishes_and_answers_a_write_with_readonly_without_being_lost() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let primary = Redis::with(&["--port", &port, "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0"]);
    let digest = primary.client().say("SCRIPT LOAD return{redis.call('SET',KEYS[1],ARGV[1])}");
    let digest = Bytes::copy_from_slice(digest.as_text().unwrap());
    let redis = Redis::with(&["--replicaof", "127.0.0.1", &port]);
    redis.client().say("SCRIPT LOAD return{redis.call('SET',KEYS[1],ARGV[1])}");
    let mut driver = Driver::new(options(&redis));
    driver.wait("up", |seen| seen.notices.iter().any(|notice| matches!(notice, Notice::Up { .. })));
    driver.join(0, "news");
    driver.wait("joined", |seen| seen.joined.contains_key(&0));
    driver.wait_until_it_can_ask();
    let text = |text: &'static str| Bytes::from_static(text.as_bytes());
    let set =
        RespCommand::SetIfAbsent { key: text("key"), value: text("value"), expire: Duration::from_secs(60) };
    let eval = RespCommand::EvalSha { digest, keys: vec![text("key")], arguments: vec![text("value")] };
    for (caller, command) in (0..).zip([&set, &eval]) {
        driver.reader.ask(command, caller);
    }
    driver.wait("both answers", |seen| seen.answered.len() == 2);
    for answered in &driver.seen.answered {
        let reply = answered.reply.as_ref();
        assert!(
            matches!(reply, Some(Reply::Error(text)) if text.starts_with(b"READONLY") || text.starts_with(b"ERR READONLY")),
            "{reply:?}"
        );
    }
    driver.publish("news", "heard");
    driver.wait("the message", |seen| seen.messages == [(0, b"heard".to_vec())]);
    assert_eq!(driver.seen.notices.len(), 1, "{}", driver.seen.in_short());
}

#[test]
fn logins_that_cannot_work_are_refused_with_the_reason() {
    let redis = Redis::with(&["--requirepass", "right"]);
    let wrong = RedisOptions { password: Some(Secret::new("wrong".to_owned())), ..options(&redis) };
    let out_of_range =
        RedisOptions { password: Some(Secret::new("right".to_owned())), database: 99, ..options(&redis) };
    for (options, expected) in [
        (options(&redis), "Redis asks for a password"),
        (wrong, "Redis refused user and password: WRONGPASS"),
        (out_of_range, "the database of redis.url cannot be used: ERR DB index is out of range"),
    ] {
        let mut driver = Driver::new(options);
        driver.wait(expected, |seen| {
            seen.notices
                .iter()
                .any(|notice| matches!(notice, Notice::Refused { reason } if reason.starts_with(expected)))
        });
    }
}

#[test]
fn a_redis_that_goes_away_and_comes_back_is_subscribed_again() {
    let mut redis = Redis::start();
    let mut driver = Driver::new(options(&redis));
    driver.wait("up", |seen| seen.notices.iter().any(|notice| matches!(notice, Notice::Up { .. })));
    driver.join(0, "a");
    driver.join(1, "b");
    driver.wait("joined", |seen| seen.joined.len() == 2);
    redis.kill();
    driver.wait("down", |seen| seen.notices.iter().any(|notice| matches!(notice, Notice::Down { .. })));
    driver.publish("a", "lost");
    driver.wait("the refusal", |seen| seen.published == [PublishOutcome::Unavailable { taken: 0 }]);
    redis.restart();
    driver.wait("the gaps", |seen| seen.gaps.len() == 2);
    driver.wait("up again", |seen| {
        let is_up = |notice: &&Notice| matches!(notice, Notice::Up { .. });
        seen.notices.iter().filter(is_up).count() == 2
    });
    // The link that publishes comes back in its own time; that one is heard does not depend on it.
    assert_eq!(redis.client().say("PUBLISH b back"), Reply::Integer(1));
    driver.wait("the message", |seen| seen.messages == [(1, b"back".to_vec())]);
}

#[test]
fn a_channel_that_an_acl_takes_and_gives_back_is_heard_again() {
    let redis = Redis::with(&["--user", "reader", "on", ">secret", "allchannels", "+@all"]);
    let options = RedisOptions {
        username: Some("reader".to_owned()),
        password: Some(Secret::new("secret".to_owned())),
        ..options(&redis)
    };
    let mut driver = Driver::new(options);
    driver.wait("up", |seen| seen.notices.iter().any(|notice| matches!(notice, Notice::Up { .. })));
    driver.join(0, "news");
    driver.wait("joined", |seen| seen.joined.contains_key(&0));
    // Redis closes the subscriptions of a user who loses their channels.
    assert_eq!(redis.client().say("ACL SETUSER reader resetchannels").as_text(), Some(&b"OK"[..]));
    driver.wait("the gap", |seen| seen.gaps == [(0, GapReason::Forbidden)]);
    assert_eq!(redis.client().say("ACL SETUSER reader allchannels").as_text(), Some(&b"OK"[..]));
    // Somebody comes, for whom it is asked again.
    driver.join(1, "news");
    driver.wait("the end of the gap", |seen| {
        seen.gaps == [(0, GapReason::Forbidden), (1, GapReason::Forbidden)]
    });
    assert_eq!(redis.client().say("PUBLISH news back"), Reply::Integer(1));
    driver.wait("the message", |seen| seen.messages == [(1, b"back".to_vec())]);
    assert_eq!(driver.counters.cells.redis_up.get(), 1);
}

/// One shard's view, and the notices.
#[derive(Debug, Default)]
struct Seen {
    /// By channel: whether it is live (or forbidden).
    joined: BTreeMap<u32, bool>,
    messages: Vec<(u32, Vec<u8>)>,
    gaps: Vec<(u32, GapReason)>,
    published: Vec<PublishOutcome>,
    notices: Vec<Notice>,
    answered: Vec<Answered>,
}

struct Driver {
    reader: Reader,
    path: PathBuf,
    counters: Arc<ReaderCounters>,
    begun: Instant,
    /// Streams by slot; a slot is used once.
    streams: Vec<Option<UnixStream>>,
    keys: Vec<SocketKey>,
    seen: Seen,
}

impl Driver {
    fn new(options: RedisOptions) -> Self {
        let RedisAddress::Unix { path } = options.address.clone() else { panic!("a Unix socket") };
        let counters = Arc::new(ReaderCounters::default());
        let reader = Reader::new(ReaderOptions {
            upstream: Upstream::Redis(options),
            epoch: Epoch(1),
            rules: Rules::default(),
            limits: Limits::default(),
            counters: Arc::clone(&counters),
            shards: 1,
            seed: 1,
            control: None,
            start: Time::ZERO,
        });
        let (streams, keys, seen) = (Vec::new(), Vec::new(), Seen::default());
        Self { reader, path, counters, begun: Instant::now(), streams, keys, seen }
    }

    fn join(&mut self, key: u32, name: &str) {
        self.input(Input::Control(Control::Join {
            shard: ShardIndex(0),
            channel: Key { index: key, generation: 0 },
            name: ChannelName::parse(name.as_bytes()).unwrap(),
            connection: SocketKey { slot: Slot(key), generation: 0 },
            since: Since::Now,
        }));
    }

    /// The link that is asked may take a moment longer than the one that hears.
    fn wait_until_it_can_ask(&mut self) {
        while !self.seen.published.pop().is_some_and(|outcome| is_accepted(&[outcome])) {
            self.publish("nobody", "x");
            self.wait("an answer", |seen| !seen.published.is_empty());
        }
    }

    fn publish(&mut self, name: &str, payload: &str) {
        self.input(Input::Control(Control::Publish {
            shard: ShardIndex(0),
            connection: SocketKey { slot: Slot(0), generation: 0 },
            messages: vec![Publication {
                name: ChannelName::parse(name.as_bytes()).unwrap(),
                payload: Bytes::copy_from_slice(payload.as_bytes()),
            }],
        }));
    }

    fn input(&mut self, input: Input<'_>) {
        let now = Time::from_nanos(u64::try_from(self.begun.elapsed().as_nanos()).unwrap());
        self.reader.handle(now, input);
        self.carry_out(now);
    }

    fn carry_out(&mut self, now: Time) {
        while let Some(output) = self.reader.next_output() {
            match output {
                Output::Dial { link } => match UnixStream::connect(&self.path) {
                    Ok(stream) => {
                        stream.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
                        let slot = Slot(u32::try_from(self.streams.len()).unwrap());
                        self.streams.push(Some(stream));
                        self.keys.push(SocketKey { slot, generation: 0 });
                        self.reader.handle(now, Input::Connected { link, slot });
                    }
                    Err(error) => {
                        self.reader.handle(now, Input::DialFailed { link, reason: &error.to_string() });
                    }
                },
                Output::Receive { socket } => assert_eq!(self.keys[socket.slot.index()], socket),
                Output::AwaitWritable { socket } => self.reader.handle(now, Input::Writable { socket }),
                Output::Shutdown { socket } => {
                    let stream = self.streams[socket.slot.index()].as_ref().unwrap();
                    let _ = stream.shutdown(std::net::Shutdown::Both);
                }
                Output::Close { socket } => self.streams[socket.slot.index()] = None,
                Output::Unheard { .. } => {}
                Output::Notice(notice) => self.seen.notices.push(notice),
            }
        }
        while let Some(delivery) = self.reader.next_delivery(ShardIndex(0)) {
            self.seen.take(delivery);
        }
        self.seen.answered.extend(std::iter::from_fn(|| self.reader.next_answer()));
        while let Some(socket) = self.reader.next_to_send() {
            let bytes = self.reader.outgoing(socket).to_vec();
            // A blocking send: whole, or the connection is gone and its hang-up follows.
            let _ = self.streams[socket.slot.index()].as_mut().unwrap().write_all(&bytes);
            self.reader.sent(now, socket, bytes.len());
        }
    }

    /// Carries bytes until `is_done`.
    fn wait(&mut self, what: &str, is_done: impl Fn(&Seen) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_done(&self.seen) {
            assert!(Instant::now() < deadline, "{what} did not come: {}", self.seen.in_short());
            self.read_all();
            self.input(Input::Tick);
        }
    }

    fn read_all(&mut self) {
        let mut buffer = vec![0; 16 * 1_024];
        for at in 0..self.streams.len() {
            let Some(stream) = &mut self.streams[at] else { continue };
            let socket = self.keys[at];
            match stream.read(&mut buffer) {
                Ok(0) => self.input(Input::HungUp { socket, cause: HangUp::Closed }),
                Ok(length) => self.input(Input::Received { socket, bytes: &buffer[..length] }),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => self.input(Input::HungUp { socket, cause: HangUp::Reset }),
            }
        }
    }
}

impl Seen {
    fn in_short(&self) -> String {
        let Self { joined, messages, gaps, published, notices, answered: _ } = self;
        let counts = (joined.len(), messages.len(), published.len());
        format!("joined, messages, published: {counts:?}; {gaps:?}; {notices:?}")
    }

    fn take(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Batch(batch) => {
                for message in batch.messages() {
                    self.messages.push((message.channel.index, batch.payload(message).to_vec()));
                }
            }
            Delivery::Joined(joined) => {
                let is_live = match joined.outcome {
                    JoinOutcome::Live { replay, .. } => {
                        assert!(!replay.iter().any(|item| matches!(item, Replayed::Message { .. })));
                        true
                    }
                    JoinOutcome::Forbidden | JoinOutcome::Full => false,
                };
                let before = self.joined.insert(joined.channel.index, is_live);
                assert!(before.is_none(), "a join is answered once");
            }
            Delivery::Gap(gap) => {
                self.gaps.extend(gap.channels.iter().map(|(channel, _)| (channel.index, gap.reason)));
            }
            Delivery::Published(published) => self.published.push(published.outcome),
            Delivery::Dismiss(_) | Delivery::Upstream(_) => {}
        }
    }
}

fn is_accepted(outcomes: &[PublishOutcome]) -> bool {
    matches!(outcomes, [PublishOutcome::Accepted(placed)] if placed.len() == 1)
}

fn options(redis: &Redis) -> RedisOptions {
    RedisOptions {
        address: RedisAddress::Unix { path: redis.socket() },
        username: None,
        password: None,
        database: 0,
        client_name: "courier-test".to_owned(),
        dial_timeout: Duration::from_secs(5),
        ping_interval: Duration::from_secs(10),
        ping_timeout: Duration::from_secs(5),
    }
}
