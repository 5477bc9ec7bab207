//! The small parts that everything else is made of: deadlines, a log, the delivery-lag histogram, the doorbell.

use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

use courier::base::deadlines::Deadlines;
use courier::base::histogram::Histogram;
use courier::base::log::{Log, Spares};
use courier::base::parking::Parking;
use courier::base::position::Position;
use courier::base::time::Time;

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

const COUNT: u32 = 1_000;

/// Added, and taken when it is due, while 1,000 others wait.
#[divan::bench]
fn a_deadline(bencher: Bencher<'_, '_>) {
    let mut deadlines = Deadlines::new(Duration::from_nanos(u64::from(COUNT)));
    let mut now = Time::ZERO;
    bencher.counter(ItemsCount::new(COUNT)).bench_local(|| {
        for item in 0..COUNT {
            now = now.after(Duration::from_nanos(1));
            deadlines.add(now, item);
            while black_box(deadlines.take_due(now)).is_some() {}
        }
    });
}

/// Appended, sliced and dropped, one at a time: a channel that speaks now and then.
#[divan::bench]
fn a_frame_in_an_empty_log(bencher: Bencher<'_, '_>) {
    let (mut log, mut spares) = (Log::default(), Spares::default());
    let mut position = 0;
    bencher.counter(ItemsCount::new(COUNT)).bench_local(|| {
        for _ in 0..COUNT {
            position += 1;
            append(&mut log, &mut spares, position);
            black_box(log.slice(log.start(), log.end()));
            log.clear(&mut spares);
        }
    });
}

/// Appended while the first of 100 frames is dropped: a history at its bound.
#[divan::bench]
fn a_frame_in_a_full_log(bencher: Bencher<'_, '_>) {
    let (mut log, mut spares) = (Log::default(), Spares::default());
    (1..=100).for_each(|position| append(&mut log, &mut spares, position));
    let mut position = 100;
    bencher.counter(ItemsCount::new(COUNT)).bench_local(|| {
        for _ in 0..COUNT {
            position += 1;
            append(&mut log, &mut spares, position);
            black_box(log.drop_first(&mut spares));
        }
    });
}

fn append(log: &mut Log, spares: &mut Spares, position: u64) {
    log.append(Position(position), Time::ZERO, spares, |bytes| bytes.extend_from_slice(&[b'x'; 140]));
}

#[divan::bench]
fn a_sample_of_the_delivery_lag(bencher: Bencher<'_, '_>) {
    let histogram = Histogram::default();
    bencher.counter(ItemsCount::new(COUNT)).bench_local(|| {
        (0..COUNT).for_each(|nanos| histogram.record(Duration::from_nanos(u64::from(nanos) * 1_000)));
    });
}

/// A look at a consumer that is awake.
#[divan::bench]
fn a_doorbell_that_need_not_ring(bencher: Bencher<'_, '_>) {
    let parking = Parking::default();
    bencher.counter(ItemsCount::new(COUNT)).bench_local(|| {
        (0..COUNT).for_each(|_| assert!(black_box(&parking).must_ring().is_none()));
    });
}
