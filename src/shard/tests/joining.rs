//! Channels that are joined and left: resumes, gaps, and what the reader answers.

use super::*;

#[test]
fn a_resume_replays_from_the_readers_history_and_goes_on_without_repeat() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a&channel=b&last_event_id=a.10");
    let (a, socket, since) = bench.asked("a");
    let (b, ..) = bench.asked("b");
    assert_eq!(since, Since::After(Position(10)));
    bench.joined(socket, a, 20, vec![replayed(12, "a12"), replayed(19, "a19")], None);
    bench.publish(&[(a, 21, "a21"), (a, 23, "a23")]);
    bench.joined(socket, b, 24, vec![replayed(11, "b11"), replayed(22, "b22")], None);
    bench.publish(&[(b, 25, "b25")]);
    bench.flush();
    let expected = "retry: 2000\nid: a.10\n\ndata: b11\nid: a.11\n\ndata: a12\nid: a.12\n\ndata: a19\nid: a.19\n\n\
                    data: a21\nid: a.21\n\ndata: b22\nid: a.22\n\ndata: a23\nid: a.23\n\ndata: b25\nid: a.25\n\n";
    assert_eq!(bench.body(1), expected);
    assert_eq!(bench.shard.kept_bytes(), 0);
}

#[test]
fn a_resume_that_missed_nothing_is_answered_by_the_shard_itself() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a");
    let (a, ..) = bench.asked("a");
    bench.join_all(0);
    bench.publish(&[(a, 5, "five")]);
    bench.flush();
    bench.stream(2, "channel=a&last_event_id=a.5");
    assert!(bench.controls.is_empty());
    bench.publish(&[(a, 6, "six")]);
    bench.flush();
    assert_eq!(bench.body(2), "retry: 2000\nid: a.5\n\ndata: six\nid: a.6\n\n");
}

#[test]
fn a_stream_may_begin_with_what_is_kept_also_of_a_channel_that_is_live_here() {
    for (query, since) in [
        ("history=2", Since::Last(2)),
        ("last_event_id=earliest", Since::Earliest),
        ("history=0", Since::Last(0)),
    ] {
        let mut bench = Bench::new();
        bench.stream(1, "channel=a");
        let (a, ..) = bench.asked("a");
        bench.join_all(3);
        bench.stream(2, &format!("channel=a&{query}"));
        let (_, socket, asked) = bench.asked("a");
        assert_eq!(asked, since);
        bench.publish(&[(a, 6, "six")]);
        bench.joined(socket, a, 6, vec![replayed(4, "four"), replayed(6, "six")], None);
        bench.publish(&[(a, 7, "seven")]);
        bench.flush();
        let expected = "retry: 2000\nid: a.3\n\ndata: four\nid: a.4\n\ndata: six\nid: a.6\n\n\
                        data: seven\nid: a.7\n\n";
        assert_eq!(bench.body(2), expected, "{query}");
        assert_eq!(bench.shard.kept_bytes(), 0);
    }
}

#[test]
fn a_stream_that_asked_for_what_is_kept_has_no_id_before_it_is_given_it() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a&channel=b&history=2");
    let (a, socket, _) = bench.asked("a");
    let (b, ..) = bench.asked("b");
    bench.joined(socket, a, 20, vec![replayed(19, "a19")], None);
    bench.now = bench.shard.waits.next().unwrap();
    bench.input(Input::Tick);
    bench.publish(&[(a, 21, "a21")]);
    bench.flush();
    assert_eq!(bench.body(1), "retry: 2000\n\n");
    bench.joined(socket, b, 22, Vec::new(), None);
    bench.flush();
    let expected = "event: courier-gap\n\
                    data: {\"channel\":\"b\",\"from\":\"a.18\",\"reason\":\"upstream-down\",\"to\":\"a.22\"}\nid: a.18\n\n\
                    data: a19\nid: a.19\n\ndata: a21\nid: a.21\n\n";
    assert_eq!(bench.body(1), expected);
}

#[test]
fn a_client_that_is_ahead_of_this_shard_gets_nothing_twice() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a");
    let (a, ..) = bench.asked("a");
    bench.join_all(3);
    bench.stream(2, "channel=a&last_event_id=a.5");
    let (_, socket, since) = bench.asked("a");
    assert_eq!(since, Since::After(Position(5)));
    bench.publish(&[(a, 4, "four"), (a, 5, "five")]);
    bench.joined(socket, a, 5, Vec::new(), None);
    bench.publish(&[(a, 6, "six")]);
    bench.flush();
    assert_eq!(bench.body(2), "retry: 2000\nid: a.5\n\ndata: six\nid: a.6\n\n");
}

#[test]
fn an_id_of_another_run_is_answered_by_a_stated_gap() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=news&last_event_id=zzz.5");
    bench.join_all(7);
    let expected = "retry: 2000\n\nevent: courier-gap\n\
                    data: {\"channel\":\"news\",\"from\":null,\"reason\":\"unknown-epoch\"}\nid: a.7\n\n";
    assert_eq!(bench.body(1), expected);
}

/// Cut anywhere before the last gap, the client comes back with the id that it had, and is told of all of them.
#[test]
fn a_client_with_an_id_of_another_run_gets_none_of_this_run_before_the_last_gap() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a&channel=b&last_event_id=zzz.5");
    bench.join_all(7);
    let expected = "retry: 2000\n\n\
                    event: courier-gap\ndata: {\"channel\":\"a\",\"from\":null,\"reason\":\"unknown-epoch\",\"to\":\"a.7\"}\n\n\
                    event: courier-gap\ndata: {\"channel\":\"b\",\"from\":null,\"reason\":\"unknown-epoch\"}\nid: a.7\n\n";
    assert_eq!(bench.body(1), expected);
}

#[test]
fn an_early_head_shows_a_client_with_an_id_of_another_run_no_other() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a&channel=b&last_event_id=zzz.5");
    let (a, socket, _) = bench.asked("a");
    let (b, ..) = bench.asked("b");
    bench.joined(socket, a, 3, Vec::new(), None);
    bench.now = bench.shard.waits.next().unwrap();
    bench.input(Input::Tick);
    bench.flush();
    assert_eq!(bench.body(1), "retry: 2000\n\n");
    bench.publish(&[(a, 4, "four")]);
    bench.joined(socket, b, 6, Vec::new(), None);
    bench.flush();
    let expected = "event: courier-gap\ndata: {\"channel\":\"a\",\"from\":null,\"reason\":\"unknown-epoch\",\"to\":\"a.3\"}\n\n\
                    event: courier-gap\ndata: {\"channel\":\"b\",\"from\":null,\"reason\":\"unknown-epoch\",\"to\":\"a.6\"}\nid: a.3\n\n\
                    data: four\nid: a.4\n\n";
    assert_eq!(bench.body(1), expected);
}

#[test]
fn a_gap_reaches_as_far_as_its_own_channel_lacks_messages_whatever_comes_of_others() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a&channel=b&last_event_id=a.5");
    let (a, socket, _) = bench.asked("a");
    let (b, ..) = bench.asked("b");
    let gap = JoinGap { from: Position(5), until: Position(50), reason: GapReason::TooOld };
    bench.joined(socket, a, 60, vec![replayed(51, "a51")], Some(gap));
    bench.joined(socket, b, 60, vec![replayed(30, "b30")], None);
    bench.flush();
    let expected = "retry: 2000\nid: a.5\n\nevent: courier-gap\n\
                    data: {\"channel\":\"a\",\"from\":\"a.5\",\"reason\":\"too-old\",\"to\":\"a.50\"}\nid: a.29\n\n\
                    data: b30\nid: a.30\n\ndata: a51\nid: a.51\n\n";
    assert_eq!(bench.body(1), expected);
}

#[test]
fn of_a_replay_beyond_the_tails_the_oldest_is_left_out_and_said_so() {
    let mut bench = Bench::with(|options| options.limits.tail_bytes = 4_096);
    bench.stream(1, "channel=a&channel=b&last_event_id=a.5");
    let (a, socket, _) = bench.asked("a");
    let (b, ..) = bench.asked("b");
    let long = |position: u64| {
        let payload = Bytes::from(position.to_string().repeat(100));
        Replayed::Message { position: Position(position), payload }
    };
    bench.joined(socket, a, 60, (10..40).map(long).collect(), None);
    bench.joined(socket, b, 60, vec![replayed(12, "old"), replayed(39, "b39")], None);
    bench.publish(&[(a, 61, "a61")]);
    bench.flush();
    let body = bench.body(1);
    let expected = "retry: 2000\nid: a.5\n\n\
                    event: courier-gap\ndata: {\"channel\":\"a\",\"from\":\"a.5\",\"reason\":\"too-old\",\"to\":\"a.30\"}\nid: a.5\n\n\
                    event: courier-gap\ndata: {\"channel\":\"b\",\"from\":\"a.5\",\"reason\":\"too-old\"}\nid: a.30\n\n\
                    data: 3131";
    assert!(body.starts_with(expected), "{body}");
    assert!(body.ends_with("data: b39\nid: a.39\n\ndata: a61\nid: a.61\n\n"), "{body}");
    assert_eq!(bench.disconnects(Disconnect::TailLimit), 0);
    assert_eq!(bench.shard.kept_bytes(), 0);
}

#[test]
fn a_replay_that_is_not_everything_states_its_gap_first_and_a_cut_behind_it_loses_nothing() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=news&last_event_id=a.5");
    let (news, socket, _) = bench.asked("news");
    let gap = JoinGap { from: Position(5), until: Position(20), reason: GapReason::TooOld };
    bench.joined(socket, news, 40, vec![replayed(30, "x")], Some(gap));
    bench.flush();
    let expected = "retry: 2000\nid: a.5\n\nevent: courier-gap\n\
                    data: {\"channel\":\"news\",\"from\":\"a.5\",\"reason\":\"too-old\"}\nid: a.29\n\n\
                    data: x\nid: a.30\n\n";
    assert_eq!(bench.body(1), expected);
}

#[test]
fn a_cut_between_the_gaps_of_two_channels_leaves_the_second_to_be_told() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a&channel=b&last_event_id=a.5");
    let gap = || Some(JoinGap { from: Position(5), until: Position(20), reason: GapReason::TooOld });
    for name in ["a", "b"] {
        let (channel, socket, _) = bench.asked(name);
        bench.joined(socket, channel, 40, Vec::new(), gap());
    }
    bench.flush();
    let expected = "retry: 2000\nid: a.5\n\n\
                    event: courier-gap\ndata: {\"channel\":\"a\",\"from\":\"a.5\",\"reason\":\"too-old\",\"to\":\"a.40\"}\nid: a.5\n\n\
                    event: courier-gap\ndata: {\"channel\":\"b\",\"from\":\"a.5\",\"reason\":\"too-old\"}\nid: a.40\n\n";
    assert_eq!(bench.body(1), expected);
}

#[test]
fn a_gap_that_the_reader_states_comes_in_order_with_the_messages() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=news");
    let (news, ..) = bench.asked("news");
    bench.join_all(0);
    bench.body(1);
    bench.publish(&[(news, 1, "before")]);
    let gap = Gap { channels: vec![(news, Position(2))], from: Position(1), reason: GapReason::UpstreamDown };
    bench.input(Input::Delivery(Delivery::Gap(gap)));
    bench.publish(&[(news, 3, "after")]);
    bench.flush();
    let expected = "data: before\nid: a.1\n\nevent: courier-gap\n\
                    data: {\"channel\":\"news\",\"from\":\"a.1\",\"reason\":\"upstream-down\"}\nid: a.2\n\n\
                    data: after\nid: a.3\n\n";
    assert_eq!(bench.body(1), expected);
}

#[test]
fn the_head_goes_out_after_two_seconds_and_what_was_missed_until_the_join_is_a_gap() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a&channel=b");
    let (a, socket, _) = bench.asked("a");
    let (b, ..) = bench.asked("b");
    bench.joined(socket, a, 3, Vec::new(), None);
    bench.flush();
    assert_eq!(bench.body(1), "");
    let earliest = bench.now.after(limits::JOIN_TIMEOUT);
    bench.now = bench.shard.waits.next().unwrap();
    assert!(bench.now.since(earliest) < Duration::from_millis(100));
    bench.input(Input::Tick);
    bench.flush();
    assert_eq!(bench.body(1), "retry: 2000\nid: a.3\n\n");
    bench.publish(&[(a, 4, "four")]);
    bench.joined(socket, b, 5, Vec::new(), None);
    bench.flush();
    let expected = "event: courier-gap\ndata: {\"channel\":\"b\",\"from\":\"a.3\",\"reason\":\"upstream-down\",\"to\":\"a.5\"}\n\
                    id: a.3\n\ndata: four\nid: a.4\n\n";
    assert_eq!(bench.body(1), expected);
}

#[test]
fn a_gap_behind_an_early_head_begins_where_the_head_said_so() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a&channel=b");
    let (a, socket, _) = bench.asked("a");
    let (b, ..) = bench.asked("b");
    bench.joined(socket, a, 3, Vec::new(), None);
    bench.now = bench.shard.waits.next().unwrap();
    bench.input(Input::Tick);
    bench.publish(&[(a, 4, "four")]);
    let gap = JoinGap { from: Position(9), until: Position(9), reason: GapReason::UpstreamDown };
    bench.joined(socket, b, 9, Vec::new(), Some(gap));
    bench.flush();
    let expected = "retry: 2000\nid: a.3\n\n\
                    event: courier-gap\ndata: {\"channel\":\"b\",\"from\":\"a.3\",\"reason\":\"upstream-down\",\"to\":\"a.9\"}\n\
                    id: a.3\n\ndata: four\nid: a.4\n\n";
    assert_eq!(bench.body(1), expected);
}

#[test]
fn a_channel_that_redis_forbids_is_stated_and_the_others_go_on() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a&channel=secret");
    let (a, socket, _) = bench.asked("a");
    let (secret, ..) = bench.asked("secret");
    let outcome = JoinOutcome::Forbidden;
    let joined = Joined { connection: socket, channel: secret, position: Position(1), outcome };
    bench.input(Input::Delivery(Delivery::Joined(joined)));
    bench.joined(socket, a, 2, Vec::new(), None);
    bench.publish(&[(a, 3, "three")]);
    bench.flush();
    let expected = "retry: 2000\nid: a.2\n\nevent: courier-gap\n\
                    data: {\"channel\":\"secret\",\"from\":null,\"reason\":\"forbidden\"}\nid: a.2\n\n\
                    data: three\nid: a.3\n\n";
    assert_eq!(bench.body(1), expected);
    assert!(bench.controls.iter().any(|control| matches!(control, Control::Leave { .. })));
}

#[test]
fn the_last_client_of_a_channel_leaves_it() {
    let mut bench = Bench::new();
    let first = bench.stream(1, "channel=news");
    let second = bench.stream(2, "channel=news");
    bench.join_all(0);
    bench.input(Input::HungUp { socket: first, cause: HangUp::Closed });
    assert!(bench.controls.is_empty());
    bench.input(Input::HungUp { socket: second, cause: HangUp::Reset });
    assert!(matches!(&bench.controls[..], [Control::Leave { name, .. }] if name.as_str() == "news"));
    assert_eq!(
        (bench.disconnects(Disconnect::ClientClosed), bench.disconnects(Disconnect::ClientReset)),
        (1, 1)
    );
    assert_eq!(bench.shard.connections(), 0);
}

#[test]
fn a_client_that_goes_while_it_waits_for_its_join_leaves_nothing_behind() {
    let mut bench = Bench::new();
    let socket = bench.stream(1, "channel=news");
    let (news, ..) = bench.asked("news");
    bench.input(Input::HungUp { socket, cause: HangUp::Closed });
    bench.joined(socket, news, 5, vec![replayed(4, "x")], None);
    bench.flush();
    assert_eq!(
        (bench.shard.joins.len(), bench.shard.hub.channel_count(), bench.shard.kept_bytes()),
        (0, 0, 0)
    );
}

#[test]
fn who_comes_after_a_channel_became_forbidden_asks_the_reader() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a");
    let (a, ..) = bench.asked("a");
    bench.join_all(1);
    let gap = Gap { channels: vec![(a, Position(2))], from: Position(1), reason: GapReason::Forbidden };
    bench.input(Input::Delivery(Delivery::Gap(gap)));
    for slot in [2, 3] {
        bench.stream(slot, "channel=a");
        let (_, socket, since) = bench.asked("a");
        assert_eq!(since, Since::Now);
        bench.controls.clear();
        let gap = JoinGap { from: Position(2), until: Position(2), reason: GapReason::Forbidden };
        bench.joined(socket, a, 2, Vec::new(), Some(gap));
        bench.flush();
        assert!(bench.body(slot).contains("\"reason\":\"forbidden\""));
    }
}

#[test]
fn while_the_upstream_is_down_every_stream_asks_the_reader() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a");
    bench.join_all(1);
    bench.input(Input::Delivery(Delivery::Upstream(Reach::Down)));
    bench.stream(2, "channel=a");
    let (a, socket, _) = bench.asked("a");
    let gap = JoinGap { from: Position(1), until: Position(1), reason: GapReason::UpstreamDown };
    bench.joined(socket, a, 1, Vec::new(), Some(gap));
    bench.flush();
    assert!(bench.body(2).contains("upstream-down"));
    bench.controls.clear();
    bench.input(Input::Delivery(Delivery::Upstream(Reach::Up)));
    bench.stream(3, "channel=a");
    assert!(bench.controls.is_empty());
}

#[test]
fn a_stream_for_which_the_reader_has_no_room_is_complete_and_says_when_to_come_back() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a");
    let (a, socket, _) = bench.asked("a");
    let joined = Joined { connection: socket, channel: a, position: Position(0), outcome: JoinOutcome::Full };
    bench.input(Input::Delivery(Delivery::Joined(joined)));
    bench.flush();
    let text = String::from_utf8(bench.received[&1].clone()).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.contains("\r\n\r\nretry: "), "{text}");
    assert_eq!(bench.outputs, [format!("{:?}", Output::ShutdownWrite { socket })]);
    assert_eq!(bench.disconnects(Disconnect::ChannelLimit), 1);
}

#[test]
fn controls_that_found_the_queue_full_are_offered_again_in_order() {
    let mut bench = Bench::new();
    bench.stream(1, "channel=a&channel=b");
    for control in std::mem::take(&mut bench.controls) {
        bench.input(Input::ControlReturned(control));
    }
    bench.stream(2, "channel=c");
    assert!(bench.controls.is_empty(), "those that come later wait behind");
    bench.now = bench.now.after(CONTROL_RETRY);
    assert_eq!(bench.shard.next_deadline(), Some(bench.now));
    bench.input(Input::Tick);
    let names: Vec<&str> = bench
        .controls
        .iter()
        .map(|control| match control {
            Control::Join { name, .. } => name.as_str(),
            _ => "",
        })
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
}
