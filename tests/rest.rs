//! Connections that end, by whoever's doing, and a courier that has nothing to do.

#![allow(clippy::unwrap_used)] // Tests state what must hold by unwrapping it; these are their helpers.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use courier::driver::sys::process::{Resource, raise};
use socket2::{Domain, Socket, Type};
use support::courier::{Courier, runs};
use support::http::Peer;
use support::process::Process;
use support::redis::Redis;
use support::stream::Stream;
use support::{DEADLINE, until};

const MEBIBYTE: usize = 1 << 20;

/// A subscriber whose kernel takes little: of a large message most stays with courier.
fn narrow(address: SocketAddr) -> Stream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut peer = Peer::over(socket.into());
    peer.send("GET /events?channel=a HTTP/1.1\r\nHost: a\r\n\r\n");
    Stream::behind(peer)
}

/// Makes courier hold the rest of a message that a client does not read.
fn stuck(courier: &Courier) -> Stream {
    let stream = narrow(courier.web);
    courier.client().publish("a", "x".repeat(MEBIBYTE));
    courier.until_metric("courier_tail_bytes", |bytes| bytes > 0.0);
    stream
}

#[test]
fn a_stop_ends_every_stream_with_a_delay_of_its_own() {
    let mut courier = Courier::with_broker(&["--shards", "2", "--retry", "60s"]);
    let mut streams: Vec<Stream> = (0..50).map(|_| Stream::open(courier.web, "channel=a")).collect();
    let mut idle = Peer::connect(courier.web);
    idle.send("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(idle.answer().status, 404);
    courier.client().publish("a", "the last one");
    let asked = Instant::now();
    courier.process.signal("TERM");
    let mut delays = Vec::new();
    for stream in &mut streams {
        assert_eq!(stream.retry(), Duration::from_secs(60));
        assert_eq!(stream.data(), "the last one");
        stream.expect_end();
        delays.push(stream.retry());
    }
    idle.expect_end();
    assert_eq!(courier.process.wait().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(delays.iter().all(|delay| (30..60).contains(&delay.as_secs())), "{delays:?}");
    delays.sort();
    delays.dedup();
    assert!(delays.len() > 40, "they do not all come back at once: {delays:?}");
    courier.process.errors.with("stopped");
}

#[test]
fn a_stop_by_interrupt_is_the_same_and_nobody_is_accepted_any_more() {
    let mut courier = Courier::with_broker(&["--drain-timeout", "60s"]);
    let mut stream = stuck(&courier);
    courier.process.signal("INT");
    courier.process.errors.with("stopping");
    until("nobody is accepted", || TcpStream::connect(courier.web).is_err());
    // Half a message is finished first.
    assert_eq!(stream.data().len(), MEBIBYTE);
    stream.expect_end();
    drop(stream);
    assert_eq!(courier.process.wait().code(), Some(0));
}

#[test]
fn who_comes_while_others_are_told_to_go_is_told_when_to_come_back() {
    let mut courier = Courier::with_broker(&["--shards", "1", "--retry", "60s", "--drain-timeout", "60s"]);
    let mut streams: Vec<Stream> = (0..1_000).map(|_| Stream::open(courier.web, "channel=a")).collect();
    courier.process.signal("TERM");
    courier.process.errors.with("stopping");
    let mut late = Peer::connect(courier.web);
    late.send("GET /events?channel=b HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(late.head().status, 200);
    let last = String::from_utf8(late.rest()).unwrap();
    let delay = last.strip_prefix("retry: ").and_then(|delay| delay.trim().parse::<u64>().ok());
    assert!(delay.is_some_and(|delay| (30_000..60_000).contains(&delay)), "{last}");
    for stream in &mut streams {
        stream.expect_end();
    }
    assert_eq!(courier.process.wait().code(), Some(0));
}

#[test]
fn a_stream_that_has_lasted_long_enough_ends_and_resumes_where_it_was() {
    let courier = Courier::with_broker(&["--sse-lifetime", "1s"]);
    let mut stream = Stream::open(courier.web, "channel=a");
    courier.client().publish("a", "one");
    assert_eq!(stream.data(), "one");
    stream.expect_end();
    courier.client().publish("a", "two");
    let mut resumed = Stream::resume(courier.web, "channel=a", stream.last_event_id());
    assert_eq!(resumed.data(), "two");
    courier.until_metric("courier_disconnects_total{reason=\"lifetime\"}", |ends| ends >= 1.0);
}

#[test]
fn a_client_that_does_not_read_holds_up_a_stop_until_the_drain_timeout() {
    let mut courier = Courier::with_broker(&["--drain-timeout", "700ms"]);
    let _stream = stuck(&courier);
    let asked = Instant::now();
    assert_eq!(courier.stop().code(), Some(0));
    let took = asked.elapsed();
    assert!((Duration::from_millis(600)..Duration::from_secs(10)).contains(&took), "{took:?}");
    courier.process.errors.with("the drain timeout has passed");
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut courier = Courier::with_broker(&["--drain-timeout", "60s"]);
    let _stream = stuck(&courier);
    courier.process.signal("TERM");
    courier.process.errors.with("stopping");
    let asked = Instant::now();
    courier.process.signal("TERM");
    courier.process.wait();
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    courier.process.errors.with("a second signal");
}

#[test]
fn a_hang_up_signal_is_logged_and_nothing_else() {
    let mut courier = Courier::with_broker(&[]);
    let mut stream = Stream::open(courier.web, "channel=a");
    courier.process.signal("HUP");
    courier.process.errors.with("SIGHUP");
    courier.client().publish("a", "still here");
    assert_eq!(stream.data(), "still here");
    assert!(courier.is_ready() && !courier.process.has_ended());
}

#[test]
fn a_client_that_goes_away_in_the_middle_of_its_first_frame_is_counted() {
    let courier = Courier::with_broker(&["--shards", "1"]);
    let mut other = Stream::open(courier.web, "channel=a");
    let mut stream = stuck(&courier);
    let mut some = [0; 1_000];
    stream.peer.socket.read_exact(&mut some).unwrap();
    drop(stream);
    courier.until_metric("courier_subscriptions", |count| count == 1.0);
    let ends = ["client-closed", "client-reset"]
        .map(|reason| courier.metric(&format!("courier_disconnects_total{{reason=\"{reason}\"}}")));
    assert_eq!(ends.iter().sum::<f64>(), 1.0, "{ends:?}");
    assert_eq!(other.data().len(), MEBIBYTE);
    courier.until_metric("courier_tail_bytes", |bytes| bytes == 0.0);
    courier.client().publish("a", "next");
    assert_eq!(other.data(), "next");
}

#[test]
fn a_client_that_reads_too_slowly_is_closed_and_resumes() {
    let courier = Courier::with_broker(&["--shards", "1", "--limits-lag-bytes", "64KiB"]);
    let mut fast = Stream::open(courier.web, "channel=a");
    let mut slow = narrow(courier.web);
    let mut publisher = courier.client();
    for number in 0..60 {
        publisher.publish("a", format!("{number} {}", "x".repeat(8_000)));
        assert!(fast.data().starts_with(&format!("{number} ")), "nobody waits for the slow one");
    }
    courier.until_metric("courier_disconnects_total{reason=\"lagged\"}", |count| count == 1.0);
    let mut received = 0;
    while let Some(event) = slow.event_within(DEADLINE) {
        assert!(event.data.starts_with(&format!("{received} ")), "what does come is in order");
        received += 1;
    }
    assert!(received < 60);
    // Nothing that it got is repeated, and what is missing is replayed, or stated where history is too short.
    let mut resumed = Stream::resume(courier.web, "channel=a", slow.last_event_id());
    let first = resumed.event();
    assert!(
        first.event == "courier-gap" || first.data.starts_with(&format!("{received} ")),
        "{}",
        first.event
    );
}

/// A client that acknowledges nothing from some moment on, as one whose network is gone: a socket filter drops what
/// comes for it before TCP sees it.
const VANISHING_CLIENT: &str = r"
import ctypes, socket, struct, sys
client = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
client.sendall(b'GET /events?channel=a HTTP/1.1\r\nHost: a\r\n\r\n')
while b'\nid: ' not in client.recv(4096): pass
drop_all = ctypes.create_string_buffer(struct.pack('HBBI', 0x06, 0, 0, 0))
SO_ATTACH_FILTER = 26
client.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack('HL', 1, ctypes.addressof(drop_all)))
print('gone', flush=True)
sys.stdin.read()
";

#[test]
fn a_client_that_vanished_is_closed_and_counted() {
    let courier = Courier::with_broker(&["--shards", "1", "--heartbeat", "200ms"]);
    let port = courier.web.port().to_string();
    let mut client = Process::start(Command::new("python3").args(["-c", VANISHING_CLIENT, &port]));
    let _input = client.input();
    client.output.with("gone");
    let gone = Instant::now();
    let metric = "courier_disconnects_total{reason=\"client-vanished\"}";
    // The time is the kernel's: 30 s behind the first heartbeat that is not acknowledged, by its own timers.
    while courier.metric(metric) == 0.0 {
        assert!(gone.elapsed() < Duration::from_secs(45), "it is not missed");
        // Twice a second is often enough for half a minute.
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(gone.elapsed() > Duration::from_secs(25), "{:?}", gone.elapsed());
    assert_eq!(courier.metric("courier_subscriptions"), 0.0);
}

#[test]
fn a_heartbeat_comes_when_there_is_nothing_else() {
    let courier = Courier::with_broker(&["--heartbeat", "200ms"]);
    let mut stream = Stream::open(courier.web, "channel=a");
    stream.until_raw(":\n\n:\n\n:\n\n");
    assert!(courier.metric("courier_heartbeats_total") >= 3.0);
    courier.client().publish("a", "x");
    assert_eq!(stream.data(), "x");
}

/// Waits until a process has stopped doing anything. The timers of connections that are over have run out by then: the
/// longest that these tests leave is that of a stream's opening, two seconds.
fn until_at_rest(process: &Process) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let before = runs(process);
        // A span to look over, not a wait for anything.
        std::thread::sleep(Duration::from_secs(3));
        if runs(process) == before {
            return;
        }
        assert!(Instant::now() < deadline, "it does not come to rest");
    }
}

#[test]
fn with_ten_thousand_idle_connections_or_none_no_thread_ever_runs() {
    const COUNT: usize = 10_000;
    let limit = raise(Resource::Descriptors).unwrap();
    assert!(limit.soft > COUNT as u64 + 1_000, "RLIMIT_NOFILE allows the clients: {limit:?}");
    let redis = Redis::start();
    // A timer that was set for a request may ring once after its end; within the span of `until_at_rest`.
    let brief = ["--limits-head-timeout", "2s", "--limits-idle-timeout", "1s"];
    let alone = Courier::with_broker(&brief);
    // Redis is pinged now and then; not in these ten seconds.
    let flags = ["--redis", &redis.url(), "--public", "*", "--redis-ping-interval", "60s"];
    let with_redis = Courier::start(&[&flags[..], &brief].concat());
    let busy = Courier::with_broker(&[&["--shards", "1", "--heartbeat", "0s"], &brief[..]].concat());
    let mut clients: Vec<TcpStream> = Vec::with_capacity(COUNT);
    for number in 0..COUNT {
        let mut client = TcpStream::connect(busy.web).unwrap();
        write!(client, "GET /events?channel=c{} HTTP/1.1\r\nHost: a\r\n\r\n", number % 100).unwrap();
        clients.push(client);
    }
    busy.until_metric("courier_subscriptions", |count| count == COUNT as f64);
    let couriers = [&busy.process, &alone.process, &with_redis.process];
    couriers.into_iter().for_each(until_at_rest);
    let before = couriers.map(runs);
    // The span that is looked over.
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(couriers.map(runs), before, "a thread was woken up for nothing");
    // They are all there.
    busy.client().publish("c7", "x");
    let mut heard = 0;
    for client in clients.iter_mut().skip(7).step_by(100) {
        let mut stream = vec![0; 64 * 1_024];
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut length = 0;
        while !stream[..length].windows(7).any(|window| window == b"data: x") {
            let read = client.read(&mut stream[length..]).unwrap();
            assert!(read > 0, "the stream ended");
            length += read;
        }
        heard += 1;
    }
    assert_eq!(heard, COUNT / 100);
}
