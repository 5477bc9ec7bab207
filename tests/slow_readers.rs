//! Clients that read more slowly than their channels speak, over real sockets: what they are told, and who says so.

#![allow(clippy::unwrap_used)] // Tests state what must hold by unwrapping it; these are their helpers.

mod support;

use std::net::SocketAddr;

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use support::courier::Courier;
use support::http::Peer;
use support::stream::Stream;
use support::{DEADLINE, Directory, until};

/// A subscriber whose kernel takes little: of what it does not read most stays with courier.
fn narrow(address: SocketAddr, query: &str) -> Stream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut peer = Peer::over(socket.into());
    peer.send(format!("GET /events?{query} HTTP/1.1\r\nHost: a\r\n\r\n"));
    Stream::behind(peer)
}

/// A courier with a broker, two rules and little patience.
fn courier(directory: &Directory, shards: &str) -> Courier {
    let rules = directory.file(
        "courier.toml",
        "[[channels]]\nmatch = \"latest.*\"\naccess = \"public\"\nslow = \"latest\"\n\
         history = { bytes = \"1MiB\" }\n\n\
         [[channels]]\nmatch = \"*\"\naccess = \"public\"\n",
    );
    let lag = ["--limits-lag-bytes", "64KiB", "--limits-send-buffer-bytes", "4KiB"];
    Courier::start(&[&["--broker", "127.0.0.1:0", "--config", &rules, "--shards", shards], &lag[..]].concat())
}

fn slow(courier: &Courier, query: &str) -> Value {
    let answer = courier.page(&format!("/slow{query}"));
    assert_eq!((answer.status, answer.field("content-type")), (200, Some("application/json")));
    serde_json::from_str(&answer.body).unwrap()
}

fn number(data: &str) -> u64 {
    data.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_slow_reader_of_a_latest_channel_is_told_of_each_gap_and_stays() {
    let directory = Directory::new();
    let courier = courier(&directory, "1");
    let mut fast = Stream::open(courier.web, "channel=latest.a");
    let mut slow = narrow(courier.web, "channel=latest.a&channel=other");
    let mut publisher = courier.client();
    let mut last = 0;
    let mut gaps = 0;
    for round in 0..3 {
        publisher.publish("other", format!("{} of the other channel", last + 1));
        for number in last + 1..=last + 60 {
            publisher.publish("latest.a", format!("{number} {}", "x".repeat(8_000)));
            assert_eq!(self::number(&fast.data()), number, "nobody waits for the slow one");
        }
        let (mut heard, mut of_other, mut is_told) = (last, 0, false);
        last += 60;
        while heard < last {
            let event = slow.event();
            if event.event == "courier-gap" {
                let gap: Value = serde_json::from_str(&event.data).unwrap();
                assert_eq!((&gap["channel"], &gap["reason"]), (&"latest.a".into(), &"lagged".into()));
                gaps += 1;
                is_told = true;
            } else if event.data.ends_with("of the other channel") {
                of_other += 1;
            } else {
                let number = number(&event.data);
                assert!(number == heard + 1 || is_told, "{number} behind {heard} without a gap");
                (heard, is_told) = (number, false);
            }
        }
        // One gap a round as a rule; one who reads some of it in between falls out again.
        assert_eq!(of_other, 1);
        assert!(gaps > round, "{gaps} gaps in {} rounds", round + 1);
    }
    assert_eq!(courier.metric("courier_gaps_total{reason=\"lagged\"}"), f64::from(gaps));
    assert_eq!(courier.metric("courier_disconnects_total{reason=\"lagged\"}"), 0.0);
    courier.until_metric("courier_log_bytes", |bytes| bytes == 0.0);
}

#[test]
fn a_cut_behind_a_gap_resumes_from_its_id() {
    let directory = Directory::new();
    let courier = courier(&directory, "2");
    let mut slow = narrow(courier.web, "channel=latest.a");
    let mut publisher = courier.client();
    for number in 1..=60 {
        publisher.publish("latest.a", format!("{number} {}", "x".repeat(8_000)));
    }
    let gap = loop {
        let event = slow.event_within(DEADLINE).expect("a gap comes");
        if event.event == "courier-gap" {
            break event;
        }
    };
    // How far the gap reaches is up to when its socket takes bytes again: what comes next on the stream itself tells.
    let next = number(&slow.data());
    drop(slow);
    let mut resumed = Stream::resume(courier.web, "channel=latest.a", &gap.id);
    for expected in next..=60 {
        assert_eq!(number(&resumed.data()), expected);
    }
}

#[test]
fn slow_readers_of_all_shards_are_listed_with_peer_channels_and_lag() {
    let directory = Directory::new();
    let courier = courier(&directory, "2");
    assert_eq!(slow(&courier, ""), serde_json::json!({ "count": 0, "laggards": [] }));
    let streams: Vec<Stream> =
        (0..8).map(|number| narrow(courier.web, &format!("channel=a&channel=of.{number}"))).collect();
    courier.client().publish("a", "x".repeat(60_000));
    until("all are behind", || slow(&courier, "")["count"] == 8);
    let page = slow(&courier, "");
    let laggards = page["laggards"].as_array().unwrap();
    let mut peers: Vec<&str> = laggards.iter().map(|one| one["peer"].as_str().unwrap()).collect();
    let mut expected: Vec<String> =
        streams.iter().map(|stream| stream.peer.socket.local_addr().unwrap().to_string()).collect();
    peers.sort_unstable();
    expected.sort_unstable();
    assert_eq!(peers, expected);
    for laggard in laggards {
        let peer = laggard["peer"].as_str().unwrap();
        let of = streams.iter().position(|one| one.peer.socket.local_addr().unwrap().to_string() == peer);
        assert_eq!(laggard["channels"], serde_json::json!(["a", format!("of.{}", of.unwrap())]));
        assert!((1..60_100).contains(&laggard["lag_bytes"].as_u64().unwrap()), "{laggard}");
        assert!(laggard["lag_seconds"].as_f64().unwrap() >= 0.0, "{laggard}");
    }
    let bytes: Vec<u64> = laggards.iter().map(|one| one["lag_bytes"].as_u64().unwrap()).collect();
    assert!(bytes.is_sorted_by(|one, other| one >= other), "{bytes:?}");
    let few = slow(&courier, "?limit=3");
    assert_eq!((&few["count"], few["laggards"].as_array().unwrap().len()), (&8.into(), 3));
    assert_eq!(courier.page("/slow?limit=none").status, 400);
    // Looking takes nothing away: they get the rest, and then nobody is behind.
    for mut stream in streams {
        assert_eq!(stream.data().len(), 60_000);
    }
    until("nobody is behind", || slow(&courier, "")["count"] == 0);
}
