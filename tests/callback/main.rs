//! The application decides who is let in: a real courier, a real application that it asks, and browsers' requests.

#![allow(clippy::unwrap_used)] // Tests state what must hold by unwrapping it; these are their helpers.

#[path = "../support/mod.rs"]
mod support;

mod app;
mod guide;

use std::time::{Duration, Instant};

use app::{App, Question};
use support::courier::{Courier, refused};
use support::http::{Answer, Peer};
use support::stream::Stream;
use support::{DEADLINE, Directory, until};

const RULES: &str = "[[channels]]\nmatch = \"app.*\"\naccess = \"callback\"\n\n\
    [[channels]]\nmatch = \"own.*\"\naccess = \"session\"\n\n\
    [[channels]]\nmatch = \"*\"\naccess = \"public\"\n";

/// A courier of one shard that asks there, with the usual rules.
fn courier(url: &str, flags: &[&str]) -> Courier {
    let directory = Directory::new();
    let config = directory.file("courier.toml", RULES);
    let usual = ["--broker", "127.0.0.1:0", "--shards", "1", "--config", &config, "--callback-url", url];
    Courier::start(&[&usual[..], flags].concat())
}

fn request(courier: &Courier, query: &str, cookies: &str) -> String {
    format!("GET /events?{query} HTTP/1.1\r\nHost: {}\r\nCookie: {cookies}\r\n\r\n", courier.web)
}

fn ask(courier: &Courier, query: &str, cookies: &str) -> Peer {
    let mut peer = Peer::connect(courier.web);
    peer.send(request(courier, query, cookies));
    peer
}

/// The stream that is let in.
#[track_caller]
fn stream(courier: &Courier, query: &str, cookies: &str) -> Stream {
    Stream::behind(ask(courier, query, cookies))
}

/// A short answer.
#[track_caller]
fn answer(courier: &Courier, query: &str, cookies: &str) -> Answer {
    ask(courier, query, cookies).answer()
}

/// The client is told when to come back, and that is all.
#[track_caller]
fn assert_shed(mut peer: Peer) {
    let head = peer.head();
    assert_eq!((head.status, head.field("content-type")), (200, Some("text/event-stream; charset=utf-8")));
    assert_eq!(head.field("access-control-allow-origin"), Some("*"));
    let rest = String::from_utf8(peer.rest()).unwrap();
    let retry: u64 = rest.strip_prefix("retry: ").unwrap().strip_suffix("\n\n").unwrap().parse().unwrap();
    assert!((1_000..2_000).contains(&retry), "{retry}");
}

fn outcome(name: &str) -> String {
    format!("courier_callback_questions_total{{outcome=\"{name}\"}}")
}

#[test]
fn who_is_granted_gets_the_stream_over_tcp_and_over_a_unix_socket() {
    let directory = Directory::new();
    let socket = directory.path().join("app.sock");
    for app in [App::tcp(), App::unix(&socket)] {
        let courier = courier(&app.url, &[]);
        let mut publisher = courier.client();
        let mut stream = stream(&courier, "channel=app.a&channel=app.b&channel=free", "do=grant; user=7");
        publisher.publish("app.b", "hello");
        assert_eq!(stream.data(), "hello");
        let Question { fields, body, .. } = app.question(0);
        assert_eq!(body["channels"], serde_json::json!(["app.a", "app.b"]));
        assert_eq!((body["right"].as_str(), body["peer"].as_str()), (Some("subscribe"), Some("127.0.0.1")));
        assert_eq!(body["cookies"], serde_json::json!({"do": "grant", "user": "7"}));
        assert_eq!(fields["cookie"], "do=grant; user=7");
        assert_eq!(fields["content-type"], "application/json");
        assert_eq!(courier.metric(&outcome("granted")), 1.0);
    }
}

#[test]
fn a_session_is_asked_about_with_the_cookie_alone() {
    let app = App::tcp();
    let courier = courier(&app.url, &["--callback-headers", "authorization", "--callback-headers", "x-team"]);
    let fields = "Authorization: Bearer secret\r\nX-Team: red\r\nUser-Agent: me\r\nX-Other: no\r\n\r\n";
    for (number, channel) in ["app.a", "own.a"].into_iter().enumerate() {
        let mut peer = Peer::connect(courier.web);
        let request = request(&courier, &format!("channel={channel}"), "user=1");
        peer.send(request.replace("\r\n\r\n", &format!("\r\n{fields}")));
        Stream::behind(peer);
        let Question { fields, body, .. } = app.question(number);
        let sent = ["authorization", "x-team", "x-other"].map(|name| fields[name].as_str());
        assert_eq!(fields["cookie"], "user=1");
        assert!(fields["user-agent"].as_str().unwrap().starts_with("courier/"));
        if channel == "app.a" {
            assert_eq!(sent, [Some("Bearer secret"), Some("red"), None]);
            assert_eq!(
                body["headers"],
                serde_json::json!({"authorization": "Bearer secret", "x-team": "red"})
            );
        } else {
            assert_eq!(sent, [None; 3]);
            let expected = r#"{"right":"subscribe","channels":["own.a"],"cookies":{"user":"1"}}"#;
            assert_eq!(app.question(number).text, expected);
        }
    }
}

#[test]
fn a_clear_no_is_passed_on_in_courier_own_words() {
    let app = App::tcp();
    let courier = courier(&app.url, &[]);
    for (todo, status, code) in [
        ("401", 401, "application-unauthorized"),
        ("403", 403, "application-forbidden"),
        // All of the channels or none.
        ("first", 403, "application-forbidden"),
    ] {
        let answer = answer(&courier, "channel=app.a&channel=app.b", &format!("do={todo}"));
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
        assert!(!answer.body.contains("why"), "what the application says of why stays there: {answer:?}");
        assert_eq!(answer.field("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.field("www-authenticate"), (status == 401).then_some("Application"));
    }
    assert_eq!(courier.metric(&outcome("refused")), 3.0);
}

#[test]
fn whatever_else_it_does_the_client_comes_back() {
    let app = App::tcp();
    for (todo, name) in [
        ("500", "server-error"),
        ("503", "server-error"),
        ("404", "client-error"),
        ("redirect", "redirect"),
        ("huge", "too-large"),
        ("garbage", "malformed"),
        ("cut", "closed"),
        ("never", "timeout"),
    ] {
        let courier = courier(&app.url, &["--callback-timeout", "300ms"]);
        assert_shed(ask(&courier, "channel=app.a", &format!("do={todo}")));
        assert_eq!(courier.metric(&outcome(name)), 1.0, "{todo}");
        assert_eq!(courier.metric("courier_disconnects_total{reason=\"application-unavailable\"}"), 1.0);
        // One failure is none: the next is asked, and served.
        stream(&courier, "channel=app.a", "do=grant");
    }
    // Where that is wanted, it is a status for programs.
    let courier = courier(&app.url, &["--server-shed", "503"]);
    let answer = answer(&courier, "channel=app.a", "do=500");
    assert_eq!((answer.status, answer.code().as_str()), (503, "busy"));
    assert_eq!(answer.field("retry-after"), Some("2"));
}

#[test]
fn a_connection_is_kept_and_one_that_was_closed_meanwhile_is_no_failure() {
    let app = App::tcp();
    let courier = courier(&app.url, &[]);
    let mut number = 0;
    let mut connection = |cookies: &str| {
        stream(&courier, "channel=app.a", cookies);
        number += 1;
        app.question(number - 1).connection
    };
    let first = connection("do=grant; n=1");
    assert_eq!(connection("do=chunks; n=2"), first);
    // It closes behind its answer without a word, as servers do with what is idle.
    assert_eq!(connection("do=grant; then=close; n=3"), first);
    app.lines.with(&format!("{{\"closed\": {first}}}"));
    let second = connection("do=close; n=4");
    assert_ne!(second, first);
    let third = connection("do=until-close; n=5");
    assert_ne!(third, second);
    assert_ne!(connection("do=grant; n=6"), third);
    assert_eq!(courier.metric(&outcome("granted")), 6.0);
    assert_eq!(courier.metric("courier_callback_questions_total"), 6.0);
}

#[test]
fn five_thousand_who_ask_the_same_are_one_question() {
    let app = App::tcp();
    let courier = courier(&app.url, &[]);
    // Slow enough that all of them ask before the answer, or find it kept.
    let cookies = "do=slow; cache=60";
    let mut peers: Vec<Peer> = (0..5_000).map(|_| ask(&courier, "channel=app.a", cookies)).collect();
    for peer in &mut peers {
        assert_eq!(peer.head().status, 200);
    }
    assert_eq!(app.questions(), 1);
    let served = ["courier_callback_joined_total", "courier_callback_cache_hits_total"];
    assert_eq!(served.map(|name| courier.metric(name)).iter().sum::<f64>(), 4_999.0);
    // They are streams: what is published reaches the last of them.
    courier.until_metric("courier_subscriptions", |count| count == 5_000.0);
    courier.client().publish("app.a", "to all");
    let mut last = peers.pop().unwrap();
    let mut received = Vec::new();
    while !received.ends_with(b"\n\n") || !received.windows(6).any(|bytes| bytes == b"to all") {
        received.extend(last.receive(DEADLINE).unwrap().unwrap());
    }
}

#[test]
fn of_many_who_ask_different_things_so_many_as_are_allowed_wait() {
    let app = App::tcp();
    let limits = ["--limits-callback-in-flight", "8", "--limits-callback-waiting", "16"];
    let courier = courier(&app.url, &[&limits[..], &["--callback-timeout", "10s"]].concat());
    let peers: Vec<Peer> =
        (0..60).map(|user| ask(&courier, "channel=app.a", &format!("do=slow; user={user}"))).collect();
    let mut shed = 0;
    for mut peer in peers {
        assert_eq!(peer.head().status, 200);
        // A stream says more than when to come back.
        let mut body = Vec::new();
        while !body.ends_with(b"\n\n") {
            body.extend(peer.receive(DEADLINE).unwrap().unwrap());
        }
        shed += usize::from(!body.windows(4).any(|bytes| bytes == b"id: "));
    }
    // Those who came when a place had become free were asked about.
    assert!(shed > 0 && shed <= 60 - 24, "{shed} of 60");
    assert_eq!(app.questions(), 60 - shed);
    assert!(app.connections() <= 8, "{}", app.connections());
}

#[test]
fn an_application_that_is_away_is_left_alone_and_found_again() {
    let directory = Directory::new();
    let socket = directory.path().join("app.sock");
    let courier = courier(&format!("unix:{}:/ask", socket.display()), &[]);
    for user in 0..5 {
        assert_shed(ask(&courier, "channel=app.a", &format!("user={user}")));
    }
    assert_eq!(courier.metric(&outcome("unreachable")), 5.0);
    courier.until_metric("courier_callback_breakers_open", |open| open == 1.0);
    let line = courier.process.errors.with("the application fails");
    assert!(line.contains("failure=\"unreachable\"") && line.contains("app.sock:/ask"), "{line}");
    // It is back, and not asked before its time.
    let app = App::unix(&socket);
    let opened = Instant::now();
    assert_shed(ask(&courier, "channel=app.a", "user=5"));
    assert_eq!(courier.metric("courier_callback_questions_total"), 5.0);
    until("the application is asked again", || {
        let mut peer = ask(&courier, "channel=app.a", "user=6");
        peer.head();
        app.questions() > 0
    });
    assert!(opened.elapsed() < Duration::from_secs(15));
    courier.process.errors.with("the application answers again");
    courier.until_metric("courier_callback_breakers_open", |open| open == 0.0);
    stream(&courier, "channel=app.a", "user=7");
}

#[test]
fn a_grant_ends_when_the_application_said() {
    let app = App::tcp();
    let courier = courier(&app.url, &[]);
    let mut stream = stream(&courier, "channel=app.a", "do=grant; lasts=1");
    let event = stream.event();
    assert_eq!(event.event, "courier-expired", "{event:?}");
    stream.expect_end();
    assert_eq!(courier.metric("courier_disconnects_total{reason=\"expired\"}"), 1.0);
    // What has expired is asked about again.
    Stream::behind(ask(&courier, "channel=app.a", "do=grant; lasts=60"));
    assert_eq!(app.questions(), 2);
}

#[test]
fn an_answer_is_kept_as_long_as_it_says() {
    let app = App::tcp();
    let courier = courier(&app.url, &[]);
    let began = Instant::now();
    stream(&courier, "channel=app.a", "user=1; cache=2");
    stream(&courier, "channel=app.a", "user=1; cache=2");
    if began.elapsed() < Duration::from_secs(2) {
        assert_eq!(app.questions(), 1);
        assert_eq!(courier.metric("courier_callback_cache_hits_total"), 1.0);
    }
    until("it is asked about again", || {
        stream(&courier, "channel=app.a", "user=1; cache=2");
        app.questions() == 2
    });
    assert!(began.elapsed() >= Duration::from_secs(2));
}

#[test]
fn who_has_gone_leaves_nothing_behind() {
    let app = App::tcp();
    let courier = courier(&app.url, &[]);
    let peers: Vec<Peer> =
        (0..100).map(|user| ask(&courier, "channel=app.a", &format!("do=never; user={user}"))).collect();
    courier.until_metric("courier_callback_in_flight", |count| count == 100.0);
    drop(peers);
    courier.until_metric("courier_connections", |count| count <= 1.0);
    // The questions end by their time, and their connections with them.
    courier.until_metric("courier_callback_in_flight", |count| count == 0.0);
    until("the application sees its connections closed", || {
        app.lines.text().matches("closed").count() == 100
    });
}

#[test]
fn a_question_is_signed() {
    let app = App::tcp();
    let directory = Directory::new();
    let file = directory.file("secret", "a long random text\n");
    let courier = courier(&app.url, &["--callback-secret-file", &file]);
    stream(&courier, "channel=app.a", "");
    let Question { fields, text, .. } = app.question(0);
    let signature = fields["x-courier-signature"].as_str().unwrap();
    let (time, signature) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let age = courier::driver::sys::time::unix_now().as_secs() - time.parse::<u64>().unwrap();
    assert!(age < 60, "{age}");
    let key = courier::access::SigningKey::new(b"a long random text");
    assert!(key.is_signature(format!("{time}.{text}").as_bytes(), signature.as_bytes()));
}

#[test]
fn what_does_not_fit_is_told_at_start() {
    let directory = Directory::new();
    let config = directory.file("courier.toml", RULES);
    let flags = ["--broker", "127.0.0.1:0", "--config", &config];
    assert_eq!(
        refused(&flags),
        format!(
            "{config}:1: the way callback asks the application: say where, with callback.url = \
             \"http://127.0.0.1:8000/courier\" or in the row with callback = {{ url = \"..\" }}"
        )
    );
    assert_eq!(
        refused(&[&flags[..], &["--callback-url", "http://a"]].concat()),
        "--callback-url http://a: the path is missing, as in http://127.0.0.1:8000/courier"
    );
}
