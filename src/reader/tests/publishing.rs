//! What is published through courier: in which order it goes out, and which place its client is told.

use super::*;

/// A reader of Redis to which the channel `a` is live for shard 0, at position 1.
fn listening() -> Rig {
    let mut rig = Rig::up();
    rig.join(0, 0, "a", 1);
    rig.sent();
    rig.receive(rig.push, b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    assert_eq!(rig.deliveries(0), ["joined c1 k0 @1 []"]);
    rig
}

fn message(payload: &str) -> Vec<u8> {
    format!(">3\r\n$7\r\nmessage\r\n$1\r\na\r\n${}\r\n{payload}\r\n", payload.len()).into_bytes()
}

#[test]
fn a_message_that_is_heard_here_has_the_place_of_its_event() {
    for is_heard_first in [true, false] {
        let mut rig = listening();
        rig.publish(1, 2, "a", "mine");
        assert_eq!(rig.sent(), "PUBLISH a mine");
        rig.receive(rig.push, &message("other"));
        assert_eq!(rig.deliveries(1), [""; 0]);
        if is_heard_first {
            rig.receive(rig.push, &message("mine"));
            assert_eq!(rig.deliveries(1), [""; 0], "Redis has not said that it took it");
            rig.receive(rig.ask, b":2\r\n");
        } else {
            rig.receive(rig.ask, b":2\r\n");
            assert_eq!(rig.deliveries(1), [""; 0], "it is looked for");
            rig.receive(rig.push, &message("mine"));
        }
        assert_eq!(rig.deliveries(1), ["published c2 at 3"]);
        // Whoever is told the place has been sent the message, or is about to be.
        assert_eq!(rig.deliveries(0), ["batch 2:k0:other", "batch 3:k0:mine"]);
        assert_eq!(rig.reader.next_deadline(), Rig::up().reader.next_deadline());
    }
}

#[test]
fn messages_of_one_batch_have_their_places_in_order() {
    let mut rig = listening();
    rig.publish_batch(0, 2, &[("a", "x"), ("b", "x"), ("a", "x"), ("a", "y")]);
    assert_eq!(rig.sent(), "PUBLISH a x / PUBLISH b x / PUBLISH a x / PUBLISH a y");
    rig.receive(rig.push, &[message("x"), message("x"), message("y")].concat());
    rig.receive(rig.ask, b":1\r\n:0\r\n:1\r\n:1\r\n");
    assert_eq!(rig.deliveries(0)[1..], ["published c2 at 2 behind 1 at 3 at 4"]);
}

#[test]
fn of_a_batch_that_redis_refuses_in_part_the_client_is_told_how_much_it_took() {
    let mut rig = listening();
    rig.publish_batch(0, 2, &[("a", "x"), ("b", "x"), ("a", "y")]);
    rig.sent();
    rig.receive(rig.ask, b":1\r\n-NOPERM no\r\n:1\r\n");
    assert_eq!(rig.deliveries(0), ["published c2 only 2"]);
    rig.publish(0, 3, "a", "x");
    rig.sent();
    rig.receive(rig.push, &message("x"));
    rig.receive(rig.ask, b":1\r\n");
    assert_eq!(
        rig.deliveries(0),
        ["batch 2:k0:x", "published c3 at 2"],
        "nobody looks for the first x any more"
    );
}

#[test]
fn a_message_that_does_not_come_is_somewhere_behind() {
    let mut rig = listening();
    rig.publish(0, 2, "a", "mine");
    rig.sent();
    rig.receive(rig.ask, b":2\r\n");
    rig.pass(Duration::from_millis(999));
    assert_eq!(rig.deliveries(0), [""; 0]);
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.deliveries(0), ["published c2 behind 1"]);

    let mut rig = listening();
    rig.publish(0, 2, "a", "taken");
    rig.publish(0, 3, "a", "asked");
    rig.sent();
    rig.receive(rig.ask, b":2\r\n");
    rig.go(Input::HungUp { socket: rig.push, cause: HangUp::Closed });
    assert!(rig.deliveries(0).contains(&"published c2 behind 1".to_owned()));
    rig.receive(rig.ask, b":2\r\n");
    assert_eq!(rig.deliveries(0), ["published c3 behind 1"]);
}

#[test]
fn a_batch_goes_out_whole_or_not_at_all() {
    let mut rig = Rig::up();
    let half = crate::base::limits::ASK_COMMANDS / 2;
    let many = vec![("a", "x"); half + 1];
    rig.publish_batch(0, 1, &many);
    rig.publish_batch(0, 2, &many);
    assert_eq!(rig.deliveries(0), ["published c2 not"]);
    rig.publish_batch(0, 3, &many[..half - 1]);
    assert_eq!(rig.deliveries(0), [""; 0]);
}
