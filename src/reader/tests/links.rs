//! The two connections: dialed, logged in, watched, given up.

use super::*;

#[test]
fn a_login_says_hello_select_and_a_name() {
    let options = RedisOptions {
        username: Some("reader".to_owned()),
        password: Some(Secret::new("pass word".to_owned())),
        database: 3,
        ..redis_options()
    };
    let mut rig = Rig::dialing(options);
    rig.connect(Link::Push, 0);
    assert_eq!(rig.outputs(), "receive 0");
    assert_eq!(rig.sent(), "HELLO 3 AUTH reader pass word / SELECT 3 / CLIENT SETNAME courier-test");
}

#[test]
fn a_password_alone_is_the_default_users() {
    let options = RedisOptions { password: Some(Secret::new("secret".to_owned())), ..redis_options() };
    assert!(!format!("{options:?}").contains("secret"));
    let mut rig = Rig::dialing(options);
    rig.connect(Link::Ask, 0);
    assert_eq!(rig.sent(), "HELLO 3 AUTH default secret / CLIENT SETNAME courier-test");
}

#[test]
fn a_password_that_was_changed_in_its_file_is_that_of_the_next_login() {
    let options = RedisOptions { password: Some(Secret::new("old".to_owned())), ..redis_options() };
    let mut rig = Rig::dialing(options);
    rig.go(Input::Password(Secret::new("new".to_owned())));
    rig.connect(Link::Push, 0);
    assert_eq!(rig.sent(), "HELLO 3 AUTH default new / CLIENT SETNAME courier-test");
}

#[test]
fn redis_is_up_when_the_push_link_is_logged_in() {
    let mut rig = Rig::dialing(redis_options());
    rig.pass(Duration::from_secs(1));
    rig.connect(Link::Push, 0);
    rig.connect(Link::Ask, 1);
    rig.sent();
    rig.receive(rig.ask, LOGGED_IN);
    rig.receive(rig.push, &LOGGED_IN[..20]);
    assert_eq!(rig.outputs(), "receive 0, receive 1");
    assert_eq!(rig.counters.cells.redis_up.get(), 0);
    rig.receive(rig.push, &LOGGED_IN[20..]);
    assert_eq!(rig.outputs(), "Up { outage: 1s }");
    assert_eq!(rig.counters.cells.redis_up.get(), 1);
    assert_eq!(rig.counters.cells.redis_outage_milliseconds.get(), 1_000);
}

#[test]
fn what_a_login_is_answered_decides_whether_the_operator_must_act() {
    let table: [(&[u8], &str); 12] = [
        (b"-WRONGPASS invalid username-password pair or user is disabled.\r\n", "Refused"),
        (b"-NOAUTH HELLO must be called with the client already authenticated\r\n", "Refused"),
        (b"-NOPERM this user has no permissions to run the 'hello' command\r\n", "Refused"),
        (b"-DENIED Redis is running in protected mode because\r\n", "Refused"),
        (b"-ERR unknown command 'HELLO', with args beginning with: '3' \r\n", "Refused"),
        (b"-NOPROTO unsupported protocol version\r\n", "Refused"),
        (b"*2\r\n+proto\r\n:2\r\n", "Refused"),
        (b"%1\r\n+proto\r\n:2\r\n", "Refused"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "Refused"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "Down"),
        (b"-ERR max number of clients reached\r\n", "Down"),
        (b"$3\r\nabcde", "Down"),
    ];
    for (answer, expected) in table {
        let mut rig = Rig::dialing(redis_options());
        rig.connect(Link::Push, 0);
        rig.outputs();
        rig.receive(rig.push, answer);
        let outputs = rig.outputs();
        assert!(
            outputs.starts_with(&format!("shutdown 0, {expected} ")),
            "{}: {outputs}",
            answer.escape_ascii()
        );
        rig.go(Input::HungUp { socket: rig.push, cause: HangUp::Closed });
        assert_eq!(rig.outputs(), "close 0");
    }
}

#[test]
fn a_web_server_on_the_port_is_quoted_in_one_line() {
    let mut rig = Rig::dialing(redis_options());
    rig.connect(Link::Push, 0);
    rig.outputs();
    rig.receive(rig.push, b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n");
    let expected =
        r#"shutdown 0, Refused { reason: "not Redis: it says \"HTTP/1.1 400 Bad Request\\r\\nServer\"" }"#;
    assert_eq!(rig.outputs(), expected);
}

#[test]
fn a_database_that_does_not_exist_is_the_operators_matter() {
    let mut rig = Rig::dialing(RedisOptions { database: 99, ..redis_options() });
    rig.connect(Link::Ask, 0);
    rig.outputs();
    rig.receive(rig.push, b"%1\r\n+proto\r\n:3\r\n-ERR DB index is out of range\r\n");
    assert!(rig.outputs().contains("Refused { reason: \"the database of redis.url cannot be used: ERR DB"));
}

#[test]
fn a_refused_name_does_no_harm() {
    let mut rig = Rig::dialing(redis_options());
    rig.connect(Link::Push, 0);
    rig.connect(Link::Ask, 1);
    rig.outputs();
    for socket in [rig.push, rig.ask] {
        rig.receive(
            socket,
            b"%1\r\n+proto\r\n:3\r\n-NOPERM no permissions to run the 'client|setname' command\r\n",
        );
    }
    assert_eq!(rig.outputs(), "Up { outage: 0ns }");
}

#[test]
fn a_failed_dial_is_tried_again_after_50_ms_to_2_s() {
    let mut rig = Rig::dialing(redis_options());
    rig.go(Input::DialFailed { link: Link::Ask, reason: "connection refused" });
    assert_eq!(rig.outputs(), r#"Down { reason: "connection refused" }"#);
    for span in [50, 100, 200, 400, 800, 1_600, 2_000, 2_000, 2_000] {
        let failed_at = rig.now;
        rig.go(Input::DialFailed { link: Link::Push, reason: "connection refused" });
        assert!(rig.outputs().is_empty(), "one reason is said once");
        // The other link's time comes too; its dial stays under way.
        loop {
            rig.now = rig.reader.next_deadline().unwrap();
            rig.go(Input::Tick);
            if rig.outputs().contains("dial Push") {
                break;
            }
        }
        let waited = rig.now.since(failed_at);
        let span = Duration::from_millis(span);
        assert!(span / 2 <= waited && waited <= span, "{waited:?} of {span:?}");
    }
    assert_eq!(rig.counters.cells.redis_failed_attempts.get(), 10);
}

#[test]
fn a_login_that_is_not_answered_is_given_up() {
    let mut rig = Rig::dialing(redis_options());
    rig.connect(Link::Push, 0);
    rig.outputs();
    rig.pass(Duration::from_millis(4_999));
    assert_eq!(rig.outputs(), "");
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.outputs(), r#"shutdown 0, Down { reason: "it did not answer the login" }"#);
}

#[test]
fn silence_is_broken_by_a_ping_on_each_link() {
    let mut rig = Rig::up();
    rig.pass(Duration::from_secs(9));
    assert_eq!(rig.sent(), "");
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.sent(), "PING / PING");
    rig.receive(rig.push, b"+PONG\r\n");
    rig.receive(rig.ask, b"+PONG\r\n");
    rig.pass(Duration::from_secs(9));
    assert_eq!((rig.sent(), rig.outputs()), (String::new(), String::new()));
}

/// As after a process that was stopped: a driver gives what has come in before it looks at the clock's deadlines.
#[test]
fn a_clock_that_jumps_forward_or_steps_back_loses_no_link_that_answers() {
    let mut rig = Rig::up();
    let began = rig.now;
    rig.pass(Duration::from_secs(10));
    assert_eq!(rig.sent(), "PING / PING");
    rig.now = began.after(Duration::from_secs(30 * 24 * 3_600));
    for link in [rig.push, rig.ask] {
        rig.receive(link, b"+PONG\r\n");
    }
    rig.go(Input::Tick);
    assert_eq!((rig.sent(), rig.outputs()), (String::new(), String::new()));
    rig.now = began;
    rig.go(Input::Tick);
    rig.join(0, 0, "a", 1);
    assert_eq!(rig.sent(), "SUBSCRIBE a");
    rig.receive(rig.push, &subscribed(&["a"]));
    rig.receive(rig.push, &messages(&[("a", "x")]));
    assert_eq!(rig.deliveries(0), ["joined c1 k0 @1 []", "batch 2:k0:x"]);
    assert_eq!(rig.outputs(), "");
}

#[test]
fn half_a_frame_and_then_silence_ends_the_link() {
    let mut rig = Rig::up();
    rig.receive(rig.push, b">3\r\n$7\r\nmess");
    rig.pass(Duration::from_secs(10));
    assert_eq!(rig.sent(), "PING / PING");
    rig.receive(rig.ask, b"+PONG\r\n");
    rig.pass(Duration::from_millis(4_999));
    assert_eq!(rig.outputs(), "");
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.outputs(), r#"shutdown 0, Down { reason: "it did not answer a PING" }"#);
    assert_eq!(rig.counters.cells.redis_up.get(), 0);
}

#[test]
fn the_next_connection_starts_with_a_whole_frame() {
    let mut rig = Rig::up();
    rig.receive(rig.push, b">3\r\n$7\r\nmess");
    rig.lose();
    rig.come_back(2);
    assert_eq!(rig.counters.cells.redis_up.get(), 1);
    assert_eq!(rig.counters.cells.redis_reconnects.get(), 1, "of two links, the one that hears");
}

#[test]
fn bytes_of_a_socket_that_was_given_up_are_dropped() {
    let mut rig = Rig::up();
    rig.join(0, 0, "a", 1);
    rig.sent();
    rig.receive(rig.push, &subscribed(&["a"]));
    let old = rig.push;
    rig.receive(old, b"nonsense");
    rig.receive(old, &messages(&[("a", "late")]));
    rig.go(Input::Writable { socket: old });
    assert!(rig.outputs().starts_with("shutdown 0, Down"));
    rig.go(Input::HungUp { socket: old, cause: HangUp::Reset });
    assert_eq!(rig.outputs(), "close 0");
    rig.go(Input::HungUp { socket: old, cause: HangUp::Reset });
    assert_eq!(rig.outputs(), "");
    assert_eq!(rig.deliveries(0), ["joined c1 k0 @1 []", "upstream Down"]);
}

#[test]
fn a_short_send_goes_on_when_the_socket_takes_bytes_again() {
    let mut rig = Rig::dialing(redis_options());
    rig.connect(Link::Push, 0);
    rig.outputs();
    let all = rig.reader.outgoing(rig.push).to_vec();
    assert_eq!(rig.reader.next_to_send(), Some(rig.push));
    rig.reader.sent(rig.now, rig.push, 10);
    assert_eq!(rig.outputs(), "await 0");
    assert_eq!(rig.reader.next_to_send(), None);
    rig.go(Input::Writable { socket: rig.push });
    assert_eq!(rig.reader.next_to_send(), Some(rig.push));
    assert_eq!(rig.reader.outgoing(rig.push), &all[10..]);
    rig.reader.sent(rig.now, rig.push, all.len() - 10);
    assert_eq!(rig.reader.next_to_send(), None);
    assert_eq!(rig.outputs(), "");
}

#[test]
fn an_answer_that_nothing_asked_for_ends_the_link() {
    for bytes in [b"+OK\r\n".to_vec(), subscribed(&["a"]), b"-ERR odd\r\n".to_vec(), b"HTTP/1.1".to_vec()] {
        let mut rig = Rig::up();
        rig.receive(rig.push, &bytes);
        assert!(rig.outputs().starts_with("shutdown 0, Down "), "{}", bytes.escape_ascii());
        let mut rig = Rig::up();
        rig.join(0, 0, "b", 1);
        rig.sent();
        rig.receive(rig.push, &bytes);
        assert!(rig.outputs().starts_with("shutdown 0, Down "), "{}", bytes.escape_ascii());
    }
    let mut rig = Rig::up();
    rig.receive(rig.ask, b":1\r\n");
    assert_eq!(rig.outputs(), "shutdown 1");
}

#[test]
fn pushes_of_other_kinds_are_passed_over() {
    let mut rig = Rig::up();
    rig.receive(rig.push, b">2\r\n$10\r\ninvalidate\r\n_\r\n>1\r\n+new\r\n");
    assert_eq!(rig.outputs(), "");
}

#[test]
fn publishes_are_answered_in_order() {
    let mut rig = Rig::up();
    rig.publish(0, 1, "a", "one");
    rig.publish(1, 2, "a", "two");
    rig.publish(0, 3, "b", "three");
    assert_eq!(rig.sent(), "PUBLISH a one / PUBLISH a two / PUBLISH b three");
    rig.receive(rig.ask, b":0\r\n-NOPERM no\r\n");
    rig.receive(rig.ask, b":12\r\n");
    assert_eq!(rig.deliveries(0), ["published c1 behind 0", "published c3 behind 0"]);
    assert_eq!(rig.deliveries(1), ["published c2 not"]);
}

#[test]
fn publishes_fail_when_the_link_drops_and_while_it_is_down() {
    let mut rig = Rig::up();
    rig.publish(0, 1, "a", "one");
    rig.publish(0, 2, "a", "two");
    rig.sent();
    rig.receive(rig.ask, b":1\r\n");
    rig.go(Input::HungUp { socket: rig.ask, cause: HangUp::Closed });
    rig.publish(0, 3, "a", "three");
    assert_eq!(rig.deliveries(0), ["published c1 behind 0", "published c2 not", "published c3 not"]);
    assert_eq!(rig.outputs(), "close 1");
    assert_eq!(rig.sent(), "PING", "on the other link: is Redis there?");
}

#[test]
fn the_ask_link_comes_and_goes_without_an_outage() {
    let mut rig = Rig::up();
    rig.go(Input::HungUp { socket: rig.ask, cause: HangUp::Reset });
    assert_eq!((rig.outputs().as_str(), rig.sent().as_str()), ("close 1", "PING"));
    rig.receive(rig.push, b"+PONG\r\n");
    assert_eq!(rig.outputs(), r#"AskLost { reason: "Redis reset the connection" }"#);
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.outputs(), "dial Ask");
    rig.go(Input::DialFailed { link: Link::Ask, reason: "connection refused" });
    assert_eq!((rig.outputs(), rig.sent()), (String::new(), String::new()), "it is said once");
    rig.pass(Duration::from_secs(2));
    rig.connect(Link::Ask, 2);
    rig.ask = SocketKey { slot: Slot(2), generation: 0 };
    rig.sent();
    rig.receive(rig.ask, LOGGED_IN);
    assert_eq!(rig.outputs(), "dial Ask, receive 2, AskBack");
    let cells = &rig.counters.cells;
    assert_eq!((cells.redis_up.get(), cells.redis_outage_milliseconds.get()), (1, 0));
    assert_eq!(cells.redis_reconnects.get(), 0);
}

#[test]
fn a_redis_that_goes_is_said_once_whichever_link_is_noticed_first() {
    let down = r#"Down { reason: "Redis closed the connection" }"#;
    let mut rig = Rig::up();
    rig.go(Input::HungUp { socket: rig.ask, cause: HangUp::Closed });
    rig.go(Input::HungUp { socket: rig.push, cause: HangUp::Closed });
    assert_eq!(rig.outputs(), format!("close 1, close 0, {down}"));
    rig.come_back(2);
    rig.lose();
    assert_eq!(rig.outputs(), format!("close 2, {down}, close 3"));
}

#[test]
fn a_silent_redis_is_said_once_and_the_link_in_doubt_has_no_longer_than_a_ping() {
    let mut rig = Rig::up();
    // Messages keep the push link from being pinged.
    rig.pass(Duration::from_secs(8));
    rig.receive(rig.push, &messages(&[("nobody's", "x")]));
    rig.pass(Duration::from_secs(7));
    assert_eq!(rig.outputs(), "shutdown 1", "pinged after 10 s, given up after 5 s more");
    assert_eq!(rig.sent(), "PING", "the one of the link that was given up was not sent before");
    rig.pass(Duration::from_secs(5));
    let outputs = rig.outputs();
    let down = r#"shutdown 0, Down { reason: "it did not answer a PING" }"#;
    assert!(outputs.ends_with(down) && !outputs.contains("AskLost"), "{outputs}");
}

#[test]
fn a_dial_of_the_outage_that_fails_when_it_is_over_is_part_of_it() {
    let mut rig = Rig::up();
    rig.lose();
    rig.pass(Duration::from_secs(2));
    rig.outputs();
    rig.connect(Link::Push, 2);
    rig.push = SocketKey { slot: Slot(2), generation: 0 };
    rig.sent();
    rig.receive(rig.push, LOGGED_IN);
    rig.go(Input::DialFailed { link: Link::Ask, reason: "timed out" });
    assert_eq!((rig.outputs().as_str(), rig.sent().as_str()), ("receive 2, Up { outage: 2s }", ""));
    // The next one is of a time in which Redis is there.
    rig.pass(Duration::from_secs(2));
    rig.go(Input::DialFailed { link: Link::Ask, reason: "timed out" });
    assert_eq!((rig.outputs().as_str(), rig.sent().as_str()), ("dial Ask", "PING"));
    rig.receive(rig.push, b"+PONG\r\n");
    assert_eq!(rig.outputs(), r#"AskLost { reason: "timed out" }"#);
}

#[test]
fn an_ask_link_that_is_back_before_redis_has_answered_is_not_worth_a_line() {
    let mut rig = Rig::up();
    rig.go(Input::HungUp { socket: rig.ask, cause: HangUp::Closed });
    rig.pass(Duration::from_secs(2));
    rig.connect(Link::Ask, 2);
    rig.ask = SocketKey { slot: Slot(2), generation: 0 };
    rig.receive(rig.ask, LOGGED_IN);
    rig.receive(rig.push, b"+PONG\r\n");
    assert_eq!(rig.outputs(), "close 1, dial Ask, receive 2");
}

#[test]
fn more_commands_than_the_bound_are_refused() {
    let mut rig = Rig::up();
    for _ in 0..=crate::base::limits::ASK_COMMANDS {
        rig.publish(0, 1, "a", "x");
    }
    assert_eq!(rig.deliveries(0), ["published c1 not"]);
}
