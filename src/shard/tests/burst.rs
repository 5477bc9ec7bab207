//! What many connections at once leave behind.

use super::*;

const COUNT: u32 = 2_000;

/// `COUNT` streams of one channel, all live and sent everything.
fn storm(bench: &mut Bench) {
    for slot in 0..COUNT {
        bench.stream(slot, "channel=a");
    }
    bench.join_all(1);
}

fn gives_back(bench: &mut Bench) -> bool {
    let asked = format!("{:?}", Output::GiveBackMemory);
    std::mem::take(&mut bench.outputs).contains(&asked)
}

#[test]
fn a_second_after_a_burst_its_memory_is_given_back_and_nothing_is_waited_for() {
    let mut bench = Bench::new();
    storm(&mut bench);
    let due = bench.shard.next_deadline().unwrap();
    assert_eq!(due, bench.now.after(Duration::from_secs(1)), "before any head or join is overdue");
    assert!(!gives_back(&mut bench));
    bench.now = due;
    bench.input(Input::Tick);
    assert!(gives_back(&mut bench));
    assert_eq!(bench.shard.next_deadline(), None, "streams at rest wake nobody");
    assert_eq!(bench.shard.connections(), u64::from(COUNT));
    assert!(bench.shard.heads.is_empty() && bench.shard.waits.is_empty());
    assert!(bench.shard.ready.capacity() <= limits::FLUSH_CONNECTIONS);
}

#[test]
fn who_is_still_at_a_request_keeps_its_deadline_and_the_rest_goes_with_it() {
    let mut bench = Bench::new();
    let slow = bench.accept(COUNT);
    storm(&mut bench);
    bench.now = bench.now.after(Duration::from_secs(1));
    bench.input(Input::Tick);
    assert!(!gives_back(&mut bench));
    // Its head is overdue after ten seconds, with all the others' that are over.
    while bench.disconnects(Disconnect::HeadTimeout) == 0 {
        bench.now = bench.shard.next_deadline().unwrap();
        bench.input(Input::Tick);
    }
    assert!(bench.now >= Time::from_nanos(1).after(Duration::from_secs(10)));
    assert_eq!(bench.disconnects(Disconnect::HeadTimeout), 1);
    bench.input(Input::HungUp { socket: slow, cause: HangUp::Closed });
    while let Some(due) = bench.shard.next_deadline() {
        bench.now = due;
        bench.input(Input::Tick);
    }
    assert!(gives_back(&mut bench));
    assert_eq!(bench.shard.connections(), u64::from(COUNT));
}

#[test]
fn a_few_connections_leave_nothing_that_is_worth_a_wake_up() {
    let mut bench = Bench::new();
    for slot in 0..100 {
        bench.stream(slot, "channel=a");
    }
    bench.join_all(1);
    while let Some(due) = bench.shard.next_deadline() {
        bench.now = due;
        bench.input(Input::Tick);
    }
    assert!(!gives_back(&mut bench));
}

#[test]
fn the_table_of_connections_never_moves() {
    let mut bench = Bench::with(|options| options.limits.connections_per_shard = 4_096);
    let capacity = bench.shard.rows.capacity();
    assert!(capacity >= 4_096);
    bench.accept(4_095);
    assert_eq!(bench.shard.rows.capacity(), capacity);
}
