//! Publishing over HTTP: who may, what arrives, and what the answer's id is good for. With a real Redis that two couriers
//! share, and with the embedded broker.

#![allow(clippy::unwrap_used)] // Tests state what must hold by unwrapping it; these are their helpers.

mod support;

use std::net::SocketAddr;
use std::process::Command;

use courier::wire::sse_parser::Event;
use support::courier::Courier;
use support::http::{Answer, Peer};
use support::process::Process;
use support::redis::Redis;
use support::stream::Stream;
use support::{Directory, until};

const TOKEN: &str = "a-token-for-tests-0123456789";
const RULES: &str = "[[channels]]\nmatch = \"open.envelope\"\naccess = \"public\"\npublish = \"public\"\npayload = \"envelope\"\n\n\
                     [[channels]]\nmatch = \"open.*\"\naccess = \"public\"\npublish = \"public\"\n\n\
                     [[channels]]\nmatch = \"*\"\naccess = \"public\"\n";

/// One courier with its Redis or its broker, and further flags.
fn start(directory: &Directory, source: &[&str], flags: &[&str]) -> Courier {
    let (config, token) =
        (directory.file("courier.toml", RULES), directory.file("token", &format!("{TOKEN}\n")));
    let ours = ["--config", &config, "--admin-token-file", &token, "--shards", "1"];
    let courier = Courier::start(&[source, &ours, flags].concat());
    // The link that publishes may be ready a moment after the one that hears.
    until("it can publish", || publish(&courier, "warm-up", "").status == 202);
    courier
}

/// Runs a test against each source of messages.
fn with_each_source(test: impl Fn(&Courier)) {
    let (directory, redis) = (Directory::new(), Redis::start());
    test(&start(&directory, &["--redis", &redis.url()], &[]));
    test(&start(&directory, &["--broker", "127.0.0.1:0"], &[]));
}

fn post(address: SocketAddr, target: &str, fields: &str, body: &str) -> Answer {
    let mut peer = Peer::connect(address);
    let length = body.len();
    peer.send(format!(
        "POST {target} HTTP/1.1\r\nHost: {address}\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    ));
    peer.answer()
}

/// As the application does it.
fn publish(courier: &Courier, channel: &str, payload: &str) -> Answer {
    let fields = format!("Authorization: Bearer {TOKEN}\r\n");
    post(courier.admin, &format!("/publish?channel={channel}"), &fields, payload)
}

fn json(answer: &Answer) -> serde_json::Value {
    serde_json::from_str(&answer.body).unwrap()
}

/// The id of an answer that is 202, and whether it is the event's own.
#[track_caller]
fn place(answer: &Answer) -> (String, bool) {
    assert_eq!((answer.status, answer.field("content-type")), (202, Some("application/json")), "{answer:?}");
    let answer = json(answer);
    (answer["id"].as_str().unwrap().to_owned(), answer["exact"].as_bool().unwrap())
}

#[test]
fn what_is_published_at_one_courier_is_delivered_by_every_courier_of_the_same_redis() {
    let (directory, redis) = (Directory::new(), Redis::start());
    let couriers = [0, 1].map(|_| start(&directory, &["--redis", &redis.url()], &[]));
    let published = || [0, 1].map(|index| couriers[index].metric("courier_messages_published_total"));
    let before = published();
    let mut streams = [&couriers[0], &couriers[1]].map(|courier| Stream::open(courier.web, "channel=news"));
    for payload in ["hello", "", "two\nlines", "\u{1f389}"] {
        let (id, is_exact) = place(&publish(&couriers[0], "news", payload));
        let events = streams.each_mut().map(Stream::event);
        assert_eq!([&events[0].data, &events[1].data], [payload; 2]);
        assert_eq!((events[0].id.as_str(), is_exact), (id.as_str(), true));
    }
    assert_eq!(published(), [before[0] + 4.0, before[1]]);
}

#[test]
fn a_stream_that_resumes_behind_the_id_begins_with_the_next_message() {
    with_each_source(|courier| {
        let mut stream = Stream::open(courier.web, "channel=news");
        let before = stream.opening_id().to_owned();
        let (first, is_exact) = place(&publish(courier, "news", "first"));
        assert!(is_exact);
        let (second, _) = place(&publish(courier, "news", "second"));
        let events = [stream.event(), stream.event()];
        assert_eq!(
            events.each_ref().map(|event: &Event| event.id.as_str()),
            [first.as_str(), second.as_str()]
        );
        assert_eq!(Stream::resume(courier.web, "channel=news", &before).data_of(2), ["first", "second"]);
        assert_eq!(Stream::resume(courier.web, "channel=news", &first).data(), "second");
        let mut behind = Stream::resume(courier.web, "channel=news", &second);
        publish(courier, "news", "third");
        assert_eq!(behind.data(), "third");
    });
}

#[test]
fn while_nobody_listens_the_id_is_before_the_message_and_who_resumes_from_it_is_told_of_a_gap() {
    with_each_source(|courier| {
        let (id, is_exact) = place(&publish(courier, "quiet", "unheard"));
        assert!(!is_exact);
        let mut stream = Stream::resume(courier.web, "channel=quiet", &id);
        assert_eq!(stream.gap(), ("quiet".to_owned(), "too-old".to_owned()));
        publish(courier, "quiet", "heard");
        assert_eq!(stream.data(), "heard");
    });
}

#[test]
fn a_batch_is_published_in_order_and_refused_as_a_whole() {
    with_each_source(|courier| {
        let mut stream = Stream::open(courier.web, "channel=open.a&channel=open.envelope&channel=news");
        let batch = |address, fields: &str, messages: &str| {
            let fields = format!("Content-Type: application/json\r\n{fields}");
            post(address, "/publish", &fields, &format!("{{\"messages\": [{messages}]}}"))
        };
        let token = format!("Authorization: Bearer {TOKEN}\r\n");
        let refused = batch(
            courier.web,
            "",
            r#"{"channel": "open.a", "data": "never"}, {"channel": "news", "data": "never"}"#,
        );
        assert_eq!((refused.status, refused.code().as_str()), (403, "channel-not-open"));
        let wrong = r#"{"channel": "news", "data": "never"}, {"channel": "news", "data": "x", "event": "e"}"#;
        assert_eq!(batch(courier.admin, &token, wrong).code(), "bad-batch");
        let answer = batch(
            courier.admin,
            &token,
            r#"{"channel": "news", "data": "one"}, {"channel": "open.a", "data": {"n": 2}}, {"channel": "silent", "data": 3},
               {"channel": "open.envelope", "data": "four", "event": "goal", "id": "g-4"}"#,
        );
        assert_eq!(answer.status, 202, "{answer:?}");
        let events = [stream.event(), stream.event(), stream.event()];
        let said = events.each_ref().map(|event| (event.event.as_str(), event.data.as_str()));
        assert_eq!(said, [("message", "one"), ("message", "{\"n\": 2}"), ("goal", "four")]);
        let answer = json(&answer);
        let channels =
            [0, 1, 2, 3].map(|index| answer["messages"][index]["channel"].as_str().unwrap().to_owned());
        assert_eq!(channels, ["news", "open.a", "silent", "open.envelope"]);
        for (index, event) in [(0, &events[0]), (1, &events[1]), (3, &events[2])] {
            assert_eq!(answer["messages"][index]["id"], event.id.split('~').next().unwrap());
            assert_eq!(answer["messages"][index]["exact"], true);
        }
        assert_eq!(answer["messages"][2]["exact"], false);
    });
}

#[test]
fn only_who_may_publishes() {
    let directory = Directory::new();
    let courier = start(&directory, &["--broker", "127.0.0.1:0"], &["--limits-message-bytes", "1KiB"]);
    let mut stream = Stream::open(courier.web, "channel=open.a&channel=news");
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    for (address, target, fields, status, code) in [
        (courier.web, "/publish?channel=news", "", 403, "channel-not-open"),
        (courier.web, "/publish?channel=news", &*token, 403, "channel-not-open"),
        (courier.web, "/publish", "", 400, "missing-channel"),
        (courier.admin, "/publish?channel=news", "", 401, "admin-token"),
        (courier.admin, "/publish?channel=news", "Authorization: Bearer x\r\n", 401, "admin-token"),
        (courier.admin, "/publish?channel=", &token, 400, "bad-channel-name"),
    ] {
        let answer = post(address, target, fields, "never");
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{target} {fields}");
    }
    let long = "x".repeat(1_025);
    for (address, fields) in [(courier.web, ""), (courier.admin, &token)] {
        let answer = post(address, "/publish?channel=open.a", fields, &long);
        assert_eq!((answer.status, answer.code().as_str()), (413, "payload-too-large"));
    }
    assert_eq!(post(courier.web, "/publish?channel=open.a", "", "from a client").status, 202);
    assert_eq!(stream.data(), "from a client");
    // Where nothing is open for clients, there is nothing; and without a token nobody is let in on the admin side.
    let bare = Courier::with_broker(&[]);
    assert_eq!(post(bare.web, "/publish?channel=a", "", "").code(), "not-found");
    let refused = post(bare.admin, "/publish?channel=a", &token, "");
    assert_eq!((refused.status, refused.code().as_str()), (401, "admin-token"));
    assert!(refused.body.contains("admin.token_file"), "{}", refused.body);
}

#[test]
fn a_client_that_publishes_too_fast_is_told_to_wait_and_the_application_is_not() {
    let directory = Directory::new();
    let flags = ["--limits-publish-rate-per-client", "3"];
    let courier = start(&directory, &["--broker", "127.0.0.1:0"], &flags);
    let mut client = Peer::connect(courier.web);
    let request = "POST /publish?channel=open.a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
    client.send(request.repeat(30));
    let answers: Vec<Answer> = (0..30).map(|_| client.answer()).collect();
    assert_eq!(answers[0].status, 202);
    let refused = answers.iter().find(|answer| answer.status == 429).expect("thirty at once are too many");
    assert_eq!((refused.field("retry-after"), refused.code().as_str()), (Some("1"), "publish-rate"));
    assert!(courier.metric("courier_refusals_total{reason=\"publish-rate\"}") >= 1.0);
    for _ in 0..30 {
        place(&publish(&courier, "open.a", "x"));
    }
}

#[test]
fn the_connections_of_one_address_share_its_rate() {
    let directory = Directory::new();
    let flags = ["--limits-publish-rate-per-client", "1", "--server-trusted-proxies", "127.0.0.1"];
    let courier = start(&directory, &["--broker", "127.0.0.1:0"], &flags);
    // From an address, and through a proxy for one.
    for fields in ["", "X-Forwarded-For: 192.0.2.7\r\n"] {
        let statuses: Vec<u16> =
            (0..10).map(|_| post(courier.web, "/publish?channel=open.a", fields, "x").status).collect();
        assert!(statuses.starts_with(&[202]) && statuses.contains(&429), "{fields}: {statuses:?}");
    }
}

#[test]
fn while_redis_is_away_nothing_is_said_to_be_published() {
    let directory = Directory::new();
    let mut redis = Redis::start();
    let courier = start(&directory, &["--redis", &redis.url()], &[]);
    redis.kill();
    let refused = publish(&courier, "news", "lost");
    assert_eq!((refused.status, refused.code().as_str()), (503, "unavailable"));
    assert_eq!(refused.field("retry-after"), Some("1"));
    redis.restart();
    until("it can publish again", || publish(&courier, "news", "x").status == 202);
}

#[test]
fn what_redis_forbids_is_not_said_to_be_published() {
    let (directory, redis) = (Directory::new(), Redis::start());
    let courier = start(&directory, &["--redis", &redis.url()], &[]);
    redis.client().say("ACL SETUSER default -publish");
    let refused = publish(&courier, "news", "forbidden");
    assert_eq!((refused.status, refused.code().as_str()), (503, "unavailable"));
}

#[test]
fn the_snippets_of_the_guide_publish() {
    let directory = Directory::new();
    let courier = start(&directory, &["--broker", "127.0.0.1:0"], &[]);
    let guide =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guide/publishing.md")).unwrap();
    let token = directory.path().join("token");
    let guide = guide
        .replace("/run/secrets/courier-admin-token", token.to_str().unwrap())
        .replace("127.0.0.1:8081", &courier.admin.to_string());
    let mut stream = Stream::open(courier.web, "channel=news");
    let mut count = 0;
    for (language, command, argument) in [
        ("sh", "bash", "-c"),
        ("python", "python3", "-c"),
        ("js", "node", "-e"),
        ("ruby", "ruby", "-e"),
        ("php", "php", ""),
    ] {
        let snippets: Vec<&str> = guide
            .split(&format!("```{language}\n"))
            .skip(1)
            .map(|rest| rest.split("\n```").next().unwrap())
            .collect();
        assert!(!snippets.is_empty(), "the guide has a snippet for {language}");
        if Command::new(command).arg("--version").output().is_err() {
            eprintln!("{command} is not installed: its snippet is not run");
            continue;
        }
        for snippet in snippets {
            let mut words = Command::new(command);
            if language == "php" {
                words.arg(directory.file("snippet.php", snippet));
            } else {
                words.args([argument, snippet]);
            }
            let (code, output, errors) = Process::run(&mut words);
            assert_eq!(code, 0, "{snippet}\n{output}{errors}");
            let event = stream.event();
            assert_eq!(event.data, "one minute left", "{snippet}");
            assert!(output.contains(&event.id), "{output} is or has the id {}", event.id);
            count += 1;
        }
    }
    assert!(count >= 2, "a shell is there in any case");
}
