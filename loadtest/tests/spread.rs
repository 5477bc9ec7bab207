//! Channels with one subscriber each: every message checked for its own channel, and every kind of fault planted once.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)] // Not every file of tests needs all of it.
mod support;

use std::process::Command;

use serde_json::Value;
use support::{Pieces, TestServer, run};

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n\
                    retry: 2000\nid: test.0\n\n";
/// 300 messages to warm up and 1,500 that are measured.
const SOME: [&str; 8] =
    ["--connections", "300", "--rate", "3000", "--warm-up", "100ms", "--duration", "500ms"];

fn counts(json: &Value) -> [u64; 6] {
    let tally = &json["trials"][0]["rounds"][0]["measured"]["tally"];
    ["expected", "delivered", "lost", "repeated", "reordered", "foreign"]
        .map(|name| tally[name].as_u64().unwrap())
}

#[test]
fn each_of_300_channels_gets_its_own_messages_once() {
    let server = TestServer::start(HEAD, Box::new(|_, _, frames| Some(vec![frames.last()?.clone()])));
    let (output, json) = server.run("spread", "spread", &[&SOME[..], &["--client-processes", "3"]].concat());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(counts(&json), [1_800, 1_800, 0, 0, 0, 0]);
    let round = &json["trials"][0]["rounds"][0]["measured"];
    assert_eq!((&round["published"], &round["published_in_all"]), (&1_500.into(), &1_800.into()));
    assert_eq!(round["latency"]["samples"], 1_500, "latencies are those of the window");
    assert_eq!((&round["few"]["connections"], &round["all"]["connections"]), (&75.into(), &300.into()));
    assert!(String::from_utf8(output.stdout).unwrap().contains("100 % of 1,800"));
}

/// The second message of every channel meets a fault. Returns the counts, and how many channels had two.
fn with_fault(name: &str, fault: fn(&[Vec<u8>]) -> Pieces) -> ([u64; 6], u64) {
    let met = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let meeting = std::sync::Arc::clone(&met);
    let fate = move |number, _, frames: &[Vec<u8>]| {
        if number == 2 {
            meeting.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            fault(frames)
        } else {
            Some(vec![frames.last()?.clone()])
        }
    };
    let server = TestServer::start(HEAD, Box::new(fate));
    let (output, json) = server.run("spread", name, &[&SOME[..], &["--patience", "500ms"]].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    (counts(&json), met.load(std::sync::atomic::Ordering::Relaxed))
}

#[test]
fn a_message_that_a_channel_lacks_is_lost_also_if_it_was_the_last() {
    let (counts, met) = with_fault("spread-lost", |_| Some(vec![]));
    assert!(met > 0);
    assert_eq!(counts, [1_800, 1_800 - met, met, 0, 0, 0]);
}

#[test]
fn a_message_that_a_channel_gets_again_is_a_repeat() {
    let (counts, met) =
        with_fault("spread-repeated", |frames| Some(vec![frames[1].clone(), frames[0].clone()]));
    assert_eq!(counts, [1_800, 1_800, 0, met, 0, 0]);
}

#[test]
fn an_altered_message_is_none_of_the_channel() {
    let (counts, met) = with_fault("spread-altered", |frames| {
        let mut frame = frames[1].clone();
        frame[60] ^= 1;
        Some(vec![frame])
    });
    assert_eq!(counts, [1_800, 1_800 - met, met, 0, 0, met]);
}

#[test]
fn the_floor_sends_each_message_to_the_one_who_hears_its_channel() {
    let arguments = [&["spread", "--contenders", "ring-loop", "--rounds", "1"], &SOME[..]].concat();
    let (output, json) = run("spread-floor", &arguments);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(counts(&json), [1_800, 1_800, 0, 0, 0, 0]);
    let summary = &json["summaries"][0];
    assert_eq!((&summary["contender"], &summary["delivered"]), (&"io_uring loop".into(), &1_800.into()));
    assert_eq!(summary["multiple_of_ring_loop"]["median"], 1.0);
}

#[test]
fn the_loop_of_sends_cannot_take_part() {
    let arguments = ["spread", "--contenders", "send-loop"];
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest")).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("knows one channel"));
}

#[test]
fn a_curve_has_a_row_for_each_number_of_subscribers() {
    let (output, json) = run(
        "curve",
        &["curve", "--sizes", "40,100", "--contenders", "send-loop", "--rounds", "2", "--messages", "5"],
    );
    assert!(output.status.success(), "{output:?}");
    let summaries = json["summaries"].as_array().unwrap();
    let rows: Vec<(u64, u64)> = summaries
        .iter()
        .map(|row| (row["connections"].as_u64().unwrap(), row["delivered"].as_u64().unwrap()))
        .collect();
    assert_eq!(rows, [(40, 40 * 5 * 2), (100, 100 * 5 * 2)]);
    assert_eq!(summaries[0]["multiple_of_first"]["median"], 1.0);
}
