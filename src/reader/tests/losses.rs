//! Losing Redis, and having it back.

use super::*;

/// Shard 0 has `a` (key 0) and `b` (key 1), shard 1 has `a` (key 5); one message of each.
fn live() -> Rig {
    let mut rig = Rig::up();
    rig.join(0, 0, "a", 1);
    rig.join(0, 1, "b", 1);
    rig.join(1, 5, "a", 2);
    rig.sent();
    let bytes = [subscribed(&["a", "b"]), messages(&[("a", "one"), ("b", "two")])].concat();
    rig.receive(rig.push, &bytes);
    assert_eq!(rig.deliveries(0), ["joined c1 k0 @1 []", "joined c1 k1 @1 []", "batch 2:k0:one 3:k1:two"]);
    assert_eq!(rig.deliveries(1), ["joined c2 k5 @1 []", "batch 2:k5:one"]);
    rig
}

#[test]
fn every_shard_is_told_once_of_the_gap_when_redis_is_back() {
    let mut rig = live();
    rig.lose();
    assert_eq!(rig.outputs(), r#"close 0, Down { reason: "Redis closed the connection" }, close 1"#);
    assert_eq!(rig.counters.cells.redis_up.get(), 0);
    rig.are_told("Down");
    rig.come_back(2);
    assert_eq!(rig.counters.cells.redis_up.get(), 0, "logged in, but not subscribed yet");
    assert_eq!(rig.sent(), "SUBSCRIBE a b");
    let bytes = [subscribed(&["a", "b"]), messages(&[("a", "three")])].concat();
    rig.receive(rig.push, &bytes);
    assert_eq!(rig.deliveries(0), ["gap k0@4 k1@5 from 3 upstream-down", "upstream Up", "batch 6:k0:three"]);
    assert_eq!(rig.deliveries(1), ["gap k5@4 from 3 upstream-down", "upstream Up", "batch 6:k5:three"]);
    assert_eq!(rig.outputs(), "Up { outage: 2s }");
    assert_eq!(rig.counters.cells.redis_up.get(), 1);
    assert_eq!(rig.counters.cells.redis_outage_milliseconds.get(), 2_000);
}

#[test]
fn the_gap_stands_before_the_first_message_and_behind_those_of_other_channels() {
    let mut rig = live();
    rig.lose();
    rig.come_back(2);
    rig.sent();
    rig.receive(rig.push, &subscribed(&["a"]));
    assert_eq!(rig.deliveries(0), ["upstream Down", "gap k0@4 from 3 upstream-down"]);
    let bytes =
        [messages(&[("a", "four")]), subscribed(&["b"]), messages(&[("b", "five"), ("a", "six")])].concat();
    rig.receive(rig.push, &bytes);
    assert_eq!(
        rig.deliveries(0),
        ["batch 5:k0:four", "gap k1@6 from 3 upstream-down", "upstream Up", "batch 7:k1:five 8:k0:six"]
    );
}

#[test]
fn a_resume_across_the_loss_is_told_so() {
    let mut rig = live();
    rig.lose();
    rig.come_back(2);
    rig.sent();
    rig.receive(rig.push, &[subscribed(&["a", "b"]), messages(&[("a", "three")])].concat());
    rig.deliveries(0);
    for (position, expected) in [
        (1, "joined c9 k0 @6 [2:one 4:gap-from-3-upstream-down 6:three]"),
        (3, "joined c9 k0 @6 [4:gap-from-3-upstream-down 6:three]"),
        (4, "joined c9 k0 @6 [6:three]"),
        (6, "joined c9 k0 @6 []"),
    ] {
        rig.join_after(0, 0, "a", 9, position);
        assert_eq!(rig.deliveries(0), [expected]);
    }
}

#[test]
fn who_joins_while_redis_is_down_is_answered_at_once_with_a_gap() {
    let mut rig = live();
    rig.lose();
    rig.are_told("Down");
    rig.join(1, 6, "b", 3);
    rig.join_after(0, 0, "a", 4, 1);
    rig.join(1, 7, "new", 5);
    assert_eq!(
        rig.deliveries(1),
        ["joined c3 k6 @3 [] gap 3 upstream-down", "joined c5 k7 @4 [] gap 4 upstream-down"]
    );
    assert_eq!(rig.deliveries(0), ["joined c4 k0 @4 [2:one 4:gap-from-2-upstream-down]"]);
    rig.come_back(2);
    assert_eq!(rig.sent(), "SUBSCRIBE a b new");
    rig.receive(rig.push, &subscribed(&["a", "b", "new"]));
    assert_eq!(
        rig.deliveries(1),
        ["gap k5@5 k6@6 from 3 upstream-down", "gap k7@7 from 4 upstream-down", "upstream Up"],
        "each from its own beginning"
    );
}

#[test]
fn who_joins_before_redis_was_ever_there_is_answered_too() {
    let mut rig = Rig::dialing(redis_options());
    rig.join(0, 0, "a", 1);
    assert_eq!(rig.deliveries(0), ["joined c1 k0 @0 [] gap 0 upstream-down"]);
    rig.connect(Link::Push, 0);
    rig.sent();
    rig.receive(rig.push, LOGGED_IN);
    assert_eq!(rig.sent(), "SUBSCRIBE a");
    rig.receive(rig.push, &subscribed(&["a"]));
    assert_eq!(rig.deliveries(0), ["gap k0@1 from 0 upstream-down", "upstream Up"]);
    assert_eq!(rig.deliveries(1), ["upstream Up"]);
}

#[test]
fn those_who_wait_for_an_acknowledgement_are_answered_at_the_loss() {
    let mut rig = Rig::up();
    rig.join(0, 0, "a", 1);
    rig.sent();
    rig.join(1, 3, "a", 2);
    rig.lose();
    assert_eq!(rig.deliveries(0), ["upstream Down", "joined c1 k0 @0 [] gap 0 upstream-down"]);
    assert_eq!(rig.deliveries(1), ["upstream Down", "joined c2 k3 @0 [] gap 0 upstream-down"]);
    rig.come_back(2);
    assert_eq!(rig.sent(), "SUBSCRIBE a");
}

#[test]
fn a_second_loss_while_subscribing_again_widens_no_gap_and_forgets_none() {
    let mut rig = live();
    rig.lose();
    rig.come_back(2);
    assert_eq!(rig.sent(), "SUBSCRIBE a b");
    rig.receive(rig.push, &[subscribed(&["a"]), messages(&[("a", "x")])].concat());
    assert_eq!(rig.deliveries(0), ["upstream Down", "gap k0@4 from 3 upstream-down", "batch 5:k0:x"]);
    rig.lose();
    rig.come_back(4);
    assert_eq!(rig.sent(), "SUBSCRIBE a b");
    rig.receive(rig.push, &subscribed(&["a", "b"]));
    assert_eq!(
        rig.deliveries(0),
        ["gap k1@6 from 3 upstream-down", "gap k0@7 from 5 upstream-down", "upstream Up"],
        "each channel from its own loss"
    );
    assert_eq!(rig.counters.cells.redis_up.get(), 1);
}

#[test]
fn a_loss_before_any_acknowledgement_leaves_the_first_gap_as_it_was() {
    let mut rig = live();
    for slot in [2, 4, 6] {
        rig.lose();
        rig.come_back(slot);
        assert_eq!(rig.sent(), "SUBSCRIBE a b");
    }
    rig.receive(rig.push, &subscribed(&["a", "b"]));
    assert_eq!(rig.deliveries(0), ["upstream Down", "gap k0@4 k1@5 from 3 upstream-down", "upstream Up"]);
}

#[test]
fn a_channel_that_is_left_during_the_outage_is_forgotten_when_it_has_lingered() {
    let mut rig = live();
    rig.lose();
    rig.leave(0, 1, "b");
    for _ in 0..60 {
        rig.pass(Duration::from_secs(1));
    }
    assert_eq!(rig.counters.cells.upstream_channels.get(), 1);
    rig.come_back(2);
    assert_eq!(rig.sent(), "SUBSCRIBE a");
}

#[test]
fn a_channel_that_lingers_is_subscribed_again_for_its_history() {
    let mut rig = live();
    rig.leave(0, 1, "b");
    rig.lose();
    rig.come_back(2);
    assert_eq!(rig.sent(), "SUBSCRIBE a b");
    rig.receive(rig.push, &[subscribed(&["a", "b"]), messages(&[("b", "x")])].concat());
    assert_eq!(rig.deliveries(0), ["upstream Down", "gap k0@4 from 3 upstream-down", "upstream Up"]);
    rig.join_after(0, 1, "b", 2, 4);
    assert_eq!(rig.deliveries(0), ["joined c2 k1 @6 [5:gap-from-4-upstream-down 6:x]"]);
}

#[test]
fn an_unsubscribe_that_was_under_way_is_done_with_the_loss() {
    let mut rig = Rig::up();
    rig.join(0, 0, "a", 1);
    rig.sent();
    rig.receive(rig.push, &subscribed(&["a"]));
    rig.leave(0, 0, "a");
    for _ in 0..60 {
        rig.pass(Duration::from_secs(1));
        if rig.sent() == "PING / PING" {
            rig.receive(rig.push, b"+PONG\r\n");
            rig.receive(rig.ask, b"+PONG\r\n");
        }
    }
    rig.lose();
    assert_eq!(rig.counters.cells.upstream_channels.get(), 0);
    rig.come_back(2);
    assert_eq!(rig.sent(), "");
    assert_eq!(rig.counters.cells.redis_up.get(), 1);
}

#[test]
fn a_channel_that_is_forbidden_when_redis_is_back_is_told_to_those_who_had_it() {
    let mut rig = live();
    rig.lose();
    rig.come_back(2);
    assert_eq!(rig.sent(), "SUBSCRIBE a b");
    rig.receive(rig.push, b"-NOPERM No permissions to access a channel\r\n");
    assert_eq!(rig.sent(), "SUBSCRIBE a / SUBSCRIBE b");
    rig.receive(rig.push, b"-NOPERM No permissions to access a channel\r\n");
    rig.receive(rig.push, &subscribed(&["b"]));
    assert_eq!(
        rig.deliveries(0),
        ["upstream Down", "gap k0@4 from 3 forbidden", "gap k1@5 from 3 upstream-down", "upstream Up"]
    );
    assert_eq!(rig.deliveries(1), ["upstream Down", "gap k5@4 from 3 forbidden", "upstream Up"]);
    assert_eq!(rig.counters.cells.redis_up.get(), 1);
}

const NOPERM: &[u8] = b"-NOPERM No permissions to access a channel\r\n";

/// As `live`, but `a` is forbidden since Redis came back in slots 2 and 3; everybody has been told.
fn forbidden() -> Rig {
    let mut rig = live();
    rig.lose();
    rig.come_back(2);
    rig.sent();
    rig.receive(rig.push, NOPERM);
    rig.sent();
    rig.receive(rig.push, &[NOPERM, &subscribed(&["b"])].concat());
    assert_eq!(rig.outputs(), r#"Forbidden { channels: 1, first: "a" }, Up { outage: 2s }"#);
    rig.deliveries(0);
    assert_eq!(rig.deliveries(1), ["upstream Down", "gap k5@4 from 3 forbidden", "upstream Up"]);
    rig
}

#[test]
fn who_joins_a_channel_that_became_forbidden_is_told_so_and_it_is_asked_for_again() {
    let mut rig = forbidden();
    rig.join(0, 0, "a", 7);
    rig.join_after(1, 5, "a", 8, 1);
    assert_eq!(rig.deliveries(0), ["joined c7 k0 @5 [] gap 5 forbidden"]);
    assert_eq!(rig.deliveries(1), ["joined c8 k5 @6 [2:one 6:gap-from-2-forbidden]"]);
    assert_eq!(rig.sent(), "SUBSCRIBE a", "once for both");
    rig.receive(rig.push, NOPERM);
    assert_eq!((rig.deliveries(0), rig.outputs()), (Vec::new(), String::new()), "nothing is new");
    assert_eq!(rig.sent(), "");
}

#[test]
fn a_channel_that_is_allowed_again_is_live_for_those_who_had_it_all_the_time() {
    let mut rig = forbidden();
    rig.join(0, 0, "a", 7);
    rig.deliveries(0);
    rig.sent();
    rig.receive(rig.push, &[subscribed(&["a"]), messages(&[("a", "back")])].concat());
    assert_eq!(rig.deliveries(0), ["gap k0@6 from 3 forbidden", "batch 7:k0:back"]);
    assert_eq!(rig.deliveries(1), ["gap k5@6 from 3 forbidden", "batch 7:k5:back"]);
    rig.join_after(1, 5, "a", 8, 1);
    assert_eq!(rig.deliveries(1), ["joined c8 k5 @7 [2:one 6:gap-from-3-forbidden 7:back]"]);
    rig.join(1, 5, "a", 9);
    assert_eq!(rig.deliveries(1), ["joined c9 k5 @7 []"], "it is live like any other");
}

#[test]
fn a_forbidden_channel_is_asked_for_every_30_s_and_when_redis_is_back() {
    let mut rig = forbidden();
    for _ in 0..3 {
        let mut seconds = 0;
        while rig.sent() != "SUBSCRIBE a" {
            seconds += 1;
            rig.pass(Duration::from_secs(1));
            // Neither link is silent for so long that it would be asked whether it lives.
            for socket in [rig.push, rig.ask] {
                rig.receive(socket, b">1\r\n+new\r\n");
            }
        }
        assert!((30..=31).contains(&seconds), "{seconds}");
        rig.receive(rig.push, NOPERM);
    }
    rig.lose();
    rig.join(0, 0, "a", 7);
    assert_eq!(rig.deliveries(0), ["upstream Down", "joined c7 k0 @5 [] gap 5 forbidden"]);
    rig.come_back(4);
    assert_eq!(rig.sent(), "SUBSCRIBE a b");
    rig.receive(rig.push, &subscribed(&["a", "b"]));
    assert_eq!(rig.deliveries(1), ["upstream Down", "gap k5@7 from 3 forbidden", "upstream Up"],);
}

#[test]
fn a_forbidden_channel_is_forgotten_when_nobody_wants_it() {
    let mut rig = forbidden();
    rig.leave(0, 0, "a");
    assert_eq!(rig.counters.cells.upstream_channels.get(), 2);
    rig.leave(1, 5, "a");
    assert_eq!(rig.counters.cells.upstream_channels.get(), 1);
    // The same while it is asked for: by the refusal, or by the loss of the link.
    for is_refused in [true, false] {
        let mut rig = forbidden();
        rig.join(0, 0, "a", 7);
        assert_eq!(rig.sent(), "SUBSCRIBE a");
        rig.leave(0, 0, "a");
        rig.leave(1, 5, "a");
        assert_eq!(rig.counters.cells.upstream_channels.get(), 2, "its answer is awaited");
        if is_refused {
            rig.receive(rig.push, NOPERM);
        } else {
            rig.lose();
        }
        assert_eq!(rig.counters.cells.upstream_channels.get(), 1);
    }
}

#[test]
fn the_shards_are_told_once_that_nothing_is_heard_and_once_that_all_of_it_is() {
    let mut rig = live();
    rig.lose();
    rig.are_told("Down");
    rig.come_back(2);
    assert_eq!(rig.sent(), "SUBSCRIBE a b");
    rig.receive(rig.push, &subscribed(&["a"]));
    assert_eq!(rig.deliveries(1), ["gap k5@4 from 3 upstream-down"]);
    rig.lose();
    rig.come_back(4);
    assert_eq!(rig.deliveries(1), [""; 0], "they know it");
    assert_eq!(rig.sent(), "SUBSCRIBE a b");
    rig.receive(rig.push, &subscribed(&["a", "b"]));
    assert_eq!(rig.deliveries(1), ["gap k5@6 from 4 upstream-down", "upstream Up"]);
}

#[test]
fn losing_the_ask_link_alone_costs_no_messages() {
    let mut rig = live();
    rig.go(Input::HungUp { socket: rig.ask, cause: HangUp::Reset });
    assert_eq!(rig.counters.cells.redis_up.get(), 1);
    rig.receive(rig.push, &messages(&[("b", "three")]));
    assert_eq!(rig.deliveries(0), ["batch 4:k1:three"]);
}

#[test]
fn messages_before_the_bytes_that_break_the_link_are_delivered() {
    let mut rig = live();
    rig.receive(rig.push, &[messages(&[("a", "last")]), b"nonsense".to_vec()].concat());
    assert_eq!(rig.deliveries(0), ["batch 4:k0:last", "upstream Down"]);
    assert!(rig.outputs().contains("Redis sent what cannot be read"));
}
