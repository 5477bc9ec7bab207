//! What one RESP frame costs: the hot frame by our own lines, and by the scanner and the crate.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};

use courier::wire::resp::reply::{Decoder, decode_reply};

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

const MESSAGES: usize = 400;

fn main() {
    divan::main();
}

fn messages(payload: usize) -> Vec<u8> {
    let frame =
        format!(">3\r\n$7\r\nmessage\r\n$10\r\nnews.sport\r\n${payload}\r\n{}\r\n", "x".repeat(payload));
    frame.as_bytes().repeat(MESSAGES)
}

#[divan::bench(args = [100, 1_000])]
fn messages_in_one_read(bencher: Bencher<'_, '_>, payload: usize) {
    let bytes = messages(payload);
    bencher.counter(ItemsCount::new(MESSAGES)).counter(BytesCount::new(bytes.len())).bench_local(|| {
        let mut decoder = Decoder::default();
        let mut frames = decoder.decode(&bytes);
        while let Some(frame) = frames.next() {
            black_box(frame).expect("the bytes are well-formed");
        }
    });
}

#[divan::bench(args = [100, 1_000])]
fn messages_by_the_crate(bencher: Bencher<'_, '_>, payload: usize) {
    let bytes = messages(payload);
    bencher.counter(ItemsCount::new(MESSAGES)).counter(BytesCount::new(bytes.len())).bench_local(|| {
        let mut rest = &bytes[..];
        while let Ok(Some((reply, length))) = decode_reply(rest) {
            black_box(reply);
            rest = &rest[length..];
        }
    });
}

/// 2.8 MB of an array in reads of 64 KiB: no second look at what was walked over.
#[divan::bench]
fn a_large_array_in_many_reads(bencher: Bencher<'_, '_>) {
    let bytes =
        [b"*20000\r\n".to_vec(), format!("$130\r\n{}\r\n", "x".repeat(130)).into_bytes().repeat(20_000)]
            .concat();
    bencher.counter(BytesCount::new(bytes.len())).bench_local(|| {
        let mut decoder = Decoder::default();
        for read in bytes.chunks(65_536) {
            let mut frames = decoder.decode(read);
            while let Some(frame) = frames.next() {
                black_box(frame).expect("the bytes are well-formed");
            }
        }
    });
}
