//! The states of a channel while Redis is there.

use super::*;
use crate::access::{Access, Pattern, Rule};
use crate::base::retention::Retention;

/// A rig in which shard 0 has joined `a` under key 0.
fn live() -> Rig {
    let mut rig = Rig::up();
    rig.join(0, 0, "a", 1);
    assert_eq!(rig.sent(), "SUBSCRIBE a");
    rig.receive(rig.push, &subscribed(&["a"]));
    assert_eq!(rig.deliveries(0), ["joined c1 k0 @1 []"]);
    rig
}

/// The same, left again at time zero.
fn lingering() -> Rig {
    let mut rig = live();
    rig.receive(rig.push, &messages(&[("a", "one")]));
    assert_eq!(rig.deliveries(0), ["batch 2:k0:one"]);
    rig.leave(0, 0, "a");
    rig
}

/// Time goes by, and Redis answers each PING.
fn pass(rig: &mut Rig, span: Duration) -> String {
    let (mut commands, mut pings) = (Vec::new(), 0);
    for _ in 0..span.as_secs() {
        rig.pass(Duration::from_secs(1));
        for command in rig.sent().split(" / ").filter(|command| !command.is_empty()) {
            match command {
                "PING" => pings += 1,
                command => commands.push(command.to_owned()),
            }
        }
        if std::mem::take(&mut pings) > 0 {
            rig.receive(rig.push, b"+PONG\r\n");
            rig.receive(rig.ask, b"+PONG\r\n");
        }
    }
    commands.join(" / ")
}

#[test]
fn the_first_join_subscribes_and_is_answered_at_the_acknowledgement() {
    let mut rig = Rig::up();
    rig.join(0, 0, "news", 1);
    assert_eq!(rig.deliveries(0), [""; 0]);
    assert_eq!(rig.sent(), "SUBSCRIBE news");
    assert_eq!(rig.sent(), "");
    let bytes = [subscribed(&["news"]), messages(&[("news", "hi"), ("other", "x"), ("news", "")])].concat();
    rig.receive(rig.push, &bytes);
    assert_eq!(rig.deliveries(0), ["joined c1 k0 @1 []", "batch 2:k0:hi 3:k0:"]);
    assert_eq!(rig.deliveries(1), [""; 0]);
    assert_eq!(rig.counters.cells.messages_received.get(), 2);
    assert_eq!(rig.counters.cells.upstream_channels.get(), 1);
}

#[test]
fn a_join_may_ask_for_what_is_kept() {
    let mut rig = live();
    rig.receive(rig.push, &messages(&[("a", "one"), ("a", "two"), ("a", "three")]));
    rig.deliveries(0);
    rig.join_since(1, 0, "a", 2, Since::Last(2));
    rig.join_since(1, 0, "a", 3, Since::Earliest);
    assert_eq!(
        rig.deliveries(1),
        ["joined c2 k0 @4 [3:two 4:three]", "joined c3 k0 @4 [2:one 3:two 4:three]"]
    );
}

/// Nothing is kept of `none.*`; one message, for two minutes, of `long.*`.
fn rules() -> Rules {
    let rule = |pattern: &str, history| Rule {
        history,
        ..Rule::new(Pattern::parse(pattern).unwrap(), Access::public())
    };
    Rules::new(vec![
        rule("none.*", Retention { count: 0, ..Retention::STANDARD }),
        rule("long.*", Retention { count: 1, age: Duration::from_secs(120), ..Retention::STANDARD }),
    ])
}

#[test]
fn what_is_kept_of_a_channel_is_up_to_its_rule() {
    for (name, replay) in [("none.a", "[]"), ("long.a", "[3:two]"), ("a", "[2:one 3:two]")] {
        let mut rig = Rig::up_by(Limits::default(), rules());
        rig.join(0, 0, name, 1);
        rig.sent();
        rig.receive(rig.push, &subscribed(&[name]));
        rig.receive(rig.push, &messages(&[(name, "one"), (name, "two")]));
        rig.join_since(1, 0, name, 2, Since::Earliest);
        assert_eq!(rig.deliveries(1), [format!("joined c2 k0 @3 {replay}")]);
    }
}

#[test]
fn a_channel_lingers_as_long_as_its_history_reaches_back_and_a_minute_at_least() {
    for (name, seconds) in [("none.a", 60), ("long.a", 120)] {
        let mut rig = Rig::up_by(Limits::default(), rules());
        rig.join(0, 0, name, 1);
        rig.sent();
        rig.receive(rig.push, &subscribed(&[name]));
        rig.leave(0, 0, name);
        assert_eq!(pass(&mut rig, Duration::from_secs(seconds - 1)), "");
        assert_eq!(pass(&mut rig, Duration::from_secs(5)), format!("UNSUBSCRIBE {name}"));
    }
}

#[test]
fn those_who_join_while_the_acknowledgement_is_awaited_are_answered_with_it() {
    let mut rig = Rig::up();
    rig.join(0, 0, "a", 1);
    rig.sent();
    rig.join(1, 9, "a", 2);
    rig.join(0, 0, "a", 3);
    rig.leave(1, 9, "a");
    assert_eq!(rig.sent(), "");
    rig.receive(rig.push, &subscribed(&["a"]));
    assert_eq!(rig.deliveries(0), ["joined c1 k0 @1 []", "joined c3 k0 @1 []"]);
    assert_eq!(rig.deliveries(1), ["joined c2 k9 @1 []"]);
    rig.receive(rig.push, &messages(&[("a", "x")]));
    assert_eq!(rig.deliveries(0), ["batch 2:k0:x"]);
    assert_eq!(rig.deliveries(1), [""; 0], "it has left");
}

#[test]
fn a_join_of_a_live_channel_is_answered_behind_the_messages_before_it() {
    let mut rig = live();
    rig.receive(rig.push, &messages(&[("a", "one"), ("a", "two")]));
    rig.join(1, 5, "a", 2);
    rig.join_after(0, 0, "a", 3, 2);
    rig.receive(rig.push, &messages(&[("a", "three")]));
    assert_eq!(rig.sent(), "");
    assert_eq!(rig.deliveries(0), ["batch 2:k0:one 3:k0:two", "joined c3 k0 @3 [3:two]", "batch 4:k0:three"]);
    assert_eq!(rig.deliveries(1), ["joined c2 k5 @3 []", "batch 4:k5:three"]);
}

#[test]
fn one_read_gives_each_shard_one_batch_on_one_chunk() {
    let mut rig = live();
    rig.join(1, 5, "a", 2);
    rig.deliveries(1);
    rig.receive(rig.push, &messages(&[("a", "one"), ("a", "two")]));
    let batches: Vec<Delivery> =
        [0, 1].map(|shard| rig.reader.next_delivery(ShardIndex(shard)).unwrap()).into();
    let [Delivery::Batch(first), Delivery::Batch(second)] = &batches[..] else { panic!("two batches") };
    let [first, second] = [first, second].map(|batch| -> Vec<_> {
        batch.messages().iter().map(|message| batch.payload(message).as_ptr_range()).collect()
    });
    assert_eq!(first, second, "the bytes are the same, not copies");
    assert_eq!(first[0].end, first[1].start, "they lie back to back");
    assert_eq!(rig.deliveries(0), [""; 0]);
}

#[test]
fn joins_of_one_turn_share_a_command_and_commands_have_bounds() {
    let mut rig = Rig::up();
    let names: Vec<String> = (0..3_000).map(|number| format!("c{number}")).collect();
    for (number, name) in (0..).zip(&names) {
        rig.join(0, number, name, number);
    }
    let sent = rig.sent();
    let counts: Vec<usize> = sent.split(" / ").map(|command| command.split(' ').count() - 1).collect();
    assert_eq!(counts, [512; 4]);
    assert_eq!(rig.sent(), "", "no more than four are under way");
    let first: Vec<&str> = names[..512].iter().map(String::as_str).collect();
    rig.receive(rig.push, &subscribed(&first[..511]));
    assert_eq!(rig.sent(), "");
    rig.receive(rig.push, &subscribed(&first[511..]));
    assert_eq!(rig.sent().split(' ').count() - 1, 512);
    assert_eq!(rig.deliveries(0).len(), 512);
}

#[test]
fn a_message_for_a_lingering_channel_goes_into_the_history_only() {
    let mut rig = lingering();
    rig.receive(rig.push, &messages(&[("a", "two")]));
    assert_eq!(rig.deliveries(0), [""; 0]);
    rig.join_after(1, 4, "a", 2, 1);
    rig.join_after(1, 4, "a", 3, 0);
    assert_eq!(
        rig.deliveries(1),
        ["joined c2 k4 @3 [2:one 3:two]", "joined c3 k4 @3 [2:one 3:two] gap 0 too-old"]
    );
    assert_eq!(rig.sent(), "");
}

#[test]
fn a_channel_that_nobody_wants_for_a_minute_is_unsubscribed_and_forgotten() {
    let mut rig = lingering();
    assert_eq!(pass(&mut rig, Duration::from_secs(59)), "");
    assert_eq!(pass(&mut rig, Duration::from_secs(1)), "UNSUBSCRIBE a");
    assert_eq!(rig.counters.cells.upstream_channels.get(), 1);
    rig.receive(rig.push, &unsubscribed(&["a"]));
    assert_eq!(rig.counters.cells.upstream_channels.get(), 0);
    assert_eq!(rig.counters.cells.history_bytes.get(), 0);
    rig.join_after(0, 1, "a", 2, 2);
    assert_eq!(rig.sent(), "SUBSCRIBE a");
    rig.receive(rig.push, &subscribed(&["a"]));
    assert_eq!(rig.deliveries(0), ["joined c2 k1 @3 [] gap 2 too-old"], "nobody listened in between");
}

#[test]
fn a_channel_that_was_wanted_again_lingers_anew() {
    let mut rig = lingering();
    pass(&mut rig, Duration::from_secs(30));
    rig.join(0, 1, "a", 2);
    pass(&mut rig, Duration::from_secs(40));
    rig.leave(0, 1, "a");
    assert_eq!(pass(&mut rig, Duration::from_secs(59)), "");
    assert_eq!(pass(&mut rig, Duration::from_secs(61)), "UNSUBSCRIBE a");
}

#[test]
fn a_join_before_the_unsubscribe_is_sent_takes_it_back() {
    let mut rig = lingering();
    for _ in 0..5 {
        pass(&mut rig, Duration::from_secs(10));
    }
    rig.receive(rig.push, &messages(&[("a", "two")]));
    // The last ten seconds without a turn in which commands are sent.
    rig.pass(Duration::from_secs(10));
    rig.join_after(0, 1, "a", 2, 2);
    assert_eq!(rig.deliveries(0), ["joined c2 k1 @3 [3:two]"]);
    assert!(!rig.sent().contains("SUBSCRIBE"));
}

#[test]
fn a_join_while_the_unsubscribe_is_under_way_subscribes_again_and_says_what_may_be_missing() {
    let mut rig = lingering();
    assert_eq!(pass(&mut rig, Duration::from_secs(60)), "UNSUBSCRIBE a");
    rig.join_after(0, 1, "a", 2, 2);
    assert_eq!(rig.sent(), "SUBSCRIBE a");
    // A message of the old subscription, its end, then the new one.
    let bytes =
        [messages(&[("a", "old")]), unsubscribed(&["a"]), subscribed(&["a"]), messages(&[("a", "new")])];
    rig.receive(rig.push, &bytes.concat());
    assert_eq!(rig.deliveries(0), ["joined c2 k1 @3 [] gap 2 too-old", "batch 4:k1:new"]);
}

#[test]
fn what_came_while_the_channel_lingered_is_no_part_of_the_next_subscription() {
    let mut rig = lingering();
    pass(&mut rig, Duration::from_secs(50));
    rig.receive(rig.push, &messages(&[("a", "late")]));
    assert_eq!(pass(&mut rig, Duration::from_secs(10)), "UNSUBSCRIBE a");
    rig.receive(rig.push, &messages(&[("a", "later")]));
    rig.join_after(0, 1, "a", 2, 2);
    assert_eq!(rig.sent(), "SUBSCRIBE a");
    rig.receive(rig.push, &[unsubscribed(&["a"]), subscribed(&["a"])].concat());
    assert_eq!(rig.deliveries(0), ["joined c2 k1 @5 [] gap 2 too-old"]);
    assert_eq!(rig.counters.cells.history_bytes.get(), 0);
}

#[test]
fn a_leave_while_the_acknowledgement_is_awaited_makes_the_channel_linger() {
    let mut rig = Rig::up();
    rig.join(0, 0, "a", 1);
    rig.sent();
    rig.leave(0, 0, "a");
    rig.receive(rig.push, &subscribed(&["a"]));
    assert_eq!(rig.deliveries(0), ["joined c1 k0 @1 []"]);
    assert_eq!(pass(&mut rig, Duration::from_secs(60)), "UNSUBSCRIBE a");
}

#[test]
fn a_stale_leave_changes_nothing() {
    let mut rig = live();
    rig.leave(0, 7, "a");
    rig.leave(1, 0, "a");
    rig.leave(0, 0, "unknown");
    rig.receive(rig.push, &messages(&[("a", "x")]));
    assert_eq!(rig.deliveries(0), ["batch 2:k0:x"]);
}

#[test]
fn forbidden_channels_are_told_apart_from_the_others_of_their_batch() {
    const NOPERM: &[u8] =
        b"-NOPERM this user has no permissions to access one of the channels used as arguments\r\n";
    let mut rig = Rig::up();
    for (key, name) in (0..).zip(["a", "b", "secret", "d", "e"]) {
        rig.join(0, key, name, key);
    }
    assert_eq!(rig.sent(), "SUBSCRIBE a b secret d e");
    rig.receive(rig.push, NOPERM);
    assert_eq!(rig.sent(), "SUBSCRIBE a b / SUBSCRIBE secret d e");
    rig.receive(rig.push, &[&subscribed(&["a", "b"]), NOPERM].concat());
    assert_eq!(rig.sent(), "SUBSCRIBE secret / SUBSCRIBE d e");
    rig.receive(rig.push, &[NOPERM, &subscribed(&["d", "e"])].concat());
    assert_eq!(
        rig.deliveries(0),
        [
            "joined c0 k0 @1 []",
            "joined c1 k1 @1 []",
            "joined c2 k2 @1 forbidden",
            "joined c3 k3 @2 []",
            "joined c4 k4 @2 []"
        ]
    );
    assert_eq!(rig.outputs(), r#"Forbidden { channels: 1, first: "secret" }"#);
    assert_eq!(rig.counters.cells.upstream_channels.get(), 4);
    rig.leave(0, 2, "secret");
    rig.join(0, 8, "secret", 9);
    assert_eq!(rig.sent(), "SUBSCRIBE secret", "it is asked again: the ACL may have changed");
}

#[test]
fn a_user_who_may_not_subscribe_at_all_is_not_asked_channel_by_channel() {
    let mut rig = Rig::up();
    rig.join(0, 0, "a", 1);
    rig.join(1, 0, "b", 2);
    rig.sent();
    rig.receive(rig.push, b"-NOPERM User reader has no permissions to run the 'subscribe' command\r\n");
    assert_eq!(rig.sent(), "");
    assert_eq!(rig.deliveries(0), ["joined c1 k0 @0 forbidden"]);
    assert_eq!(rig.deliveries(1), ["joined c2 k0 @0 forbidden"]);
    assert_eq!(rig.outputs(), r#"Forbidden { channels: 2, first: "a" }"#);
}

#[test]
fn the_same_script_leads_to_the_same_bytes_whatever_the_hash() {
    let run = |seed: u64| {
        let mut rig = Rig::new(Upstream::Redis(redis_options()), Limits::default(), Rules::default(), seed);
        for (key, name) in (0..).zip(["x", "b", "q", "a", "m"]) {
            rig.join(0, key, name, key);
        }
        rig.connect(Link::Push, 0);
        rig.sent();
        rig.receive(rig.push, LOGGED_IN);
        let sent = rig.sent();
        rig.receive(rig.push, &subscribed(&["x", "b", "q", "a", "m"]));
        (sent, rig.deliveries(0))
    };
    let first = run(1);
    assert_eq!(first.0, "SUBSCRIBE x b q a m");
    for seed in 2..20 {
        assert_eq!(run(seed), first);
    }
}

/// A rig that takes three channels, and has joined `a`, `b` and `c` as shard 0.
fn full() -> Rig {
    let mut rig = Rig::up_with(Limits { channels: 3, ..Limits::default() });
    for (key, name) in (0..).zip(["a", "b", "c"]) {
        rig.join(0, key, name, key);
    }
    rig.sent();
    rig.receive(rig.push, &subscribed(&["a", "b", "c"]));
    assert_eq!(rig.deliveries(0).len(), 3);
    rig
}

#[test]
fn a_channel_beyond_the_bound_is_answered_full_and_nothing_is_created() {
    let mut rig = full();
    rig.join(1, 3, "d", 9);
    assert_eq!(rig.deliveries(1), ["joined c9 k3 @1 full"]);
    assert_eq!((rig.sent(), rig.counters.cells.upstream_channels.get()), (String::new(), 3));
    rig.leave(1, 3, "d");
    rig.join(1, 4, "a", 9);
    assert_eq!(rig.deliveries(1), ["joined c9 k4 @1 []"], "what is there already is no new channel");
}

#[test]
fn at_the_bound_the_channel_that_has_lingered_longest_gives_its_place() {
    let mut rig = full();
    rig.leave(0, 1, "b");
    rig.pass(Duration::from_secs(1));
    rig.leave(0, 0, "a");
    rig.pass(Duration::from_secs(1));
    // Wanted and left again: by now `a` lingers longer.
    rig.join(0, 1, "b", 5);
    rig.leave(0, 1, "b");
    rig.deliveries(0);
    rig.join(1, 3, "d", 9);
    assert_eq!(rig.sent(), "UNSUBSCRIBE a / SUBSCRIBE d");
    rig.join(1, 4, "e", 9);
    assert_eq!(rig.sent(), "UNSUBSCRIBE b / SUBSCRIBE e");
    rig.join(1, 5, "f", 9);
    assert_eq!(rig.deliveries(1), ["joined c9 k5 @1 full"], "`c` is wanted");
    let bytes = [unsubscribed(&["a"]), subscribed(&["d"]), unsubscribed(&["b"]), subscribed(&["e"])];
    rig.receive(rig.push, &bytes.concat());
    assert_eq!(rig.counters.cells.upstream_channels.get(), 3);
}

#[test]
fn a_storm_of_names_is_bounded_however_slowly_redis_answers() {
    const BOUND: usize = crate::base::limits::CHANNELS_ENDING + 100;
    let mut rig = Rig::up_with(Limits { channels: BOUND, ..Limits::default() });
    let names = |kind: &str| -> Vec<String> { (0..BOUND).map(|number| format!("{kind}{number}")).collect() };
    let first = names("first");
    first.iter().for_each(|name| rig.join(0, 0, name, 1));
    for batch in first.chunks(512) {
        rig.sent();
        rig.receive(rig.push, &subscribed(&batch.iter().map(String::as_str).collect::<Vec<_>>()));
    }
    first.iter().for_each(|name| rig.leave(0, 0, name));
    assert_eq!(rig.deliveries(0).len(), BOUND);
    // Redis says nothing from here on.
    names("second").iter().for_each(|name| rig.join(0, 0, name, 1));
    let full = rig.deliveries(0);
    assert_eq!((full.len(), &*full[0]), (100, "joined c1 k0 @33 full"));
    assert_eq!(rig.counters.cells.upstream_channels.get(), 2 * BOUND as u64 - 100);
}

#[test]
fn while_redis_is_down_a_channel_that_nobody_wants_gives_its_place_at_once() {
    let mut rig = full();
    rig.leave(0, 1, "b");
    rig.lose();
    rig.deliveries(1);
    rig.join(1, 3, "d", 9);
    assert_eq!(rig.deliveries(1), ["joined c9 k3 @1 [] gap 1 upstream-down"]);
    assert_eq!(rig.counters.cells.upstream_channels.get(), 3);
    rig.come_back(2);
    assert_eq!(rig.sent().split(' ').count(), 4, "a, c and d");
}
