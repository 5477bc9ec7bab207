//! Orders to all couriers, on a channel that no shard wants.

use super::*;
use crate::access::SigningKey;
use crate::access::control::{CONTROL_CHANNEL, write};
use crate::base::dismissal::Whom;
use crate::base::time::UnixTime;

const UNIX: UnixTime = UnixTime::from_secs(1_700_000_000);

fn key() -> SigningKey {
    SigningKey::new(b"0123456789abcdef")
}

fn order(nonce: &str) -> String {
    write(&key(), &Whom::User("7".into()), Duration::from_secs(600), UNIX, nonce)
}

fn acknowledged() -> Vec<u8> {
    format!(">3\r\n$9\r\nsubscribe\r\n${}\r\n{CONTROL_CHANNEL}\r\n:1\r\n", CONTROL_CHANNEL.len()).into_bytes()
}

fn said(payload: &str) -> Vec<u8> {
    let name = CONTROL_CHANNEL;
    format!(">3\r\n$7\r\nmessage\r\n${}\r\n{name}\r\n${}\r\n{payload}\r\n", name.len(), payload.len())
        .into_bytes()
}

/// A reader of Redis that takes orders, logged in.
fn ordered() -> Rig {
    let mut rig = Rig::taking_orders(Upstream::Redis(redis_options()), key());
    rig.connect(Link::Push, 0);
    rig.connect(Link::Ask, 1);
    rig.receive(rig.push, LOGGED_IN);
    rig.receive(rig.ask, LOGGED_IN);
    rig.go(Input::Calendar(UNIX));
    assert!(rig.sent().contains("SUBSCRIBE courier:control"));
    rig
}

const OBEYED: &str = "dismiss User(\"7\") until 1700000600";

#[test]
fn an_order_goes_to_every_shard_in_its_place_and_once() {
    let mut rig = ordered();
    rig.receive(rig.push, &acknowledged());
    rig.join(0, 0, "a", 1);
    rig.sent();
    rig.receive(rig.push, b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:2\r\n");
    rig.deliveries(0);
    rig.deliveries(1);
    let message =
        |payload: &str| format!(">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\n{payload}\r\n").into_bytes();
    rig.receive(rig.push, &[message("x"), said(&order("1")), said(&order("1")), message("y")].concat());
    let items = rig.deliveries(0);
    assert_eq!(items.len(), 3);
    assert!(items[0].ends_with(":k0:x") && items[2].ends_with(":k0:y"), "{items:?}");
    assert_eq!(items[1], OBEYED);
    assert_eq!(rig.deliveries(1), [OBEYED]);
    let cells = &rig.counters.cells;
    assert_eq!((cells.control_obeyed.get(), cells.control_stale.get()), (1, 1));
    assert_eq!(cells.messages_received.get(), 2, "an order is no message");
}

#[test]
fn what_is_not_signed_does_nothing_and_is_said_once_a_minute() {
    let mut rig = ordered();
    rig.receive(rig.push, &acknowledged());
    rig.outputs();
    rig.deliveries(0);
    let forged = order("1").replace("\"7\"", "\"8\"");
    rig.receive(rig.push, &[said("hello"), said(&forged), said("")].concat());
    assert_eq!(rig.outputs(), "BadOrder(Signature)");
    assert_eq!(rig.deliveries(0), [""; 0]);
    assert_eq!(rig.counters.cells.control_unsigned.get(), 3);
}

#[test]
fn the_channel_is_heard_again_when_redis_is_back_and_is_never_left() {
    let mut rig = ordered();
    rig.receive(rig.push, &acknowledged());
    rig.pass(Duration::from_secs(1));
    rig.go(Input::HungUp { socket: rig.push, cause: HangUp::Closed });
    rig.pass(Duration::from_secs(2));
    rig.connect(Link::Push, 2);
    rig.push = SocketKey { slot: Slot(2), generation: 0 };
    rig.receive(rig.push, LOGGED_IN);
    assert!(rig.sent().contains("SUBSCRIBE courier:control"));
    rig.receive(rig.push, &acknowledged());
    // Somebody may listen to it, where a rule says so, and go again; nothing of it is for him.
    rig.join(0, 0, CONTROL_CHANNEL, 1);
    rig.leave(0, 0, CONTROL_CHANNEL);
    rig.deliveries(0);
    rig.go(Input::Calendar(UNIX));
    rig.receive(rig.push, &said(&order("1")));
    assert_eq!(rig.deliveries(0), [OBEYED]);
}

#[test]
fn a_redis_that_forbids_the_channel_is_asked_again() {
    let mut rig = ordered();
    rig.outputs();
    rig.receive(rig.push, b"-NOPERM No permissions to access a channel\r\n");
    assert!(rig.outputs().contains("Forbidden { channels: 1, first: \"courier:control\" }"));
    let mut asked = String::new();
    for _ in 0..4 {
        rig.pass(crate::base::limits::FORBIDDEN_RETRY / 3);
        asked += &rig.sent();
        rig.receive(rig.push, b"+PONG\r\n");
        rig.receive(rig.ask, b"+PONG\r\n");
        if asked.contains("SUBSCRIBE") {
            break;
        }
    }
    assert!(asked.contains("SUBSCRIBE courier:control"), "{asked}");
    rig.receive(rig.push, &acknowledged());
    rig.go(Input::Calendar(UNIX));
    rig.receive(rig.push, &said(&order("1")));
    assert!(rig.deliveries(0).contains(&OBEYED.to_owned()));
}

#[test]
fn the_embedded_broker_passes_orders_on_from_the_start() {
    let wall_clock = WallClock { at: Time::ZERO, unix: UNIX };
    let options = EmbeddedOptions { password: None, wall_clock };
    let mut rig = Rig::taking_orders(Upstream::Embedded(options), key());
    rig.go(Input::Calendar(UNIX));
    rig.publish(1, 2, CONTROL_CHANNEL, &order("1"));
    assert_eq!(rig.deliveries(0), [OBEYED]);
}
