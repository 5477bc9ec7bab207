use super::*;
use crate::base::channel::SlowMode;
use crate::base::random::Random;

const RAW: usize = 0;
const JSON: usize = 2;

fn hub() -> Hub {
    Hub::new(Bounds { lag_bytes: 20, log_bytes: 1_000, reserved_subscriptions: 0 })
}

fn name(text: &str) -> ChannelName {
    ChannelName::parse(text.as_bytes()).unwrap()
}

fn subscribe(hub: &mut Hub, channel: &str, slot: u32) -> Subscribed {
    let subscribed = hub.subscribe(&name(channel), ChannelMode::default(), RAW, Slot(slot), NO_SUBSCRIPTION);
    hub.joined(subscribed.channel, hub.position());
    hub.start_at_end(subscribed.subscription);
    subscribed
}

fn append(hub: &mut Hub, channel: ChannelKey, position: u64, text: &str) {
    hub.append(channel, Position(position), Time::ZERO, |_, _, _, bytes| {
        bytes.extend_from_slice(text.as_bytes())
    });
}

/// Visits everybody of the rounds, sends all that is owed; returns slot and text in the order of visits.
fn flush(hub: &mut Hub) -> Vec<(u32, String)> {
    let mut sent = Vec::new();
    while let Some(subscription) = hub.next_visit() {
        if let Some((stream, owed)) = hub.owed(subscription) {
            let length = u32::try_from(owed.end - owed.start).unwrap();
            let text = String::from_utf8(hub.slice(stream, owed.start, length).to_vec()).unwrap();
            sent.push((hub.slot_of(subscription).0, text));
            hub.sent_to(subscription, owed.end);
        }
    }
    assert!(tidy(hub).is_empty());
    sent
}

fn tidy(hub: &mut Hub) -> Vec<SubscriptionIndex> {
    let mut lapped = Vec::new();
    hub.tidy(&mut lapped, |_| {});
    lapped
}

#[test]
fn everybody_gets_what_was_appended_after_the_start_once_and_in_order() {
    let mut hub = hub();
    let first = subscribe(&mut hub, "a", 1);
    append(&mut hub, first.channel, 1, "one ");
    let second = subscribe(&mut hub, "a", 2);
    assert_eq!(second.channel, first.channel);
    append(&mut hub, first.channel, 2, "two ");
    assert_eq!(flush(&mut hub), [(1, "one two ".into()), (2, "two ".into())]);
    assert_eq!(flush(&mut hub), []);
}

#[test]
fn a_channel_that_is_caught_up_owns_no_buffer() {
    let mut hub = hub();
    let subscribed = subscribe(&mut hub, "a", 1);
    append(&mut hub, subscribed.channel, 1, "one");
    assert_eq!(hub.log_bytes(), 3);
    flush(&mut hub);
    assert_eq!(hub.log_bytes(), 0);
}

#[test]
fn a_message_is_encoded_once_for_each_wire_format_that_is_listened_in() {
    let mut hub = hub();
    let raw = subscribe(&mut hub, "a", 1);
    subscribe(&mut hub, "a", 2);
    hub.subscribe(&name("a"), ChannelMode::default(), JSON, Slot(3), NO_SUBSCRIPTION);
    let mut formats = Vec::new();
    hub.append(raw.channel, Position(1), Time::ZERO, |format, _, _, bytes| {
        formats.push(format);
        bytes.push(b'x');
    });
    formats.sort_unstable();
    assert_eq!(formats, [RAW, JSON]);
}

#[test]
fn a_subscription_that_has_not_started_is_owed_nothing() {
    let mut hub = hub();
    let started = subscribe(&mut hub, "a", 1);
    let waiting = hub.subscribe(&name("a"), ChannelMode::default(), RAW, Slot(2), NO_SUBSCRIPTION);
    append(&mut hub, started.channel, 1, "one");
    assert_eq!(flush(&mut hub), [(1, "one".into())]);
    hub.start_at_end(waiting.subscription);
    append(&mut hub, started.channel, 2, "two");
    assert_eq!(flush(&mut hub), [(1, "two".into()), (2, "two".into())]);
}

#[test]
fn the_last_subscription_of_a_channel_ends_it_and_its_key() {
    let mut hub = hub();
    let first = subscribe(&mut hub, "a", 1);
    let second = subscribe(&mut hub, "a", 2);
    append(&mut hub, first.channel, 1, "one");
    assert_eq!(hub.unsubscribe(first.subscription), (None, Some(Slot(2))));
    let left = hub.unsubscribe(second.subscription).0.unwrap();
    assert_eq!(left, Left { channel: first.channel, name: name("a") });
    assert_eq!((hub.channel_count(), hub.subscription_count(), hub.log_bytes()), (0, 0, 0));
    // A message that was under way for it is for nobody, also after the name came back.
    let again = subscribe(&mut hub, "a", 3);
    append(&mut hub, left.channel, 2, "two");
    assert_eq!(flush(&mut hub), []);
    append(&mut hub, again.channel, 3, "three");
    assert_eq!(flush(&mut hub), [(3, "three".into())]);
}

#[test]
fn who_leaves_in_the_middle_of_a_round_makes_nobody_miss_it() {
    for leaver in 0..5_usize {
        for visited in 0..5 {
            let mut hub = hub();
            let all: Vec<Subscribed> = (0..5).map(|slot| subscribe(&mut hub, "a", slot)).collect();
            append(&mut hub, all[0].channel, 1, "one");
            let mut got = Vec::new();
            for _ in 0..visited {
                let subscription = hub.next_visit().unwrap();
                let end = hub.owed(subscription).unwrap().1.end;
                hub.sent_to(subscription, end);
                got.push(hub.slot_of(subscription).0);
            }
            let (_, moved) = hub.unsubscribe(all[leaver].subscription);
            if let Some(moved) = moved {
                let subscription = all[moved.index()].subscription;
                if let Some((_, owed)) = hub.owed(subscription) {
                    hub.sent_to(subscription, owed.end);
                    got.push(moved.0);
                }
            }
            let comer = subscribe(&mut hub, "a", 9);
            got.extend(flush(&mut hub).iter().map(|(slot, _)| *slot));
            got.sort_unstable();
            let mut expected: Vec<u32> = (0..5).collect();
            if !got.contains(&u32::try_from(leaver).unwrap()) {
                expected.remove(leaver);
            }
            assert_eq!(got, expected, "{leaver} left after {visited} visits");
            append(&mut hub, comer.channel, 2, "two");
            assert_eq!(flush(&mut hub).len(), 5);
        }
    }
}

#[test]
fn a_new_message_in_the_middle_of_a_round_coalesces_for_those_who_wait() {
    let mut hub = hub();
    let all: Vec<Subscribed> = (0..3).map(|slot| subscribe(&mut hub, "a", slot)).collect();
    append(&mut hub, all[0].channel, 1, "one ");
    let first = hub.next_visit().unwrap();
    let end = hub.owed(first).unwrap().1.end;
    hub.sent_to(first, end);
    append(&mut hub, all[0].channel, 2, "two ");
    assert_eq!(flush(&mut hub), [(1, "one two ".into()), (2, "one two ".into()), (0, "two ".into())]);
}

#[test]
fn a_half_sent_slice_goes_back_to_a_frame_boundary() {
    for (taken, rest, owed) in [
        (0, "", Some("onetwothree")),
        (1, "ne", Some("twothree")),
        (3, "", Some("twothree")),
        (4, "wo", Some("three")),
        (6, "", Some("three")),
        (10, "e", None),
    ] {
        let mut hub = hub();
        let subscribed = subscribe(&mut hub, "a", 1);
        for (position, text) in [(1, "one"), (2, "two"), (3, "three")] {
            append(&mut hub, subscribed.channel, position, text);
        }
        let subscription = hub.next_visit().unwrap();
        let (_, all) = hub.owed(subscription).unwrap();
        assert_eq!(all.frames, 3);
        hub.sent_to(subscription, all.end);
        assert_eq!(hub.unsend(subscription, all.start + taken).0, rest.as_bytes(), "{taken}");
        assert_eq!(hub.next_visit(), None);
        assert!(tidy(&mut hub).is_empty());
        let found = hub.owed(subscription).map(|(stream, owed)| {
            let length = u32::try_from(owed.end - owed.start).unwrap();
            String::from_utf8(hub.slice(stream, owed.start, length).to_vec()).unwrap()
        });
        assert_eq!(found.as_deref(), owed, "{taken}");
    }
}

#[test]
fn a_laggard_keeps_the_log_up_to_its_bound_and_then_is_lapped() {
    let mut hub = hub();
    let fast = subscribe(&mut hub, "a", 1);
    let slow = subscribe(&mut hub, "a", 2);
    let mut lapped_at = None;
    for position in 1..=3 {
        append(&mut hub, fast.channel, position, "ten bytes ");
        while let Some(subscription) = hub.next_visit() {
            if subscription == fast.subscription {
                let end = hub.owed(subscription).unwrap().1.end;
                hub.sent_to(subscription, end);
            }
        }
        let lapped = tidy(&mut hub);
        if !lapped.is_empty() {
            assert_eq!(lapped, [slow.subscription]);
            lapped_at = Some(position);
        }
    }
    assert_eq!(lapped_at, Some(3));
    assert_eq!(hub.log_bytes(), 10);
}

#[test]
fn a_frame_larger_than_the_bound_is_kept_until_it_is_sent() {
    let mut hub = hub();
    let subscribed = subscribe(&mut hub, "a", 1);
    append(&mut hub, subscribed.channel, 1, &"x".repeat(100));
    while hub.next_visit().is_some() {}
    assert!(tidy(&mut hub).is_empty());
    assert_eq!(hub.owed(subscribed.subscription).unwrap().1.frames, 1);
}

#[test]
fn at_the_total_the_channel_with_the_oldest_frame_loses_its_log() {
    let mut hub = Hub::new(Bounds { lag_bytes: 1_000, log_bytes: 100, reserved_subscriptions: 0 });
    let old = subscribe(&mut hub, "old", 1);
    let new = subscribe(&mut hub, "new", 2);
    for (channel, position) in [(old.channel, 1), (old.channel, 2), (new.channel, 3), (new.channel, 4)] {
        append(&mut hub, channel, position, &"x".repeat(30));
    }
    while hub.next_visit().is_some() {}
    assert_eq!(tidy(&mut hub), [old.subscription]);
    assert_eq!(hub.log_bytes(), 90);
}

#[test]
fn whichever_logs_come_and_go_the_oldest_is_the_one_that_a_look_at_all_finds() {
    let mut random = Random::new(7);
    let mut below = move |bound: u64| random.below(bound);
    let mut hub = Hub::new(Bounds { lag_bytes: 200, log_bytes: 700, reserved_subscriptions: 0 });
    let mut all: Vec<Subscribed> = Vec::new();
    let (mut position, mut trimmed) = (0, 0);
    for step in 0..20_000 {
        match below(10) {
            0 if all.len() < 40 => {
                let name = format!("c{}", below(20));
                all.push(subscribe(&mut hub, &name, step));
            }
            1 if all.len() > 10 => {
                let leaver = all.swap_remove(usize::try_from(below(all.len() as u64)).unwrap());
                hub.unsubscribe(leaver.subscription);
            }
            _ if !all.is_empty() => {
                let channel = all[usize::try_from(below(all.len() as u64)).unwrap()].channel;
                position += 1;
                append(&mut hub, channel, position, &"x".repeat(usize::try_from(1 + below(90)).unwrap()));
            }
            _ => continue,
        }
        // Some visits, so that some streams are still in their round; few of the visited take anything.
        for _ in 0..below(8) {
            let Some(subscription) = hub.next_visit() else { break };
            if let (Some((_, owed)), 0) = (hub.owed(subscription), below(6)) {
                hub.sent_to(subscription, owed.end);
            }
        }
        let before = hub.log_bytes();
        let lapped = tidy(&mut hub);
        trimmed += usize::from(before > 700 && !lapped.is_empty());
        // As the shard does with them.
        all.retain(|one| {
            let is_lapped = lapped.contains(&one.subscription);
            if is_lapped {
                hub.unsubscribe(one.subscription);
            }
            !is_lapped
        });
        tidy(&mut hub);
        let trimmable =
            hub.streams.iter().filter(|(_, stream)| !stream.is_in_round() && stream.log().frames().len() > 1);
        let oldest = trimmable.min_by_key(|(_, stream)| stream.log().first().map(|frame| frame.position));
        assert_eq!(hub.oldest.first(), oldest.map(|(key, _)| key.index), "step {step}");
        assert!(hub.log_bytes() <= 700 || hub.oldest.first().is_none(), "step {step}");
    }
    assert!(trimmed > 20, "the bound was reached {trimmed} times");
}

/// A channel whose laggards are passed over, with one subscriber that is sent everything and one that is sent nothing.
fn passed_over(hub: &mut Hub) -> (Subscribed, Subscribed) {
    let mode = ChannelMode { slow: SlowMode::Latest, ..ChannelMode::default() };
    let [fast, slow] = [1, 2].map(|slot| {
        let subscribed = hub.subscribe(&name("a"), mode, RAW, Slot(slot), NO_SUBSCRIPTION);
        hub.joined(subscribed.channel, hub.position());
        hub.start_at_end(subscribed.subscription);
        subscribed
    });
    (fast, slow)
}

/// Ten bytes at each position, which the fast one takes at once.
fn append_ten(hub: &mut Hub, fast: Subscribed, positions: std::ops::RangeInclusive<u64>) {
    for position in positions {
        append(hub, fast.channel, position, "ten bytes ");
        while let Some(subscription) = hub.next_visit() {
            if subscription == fast.subscription {
                let end = hub.owed(subscription).unwrap().1.end;
                hub.sent_to(subscription, end);
            }
        }
        assert!(tidy(hub).is_empty(), "nobody is ended");
    }
}

#[test]
fn who_is_passed_over_is_owed_what_it_missed_first_and_then_the_newest() {
    let mut hub = hub();
    let (fast, slow) = passed_over(&mut hub);
    let slow = slow.subscription;
    append_ten(&mut hub, fast, 4..=5);
    assert!(!hub.is_passed_over(slow));
    append_ten(&mut hub, fast, 6..=6);
    assert!(hub.is_passed_over(slow) && hub.is_owed(slow));
    assert_eq!((hub.owed(slow), hub.first_owed(slow)), (None, None));
    assert_eq!(hub.lag(slow), Some(Lag { bytes: hub.log_bytes(), since: Time::ZERO }));
    assert_eq!(hub.lag(fast.subscription), None);
    // However long it stays away, it is one gap, and the log keeps within its bound.
    append_ten(&mut hub, fast, 7..=90);
    assert!((10..=20).contains(&hub.log_bytes()), "{}", hub.log_bytes());
    assert_eq!(hub.first_position(slow), Some(Position(4)));
    assert_eq!(hub.skip(slow), Missed { from: Position(0), newest: Position(90) });
    assert_eq!(hub.first_owed(slow).map(|(position, ..)| position), Some(Position(90)));
    let end = hub.owed(slow).unwrap().1.end;
    hub.sent_to(slow, end);
    assert_eq!((tidy(&mut hub), hub.log_bytes()), (vec![], 0));
    append_ten(&mut hub, fast, 91..=99);
    assert_eq!(hub.skip(slow), Missed { from: Position(90), newest: Position(99) }, "a second time");
}

#[test]
fn who_is_passed_over_may_leave_or_be_the_last_or_start_anew() {
    let mut hub = hub();
    let (fast, slow) = passed_over(&mut hub);
    append_ten(&mut hub, fast, 1..=9);
    assert!(hub.is_passed_over(slow.subscription));
    hub.unsubscribe(slow.subscription);
    assert_eq!((tidy(&mut hub), hub.log_bytes()), (vec![], 0), "nothing is kept for it");
    let again = subscribe(&mut hub, "a", 3);
    assert_eq!(again.subscription, slow.subscription);
    assert!(!hub.is_passed_over(again.subscription), "the next one in its place is another");
    append_ten(&mut hub, fast, 10..=19);
    assert!(hub.is_passed_over(again.subscription));
    hub.start_at_end(again.subscription);
    assert_eq!((tidy(&mut hub), hub.log_bytes()), (vec![], 0));
    append_ten(&mut hub, fast, 20..=29);
    hub.unsubscribe(fast.subscription);
    assert!(hub.unsubscribe(again.subscription).0.is_some(), "the channel ends with its last");
    assert_eq!(hub.log_bytes(), 0);
}

#[test]
fn at_the_total_too_the_rule_decides() {
    let mut hub = Hub::new(Bounds { lag_bytes: 1_000, log_bytes: 100, reserved_subscriptions: 0 });
    let (fast, slow) = passed_over(&mut hub);
    append_ten(&mut hub, fast, 1..=9);
    let other = subscribe(&mut hub, "other", 3);
    append(&mut hub, other.channel, 10, &"x".repeat(30));
    append(&mut hub, other.channel, 11, &"x".repeat(30));
    while hub.next_visit().is_some() {}
    assert!(tidy(&mut hub).is_empty());
    assert!(hub.is_passed_over(slow.subscription), "the oldest channel has lost its log");
    assert_eq!(hub.log_bytes(), 70);
    assert_eq!(hub.owed(other.subscription).unwrap().1.frames, 2);
}

#[test]
fn a_resume_is_served_from_the_log_exactly_if_it_reaches_back() {
    let mut hub = hub();
    let slow = subscribe(&mut hub, "a", 1);
    for (position, text) in [(3, "three"), (5, "five"), (7, "seven")] {
        append(&mut hub, slow.channel, position, text);
    }
    let resumed =
        hub.subscribe(&name("a"), ChannelMode::default(), RAW, Slot(2), NO_SUBSCRIPTION).subscription;
    for (position, reaches) in [(0, true), (4, true), (7, true), (8, false)] {
        assert_eq!(hub.reaches_back_to(resumed, Position(position)), reaches, "{position}");
    }
    hub.start_after(resumed, Position(4));
    let (stream, owed) = hub.owed(resumed).unwrap();
    assert_eq!(hub.slice(stream, owed.start, 9), b"fiveseven");
    flush(&mut hub);
    assert!(!hub.reaches_back_to(resumed, Position(6)));
    assert!(hub.reaches_back_to(resumed, Position(7)));
}

#[test]
fn a_small_channel_waits_for_one_volley_of_a_large_one() {
    let mut hub = hub();
    let large: Vec<Subscribed> = (0..4).map(|slot| subscribe(&mut hub, "large", slot)).collect();
    let small = subscribe(&mut hub, "small", 9);
    append(&mut hub, large[0].channel, 1, "L");
    append(&mut hub, small.channel, 2, "S");
    let mut visits = Vec::new();
    for _ in 0..2 {
        for _ in 0..2 {
            let subscription = hub.next_visit().unwrap();
            visits.push(hub.slot_of(subscription).0);
        }
        hub.rotate();
    }
    assert_eq!(visits, [0, 1, 9, 2]);
}

#[test]
fn a_round_ends_though_somebody_leaves_in_every_volley() {
    let mut hub = hub();
    let mut all: Vec<Subscribed> = (0..1_000).map(|slot| subscribe(&mut hub, "a", slot)).collect();
    append(&mut hub, all[0].channel, 1, "one");
    let mut visits = 0;
    while hub.has_rounds() {
        for _ in 0..10 {
            let Some(subscription) = hub.next_visit() else { break };
            visits += 1;
            if let Some((_, owed)) = hub.owed(subscription) {
                hub.sent_to(subscription, owed.end);
            }
        }
        if let Some(leaver) = all.pop() {
            hub.unsubscribe(leaver.subscription);
        }
    }
    assert!(visits <= 1_000, "{visits}");
}
