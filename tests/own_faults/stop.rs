//! SIGTERM while much is on its way: whole messages, then the closing block, then the end.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::groups::figure;
use crate::support::Directory;
use crate::support::courier::Courier;
use crate::support::stream::Stream;
use crate::witness::{Witness, publish};

/// The bounds of slow readers are not what is tested here, and a reader of a test may be slow.
const ROOM: &[&str] = &[
    "--limits-lag-bytes",
    "256MiB",
    "--limits-log-bytes",
    "512MiB",
    "--limits-tail-bytes",
    "1GiB",
    "--limits-queue-bytes",
    "64MiB",
    "--limits-spill-bytes",
    "64MiB",
];

#[test]
fn told_to_stop_during_a_broadcast_it_cuts_no_message_and_says_so_to_everybody() {
    let _busy = crate::busy();
    let mut courier = Courier::with_broker(&[&["--shards", "2", "--drain-timeout", "20s"], ROOM].concat());
    let (web, mut client) = (courier.web, courier.client());
    let readers: Vec<_> = (0..50)
        .map(|_| {
            let mut witness = Witness::of(web, "a");
            std::thread::spawn(move || {
                let last = witness.until_closed();
                assert_eq!(witness.delivered, last);
                last
            })
        })
        .collect();
    let is_over = AtomicBool::new(false);
    let status = std::thread::scope(|scope| {
        let (ready, is_ready) = std::sync::mpsc::channel();
        let is_over = &is_over;
        scope.spawn(move || {
            let mut number = 0;
            while !is_over.load(Ordering::Relaxed) {
                number += 1;
                let payload = format!("{number:08} {}", "x".repeat(1_000));
                // It goes away in the middle, as it was told to.
                if client.attempt(&[b"PUBLISH", b"a", payload.as_bytes()]).is_err() {
                    break;
                }
                if number == 500 {
                    ready.send(()).unwrap();
                }
            }
        });
        is_ready.recv_timeout(crate::support::DEADLINE).unwrap();
        let status = courier.stop();
        is_over.store(true, Ordering::Relaxed);
        status
    });
    assert_eq!(status.code(), Some(0), "{status:?}");
    let lasts: Vec<u64> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    let (least, most) = (lasts.iter().min().unwrap(), lasts.iter().max().unwrap());
    assert!(*least >= 500, "what was published before the signal has come: {least}");
    figure(&format!(
        "{} of {} messages up to each stream's end, {least} to {most} each; 50 of 50 closing blocks; exit 0",
        lasts.iter().sum::<u64>(),
        lasts.iter().sum::<u64>()
    ));
}

#[test]
fn told_to_stop_during_a_replay_it_finishes_the_replay() {
    let directory = Directory::new();
    let rules =
        "[[channels]]\nmatch = \"*\"\naccess = \"public\"\nhistory = { count = 1000, bytes = \"16MiB\" }\n";
    let config = directory.file("courier.toml", rules);
    let flags = ["--broker", "127.0.0.1:0", "--config", &config, "--limits-tail-bytes", "256MiB"];
    let mut courier = Courier::start(&[&flags[..], &["--shards", "2", "--drain-timeout", "20s"]].concat());
    let mut client = courier.client();
    let _keeper = Stream::open(courier.web, "channel=a");
    (1..=400).for_each(|number| publish(&mut client, "a", number, 16_000));
    // Each is given 6 MB, of which its socket takes a part: the rest is on its way when the signal comes.
    let witnesses: Vec<Witness> = (0..20)
        .map(|_| Witness::over(Stream::open(courier.web, "channel=a&last_event_id=earliest")))
        .collect();
    courier.process.signal("TERM");
    courier.process.errors.with("stopping");
    let readers: Vec<_> =
        witnesses.into_iter().map(|mut witness| std::thread::spawn(move || witness.until_closed())).collect();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), 400);
    }
    assert_eq!(courier.process.wait().code(), Some(0));
    figure("8,000 of 8,000 messages, 20 of 20 closing blocks; exit 0");
}
