//! Streams that were let in for a while.

use super::*;
use crate::base::channel::{ChannelMode, ChannelName};
use crate::base::dismissal::{Dismissal, Whom};
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

/// A stream whose client takes no more than ten bytes of a message, and what it has got so far.
fn blocked(bench: &mut Bench) -> (SocketKey, ChannelKey) {
    bench.input(Input::Calendar(UnixTime::from_secs(1_000)));
    let grant = Grant { user: Some("7".into()), expires: Some(UnixTime::from_secs(1_010)) };
    let socket = granted(bench, 0, grant);
    let channel = bench.asked("a").0;
    bench.join_all(1);
    bench.room.insert(0, 10);
    bench.publish(&[(channel, 2, "owed")]);
    bench.flush();
    (socket, channel)
}

fn unblock(bench: &mut Bench, socket: SocketKey) -> String {
    bench.room.clear();
    bench.input(Input::Writable { socket });
    bench.flush();
    bench.body(0)
}

#[test]
fn what_is_published_after_the_expiry_does_not_reach_who_reads_slowly() {
    let mut bench = Bench::new();
    let (socket, channel) = blocked(&mut bench);
    bench.publish(&[(channel, 3, "owed too")]);
    tick(&mut bench, 10);
    bench.publish(&[(channel, 4, "late")]);
    bench.flush();
    let body = unblock(&mut bench, socket);
    assert!(body.contains("data: owed\n") && body.contains("data: owed too\n"), "{body}");
    assert!(!body.contains("late") && body.contains("event: courier-expired\n"), "{body}");
    assert_eq!(bench.disconnects(Disconnect::Expired), 1);
    assert_eq!(bench.shard.leftovers(), 0);
}

#[test]
fn what_is_published_after_a_ban_does_not_come_out_whether_the_client_reads_slowly_or_not() {
    for is_slow in [true, false] {
        let mut bench = Bench::new();
        let (socket, channel) = blocked(&mut bench);
        if !is_slow {
            assert!(unblock(&mut bench, socket).contains("data: owed\n"));
        }
        let whom = Whom::User("7".into());
        let dismissal = Dismissal { whom, until: UnixTime::from_secs(1_100) };
        bench.input(Input::Delivery(Delivery::Dismiss(dismissal)));
        bench.publish(&[(channel, 3, "late")]);
        bench.flush();
        let body = if is_slow { unblock(&mut bench, socket) } else { bench.body(0) };
        assert!(!body.contains("late") && body.contains("user-disconnected"), "{body}");
        assert_eq!(bench.disconnects(Disconnect::UserDismissed), 1);
        assert_eq!(bench.shard.leftovers(), 0);
    }
}

#[test]
fn a_stream_that_has_expired_and_takes_nothing_is_shut_down_in_time_and_counted_once() {
    let mut bench = Bench::new();
    let (socket, _) = blocked(&mut bench);
    tick(&mut bench, 10);
    assert_eq!((bench.disconnects(Disconnect::Expired), bench.shard.leftovers() > 0), (0, true));
    tick(&mut bench, limits::USER_TIMEOUT.as_secs() + 2);
    assert!(bench.outputs.iter().any(|output| output.starts_with("Shutdown ")), "{:?}", bench.outputs);
    assert_eq!((bench.disconnects(Disconnect::Expired), bench.shard.leftovers()), (1, 0));
    bench.input(Input::HungUp { socket, cause: HangUp::Closed });
    tick(&mut bench, limits::USER_TIMEOUT.as_secs() + 2);
    assert_eq!((bench.disconnects(Disconnect::Expired), bench.shard.connections()), (1, 0));
}

/// A stream that got part of an early head, and expired while the reader had not answered for its channel.
fn expired_while_joining(bench: &mut Bench) -> (SocketKey, ChannelKey) {
    bench.input(Input::Calendar(UnixTime::from_secs(1_000)));
    let expires = UnixTime::from_secs(1_000 + limits::JOIN_TIMEOUT.as_secs() + 5);
    let socket = granted_until(bench, 0, expires);
    bench.room.insert(0, 10);
    let channel = bench.asked("a").0;
    tick(bench, limits::JOIN_TIMEOUT.as_secs() + 1);
    tick(bench, 4);
    (socket, channel)
}

#[test]
fn an_answer_that_comes_after_the_expiry_replays_nothing_behind_an_early_head() {
    let mut bench = Bench::new();
    let (socket, channel) = expired_while_joining(&mut bench);
    bench.joined(socket, channel, 3, vec![replayed(3, "late")], None);
    let received = unblock(&mut bench, socket);
    assert!(!received.contains("late") && received.contains("event: courier-expired\n"), "{received}");
    assert_eq!((bench.disconnects(Disconnect::Expired), bench.shard.leftovers()), (1, 0));
}

#[test]
fn a_stream_that_ends_leaves_a_channel_for_which_the_reader_has_no_room_at_once() {
    let mut bench = Bench::new();
    let (socket, channel) = expired_while_joining(&mut bench);
    let full = Joined { connection: socket, channel, position: Position(0), outcome: JoinOutcome::Full };
    bench.input(Input::Delivery(Delivery::Joined(full)));
    assert_eq!(bench.shard.channel_names().count(), 0);
    assert_eq!((bench.disconnects(Disconnect::ChannelLimit), bench.disconnects(Disconnect::Expired)), (1, 0));
    unblock(&mut bench, socket);
    assert_eq!(bench.shard.leftovers(), 0);
}
