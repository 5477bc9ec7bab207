//! What stands around the faults: a Redis that is not there yet, one that grants less than is asked, how courier shows there.

use courier::wire::resp::reply::Reply;

use crate::scene::{FORBIDDEN, UPSTREAM_DOWN};
use crate::support::courier::Courier;
use crate::support::redis::{self, Redis};
use crate::support::stream::Stream;
use crate::support::{Directory, until};

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
    assert_eq!(stream.gap(), ("a".to_owned(), UPSTREAM_DOWN.to_owned()));
    let redis = Redis::in_directory(directory, &[]);
    courier.until_ready();
    assert_eq!(courier.metric("courier_redis_up"), 1.0);
    redis.client().publish("a", "live");
    assert_eq!(stream.data_behind_gaps(UPSTREAM_DOWN), "live");
    courier.process.errors.with("redis is heard");
}

#[test]
fn a_channel_that_redis_forbids_is_told_and_the_others_go_on() {
    let redis = Redis::start();
    let mut client = redis.client();
    let allowed = "ACL SETUSER limited on >secret +@all ~* resetchannels &news.* &chat";
    client.expect_ok(allowed);
    let directory = Directory::new();
    let password = directory.file("password", "secret\n");
    let url = redis.url().replace("unix://", "unix://limited@");
    let courier = Courier::start(&["--redis", &url, "--redis-password-file", &password, "--public", "*"]);
    let mut stream = Stream::open(courier.web, "channel=news.a&channel=hidden&channel=chat&channel=news.b");
    assert_eq!(stream.gap(), ("hidden".to_owned(), FORBIDDEN.to_owned()));
    for (channel, data) in [("news.a", "1"), ("hidden", "2"), ("chat", "3"), ("news.b", "4")] {
        client.publish(channel, data);
    }
    assert_eq!(stream.data_of(3), ["1", "3", "4"]);
    let mut only = Stream::open(courier.web, "channel=hidden");
    assert_eq!(only.gap(), ("hidden".to_owned(), FORBIDDEN.to_owned()));
    assert!(courier.is_ready(), "the channels that may be read are read");
    let line = courier.process.errors.with("does not let courier read");
    assert!(line.contains("first=\"hidden\""), "{line}");
    assert!(courier.metric("courier_gaps_total{reason=\"forbidden\"}") == 2.0);
    // Allowed later: the next one who asks gets it.
    client.expect_ok("ACL SETUSER limited &hidden");
    let mut stream = Stream::open(courier.web, "channel=hidden");
    client.publish("hidden", "5");
    assert_eq!(stream.data(), "5");
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
