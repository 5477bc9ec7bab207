//! What is published reaches those who listen, whole and in order: from a real Redis, and from the embedded broker.

#![allow(clippy::unwrap_used)] // Tests state what must hold by unwrapping it; these are their helpers.

mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use support::courier::Courier;
use support::process::Process;
use support::redis::Redis;
use support::resp::Client;
use support::stream::Stream;
use support::{DEADLINE, Directory};

/// Runs a test against each source of messages, with every channel open.
fn with_each_source(flags: &[&str], test: impl Fn(&Courier, &mut Client)) {
    let redis = Redis::start();
    let courier = Courier::start(&[&["--redis", &redis.url(), "--public", "*"], flags].concat());
    test(&courier, &mut redis.client());
    let courier = Courier::with_broker(flags);
    test(&courier, &mut courier.client());
}

#[test]
fn messages_of_several_channels_arrive_in_the_order_of_their_publishing() {
    with_each_source(&[], |courier, publisher| {
        let mut stream = Stream::open(courier.web, "channel=a&channel=b");
        let mut only_b = Stream::open(courier.web, "channel=b");
        for number in 0..100 {
            assert_eq!(publisher.publish(["a", "b"][number % 2], number.to_string()), 1);
        }
        publisher.publish("c", "nobody asked for this");
        publisher.publish("a", "last");
        publisher.publish("b", "last");
        let mut position = 0;
        for number in 0..100 {
            let event = stream.event();
            assert_eq!((event.event.as_str(), event.data), ("message", number.to_string()));
            let (_, id) = event.id.split_once('.').unwrap();
            let next: u64 = id.parse().unwrap();
            assert!(next > position, "ids rise: {next} behind {position}");
            position = next;
        }
        assert_eq!(stream.data_of(2), ["last", "last"]);
        let odd: Vec<String> = (0..50).map(|half| (2 * half + 1).to_string()).collect();
        assert_eq!(only_b.data_of(50), odd);
        assert_eq!(only_b.data(), "last");
    });
}

#[test]
fn each_format_has_its_own_shape_and_the_same_ids() {
    with_each_source(&[], |courier, publisher| {
        let [mut raw, mut event, mut json] = ["raw", "event", "json"]
            .map(|format| Stream::open(courier.web, &format!("channel=a%2Fb&format={format}")));
        let mut default = Stream::open(courier.web, "channel=a/b");
        publisher.publish("a/b", "one\n\"two\"");
        let [raw, event, json, default] =
            [&mut raw, &mut event, &mut json, &mut default].map(|stream| stream.event());
        assert_eq!((raw.event.as_str(), raw.data.as_str()), ("message", "one\n\"two\""));
        assert_eq!((event.event.as_str(), event.data.as_str()), ("a/b", "one\n\"two\""));
        let id = raw.id.clone();
        assert_eq!(json.event, "message");
        assert_eq!(json.data, format!(r#"{{"channel":"a/b","id":"{id}","data":"one\n\"two\""}}"#));
        assert_eq!([&event.id, &json.id, &default.id], [&id; 3]);
        assert_eq!(default.data, raw.data);
    });
}

#[test]
fn an_envelope_names_event_id_and_retry_where_a_rule_asks_for_it() {
    let directory = Directory::new();
    let config = directory.file(
        "courier.toml",
        "[[channels]]\nmatch = \"goals.*\"\naccess = \"public\"\npayload = \"envelope\"\n\n\
         [[channels]]\nmatch = \"*\"\naccess = \"public\"\n",
    );
    let redis = Redis::start();
    let courier = Courier::start(&["--redis", &redis.url(), "--config", &config]);
    let mut stream = Stream::open(courier.web, "channel=goals.home&channel=chat");
    let mut publisher = redis.client();
    let envelope = r#"{"data": {"minute": 17}, "event": "goal", "id": "g-17", "retry": 100}"#;
    publisher.publish("goals.home", envelope);
    publisher.publish("chat", envelope);
    publisher.publish("goals.home", "half time");
    let goal = stream.event();
    assert_eq!((goal.event.as_str(), goal.data.as_str()), ("goal", r#"{"minute":17}"#));
    assert!(goal.id.ends_with("~g-17"), "{}", goal.id);
    assert_eq!(stream.event().data, envelope);
    assert_eq!(stream.data(), "half time");
    assert_eq!(stream.retry().as_millis(), 500, "100 ms is moved up to the least that is taken");
    assert_eq!(courier.metric("courier_envelopes_plain_total"), 1.0);
    // An id with the application's own behind it resumes like any other.
    let mut stream = Stream::resume(courier.web, "channel=goals.home&channel=chat", &goal.id);
    assert_eq!(stream.data_of(2), [envelope, "half time"]);
}

#[test]
fn any_payload_arrives_as_the_specification_says() {
    let mebibyte = "x".repeat(1 << 20);
    let newlines = "\n".repeat(1 << 20);
    let cases: &[(&[u8], &str)] = &[
        (b"", ""),
        (b"plain", "plain"),
        (b" one leading space", " one leading space"),
        (b"   three", "   three"),
        (b"\n", "\n"),
        (b"a\nb", "a\nb"),
        (b"a\rb", "a\nb"),
        (b"a\r\nb", "a\nb"),
        (b"a\n\r\n\r\rb\r\n", "a\n\n\n\nb\n"),
        (b"nul \0 in the middle\0", "nul \0 in the middle\0"),
        (b"data: x\nid: 5\nevent: fake\n\n", "data: x\nid: 5\nevent: fake\n\n"),
        (": no comment".as_bytes(), ": no comment"),
        ("\u{feff}mark".as_bytes(), "\u{feff}mark"),
        ("grüße ✓ 🎉\u{2028}".as_bytes(), "grüße ✓ 🎉\u{2028}"),
        (b"a\xff\xe2\x82b\xf0\x9f\x98", "a\u{fffd}\u{fffd}b\u{fffd}"),
        (mebibyte.as_bytes(), &mebibyte),
        (newlines.as_bytes(), &newlines),
        (b"end", "end"),
    ];
    with_each_source(&[], |courier, publisher| {
        let mut raw = Stream::open(courier.web, "channel=a");
        let mut json = Stream::open(courier.web, "channel=a&format=json");
        for (payload, expected) in cases {
            publisher.publish("a", payload);
            let shown = payload[..payload.len().min(40)].escape_ascii().to_string();
            assert!(raw.data() == *expected, "{shown}");
            let object: serde_json::Value = serde_json::from_str(&json.data()).unwrap();
            // JSON carries the line ends themselves.
            assert!(object["data"] == *String::from_utf8_lossy(payload), "{shown} in json");
        }
        // Once for each message and wire format, on the shard that encodes it.
        assert!(courier.metric("courier_invalid_utf8_total") >= 2.0);
    });
}

#[test]
fn a_large_message_arrives_whole() {
    with_each_source(&[], |courier, publisher| {
        let mut stream = Stream::open(courier.web, "channel=a");
        let payload = "0123456789abcdef".repeat(1 << 16);
        publisher.publish("a", &payload);
        assert!(stream.data() == payload, "1 MiB, byte for byte");
    });
}

#[test]
fn a_resume_replays_exactly_what_was_missed() {
    with_each_source(&[], |courier, publisher| {
        let query = "channel=a&channel=b";
        let mut stream = Stream::open(courier.web, query);
        publisher.publish("a", "0");
        let seen = stream.event().id;
        publisher.publish("b", "1");
        // The one that was seen is not repeated, those behind it come, though this client has seen one of them.
        assert_eq!(stream.data(), "1");
        drop(stream);
        for number in 2..50 {
            publisher.publish(["a", "b"][number % 2], number.to_string());
        }
        let missed: Vec<String> = (1..50).map(|number| number.to_string()).collect();
        let mut resumed = Stream::resume(courier.web, query, &seen);
        assert_eq!(resumed.data_of(49), missed);
        publisher.publish("a", "live");
        assert_eq!(resumed.data(), "live");
        let last = resumed.last_event_id().to_owned();
        // By the URL too, and only what the channels asked for have.
        let mut by_url = Stream::open(courier.web, &format!("channel=b&lastEventId={seen}"));
        let odd: Vec<String> = (0..25).map(|half| (2 * half + 1).to_string()).collect();
        assert_eq!(by_url.data_of(25), odd);
        // The header overrides the URL, which an EventSource repeats.
        let mut both = Stream::resume(courier.web, &format!("{query}&lastEventId={seen}"), &last);
        publisher.publish("b", "after");
        assert_eq!(both.data(), "after");
        assert_eq!(courier.metric("courier_gaps_total"), 0.0);
    });
}

#[test]
fn a_foreign_id_is_told_of_the_gap_and_goes_on_live() {
    with_each_source(&[], |courier, publisher| {
        for id in ["someother.17", "never-one-of-ours", "17"] {
            let mut stream = Stream::resume(courier.web, "channel=a", id);
            publisher.publish("a", "live");
            let gap = stream.event();
            assert_eq!(gap.event, "courier-gap");
            assert_eq!(gap.data, r#"{"channel":"a","from":null,"reason":"unknown-epoch"}"#);
            assert_eq!(stream.data(), "live");
            // The gap's own id: the next reconnect is not told of it again.
            let mut again = Stream::resume(courier.web, "channel=a", &gap.id);
            assert_eq!(again.data(), "live");
        }
        assert_eq!(courier.metric("courier_gaps_total{reason=\"unknown-epoch\"}"), 3.0);
    });
}

#[test]
fn a_resume_from_before_the_history_states_the_gap_and_replays_what_there_is() {
    with_each_source(&[], |courier, publisher| {
        let mut stream = Stream::open(courier.web, "channel=a");
        publisher.publish("a", "0");
        let seen = stream.event().id;
        for number in 1..=150 {
            publisher.publish("a", number.to_string());
        }
        stream.data_of(150);
        let mut resumed = Stream::resume(courier.web, "channel=a", &seen);
        assert_eq!(resumed.gap(), ("a".to_owned(), "too-old".to_owned()));
        let kept: Vec<String> = (51..=150).map(|number| number.to_string()).collect();
        assert_eq!(resumed.data_of(100), kept);
    });
}

#[test]
fn a_stream_may_begin_with_everything_that_is_kept_or_with_the_last_few() {
    with_each_source(&[], |courier, publisher| {
        let mut stream = Stream::open(courier.web, "channel=a&channel=b");
        for number in 0..10 {
            publisher.publish(["a", "b"][number % 2], number.to_string());
        }
        stream.data_of(10);
        let mut everything = Stream::open(courier.web, "channel=a&channel=b&last_event_id=earliest");
        let mut last = Stream::open(courier.web, "channel=a&channel=b&history=2");
        let mut none = Stream::open(courier.web, "channel=a&history=0");
        publisher.publish("a", "live");
        let all = (0..10).map(|number| number.to_string()).chain(["live".to_owned()]);
        assert_eq!(everything.data_of(11), all.collect::<Vec<_>>());
        assert_eq!(last.data_of(5), ["6", "7", "8", "9", "live"]);
        assert_eq!(none.data(), "live");
        // An EventSource repeats its URL when it reconnects: its header says what it has had.
        let seen = last.last_event_id().to_owned();
        let mut again = Stream::resume(courier.web, "channel=a&channel=b&history=2", &seen);
        publisher.publish("a", "after");
        assert_eq!(again.data(), "after");
        assert_eq!(courier.metric("courier_gaps_total"), 0.0);
    });
}

#[test]
fn a_rule_says_how_much_of_its_channels_is_kept() {
    let directory = Directory::new();
    let config = directory.file(
        "courier.toml",
        "[[channels]]\nmatch = \"few.*\"\naccess = \"public\"\nhistory = { count = 3 }\n\n\
         [[channels]]\nmatch = \"none.*\"\naccess = \"public\"\nhistory = { count = 0 }\n\n\
         [[channels]]\nmatch = \"*\"\naccess = \"public\"\n",
    );
    let redis = Redis::start();
    let courier = Courier::start(&["--redis", &redis.url(), "--config", &config]);
    let mut publisher = redis.client();
    for (channel, kept) in [("few.a", 3), ("none.a", 0), ("other", 5)] {
        let mut stream = Stream::open(courier.web, &format!("channel={channel}"));
        publisher.publish(channel, "0");
        let seen = stream.event().id;
        (1..=5).for_each(|number| {
            publisher.publish(channel, number.to_string());
        });
        stream.data_of(5);
        let mut resumed = Stream::resume(courier.web, &format!("channel={channel}"), &seen);
        if kept < 5 {
            assert_eq!(resumed.gap(), (channel.to_owned(), "too-old".to_owned()));
        }
        publisher.publish(channel, "live");
        let expected = (6 - kept..=5).map(|number| number.to_string()).chain(["live".to_owned()]);
        assert_eq!(resumed.data_of(kept + 1), expected.collect::<Vec<_>>(), "{channel}");
    }
}

#[test]
fn any_number_of_shards_delivers_the_same_messages_in_the_same_order() {
    let redis = Redis::start();
    let couriers = ["1", "2", "3", "4"]
        .map(|shards| Courier::start(&["--redis", &redis.url(), "--public", "*", "--shards", shards]));
    let mut streams = Vec::new();
    for courier in &couriers {
        streams.extend((0..40).map(|_| Stream::open(courier.web, "channel=a&channel=b&format=event")));
    }
    let mut publisher = redis.client();
    let expected: Vec<(String, String)> =
        (0..1_000).map(|number| (["a", "b"][number % 3 % 2].to_owned(), number.to_string())).collect();
    for (channel, data) in &expected {
        assert_eq!(publisher.publish(channel, data), 4, "each courier subscribes once");
    }
    for stream in &mut streams {
        let received = (0..1_000).map(|_| stream.event()).map(|event| (event.event, event.data));
        assert!(received.eq(expected.iter().cloned()));
    }
    for courier in &couriers {
        assert_eq!(courier.metric("courier_messages_received_total"), 1_000.0);
        assert_eq!(courier.metric("courier_messages_delivered_total"), 40_000.0);
    }
    // The kernel spreads the connections: more than one shard had its part.
    assert!(couriers[3].metric("courier_frames_encoded_total") > 1_000.0);
}

#[test]
fn a_pattern_opens_what_it_matches_and_nothing_else() {
    let redis = Redis::start();
    let courier = Courier::start(&["--redis", &redis.url(), "--public", "news.*", "--public", "__exact"]);
    let mut stream = Stream::open(courier.web, "channel=news.sport&channel=__exact");
    let mut publisher = redis.client();
    publisher.publish("news.sport", "one");
    publisher.publish("__exact", "two");
    assert_eq!(stream.data_of(2), ["one", "two"]);
    assert!(courier.process.errors.with("__exact").contains("WARN"));
    for name in ["news", "weather", "__other", "courier:live:news.sport"] {
        let mut peer = support::http::Peer::connect(courier.web);
        peer.send(format!("GET /events?channel={name} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(peer.answer().code(), "channel-not-open", "{name}");
    }
}

#[test]
fn unix_sockets_serve_like_ports() {
    let directory = Directory::new();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (web, broker) = (path("web.sock"), path("broker.sock"));
    let listen = format!("unix:{web},mode=0660");
    let mut courier = Courier::with_unix_broker(&broker, &["--listen", &listen, "--shards", "2"]);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&web).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o660);
    let curl = Process::start(Command::new("curl").args([
        "-sN",
        "--unix-socket",
        &web,
        "http://courier/events?channel=a",
    ]));
    curl.output.with("id: ");
    let mut publisher = Client::unix(broker.as_ref()).unwrap();
    publisher.publish("a", "over a socket file");
    curl.output.with("data: over a socket file");
    // The shards share the one socket: whichever accepts a client serves it.
    for _ in 0..8 {
        let mut client = UnixStream::connect(&web).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.write_all(b"GET /events?channel=a HTTP/1.1\r\nHost: courier\r\n\r\n").unwrap();
        let mut status = [0; 15];
        client.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 200 OK");
    }
    drop(curl);
    assert_eq!(courier.stop().code(), Some(0));
    assert!(!std::path::Path::new(&web).exists() && !std::path::Path::new(&broker).exists());
}

#[test]
fn try_out_serves_a_page_that_can_publish() {
    let courier = Courier::start(&["--broker", "127.0.0.1:0"]);
    let host = courier.web;
    let mut peer = support::http::Peer::connect(host);
    peer.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let page = peer.answer();
    assert_eq!((page.status, page.field("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.body.contains("EventSource"));
    let mut stream = Stream::open(host, "channel=demo");
    peer.send(format!(
        "POST /publish?channel=demo HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nContent-Length: 5\r\n\r\nhello"
    ));
    let answer = peer.answer();
    assert_eq!(answer.status, 202);
    assert!(answer.body.starts_with("{\"channel\":\"demo\",\"id\":\""), "{}", answer.body);
    assert_eq!(stream.data(), "hello");
    // A page of another origin, or one whose name was made to point here, may not.
    for fields in [format!("Host: {host}\r\nOrigin: http://evil.example"), "Host: evil.example".to_owned()] {
        peer.send(format!(
            "POST /publish?channel=demo HTTP/1.1\r\n{fields}\r\nContent-Length: 5\r\n\r\nhello"
        ));
        let answer = peer.answer();
        assert_eq!((answer.status, answer.code().as_str()), (403, "origin-not-allowed"));
        peer = support::http::Peer::connect(host);
    }
    // With channels that an operator opened there is neither.
    let courier = Courier::with_broker(&[]);
    for request in ["GET / HTTP/1.1", "POST /publish?channel=demo HTTP/1.1"] {
        let mut peer = support::http::Peer::connect(courier.web);
        peer.send(format!("{request}\r\nHost: 127.0.0.1\r\n\r\n"));
        assert_eq!(peer.answer().code(), "not-found", "{request}");
    }
}

#[test]
fn redis_cli_publishes_subscribes_and_keeps_keys_in_the_embedded_broker() {
    let courier = Courier::with_broker(&[]);
    let port = courier.broker.unwrap().port().to_string();
    let cli = |words: &[&str]| {
        let (code, output, errors) = Process::run(Command::new("redis-cli").args(["-p", &port]).args(words));
        assert_eq!((code, errors.as_str()), (0, ""));
        output.trim_end().to_owned()
    };
    let mut stream = Stream::open(courier.web, "channel=news");
    assert_eq!(cli(&["PUBLISH", "news", "hello from redis-cli"]), "1");
    assert_eq!(stream.data(), "hello from redis-cli");
    let subscriber = Process::start(Command::new("redis-cli").args(["-p", &port, "SUBSCRIBE", "news"]));
    subscriber.output.with("subscribe");
    assert_eq!(cli(&["PUBLISH", "news", "to both"]), "2");
    subscriber.output.with("to both");
    assert_eq!(stream.data(), "to both");
    assert_eq!(cli(&["SET", "key", "value", "EX", "100"]), "OK");
    assert_eq!(cli(&["GET", "key"]), "value");
    assert_eq!(cli(&["TTL", "key"]), "100");
    assert_eq!(cli(&["-3", "GET", "key"]), "value");
    assert_eq!(cli(&["GET", "other"]), "");
    assert!(cli(&["INFO", "server"]).contains("redis_version"));
}
