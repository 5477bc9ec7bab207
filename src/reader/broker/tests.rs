//! The broker as the reader sees it. What it says to clients is compared with a real Redis in
//! `tests/broker_like_redis/`.

use std::sync::Arc;

use proptest::prelude::*;

use crate::base::channel::ChannelName;
use crate::base::counters::ReaderCounters;
use crate::base::socket::{HangUp, Slot, SocketKey};
use crate::base::time::{Time, UnixTime, WallClock};
use crate::reader::broker::{Broker, BrokerOptions};
use crate::reader::input::Output;
use crate::wire::resp::request::encode_command;

const A: SocketKey = SocketKey { slot: Slot(3), generation: 1 };
const B: SocketKey = SocketKey { slot: Slot(0), generation: 5 };
const C: SocketKey = SocketKey { slot: Slot(9), generation: 0 };

fn options() -> BrokerOptions {
    BrokerOptions {
        memory_bytes: 10_000,
        clients_max: 2,
        message_bytes: 5_000,
        output_bytes_max: 1_000,
        buffer_bytes_max: 20_000,
        password: None,
        version: "1.2.3",
        wall_clock: WallClock { at: Time::ZERO, unix: UnixTime::from_secs(1_700_000_000) },
        counters: Arc::default(),
    }
}

fn broker_with(clients: &[SocketKey]) -> Broker {
    let mut broker = Broker::new(options());
    for &client in clients {
        broker.accepted(Time::ZERO, client);
    }
    outputs(&mut broker);
    broker
}

fn command(line: &str) -> Vec<u8> {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let mut bytes = Vec::new();
    encode_command(&words, &mut bytes);
    bytes
}

fn say(broker: &mut Broker, client: SocketKey, line: &str) {
    broker.received(Time::ZERO, client, &command(line));
}

/// Sends all that is outgoing, for all clients; returns what this one was sent.
fn heard(broker: &mut Broker, client: SocketKey) -> String {
    let mut heard = String::new();
    while let Some(socket) = broker.next_to_send() {
        let outgoing = broker.outgoing(socket).to_vec();
        broker.sent(socket, outgoing.len());
        if socket == client {
            heard.push_str(&outgoing.escape_ascii().to_string());
        }
    }
    heard
}

fn ask(broker: &mut Broker, client: SocketKey, line: &str) -> String {
    say(broker, client, line);
    heard(broker, client)
}

fn outputs(broker: &mut Broker) -> Vec<String> {
    std::iter::from_fn(|| broker.next_output()).map(|output| format!("{output:?}")).collect()
}

fn output(output: &Output) -> String {
    format!("{output:?}")
}

fn published(broker: &mut Broker) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = broker.published().map(|message| (text(message.channel), text(message.payload))).collect();
    broker.clear_published();
    all
}

fn name(name: &str) -> ChannelName {
    ChannelName::parse(name.as_bytes()).unwrap()
}

#[test]
fn messages_of_relayed_channels_are_handed_over_in_order() {
    let mut broker = broker_with(&[A, B]);
    broker.relay(&name("news"));
    broker.relay(&name("news"));
    let bytes = ["PUBLISH news 1", "PUBLISH other 2", "PUBLISH news 3"].map(command).concat();
    broker.received(Time::ZERO, A, &bytes);
    assert_eq!(heard(&mut broker, A), r":1\r\n:0\r\n:1\r\n");
    assert_eq!(published(&mut broker), [("news".into(), "1".into()), ("news".into(), "3".into())]);
    assert_eq!(published(&mut broker), []);
    broker.stop_relaying(&name("news"));
    assert_eq!(ask(&mut broker, A, "PUBLISH news 4"), r":0\r\n");
    assert_eq!(published(&mut broker), []);
}

#[test]
fn courier_counts_as_one_subscriber() {
    let mut broker = broker_with(&[A, B]);
    broker.relay(&name("news"));
    ask(&mut broker, B, "SUBSCRIBE news");
    assert_eq!(ask(&mut broker, A, "PUBLISH news 1"), r":2\r\n");
    assert_eq!(ask(&mut broker, A, "PUBSUB NUMSUB news"), r"*2\r\n$4\r\nnews\r\n:2\r\n");
    broker.relay(&name("relayed"));
    assert_eq!(ask(&mut broker, A, "PUBSUB CHANNELS r*"), r"*1\r\n$7\r\nrelayed\r\n");
    broker.hung_up(B, HangUp::Reset);
    assert_eq!(ask(&mut broker, A, "PUBLISH news 2"), r":1\r\n");
}

#[test]
fn what_courier_publishes_itself_reaches_the_brokers_clients() {
    let mut broker = broker_with(&[A]);
    broker.relay(&name("news"));
    ask(&mut broker, A, "SUBSCRIBE news");
    assert_eq!(broker.publish(b"news", b"hi"), 2);
    assert_eq!(heard(&mut broker, A), r"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n");
    assert_eq!(published(&mut broker), [("news".into(), "hi".into())]);
}

#[test]
fn a_socket_of_another_generation_is_nobodys() {
    let mut broker = broker_with(&[A]);
    let stale = SocketKey { generation: 0, ..A };
    say(&mut broker, stale, "PING");
    broker.hung_up(stale, HangUp::Closed);
    broker.writable(stale);
    broker.sent(stale, 3);
    assert_eq!(broker.outgoing(stale), b"");
    assert_eq!(outputs(&mut broker), Vec::<String>::new());
    assert_eq!(ask(&mut broker, A, "PING"), r"+PONG\r\n");
}

#[test]
fn a_client_lives_from_receive_to_close() {
    let mut broker = Broker::new(options());
    broker.accepted(Time::ZERO, A);
    assert_eq!(outputs(&mut broker), [output(&Output::Receive { socket: A })]);
    say(&mut broker, A, "SUBSCRIBE news");
    heard(&mut broker, A);
    broker.hung_up(A, HangUp::Closed);
    assert_eq!(outputs(&mut broker), [output(&Output::Close { socket: A })]);
    assert_eq!(broker.memory.used(), 0);
    broker.accepted(Time::ZERO, SocketKey { generation: 2, ..A });
}

#[test]
fn a_client_that_only_ended_its_own_half_gets_its_answer() {
    let mut broker = broker_with(&[A]);
    say(&mut broker, A, "PING");
    broker.hung_up(A, HangUp::Closed);
    assert_eq!(outputs(&mut broker), Vec::<String>::new());
    assert_eq!(heard(&mut broker, A), r"+PONG\r\n");
    assert_eq!(outputs(&mut broker), [output(&Output::Close { socket: A })]);

    // One send: a peer that takes nothing is not waited for.
    let mut broker = broker_with(&[B]);
    say(&mut broker, B, "PING");
    broker.hung_up(B, HangUp::Closed);
    assert_eq!(broker.next_to_send(), Some(B));
    broker.sent(B, 2);
    assert_eq!(outputs(&mut broker), [output(&Output::Close { socket: B })]);
}

#[test]
fn a_full_socket_is_waited_for() {
    let mut broker = broker_with(&[A]);
    say(&mut broker, A, "PING");
    assert_eq!(broker.next_to_send(), Some(A));
    broker.sent(A, 2);
    assert_eq!(outputs(&mut broker), [output(&Output::AwaitWritable { socket: A })]);
    say(&mut broker, A, "PING");
    assert_eq!(broker.next_to_send(), None);
    broker.writable(A);
    assert_eq!(heard(&mut broker, A), r"ONG\r\n+PONG\r\n");
    assert_eq!(outputs(&mut broker), Vec::<String>::new());
}

#[test]
fn a_client_that_reads_too_slowly_is_closed() {
    let mut broker = broker_with(&[A, B]);
    ask(&mut broker, A, "SUBSCRIBE news");
    let payload = "x".repeat(600);
    assert_eq!(ask_without_sending(&mut broker, &format!("PUBLISH news {payload}")), 1);
    assert_eq!(ask_without_sending(&mut broker, &format!("PUBLISH news {payload}")), 1);
    // More than 1,000 bytes are owed now: the next message is one too many.
    assert_eq!(ask_without_sending(&mut broker, &format!("PUBLISH news {payload}")), 0);
    assert_eq!(outputs(&mut broker), [output(&Output::Shutdown { socket: A })]);
    assert_eq!(broker.outgoing(A), b"");
    assert_eq!(ask_without_sending(&mut broker, "PUBLISH news x"), 0);
    broker.hung_up(A, HangUp::Closed);
    assert_eq!(outputs(&mut broker), [output(&Output::Close { socket: A })]);
}

#[test]
fn a_transaction_of_large_replies_is_cut_short_at_what_a_client_may_be_owed() {
    let mut broker = broker_with(&[A]);
    ask(&mut broker, A, &format!("SET k {}", "x".repeat(1_500)));
    ask(&mut broker, A, "MULTI");
    for line in ["GET k", "GET k", "GET k", "SET done yes"] {
        assert_eq!(ask(&mut broker, A, line), r"+QUEUED\r\n");
    }
    say(&mut broker, A, "EXEC");
    assert_eq!(outputs(&mut broker), [output(&Output::Shutdown { socket: A })]);
    broker.accepted(Time::ZERO, B);
    assert_eq!(ask(&mut broker, B, "GET done"), r"$3\r\nyes\r\n");
}

#[test]
fn when_all_buffers_are_too_much_the_largest_goes() {
    let small = |broker: &mut Broker| say(broker, B, "ECHO hello");
    // Incomplete requests.
    let mut broker = Broker::new(BrokerOptions { buffer_bytes_max: 4_000, ..options() });
    broker.accepted(Time::ZERO, A);
    broker.accepted(Time::ZERO, B);
    outputs(&mut broker);
    broker.received(Time::ZERO, B, b"*1\r\n$5000\r\n12345");
    broker.received(Time::ZERO, A, &[b"*1\r\n$5000\r\n".as_slice(), &[b'x'; 3_980]].concat());
    assert_eq!(outputs(&mut broker), [output(&Output::Shutdown { socket: A })]);
    broker.hung_up(A, HangUp::Closed);
    broker.hung_up(B, HangUp::Closed);
    assert_eq!(broker.clients.buffered_bytes(), 0);

    // What is owed.
    let mut broker = Broker::new(BrokerOptions { buffer_bytes_max: 4_000, ..options() });
    broker.accepted(Time::ZERO, A);
    broker.accepted(Time::ZERO, B);
    outputs(&mut broker);
    small(&mut broker);
    say(&mut broker, A, &format!("ECHO {}", "x".repeat(3_980)));
    small(&mut broker);
    small(&mut broker);
    assert_eq!(outputs(&mut broker), [output(&Output::Shutdown { socket: A })]);
    assert_eq!(heard(&mut broker, B), r"$5\r\nhello\r\n".repeat(3));
    assert_eq!(broker.clients.buffered_bytes(), 0);
}

/// The number of receivers of a publish by courier, with nothing sent to anyone.
fn ask_without_sending(broker: &mut Broker, line: &str) -> usize {
    let mut words = line.split(' ').skip(1).map(str::as_bytes);
    broker.publish(words.next().unwrap(), words.next().unwrap())
}

#[test]
fn one_reply_may_exceed_what_a_client_may_be_owed() {
    let mut broker = broker_with(&[A]);
    let value = "x".repeat(4_000);
    ask(&mut broker, A, &format!("SET k {value}"));
    assert_eq!(ask(&mut broker, A, "GET k"), format!(r"$4000\r\n{value}\r\n"));
    broker.received(Time::ZERO, A, &["GET k", "PING"].map(command).concat());
    assert_eq!(outputs(&mut broker), [output(&Output::Shutdown { socket: A })]);
}

#[test]
fn a_client_too_many_is_told_so() {
    let mut broker = broker_with(&[A, B]);
    broker.accepted(Time::ZERO, C);
    say(&mut broker, C, "PING");
    assert_eq!(heard(&mut broker, C), r"-ERR max number of clients reached\r\n");
    let expected = [output(&Output::Receive { socket: C }), output(&Output::Shutdown { socket: C })];
    assert_eq!(outputs(&mut broker), expected);
    broker.hung_up(C, HangUp::Closed);
    broker.hung_up(B, HangUp::Closed);
    assert_eq!(broker.clients.count(), 1);
    outputs(&mut broker);
    broker.accepted(Time::ZERO, C);
    assert_eq!(ask(&mut broker, C, "PING"), r"+PONG\r\n");
}

#[test]
fn pages_that_post_to_the_port_are_closed_and_counted() {
    let counters: Arc<ReaderCounters> = Arc::default();
    for (bytes, expected) in [
        (
            b"POST / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            r"-ERR Protocol error: expected \'*\', got \'P\'\r\n",
        ),
        (b"PING\r\n".to_vec(), r"-ERR Protocol error: expected \'*\', got \'P\'\r\n"),
        (
            [b"GET / HTTP/1.1\r\n".as_slice(), &command("SET k v")].concat(),
            r"-ERR Protocol error: expected \'*\', got \'G\'\r\n",
        ),
        (command("POST /"), ""),
        (command("HOST: localhost"), ""),
    ] {
        let before = counters.cells.broker_protocol_errors.get();
        let mut broker = Broker::new(BrokerOptions { counters: Arc::clone(&counters), ..options() });
        broker.accepted(Time::ZERO, A);
        broker.received(Time::ZERO, A, &bytes);
        assert_eq!(heard(&mut broker, A), expected);
        assert_eq!(outputs(&mut broker)[1..], [output(&Output::Shutdown { socket: A })]);
        assert_eq!(counters.cells.broker_protocol_errors.get(), before + 1);
        assert_eq!(counters.cells.broker_commands.get(), 0);
    }
}

#[test]
fn a_client_that_quits_gets_its_answers_first() {
    let mut broker = broker_with(&[A]);
    broker.received(Time::ZERO, A, &["PING", "QUIT", "PING"].map(command).concat());
    assert_eq!(outputs(&mut broker), Vec::<String>::new());
    assert_eq!(heard(&mut broker, A), r"+PONG\r\n+OK\r\n");
    assert_eq!(outputs(&mut broker), [output(&Output::Shutdown { socket: A })]);
}

#[test]
fn keys_expire_when_their_time_has_come() {
    let mut broker = broker_with(&[A]);
    let now = Time::from_nanos(5_000_000_000);
    broker.received(now, A, &command("SET k v PX 1500"));
    broker.received(now, A, &command("SET later v EX 100"));
    heard(&mut broker, A);
    let due = broker.next_deadline().unwrap();
    assert_eq!(due, Time::from_nanos(6_501_000_000));
    broker.received(Time::from_nanos(6_500_000_000), A, &command("PTTL k"));
    assert_eq!(heard(&mut broker, A), r":0\r\n");
    broker.tick(Time::from_nanos(6_500_000_000));
    assert_eq!(broker.next_deadline(), Some(due));
    broker.tick(due);
    broker.received(due, A, &command("DBSIZE"));
    assert_eq!(heard(&mut broker, A), r":1\r\n");
    assert_eq!(broker.next_deadline(), Some(Time::from_nanos(105_001_000_000)));
}

#[test]
fn everything_a_client_makes_the_broker_keep_is_charged() {
    let mut broker = broker_with(&[A, B]);
    let oom = r"-OOM command not allowed when used memory > \'maxmemory\'.\r\n";
    assert_eq!(ask(&mut broker, A, &format!("SET k {}", "x".repeat(4_900))), r"+OK\r\n");
    assert_eq!(ask(&mut broker, A, &format!("SET l {}", "x".repeat(4_900))), oom);
    ask(&mut broker, A, "SUBSCRIBE news");
    assert_eq!(ask(&mut broker, A, &format!("SUBSCRIBE {}", "x".repeat(4_900))), oom);
    assert_eq!(ask(&mut broker, B, &format!("WATCH {}", "x".repeat(4_900))), oom);
    ask(&mut broker, B, "WATCH k");
    ask(&mut broker, B, "MULTI");
    assert_eq!(ask(&mut broker, B, "PING"), r"+QUEUED\r\n");
    assert_eq!(ask(&mut broker, B, &format!("PUBLISH news {}", "x".repeat(4_900))), oom);
    assert!(ask(&mut broker, B, "EXEC").starts_with("-EXECABORT "));
    ask(&mut broker, B, "MULTI");
    ask(&mut broker, B, "PING");
    ask(&mut broker, B, "RESET");
    broker.hung_up(A, HangUp::Reset);
    ask(&mut broker, B, "DEL k");
    assert_eq!(broker.memory.used(), 0);
}

#[test]
fn a_request_that_is_too_long_closes_without_a_word() {
    let mut broker = broker_with(&[A]);
    let argument = [b"$5000\r\n".as_slice(), &[b'x'; 5_000], b"\r\n"].concat();
    broker.received(Time::ZERO, A, b"*1000\r\n");
    for _ in 0..20 {
        broker.received(Time::ZERO, A, &argument);
    }
    assert_eq!(heard(&mut broker, A), "");
    assert_eq!(outputs(&mut broker), [output(&Output::Shutdown { socket: A })]);
}

#[test]
fn what_client_libraries_ask_when_they_connect_is_answered() {
    let mut broker = broker_with(&[A]);
    assert_eq!(ask(&mut broker, A, "CLIENT SETINFO LIB-NAME redis-py"), r"+OK\r\n");
    assert_eq!(ask(&mut broker, A, "CLIENT SETINFO LIB-VER 5.0.0"), r"+OK\r\n");
    assert_eq!(ask(&mut broker, A, "CLIENT ID"), r":1\r\n");
    let line = ask(&mut broker, A, "CLIENT INFO");
    assert!(line.contains("id=1 ") && line.contains(" lib-name=redis-py lib-ver=5.0.0"), "{line}");
    let info = ask(&mut broker, A, "INFO");
    for expected in [r"# Server\r\nredis_version:7.0.15\r\n", "courier_version:1.2.3", "role:master"] {
        assert!(info.contains(expected), "{info}");
    }
    let section = ask(&mut broker, A, "INFO replication");
    assert_eq!(section, r"$48\r\n# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n");
    assert_eq!(ask(&mut broker, A, "TIME"), r"*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n");
    assert_eq!(ask(&mut broker, A, "COMMAND INFO nothing"), r"*1\r\n*-1\r\n");
    let get = ask(&mut broker, A, "COMMAND INFO get");
    assert_eq!(
        get,
        r"*1\r\n*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n*0\r\n*0\r\n*0\r\n*0\r\n"
    );
    for line in ["COMMAND", "COMMAND COUNT", "COMMAND DOCS", "COMMAND LIST", "CLIENT HELP", "CLIENT LIST"] {
        assert!(!ask(&mut broker, A, line).starts_with('-'), "{line}");
    }
}

/// Lines that reach every command, right and wrong.
const LINES: [&str; 40] = [
    "PING",
    "PING x",
    "ECHO a",
    "HELLO 2",
    "HELLO 3",
    "HELLO 9",
    "SELECT 1",
    "SELECT 99",
    "CLIENT SETNAME x",
    "CLIENT GETNAME",
    "CLIENT X",
    "PUBLISH news x",
    "PUBLISH other y",
    "SUBSCRIBE news",
    "SUBSCRIBE news other",
    "UNSUBSCRIBE",
    "UNSUBSCRIBE news",
    "PSUBSCRIBE n*",
    "PUNSUBSCRIBE",
    "PUBSUB CHANNELS",
    "PUBSUB NUMPAT",
    "SET k v",
    "SET k v EX 10",
    "SET k v NX GET",
    "GET k",
    "SETNX k v",
    "DEL k",
    "EXPIRE k 10",
    "TTL k",
    "EXISTS k k",
    "MULTI",
    "EXEC",
    "DISCARD",
    "WATCH k",
    "UNWATCH",
    "RESET",
    "FLUSHALL",
    "NONSENSE x",
    "GET",
    "DBSIZE",
];

proptest! {
    #[test]
    fn how_requests_are_cut_does_not_change_the_answers(
        lines in prop::collection::vec(prop::sample::select(LINES.as_slice()), 0..40),
        sizes in prop::collection::vec(1..50_usize, 1..10),
    ) {
        let bytes: Vec<u8> = lines.iter().flat_map(|line| command(line)).collect();
        let mut whole = Broker::new(BrokerOptions { output_bytes_max: 1 << 20, buffer_bytes_max: 1 << 22, ..options() });
        let mut cut = Broker::new(BrokerOptions { output_bytes_max: 1 << 20, buffer_bytes_max: 1 << 22, ..options() });
        let mut single = Broker::new(BrokerOptions { output_bytes_max: 1 << 20, buffer_bytes_max: 1 << 22, ..options() });
        for broker in [&mut whole, &mut cut, &mut single] {
            broker.relay(&name("news"));
            broker.accepted(Time::ZERO, A);
        }
        whole.received(Time::ZERO, A, &bytes);
        bytes.chunks(1).for_each(|piece| single.received(Time::ZERO, A, piece));
        let mut rest = bytes.as_slice();
        for size in sizes.iter().cycle() {
            let (piece, behind) = rest.split_at((*size).min(rest.len()));
            cut.received(Time::ZERO, A, piece);
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        let messages = published(&mut whole);
        let answers = heard(&mut whole, A);
        prop_assert_eq!(&heard(&mut cut, A), &answers);
        prop_assert_eq!(&heard(&mut single, A), &answers);
        prop_assert_eq!(&published(&mut cut), &messages);
        prop_assert_eq!(&published(&mut single), &messages);
        // Nothing is left behind by a client that goes, but keys.
        say(&mut whole, A, "RESET");
        say(&mut whole, A, "FLUSHALL");
        whole.hung_up(A, HangUp::Reset);
        prop_assert_eq!(whole.memory.used(), 0);
        prop_assert_eq!(whole.clients.buffered_bytes(), 0);
        prop_assert_eq!(whole.subscriptions.channel_count(), 1);
    }
}
