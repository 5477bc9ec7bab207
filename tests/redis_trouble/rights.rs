//! Redis is there and says no: to the login, to a channel, to a write.

use courier::wire::resp::reply::Reply;

use crate::scene::{CLOSED, FORBIDDEN, Scene, info, links};
use crate::support::redis::Redis;
use crate::support::resp::Client;
use crate::support::{Directory, until};

const WRONG_PASSWORD: &str = "ERROR courier::driver::reader_loop: redis refuses courier; trying again \
                              reason=\"Redis refused user and password: WRONGPASS";
const NO_PASSWORD: &str = "ERROR courier::driver::reader_loop: redis refuses courier; trying again \
                           reason=\"Redis asks for a password: give redis.password_file";

#[test]
fn its_password_is_changed_and_then_that_in_couriers_file() {
    let mut redis = Redis::with(&["--requirepass", "old"]);
    redis.set_password("old");
    let directory = Directory::new();
    let file = directory.file("password", "old\n");
    let mut scene = Scene::with(redis, &["--redis-password-file", &file]);
    let mut client = scene.redis.client();
    client.expect_ok("CONFIG SET requirepass new");
    scene.redis.set_password("new");
    scene.publisher.turn_to(scene.redis.access());
    kill_courier(&mut client);
    scene.turns_red();
    scene.courier.process.errors.with(WRONG_PASSWORD);
    directory.file("password", "new\n");
    scene.recovers(&[CLOSED, WRONG_PASSWORD]);
}

#[test]
fn it_asks_for_a_password_that_courier_does_not_have() {
    let mut scene = Scene::new(Redis::start());
    let mut client = scene.redis.client();
    client.expect_ok("CONFIG SET requirepass secret");
    kill_courier(&mut client);
    scene.turns_red();
    scene.courier.process.errors.with(NO_PASSWORD);
    assert_eq!(client.command(&[b"CONFIG", b"SET", b"requirepass", b""]), Reply::Text("OK".into()));
    scene.recovers(&[CLOSED, NO_PASSWORD]);
}

#[test]
fn it_forbids_one_name_of_a_batch_and_allows_it_again() {
    let redis = Redis::with(&["--user", "reader", "on", ">secret", "+@all", "allchannels"]);
    let directory = Directory::new();
    let file = directory.file("password", "secret");
    let url = redis.url().replace("unix://", "unix://reader@");
    let mut scene = Scene::through(&url, redis, &["--redis-password-file", &file]);
    let mut client = scene.redis.client();
    scene.redis.hide();
    // Redis closes the subscriptions of a user who loses one of their channels.
    client.expect_ok("ACL SETUSER reader resetchannels &a &b");
    scene.turns_red();
    scene.redis.show();
    let forbidden = "WARN courier::driver::reader_loop: redis does not let courier read channels: see ACL LIST \
                     channels=1 first=\"c\"";
    scene.courier.process.errors.with(forbidden);
    scene.watch.until_green();
    assert!(scene.publisher.record.say(&mut client, "c", "which nobody hears"));
    client.expect_ok("ACL SETUSER reader allchannels");
    // Whoever comes makes courier ask again, for all who have it.
    scene.subscribe(&["c"]);
    until("c is heard", || {
        client.say("PUBSUB NUMSUB c") == Reply::Array(vec![Reply::Text("c".into()), Reply::Integer(1)])
    });
    scene.expect_gaps("c", &[FORBIDDEN, FORBIDDEN]);
    scene.recovers(&[CLOSED, forbidden]);
}

#[test]
fn it_becomes_a_replica_that_takes_no_writes_and_nobody_is_told_of_a_gap() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let primary = Redis::with(&["--port", &port, "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0"]);
    let scene = Scene::new(Redis::start());
    let (mut above, mut here) = (primary.client(), scene.redis.client());
    here.expect_ok(&format!("REPLICAOF 127.0.0.1 {port}"));
    until("it follows the primary", || {
        // Without a connection to it this is -1.
        let is_connected = info(&mut here, "master_last_io_seconds_ago:").is_some();
        is_connected && info(&mut here, "slave_repl_offset:") == info(&mut above, "master_repl_offset:")
    });
    let reply = here.say("SET a key");
    assert!(matches!(&reply, Reply::Error(error) if error.starts_with(b"READONLY ")), "{reply:?}");
    // What is published at the primary is heard, and what is published at the replica behind it.
    assert!(scene.publisher.record.say(&mut above, "c", ""));
    let offset = info(&mut above, "master_repl_offset:");
    until("it has been passed on", || info(&mut here, "slave_repl_offset:") >= offset);
    assert!(scene.publisher.record.say(&mut here, "c", ""));
    scene.goes_on(&[]);
}

/// Both of its connections, the one that hears first.
fn kill_courier(client: &mut Client) {
    for id in [links(client, " flags=P"), links(client, " sub=0 ")].concat() {
        assert_eq!(client.say(&format!("CLIENT KILL ID {id}")), Reply::Integer(1));
    }
}
