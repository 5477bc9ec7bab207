//! Redis is well, and the connection to it is not.

use courier::wire::resp::reply::Reply;

use crate::proxy::{Fate, Proxy};
use crate::scene::{CLOSED, SILENT, Scene, UPSTREAM_DOWN, links};
use crate::support::redis::Redis;

#[test]
fn its_subscription_is_killed_again_and_again() {
    let scene = Scene::new(Redis::start());
    let mut client = scene.redis.client();
    let mut kills = 0;
    // An outage lasts as long as the first wait before a dial: the load balancer sees most of them.
    while kills < 3 || !scene.watch.has_seen_red() {
        assert_eq!(client.say("CLIENT KILL TYPE pubsub"), Reply::Integer(1));
        kills += 1;
        scene.until_reconnects(kills);
        scene.watch.until_green();
    }
    scene.recovers_each_time(kills, &[CLOSED]);
}

#[test]
fn only_the_connection_that_asks_is_killed_and_nobody_is_told_of_a_gap() {
    let scene = Scene::new(Redis::start());
    let mut client = scene.redis.client();
    for id in links(&mut client, " sub=0 ") {
        assert_eq!(client.say(&format!("CLIENT KILL ID {id}")), Reply::Integer(1));
    }
    let [lost, back] = ["redis takes no publishes; its messages are heard", "redis takes publishes again"];
    scene.courier.process.errors.with(back);
    scene.goes_on(&[lost, back]);
}

#[test]
fn it_is_cut_because_courier_did_not_read_for_too_long() {
    let mut scene =
        Scene::with(Redis::with(&["--client-output-buffer-limit", "pubsub", "256kb", "0", "0"]), &[]);
    let mut client = scene.redis.client();
    scene.courier.process.signal("STOP");
    // What the socket holds is read later; what Redis held for courier is dropped with the connection.
    while !links(&mut client, " flags=P").is_empty() {
        assert!(scene.publisher.record.say(&mut client, "c", &"x".repeat(50_000)));
    }
    scene.redis.hide();
    scene.courier.process.signal("CONT");
    scene.turns_red();
    scene.redis.show();
    scene.recovers(&[CLOSED]);
}

#[test]
fn it_breaks_again_while_channels_are_being_subscribed_again() {
    let redis = Redis::start();
    let proxy = Proxy::before(&redis);
    let mut scene = Scene::through(&proxy.url(), redis, &[]);
    let crowd: Vec<String> = (0..1_200).map(|number| format!("crowd.{number}")).collect();
    crowd.chunks(64).for_each(|channels| scene.subscribe(channels));
    let mut client = scene.redis.client();
    proxy.break_at("the first cut", Fate::End);
    assert!(scene.publisher.record.say(&mut client, "c", "the first cut"));
    proxy.until_broken();
    // Of three SUBSCRIBEs the first is answered, and half of the second.
    proxy.break_at("$9\r\nsubscribe\r\n$9\r\ncrowd.700\r\n", Fate::End);
    proxy.reopen();
    proxy.until_broken();
    scene.turns_red();
    proxy.reopen();
    scene.expect_reconnects(2);
    // Those that had been answered were lost twice.
    for channel in ["a", "b", "c"].into_iter().chain(crowd[..700].iter().map(String::as_str)) {
        scene.expect_gaps(channel, &[UPSTREAM_DOWN, UPSTREAM_DOWN]);
    }
    scene.recovers(&[CLOSED]);
}

#[test]
fn it_falls_silent_in_the_middle_of_a_frame() {
    falls_silent(&["--redis-ping-interval", "500ms", "--redis-ping-timeout", "1s"]);
}

#[test]
#[ignore = "slow: up to half a minute, with the timeouts that courier has by itself"]
fn it_falls_silent_in_the_middle_of_a_frame_with_default_timeouts() {
    falls_silent(&[]);
}

fn falls_silent(flags: &[&str]) {
    let redis = Redis::start();
    let proxy = Proxy::before(&redis);
    let mut scene = Scene::through(&proxy.url(), redis, flags);
    let mut client = scene.redis.client();
    proxy.break_at("half of this frame comes", Fate::Silence);
    assert!(scene.publisher.record.say(&mut client, "c", "half of this frame comes"));
    proxy.until_broken();
    scene.turns_red();
    scene.recovers(&[SILENT]);
}
