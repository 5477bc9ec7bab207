//! Fixed loops for an instruction counter: both machines in user space, everything warm, then so many units of work
//! inside [`measured`], which is the one function that the counter collects. `scripts/instructions` runs it.
//!
//! `instructions SCENARIO` prints the unit and how many of it were done.

#[path = "support/mod.rs"]
mod support;

use std::hint::black_box;
use std::time::Duration;

use support::{Machines, PAYLOAD_BYTES, Sent, Source, message, request};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let scenario = std::env::args().nth(1).unwrap_or_default();
    let (units, unit) = match &*scenario {
        "fanout" => (fan_out(18_000, 1, 3), "delivery"),
        "firehose" => (fan_out(200, 64, 100), "delivery"),
        "spread" => (spread(1), "delivery"),
        "spread-batch" => (spread(64), "delivery"),
        "reader" => (reader(Source::Redis), "message"),
        "broker" => (reader(Source::Embedded), "message"),
        "connect" => (connect(), "connection"),
        "heartbeat" => (heartbeat(), "heartbeat"),
        // As every bench, it may be called by `cargo bench` and `cargo test` with flags of their own.
        _ => return eprintln!("one of: fanout firehose spread spread-batch reader broker connect heartbeat"),
    };
    println!("{units} {unit}");
}

/// After so many messages a channel's history is at its bound and its buffer has grown as far as it will.
const HISTORY_WARM: usize = 300;
/// After so many more it has moved what it keeps to the front of its buffer once: the least that is worth a mean.
const HISTORY_PERIOD: usize = 100;

/// What is counted. Not inlined: it is found by its name.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
    // Something behind the call, so that it is no tail call.
    black_box(());
}

/// So many messages of one read to all subscribers of one channel.
fn fan_out(subscribers: usize, messages: usize, rounds: usize) -> usize {
    let mut machines = Machines::new(Source::Redis, 1);
    machines.connect_all(0, (0..subscribers).map(|_| "channel=news".to_owned()));
    let read = message(Source::Redis, "news", PAYLOAD_BYTES).repeat(messages);
    let mut turn = || {
        machines.receive(&read);
        assert_eq!(machines.run().sends, subscribers);
    };
    (0..3).for_each(|_| turn());
    measured(&mut || (0..rounds).for_each(|_| turn()));
    subscribers * messages * rounds
}

/// So many messages of one read, each to a channel of its own with one subscriber.
fn spread(messages: usize) -> usize {
    const CHANNELS: usize = 256;
    let mut machines = Machines::new(Source::Redis, 1);
    machines.connect_all(0, (0..CHANNELS).map(|number| format!("channel=user.{number}")));
    let reads: Vec<Vec<u8>> = (0..CHANNELS / messages)
        .map(|read| {
            (read * messages..(read + 1) * messages)
                .flat_map(|at| {
                    message(Source::Redis, &format!("user.{}", at * 7_919 % CHANNELS), PAYLOAD_BYTES)
                })
                .collect()
        })
        .collect();
    let mut round = || {
        for read in &reads {
            machines.receive(read);
            assert_eq!(machines.run().sends, messages);
        }
    };
    (0..HISTORY_WARM).for_each(|_| round());
    measured(&mut || (0..HISTORY_PERIOD).for_each(|_| round()));
    CHANNELS * HISTORY_PERIOD
}

/// Messages of 1,000 channels in reads of 64 KiB, into the queues of two shards.
fn reader(source: Source) -> usize {
    const MESSAGES: usize = 10_000;
    let mut machines = Machines::new(source, 2);
    for shard in 0..2 {
        machines.connect_all(shard, (0..1_000).map(|number| format!("channel=channel.{number:06}")));
    }
    let bytes: Vec<u8> = (0..MESSAGES)
        .flat_map(|number| message(source, &format!("channel.{:06}", number * 7_919 % 1_000), PAYLOAD_BYTES))
        .collect();
    let mut round = || {
        for read in bytes.chunks(64 * 1_024) {
            machines.receive(read);
            machines.deliver();
            machines.discard();
        }
    };
    (0..HISTORY_WARM / 10).for_each(|_| round());
    measured(&mut || (0..HISTORY_PERIOD / 10).for_each(|_| round()));
    MESSAGES * HISTORY_PERIOD / 10
}

/// Accepted, asked, live and told so, on a channel that others listen to.
fn connect() -> usize {
    const CONNECTIONS: usize = 1_000;
    let mut machines = Machines::new(Source::Redis, 1);
    let request = request("channel=news");
    let mut connect = |count: usize| {
        for _ in 0..count {
            machines.connect_with(0, request.as_bytes());
            assert_eq!(machines.run().sends, 1);
        }
    };
    connect(CONNECTIONS);
    measured(&mut || connect(CONNECTIONS));
    CONNECTIONS
}

/// One interval of 10,000 idle streams: 32 looks at each of them, and one heartbeat for each.
fn heartbeat() -> usize {
    const INTERVAL: Duration = Duration::from_secs(16);
    let mut machines = Machines::with_heartbeat(Source::Redis, 1, INTERVAL);
    machines.connect_all(0, (0..10_000).map(|_| "channel=news".to_owned()));
    let mut interval = || {
        let mut sent = Sent::default();
        for _ in 0..32 {
            machines.pass(INTERVAL / 32);
            machines.tick(0);
            sent = sent + machines.flush(0);
        }
        sent.sends
    };
    (0..2).for_each(|_| assert!(interval() > 0));
    let mut heartbeats = 0;
    measured(&mut || heartbeats = interval());
    heartbeats
}
