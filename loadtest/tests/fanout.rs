//! The whole program: real processes, real sockets, and every kind of fault planted once.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{HEAD, Pieces, TestServer, counts, faithful, run};

#[test]
fn the_bare_loops_deliver_every_message_to_200_subscribers() {
    let (output, json) = run(
        "bare",
        &[
            "fanout",
            "--contenders",
            "send-loop,ring-loop",
            "--connections",
            "200",
            "--client-processes",
            "2",
            "--rounds",
            "2",
            "--messages",
            "20",
        ],
    );
    assert!(output.status.success(), "{output:?}");
    for trial in json["trials"].as_array().unwrap() {
        for round in trial["rounds"].as_array().unwrap() {
            let round = &round["measured"];
            assert_eq!(round["tally"]["delivered"], 200 * 20, "{round}");
            assert_eq!(round["tally"]["expected"], 200 * 20);
            assert_eq!(round["latency"]["samples"], 200 * 20);
            assert!(round["cpu_nanos_per_delivery"].as_f64().unwrap() > 100.0);
        }
    }
    assert_eq!(json["summaries"][1]["multiple_of_ring_loop"]["median"], 1.0);
    assert!(json["machine"]["kernel"].is_string());
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("100 % of 8,000"), "{table}");
}

/// A small run with a channel whose name may not stand in a query as it is.
fn of_nchan(name: &str, contender: &str) -> Value {
    let arguments = [
        "fanout",
        "--contenders",
        contender,
        "--connections",
        "200",
        "--rounds",
        "1",
        "--messages",
        "20",
        "--channel",
        "news/ü & sport",
    ];
    let (output, json) = run(name, &arguments);
    assert!(output.status.success(), "{output:?}");
    json
}

#[test]
fn nchan_delivers_what_is_posted() {
    let json = of_nchan("nchan", "nchan,ring-loop");
    let round = &json["trials"][0]["rounds"][0]["measured"];
    assert_eq!((&round["tally"]["delivered"], &round["tally"]["expected"]), (&4_000.into(), &4_000.into()));
    assert!(
        round["cpu_nanos_per_delivery"].as_f64().unwrap() > 100.0,
        "the worker is observed, not its master"
    );
    assert_eq!(json["summaries"][0]["multiple_of_nchan"]["median"], 1.0);
    assert!(json["summaries"][0]["multiple_of_ring_loop"]["median"].is_number());
    let configuration = json["trials"][0]["configuration"].as_str().unwrap();
    assert!(configuration.contains("nchan_subscriber eventsource;"), "{configuration}");
}

#[test]
fn nchan_on_redis_delivers_what_is_published_in_its_envelope() {
    let json = of_nchan("nchan-redis", "nchan-redis");
    let tally = &json["trials"][0]["rounds"][0]["measured"]["tally"];
    assert_eq!((&tally["delivered"], &tally["expected"]), (&4_000.into(), &4_000.into()), "{tally}");
    let configuration = json["trials"][0]["configuration"].as_str().unwrap();
    assert!(configuration.contains("nchan_redis_storage_mode nostore;"), "{configuration}");
}

#[test]
fn those_who_come_in_a_storm_are_all_subscribed() {
    let arguments = [
        "connect",
        "--contenders",
        "ring-loop,nchan",
        "--connections",
        "400",
        "--at-once",
        "100",
        "--client-processes",
        "2",
        "--rounds",
        "1",
    ];
    let (output, json) = run("connect", &arguments);
    assert!(output.status.success(), "{output:?}");
    for trial in json["trials"].as_array().unwrap() {
        let round = &trial["rounds"][0]["measured"];
        assert_eq!(round["connections"], 360, "a tenth comes before the window");
        assert!(round["connections_per_cpu_second"].as_f64().unwrap() > 100.0);
        assert!(round["connections_per_second"].as_f64().unwrap() > 100.0);
        assert_eq!(round["tally"]["delivered"], 400, "one message afterwards, to each");
    }
    assert!(json["summaries"][0]["multiple_of_nchan"]["median"].is_number());
}

#[test]
fn the_bare_loops_rest_while_idle() {
    let (output, json) = run(
        "idle",
        &[
            "idle",
            "--contenders",
            "send-loop,ring-loop",
            "--connections",
            "400",
            "--rounds",
            "1",
            "--rest",
            "300ms",
        ],
    );
    assert!(output.status.success(), "{output:?}");
    for trial in json["trials"].as_array().unwrap() {
        let round = &trial["rounds"][0]["measured"];
        assert_eq!((&round["few"]["connections"], &round["all"]["connections"]), (&100.into(), &400.into()));
        assert!(round["user_bytes_per_connection"].is_number());
        assert_eq!(round["rest"]["server_cpu_seconds"], 0.0, "a bare loop at rest uses no CPU");
    }
}

#[test]
fn large_messages_that_fill_the_sockets_arrive_whole() {
    let (output, json) = run(
        "large",
        &[
            "fanout",
            "--contenders",
            "ring-loop",
            "--connections",
            "10",
            "--payload",
            "2000000",
            "--rounds",
            "1",
            "--messages",
            "3",
            "--warm-up",
            "1",
        ],
    );
    assert!(output.status.success(), "{output:?}");
    assert_eq!(counts(&json), [30, 30, 0, 0, 0, 0]);
}

#[test]
fn a_faithful_server_is_flawless_also_when_it_cuts_frames_and_beats_in_between() {
    let server = TestServer::start(
        HEAD,
        Box::new(|number, _, frames| {
            let frame = frames.last().unwrap();
            let (first, second) = frame.split_at(usize::try_from(number).unwrap() * 7 % frame.len());
            Some(vec![b":\n\n".to_vec(), first.to_vec(), second.to_vec()])
        }),
    );
    let (output, json) =
        server.run("fanout", "cut", &["--connections", "5", "--messages", "40", "--warm-up", "2"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(counts(&json), [200, 200, 0, 0, 0, 0]);
}

#[test]
fn a_body_in_chunks_is_read_like_one_without() {
    let server = TestServer::start(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        Box::new(|_, _, frames| {
            let frame = frames.last().unwrap();
            let (first, second) = frame.split_at(20);
            let chunk = |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
            Some(vec![chunk(first), chunk(second)])
        }),
    );
    let (output, json) = server.run("fanout", "chunks", &["--connections", "5", "--messages", "10"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(counts(&json), [50, 50, 0, 0, 0, 0]);
}

/// Subscriber 1 of 3 meets a fault at message 4; ten are published, the first of them to warm up.
fn with_fault(name: &str, fault: fn(&[Vec<u8>]) -> Pieces) -> (bool, [u64; 6], String) {
    let server = TestServer::start(
        HEAD,
        Box::new(move |number, subscriber, frames| match (number, subscriber) {
            (4, 1) => fault(frames),
            _ => faithful(number, subscriber, frames),
        }),
    );
    let further = ["--connections", "3", "--messages", "9", "--warm-up", "1", "--rate", "200"];
    let (output, json) = server.run("fanout", name, &further);
    (output.status.success(), counts(&json), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_lost_message_is_found() {
    let (is_good, counts, text) = with_fault("lost", |_| Some(vec![]));
    assert_eq!((is_good, counts), (false, [27, 26, 1, 0, 0, 0]));
    assert!(text.contains("target, round 1: 1 lost\n"), "{text}");
}

#[test]
fn a_repeated_message_is_found() {
    let (is_good, counts, _) =
        with_fault("repeated", |frames| Some(vec![frames[3].clone(), frames[2].clone()]));
    assert_eq!((is_good, counts), (false, [27, 27, 0, 1, 0, 0]));
}

#[test]
fn messages_out_of_order_are_found() {
    let server = TestServer::start(
        HEAD,
        Box::new(|number, subscriber, frames| match (number, subscriber) {
            (4, 1) => Some(vec![]),
            (5, 1) => Some(vec![frames[4].clone(), frames[3].clone()]),
            _ => faithful(number, subscriber, frames),
        }),
    );
    let further = ["--connections", "3", "--messages", "9", "--warm-up", "1", "--rate", "200"];
    let (output, json) = server.run("fanout", "reordered", &further);
    assert!(!output.status.success());
    assert_eq!(counts(&json), [27, 27, 0, 0, 1, 0]);
}

#[test]
fn a_stream_that_ends_early_is_found_and_holds_up_nobody() {
    let (is_good, counts, text) = with_fault("ended", |_| None);
    assert_eq!((is_good, counts), (false, [27, 20, 7, 0, 0, 1]));
    assert!(text.contains("7 lost, 1 streams ended early"), "{text}");
}

#[test]
fn an_altered_message_is_found() {
    let (is_good, counts, text) = with_fault("altered", |frames| {
        let mut frame = frames[3].clone();
        frame[60] ^= 1;
        Some(vec![frame])
    });
    assert_eq!((is_good, counts), (false, [27, 26, 1, 0, 0, 0]));
    assert!(text.contains("1 lost, 1 altered or foreign"), "{text}");
}

#[test]
fn a_stated_gap_is_counted_beside_the_loss() {
    let gap = |_: &[Vec<u8>]| Some(vec![b"event: courier-gap\ndata: {}\nid: test.4\n\n".to_vec()]);
    let (is_good, counts, text) = with_fault("gap", gap);
    assert_eq!((is_good, counts), (false, [27, 26, 1, 0, 0, 0]));
    assert!(text.contains("1 lost, 1 gaps stated by the server"), "{text}");
}

#[test]
fn a_server_that_refuses_is_quoted() {
    let server = TestServer::start("HTTP/1.1 403 Forbidden\r\n\r\n", Box::new(faithful));
    let (output, json) = server.run("fanout", "refused", &["--connections", "3"]);
    assert_eq!(output.status.code(), Some(1));
    let reason = json["trials"][0]["rounds"][0]["failed"].as_str().unwrap();
    assert_eq!(reason, "0 of 3 connected, 3 failed; the first: answered \"HTTP/1.1 403 Forbidden\"");
}

#[test]
fn a_target_where_nobody_listens_is_no_hang() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = TestServer { web: free, broker: free };
    let (output, json) = server.run("fanout", "nobody", &["--connections", "3"]);
    assert_eq!(output.status.code(), Some(1));
    let reason = json["trials"][0]["rounds"][0]["failed"].as_str().unwrap();
    assert!(reason.contains("cannot connect: Connection refused"), "{reason}");
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_is_missing() {
    for (arguments, words) in [
        (&["fanout", "--target", "http://127.0.0.1:1"][..], "--redis URL"),
        (&["fanout", "--courier", "/nowhere/courier"], "/nowhere/courier: no such file"),
        (&["idle", "--contenders", "send-loop", "--connections", "2"], "at least 8"),
        (&["fanout", "--contenders", "target"], "--target URL"),
        (&["fanout", "--payload", "5"], "33 to"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_loadtest")).args(arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
}

#[test]
fn nothing_is_left_running_when_it_is_killed() {
    let arguments = ["idle", "--contenders", "send-loop", "--connections", "8", "--rest", "60s"];
    let mut loadtest =
        Command::new(env!("CARGO_BIN_EXE_loadtest")).args(arguments).stderr(Stdio::null()).spawn().unwrap();
    let parent = loadtest.id();
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut children = children(parent);
    while children.len() < 2 {
        assert!(Instant::now() < deadline, "a bare loop and one process of subscribers start");
        children = self::children(parent);
    }
    loadtest.kill().unwrap();
    loadtest.wait().unwrap();
    while children.iter().any(|&pid| is_running(pid)) {
        assert!(Instant::now() < deadline, "they end with it");
    }
}

/// The processes that `parent` started.
fn children(parent: u32) -> Vec<u32> {
    let folder = std::fs::read_dir("/proc").unwrap();
    let pids = folder.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|&pid| state_and_parent(pid).is_some_and(|(_, of)| of == parent.to_string())).collect()
}

fn is_running(pid: u32) -> bool {
    state_and_parent(pid).is_some_and(|(state, _)| state != "Z" && state != "X")
}

fn state_and_parent(pid: u32) -> Option<(String, String)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned);
    Some((fields.next()?, fields.next()?))
}
