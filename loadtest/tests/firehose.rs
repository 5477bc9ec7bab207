//! The firehose: many messages at once, real processes, and every kind of fault planted among thousands of messages that
//! are checked the quick way.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;
use support::{HEAD, Pieces, TestServer, counts, faithful, run};

/// 1,000 messages a second; 5 and 200 to warm up, 200 that count.
const SHORT: [&str; 10] = [
    "--rate",
    "1000",
    "--step",
    "200ms",
    "--duration",
    "200ms",
    "--connections",
    "3",
    "--batch-interval",
    "10ms",
];

#[test]
fn the_bare_loops_deliver_every_message_of_a_fixed_rate() {
    let (output, json) = run(
        "firehose-bare",
        &[
            &["firehose", "--contenders", "send-loop,ring-loop", "--rounds", "2", "--client-processes", "2"],
            &SHORT[..],
        ]
        .concat(),
    );
    assert!(output.status.success(), "{output:?}");
    for trial in json["trials"].as_array().unwrap() {
        for round in trial["rounds"].as_array().unwrap() {
            let round = &round["measured"];
            assert_eq!((&round["published"], &round["rate"]), (&200.into(), &1_000.0.into()));
            assert_eq!(round["tally"]["delivered"], 3 * 200, "{round}");
            assert_eq!(round["tally"]["expected"], 3 * 200);
            assert_eq!(round["latency"]["samples"], 3 * 200);
            assert!(round["deliveries_per_cpu_second"].as_f64().unwrap() > 1_000.0);
            let busy = round["server_busy"].as_f64().unwrap();
            assert!(busy > 0.0 && busy < 1.5, "{busy}");
        }
    }
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("100 % of 1,200"), "{table}");
}

#[test]
fn the_rate_is_found_that_is_sustained() {
    let arguments = "firehose --contenders send-loop --connections 3 --rounds 1 --step 100ms --duration 100ms \
                     --p99-max 50ms --patience 3s";
    let (output, json) = run("firehose-auto", &arguments.split_ascii_whitespace().collect::<Vec<_>>());
    let search = &json["summaries"][0]["search"];
    let steps = search["steps"].as_array().unwrap_or_else(|| panic!("{output:?}"));
    let is_sustained = |step: &&Value| step["is_sustained"] == true;
    let best =
        steps.iter().filter(is_sustained).map(|step| step["rate"].as_f64().unwrap()).fold(0.0, f64::max);
    let rate = search["rate"].as_f64().unwrap();
    assert!(rate <= best, "{rate}, {best}");
    let last = steps.last().unwrap();
    assert!(last["is_sustained"] == true && last["rate"] == rate, "it was held: {last}");
    assert_eq!(json["trials"][0]["rounds"][0]["measured"]["rate"], rate);
}

#[test]
fn all_are_measured_at_the_same_part_of_the_rate() {
    let arguments =
        [&["firehose", "--contenders", "send-loop,ring-loop", "--load", "0.5"], &SHORT[..]].concat();
    let (output, json) = run("firehose-load", &[&arguments[..], &["--rounds", "1"]].concat());
    assert!(output.status.success(), "{output:?}");
    for trial in json["trials"].as_array().unwrap() {
        let round = &trial["rounds"][0]["measured"];
        assert_eq!((&round["rate"], &round["published"]), (&500.0.into(), &100.into()));
    }
}

/// Subscriber 1 of 3 meets a fault at message 300, in the midst of those that count.
fn with_fault(name: &str, fault: fn(&[Vec<u8>]) -> Pieces) -> (bool, [u64; 6], String) {
    let server = TestServer::start(
        HEAD,
        Box::new(move |number, subscriber, frames| match (number, subscriber) {
            (300, 1) => fault(frames),
            _ => faithful(number, subscriber, frames),
        }),
    );
    let (output, json) = server.run("firehose", &format!("firehose-{name}"), &SHORT);
    (output.status.success(), counts(&json), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_faithful_server_is_flawless() {
    let (is_good, counts, text) = with_fault("faithful", |frames| faithful(0, 0, frames));
    assert_eq!((is_good, counts), (true, [600, 600, 0, 0, 0, 0]), "{text}");
}

#[test]
fn a_lost_message_is_found() {
    let (is_good, counts, text) = with_fault("lost", |_| Some(vec![]));
    assert_eq!((is_good, counts), (false, [600, 599, 1, 0, 0, 0]));
    assert!(text.contains("target, round 1: 1 lost\n"), "{text}");
}

#[test]
fn a_repeated_message_is_found() {
    let (is_good, counts, _) =
        with_fault("repeated", |frames| Some(vec![frames[299].clone(), frames[250].clone()]));
    assert_eq!((is_good, counts), (false, [600, 600, 0, 1, 0, 0]));
}

#[test]
fn messages_out_of_order_are_found() {
    let server = TestServer::start(
        HEAD,
        Box::new(|number, subscriber, frames| match (number, subscriber) {
            (300, 1) => Some(vec![]),
            (301, 1) => Some(vec![frames[300].clone(), frames[299].clone()]),
            _ => faithful(number, subscriber, frames),
        }),
    );
    let (output, json) = server.run("firehose", "firehose-reordered", &SHORT);
    assert_eq!((output.status.success(), counts(&json)), (false, [600, 600, 0, 0, 1, 0]));
}

#[test]
fn an_altered_message_is_found() {
    let (is_good, counts, text) = with_fault("altered", |frames| {
        let mut frame = frames[299].clone();
        frame[60] ^= 1;
        Some(vec![frame])
    });
    assert_eq!((is_good, counts), (false, [600, 599, 1, 0, 0, 0]));
    assert!(text.contains("1 lost, 1 altered or foreign"), "{text}");
}

#[test]
fn a_stream_that_ends_early_is_found_and_holds_up_nobody() {
    let (is_good, counts, text) = with_fault("ended", |_| None);
    assert_eq!((is_good, counts), (false, [600, 494, 106, 0, 0, 1]));
    assert!(text.contains("106 lost, 1 streams ended early"), "{text}");
}

#[test]
fn a_fault_while_warming_up_is_not_passed_over() {
    let server = TestServer::start(
        HEAD,
        Box::new(|number, subscriber, frames| match (number, subscriber) {
            (100, 1) => Some(vec![]),
            _ => faithful(number, subscriber, frames),
        }),
    );
    let (output, json) = server.run("firehose", "firehose-warm-up", &SHORT);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(json["trials"][0]["rounds"][0]["failed"], "while warming up: 1 lost");
}
