//! The embedded broker as the upstream.

use super::*;
use crate::base::time::UnixTime;

fn embedded() -> Rig {
    let wall_clock = WallClock { at: Time::ZERO, unix: UnixTime::from_secs(1_700_000_000) };
    let options = EmbeddedOptions { password: None, wall_clock };
    let mut rig = Rig::new(Upstream::Embedded(options), Limits::default(), Rules::default(), 1);
    assert_eq!(rig.outputs(), "");
    rig
}

#[test]
fn the_embedded_broker_can_be_heard_from_the_start() {
    assert_eq!(embedded().counters.cells.redis_up.get(), 1);
}

#[test]
fn every_channel_is_live_at_once() {
    let mut rig = embedded();
    rig.join(0, 0, "a", 1);
    assert_eq!(rig.deliveries(0), ["joined c1 k0 @1 []"]);
    rig.publish(1, 2, "a", "hi");
    assert_eq!(rig.deliveries(0), ["batch 2:k0:hi"]);
    assert_eq!(rig.deliveries(1), ["published c2 at 2"]);
    rig.join_after(1, 3, "a", 4, 1);
    assert_eq!(rig.deliveries(1), ["joined c4 k3 @2 [2:hi]"]);
}

#[test]
fn it_is_up_from_the_start() {
    assert_eq!(embedded().counters.cells.redis_up.get(), 1);
}

#[test]
fn a_message_that_nobody_wants_takes_no_position() {
    let mut rig = embedded();
    rig.publish(0, 1, "a", "hi");
    rig.join(0, 0, "a", 1);
    assert_eq!(rig.deliveries(0), ["published c1 behind 0", "joined c1 k0 @1 []"]);
    assert_eq!(rig.counters.cells.messages_received.get(), 0);
}

#[test]
fn a_channel_lingers_and_is_then_forgotten() {
    let mut rig = embedded();
    rig.join(0, 0, "a", 1);
    rig.leave(0, 0, "a");
    rig.pass(Duration::from_secs(59));
    rig.publish(0, 1, "a", "one");
    rig.join_after(0, 1, "a", 2, 1);
    assert_eq!(rig.deliveries(0)[1..], ["published c1 at 2", "joined c2 k1 @2 [2:one]"]);
    rig.leave(0, 1, "a");
    rig.pass(Duration::from_secs(121));
    assert_eq!(rig.counters.cells.upstream_channels.get(), 0);
    rig.join_after(0, 2, "a", 3, 2);
    assert_eq!(rig.deliveries(0), ["joined c3 k2 @3 [] gap 2 too-old"]);
}
