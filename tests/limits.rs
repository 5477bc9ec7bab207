//! The limits of a running courier: at each the new is refused in words that it understands, and the old stay.
//!
//! Addresses are those of the loopback net: whoever binds to 127.0.0.2 comes from there.

#![allow(clippy::unwrap_used)] // Tests state what must hold by unwrapping it; these are their helpers.

mod support;

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use support::courier::{Courier, refused};
use support::http::{Answer, Peer};
use support::stream::Stream;
use support::{DEADLINE, Directory};

/// A connection from 127.0.0.`last`.
fn connect(courier: &Courier, last: u8) -> Peer {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
    socket.connect(&courier.web.into()).unwrap();
    Peer::over(TcpStream::from(socket))
}

fn request(fields: &str) -> String {
    format!("GET /events?channel=a HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

/// A stream of a client there, with these fields in its request.
#[track_caller]
fn stream(courier: &Courier, last: u8, fields: &str) -> Stream {
    let mut peer = connect(courier, last);
    peer.send(request(fields));
    Stream::behind(peer)
}

/// A stream that is refused as an EventSource understands it: what it is told.
#[track_caller]
fn is_told_to_come_back(courier: &Courier, last: u8, fields: &str) -> Answer {
    let mut peer = connect(courier, last);
    peer.send(request(fields));
    let head = peer.head();
    assert_eq!(head.status, 200, "{head:?}");
    let body = String::from_utf8(peer.rest()).unwrap();
    let retry: u64 = body.strip_prefix("retry: ").unwrap().trim_end().parse().unwrap();
    assert!((1_000..2_000).contains(&retry), "{body}: half of sse.retry at least, spread");
    head
}

fn ends(reason: &str) -> String {
    format!("courier_disconnects_total{{reason=\"{reason}\"}}")
}

#[test]
fn an_address_has_so_many_connections_and_others_have_theirs() {
    let courier = Courier::with_broker(&["--shards", "2", "--limits-connections-per-address", "2"]);
    let mut old = [stream(&courier, 2, ""), stream(&courier, 2, "")];
    is_told_to_come_back(&courier, 2, "");
    assert_eq!(courier.metric(&ends("address-limit")), 1.0);
    let mut other = stream(&courier, 3, "");
    courier.client().publish("a", "for all who stay");
    for stream in old.iter_mut().chain([&mut other]) {
        assert_eq!(stream.data(), "for all who stay");
    }
    assert!(courier.process.errors.with("limits.connections_per_address").contains("127.0.0.2"));
    drop(old);
    // The other's, and the one that asks.
    courier.until_metric("courier_connections", |connections| connections <= 2.0);
    stream(&courier, 2, "");
}

#[test]
fn who_comes_with_many_more_is_closed_at_once_and_the_admin_side_is_open() {
    let courier = Courier::with_broker(&["--limits-connections-per-address", "1"]);
    let first = stream(&courier, 1, "");
    let waiting: Vec<Peer> = (0..64).map(|_| connect(&courier, 1)).collect();
    courier.until_metric("courier_connections", |connections| connections >= 65.0);
    connect(&courier, 1).expect_end();
    assert_eq!(courier.page("/livez").status, 200, "of the same address");
    drop((waiting, first));
}

#[test]
fn a_process_has_so_many_connections() {
    let courier = Courier::with_broker(&["--shards", "2", "--limits-connections", "3"]);
    let old = [stream(&courier, 1, ""), stream(&courier, 2, ""), stream(&courier, 3, "")];
    // A page of the admin side counts while it is read.
    is_told_to_come_back(&courier, 4, "");
    assert_eq!(courier.metric(&ends("connection-limit")), 1.0);
    drop(old);
    courier.until_metric("courier_connections", |connections| connections <= 1.0);
    stream(&courier, 4, "");
}

#[test]
fn where_that_is_wanted_the_refusal_is_a_503_with_its_time() {
    let courier = Courier::with_broker(&["--limits-connections-per-address", "1", "--server-shed", "503"]);
    let _old = stream(&courier, 1, "");
    let mut peer = connect(&courier, 1);
    peer.send(request(""));
    let answer = peer.answer();
    assert_eq!((answer.status, answer.code().as_str()), (503, "busy"));
    assert_eq!(answer.field("retry-after"), Some("2"));
    peer.expect_end();
}

#[test]
fn behind_a_trusted_proxy_the_clients_count_and_nobody_else_is_believed() {
    let flags = ["--limits-connections-per-address", "1", "--server-trusted-proxies", "127.0.0.9"];
    let courier = Courier::with_broker(&flags);
    let [one, other] =
        ["198.51.100.1", "198.51.100.2"].map(|address| format!("X-Forwarded-For: 1.1.1.1, {address}\r\n"));
    let _old = [stream(&courier, 9, &one), stream(&courier, 9, &other)];
    is_told_to_come_back(&courier, 9, &one);
    // What cannot be read counts as the proxy, once; and whoever is no proxy counts as itself, whatever it says.
    let _proxy = stream(&courier, 9, "X-Forwarded-For: nonsense\r\n");
    is_told_to_come_back(&courier, 9, "X-Forwarded-For: _hidden\r\n");
    let _stranger = stream(&courier, 2, &one);
    is_told_to_come_back(&courier, 2, "X-Forwarded-For: 198.51.100.77\r\n");
}

#[test]
fn a_proxy_behind_a_socket_file_may_speak_for_its_clients_in_the_field_of_the_standard() {
    let directory = Directory::new();
    let path = directory.path().join("courier.sock");
    let listen = format!("unix:{}", path.display());
    let courier = Courier::with_broker(&[
        "--listen",
        &listen,
        "--limits-connections-per-address",
        "1",
        "--server-trusted-proxies",
        "unix",
        "--server-forwarded-field",
        "forwarded",
    ]);
    let ask = |fields: &str| {
        use std::io::{Read, Write};
        let mut socket = UnixStream::connect(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.write_all(request(fields).as_bytes()).unwrap();
        let mut received = Vec::new();
        while !received.windows(7).any(|bytes| bytes == b"retry: ") {
            let mut chunk = [0; 1_024];
            let length = socket.read(&mut chunk).unwrap();
            assert!(length > 0, "{}", received.escape_ascii());
            received.extend_from_slice(&chunk[..length]);
        }
        // An id follows the time of a stream that begins, and the end that of one that is refused.
        while !received.ends_with(b"\n\n") {
            let mut byte = [0];
            assert_eq!(socket.read(&mut byte).unwrap(), 1);
            received.push(byte[0]);
        }
        (socket, received.windows(4).any(|bytes| bytes == b"\nid:"))
    };
    let (_old, is_open) = ask("Forwarded: for=\"[2001:db8::1]:4711\";proto=https\r\n");
    assert!(is_open);
    assert!(!ask("Forwarded: for=\"[2001:db8::2]\"\r\n").1, "of the same /64");
    assert!(ask("Forwarded: for=192.0.2.1\r\n").1);
    assert_eq!(courier.metric(&ends("address-limit")), 1.0);
}

#[test]
fn beyond_the_rate_connections_wait_to_be_accepted_and_all_are_served() {
    let courier = Courier::with_broker(&["--shards", "1", "--limits-accept-rate", "20"]);
    // What came before, to see that it is up, has been made good for.
    let began = Instant::now();
    let mut peers: Vec<Peer> = (0..60).map(|_| connect(&courier, 1)).collect();
    peers.iter_mut().for_each(|peer| peer.send(request("")));
    assert_eq!(courier.page("/livez").status, 200, "the admin side does not wait");
    let waited = began.elapsed();
    assert!(waited < Duration::from_secs(2), "{waited:?}");
    let streams: Vec<Stream> = peers.into_iter().map(Stream::behind).collect();
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1_900), "60 came in {took:?}, 20 at once and 20 a second");
    courier.until_metric("courier_accept_rests_total", |rests| rests >= 1.0);
    courier.process.errors.with("limits.accept_rate");
    drop(streams);
}

#[test]
fn a_stream_a_shard_and_a_head_have_so_much() {
    let courier = Courier::with_broker(&[
        "--shards",
        "1",
        "--limits-channels-per-connection",
        "2",
        "--limits-channels-per-shard",
        "3",
        "--limits-head-fields",
        "16",
    ]);
    let ask = |query: &str, fields: &str| {
        let mut peer = connect(&courier, 1);
        peer.send(format!("GET /events?{query} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        peer
    };
    let answer = ask("channel=a&channel=b&channel=c", "").answer();
    assert_eq!((answer.status, answer.code().as_str()), (400, "too-many-channels"));
    let answer = ask("channel=a", &"X: y\r\n".repeat(16)).answer();
    assert_eq!((answer.status, answer.code().as_str()), (431, "head-too-large"));
    let _old = [
        Stream::behind(ask("channel=a&channel=b", &"X: y\r\n".repeat(15))),
        Stream::behind(ask("channel=b&channel=c", "")),
    ];
    let mut peer = ask("channel=a&channel=d", "");
    assert_eq!(peer.head().status, 200);
    assert!(peer.rest().starts_with(b"retry: "));
    assert_eq!(courier.metric(&ends("channel-limit")), 1.0);
    Stream::behind(ask("channel=a&channel=c", ""));
}

#[test]
fn credentials_are_for_listed_origins_and_refused_with_every_origin() {
    let line = refused(&["--broker", "127.0.0.1:0", "--public", "*", "--http-allow-credentials", "yes"]);
    assert_eq!(
        line,
        "--http-allow-credentials yes: every origin is allowed, and with credentials each has to be meant: list them in \
         http.allowed_origins, as in https://app.example"
    );
    let origin = "https://app.example";
    let courier = Courier::with_broker(&["--allowed-origins", origin, "--http-allow-credentials", "yes"]);
    let mut peer = connect(&courier, 1);
    for (origin, allowed) in [(origin, true), ("https://evil.example", false)] {
        peer.send(format!("OPTIONS /events HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\n\r\n"));
        let answer = peer.answer();
        assert_eq!(answer.field("access-control-allow-credentials"), allowed.then_some("true"));
        assert_eq!(answer.field("access-control-allow-origin"), allowed.then_some(origin));
        assert_eq!(answer.field("vary"), Some("Origin"));
        assert_eq!(answer.field("access-control-max-age"), Some("7200"));
    }
}
