//! What a shard does beside the kernel: messages out of the queue, volleys planned and settled, streams that open and
//! close, heartbeats. `benches/volley.rs` has the kernel's side.

use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

mod support;

use support::{Machines, PAYLOAD_BYTES, Source, message, request};

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

/// One shard whose channel `news` has so many subscribers.
fn machines(subscribers: usize) -> Machines {
    let mut machines = Machines::new(Source::Redis, 1);
    machines.connect_all(0, (0..subscribers).map(|_| "channel=news".to_owned()));
    machines
}

/// So many messages of one read to all subscribers of a channel: taken from the queue, planned, settled.
fn messages_to(bencher: Bencher<'_, '_>, subscribers: usize, messages: usize) {
    let mut machines = machines(subscribers);
    let read = message(Source::Redis, "news", PAYLOAD_BYTES).repeat(messages);
    // Divan's threads have nothing to do with it: the reader's part is done before the clock starts.
    bencher.counter(ItemsCount::new(subscribers * messages)).bench_local(|| {
        machines.receive(&read);
        black_box(machines.run())
    });
}

/// One message at a time.
#[divan::bench(args = [1, 200, 18_000])]
fn fan_out(bencher: Bencher<'_, '_>, subscribers: usize) {
    messages_to(bencher, subscribers, 1);
}

/// 64 messages in one read: each subscriber gets them in one send.
#[divan::bench(args = [1, 200])]
fn firehose(bencher: Bencher<'_, '_>, subscribers: usize) {
    messages_to(bencher, subscribers, 64);
}

/// One message to each of so many among 5,000 channels with one subscriber each.
#[divan::bench(args = [1, 64, 512])]
fn spread(bencher: Bencher<'_, '_>, messages: usize) {
    const CHANNELS: usize = 5_000;
    let mut machines = Machines::new(Source::Redis, 1);
    machines.connect_all(0, (0..CHANNELS).map(|number| format!("channel=user.{number}")));
    // A stride that visits them in no order the caches could learn.
    let reads: Vec<Vec<u8>> = (0..CHANNELS / messages)
        .map(|read| {
            (read * messages..(read + 1) * messages)
                .flat_map(|at| {
                    message(Source::Redis, &format!("user.{}", at * 7_919 % CHANNELS), PAYLOAD_BYTES)
                })
                .collect()
        })
        .collect();
    // Each channel's history is at its bound, and its buffer has grown as far as it will.
    for read in (0..300).flat_map(|_| &reads) {
        machines.receive(read);
        machines.run();
    }
    let mut reads = reads.iter().cycle();
    bencher.counter(ItemsCount::new(messages)).bench_local(|| {
        machines.receive(reads.next().expect("a cycle does not end"));
        black_box(machines.run())
    });
}

/// Accepted, asked, live, told so, hung up, closed: on a channel that others listen to.
#[divan::bench]
fn connect_and_leave(bencher: Bencher<'_, '_>) {
    let mut machines = machines(100);
    let request = request("channel=news");
    bencher.bench_local(|| {
        let socket = machines.connect_with(0, request.as_bytes());
        black_box(machines.run());
        machines.hang_up(0, socket);
    });
}

/// The look at so many idle streams that each tick of the heartbeat costs, and those that are due.
#[divan::bench(args = [1_000, 18_000])]
fn heartbeat_tick(bencher: Bencher<'_, '_>, streams: usize) {
    const INTERVAL: Duration = Duration::from_secs(16);
    let mut machines = Machines::with_heartbeat(Source::Redis, 1, INTERVAL);
    machines.connect_all(0, (0..streams).map(|_| "channel=news".to_owned()));
    bencher.counter(ItemsCount::new(streams)).bench_local(|| {
        machines.pass(INTERVAL / 32);
        machines.tick(0);
        black_box(machines.flush(0))
    });
}
