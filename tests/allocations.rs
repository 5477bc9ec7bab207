//! Once warm, a message costs no allocation: not in the reader, not in a queue, not in a shard, however many
//! subscribers it has.
//!
//! Each thread counts for itself, so tests may run side by side and what the harness does is nobody's.

#![allow(unsafe_code)] // A global allocator is an unsafe trait; see the blocks.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

#[path = "../benches/support/mod.rs"]
mod support;

use support::{Machines, PAYLOAD_BYTES, Source, message};

/// The system's allocator, which counts what this thread asks of it.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is handed on to the system's allocator as it came; counting neither allocates (the cell is
// const-initialised and has no destructor) nor touches the memory.
// JUSTIFICATION: there is no other way to see what a program allocates from within it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; the pointer came from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() {
    ALLOCATIONS.with(|allocations| allocations.set(allocations.get() + 1));
}

/// How often the work allocates or grows something on this thread.
fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn the_counter_counts() {
    let allocations = allocations_of(|| {
        let mut list = std::hint::black_box(vec![1_u8]);
        list.reserve(1_000);
        std::hint::black_box(list);
    });
    assert_eq!(allocations, 2);
}

#[test]
fn one_message_at_a_time_to_many_subscribers() {
    assert_none(Source::Redis, Load { channels: 1, subscribers: 1_500, messages_a_read: 1 });
}

#[test]
fn a_burst_to_few_subscribers() {
    assert_none(Source::Redis, Load { channels: 1, subscribers: 20, messages_a_read: 500 });
}

#[test]
fn one_message_at_a_time_to_one_of_many_channels() {
    assert_none(Source::Redis, Load { channels: 1_000, subscribers: 1, messages_a_read: 1 });
}

#[test]
fn many_channels_in_one_read() {
    assert_none(Source::Redis, Load { channels: 1_000, subscribers: 1, messages_a_read: 500 });
}

#[test]
fn a_publish_through_the_embedded_broker() {
    assert_none(Source::Embedded, Load { channels: 1, subscribers: 200, messages_a_read: 1 });
}

#[test]
fn a_pipeline_of_publishes_through_the_embedded_broker() {
    assert_none(Source::Embedded, Load { channels: 1_000, subscribers: 1, messages_a_read: 500 });
}

struct Load {
    channels: usize,
    /// Of each channel, on each of the two shards.
    subscribers: usize,
    messages_a_read: usize,
}

fn assert_none(source: Source, load: Load) {
    let Load { channels, subscribers, messages_a_read } = load;
    let mut machines = Machines::new(source, 2);
    for shard in 0..2 {
        let queries = (0..channels * subscribers).map(|number| format!("channel=c{}", number % channels));
        machines.connect_all(shard, queries);
    }
    let mut next = 0;
    let reads: Vec<Vec<u8>> = (0..(channels * 3).div_ceil(messages_a_read).max(64))
        .map(|_| {
            let mut read = Vec::new();
            for _ in 0..messages_a_read {
                // A stride without a common divisor: every channel has its turn, neighbours far apart.
                next = (next + 1_009) % channels;
                read.extend(message(source, &format!("c{next}"), PAYLOAD_BYTES));
            }
            read
        })
        .collect();
    let turns = |machines: &mut Machines, reads: &[Vec<u8>]| {
        for read in reads {
            machines.pass(Duration::from_micros(100));
            machines.receive(read);
            let sent = machines.run();
            assert!(sent.sends > 0, "somebody hears it");
        }
    };
    let messages = reads.len() * messages_a_read;
    // Warm is: the history of every channel has dropped as many messages as it keeps, and its buffer grows no more.
    for _ in 0..(300 * channels).div_ceil(messages) {
        turns(&mut machines, &reads);
    }
    let allocations = allocations_of(|| turns(&mut machines, &reads));
    assert_eq!(allocations, 0, "allocations in {messages} messages, {} reads", reads.len());
}
