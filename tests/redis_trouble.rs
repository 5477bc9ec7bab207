//! Redis goes away, stops answering, refuses, comes back: courier stays, says so, and goes on by itself.

#![allow(clippy::unwrap_used)] // Tests state what must hold by unwrapping it; these are their helpers.

mod support;

use std::time::{Duration, Instant};

use courier::wire::resp::reply::Reply;
use support::courier::Courier;
use support::redis::{self, Redis};
use support::stream::Stream;
use support::{Directory, until};

const DOWN: &str = "upstream-down";

fn ok() -> Reply {
    Reply::Text("OK".into())
}

#[test]
fn redis_that_is_absent_at_the_start_is_waited_for() {
    let directory = Directory::new();
    let url = redis::url(&directory);
    let courier = Courier::listening(&["--redis", &url, "--public", "*"]);
    assert!(!courier.is_ready());
    assert_eq!(courier.page("/livez").status, 200);
    let page = courier.page("/healthz");
    assert_eq!((page.status, page.body.starts_with("not ready: Redis")), (503, true));
    let line = courier.process.errors.with("redis cannot be heard");
    assert!(line.contains("WARN") && line.contains("redis.sock: No such file"), "{line}");
    let mut stream = Stream::open(courier.web, "channel=a");
    assert_eq!(stream.gap(), ("a".to_owned(), DOWN.to_owned()));
    let redis = Redis::in_directory(directory, &[]);
    courier.until_ready();
    assert_eq!(courier.metric("courier_redis_up"), 1.0);
    redis.client().publish("a", "live");
    assert_eq!(stream.data_behind_gaps(DOWN), "live");
    courier.process.errors.with("redis is heard");
}

#[test]
fn a_redis_that_was_killed_and_restarted_is_a_stated_gap() {
    let mut redis = Redis::start();
    let courier = Courier::start(&["--redis", &redis.url(), "--public", "*", "--shards", "2"]);
    let mut streams: Vec<Stream> = (0..8).map(|_| Stream::open(courier.web, "channel=a&channel=b")).collect();
    redis.client().publish("a", "before");
    for stream in &mut streams {
        assert_eq!(stream.data(), "before");
    }
    let seen = streams[0].last_event_id().to_owned();
    redis.kill();
    courier.until_not_ready();
    assert_eq!(courier.metric("courier_redis_up"), 0.0);
    // Who comes now is served at once, and told.
    let asked = Instant::now();
    let mut newcomer = Stream::open(courier.web, "channel=new");
    assert_eq!(newcomer.gap(), ("new".to_owned(), DOWN.to_owned()));
    let mut latecomer = Stream::open(courier.web, "channel=a");
    assert_eq!(latecomer.gap(), ("a".to_owned(), DOWN.to_owned()));
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    let mut resumed = Stream::resume(courier.web, "channel=a", &seen);
    redis.restart();
    courier.until_ready();
    let mut publisher = redis.client();
    publisher.publish("new", "after");
    publisher.publish("b", "after");
    publisher.publish("a", "after");
    for stream in &mut streams {
        let mut gaps = [stream.gap(), stream.gap()];
        gaps.sort();
        assert_eq!(gaps, [("a".to_owned(), DOWN.to_owned()), ("b".to_owned(), DOWN.to_owned())]);
        assert_eq!(stream.data_of(2), ["after", "after"]);
    }
    assert_eq!(newcomer.data_behind_gaps(DOWN), "after");
    assert_eq!(latecomer.data_behind_gaps(DOWN), "after");
    assert_eq!(resumed.gap(), ("a".to_owned(), DOWN.to_owned()));
    assert_eq!(resumed.data_behind_gaps(DOWN), "after");
    // Who resumes from before the outage is told of it too, and gets what history has behind it.
    let mut late = Stream::resume(courier.web, "channel=a", &seen);
    assert_eq!(late.gap(), ("a".to_owned(), DOWN.to_owned()));
    assert_eq!(late.data(), "after");
    assert_eq!(courier.metric("courier_redis_up"), 1.0);
    assert_eq!(courier.metric("courier_redis_reconnects_total"), 1.0);
    assert!(courier.metric("courier_redis_outage_seconds_total") > 0.0);
    assert!(courier.metric("courier_gaps_total{reason=\"upstream-down\"}") >= 5.0);
    courier.process.errors.with("redis is heard again");
    let down = courier.process.errors.all().iter().filter(|line| line.contains("cannot be heard")).count();
    assert_eq!(down, 1, "one line a transition:\n{}", courier.process.errors.text());
}

#[test]
fn a_killed_subscription_is_made_again_with_a_gap() {
    let redis = Redis::start();
    let courier = Courier::start(&["--redis", &redis.url(), "--public", "*"]);
    let mut stream = Stream::open(courier.web, "channel=a");
    let mut client = redis.client();
    for round in 0..3 {
        assert_eq!(client.say("CLIENT KILL TYPE pubsub"), Reply::Integer(1));
        assert_eq!(stream.gap(), ("a".to_owned(), DOWN.to_owned()));
        client.publish("a", round.to_string());
        assert_eq!(stream.data(), round.to_string());
    }
    courier.until_ready();
}

#[test]
fn a_redis_that_stops_answering_is_found_by_its_silence() {
    let redis = Redis::start();
    let flags = ["--redis-ping-interval", "200ms", "--redis-ping-timeout", "300ms"];
    let courier = Courier::start(&[&["--redis", &redis.url(), "--public", "*"], &flags[..]].concat());
    let mut stream = Stream::open(courier.web, "channel=a");
    redis.process.signal("STOP");
    courier.until_not_ready();
    let line = courier.process.errors.with("redis cannot be heard");
    assert!(line.contains("it did not answer a PING"), "{line}");
    let mut newcomer = Stream::open(courier.web, "channel=b");
    assert_eq!(newcomer.gap(), ("b".to_owned(), DOWN.to_owned()));
    redis.process.signal("CONT");
    courier.until_ready();
    let mut client = redis.client();
    client.publish("a", "after");
    client.publish("b", "after");
    assert_eq!(stream.gap(), ("a".to_owned(), DOWN.to_owned()));
    assert_eq!(stream.data(), "after");
    assert_eq!(newcomer.data_behind_gaps(DOWN), "after");
}

#[test]
fn a_channel_that_redis_forbids_is_told_and_the_others_go_on() {
    let redis = Redis::start();
    let mut client = redis.client();
    let allowed = "ACL SETUSER limited on >secret +@all ~* resetchannels &news.* &chat";
    assert_eq!(client.say(allowed), ok());
    let directory = Directory::new();
    let password = directory.file("password", "secret\n");
    let url = redis.url().replace("unix://", "unix://limited@");
    let courier = Courier::start(&["--redis", &url, "--redis-password-file", &password, "--public", "*"]);
    let mut stream = Stream::open(courier.web, "channel=news.a&channel=hidden&channel=chat&channel=news.b");
    assert_eq!(stream.gap(), ("hidden".to_owned(), "forbidden".to_owned()));
    for (channel, data) in [("news.a", "1"), ("hidden", "2"), ("chat", "3"), ("news.b", "4")] {
        client.publish(channel, data);
    }
    assert_eq!(stream.data_of(3), ["1", "3", "4"]);
    let mut only = Stream::open(courier.web, "channel=hidden");
    assert_eq!(only.gap(), ("hidden".to_owned(), "forbidden".to_owned()));
    assert!(courier.is_ready(), "the channels that may be read are read");
    let line = courier.process.errors.with("does not let courier read");
    assert!(line.contains("first=\"hidden\""), "{line}");
    assert!(courier.metric("courier_gaps_total{reason=\"forbidden\"}") == 2.0);
    // Allowed later: the next one who asks gets it.
    assert_eq!(client.say("ACL SETUSER limited &hidden"), ok());
    let mut stream = Stream::open(courier.web, "channel=hidden");
    client.publish("hidden", "5");
    assert_eq!(stream.data(), "5");
}

#[test]
fn a_password_that_is_changed_later_is_a_state_and_no_end() {
    let redis = Redis::with(&["--requirepass", "one"]);
    let directory = Directory::new();
    let password = directory.file("password", "one");
    let courier =
        Courier::start(&["--redis", &redis.url(), "--redis-password-file", &password, "--public", "*"]);
    let mut stream = Stream::open(courier.web, "channel=a");
    let mut client = redis.client();
    assert_eq!(client.say("AUTH one"), ok());
    assert_eq!(client.say("CONFIG SET requirepass two"), ok());
    client.say("CLIENT KILL TYPE pubsub");
    client.say("CLIENT KILL TYPE normal SKIPME yes");
    courier.until_not_ready();
    let line = courier.process.errors.with("redis refuses courier");
    assert!(line.contains("ERROR") && line.contains("WRONGPASS"), "{line}");
    assert_eq!(client.say("CONFIG SET requirepass one"), ok());
    courier.until_ready();
    client.publish("a", "after");
    assert_eq!(stream.data_behind_gaps(DOWN), "after");
}

#[test]
fn a_port_and_a_database_and_a_name_in_client_list() {
    let directory = Directory::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let redis = Redis::in_directory(directory, &["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    let url = format!("redis://localhost:{port}/3");
    let courier = Courier::start(&["--redis", &url, "--public", "*"]);
    let mut stream = Stream::open(courier.web, "channel=a");
    let mut client = redis.client();
    client.publish("a", "x");
    assert_eq!(stream.data(), "x");
    let Reply::Text(list) = client.say("CLIENT LIST") else { panic!("CLIENT LIST is a text") };
    let list = String::from_utf8(list.to_vec()).unwrap();
    let ours: Vec<&str> = list.lines().filter(|line| line.contains("name=courier-")).collect();
    assert_eq!(ours.len(), 2, "{list}");
    assert!(ours.iter().all(|line| line.contains(" db=3 ")), "{list}");
}

#[test]
fn channels_that_nobody_wants_are_left_only_after_a_while() {
    let redis = Redis::start();
    let courier = Courier::start(&["--redis", &redis.url(), "--public", "*"]);
    let mut client = redis.client();
    let stream = Stream::open(courier.web, "channel=a");
    client.publish("a", "seen");
    let seen = { stream }.event().id;
    until("it has gone", || courier.metric("courier_subscriptions") == 0.0);
    assert_eq!(client.publish("a", "missed"), 1, "courier still listens for who comes back");
    let mut stream = Stream::resume(courier.web, "channel=a", &seen);
    assert_eq!(stream.data(), "missed");
}
