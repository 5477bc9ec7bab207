//! What one message costs the reader: RESP in, batches for two shards out, history kept.

use std::sync::Arc;
use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

use courier::access::Rules;
use courier::base::channel::ChannelName;
use courier::base::counters::ReaderCounters;
use courier::base::limits::Limits;
use courier::base::position::Epoch;
use courier::base::queue::{Control, ShardIndex, Since};
use courier::base::slab::Key;
use courier::base::socket::{Slot, SocketKey};
use courier::base::time::Time;
use courier::reader::input::{Input, Link};
use courier::reader::{Reader, ReaderOptions, RedisAddress, RedisOptions, Upstream};

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

const SHARDS: u16 = 2;
const PUSH: SocketKey = SocketKey { slot: Slot(0), generation: 0 };
const READ_BYTES: usize = 64 * 1_024;
const MESSAGES: u32 = 20_000;

fn main() {
    divan::main();
}

/// A reader whose shards have joined all of the channels.
fn reader(channels: u32) -> Reader {
    let redis = RedisOptions {
        address: RedisAddress::Tcp { host: "127.0.0.1".to_owned(), port: 6379 },
        username: None,
        password: None,
        database: 0,
        client_name: "courier-bench".to_owned(),
        dial_timeout: Duration::from_secs(5),
        ping_interval: Duration::from_secs(10),
        ping_timeout: Duration::from_secs(5),
    };
    let mut reader = Reader::new(ReaderOptions {
        upstream: Upstream::Redis(redis),
        epoch: Epoch(1),
        rules: Rules::default(),
        limits: Limits::default(),
        counters: Arc::new(ReaderCounters::default()),
        shards: SHARDS,
        seed: 1,
        start: Time::ZERO,
    });
    let now = Time::ZERO;
    reader.handle(now, Input::Connected { link: Link::Push, slot: PUSH.slot });
    receive(&mut reader, now, b"%1\r\n+proto\r\n:3\r\n+OK\r\n");
    for number in 0..channels {
        for shard in 0..SHARDS {
            reader.handle(
                now,
                Input::Control(Control::Join {
                    shard: ShardIndex(shard),
                    channel: Key { index: number, generation: 0 },
                    name: ChannelName::parse(name(number).as_bytes()).expect("a name"),
                    connection: PUSH,
                    since: Since::Now,
                }),
            );
        }
    }
    let mut acknowledged = 0;
    while acknowledged < channels {
        while let Some(socket) = reader.next_to_send() {
            let bytes = reader.outgoing(socket).len();
            reader.sent(now, socket, bytes);
        }
        let last = channels.min(acknowledged + 512);
        for number in acknowledged..last {
            let name = name(number);
            let push = format!(">3\r\n$9\r\nsubscribe\r\n${}\r\n{name}\r\n:1\r\n", name.len());
            receive(&mut reader, now, push.as_bytes());
        }
        acknowledged = last;
    }
    drain(&mut reader);
    reader
}

fn name(number: u32) -> String {
    format!("channel.{number:06}")
}

fn receive(reader: &mut Reader, now: Time, bytes: &[u8]) {
    reader.handle(now, Input::Received { socket: PUSH, bytes });
}

fn drain(reader: &mut Reader) {
    for shard in 0..SHARDS {
        while let Some(delivery) = reader.next_delivery(ShardIndex(shard)) {
            black_box(delivery);
        }
    }
}

/// Messages of 100 bytes, in reads of 64 KiB. With one channel its history is at its bound all the time; with many,
/// each message touches memory that is cold.
#[divan::bench(args = [1, 1_000, 20_000])]
fn messages_to_two_shards(bencher: Bencher<'_, '_>, channels: u32) {
    let payload = "x".repeat(100);
    let bytes: Vec<u8> = (0..MESSAGES)
        .flat_map(|number| {
            // A stride that visits the channels in no order that a cache could guess.
            let number = number.wrapping_mul(7_919) % channels;
            format!(">3\r\n$7\r\nmessage\r\n$14\r\n{}\r\n$100\r\n{payload}\r\n", name(number)).into_bytes()
        })
        .collect();
    let mut reader = reader(channels);
    let mut now = Time::ZERO;
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        for read in bytes.chunks(READ_BYTES) {
            now = now.after(Duration::from_micros(200));
            receive(&mut reader, now, read);
            drain(&mut reader);
        }
    });
}
