//! What a channel with one subscriber costs in memory, counted at the allocator: reader and shard together.
//!
//! A count of what is asked for, so it is the same on every machine. The driver, and what the kernel keeps of a socket,
//! are not in it: `loadtest spread` measures those from outside.
#![allow(clippy::unwrap_used)]
#![allow(unsafe_code)] // An allocator has no other form.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

use courier::access::Rules;
use courier::base::channel::{ChannelMode, ChannelName};
use courier::base::counters::ReaderCounters;
use courier::base::limits::Limits;
use courier::base::position::{Epoch, Position};
use courier::base::queue::{ChannelKey, Control, ShardIndex, Since};
use courier::base::socket::{Slot, SocketKey};
use courier::base::time::{Time, UnixTime, WallClock};
use courier::hub::{Bounds, Hub, NO_SUBSCRIPTION};
use courier::reader::input::Input;
use courier::reader::{EmbeddedOptions, Reader, ReaderOptions, Upstream};

/// Counts what is held, and how often it was asked for more.
struct Counting;

static HELD: AtomicIsize = AtomicIsize::new(0);
static ASKED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size().cast_signed(), Ordering::Relaxed);
        ASKED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size().cast_signed(), Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A power of two: lists are full then, and hash tables, which never are, have just grown.
const CHANNELS: u32 = 1 << 17;
const NOBODY: SocketKey = SocketKey { slot: Slot(0), generation: 0 };

/// A reader with its own broker, and the hub of a shard.
struct Rig {
    reader: Reader,
    hub: Hub,
    keys: Vec<ChannelKey>,
}

impl Rig {
    fn new() -> Self {
        let broker = EmbeddedOptions {
            password: None,
            wall_clock: WallClock { at: Time::ZERO, unix: UnixTime::default() },
        };
        let reader = Reader::new(ReaderOptions {
            upstream: Upstream::Embedded(broker),
            epoch: Epoch(1),
            limits: Limits::default(),
            counters: Arc::new(ReaderCounters::default()),
            shards: 1,
            seed: 1,
            rules: Rules::default(),
            control: None,
            start: Time::ZERO,
        });
        let hub = Hub::new(Bounds { lag_bytes: 1 << 20, log_bytes: 1 << 28, reserved_subscriptions: 0 });
        Self { reader, hub, keys: Vec::with_capacity(CHANNELS as usize) }
    }

    /// One more channel with one subscriber, as a shard and the reader make it.
    fn subscribe(&mut self, number: u32) {
        let name = ChannelName::parse(format!("user.notes.{number:09}").as_bytes()).unwrap();
        let subscribed = self.hub.subscribe(&name, ChannelMode::default(), 0, Slot(number), NO_SUBSCRIPTION);
        let channel = subscribed.channel;
        let (shard, since) = (ShardIndex(0), Since::Now);
        let join = Control::Join { shard, channel, name, connection: NOBODY, since };
        self.reader.handle(Time::ZERO, Input::Control(join));
        while self.reader.next_delivery(shard).is_some() {}
        self.hub.joined(channel, self.hub.position());
        self.hub.start_at_end(subscribed.subscription);
        self.keys.push(channel);
    }

    /// A message through the hub to the channel's subscriber, who takes it at once.
    fn deliver(&mut self, channel: usize, position: u64) {
        self.hub.append(self.keys[channel], Position(position), Time::ZERO, |_, _, _, bytes| {
            bytes.extend_from_slice(&[b'x'; 140]);
        });
        while let Some(subscription) = self.hub.next_visit() {
            let (_, owed) = self.hub.owed(subscription).unwrap();
            self.hub.sent_to(subscription, owed.end);
        }
        self.hub.tidy(&mut Vec::new(), |_| {});
    }
}

/// One test: the count is of the whole process.
#[test]
fn a_channel_with_one_subscriber_is_small_and_its_messages_allocate_nothing() {
    let mut rig = Rig::new();
    let before = HELD.load(Ordering::Relaxed);
    (0..CHANNELS).for_each(|number| rig.subscribe(number));
    let bytes = (HELD.load(Ordering::Relaxed) - before) / CHANNELS.cast_signed() as isize;
    let own = bytes - NAME_BYTES - SUBSCRIPTION_BYTES;
    println!("{own} bytes a channel, its name and its subscription apart; {bytes} in all");
    assert!(own <= BYTES_MAX, "{own} bytes a channel");
    assert_eq!(rig.hub.log_bytes(), 0);

    (0..100).for_each(|number| rig.deliver(number, number as u64 + 1));
    let (held, asked) = (HELD.load(Ordering::Relaxed), ASKED.load(Ordering::Relaxed));
    let mut channel = 0;
    for position in 1_000..11_000 {
        channel = (channel + 7_919) % rig.keys.len();
        rig.deliver(channel, position);
    }
    assert_eq!(ASKED.load(Ordering::Relaxed) - asked, 0, "no message allocates");
    assert_eq!(HELD.load(Ordering::Relaxed), held, "who is caught up owns no buffer");
}

/// Tables of the reader, of its broker and of the shard, hash tables at their emptiest.
const BYTES_MAX: isize = 300;
/// Held once, by everybody: two counts and 20 bytes.
const NAME_BYTES: isize = 36;
/// What a connection has for each of its channels, also if others listen to it.
const SUBSCRIPTION_BYTES: isize = 24;
