//! A thread, or the whole process, stands still for a while.

use std::time::{Duration, Instant};

use crate::groups::{Group, figure, skipped};
use crate::support::courier::Courier;
use crate::support::http::Peer;
use crate::support::redis::Redis;
use crate::support::stream::Stream;
use crate::support::until;
use crate::witness::{Witness, publish};

/// The id of a thread of this name.
fn thread(process: u32, name: &str) -> u32 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let of_name = |thread: std::fs::DirEntry| {
        let comm = std::fs::read_to_string(thread.path().join("comm")).unwrap();
        (comm.trim() == name).then(|| thread.file_name().to_str().unwrap().parse().unwrap())
    };
    threads.filter_map(Result::ok).find_map(of_name).expect("courier names its threads")
}

#[test]
fn a_shard_that_stands_still_is_told_of_its_gap_and_no_other_shard_waits() {
    let flags = ["--limits-queue-bytes", "64KiB", "--limits-spill-bytes", "64KiB", "--heartbeat", "0s"];
    let courier = Courier::with_broker(&[&flags[..], &["--shards", "2"]].concat());
    let mut client = courier.client();
    let witnesses: Vec<Witness> = (0..16).map(|_| Witness::of(courier.web, "a")).collect();
    // Behind the process, so that it is gone before: a frozen thread hears of no end.
    let Some(group) = Group::freezer() else {
        return skipped("no group of the freezer can be made here (cgroup version 1)");
    };
    let frozen = thread(courier.process.id(), "courier-shard-1");
    group.add_thread(frozen);
    group.freeze();

    publish(&mut client, "a", 1, 1_000);
    let (mut well, mut ill) = (Vec::new(), Vec::new());
    for mut witness in witnesses {
        match witness.stream.event_within(Duration::from_millis(500)) {
            Some(event) => {
                assert_eq!(event.data[..8], *"00000001");
                well.push(witness.behind_the_first());
            }
            None => ill.push(witness),
        }
    }
    assert!(!well.is_empty() && !ill.is_empty(), "16 connections are on both shards");
    // Those of the shard that works have everything meanwhile.
    for number in 2..=1_000 {
        publish(&mut client, "a", number, 1_000);
        // As fast as they take it.
        if number % 20 == 0 {
            well.iter_mut().for_each(|witness| witness.until(number, None));
        }
    }
    // Whoever comes to the shard that works has its channel, which the reader does not know yet.
    let mut newcomers = Vec::new();
    until("a new channel is had while the other shard stands still", || {
        let mut peer = Peer::connect(courier.web);
        peer.send("GET /events?channel=new HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = peer.receive(Duration::from_millis(200));
        newcomers.push(peer);
        answer.is_ok()
    });

    group.thaw();
    publish(&mut client, "a", 1_001, 1_000);
    well.iter_mut().for_each(|witness| witness.until(1_001, None));
    // The gap may be told behind the message above, which it then covers; one of those that follow ends it.
    let mut number = 1_001;
    until("the shard has been told", || {
        number += 1;
        publish(&mut client, "a", number, 1_000);
        courier.metric("courier_gaps_total{reason=\"queue-full\"}") > 0.0
    });
    number += 1;
    publish(&mut client, "a", number, 1_000);
    ill.iter_mut().for_each(|witness| witness.until(number, Some("queue-full")));
    assert!(ill.iter().all(|witness| witness.gaps == 1));
    courier.process.errors.with("a shard does not keep up");
    let (delivered, missed) = (sum(&ill, |one| one.delivered), sum(&ill, |one| one.missed));
    assert_eq!(delivered + missed, number * ill.len() as u64);
    figure(&format!(
        "{} subscribers of the other shard: {} of {}; {} of this one: {delivered} + {missed} of {}",
        well.len(),
        well.len() * 1_001,
        well.len() * 1_001,
        ill.len(),
        number * ill.len() as u64
    ));
}

fn sum(witnesses: &[Witness], count: impl Fn(&Witness) -> u64) -> u64 {
    witnesses.iter().map(count).sum()
}

/// Longer than heartbeats, pings and their answers may take: as after a suspended machine, by the clock that courier uses.
#[test]
fn a_process_that_was_stopped_goes_on_as_if_no_time_had_passed() {
    let redis = Redis::start();
    let timeouts =
        ["--redis-ping-interval", "200ms", "--redis-ping-timeout", "200ms", "--heartbeat", "300ms"];
    let flags = ["--redis", &redis.url(), "--public", "*", "--shards", "2", "--limits-head-timeout", "500ms"];
    let courier = Courier::start(&[&flags[..], &timeouts[..]].concat());
    let mut client = redis.client();
    let mut witnesses: Vec<Witness> = (0..50).map(|_| Witness::of(courier.web, "a")).collect();
    publish(&mut client, "a", 1, 100);
    witnesses.iter_mut().for_each(|witness| witness.until(1, None));

    for round in 0..3 {
        courier.process.signal("STOP");
        // The fault lasts for ten heartbeats; Redis is spoken to meanwhile.
        let end = Instant::now() + Duration::from_secs(3);
        let mut number = round * 1_000 + 1;
        until("the fault is over", || {
            if number <= round * 1_000 + 1_000 {
                number += 1;
                publish(&mut client, "a", number, 100);
            }
            Instant::now() >= end && number == round * 1_000 + 1_001
        });
        // Somebody whose request stood in the backlog is answered.
        let mut late = Peer::connect(courier.web);
        late.send("GET /events?channel=a HTTP/1.1\r\nHost: a\r\n\r\n");
        courier.process.signal("CONT");
        Stream::behind(late);
        witnesses.iter_mut().for_each(|witness| witness.until(number, None));
    }
    assert_eq!(courier.metric("courier_redis_reconnects_total"), 0.0, "Redis was there all the time");
    assert!(!courier.process.errors.text().contains("redis cannot be heard"));
    assert!(courier.is_ready());
    let delivered = sum(&witnesses, |one| one.delivered);
    figure(&format!("{delivered} of {}; no gap, no disconnect, no loss of Redis", 50 * 3_001));
    assert_eq!(delivered, 50 * 3_001);
}
