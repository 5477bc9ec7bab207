//! What one message costs to encode, once for each wire format and shard, whatever the number of its subscribers.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};

use courier::base::channel::{ChannelName, PayloadMode};
use courier::base::position::{Epoch, Position};
use courier::protocol::{Event, WireFormat};

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

fn bench(bencher: Bencher<'_, '_>, format: WireFormat, mode: PayloadMode, payload: &[u8]) {
    let channel = ChannelName::parse(b"news.sport").expect("the name is well-formed");
    let mut out = Vec::with_capacity(8 * payload.len() + 1_024);
    bencher.counter(BytesCount::new(payload.len())).bench_local(|| {
        out.clear();
        let (epoch, position) = (Epoch(0x1234_5678_9abc_def0), Position(123_456_789));
        let event = Event { epoch, position, channel: &channel, payload: black_box(payload), mode };
        black_box(format.encode(&event, &mut out))
    });
}

/// JSON as applications publish it.
fn json(length: usize) -> Vec<u8> {
    let item = br#"{"match":"one","minute":17,"text":"a goal"},"#;
    item.iter().copied().cycle().take(length).collect()
}

#[divan::bench(args = [100, 1_000, 65_536])]
fn raw(bencher: Bencher<'_, '_>, length: usize) {
    bench(bencher, WireFormat::SseRaw, PayloadMode::Raw, &json(length));
}

#[divan::bench(args = [100, 1_000, 65_536])]
fn as_json(bencher: Bencher<'_, '_>, length: usize) {
    bench(bencher, WireFormat::SseJson, PayloadMode::Raw, &json(length));
}

#[divan::bench(args = [100, 1_000])]
fn raw_with_text_in_other_scripts(bencher: Bencher<'_, '_>, length: usize) {
    bench(bencher, WireFormat::SseRaw, PayloadMode::Raw, "ü→".repeat(length / 5).as_bytes());
}

#[divan::bench]
fn raw_with_invalid_utf_8(bencher: Bencher<'_, '_>) {
    bench(bencher, WireFormat::SseRaw, PayloadMode::Raw, &[b'a', 0xff].repeat(50));
}

/// The worst payload: every byte is a line.
#[divan::bench]
fn a_mebibyte_of_newlines(bencher: Bencher<'_, '_>) {
    bench(bencher, WireFormat::SseRaw, PayloadMode::Raw, &vec![b'\n'; 1 << 20]);
}

#[divan::bench]
fn envelope(bencher: Bencher<'_, '_>) {
    let payload =
        br#"{"data": {"match": "one", "minute": 17, "text": "a goal"}, "event": "goal", "id": "g-17"}"#;
    bench(bencher, WireFormat::SseRaw, PayloadMode::Envelope, payload);
}
