//! Streams that are open: what they are sent, in which order, and when.

use super::*;

#[test]
fn a_stream_opens_when_its_channel_is_joined_and_then_gets_every_message() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=news");
    bench.flush();
    assert_eq!(bench.body(1), "", "nothing is known yet");
    let (news, _, since) = bench.asked("news");
    assert_eq!(since, Since::Now);
    bench.join_all(7);
    assert_eq!(bench.body(1), "retry: 2000\nid: a.7\n\n");
    bench.publish(&[(news, 8, "hello"), (news, 9, "world")]);
    bench.flush();
    assert_eq!(bench.body(1), "data: hello\nid: a.8\n\ndata: world\nid: a.9\n\n");
    assert_eq!(bench.shard.kept_bytes(), 0);
}

#[test]
fn the_second_stream_of_a_channel_needs_no_answer_from_the_reader() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=news");
    let (news, ..) = bench.asked("news");
    bench.join_all(7);
    bench.publish(&[(news, 8, "one")]);
    bench.stream(2, "channel=news");
    assert!(bench.controls.is_empty());
    bench.publish(&[(news, 9, "two")]);
    bench.flush();
    assert_eq!(bench.body(2), "retry: 2000\nid: a.8\n\ndata: two\nid: a.9\n\n");
}

#[test]
fn however_many_messages_come_a_connection_is_sent_to_once_a_turn() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a&channel=b");
    let (a, ..) = bench.asked("a");
    let (b, ..) = bench.asked("b");
    bench.join_all(0);
    bench.sends = 0;
    for position in 1..=100 {
        bench.publish(&[(if position % 3 == 0 { a } else { b }, position, "x")]);
    }
    bench.turn();
    assert_eq!(bench.sends, 1);
    let ids: Vec<u64> =
        bench.body(1).lines().filter_map(|line| line.strip_prefix("id: a.")?.parse().ok()).collect();
    assert_eq!(ids, (0..=100).collect::<Vec<_>>(), "several channels go out in rising position");
}

#[test]
fn a_half_sent_frame_is_finished_first_and_nothing_comes_in_between() {
    let whole = "data: one\nid: a.1\n\ndata: two\nid: a.2\n\n";
    for room in 0..whole.len() {
        for query in ["channel=a", "channel=a&channel=b"] {
            let mut bench = Bench::with(|options| options.heartbeat = Duration::from_millis(320));
            let socket = bench.stream(1, query);
            let (a, ..) = bench.asked("a");
            let b = if query.contains('b') { bench.asked("b").0 } else { a };
            bench.join_all(0);
            bench.body(1);
            bench.room.insert(1, room);
            bench.publish(&[(a, 1, "one"), (b, 2, "two")]);
            bench.flush();
            bench.publish(&[(b, 3, "three")]);
            bench.now = bench.now.after(Duration::from_secs(10));
            bench.input(Input::Tick);
            bench.flush();
            assert_eq!(bench.body(1), whole[..room], "nothing is sent to a socket that is full");
            bench.room.clear();
            bench.input(Input::Writable { socket });
            bench.flush();
            assert_eq!(
                bench.body(1),
                format!("{}data: three\nid: a.3\n\n", &whole[room..]),
                "{query} {room}"
            );
            assert_eq!(bench.shard.kept_bytes(), 0);
            assert_eq!(bench.shard.counters.cells.messages_delivered.get(), 3);
        }
    }
}

#[test]
fn a_reader_that_falls_out_of_the_log_is_disconnected_and_the_others_go_on() {
    let mut bench = Bench::with(|options| options.limits.lag_bytes = 1_000);
    bench.stream(1, "channel=a");
    let (a, ..) = bench.asked("a");
    bench.stream(2, "channel=a");
    bench.join_all(0);
    bench.room.insert(1, 5);
    for position in 1..=100 {
        bench.publish(&[(a, position, "some text of a few bytes")]);
        bench.flush();
    }
    assert_eq!(bench.disconnects(Disconnect::Lagged), 1);
    assert_eq!(bench.body(2).matches("data:").count(), 100);
    assert_eq!(bench.shard.kept_bytes(), 0);
}

#[test]
fn a_stream_that_falls_out_of_one_log_while_it_waits_for_another_channel_is_disconnected() {
    let mut bench = Bench::with(|options| options.limits.lag_bytes = 1_000);
    bench.stream(1, "channel=a&channel=b&last_event_id=a.0");
    let (a, socket, _) = bench.asked("a");
    let (b, ..) = bench.asked("b");
    bench.joined(socket, a, 1, Vec::new(), None);
    for position in 2..100 {
        bench.publish(&[(a, position, "some text of a few bytes")]);
        bench.flush();
    }
    assert_eq!(bench.disconnects(Disconnect::Lagged), 1);
    bench.joined(socket, b, 100, Vec::new(), None);
    bench.flush();
    assert_eq!(bench.shard.kept_bytes(), 0);
}

#[test]
fn a_stream_has_no_deadline_and_a_shard_at_rest_none_at_all() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a");
    bench.join_all(0);
    bench.now = bench.now.after(Duration::from_secs(60));
    bench.input(Input::Tick);
    assert_eq!(bench.shard.next_deadline(), None);
}

#[test]
fn a_quiet_stream_gets_a_heartbeat_within_the_interval_and_a_busy_one_none() {
    let mut bench = Bench::with(|options| options.heartbeat = Duration::from_secs(16));
    bench.stream(1, "channel=quiet");
    bench.stream(2, "channel=busy");
    let (busy, ..) = bench.asked("busy");
    bench.join_all(0);
    bench.body(1);
    bench.body(2);
    for position in 1..=33 {
        bench.now = bench.now.after(Duration::from_millis(500));
        bench.input(Input::Tick);
        bench.publish(&[(busy, position, "x")]);
        bench.flush();
    }
    assert_eq!(bench.body(1), ":\n\n");
    assert!(!bench.body(2).contains(":\n\n"));
}

#[test]
fn a_clock_that_jumps_forward_or_steps_back_disconnects_nobody() {
    let mut bench = Bench::with(|options| options.heartbeat = Duration::from_secs(16));
    let began = bench.now;
    bench.stream(1, "channel=a");
    let (channel, ..) = bench.asked("a");
    bench.join_all(0);
    bench.body(1);
    let month = Duration::from_secs(30 * 24 * 3_600);
    for (now, position, heartbeats) in
        [(began.after(month), 1, ":\n\n"), (began, 2, ""), (began.after(month * 2), 3, ":\n\n")]
    {
        bench.now = now;
        bench.input(Input::Tick);
        bench.flush();
        assert_eq!(bench.body(1), heartbeats, "one for all that time");
        bench.publish(&[(channel, position, "x")]);
        bench.flush();
        assert_eq!(bench.body(1), format!("data: x\nid: {EPOCH}.{position}\n\n"));
    }
    assert_eq!(bench.shard.connections(), 1);
    assert_eq!(bench.outputs, [""; 0]);
}

#[test]
fn tails_are_bounded_together() {
    let mut bench = Bench::with(|options| options.limits.tail_bytes = 1_000);
    for slot in 0..20 {
        bench.room.insert(slot, 10);
        bench.request(slot, "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n");
        bench.flush();
    }
    assert!(bench.shard.kept_bytes() <= 1_000);
    assert!(bench.disconnects(Disconnect::TailLimit) > 10);
}

#[test]
fn a_tail_that_is_ended_for_another_in_the_middle_of_a_volley_is_not_touched_again() {
    let mut bench = Bench::with(|options| options.limits.tail_bytes = 1_000);
    let first = bench.stream(1, "channel=a");
    let second = bench.stream(2, "channel=b");
    let (a, ..) = bench.asked("a");
    let (b, ..) = bench.asked("b");
    bench.join_all(0);
    bench.room.insert(1, 0);
    bench.room.insert(2, 10);
    bench.publish(&[(a, 1, &"x".repeat(600)), (b, 2, &"y".repeat(900))]);
    bench.flush();
    // Both come back short in one volley; what is left of the first makes the second, the longest, end.
    bench.room.insert(1, 5);
    bench.room.insert(2, 1);
    bench.input(Input::Writable { socket: first });
    bench.input(Input::Writable { socket: second });
    bench.flush();
    assert_eq!(bench.disconnects(Disconnect::TailLimit), 1);
    assert_eq!(bench.outputs.last(), Some(&format!("{:?}", Output::Shutdown { socket: second })));
    bench.room.clear();
    bench.input(Input::Writable { socket: first });
    bench.flush();
    assert!(bench.body(1).ends_with("x\nid: a.1\n\n"));
}
