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
