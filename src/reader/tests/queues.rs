//! A shard that does not take its messages.

use super::*;

const SPILL: usize = 4_096;

/// Shard 0 has `a` (key 0) and `b` (key 1), shard 1 has `a` (key 5); the spill is small.
fn live() -> Rig {
    let mut rig = Rig::up_with(Limits { spill_bytes: SPILL, ..Limits::default() });
    rig.join(0, 0, "a", 1);
    rig.join(0, 1, "b", 1);
    rig.join(1, 5, "a", 2);
    rig.sent();
    rig.receive(rig.push, &subscribed(&["a", "b"]));
    rig.deliveries(0);
    rig.deliveries(1);
    rig
}

#[test]
fn what_does_not_fit_is_dropped_and_owed_as_a_gap_of_its_channels() {
    let mut rig = live();
    let large = "x".repeat(1_500);
    for number in 2..8 {
        rig.receive(rig.push, &messages(&[("a", &large)]));
        assert_eq!(rig.deliveries(1).len(), 1, "the other shard has its message {number}");
    }
    assert_eq!(rig.outputs(), "QueueFull { shard: 0 }");
    assert!(rig.counters.cells.spill_bytes.get() <= SPILL as u64);
    let first = rig.deliveries(0);
    assert_eq!(first.len(), 3, "{first:?}");
    assert_eq!(first[0], format!("batch 2:k0:{large}"));
    assert_eq!(first[1], format!("batch 3:k0:{large}"));
    assert_eq!(first[2], "gap k0@8 from 3 queue-full");
    rig.receive(rig.push, &messages(&[("b", "after")]));
    assert_eq!(rig.deliveries(0), ["batch 9:k1:after"]);
    assert_eq!(rig.counters.cells.spill_bytes.get(), 0);
}

#[test]
fn while_a_gap_is_owed_even_what_would_fit_is_part_of_it() {
    let mut rig = live();
    let large = "x".repeat(1_500);
    for _ in 0..3 {
        rig.receive(rig.push, &messages(&[("a", &large)]));
    }
    rig.receive(rig.push, &messages(&[("b", "small")]));
    let items = rig.deliveries(0);
    assert_eq!(items[2], "gap k0@6 k1@7 from 3 queue-full", "{items:?}");
}

#[test]
fn who_was_cut_off_between_two_notices_of_a_gap_is_told_of_it_when_it_resumes() {
    let mut rig = live();
    let large = "x".repeat(1_500);
    for _ in 0..3 {
        rig.receive(rig.push, &messages(&[("a", &large)]));
    }
    rig.receive(rig.push, &messages(&[("b", "small")]));
    assert_eq!(rig.deliveries(0)[2], "gap k0@6 k1@7 from 3 queue-full");
    // The history has what the shard was not given, but not behind the id of the first notice.
    let resumes = [(5, "[]"), (6, "[] gap 3 queue-full"), (7, "[]")];
    for (seen, outcome) in resumes {
        rig.join_after(0, 1, "b", 9, seen);
        assert_eq!(rig.deliveries(0), [format!("joined c9 k1 @7 {outcome}")], "behind {seen}");
    }
}

#[test]
fn a_gap_comes_when_half_of_the_spill_is_free_again() {
    let mut rig = live();
    let large = "x".repeat(1_500);
    for _ in 0..3 {
        rig.receive(rig.push, &messages(&[("a", &large)]));
    }
    assert!(delivery(&rig.reader.next_delivery(ShardIndex(0)).unwrap()).starts_with("batch 2:"));
    assert!(delivery(&rig.reader.next_delivery(ShardIndex(0)).unwrap()).starts_with("batch 3:"));
    rig.join(0, 0, "a", 7);
    assert_eq!(rig.deliveries(0), ["gap k0@5 from 3 queue-full", "joined c7 k0 @5 []"]);
}

#[test]
fn joins_are_answered_however_full_it_is_but_without_their_replay() {
    let mut rig = live();
    let large = "x".repeat(1_500);
    for _ in 0..3 {
        rig.receive(rig.push, &messages(&[("a", &large)]));
    }
    rig.join_after(0, 0, "a", 3, 2);
    rig.publish(0, 4, "z", "mine");
    rig.sent();
    rig.receive(rig.ask, b":2\r\n");
    let items = rig.deliveries(0);
    assert_eq!(
        items[2..],
        ["joined c3 k0 @4 [] gap 2 queue-full", "published c4 behind 4", "gap k0@5 from 3 queue-full"]
    );
}

#[test]
fn a_message_larger_than_the_spill_passes_when_nothing_waits() {
    let mut rig = live();
    let huge = "x".repeat(3 * SPILL);
    rig.receive(rig.push, &messages(&[("a", &huge)]));
    assert_eq!(rig.deliveries(0), [format!("batch 2:k0:{huge}")]);
    assert_eq!(rig.outputs(), "");
}

#[test]
fn a_message_in_many_reads_is_one_message() {
    let mut rig = live();
    let huge = "x".repeat(300_000);
    for piece in messages(&[("a", &huge), ("b", "next")]).chunks(16_384) {
        rig.receive(rig.push, piece);
    }
    assert_eq!(rig.deliveries(0), [format!("batch 2:k0:{huge} 3:k1:next")]);
}

#[test]
fn a_burst_of_resumes_is_replayed_as_the_queue_takes_it() {
    let mut rig = Rig::up();
    rig.join(0, 0, "a", 1);
    rig.sent();
    rig.receive(rig.push, &subscribed(&["a"]));
    let text = "x".repeat(600);
    for _ in 0..100 {
        rig.receive(rig.push, &messages(&[("a", &text)]));
    }
    rig.deliveries(0);
    let (mut answers, mut waits) = (Vec::new(), 0);
    for connection in 0..1_024 {
        if !rig.reader.takes_control(ShardIndex(0)) {
            waits += 1;
            answers.extend(rig.deliveries(0));
            assert!(rig.reader.takes_control(ShardIndex(0)), "with nothing left there is room");
        }
        rig.join_after(0, 0, "a", connection + 10, 2);
    }
    answers.extend(rig.deliveries(0));
    assert_eq!(answers.len(), 1_024);
    assert!(answers.iter().all(|answer| !answer.contains(" gap ")), "each has its whole replay");
    assert!((10..30).contains(&waits), "60 MiB in pieces of half the spill: {waits}");
}

#[test]
fn a_shards_controls_wait_while_it_has_more_than_half_of_its_spill_and_no_other_shards_do() {
    let mut rig = live();
    let takes = |rig: &Rig| [0, 1].map(|shard| rig.reader.takes_control(ShardIndex(shard)));
    let large = "x".repeat(1_500);
    rig.receive(rig.push, &messages(&[("b", &large)]));
    assert_eq!(takes(&rig), [true, true]);
    rig.receive(rig.push, &messages(&[("b", &large)]));
    assert_eq!(takes(&rig), [false, true]);
    rig.deliveries(1);
    assert_eq!(takes(&rig), [false, true], "another shard's room is none of its");
    rig.reader.next_delivery(ShardIndex(0)).unwrap();
    assert_eq!(takes(&rig), [true, true]);
}
