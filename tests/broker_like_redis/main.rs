//! The embedded broker answers as Redis does: the same commands go to the broker and to a real redis-server, and
//! every client must be sent the same bytes.

#![allow(clippy::unwrap_used)] // Tests state what must hold by unwrapping it; these are their helpers.

mod comparison;
#[path = "../support/mod.rs"]
mod support;

use std::io::{Read, Write};

use comparison::{BrokerUnderTest, check, connect, parse, start_redis};

#[test]
fn connections_are_greeted_alike() {
    check(
        &[],
        &[
            "a: PING",
            "a: ping hello",
            "a: PiNg",
            "a: PING a b",
            "a: ECHO hello\\sworld",
            "a: ECHO \\e",
            "a: ECHO",
            "a: HELLO",
            "a: HELLO 2",
            "a: HELLO 4",
            "a: HELLO 1",
            "a: HELLO x",
            "a: HELLO 3 AUTH default",
            "a: HELLO 3 SETNAME",
            "a: HELLO 3 SETNAME bad\\sname",
            "a: HELLO 3 NONSENSE",
            "a: HELLO 3 AUTH nobody x",
            "a: HELLO 3 AUTH default x SETNAME tester",
            "a: CLIENT GETNAME",
            "a: GET missing",
            "a: HELLO 2 SETNAME \\e",
            "a: CLIENT GETNAME",
            "a: GET missing",
            "a: CLIENT SETNAME worker-1",
            "a: CLIENT GETNAME",
            "a: CLIENT SETNAME a\\sb",
            "a: CLIENT SETNAME a\\nb",
            "a: CLIENT SETNAME",
            "a: CLIENT NO-EVICT on",
            "a: CLIENT NO-EVICT x",
            "a: CLIENT NONSENSE",
            "a: CLIENT",
            "a: CLIENT LIST TYPE nobody",
            "a: CLIENT LIST TYPE replica",
            "a: CLIENT LIST ID x",
            "a: CLIENT LIST ID 987654",
            "a: CLIENT LIST x",
            "a: CLIENT GETNAME x",
            "a: SELECT 0",
            "a: SELECT 15",
            "a: SELECT 16",
            "a: SELECT -1",
            "a: SELECT x",
            "a: SELECT 99999999999",
            "a: SELECT 99999999999999999999",
            "a: AUTH x",
            "a: AUTH default x",
            "a: AUTH nobody x",
            "a: AUTH a b c",
            "a: AUTH",
            "a: RESET",
            "a: CLIENT GETNAME",
            "a: RESET x",
            "a: DBSIZE x",
            "a: TIME x",
            "a: INFO nonsense",
            "a: QUIT",
        ],
    );
}

#[test]
fn unknown_commands_are_refused_alike() {
    let long = "x".repeat(200);
    let many = format!("a: nonsense{}", " argument".repeat(40));
    check(
        &[],
        &[
            "a: NONSENSE",
            "a: Nonsense a b c",
            "a: \\e",
            "a: \\e a",
            "a: non\\r\\nsense a\\r\\nb",
            "a: non\\0sense a\\0b c",
            "a: client|list",
            &format!("a: {long} {long}"),
            &format!("a: x {} {}", &long[..120], &long),
            &many,
            "a: PUBSUB",
            "a: PUBSUB NONSENSE",
            "a: PUBSUB \\r\\n",
            "a: COMMAND NONSENSE",
            "a: COMMAND COUNT x",
            "a: GET",
            "a: GET a b",
            "a: PUBLISH a",
        ],
    );
}

#[test]
fn keys_are_kept_alike() {
    check(
        &[],
        &[
            "a: SET k v",
            "a: GET k",
            "a: SET k \\e",
            "a: GET k",
            "a: SET k w NX",
            "a: SET k w XX",
            "a: SET new v XX",
            "a: SET new v XX GET",
            "a: SET new v NX GET",
            "a: SET new w NX GET",
            "a: SET new w GET",
            "a: SET new x XX GET",
            "a: GET new",
            "a: SET k v NX XX",
            "a: SET k v XX NX",
            "a: SET k v EX",
            "a: SET k v EX 10 PX 10",
            "a: SET k v EX 10 EX 20",
            "a: TTL k",
            "a: SET k v EX 10 EXAT 20",
            "a: SET k v EX 10 KEEPTTL",
            "a: SET k v KEEPTTL EX 10",
            "a: SET k v KEEPTTL KEEPTTL",
            "a: SET k v NONSENSE",
            "a: SET k v EX x",
            "a: SET k v EX 0",
            "a: SET k v EX -1",
            "a: SET k v EX 9223372036854775807",
            "a: SET k v PX 9223372036854775807",
            "a: SET k v PX 9223372036854775808",
            "a: SET k v EX 01",
            "a: SET k v EX +1",
            "a: SET k v ex 100",
            "a: TTL k",
            "a: SET k w KEEPTTL",
            "a: TTL k",
            "a: SET k w",
            "a: TTL k",
            "a: SET k w PX 100000",
            "a: TTL k",
            "a: SET k w EXAT 9999999999",
            "a: SET k w PXAT 9999999999000",
            "a: SET k w EXAT 1",
            "a: GET k",
            "a: SET k w PXAT 0",
            "a: SET",
            "a: SET k",
            "a: SETNX k v",
            "a: SETNX k w",
            "a: GET k",
            "a: SETEX k 100 v",
            "a: TTL k",
            "a: SETEX k 0 v",
            "a: SETEX k x v",
            "a: SETEX k -5 v",
            "a: SETEX k 9223372036854775807 v",
            "a: PSETEX k 0 v",
            "a: PSETEX k 100000 v",
            "a: TTL k",
            "a: TTL missing",
            "a: PTTL missing",
            "a: PERSIST k",
            "a: PERSIST k",
            "a: PERSIST missing",
            "a: PTTL k",
            "a: EXPIRE k 100",
            "a: TTL k",
            "a: EXPIRE missing 100",
            "a: EXPIRE k x",
            "a: EXPIRE k 9223372036854775807",
            "a: EXPIRE k -9223372036854775808",
            "a: PEXPIRE k 9223372036854775807",
            "a: EXPIRE k 200 NX",
            "a: EXPIRE k 200 XX",
            "a: EXPIRE k 100 GT",
            "a: EXPIRE k 300 GT",
            "a: EXPIRE k 300 LT",
            "a: EXPIRE k 50 LT",
            "a: TTL k",
            "a: EXPIRE k 10 NX XX",
            "a: EXPIRE k 10 GT LT",
            "a: EXPIRE k 10 GT XX",
            "a: EXPIRE k 10 NONSENSE",
            "a: EXPIRE k x NONSENSE",
            "a: PERSIST k",
            "a: EXPIRE k 10 GT",
            "a: EXPIRE k 10 LT",
            "a: EXPIRE k 0",
            "a: EXISTS k",
            "a: SET k v",
            "a: PEXPIRE k -1",
            "a: EXISTS k",
            "a: SET k v",
            "a: EXISTS k k new missing",
            "a: DBSIZE",
            "a: SELECT 3",
            "a: GET k",
            "a: DBSIZE",
            "a: SET k third",
            "a: SELECT 0",
            "a: GET k",
            "a: UNLINK k missing",
            "a: DEL new new k",
            "a: DEL",
            "a: DBSIZE",
            "a: FLUSHDB x",
            "a: FLUSHDB SYNC ASYNC",
            "a: FLUSHDB ASYNC",
            "a: SELECT 3",
            "a: DBSIZE",
            "a: FLUSHALL",
            "a: DBSIZE",
        ],
    );
}

#[test]
fn messages_are_published_alike() {
    check(
        &[],
        &[
            "a: SUBSCRIBE news sport",
            "a: SUBSCRIBE news",
            "a: PING",
            "a: PING hello",
            "a: PING a b",
            "a: GET k",
            "a: CLIENT ID",
            "a: CLIENT NONSENSE",
            "a: NONSENSE",
            "a: HELLO 3",
            "a: PSUBSCRIBE n* s?ort n*",
            "b: PUBLISH news hello",
            "b: PUBLISH sport \\e",
            "b: PUBLISH weather rain",
            "b: PUBSUB CHANNELS nothing*",
            "b: PUBSUB CHANNELS s*",
            "b: PUBSUB CHANNELS a b",
            "b: PUBSUB NUMSUB",
            "b: PUBSUB NUMSUB news nothing",
            "b: PUBSUB NUMPAT",
            "b: PUBSUB NUMPAT x",
            "a: UNSUBSCRIBE sport never",
            "b: PUBSUB CHANNELS",
            "a: UNSUBSCRIBE",
            "a: UNSUBSCRIBE",
            "a: GET k",
            "a: PUNSUBSCRIBE never n*",
            "a: PUNSUBSCRIBE",
            "a: GET k",
            "a: PUNSUBSCRIBE",
            "b: PUBLISH news nobody",
            "a: SUBSCRIBE news",
            "a: RESET",
            "a: GET k",
            "b: PUBLISH news nobody",
            "a: SUBSCRIBE",
            "a: SUBSCRIBE one",
            "a: QUIT",
            "b: PUBLISH one nobody",
        ],
    );
}

#[test]
fn resp3_clients_are_answered_alike() {
    check(
        &[],
        &[
            "a: HELLO 3",
            "a: GET missing",
            "a: SUBSCRIBE news",
            "a: PING",
            "a: PING hello",
            "a: SET k v",
            "a: PSUBSCRIBE n*",
            "b: PUBLISH news hello",
            "a: PUBLISH news self",
            "a: UNSUBSCRIBE",
            "a: UNSUBSCRIBE",
            "a: PUNSUBSCRIBE n*",
            "a: EXEC",
            "a: WATCH k",
            "b: SET k w",
            "a: MULTI",
            "a: GET k",
            "a: EXEC",
            "a: RESET",
            "a: GET missing",
        ],
    );
}

#[test]
fn transactions_are_carried_out_alike() {
    check(
        &[],
        &[
            "a: EXEC",
            "a: DISCARD",
            "a: MULTI",
            "a: EXEC",
            "a: MULTI",
            "a: SET k v",
            "b: GET k",
            "a: GET k",
            "a: SET k",
            "a: EXEC",
            "a: MULTI",
            "a: SET k v",
            "a: GET k",
            "a: SET k v EX x",
            "a: MULTI",
            "a: WATCH k",
            "a: PING",
            "a: EXEC",
            "a: MULTI",
            "a: NONSENSE",
            "a: PING",
            "a: EXEC",
            "a: MULTI",
            "a: CLIENT NONSENSE",
            "a: EXEC",
            "a: MULTI",
            "a: PUBLISH news x",
            "a: SELECT 2",
            "a: SET second v",
            "a: EXEC",
            "a: GET second",
            "a: SELECT 0",
            "a: MULTI",
            "a: DISCARD",
            "a: WATCH k",
            "b: SET k w",
            "a: MULTI",
            "a: GET k",
            "a: EXEC",
            "a: WATCH k other",
            "a: MULTI",
            "a: GET k",
            "a: EXEC",
            "a: WATCH k",
            "b: SET k x",
            "a: UNWATCH",
            "a: MULTI",
            "a: GET k",
            "a: EXEC",
            "a: WATCH k",
            "b: EXPIRE k 100",
            "a: MULTI",
            "a: EXEC",
            "a: WATCH absent",
            "b: SET absent v",
            "a: MULTI",
            "a: EXEC",
            "a: WATCH absent",
            "b: DEL absent",
            "a: MULTI",
            "a: EXEC",
            "a: MULTI",
            "a: SUBSCRIBE news sport",
            "a: PING",
            "a: EXEC",
            "b: PUBLISH news hello",
            "a: RESET",
            "a: MULTI",
            "a: RESET",
            "a: EXEC",
            "a: MULTI",
            "a: QUIT",
        ],
    );
}

#[test]
fn malformed_requests_are_refused_alike() {
    let endless = format!("a! *{}", "1".repeat(70_000));
    let endless_bulk = format!("a! *1\\r\\n${}", "1".repeat(70_000));
    for last in [
        "a! *x\\r\\n",
        "a! *99999999999\\r\\n",
        "a! *+1\\r\\n",
        "a! *1\\r\\nx\\r\\n",
        "a! *1\\r\\n\\r\\n",
        "a! *1\\r\\n:1\\r\\n",
        "a! *1\\r\\n*1\\r\\n$4\\r\\nPING\\r\\n",
        "a! *1\\r\\n$-1\\r\\n",
        "a! *1\\r\\n$x\\r\\n",
        "a! *1\\r\\n$\\r\\n",
        "a! *1\\r\\n$1048577\\r\\n",
        "a! *1\\r\\n$99999999999999999999\\r\\n",
        "a: POST /",
        "a: post",
        "a: Host: localhost",
        &endless,
        &endless_bulk,
    ] {
        check(&[], &["a: PING", "a! *0\\r\\n", "a! *-1\\r\\n", "a: PING", last]);
    }
}

#[test]
fn requests_may_be_cut_and_joined_alike() {
    check(
        &[],
        &[
            "a! *",
            "a! 2\\r",
            "a! \\n$4\\r\\nEC",
            "a! HO\\r\\n$2\\r\\nhi",
            "a! \\r\\n*1\\r\\n$4\\r\\nPING\\r\\n*1\\r\\n$4\\r\\nPING\\r\\n*2\\r\\n$4\\r\\nPI",
            "a! NG\\r\\n$0\\r\\n\\r\\n*0\\r\\n*1\\r\\n$4\\r\\nPING\\r\\n",
        ],
    );
}

#[test]
fn a_password_is_demanded_alike() {
    let options = ["--requirepass", "secret"];
    check(
        &options,
        &[
            "a: PING",
            "a: NONSENSE",
            "a: GET",
            "a: PUBLISH a b",
            "a: HELLO 3",
            "a: HELLO 3 AUTH default wrong",
            "a: HELLO 3 SETNAME x",
            "a: AUTH wrong",
            "a: AUTH default wrong",
            "a: AUTH nobody secret",
            "a: AUTH",
            "a: AUTH a b c",
            "a: CLIENT GETNAME",
            "a: AUTH secret",
            "a: PING",
            "a: RESET",
            "a: PING",
            "a: AUTH default secret",
            "a: PING",
            "b: HELLO 3 AUTH default secret",
            "b: GET k",
            "c: QUIT",
        ],
    );
    for last in ["a! *11\\r\\n", "a! *1\\r\\n$16385\\r\\n", "a! *x\\r\\n"] {
        check(&options, &["a: PING", last]);
    }
}

#[test]
fn memory_is_refused_alike() {
    check(
        &["--maxmemory", "1"],
        &[
            "a: SET k v",
            "a: SETNX k v",
            "a: SETEX k 10 v",
            "a: PSETEX k 10 v",
            "a: GET k",
            "a: DEL k",
            "a: EXPIRE k 10",
            "a: PUBLISH news x",
        ],
    );
}

#[test]
fn clients_beyond_the_limit_are_refused_alike() {
    check(&["--maxclients", "2"], &["a: PING", "b: PING", "c! \\e", "a: PING"]);
}

#[test]
fn clients_are_described_by_the_same_fields() {
    let redis = start_redis(&[]);
    let mut broker = BrokerUnderTest::new(&[]);
    let (name, bytes) = parse("a: CLIENT INFO");
    broker.receive(name, &bytes);
    let mut socket = connect(&redis);
    socket.write_all(&bytes).unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();

    let fields = |answer: &[u8]| -> Vec<String> {
        let text = String::from_utf8(answer.to_vec()).unwrap();
        let line = text.lines().nth(1).unwrap();
        line.split(' ').map(|field| field.split('=').next().unwrap().to_owned()).collect()
    };
    let (ours, theirs) = (fields(&broker.clients[name].sent), fields(&answer));
    assert_eq!(ours[..theirs.len()], theirs);
}
