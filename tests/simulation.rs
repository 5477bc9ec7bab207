//! The machines under the simulator: many seeds, each a different course of events.
//!
//! `SEEDS=N` runs so many seeds, `SEED=N` repeats one.

use courier::driver::simulator::{Summary, run};

#[test]
fn nothing_is_lost_repeated_or_out_of_order_whatever_the_seed() {
    if let Ok(seed) = std::env::var("SEED") {
        println!("{:?}", run(seed.parse().expect("SEED is a number")));
        return;
    }
    let seeds: u64 = std::env::var("SEEDS").map_or(100, |seeds| seeds.parse().expect("SEEDS is a number"));
    let mut total = Summary::default();
    for seed in 0..seeds {
        // A failing seed says how to repeat it, whatever the panic says.
        let guard = Failing(seed);
        let summary = run(seed);
        std::mem::forget(guard);
        total.published += summary.published;
        total.received += summary.received;
        total.gaps += summary.gaps;
        total.resumes += summary.resumes;
        total.outages += summary.outages;
        total.short_sends += summary.short_sends;
    }
    println!("{seeds} seeds: {total:?}");
    // The runs tried what they are for.
    assert!(total.received > 100 * seeds, "{total:?}");
    assert!(total.gaps > 0 && total.resumes > 0 && total.outages > 0 && total.short_sends > 0, "{total:?}");
}

#[test]
fn a_seed_decides_everything() {
    assert_eq!(run(7), run(7));
}

struct Failing(u64);

impl Drop for Failing {
    fn drop(&mut self) {
        eprintln!("repeat it with: SEED={} cargo test --features simulator --test simulation", self.0);
    }
}
