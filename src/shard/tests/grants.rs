//! Streams that were let in for a while.

use super::*;
use crate::base::channel::{ChannelMode, ChannelName};
use crate::base::peer::Peer;
use crate::base::position::Start;
use crate::base::time::UnixTime;
use crate::protocol::site::Opening;

/// Opens a stream of the channel `a` that was let in until then.
fn granted_until(bench: &mut Bench, slot: u32, expires: UnixTime) -> SocketKey {
    granted(bench, slot, Grant { user: None, expires: Some(expires) })
}

/// Opens a stream of the channel `a` that was let in like this.
pub(super) fn granted(bench: &mut Bench, slot: u32, grant: Grant) -> SocketKey {
    let socket = bench.accept(slot);
    let opening = Opening {
        channels: vec![(ChannelName::parse(b"a").unwrap(), ChannelMode::default())],
        format: WireFormat::SseRaw,
        start: Start::Live,
        grant,
        client: Peer::Unknown,
        head: b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
        cors: Vec::new(),
        busy: None,
    };
    bench.shard.open_stream(Slot(slot), opening);
    bench.carry_out();
    socket
}

pub(super) fn tick(bench: &mut Bench, seconds: u64) {
    bench.now = bench.now.after(Duration::from_secs(seconds));
    if bench.shard.next_deadline().is_some_and(|deadline| deadline <= bench.now) {
        bench.input(Input::Tick);
    }
    bench.flush();
}

#[test]
fn a_stream_whose_grant_expires_gets_what_it_is_owed_and_is_told_so() {
    let mut bench = Bench::new();
    bench.input(Input::Calendar(UnixTime::from_secs(1_000)));
    granted_until(&mut bench, 0, UnixTime::from_secs(1_010));
    let channel = bench.asked("a").0;
    bench.join_all(1);
    tick(&mut bench, 9);
    assert_eq!(bench.disconnects(Disconnect::Expired), 0);
    bench.publish(&[(channel, 2, "last")]);
    tick(&mut bench, 1);
    let body = bench.body(0);
    let (before, after) =
        body.split_once("data: last\nid: a.2\n\nretry: ").expect("the last message, then the end");
    assert_eq!(before, "retry: 2000\nid: a.1\n\n");
    let (retry, event) = after.split_once('\n').unwrap();
    assert_eq!(event, format!("event: courier-expired\ndata: {{\"retry_ms\":{retry}}}\n\n"));
    assert_eq!(bench.disconnects(Disconnect::Expired), 1);
    assert_eq!(bench.shard.leftovers(), 0);
}

#[test]
fn a_stream_that_still_waits_to_open_expires_too() {
    let mut bench = Bench::new();
    bench.input(Input::Calendar(UnixTime::from_secs(1_000)));
    granted_until(&mut bench, 0, UnixTime::from_secs(1_001));
    tick(&mut bench, 1);
    assert!(bench.body(0).contains("event: courier-expired\n"));
    assert_eq!(bench.shard.leftovers(), 0);
}

#[test]
fn the_calendar_decides_when_a_grant_expires_also_after_it_was_set() {
    let mut bench = Bench::new();
    bench.input(Input::Calendar(UnixTime::from_secs(1_000)));
    granted_until(&mut bench, 0, UnixTime::from_secs(1_010));
    granted_until(&mut bench, 1, UnixTime::from_secs(5_000));
    bench.join_all(1);
    bench.input(Input::Calendar(UnixTime::from_secs(900)));
    tick(&mut bench, 20);
    assert_eq!(bench.disconnects(Disconnect::Expired), 0);
    bench.input(Input::Calendar(UnixTime::from_secs(4_999)));
    tick(&mut bench, 0);
    assert_eq!(bench.disconnects(Disconnect::Expired), 1);
    tick(&mut bench, 1);
    assert_eq!(bench.disconnects(Disconnect::Expired), 2);
}

#[test]
fn nothing_is_kept_of_a_grant_whose_stream_has_ended() {
    let mut bench = Bench::new();
    bench.input(Input::Calendar(UnixTime::from_secs(1_000)));
    let socket = granted_until(&mut bench, 0, UnixTime::from_secs(1_010));
    bench.join_all(1);
    bench.input(Input::HungUp { socket, cause: HangUp::Reset });
    assert_eq!(bench.shard.leftovers(), 0);
    assert_eq!(bench.shard.next_deadline(), None);
    tick(&mut bench, 20);
    assert_eq!(bench.disconnects(Disconnect::Expired), 0);
}
