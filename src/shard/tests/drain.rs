//! A shard that is told to end its streams.

use super::*;

#[test]
fn draining_gives_every_stream_what_it_is_owed_and_a_time_to_come_back() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a");
    let (a, ..) = bench.asked("a");
    let waiting = bench.stream(2, "channel=b");
    let idle = bench.request(3, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    bench.flush();
    let controls = std::mem::take(&mut bench.controls);
    bench.controls = controls.into_iter().take(1).collect();
    bench.join_all(0);
    bench.body(1);
    bench.publish(&[(a, 1, "last")]);
    bench.input(Input::Drain);
    bench.flush();
    let body = bench.body(1);
    let retry: u64 = body.strip_prefix("data: last\nid: a.1\n\nretry: ").unwrap().trim().parse().unwrap();
    assert!((1_000..2_000).contains(&retry), "{retry}");
    assert!(
        bench.body(2).starts_with("retry: "),
        "a stream that had not opened gets its head and the same words"
    );
    assert_eq!(bench.disconnects(Disconnect::Drain), 3);
    for socket in [bench.shard.key(Slot(1)), waiting, idle] {
        bench.input(Input::HungUp { socket, cause: HangUp::Closed });
    }
    assert_eq!(bench.outputs.last(), Some(&format!("{:?}", Output::Drained)));
}

#[test]
fn draining_ends_streams_that_still_wait_for_the_reader() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a");
    bench.now = bench.shard.waits.next().unwrap();
    bench.input(Input::Tick);
    // The early head is on its way when the order comes.
    bench.input(Input::Drain);
    bench.flush();
    assert!(bench.body(1).contains("retry: "));
    let slow = bench.stream(2, "channel=b");
    bench.flush();
    assert!(bench.body(2).starts_with("retry: "));
    assert_eq!(bench.disconnects(Disconnect::Drain), 2);
    for socket in [bench.shard.key(Slot(1)), slow] {
        bench.input(Input::HungUp { socket, cause: HangUp::Closed });
    }
    assert_eq!(bench.outputs.last(), Some(&format!("{:?}", Output::Drained)));
}

#[test]
fn a_browsers_spare_connection_does_not_hold_up_the_drain() {
    let mut bench = Bench::new();
    let spare = bench.accept(1);
    bench.input(Input::Drain);
    bench.input(Input::HungUp { socket: spare, cause: HangUp::Closed });
    assert_eq!(bench.outputs.last(), Some(&format!("{:?}", Output::Drained)));
}

#[test]
fn who_does_not_take_the_last_words_is_closed_all_the_same() {
    let mut bench = Bench::new();
    bench.room.insert(1, 10);
    let socket = bench.request(1, "GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    bench.flush();
    assert!(bench.outputs.iter().any(|output| output.starts_with("AwaitWritable")));
    while bench.outputs.last() != Some(&format!("{:?}", Output::Shutdown { socket })) {
        bench.now = bench.shard.next_deadline().expect("it is watched");
        bench.input(Input::Tick);
    }
    assert!(bench.now.since(Time::ZERO) < limits::USER_TIMEOUT + Duration::from_secs(2));
}

/// A shard with so many streams of the channel `a`, in slots from 0; the channel's key.
fn with_streams(count: u32, change: impl FnOnce(&mut ShardOptions)) -> (Bench, ChannelKey) {
    let mut bench = Bench::with(change);
    bench.stream(0, "channel=a");
    let (channel, ..) = bench.asked("a");
    bench.join_all(0);
    (1..count).for_each(|slot| {
        bench.stream(slot, "channel=a");
    });
    bench.flush();
    (0..count).for_each(|slot| {
        bench.body(slot);
    });
    (bench, channel)
}

/// Lets time go by until the machine wants nothing any more, or until `end`; what became of it when.
fn watch(bench: &mut Bench, end: Time, mut look: impl FnMut(&mut Bench)) {
    while let Some(deadline) = bench.shard.next_deadline()
        && deadline <= end
    {
        bench.now = bench.now.max(deadline);
        bench.input(Input::Tick);
        bench.flush();
        look(bench);
    }
}

#[test]
fn a_drain_ends_streams_one_by_one_over_its_window_and_serves_the_others_meanwhile() {
    let window = Duration::from_secs(2);
    let (mut bench, a) = with_streams(3_000, |options| options.drain_window = window);
    let began = bench.now;
    bench.input(Input::Drain);
    let (mut ended, mut position) = (vec![0], 0);
    watch(&mut bench, began.after(window), |bench| {
        position += 1;
        bench.publish(&[(a, position, "on")]);
        bench.flush();
        ended.push(bench.disconnects(Disconnect::Drain));
    });
    let most = ended.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(most <= 10, "{most} at once");
    assert_eq!(ended.last(), Some(&3_000));
    assert!(bench.outputs.contains(&format!("{:?}", Output::StopListening)));
    // The one whose turn came last has had every message up to its end.
    let last = bench.body(2_999);
    assert!(last.matches("data: on").count() as u64 >= position - 2, "{}", last.len());
    assert!(last.contains("retry: "));
}

#[test]
fn a_small_shard_drains_soon_whatever_its_window() {
    let (mut bench, _) = with_streams(30, |options| options.drain_window = Duration::from_secs(600));
    let began = bench.now;
    bench.input(Input::Drain);
    watch(&mut bench, began.after(Duration::from_millis(50)), |_| {});
    assert_eq!(bench.disconnects(Disconnect::Drain), 30);
}

#[test]
fn who_comes_during_a_drain_is_told_when_to_come_back_and_nothing_is_subscribed_for_it() {
    let (mut bench, _) = with_streams(1_000, |options| options.drain_window = Duration::from_secs(5));
    bench.input(Input::Drain);
    bench.controls.clear();
    let late = bench.stream(2_000, "channel=b");
    bench.flush();
    let body = bench.body(2_000);
    assert!(body.starts_with("retry: "), "{body}");
    assert!(bench.controls.is_empty());
    assert_eq!(bench.outputs.last(), Some(&format!("{:?}", Output::ShutdownWrite { socket: late })));
}

#[test]
fn a_stream_lasts_for_half_of_its_lifetime_at_least_and_no_longer_than_the_whole() {
    let lifetime = Duration::from_secs(100);
    let (mut bench, _) = with_streams(1_000, |options| options.lifetime = lifetime);
    let began = bench.now;
    let mut ended = Vec::new();
    watch(&mut bench, began.after(lifetime), |bench| {
        ended.push((bench.now.since(began), bench.disconnects(Disconnect::Lifetime)));
    });
    let (first, _) = ended.iter().find(|(_, count)| *count > 0).unwrap();
    assert!(*first >= lifetime / 2, "{first:?}");
    assert_eq!(bench.disconnects(Disconnect::Lifetime), 1_000);
    let most = ended.windows(2).map(|pair| pair[1].1 - pair[0].1).max().unwrap();
    assert!(most <= 4, "{most} at once");
    assert!(bench.body(7).starts_with("retry: "));
    assert_eq!(bench.shard.lifetimes.as_ref().map(|_| bench.shard.opened), Some(0));
}

#[test]
fn the_first_stream_after_a_quiet_time_is_not_taken_for_an_old_one() {
    let lifetime = Duration::from_secs(100);
    let mut bench = Bench::with(|options| options.lifetime = lifetime);
    bench.now = bench.now.after(Duration::from_secs(1_000));
    bench.stream(0, "channel=a");
    bench.join_all(0);
    bench.flush();
    let began = bench.now;
    watch(&mut bench, began.after(lifetime / 2 - Duration::from_secs(1)), |_| {});
    assert_eq!(bench.disconnects(Disconnect::Lifetime), 0);
    watch(&mut bench, began.after(lifetime), |_| {});
    assert_eq!(bench.disconnects(Disconnect::Lifetime), 1);
}

#[test]
fn where_it_is_asked_for_what_cannot_be_served_now_is_refused_with_503() {
    let busy = |bench: &mut Bench, slot: u32| {
        bench.flush();
        let text = String::from_utf8(bench.received.remove(&slot).unwrap()).unwrap();
        assert!(text.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{text}");
        assert!(text.contains("Retry-After: 2\r\n") && text.contains("\"code\":\"busy\""), "{text}");
        assert!(text.contains("Connection: close\r\n") && !text.contains("retry:"), "{text}");
    };
    let refusing = |options: &mut ShardOptions| {
        options.site = Arc::new(Site { shedding: Shedding::Unavailable, ..Site::clone(&options.site) });
        options.drain_window = Duration::from_secs(1);
    };
    let (mut bench, _) = with_streams(100, refusing);
    bench.stream(200, "channel=full");
    let (full, socket, _) = bench.asked("full");
    let joined =
        Joined { connection: socket, channel: full, position: Position(0), outcome: JoinOutcome::Full };
    bench.input(Input::Delivery(Delivery::Joined(joined)));
    busy(&mut bench, 200);
    bench.input(Input::Drain);
    bench.stream(201, "channel=a");
    busy(&mut bench, 201);
    assert_eq!(bench.disconnects(Disconnect::ChannelLimit) + bench.disconnects(Disconnect::Drain), 2);
}

#[test]
fn streams_that_are_far_behind_when_they_end_get_everything_and_do_not_fill_the_tails() {
    let (mut bench, a) = with_streams(5, |options| options.limits.tail_bytes = 512 * limits::KIB);
    (0..5).for_each(|slot| {
        bench.room.insert(slot, 10);
    });
    let text = "x".repeat(1_000);
    let messages: Vec<_> = (1..=200).map(|position| (a, position, text.as_str())).collect();
    bench.publish(&messages);
    bench.input(Input::Drain);
    bench.flush();
    assert!(bench.shard.tails.bytes() <= 5 * (limits::GATHER_BYTES + 2_000), "{}", bench.shard.tails.bytes());
    bench.room.clear();
    for slot in 0..5 {
        let socket = bench.shard.key(Slot(slot));
        bench.input(Input::Writable { socket });
    }
    while bench.shard.has_work() {
        bench.flush();
    }
    for slot in 0..5 {
        let body = bench.body(slot);
        assert_eq!(body.matches(text.as_str()).count(), 200);
        assert!(body.rsplit("\n\n").nth(1).unwrap().starts_with("retry: "));
    }
    assert_eq!((bench.disconnects(Disconnect::Drain), bench.disconnects(Disconnect::TailLimit)), (5, 0));
}

#[test]
fn a_stream_that_ends_under_a_broadcast_faster_than_it_gets_what_it_was_owed_and_then_its_last_words() {
    let (mut bench, a) = with_streams(1, |options| options.limits.lag_bytes = 64 * limits::MIB);
    let (text, mut position) = ("x".repeat(1_000), 0);
    let publish = |bench: &mut Bench, position: &mut u64| {
        let messages: Vec<_> = (*position + 1..=*position + 200).map(|at| (a, at, text.as_str())).collect();
        *position += 200;
        bench.publish(&messages);
    };
    publish(&mut bench, &mut position);
    bench.input(Input::Drain);
    for _ in 0..10 {
        bench.turn();
        publish(&mut bench, &mut position);
    }
    let body = bench.body(0);
    assert_eq!(body.matches(text.as_str()).count(), 200, "what was there when it began to end");
    assert!(body.rsplit("\n\n").nth(1).unwrap().starts_with("retry: "));
    assert_eq!(bench.disconnects(Disconnect::Drain), 1);
    assert!(bench.shard.last_owed.is_empty());
}

#[test]
fn a_stream_that_still_waits_for_a_channel_ends_with_its_head_first_and_skips_no_replay() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a&channel=b&last_event_id=a.10");
    let (a, socket, _) = bench.asked("a");
    bench.joined(socket, a, 20, Vec::new(), None);
    bench.publish(&[(a, 21, "live")]);
    bench.input(Input::Drain);
    bench.flush();
    let text = String::from_utf8(bench.received.remove(&1).unwrap()).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.split_once("\r\n\r\n").unwrap().1.starts_with("retry: "), "{text}");
    assert!(!text.contains("live"), "its id would pass over what b is to replay: {text}");
    assert_eq!(bench.shard.kept_bytes(), 0);
}
