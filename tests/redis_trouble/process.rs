//! Redis itself dies, stands still, comes back empty, late, or as another.

use courier::wire::resp::reply::Reply;

use crate::scene::{CLOSED, SILENT, Scene, info};
use crate::support::redis::Redis;
use crate::support::until;

#[test]
fn killed_without_a_word_and_restarted() {
    let mut scene = Scene::new(Redis::start());
    scene.redis.kill();
    scene.turns_red();
    scene.redis.restart();
    scene.recovers(&[CLOSED]);
}

#[test]
fn restarted_with_nothing_of_what_it_held() {
    let mut scene = Scene::new(Redis::with(&["--appendonly", "yes"]));
    scene.redis.client().expect_ok("SET kept yes");
    scene.redis.kill();
    scene.turns_red();
    scene.redis.restart_with(&["--appendonly", "no"]);
    assert_eq!(scene.redis.client().say("DBSIZE"), Reply::Integer(0));
    scene.recovers(&[CLOSED]);
}

#[test]
fn stopped_and_found_by_its_silence() {
    stopped(&["--redis-ping-interval", "500ms", "--redis-ping-timeout", "1s"]);
}

#[test]
#[ignore = "slow: up to half a minute, with the timeouts that courier has by itself"]
fn stopped_and_found_by_its_silence_with_default_timeouts() {
    stopped(&[]);
}

fn stopped(flags: &[&str]) {
    let mut scene = Scene::with(Redis::start(), flags);
    scene.redis.process.signal("STOP");
    scene.turns_red();
    scene.redis.process.signal("CONT");
    scene.recovers(&[SILENT]);
}

#[test]
fn gone_and_its_successor_refuses_the_first_dials() {
    let mut scene = Scene::new(Redis::start());
    scene.redis.kill();
    scene.turns_red();
    // Both connections, and each more than once.
    scene.until_failed_attempts(4);
    // The log said why it began; the page says why it goes on.
    assert!(scene.courier.page("/readyz").body.ends_with(": Connection refused (os error 111)\n"));
    scene.redis.restart();
    scene.recovers(&[CLOSED]);
}

#[test]
fn loading_its_data_for_as_long_as_it_takes() {
    let redis = Redis::with(&["--rdbcompression", "no"]);
    let mut client = redis.client();
    for number in 0..500 {
        client.expect_ok(&format!("SET key.{number} {}", "x".repeat(2_000)));
    }
    client.expect_ok("SAVE");
    let mut scene = Scene::with(redis, &["--redis-ping-interval", "100ms"]);
    scene.redis.kill();
    scene.turns_red();
    // It answers between two keys of which each takes it 20 ms; until it is told to make haste.
    scene.redis.restart_with(&[
        "--key-load-delay",
        "20000",
        "--loading-process-events-interval-bytes",
        "1024",
    ]);
    let mut client = scene.redis.client();
    // A Redis that loads lets everyone subscribe and publish, and answers a PING with -LOADING.
    scene.watch.until_green();
    until("PINGs are refused", || {
        info(&mut client, "errorstat_LOADING:count=").is_some_and(|count| count > 3)
    });
    assert_eq!(info(&mut client, "loading:"), Some(1));
    client.expect_ok("CONFIG SET key-load-delay 0");
    until("it has loaded", || info(&mut client, "loading:") == Some(0));
    scene.recovers(&[CLOSED]);
}
