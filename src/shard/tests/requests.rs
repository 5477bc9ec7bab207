//! Requests and short answers, and what is wrong with them.

use smallvec::SmallVec;

use super::*;
use crate::base::queue::Placed;

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
fn a_stream_beyond_the_bound_of_connections_is_told_to_come_back_and_one_that_has_room_again_is_not() {
    let mut bench = Bench::with(|options| options.limits.connections_per_shard = 2);
    let first = bench.stream(0, "channel=a");
    bench.stream(1, "channel=a");
    bench.join_all(1);
    bench.stream(2, "channel=a");
    let page = bench.request(3, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    bench.flush();
    assert!(bench.body(0).contains("id: ") && bench.body(1).contains("id: "), "nobody is evicted");
    let body = bench.body(2);
    assert!(body.starts_with("retry: ") && !body.contains("id: "), "{body}");
    assert_eq!(bench.body(3), "<html>", "a short answer has room to spare");
    assert_eq!(bench.disconnects(Disconnect::ConnectionLimit), 1);
    assert_eq!(bench.outputs[0], "Notice(ShardFull)");
    for socket in [first, bench.shard.key(Slot(2)), page] {
        bench.input(Input::HungUp { socket, cause: HangUp::Closed });
    }
    bench.stream(4, "channel=a");
    bench.flush();
    assert!(bench.body(4).contains("id: "));
    assert_eq!(bench.disconnects(Disconnect::ConnectionLimit), 1);
}

#[test]
fn a_published_body_goes_to_the_reader_and_its_outcome_to_the_client() {
    let mut bench = Bench::new();
    let head = "POST /publish?channel=demo HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 5\r\n\r\n";
    let socket = bench.request(1, head);
    bench.input(Input::Received { socket, bytes: b"hel" });
    bench.input(Input::Received { socket, bytes: b"lo" });
    let [Control::Publish { messages, .. }] = &bench.controls[..] else { panic!("{:?}", bench.controls) };
    assert_eq!((messages[0].name.as_str(), &messages[0].payload[..]), ("demo", &b"hello"[..]));
    assert_eq!(bench.shard.body_bytes, 0);
    let outcome = PublishOutcome::Accepted(SmallVec::from([Placed::At(Position(3))]));
    let published = Published { connection: socket, outcome };
    bench.input(Input::Delivery(Delivery::Published(published)));
    bench.flush();
    assert!(String::from_utf8_lossy(&bench.received[&1]).starts_with("HTTP/1.1 202 "));
    assert_eq!(bench.shard.counters.cells.messages_published.get(), 1);
}

#[test]
fn bodies_have_room_from_their_announcement_to_their_end() {
    let mut bench = Bench::with(|options| options.limits.tail_bytes = 1_000);
    let head = "POST /publish?channel=demo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 400\r\n\r\n";
    // Not one byte of a body has come when the third asks.
    let [first, second, _] = [1, 2, 3].map(|slot| bench.request(slot, head));
    bench.flush();
    assert!(String::from_utf8_lossy(&bench.received[&3]).starts_with("HTTP/1.1 503 "));
    assert_eq!(bench.shard.body_bytes, 800);
    bench.input(Input::Received { socket: first, bytes: &[b'x'; 100] });
    bench.input(Input::HungUp { socket: first, cause: HangUp::Closed });
    assert_eq!(bench.shard.body_bytes, 400);
    let mut whole = vec![b'x'; 400];
    whole.extend_from_slice(b"GET /");
    bench.input(Input::Received { socket: second, bytes: &whole });
    assert_eq!(
        (bench.controls.len(), bench.shard.body_bytes),
        (1, 0),
        "the next request's bytes are no body"
    );
    bench.request(4, &format!("{head}{}", "x".repeat(399)));
    assert_eq!(bench.shard.body_bytes, 400);
    bench.now = bench.now.after(Duration::from_secs(3_600));
    bench.input(Input::Tick);
    bench.flush();
    assert!(String::from_utf8_lossy(&bench.received[&4]).starts_with("HTTP/1.1 408 "));
    assert_eq!(bench.shard.body_bytes, 0);
}

#[test]
fn who_publishes_too_fast_is_told_to_wait_and_keeps_the_connection() {
    let mut bench = Bench::new();
    let request = "POST /publish?channel=demo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    let socket = bench.request(1, request);
    let rate = Limits::default().publish_rate_per_client;
    for count in 1..=rate + 1 {
        assert_eq!(bench.controls.len(), count.min(rate));
        let outcome = PublishOutcome::Accepted(SmallVec::from([Placed::Behind(Position(3))]));
        bench.input(Input::Delivery(Delivery::Published(Published { connection: socket, outcome })));
        bench.input(Input::Received { socket, bytes: request.as_bytes() });
    }
    bench.flush();
    let received = String::from_utf8_lossy(&bench.received[&1]).into_owned();
    assert_eq!(received.matches("HTTP/1.1 202 ").count(), rate);
    assert!(
        received.contains("HTTP/1.1 429 Too Many Requests\r\n")
            && received.contains("\r\nRetry-After: 1\r\n")
    );
    bench.now = bench.now.after(Duration::from_secs(1));
    bench.input(Input::Received { socket, bytes: request.as_bytes() });
    assert_eq!(bench.controls.len(), rate + 1);
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
