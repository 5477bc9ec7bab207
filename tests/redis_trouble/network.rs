//! The way to Redis: packets that vanish, and a name that comes to mean another machine.
//!
//! Addresses other than loopback exist only in namespaces that the test made itself.

use crate::namespace::{inside, run};
use crate::scene::{CLOSED, SILENT, Scene};
use crate::support::Directory;
use crate::support::redis::Redis;

#[test]
fn its_packets_vanish() {
    inside(|| {
        vanish(&[
            "--redis-ping-interval",
            "500ms",
            "--redis-ping-timeout",
            "1s",
            "--redis-dial-timeout",
            "500ms",
        ])
    });
}

#[test]
#[ignore = "slow: up to half a minute, with the timeouts that courier has by itself"]
fn its_packets_vanish_with_default_timeouts() {
    inside(|| vanish(&[]));
}

fn vanish(flags: &[&str]) {
    let everywhere = ["--port", "6379", "--bind", "0.0.0.0", "--protected-mode", "no"];
    let redis = Redis::behind(&["unshare", "--net"], Directory::new(), &everywhere);
    let there = format!("nsenter --net=/proc/{}/ns/net", redis.process.id());
    run(&format!("ip link add near type veth peer name far netns {}", redis.process.id()));
    run("ip address add 10.77.0.1/24 dev near");
    run("ip link set near up");
    run(&format!("{there} ip address add 10.77.0.2/24 dev far"));
    run(&format!("{there} ip link set far up"));
    let mut scene = Scene::through("redis://10.77.0.2:6379", redis, flags);
    // What Redis sends, acknowledgements among it, goes nowhere, and nobody is told.
    run(&format!("{there} ip route add blackhole 10.77.0.1/32"));
    scene.turns_red();
    scene.until_failed_attempts(2);
    run(&format!("{there} ip route del blackhole 10.77.0.1/32"));
    scene.recovers(&[SILENT]);
}

#[test]
fn its_name_moves_to_another_address() {
    inside(|| {
        let directory = Directory::new();
        let hosts = directory.file("hosts", "127.0.0.2 redis.test\n");
        run(&format!("mount --bind {hosts} /etc/hosts"));
        let at = |address| Redis::with(&["--port", "6379", "--bind", address]);
        let mut scene = Scene::through("redis://redis.test:6379", at("127.0.0.2"), &[]);
        scene.redis.kill();
        scene.turns_red();
        scene.redis = at("127.0.0.3");
        scene.publisher.turn_to(scene.redis.access());
        scene.until_failed_attempts(2);
        directory.file("hosts", "127.0.0.3 redis.test\n");
        scene.recovers(&[CLOSED]);
    });
}
