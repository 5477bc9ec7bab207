//! More connections than there is room for.

use std::net::SocketAddr;

use crate::groups::figure;
use crate::support::courier::{Courier, command};
use crate::support::http::{Answer, Peer};
use crate::support::process::Process;
use crate::support::stream::Stream;
use crate::support::until;
use crate::witness::{Witness, publish};

/// Asks for a stream, without waiting for an answer.
fn ask(address: SocketAddr) -> Peer {
    let mut peer = Peer::connect(address);
    peer.send("GET /events?channel=a HTTP/1.1\r\nHost: a\r\n\r\n");
    peer
}

/// The stream that a client was given, or none if it was told to come back, in the words that EventSource needs.
fn given(mut peer: Peer) -> Option<(Answer, Peer)> {
    let head = peer.head();
    assert_eq!(head.status, 200, "{head:?}");
    assert_eq!(head.field("content-type"), Some("text/event-stream; charset=utf-8"));
    let mut body = Vec::new();
    // The opening block, or the last one.
    while !body.ends_with(b"\n\n") {
        body.extend(peer.receive(crate::support::DEADLINE).unwrap().expect("an answer is complete"));
    }
    let body = String::from_utf8(body).unwrap();
    assert!(body.contains("retry: "), "{body:?}");
    if body.contains("id: ") {
        return Some((head, peer));
    }
    peer.expect_end();
    None
}

#[test]
fn a_full_shard_tells_new_streams_to_come_back_and_evicts_nobody() {
    let flags = ["--shards", "1", "--limits-connections-per-shard", "8", "--heartbeat", "0s"];
    let courier = Courier::with_broker(&flags);
    let mut client = courier.client();
    let mut witnesses: Vec<Witness> = (0..8).map(|_| Witness::of(courier.web, "a")).collect();
    for number in 1..=20 {
        publish(&mut client, "a", number, 20);
        assert!(given(ask(courier.web)).is_none(), "there is no room");
    }
    for witness in &mut witnesses {
        witness.until(20, None);
    }
    assert_eq!(courier.metric("courier_disconnects_total{reason=\"connection-limit\"}"), 20.0);
    let lines = courier.process.errors.text();
    assert_eq!(lines.matches("no room for new streams").count(), 1, "{lines}");
    assert!(courier.is_ready(), "full is no fault");

    drop(witnesses.pop());
    courier.until_metric("courier_connections", |connections| connections < 9.0);
    assert!(given(ask(courier.web)).is_some(), "there is room again");
    figure("8 streams kept with 160 of 160 messages, 20 of 20 told to come back, the next one served");
}

#[test]
fn a_full_shard_strands_nobody_while_another_one_has_room() {
    let courier = Courier::with_broker(&["--shards", "2", "--limits-connections-per-shard", "20"]);
    let mut streams = Vec::new();
    let mut told = 0;
    until("40 clients have found the 40 places of both shards", || {
        match given(ask(courier.web)) {
            Some(stream) => streams.push(stream),
            None => told += 1,
        }
        streams.len() == 40
    });
    assert!(given(ask(courier.web)).is_none(), "both are full");
    figure(&format!("40 of 40 places taken; {told} times a client was told to come back on the way"));
}

/// Connections that say nothing have the last slot; whoever comes then waits, and is not taken and closed.
#[test]
fn who_finds_no_slot_waits_and_is_served_when_one_is_free() {
    let flags = ["--shards", "1", "--limits-connections-per-shard", "1", "--limits-head-timeout", "300s"];
    let courier = Courier::with_broker(&flags);
    let silent: Vec<Peer> = (0..100).map(|_| Peer::connect(courier.web)).collect();
    // 65 slots, of which the admin side has eight at first and one at last.
    courier.until_metric("courier_connections", |connections| connections >= 57.0);
    let waiting: Vec<Peer> = (0..20)
        .map(|_| {
            let mut peer = Peer::connect(courier.web);
            peer.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            peer
        })
        .collect();
    assert!(courier.is_ready(), "an operator can look into it");
    assert!(courier.metric("courier_connections") <= 65.0);
    drop(silent);
    for mut peer in waiting {
        let answer = peer.answer();
        assert!(answer.status < 500, "{answer:?}");
    }
    figure("20 of 20 who found no slot waited and were served; the admin pages too");
}

/// The kernel's bound of descriptors is that of the table.
#[test]
fn a_low_limit_of_descriptors_is_a_bound_like_any_other() {
    let mut words = command();
    let courier = words.get_program().to_owned();
    let mut bounded = std::process::Command::new("prlimit");
    bounded.arg("--nofile=128:128").arg(courier).args(["--broker", "127.0.0.1:0", "--public", "*"]);
    bounded.args(["--shards", "1", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    for (name, value) in words.get_envs() {
        assert!(value.is_none());
        bounded.env_remove(name);
    }
    words = bounded;
    let process = Process::start(&mut words);
    let line = process.output.with("  clients ");
    let web: SocketAddr = line.split([' ', '/', ',']).find_map(|word| word.parse().ok()).unwrap();
    let mut streams: Vec<Stream> = (0..64).map(|_| Stream::open(web, "channel=a")).collect();
    for _ in 0..100 {
        assert!(given(ask(web)).is_none(), "there is no room");
    }
    process.errors.with("no room for new streams: raise RLIMIT_NOFILE");
    drop(streams.pop());
    until("there is room again", || given(ask(web)).is_some());
    figure("64 of 64 streams kept, 100 of 100 told to come back");
}
