//! `courier disconnect` and the signed order behind it: real couriers on one Redis, and on a broker.

#![allow(clippy::unwrap_used)] // Tests state what must hold by unwrapping it; these are their helpers.

mod support;

use std::time::Duration;

use courier::access::SigningKey;
use courier::access::control::{CONTROL_CHANNEL, write};
use courier::base::channel::ChannelName;
use courier::base::dismissal::Whom;
use courier::base::time::UnixTime;
use support::courier::{self as program, Courier};
use support::http::Peer;
use support::process::Process;
use support::redis::Redis;
use support::stream::Stream;
use support::{Directory, until};

const SECRET: &str = "a-secret-for-tests-0123456789";

fn disconnect(words: &[&str]) -> (i32, String, String) {
    Process::run(program::command().arg("disconnect").args(words))
}

/// Couriers with one secret, and the words that `courier disconnect` needs to reach them.
struct Scene {
    _directory: Directory,
    redis: Option<Redis>,
    couriers: Vec<Courier>,
    words: Vec<String>,
    url: String,
}

impl Scene {
    fn with_redis(flags: &[&str]) -> Self {
        let (directory, redis) = (Directory::new(), Redis::start());
        let secret = directory.file("secret", &format!("{SECRET}\n"));
        let url = redis.url();
        let ours = ["--redis", &url, "--public", "*", "--control-secret-file", &secret];
        let couriers = (0..2).map(|_| Courier::start(&[&ours[..], flags].concat())).collect();
        Self::new(directory, Some(redis), couriers, &url, &secret)
    }

    fn with_broker() -> Self {
        let directory = Directory::new();
        let secret = directory.file("secret", SECRET);
        let courier = Courier::with_broker(&["--control-secret-file", &secret]);
        let url = format!("redis://{}", courier.broker.unwrap());
        Self::new(directory, None, vec![courier], &url, &secret)
    }

    fn new(
        directory: Directory,
        redis: Option<Redis>,
        couriers: Vec<Courier>,
        url: &str,
        secret: &str,
    ) -> Self {
        let words = ["--redis", url, "--control-secret-file", secret].map(str::to_owned).to_vec();
        Self { _directory: directory, redis, couriers, words, url: url.to_owned() }
    }

    /// Orders it, and says how many couriers were told.
    #[track_caller]
    fn disconnect(&self, words: &[&str]) -> usize {
        let ours: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let (code, output, errors) = disconnect(&[&ours[..], words].concat());
        assert_eq!(code, 0, "{errors}");
        output.trim().parse().unwrap()
    }

    /// Publishes on the control channel, as somebody who has no secret or has heard an order.
    fn say(&self, message: &str) {
        let (code, _, errors) = Process::run(program::command().args([
            "publish",
            "--redis",
            &self.url,
            CONTROL_CHANNEL,
            message,
        ]));
        assert_eq!(code, 0, "{errors}");
    }
}

#[track_caller]
fn expect_close(stream: &mut Stream, reason: &str) {
    let event = stream.event();
    assert_eq!(event.event, "courier-close", "{event:?}");
    let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
    assert_eq!(data["reason"], reason);
    assert_eq!(data["retry_ms"], u64::try_from(stream.retry().as_millis()).unwrap());
    stream.expect_end();
}

fn status(courier: &Courier, query: &str) -> u16 {
    let mut peer = Peer::connect(courier.web);
    peer.send(format!("GET /events?{query} HTTP/1.1\r\nHost: a\r\n\r\n"));
    peer.head().status
}

fn unix_now() -> UnixTime {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    UnixTime::from_millis(u64::try_from(now.as_millis()).unwrap())
}

fn order(secret: &str, channel: &str, time: UnixTime, nonce: &str) -> String {
    let whom = Whom::Channel(ChannelName::parse(channel.as_bytes()).unwrap());
    write(&SigningKey::new(secret.as_bytes()), &whom, Duration::from_secs(600), time, nonce)
}

#[test]
fn the_streams_of_a_channel_end_at_every_courier_and_stay_away_for_the_time_given() {
    for scene in [Scene::with_redis(&[]), Scene::with_broker()] {
        let open = |query: &str| -> Vec<Stream> {
            scene.couriers.iter().map(|courier| Stream::open(courier.web, query)).collect()
        };
        let (mut news, mut both, mut others) =
            (open("channel=news"), open("channel=news&channel=chat"), open("channel=chat"));
        assert_eq!(scene.disconnect(&["--channel", "news", "--for", "3s"]), scene.couriers.len());
        let ended = std::time::Instant::now();
        news.iter_mut().chain(&mut both).for_each(|stream| expect_close(stream, "channel-disconnected"));
        for courier in &scene.couriers {
            assert_eq!(status(courier, "channel=news"), 204);
            assert_eq!(status(courier, "channel=chat&channel=news"), 204);
            assert_eq!(status(courier, "channel=chat"), 200);
            assert!(courier.metric("courier_streams_kept_away_total") >= 2.0);
            assert_eq!(courier.metric("courier_control_obeyed_total"), 1.0);
            assert_eq!(courier.metric("courier_disconnects_total{reason=\"channel-disconnected\"}"), 2.0);
        }
        // `courier subscribe` says that nothing will follow, as an EventSource takes it.
        let url = format!("http://{}", scene.couriers[0].web);
        let (code, _, _) = Process::run(program::command().args(["subscribe", "--url", &url, "news"]));
        assert_eq!(code, 0);
        for courier in &scene.couriers {
            until("the time is over", || status(courier, "channel=news") == 200);
        }
        assert!(ended.elapsed() >= Duration::from_millis(1_500), "the order's time is that of whole seconds");
        for courier in &scene.couriers {
            until("nobody is kept away", || courier.metric("courier_dismissals") == 0.0);
        }
        let mut publisher = scene.couriers[0]
            .broker
            .map_or_else(|| scene.redis.as_ref().unwrap().client(), |_| scene.couriers[0].client());
        publisher.publish("chat", "still here");
        others.iter_mut().for_each(|stream| assert_eq!(stream.data(), "still here"));
    }
}

#[test]
fn without_a_time_they_may_come_back_at_once() {
    let scene = Scene::with_redis(&["--retry", "100ms"]);
    let mut stream = Stream::open(scene.couriers[1].web, "channel=news");
    assert_eq!(scene.disconnect(&["--channel", "news"]), 2);
    let id = stream.opening_id().to_owned();
    expect_close(&mut stream, "channel-disconnected");
    let mut publisher = scene.redis.as_ref().unwrap().client();
    publisher.publish("news", "missed");
    assert_eq!(Stream::resume(scene.couriers[1].web, "channel=news", &id).data(), "missed");
}

#[test]
fn what_is_forged_repeated_or_old_does_nothing() {
    let scene = Scene::with_redis(&[]);
    let courier = &scene.couriers[0];
    let mut stream = Stream::open(courier.web, "channel=news");
    let now = unix_now();
    let old = UnixTime::from_secs(now.as_secs() - 3_600);
    let obeyed = order(SECRET, "elsewhere", now, "once");
    for (message, metric) in [
        ("hello".to_owned(), "courier_control_unsigned_total"),
        (order("another-secret-0123456789", "news", now, "a"), "courier_control_unsigned_total"),
        (obeyed.replace("elsewhere", "news"), "courier_control_unsigned_total"),
        (order(SECRET, "news", old, "b"), "courier_control_stale_total"),
        (order(SECRET, "news", now.after(Duration::from_secs(3_600)), "c"), "courier_control_stale_total"),
        (obeyed.clone(), "courier_control_obeyed_total"),
        (obeyed, "courier_control_stale_total"),
    ] {
        let before = courier.metric(metric);
        scene.say(&message);
        courier.until_metric(metric, |count| count == before + 1.0);
    }
    assert_eq!(status(courier, "channel=news"), 200);
    scene.redis.as_ref().unwrap().client().publish("news", "undisturbed");
    assert_eq!(stream.data(), "undisturbed");
    let log = courier.process.errors.text();
    assert_eq!(log.matches("is not obeyed").count(), 1, "{log}");
    assert!(!log.contains(SECRET), "{log}");
}

#[test]
fn who_may_order_and_what_is_wrong_is_said_in_one_line() {
    let directory = Directory::new();
    let secret = directory.file("secret", SECRET);
    let courier = Courier::with_broker(&[]);
    let url = format!("redis://{}", courier.broker.unwrap());
    let to = ["--redis", &url, "--control-secret-file", &secret];
    let (code, output, errors) = disconnect(&[&to[..], &["--user", "7"]].concat());
    assert_eq!((code, output.as_str()), (1, ""));
    assert!(errors.contains("no courier takes orders there"), "{errors}");
    for (words, remedy) in [
        (
            &["--redis", &url, "--user", "7"][..],
            "the secret of the couriers is missing: give --control-secret-file FILE",
        ),
        (
            &[&to[..], &["--user", "7", "--for", "10"]].concat(),
            "--for 10: a duration needs its unit, as in 10s or 10ms",
        ),
        (&[&to[..], &["--user", "7", "--for", "1ms"]].concat(), "--for 1ms: at least 1s"),
        (&to, "<--user <USER>|--channel <CHANNEL>> is missing; courier --help shows what to give"),
        (
            &[&to[..], &["--user", "7", "--channel", "a"]].concat(),
            "the argument '--user <USER>' cannot be used with '--channel <CHANNEL>'",
        ),
    ] {
        let (code, output, errors) = disconnect(words);
        assert_eq!(
            (code, output.as_str(), errors.trim_end()),
            (2, "", &*format!("courier: {remedy}")),
            "{words:?}"
        );
    }
    let mut with_short = program::server(&[
        "--broker",
        "127.0.0.1:0",
        "--public",
        "*",
        "--control-secret-file",
        &directory.file("short", "short"),
    ]);
    let (code, _, errors) = Process::run(&mut with_short);
    assert_eq!(code, 2);
    assert!(errors.contains("at least 16 characters") && !errors.contains("*** short"), "{errors}");
}

#[test]
fn secrets_are_shown_nowhere() {
    let mut command = program::server(&["--broker", "127.0.0.1:0", "--public", "*", "--print-config"]);
    command.env("COURIER_CONTROL_SECRET", SECRET).env("COURIER_ADMIN_TOKEN", SECRET);
    let (code, output, errors) = Process::run(&mut command);
    assert_eq!(code, 0, "{errors}");
    assert!(!output.contains(SECRET) && output.contains("control.secret = \"***\""), "{output}");
}

#[test]
fn the_snippets_of_the_guide_end_streams() {
    let scene = Scene::with_broker();
    let guide =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guide/disconnecting.md")).unwrap();
    let snippet = |language: &str| {
        let (_, rest) = guide.split_once(&format!("```{language}\n")).expect("the guide has one");
        rest.split("\n```").next().unwrap().to_owned()
    };
    let (url, secret) = (&scene.words[1], &scene.words[3]);
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_courier")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let python = snippet("python")
        .replace("/run/secrets/courier-control-secret", secret)
        .replace("redis://127.0.0.1:6379", url);
    for (command, argument, text) in [("bash", "-c", snippet("sh")), ("python3", "-c", python)] {
        let mut stream = Stream::open(scene.couriers[0].web, "channel=chat.42");
        let mut words = std::process::Command::new(command);
        words.args([argument, &text]).env("PATH", &path).env("COURIER_REDIS", url);
        words.env("COURIER_CONTROL_SECRET_FILE", secret);
        for variable in ["COURIER_WRITE_REFERENCE", "COURIER_BIN", "COURIER_BROKER"] {
            words.env_remove(variable);
        }
        let (code, output, errors) = Process::run(&mut words);
        assert_eq!(code, 0, "{text}\n{output}{errors}");
        expect_close(&mut stream, "channel-disconnected");
    }
    until("the time is over", || status(&scene.couriers[0], "channel=chat.42") == 200);
}

#[test]
fn the_streams_of_a_user_end_at_every_courier_and_come_back_when_the_time_is_over() {
    let directory = Directory::new();
    let key = directory.file("urls", "a-key-for-signed-urls-0123456789");
    let config = directory.file(
        "courier.toml",
        "[[channels]]\nmatch = \"*\"\naccess = \"signed-url\"\npublish = \"signed-url\"\n",
    );
    let redis = Redis::start();
    let (url, secret) = (redis.url(), directory.file("secret", SECRET));
    let flags = [
        "--redis",
        &url,
        "--config",
        &config,
        "--signed-url-key-file",
        &key,
        "--control-secret-file",
        &secret,
    ];
    let couriers = (0..2).map(|_| Courier::start(&flags)).collect();
    let scene = Scene::new(directory, Some(redis), couriers, &url, &secret);
    let signed = |user: &str, more: &[&str]| {
        let words =
            ["sign", "--channel", "news", "--expires", "1h", "--user", user, "--signed-url-key-file", &key];
        let (code, output, errors) = Process::run(program::command().args(words).args(more));
        assert_eq!(code, 0, "{errors}");
        output.trim().trim_start_matches('?').to_owned()
    };
    let (seven, eight) = (signed("7", &[]), signed("8", &[]));
    let open = |query: &str| -> Vec<Stream> {
        scene.couriers.iter().map(|courier| Stream::open(courier.web, query)).collect()
    };
    let (mut ended, mut others) = (open(&seven), open(&eight));
    assert_eq!(scene.disconnect(&["--user", "7", "--for", "3s"]), 2);
    ended.iter_mut().for_each(|stream| expect_close(stream, "user-disconnected"));
    for courier in &scene.couriers {
        assert_eq!([status(courier, &seven), status(courier, &eight)], [204, 200]);
    }
    let mut peer = Peer::connect(scene.couriers[0].web);
    let query = signed("7", &["--publish"]);
    peer.send(format!("POST /publish?{query} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(peer.answer().code(), "disconnected");
    scene.redis.as_ref().unwrap().client().publish("news", "still here");
    others.iter_mut().for_each(|stream| assert_eq!(stream.data(), "still here"));
    for courier in &scene.couriers {
        until("the time is over", || status(courier, &seven) == 200);
    }
}
