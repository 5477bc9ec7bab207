//! Readers that are slower than their channels, on channels that pass them over: `slow = "latest"` for names that begin
//! with `l`.

use super::*;
use crate::base::channel::SlowMode;

const TEXT: &str = "some text of a few bytes";

fn bench() -> Bench {
    Bench::with(|options| {
        options.limits.lag_bytes = 1_000;
        let rule =
            |pattern, slow| Rule { slow, ..Rule::new(Pattern::parse(pattern).unwrap(), Access::public()) };
        let site = Arc::get_mut(&mut options.site).unwrap();
        site.gate.rules = Rules::new(vec![rule("l*", SlowMode::Latest), rule("*", SlowMode::Disconnect)]);
    })
}

impl Bench {
    fn publish_each(&mut self, channel: ChannelKey, positions: std::ops::RangeInclusive<u64>) {
        for position in positions {
            self.publish(&[(channel, position, TEXT)]);
            self.flush();
        }
    }

    fn reads_again(&mut self, socket: SocketKey) {
        self.room.remove(&socket.slot.0);
        self.input(Input::Writable { socket });
        self.flush();
    }

    fn gaps(&self) -> u64 {
        self.shard.counters.gaps[GapReason::Lagged as usize].get()
    }
}

fn frame(position: u64) -> String {
    format!("data: {TEXT}\nid: a.{position}\n\n")
}

fn gap(channel: &str, from: u64, id: u64) -> String {
    format!(
        "event: courier-gap\ndata: {{\"channel\":\"{channel}\",\"from\":\"a.{from}\",\"reason\":\"lagged\"}}\nid: a.{id}\n\n"
    )
}

fn gap_to(channel: &str, from: u64, to: u64, id: u64) -> String {
    gap(channel, from, id).replace("}\n", &format!(",\"to\":\"a.{to}\"}}\n"))
}

/// Who has fallen behind by more than the bound goes on with a gap and the newest, wherever its last send was cut.
#[test]
fn the_gap_comes_behind_the_frame_that_was_cut_and_the_newest_behind_the_gap() {
    for room in 0..=2 * frame(1).len() {
        let mut bench = bench();
        let socket = bench.stream(1, "channel=l");
        let (l, ..) = bench.asked("l");
        bench.join_all(0);
        bench.body(1);
        bench.room.insert(1, room);
        bench.publish_each(l, 1..=100);
        let sent = bench.body(1);
        assert_eq!(sent, (frame(1) + &frame(2))[..room]);
        bench.reads_again(socket);
        // Of what was cut the rest comes; what was not begun is missed. A send of nothing is no frame begun.
        let begun = u64::try_from(room.div_ceil(frame(1).len())).unwrap();
        let whole: String = (1..=begun).map(frame).collect();
        let expected = whole[room.min(whole.len())..].to_owned() + &gap("l", begun, 99) + &frame(100);
        assert_eq!(bench.body(1), expected, "{room} bytes were taken");
        assert_eq!((bench.gaps(), bench.disconnects(Disconnect::Lagged)), (1, 0));
        assert_eq!(bench.shard.kept_bytes(), 0);
        assert_eq!(bench.shard.counters.cells.messages_delivered.get(), begun + 1);
        bench.publish_each(l, 101..=101);
        assert_eq!(bench.body(1), frame(101), "and then as ever");
    }
}

#[test]
fn the_id_of_a_gap_resumes_exactly_behind_it() {
    let mut bench = bench();
    let socket = bench.stream(1, "channel=l");
    let (l, ..) = bench.asked("l");
    // One that keeps up, and one behind whom the log stays.
    bench.stream(2, "channel=l");
    bench.join_all(0);
    for slot in [1, 2] {
        bench.body(slot);
    }
    bench.room.insert(1, 0);
    bench.publish_each(l, 1..=100);
    // It takes the gap, and not a byte behind it.
    bench.room.insert(1, gap("l", 0, 99).len());
    bench.input(Input::Writable { socket });
    bench.flush();
    assert_eq!(bench.body(1), gap("l", 0, 99));
    bench.input(Input::HungUp { socket, cause: HangUp::Reset });
    bench.stream(3, "channel=l&last_event_id=a.99");
    let (again, socket, since) = bench.asked("l");
    assert_eq!((again, since), (l, Since::After(Position(99))), "the rest of the log has gone with it");
    bench.joined(socket, l, 100, vec![replayed(100, "newest")], None);
    bench.flush();
    assert_eq!(bench.body(3), "retry: 2000\nid: a.99\n\ndata: newest\nid: a.100\n\n");
}

#[test]
fn who_falls_behind_again_is_told_again() {
    let mut bench = bench();
    let socket = bench.stream(1, "channel=l");
    let (l, ..) = bench.asked("l");
    bench.join_all(0);
    bench.body(1);
    for (round, missed) in [(0, 0), (1, 100), (2, 200)] {
        bench.room.insert(1, 0);
        bench.publish_each(l, missed + 1..=missed + 100);
        bench.reads_again(socket);
        assert_eq!(bench.body(1), gap("l", missed, missed + 99) + &frame(missed + 100));
        assert_eq!(bench.gaps(), round + 1);
    }
    // The second time before the first gap is through: what was begun is finished, and one gap covers the rest.
    bench.room.insert(1, 0);
    bench.publish_each(l, 301..=400);
    bench.room.insert(1, 10);
    bench.input(Input::Writable { socket });
    bench.flush();
    bench.publish_each(l, 401..=500);
    bench.reads_again(socket);
    let expected = gap("l", 300, 399) + &frame(400) + &gap("l", 400, 499) + &frame(500);
    assert_eq!(bench.body(1), expected);
    assert_eq!(bench.shard.kept_bytes(), 0);
}

#[test]
fn other_channels_of_the_connection_lose_nothing_and_no_id_falls_back() {
    let mut bench = bench();
    let socket = bench.stream(1, "channel=l&channel=other&channel=l2&format=raw");
    let [l, other, l2] = ["l", "other", "l2"].map(|name| bench.asked(name).0);
    bench.join_all(0);
    bench.body(1);
    bench.room.insert(1, 0);
    bench.publish_each(other, 1..=1);
    bench.publish_each(l, 2..=40);
    bench.publish_each(other, 41..=41);
    bench.publish_each(l2, 42..=90);
    bench.publish_each(other, 91..=91);
    bench.publish_each(l, 92..=100);
    bench.publish_each(other, 101..=101);
    bench.reads_again(socket);
    // Each gap stands in front of every frame behind what it misses, begins behind its own channel's last, and says how
    // far it reaches.
    let expected = frame(1)
        + &gap_to("l", 0, 99, 40)
        + &frame(41)
        + &gap("l2", 0, 89)
        + &frame(90)
        + &frame(91)
        + &frame(100)
        + &frame(101);
    assert_eq!(bench.body(1), expected);
    assert_eq!((bench.gaps(), bench.disconnects(Disconnect::Lagged)), (2, 0));
    assert_eq!(bench.shard.kept_bytes(), 0);
}

#[test]
fn a_gap_that_is_itself_passed_over_is_told_from_where_it_began() {
    let mut bench = bench();
    let socket = bench.stream(1, "channel=l");
    let (l, ..) = bench.asked("l");
    bench.join_all(0);
    bench.publish_each(l, 1..=5);
    bench.body(1);
    bench.room.insert(1, 0);
    // Nothing was heard from 5 on; what says so at 20 is the first that the client does not take.
    let lost = Gap { channels: vec![(l, Position(20))], from: Position(5), reason: GapReason::UpstreamDown };
    bench.input(Input::Delivery(Delivery::Gap(lost)));
    bench.flush();
    bench.publish_each(l, 21..=100);
    bench.reads_again(socket);
    assert_eq!(bench.body(1), gap("l", 5, 99) + &frame(100));
}

#[test]
fn a_channel_with_the_other_rule_ends_the_connection_all_the_same() {
    let mut bench = bench();
    let socket = bench.stream(1, "channel=l&channel=other");
    let [l, other] = ["l", "other"].map(|name| bench.asked(name).0);
    bench.join_all(0);
    bench.room.insert(1, 7);
    bench.publish_each(l, 1..=100);
    assert_eq!(bench.disconnects(Disconnect::Lagged), 0);
    bench.publish_each(other, 101..=200);
    assert_eq!((bench.gaps(), bench.disconnects(Disconnect::Lagged)), (0, 1));
    assert_eq!(bench.shard.kept_bytes(), 0);
    bench.input(Input::HungUp { socket, cause: HangUp::Closed });
    assert_eq!(bench.shard.hub.subscription_count(), 0);
}

#[test]
fn a_stream_that_is_passed_over_while_it_waits_for_another_channel_is_told_when_it_opens() {
    let mut bench = bench();
    bench.stream(1, "channel=l&channel=other&last_event_id=a.0");
    let (l, socket, _) = bench.asked("l");
    let (other, ..) = bench.asked("other");
    bench.joined(socket, l, 1, vec![replayed(1, "l1")], None);
    bench.publish_each(l, 3..=100);
    assert_eq!(bench.disconnects(Disconnect::Lagged), 0);
    bench.joined(socket, other, 101, vec![replayed(2, "o2"), replayed(50, "o50")], None);
    bench.flush();
    let expected = "retry: 2000\nid: a.0\n\ndata: l1\nid: a.1\n\ndata: o2\nid: a.2\n\n".to_owned()
        + &gap_to("l", 1, 99, 49)
        + "data: o50\nid: a.50\n\n"
        + &frame(100);
    assert_eq!(bench.body(1), expected);
    assert_eq!(bench.gaps(), 1);
}

#[test]
fn a_stop_gives_who_was_passed_over_its_gap_and_the_newest() {
    let mut bench = bench();
    let socket = bench.stream(1, "channel=l");
    let (l, ..) = bench.asked("l");
    bench.join_all(0);
    bench.body(1);
    bench.room.insert(1, 0);
    bench.publish_each(l, 1..=100);
    bench.input(Input::Drain);
    bench.flush();
    assert_eq!(bench.body(1), "");
    bench.reads_again(socket);
    assert!(bench.body(1).starts_with(&(gap("l", 0, 99) + &frame(100) + "retry: ")));
}

#[test]
fn slow_readers_are_listed_with_what_they_are_behind_by_worst_first() {
    let mut bench = bench();
    let one = bench.stream(1, "channel=l");
    let two = bench.stream(2, "channel=other");
    let three = bench.stream(3, "channel=l&channel=other");
    let [l, other] = ["l", "other"].map(|name| bench.asked(name).0);
    bench.join_all(0);
    assert_eq!(bench.shard.laggards(bench.now, 10), (0, vec![]), "nobody is behind");
    let start = bench.now;
    let lag = |bench: &Bench, socket: SocketKey| {
        let (_, laggards) = bench.shard.laggards(bench.now, 10);
        let found = laggards.into_iter().find(|laggard| laggard.socket == socket);
        found.map(|laggard| (laggard.bytes, laggard.lag.as_secs()))
    };
    // The first takes part of a frame, the third takes nothing; the second reads.
    bench.room.insert(1, 10);
    bench.room.insert(3, 0);
    bench.publish_each(l, 1..=1);
    let length = frame(1).len();
    bench.now = start.after(Duration::from_secs(2));
    bench.publish_each(other, 2..=2);
    bench.now = start.after(Duration::from_secs(5));
    assert_eq!(lag(&bench, one), Some((length - 10, 5)), "the rest of what was cut");
    assert_eq!(lag(&bench, three), Some((2 * length, 5)), "both channels, from the older on");
    assert_eq!(lag(&bench, two), None);
    let (count, laggards) = bench.shard.laggards(bench.now, 1);
    assert_eq!((count, laggards.len(), laggards[0].socket), (2, 1, three));
    let mut channels: Vec<&str> = laggards[0].channels.iter().map(|name| name.as_str()).collect();
    channels.sort_unstable();
    assert_eq!(channels, ["l", "other"]);
    // Who is passed over is behind since the first that it missed, by as much as is kept at most.
    bench.publish_each(l, 3..=100);
    bench.now = start.after(Duration::from_secs(9));
    let (bytes, seconds) = lag(&bench, three).unwrap();
    assert_eq!(seconds, 9);
    assert!((length..=1_000 + length).contains(&bytes), "{bytes}");
    bench.reads_again(one);
    bench.reads_again(three);
    assert_eq!(bench.shard.laggards(bench.now, 10), (0, vec![]));
}
