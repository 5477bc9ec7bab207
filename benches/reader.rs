//! What one message costs the reader: bytes in, batches in the queues of two shards, history kept.

use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;

mod support;

use support::{Machines, PAYLOAD_BYTES, Source, message};

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

const READ_BYTES: usize = 64 * 1_024;
const MESSAGES: usize = 20_000;

fn main() {
    divan::main();
}

/// Messages of 100 bytes, in reads of 64 KiB. With one channel its history is at its bound all the time; with many,
/// each message touches memory that is cold.
fn messages_to_two_shards(bencher: Bencher<'_, '_>, source: Source, channels: usize) {
    let bytes: Vec<u8> = (0..MESSAGES)
        // A stride that visits the channels in no order that a cache could guess.
        .flat_map(|number| {
            message(source, &format!("channel.{:06}", number * 7_919 % channels), PAYLOAD_BYTES)
        })
        .collect();
    let mut machines = Machines::new(source, 2);
    for shard in 0..2 {
        machines.connect_all(shard, (0..channels).map(|number| format!("channel=channel.{number:06}")));
    }
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        for read in bytes.chunks(READ_BYTES) {
            machines.pass(Duration::from_micros(200));
            machines.receive(read);
            machines.deliver();
            machines.discard();
        }
    });
}

#[divan::bench(args = [1, 1_000, 20_000])]
fn from_redis(bencher: Bencher<'_, '_>, channels: usize) {
    messages_to_two_shards(bencher, Source::Redis, channels);
}

/// The clients' answers are written as well.
#[divan::bench(args = [1, 1_000])]
fn published_to_the_embedded_broker(bencher: Bencher<'_, '_>, channels: usize) {
    messages_to_two_shards(bencher, Source::Embedded, channels);
}
