//! Orders that end streams, and who is kept away.

use super::grants::{granted, tick};
use super::*;
use crate::base::channel::ChannelName;
use crate::base::dismissal::{Dismissal, Whom};
use crate::base::limits::DISMISSALS;
use crate::base::time::UnixTime;

fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.input(Input::Calendar(UnixTime::from_secs(1_000)));
    bench
}

fn granted_to(bench: &mut Bench, slot: u32, name: &str) {
    granted(bench, slot, Grant { user: Some(name.into()), expires: None });
}

fn user(name: &str) -> Whom {
    Whom::User(name.into())
}

fn channel(name: &str) -> Whom {
    Whom::Channel(ChannelName::parse(name.as_bytes()).unwrap())
}

fn order(bench: &mut Bench, whom: Whom, until: u64) {
    let dismissal = Dismissal { whom, until: UnixTime::from_secs(until) };
    bench.input(Input::Delivery(Delivery::Dismiss(dismissal)));
}

#[test]
fn the_streams_of_a_user_end_with_a_word_and_nobody_elses() {
    let mut bench = bench();
    for (slot, name) in [(0, "7"), (1, "8"), (2, "7")] {
        granted_to(&mut bench, slot, name);
    }
    bench.stream(3, "channel=b");
    let key = bench.asked("a").0;
    bench.join_all(1);
    bench.publish(&[(key, 2, "last")]);
    order(&mut bench, user("7"), 1_000);
    bench.flush();
    for slot in [0, 2] {
        let body = bench.body(slot);
        let (_, end) =
            body.split_once("data: last\nid: a.2\n\nretry: ").expect("what it is owed, then the end");
        let (retry, event) = end.split_once('\n').unwrap();
        let data = format!("{{\"reason\":\"user-disconnected\",\"retry_ms\":{retry}}}");
        assert_eq!(event, format!("event: courier-close\ndata: {data}\n\n"));
    }
    for slot in [1, 3] {
        assert!(!bench.body(slot).contains("courier-close"));
    }
    assert_eq!(bench.disconnects(Disconnect::UserDismissed), 2);
    // Nobody is kept away: who asks again is let in, if he still may.
    granted_to(&mut bench, 4, "7");
    assert!(bench.body(4).is_empty());
    assert_eq!(bench.shard.counters.cells.dismissals.get(), 0);
}

#[test]
fn who_is_kept_away_is_told_to_stop_until_the_time_is_over() {
    let mut bench = bench();
    bench.stream(0, "channel=a&channel=b");
    bench.stream(1, "channel=c&format=json");
    bench.join_all(1);
    bench.body(0);
    order(&mut bench, channel("b"), 1_010);
    bench.flush();
    assert!(bench.body(0).contains("data: {\"reason\":\"channel-disconnected\",\"retry_ms\":"));
    assert!(!bench.body(1).contains("courier-close"));
    assert_eq!(bench.disconnects(Disconnect::ChannelDismissed), 1);
    bench.stream(2, "channel=b");
    bench.flush();
    let answer = String::from_utf8(bench.received[&2].clone()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204 No Content\r\n"), "{answer}");
    assert!(answer.contains("\r\nAccess-Control-Allow-Origin: *\r\n"), "{answer}");
    let head = "HEAD /events?channel=b HTTP/1.1\r\nHost: localhost\r\n\r\n";
    bench.request(6, head);
    bench.flush();
    assert_eq!(String::from_utf8_lossy(&bench.received[&6]), answer, "HEAD is told what GET is");
    let publish = "POST /publish?channel=b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    bench.request(3, publish);
    bench.flush();
    assert!(bench.body(3).contains("\"code\":\"disconnected\""));
    granted_to(&mut bench, 4, "7");
    assert!(bench.body(4).is_empty(), "of others nothing is kept away");
    assert_eq!(bench.shard.counters.cells.streams_kept_away.get(), 2);
    assert_eq!(bench.shard.counters.cells.dismissals.get(), 1);
    tick(&mut bench, 10);
    assert_eq!(bench.shard.counters.cells.dismissals.get(), 0);
    bench.stream(5, "channel=b");
    assert_eq!(bench.asked("b").1, bench.shard.key(Slot(5)));
}

#[test]
fn a_user_is_kept_away_and_a_later_order_counts_for_more() {
    let mut bench = bench();
    order(&mut bench, user("7"), 1_010);
    granted_to(&mut bench, 0, "7");
    bench.flush();
    assert!(String::from_utf8_lossy(&bench.received[&0]).starts_with("HTTP/1.1 204 "));
    order(&mut bench, user("7"), 1_020);
    tick(&mut bench, 15);
    granted_to(&mut bench, 1, "7");
    bench.flush();
    assert!(String::from_utf8_lossy(&bench.received[&1]).starts_with("HTTP/1.1 204 "));
    order(&mut bench, user("7"), 1_000);
    granted_to(&mut bench, 2, "7");
    bench.flush();
    assert!(!String::from_utf8_lossy(bench.received.entry(2).or_default()).starts_with("HTTP/1.1 204 "));
    assert_eq!(bench.shard.next_deadline().is_some(), bench.shard.joining() > 0, "nothing is left to end");
}

#[test]
fn of_too_many_those_who_may_come_back_soonest_are_let_in_again() {
    let mut bench = bench();
    for number in 0..=DISMISSALS {
        order(&mut bench, user(&number.to_string()), 2_000 + number as u64);
    }
    assert_eq!(bench.shard.counters.cells.dismissals.get(), DISMISSALS as u64);
    assert_eq!(bench.outputs, ["Notice(DismissalsFull)"]);
    granted_to(&mut bench, 0, "0");
    granted_to(&mut bench, 1, "1");
    bench.flush();
    assert!(!bench.received.contains_key(&0));
    assert!(String::from_utf8_lossy(&bench.received[&1]).starts_with("HTTP/1.1 204 "));
}
