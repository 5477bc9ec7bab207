//! Subscribers that come back: every message checked across their streams, and every kind of fault planted once.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)] // Not every file of tests needs all of it.
mod support;

use std::process::{Command, Output};

use serde_json::Value;
use support::{HEAD, Replay, TestServer, faithful};

/// Some 20 subscribers, cut some four times each, and 60 messages.
const JITTER: [&str; 12] = [
    "--connections",
    "20",
    "--cut-every",
    "400ms",
    "--away",
    "100ms",
    "--rate",
    "40",
    "--duration",
    "1500ms",
    "--patience",
    "3s",
];

fn jitter(name: &str, replay: Box<Replay>) -> (Output, Value) {
    let server = TestServer::start_with(HEAD, Box::new(faithful), replay);
    let (output, json) = server.run("jitter", name, &JITTER);
    let round = json["trials"][0]["rounds"][0]["measured"].clone();
    assert!(!round.is_null(), "{json}");
    (output, round)
}

fn faults(round: &Value) -> [u64; 4] {
    let tally = &round["tally"];
    ["lost", "repeated", "reordered", "foreign"].map(|name| tally[name].as_u64().unwrap())
}

#[test]
fn those_who_are_cut_again_and_again_have_every_message_once() {
    let (output, round) = jitter("jitter", Box::new(|_, missed| missed.to_vec()));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(faults(&round), [0, 0, 0, 0]);
    assert_eq!((&round["tally"]["delivered"], &round["tally"]["expected"]), (&1_200.into(), &1_200.into()));
    let returns = &round["returns"];
    assert!(returns["cut"].as_u64().unwrap() >= 20, "{returns}");
    assert_eq!(returns["cut"], returns["resumed"], "{returns}");
    assert_eq!(returns["missing"], 0, "{returns}");
    assert!(returns["replayed"].as_u64().unwrap() > 0, "{returns}");
    assert!(round["caught_up"]["samples"].as_u64().unwrap() > 0, "{round}");
    assert!(round["away"]["p50_ms"].as_f64().unwrap() >= 100.0, "nobody is back before its time: {round}");
    // What was replayed has no latency of its own.
    let live = round["latency"]["samples"].as_u64().unwrap();
    assert_eq!(live + returns["replayed"].as_u64().unwrap(), 1_200);
}

#[test]
fn a_message_that_a_replay_lacks_is_lost_in_silence() {
    let replay = |number, missed: &[Vec<u8>]| match (number, missed) {
        (3, [first, _, rest @ ..]) => [std::slice::from_ref(first), rest].concat(),
        _ => missed.to_vec(),
    };
    let (output, round) = jitter("jitter-lost", Box::new(replay));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(faults(&round), [1, 0, 0, 0]);
    assert_eq!((&round["returns"]["silent"], &round["returns"]["stated"]), (&1.into(), &0.into()));
}

#[test]
fn a_replay_that_is_replaced_by_a_gap_is_a_loss_that_was_stated() {
    let gap = b"event: courier-gap\ndata: {\"channel\":\"test\",\"from\":null,\"reason\":\"too-old\"}\nid: ";
    let replay = move |number, missed: &[Vec<u8>]| match (number, missed) {
        (3, [.., last]) => {
            let id = String::from_utf8(last.clone()).unwrap();
            let id = id.rsplit_once("id: ").unwrap().1.to_owned();
            vec![[&gap[..], id.as_bytes()].concat()]
        }
        _ => missed.to_vec(),
    };
    let (output, round) = jitter("jitter-gap", Box::new(replay));
    assert_eq!(output.status.code(), Some(1), "with this history nobody has to miss anything");
    let returns = &round["returns"];
    assert_eq!((&returns["gaps"]["too-old"], &returns["silent"]), (&1.into(), &0.into()), "{returns}");
    assert!(returns["stated"].as_u64().unwrap() > 0, "{returns}");
    assert_eq!(returns["stated"], round["tally"]["lost"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("1 gaps stated by the server"), "{text}");
}

#[test]
fn what_somebody_had_before_it_left_is_a_repeat_when_it_comes_again() {
    let replay = |number, missed: &[Vec<u8>]| match (number, missed) {
        (3, [first, ..]) => [std::slice::from_ref(first), missed].concat(),
        _ => missed.to_vec(),
    };
    let (output, round) = jitter("jitter-repeated", Box::new(replay));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(faults(&round), [0, 1, 0, 0]);
}

#[test]
fn a_replay_in_wrong_order_is_found() {
    let replay = |number, missed: &[Vec<u8>]| match (number, missed) {
        (3, [first, second, rest @ ..]) => [&[second.clone(), first.clone()][..], rest].concat(),
        _ => missed.to_vec(),
    };
    let (output, round) = jitter("jitter-reordered", Box::new(replay));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(faults(&round), [0, 0, 1, 0]);
}

#[test]
fn who_cannot_resume_does_not_take_part() {
    for arguments in [["jitter", "--contenders", "ring-loop"], ["avalanche", "--contenders", "nchan"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_loadtest")).args(arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains("cannot take part"), "{error}");
    }
}

/// Every stream breaks while 50 are connected; what those who come back are told.
fn avalanche(name: &str, replay: Box<Replay>) -> (Output, Value) {
    let server = TestServer::start_with(HEAD_SOON, Box::new(faithful), replay);
    let (host, port) = (server.broker.ip(), server.broker.port());
    let restart = format!(
        r#"bash -c 'exec 3<>/dev/tcp/{host}/{port}; printf "*1\r\n\$7\r\nRESTART\r\n" >&3; read -r line <&3'"#
    );
    let arguments = ["--connections", "50", "--restart", &restart, "--within", "5s"];
    let (output, json) = server.run("avalanche", name, &arguments);
    let round = json["trials"][0]["rounds"][0]["measured"].clone();
    assert!(!round.is_null(), "{json}");
    (output, round)
}

const HEAD_SOON: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n\
                         retry: 200\nid: test.0\n\n";
const UNKNOWN: &[u8] =
    b"event: courier-gap\ndata: {\"channel\":\"test\",\"from\":null,\"reason\":\"unknown-epoch\"}\n\
                         id: test.2\n\n";

#[test]
fn those_whose_server_was_restarted_come_back_when_they_were_told_to_and_are_told_once() {
    let (output, round) = avalanche("avalanche", Box::new(|_, _| vec![UNKNOWN.to_vec()]));
    assert!(output.status.success(), "{output:?}");
    let returns = &round["returns"];
    assert_eq!((&returns["ended"], &returns["resumed"]), (&50.into(), &50.into()), "{returns}");
    assert_eq!(returns["told"], serde_json::json!([0, 50, 0]));
    assert_eq!(round["tally"]["delivered"], 150, "two messages before and one after");
    assert!(round["away"]["p50_ms"].as_f64().unwrap() >= 200.0, "{round}");
    let seconds = |name: &str| round[name].as_f64().unwrap();
    assert!(seconds("half_seconds") <= seconds("most_seconds"));
    assert!(seconds("most_seconds") <= seconds("all_seconds"));
}

#[test]
fn who_is_not_told_that_its_id_is_unknown_or_is_told_twice_is_found() {
    let replay = |number, _: &[Vec<u8>]| match number {
        7 => vec![],
        9 => vec![UNKNOWN.to_vec(), UNKNOWN.to_vec()],
        _ => vec![UNKNOWN.to_vec()],
    };
    let (output, round) = avalanche("avalanche-told", Box::new(replay));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(round["returns"]["told"], serde_json::json!([1, 48, 1]));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("1 were not told that their ids are of another server"), "{text}");
    assert!(text.contains("1 were told so more than once"), "{text}");
}

#[test]
fn a_running_server_is_restarted_by_who_knows_how() {
    let server = TestServer::start(HEAD, Box::new(faithful));
    let target = format!("http://{}", server.web);
    let redis = format!("redis://{}", server.broker);
    let arguments = ["avalanche", "--target", &target, "--redis", &redis];
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest")).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("--restart"));
}

const SLOW: [&str; 8] = ["--connections", "4", "--rate", "100", "--phase", "300ms", "--phases", "2"];

#[test]
fn the_slow_have_everything_in_the_end_and_count_apart_from_the_others() {
    let server = TestServer::start(HEAD, Box::new(faithful));
    let (output, json) = server.run("slow", "slow", &SLOW);
    assert!(output.status.success(), "{output:?}");
    let round = &json["trials"][0]["rounds"][0]["measured"];
    let phases = round["phases"].as_array().unwrap();
    assert_eq!(phases.len(), 4);
    for (number, phase) in phases.iter().enumerate() {
        assert_eq!((&phase["published"], &phase["latency"]["samples"]), (&30.into(), &120.into()), "{phase}");
        assert_eq!(phase["slow"].is_object(), number % 2 == 1, "without and with take turns");
    }
    let slow = &phases[1]["slow"];
    assert_eq!(
        (&slow["silent"], &slow["awaited"], &slow["stated"]),
        (&0.into(), &0.into(), &0.into()),
        "{slow}"
    );
    assert_eq!(slow["delivered"], slow["published"]);
    assert!(slow["published"].as_u64().unwrap() > 30, "messages go on until it has caught up: {slow}");
}

#[test]
fn a_message_that_only_the_slow_one_lacks_is_lost_in_silence() {
    // The fifth subscriber is the slow one of the first phase that has one.
    let fate = |number: u64, subscriber, frames: &[Vec<u8>]| match (number, subscriber) {
        (0..100, _) => faithful(number, subscriber, frames),
        (_, 4) if number.is_multiple_of(25) => Some(vec![]),
        _ => faithful(number, subscriber, frames),
    };
    let server = TestServer::start(HEAD, Box::new(fate));
    let (output, json) = server.run("slow", "slow-lost", &SLOW);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let round = &json["trials"][0]["rounds"][0]["measured"];
    let (others, slow) = (&round["phases"][1]["tally"], &round["phases"][1]["slow"]);
    assert_eq!(others["lost"], 0);
    assert_eq!((&slow["silent"], &slow["stated"]), (&1.into(), &0.into()), "{slow}");
}
