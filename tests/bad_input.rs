//! What is wrong is refused as documented, over a real connection: status, code, `Allow`, and whether it goes on.

#![allow(clippy::unwrap_used)] // Tests state what must hold by unwrapping it; these are their helpers.

mod support;

use std::process::Command;
use std::time::Duration;

use courier::wire::resp::reply::Reply;
use support::courier::Courier;
use support::http::Peer;
use support::process::Process;
use support::stream::Stream;
use support::until;

const GOOD: &str = "HEAD /events?channel=news HTTP/1.1\r\nHost: a\r\n\r\n";

fn courier(flags: &[&str]) -> Courier {
    Courier::start(&[&["--broker", "127.0.0.1:0", "--public", "news*", "--shards", "1"], flags].concat())
}

/// The requests are refused with this, and the connection takes another request.
#[track_caller]
fn refused_and_kept(courier: &Courier, requests: &[&str], status: u16, code: &str) {
    let mut peer = Peer::connect(courier.web);
    for request in requests {
        peer.send(request);
        let answer = peer.answer();
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{request}");
        assert_eq!(answer.field("access-control-allow-origin"), Some("*"), "{request}");
        assert_eq!(answer.field("connection"), None, "{request}");
    }
    peer.send(GOOD);
    assert_eq!(peer.head().status, 200);
    let metric = format!("courier_refusals_total{{reason=\"{code}\"}}");
    assert_eq!(courier.metric(&metric), requests.len() as f64);
}

/// Each request is refused with this, and its connection ends, whatever came behind it.
#[track_caller]
fn refused_and_closed(courier: &Courier, requests: &[&[u8]], status: u16, code: &str) {
    for request in requests {
        let shown = request[..request.len().min(80)].escape_ascii().to_string();
        let mut peer = Peer::connect(courier.web);
        peer.send(request);
        let answer = peer.answer();
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{shown}");
        assert_eq!(answer.field("access-control-allow-origin"), Some("*"), "{shown}");
        assert_eq!(answer.field("connection"), Some("close"), "{shown}");
        peer.expect_end();
    }
    let metric = format!("courier_refusals_total{{reason=\"{code}\"}}");
    assert_eq!(courier.metric(&metric), requests.len() as f64);
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[test]
fn channels_that_cannot_be_had_are_refused_and_the_connection_goes_on() {
    let courier = courier(&[]);
    let (many, most): (String, String) = (
        (0..65).map(|n| format!("&channel=news{n}")).collect(),
        (0..64).map(|n| format!("&channel=news{n}")).collect(),
    );
    refused_and_kept(
        &courier,
        &[&get("/events"), &get("/events?"), &get("/events?chanel=news")],
        400,
        "missing-channel",
    );
    refused_and_kept(&courier, &[&get(&format!("/events?{}", &many[1..]))], 400, "too-many-channels");
    let long = format!("/events?channel={}", "n".repeat(256));
    let names = [
        "/events?channel=",
        "/events?channel=a%0Ab",
        "/events?channel=a%00",
        "/events?channel=%FF%FE",
        &long,
    ]
    .map(get);
    refused_and_kept(&courier, &names.each_ref().map(String::as_str), 400, "bad-channel-name");
    refused_and_kept(&courier, &[&get("/events?channel=news&format=xml")], 400, "bad-parameter");
    // The same words whether anybody publishes there or not.
    courier.client().say("SUBSCRIBE secret");
    let closed = [
        get("/events?channel=secret"),
        get("/events?channel=news&channel=nowhere"),
        get("/events?channel=__news"),
    ];
    refused_and_kept(&courier, &closed.each_ref().map(String::as_str), 403, "channel-not-open");
    // 64 names and one of them twice are 64 channels.
    let mut stream = Stream::open(courier.web, &format!("{}&channel=news0", &most[1..]));
    assert_eq!(courier.metric("courier_subscriptions"), 64.0);
    courier.client().publish("news63", "x");
    assert_eq!(stream.data(), "x");
}

#[test]
fn what_is_not_served_is_refused_and_the_connection_goes_on() {
    let courier = courier(&[]);
    let paths = ["/", "/event", "/events/", "/metrics", "/%2e%2e/etc/passwd"].map(get);
    refused_and_kept(&courier, &paths.each_ref().map(String::as_str), 404, "not-found");
    let accept =
        |value: &str| format!("GET /events?channel=news HTTP/1.1\r\nHost: a\r\nAccept: {value}\r\n\r\n");
    let not_acceptable =
        ["text/html", "application/json, text/plain;q=0.5", "text/event-stream;q=0", "*/*;q=0"].map(accept);
    refused_and_kept(&courier, &not_acceptable.each_ref().map(String::as_str), 406, "not-acceptable");
    for value in ["text/event-stream", "*/*", "text/*", "text/html, text/event-stream;q=0.1"] {
        let mut peer = Peer::connect(courier.web);
        peer.send(accept(value));
        Stream::behind(peer);
    }
}

#[test]
fn a_wrong_method_is_told_those_that_are_right() {
    let courier = courier(&[]);
    let mut peer = Peer::connect(courier.web);
    for method in ["DELETE", "PUT", "POST", "PATCH", "get", "BREW"] {
        peer.send(format!("{method} /events?channel=news HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = peer.answer();
        assert_eq!((answer.status, answer.code().as_str()), (405, "method-not-allowed"), "{method}");
        assert_eq!(answer.field("allow"), Some("GET, HEAD, OPTIONS"), "{method}");
    }
    // A body that nobody reads ends the connection.
    peer.send("POST /events?channel=news HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(peer.answer().status, 405);
    peer.expect_end();
    let mut admin = Peer::connect(courier.admin);
    admin.send("POST /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(admin.answer().field("allow"), Some("GET, HEAD, OPTIONS"));
}

#[test]
fn what_two_readers_could_read_differently_ends_the_connection() {
    let courier = courier(&[]);
    let with =
        |fields: &str| format!("GET /events?channel=news HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes();
    // Behind each lies a request that must not be answered.
    let smuggled = |request: Vec<u8>| [request, GOOD.as_bytes().to_vec()].concat();
    let check = |requests: Vec<Vec<u8>>, code: &str| {
        let requests: Vec<Vec<u8>> = requests.into_iter().map(smuggled).collect();
        let requests: Vec<&[u8]> = requests.iter().map(Vec::as_slice).collect();
        refused_and_closed(&courier, &requests, 400, code);
    };
    check(vec![with("Content-Length: 5\r\n")], "body-not-allowed");
    check(
        vec![with("Transfer-Encoding: chunked\r\n"), with("Transfer-Encoding: identity\r\n")],
        "transfer-encoding",
    );
    check(
        vec![
            with("Content-Length: 0\r\nContent-Length: 5\r\n"),
            with("Content-Length: 0\r\nContent-Length: 0\r\n"),
            with("Content-Length: 0, 0\r\n"),
            with("Content-Length: +5\r\n"),
        ],
        "bad-content-length",
    );
    check(
        vec![
            b"GET /events?channel=news HTTP/1.1\r\n\r\n".to_vec(),
            b"GET /events?channel=news HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_vec(),
        ],
        "missing-host",
    );
    check(
        vec![
            with("Folded: one\r\n two\r\n"),
            with("Bare: lf\nNext: field\r\n"),
            b"GET /events?channel=news HTTP/1.1\nHost: a\n\n".to_vec(),
            b"\r\nGET /events?channel=news HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            with("Space : before the colon\r\n"),
            with("Nul: \0\r\n"),
            with("Bare-Cr: a\rb\r\n"),
            b"GET /events?channel=news#part HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"GET  /events?channel=news HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"G\x01T /events?channel=news HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"hello\r\n\r\n".to_vec(),
            b"\x00\x01\x02\x03\r\n\r\n".to_vec(),
            with("Origin: http://a\r\nOrigin: http://b\r\n"),
        ],
        "bad-request",
    );
    until("each end is counted", || {
        courier.metric("courier_disconnects_total{reason=\"bad-request\"}") == 22.0
    });
}

#[test]
fn another_version_of_http_is_told_what_is_spoken_here() {
    let courier = courier(&[]);
    refused_and_closed(
        &courier,
        &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/3.0\r\nHost: a\r\n\r\n"],
        505,
        "http-version",
    );
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let courier = courier(&["--limits-head-bytes", "2KiB"]);
    let long =
        format!("GET /events?channel=news HTTP/1.1\r\nHost: a\r\nCookie: {}\r\n\r\n", "c".repeat(2_048));
    let endless = format!("GET /{}", "x".repeat(4_000));
    let fields: String = (0..101).map(|_| "A:\r\n").collect();
    let many = format!("GET /events?channel=news HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    refused_and_closed(
        &courier,
        &[long.as_bytes(), endless.as_bytes(), many.as_bytes()],
        431,
        "head-too-large",
    );
    // One that just fits is none of these.
    let head = "HEAD /events?channel=news HTTP/1.1\r\nHost: a\r\nCookie: \r\n\r\n";
    let fitting = head.replace("Cookie: ", &format!("Cookie: {}", "c".repeat(2_048 - head.len())));
    let mut peer = Peer::connect(courier.web);
    peer.send(fitting);
    assert_eq!(peer.head().status, 200);
}

#[test]
fn a_head_that_is_not_complete_in_time_is_refused() {
    let courier = courier(&["--limits-head-timeout", "300ms", "--limits-idle-timeout", "400ms"]);
    let mut silent = Peer::connect(courier.web);
    let mut slow = Peer::connect(courier.web);
    slow.send("GET /events?channel=news HTTP/1.1\r\nHost: a\r\n");
    let mut idle = Peer::connect(courier.web);
    idle.send(get("/nowhere"));
    assert_eq!(idle.answer().status, 404);
    let answer = slow.answer();
    assert_eq!((answer.status, answer.code().as_str()), (408, "head-timeout"));
    slow.expect_end();
    // One that has said nothing at all gets no answer to nothing, or the same one; it ends either way.
    silent.rest();
    idle.expect_end();
    assert!(courier.metric("courier_disconnects_total{reason=\"head-timeout\"}") >= 1.0);
    assert_eq!(courier.metric("courier_disconnects_total{reason=\"idle-timeout\"}"), 1.0);
    // A stream is no head: it stays.
    let mut stream = Stream::open(courier.web, "channel=news");
    assert_eq!(stream.event_within(Duration::from_millis(600)), None);
    courier.client().publish("news", "x");
    assert_eq!(stream.data(), "x");
}

#[test]
fn a_tls_handshake_on_a_plain_port_is_closed_counted_and_logged_once() {
    // Each shard has a minute of its own.
    let courier = courier(&[]);
    for _ in 0..3 {
        let mut peer = Peer::connect(courier.web);
        peer.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
        peer.expect_end();
    }
    until("they are counted", || {
        courier.metric("courier_disconnects_total{reason=\"tls-on-plain-port\"}") == 3.0
    });
    courier.process.errors.with("TLS");
    let curl = Process::run(Command::new("curl").args(["-sk", &format!("https://{}/", courier.web)]));
    assert_eq!(curl.0, 35, "curl says that there is no TLS");
    let logged = courier.process.errors.all().iter().filter(|line| line.contains("TLS")).count();
    assert_eq!(logged, 1, "{}", courier.process.errors.text());
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let courier = courier(&[]);
    let mut peer = Peer::connect(courier.web);
    for byte in get("/events?channel=news&format=event").as_bytes() {
        peer.send([*byte]);
    }
    let mut stream = Stream::behind(peer);
    courier.client().publish("news", "x");
    assert_eq!(stream.event().event, "news");
    // A refusal as well, and the next request behind it.
    let mut peer = Peer::connect(courier.web);
    for byte in [get("/nowhere"), GOOD.to_owned()].concat().as_bytes() {
        peer.send([*byte]);
    }
    assert_eq!((peer.answer().status, peer.head().status), (404, 200));
}

#[test]
fn short_answers_are_pipelined_and_a_stream_is_the_last_of_them() {
    let courier = courier(&[]);
    let mut peer = Peer::connect(courier.web);
    let requests = [get("/nowhere"), get("/events"), get("/events?channel=news"), get("/nowhere")].concat();
    peer.send(requests);
    assert_eq!(peer.answer().code(), "not-found");
    assert_eq!(peer.answer().code(), "missing-channel");
    let mut stream = Stream::behind(peer);
    courier.client().publish("news", "x");
    assert_eq!(stream.data(), "x");
    // Many at once are all answered, in order.
    let mut peer = Peer::connect(courier.web);
    peer.send([get("/nowhere"), get("/events")].concat().repeat(200));
    for _ in 0..200 {
        assert_eq!(peer.answer().status, 404);
        assert_eq!(peer.answer().status, 400);
    }
}

#[test]
fn a_client_that_has_nothing_more_to_say_is_answered_all_the_same() {
    let courier = courier(&[]);
    let mut peer = Peer::connect(courier.web);
    peer.send(get("/nowhere"));
    peer.socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(peer.answer().status, 404);
    peer.expect_end();
    let mut peer = Peer::connect(courier.admin);
    peer.send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n");
    peer.socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(peer.answer().status, 200);
    peer.expect_end();
}

#[test]
fn head_gets_the_head_of_a_stream_and_subscribes_to_nothing() {
    let courier = courier(&[]);
    let stream = Stream::open(courier.web, "channel=news");
    let mut peer = Peer::connect(courier.web);
    peer.send(GOOD);
    let head = peer.head();
    assert_eq!(format!("{head:?}"), format!("{:?}", stream.head));
    assert_eq!(head.field("cache-control"), Some("no-store, no-transform"));
    assert_eq!(head.field("x-accel-buffering"), Some("no"));
    peer.expect_end();
    assert_eq!(courier.metric("courier_subscriptions"), 1.0);
    let mut peer = Peer::connect(courier.web);
    peer.send("HEAD /nowhere HTTP/1.1\r\nHost: a\r\n\r\nHEAD /events?channel=x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((peer.head().status, peer.head().status), (404, 403));
}

#[test]
fn a_preflight_lets_a_page_resume() {
    let courier = courier(&[]);
    let mut peer = Peer::connect(courier.web);
    peer.send(
        "OPTIONS /events?channel=news HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example\r\n\
         Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: last-event-id\r\n\r\n",
    );
    let answer = peer.answer();
    assert_eq!((answer.status, answer.field("allow")), (204, Some("GET, HEAD, OPTIONS")));
    assert_eq!(answer.field("access-control-allow-origin"), Some("*"));
    assert!(answer.field("access-control-allow-headers").unwrap().contains("last-event-id"));
    peer.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(peer.answer().status, 204);
}

#[test]
fn listed_origins_are_echoed_and_others_refused_on_every_answer() {
    let courier = courier(&["--allowed-origins", "https://app.example,https://*.example.org"]);
    for (origin, is_allowed) in [
        ("https://app.example", true),
        ("https://deep.er.example.org", true),
        ("https://example.org", false),
        ("https://evil.example", false),
        ("null", false),
    ] {
        let mut peer = Peer::connect(courier.web);
        for target in ["/events?channel=news", "/events?channel=secret", "/nowhere"] {
            let method = if target.ends_with("=news") { "HEAD" } else { "GET" };
            peer.send(format!("{method} {target} HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\n\r\n"));
            let answer = if method == "HEAD" { peer.head() } else { peer.answer() };
            let echoed = is_allowed.then_some(origin);
            assert_eq!(answer.field("access-control-allow-origin"), echoed, "{origin} {target}");
            assert_eq!(answer.field("vary"), Some("Origin"), "{origin} {target}");
            let expected = match (target, is_allowed) {
                ("/nowhere", _) => 404,
                ("/events?channel=news", true) => 200,
                _ => 403,
            };
            assert_eq!(answer.status, expected, "{origin} {target}");
            if answer.status == 200 {
                peer.expect_end();
                peer = Peer::connect(courier.web);
            }
        }
    }
}

#[test]
fn absolute_targets_and_http_1_0_are_served() {
    let courier = courier(&[]);
    let mut peer = Peer::connect(courier.web);
    peer.send("GET http://other.example/events?channel=news HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut absolute = Stream::behind(peer);
    let mut peer = Peer::connect(courier.web);
    peer.send("GET /events?channel=news HTTP/1.0\r\n\r\n");
    let mut old = Stream::behind(peer);
    for stream in [&absolute, &old] {
        assert_eq!(stream.head.field("connection"), Some("close"));
        let framing = ["transfer-encoding", "content-length"].map(|name| stream.head.field(name));
        assert_eq!(framing, [None, None]);
    }
    courier.client().publish("news", "x");
    assert_eq!((absolute.data(), old.data()), ("x".to_owned(), "x".to_owned()));
    // HTTP/1.0 closes unless it is asked not to.
    let mut peer = Peer::connect(courier.web);
    peer.send("GET /nowhere HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(peer.answer().field("connection"), Some("keep-alive"));
    peer.send("GET /nowhere HTTP/1.0\r\n\r\n");
    assert_eq!(peer.answer().status, 404);
    peer.expect_end();
}

#[test]
fn the_broker_answers_nonsense_in_the_words_of_redis() {
    let courier = courier(&[]);
    let mut client = courier.client();
    let error = |reply: Reply| match reply {
        Reply::Error(text) => String::from_utf8(text.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        error(client.say("NONSENSE a b")),
        "ERR unknown command 'NONSENSE', with args beginning with: 'a' 'b' "
    );
    assert_eq!(error(client.say("GET")), "ERR wrong number of arguments for 'get' command");
    assert_eq!(error(client.say("PUBLISH a")), "ERR wrong number of arguments for 'publish' command");
    assert_eq!(client.say("PING"), Reply::Text("PONG".into()), "none of these ends the connection");
    for (bytes, answer) in [
        (&b"*1\r\n*1\r\n*1\r\n*1\r\n"[..], "-ERR Protocol error: expected '$', got '*'\r\n"),
        (b"*1\r\n$999999999999\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        (b"*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        (b"*99999999999\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1\r\nPING\r\n", "-ERR Protocol error: expected '$', got 'P'\r\n"),
        // A page that posts to the port must not get a command through.
        (
            b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n*1\r\n$4\r\nPING\r\n",
            "-ERR Protocol error: expected '*', got 'P'\r\n",
        ),
        (b"Host: 127.0.0.1\r\n\r\n", "-ERR Protocol error: expected '*', got 'H'\r\n"),
        (b"PING\r\n", "-ERR Protocol error: expected '*', got 'P'\r\n"),
    ] {
        let mut client = courier.client();
        client.send(bytes);
        assert_eq!(client.rest(), answer, "{}", bytes.escape_ascii());
    }
    assert_eq!(courier.metric("courier_broker_protocol_errors_total"), 8.0);
    assert_eq!(client.say("PING"), Reply::Text("PONG".into()), "nobody else is the worse for it");
}

#[test]
fn the_broker_keeps_its_bounds() {
    let courier = courier(&[
        "--limits-broker-memory-bytes",
        "64KiB",
        "--limits-message-bytes",
        "1KiB",
        "--limits-broker-clients",
        "3",
    ]);
    let mut client = courier.client();
    let value = "v".repeat(1_000);
    let mut kept = 0;
    let refusal = loop {
        match client.command(&[b"SET", format!("key{kept}").as_bytes(), value.as_bytes()]) {
            Reply::Text(_) => kept += 1,
            other => break other,
        }
        assert!(kept < 100, "64 KiB hold less than 100 kB");
    };
    assert_eq!(refusal, Reply::Error("OOM command not allowed when used memory > 'maxmemory'.".into()));
    assert!(kept > 30, "{kept}");
    assert_eq!(client.publish("news", "still"), 0, "a message takes no memory");
    let mut large = courier.client();
    large.send(b"*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$1025\r\n");
    assert_eq!(large.rest(), "-ERR Protocol error: invalid bulk length\r\n");
    let _others = [courier.client(), courier.client()].map(|mut other| {
        other.say("PING");
        other
    });
    assert_eq!(courier.client().rest(), "-ERR max number of clients reached\r\n");
}
