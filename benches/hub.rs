//! What the hub costs beside the kernel: a message to a channel with many subscriptions, and to one of many channels.

use divan::{Bencher, black_box};

use courier::base::channel::{ChannelMode, ChannelName};
use courier::base::position::Position;
use courier::base::queue::ChannelKey;
use courier::base::socket::Slot;
use courier::base::time::Time;
use courier::hub::{Bounds, Hub, NO_SUBSCRIPTION};

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

/// About a message of 100 bytes with its `data:` and `id:` lines.
const FRAME: [u8; 140] = [b'x'; 140];

fn hub() -> Hub {
    Hub::new(Bounds { lag_bytes: 1 << 20, log_bytes: 1 << 28, reserved_subscriptions: 0 })
}

fn subscribe(hub: &mut Hub, name: &str, slot: u32) -> ChannelKey {
    let name = ChannelName::parse(name.as_bytes()).expect("the bench's names are well formed");
    let subscribed = hub.subscribe(&name, ChannelMode::default(), 0, Slot(slot), NO_SUBSCRIPTION);
    hub.joined(subscribed.channel, hub.position());
    hub.start_at_end(subscribed.subscription);
    subscribed.channel
}

/// Appends one message and visits everybody who is owed it; returns how many bytes that would send.
fn deliver(hub: &mut Hub, channel: ChannelKey, position: &mut u64) -> u64 {
    *position += 1;
    hub.append(channel, Position(*position), Time::ZERO, |_, _, _, bytes| bytes.extend_from_slice(&FRAME));
    let mut sent = 0;
    while let Some(subscription) = hub.next_visit() {
        if let Some((_, owed)) = hub.owed(subscription) {
            sent += owed.end - owed.start;
            hub.sent_to(subscription, owed.end);
        }
    }
    hub.tidy(&mut Vec::new(), |_| {});
    sent
}

/// One message to all subscriptions of a channel; divide by their number for the cost of a delivery.
#[divan::bench(args = [1, 200, 18_000])]
fn fan_out(bencher: Bencher<'_, '_>, subscribers: u32) {
    let mut hub = hub();
    let mut channel = None;
    for slot in 0..subscribers {
        channel = Some(subscribe(&mut hub, "news", slot));
    }
    let channel = channel.expect("there is a subscriber");
    let mut position = 0;
    bencher
        .counter(divan::counter::ItemsCount::new(subscribers))
        .bench_local(|| black_box(deliver(&mut hub, channel, &mut position)));
}

/// One message to one of so many channels with one subscription each.
#[divan::bench(args = [1_000, 200_000])]
fn spread(bencher: Bencher<'_, '_>, channels: u32) {
    let mut hub = hub();
    let keys: Vec<ChannelKey> =
        (0..channels).map(|slot| subscribe(&mut hub, &format!("user.{slot}"), slot)).collect();
    let (mut position, mut at) = (0, 0);
    bencher.bench_local(|| {
        // A stride that visits them in no order the caches could learn.
        at = (at + 7_919) % keys.len();
        black_box(deliver(&mut hub, keys[at], &mut position))
    });
}

/// A client comes and goes on a channel that others listen to.
#[divan::bench]
fn subscribe_and_unsubscribe(bencher: Bencher<'_, '_>) {
    let mut hub = hub();
    subscribe(&mut hub, "news", 0);
    let name = ChannelName::parse(b"news").expect("a name");
    bencher.bench_local(|| {
        let subscribed = hub.subscribe(&name, ChannelMode::default(), 0, Slot(1), NO_SUBSCRIPTION);
        hub.start_at_end(subscribed.subscription);
        black_box(hub.unsubscribe(subscribed.subscription))
    });
}
