//! The machines under the simulator: many seeds, each a different course of events.
//!
//! `SEEDS=N` runs so many seeds, `SEED=N` repeats one. All cores take part; the first failure ends the test.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use courier::base::disconnect::Disconnect;
use courier::base::queue::GapReason;
use courier::driver::simulator::{Summary, run};

#[test]
fn nothing_is_lost_repeated_or_out_of_order_whatever_the_seed() {
    if let Ok(seed) = std::env::var("SEED") {
        println!("{:?}", run(seed.parse().expect("SEED is a number")));
        return;
    }
    let seeds: u64 = std::env::var("SEEDS").map_or(1_000, |seeds| seeds.parse().expect("SEEDS is a number"));
    let total = run_all(seeds);
    println!("{seeds} seeds: {total:?}");
    if seeds >= 1_000 {
        assert_everything_was_tried(seeds, &total);
    }
}

#[test]
fn a_seed_decides_everything() {
    for seed in 7..12 {
        assert_eq!(run(seed), run(seed));
    }
}

/// The runs tried what they are for.
fn assert_everything_was_tried(seeds: u64, total: &Summary) {
    // In some runs there is room for few, and who is sent away hears nothing.
    assert!(total.received > 80 * seeds, "{total:?}");
    for reason in GapReason::ALL {
        assert!(total.gaps[reason as usize] > 0, "{}: {total:?}", reason.name());
    }
    let tried = [
        Disconnect::ClientClosed,
        Disconnect::ClientReset,
        Disconnect::ClientVanished,
        Disconnect::HeadTimeout,
        Disconnect::Lagged,
        Disconnect::ChannelLimit,
        Disconnect::ConnectionLimit,
        Disconnect::AddressLimit,
        Disconnect::UserLimit,
        Disconnect::Lifetime,
        Disconnect::Drain,
        Disconnect::ApplicationUnavailable,
        Disconnect::SocketError,
    ];
    for reason in tried {
        assert!(total.disconnects[reason as usize] > 0, "{}: {total:?}", reason.name());
    }
    let counts = [
        total.resumes,
        total.outages,
        total.forbidden,
        total.short_sends,
        total.stale_completions,
        total.stale_answers,
        total.app_answers,
        total.kept_out,
        total.returned_controls,
        total.leaps,
        total.drains,
        total.rings,
    ];
    assert!(counts.iter().all(|&count| count > 0), "{total:?}");
}

/// The seeds from 0, on all cores.
fn run_all(seeds: u64) -> Summary {
    let (next, failed, total) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(Summary::default()));
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (next, failed, total) = (&next, &failed, &total);
            scope.spawn(move || {
                let (mut sum, mut told) = (Summary::default(), began);
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    // A failing seed says how to repeat it, whatever the panic says.
                    let failing = Failing { seed, failed };
                    let summary = run(seed);
                    std::mem::forget(failing);
                    sum.add(&summary);
                    if thread == 0 && told.elapsed() >= PROGRESS {
                        told = Instant::now();
                        println!("{seed} of {seeds} seeds, {:.0} a second", rate(seed, began));
                    }
                }
                total.lock().expect("nobody fails here").add(&sum);
            });
        }
    });
    println!("{:.0} seeds a second", rate(seeds, began));
    total.into_inner().expect("nobody fails here")
}

#[allow(clippy::cast_precision_loss)] // For people to read.
fn rate(seeds: u64, began: Instant) -> f64 {
    seeds as f64 / began.elapsed().as_secs_f64()
}

const PROGRESS: Duration = Duration::from_secs(2);

struct Failing<'a> {
    seed: u64,
    failed: &'a AtomicBool,
}

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        self.failed.store(true, Ordering::Relaxed);
        eprintln!("repeat it with: SEED={} cargo test --features simulator --test simulation", self.seed);
    }
}
