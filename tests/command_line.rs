//! What the command says and how it ends: refusals at the start, the tools, the configuration.

#![allow(clippy::unwrap_used)] // Tests state what must hold by unwrapping it; these are their helpers.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use support::Directory;
use support::courier::{self, Courier, refused};
use support::process::Process;
use support::redis::Redis;
use support::stream::Stream;

fn run(command: &mut Command) -> (i32, String, String) {
    Process::run(command)
}

#[test]
fn try_out_is_for_this_machine_only() {
    let line = "try-out opens every channel to everyone: listen on loopback, or give --redis and --public";
    assert_eq!(refused(&["--listen", "0.0.0.0:0"]), line);
    assert_eq!(refused(&["--admin", "[::]:0"]), line);
    assert_eq!(refused(&["--broker", "0.0.0.0:0"]), line);
}

#[test]
fn what_is_missing_is_named() {
    assert_eq!(
        refused(&["--redis", "redis://127.0.0.1:6379"]),
        "--public is missing: no channel is open to anyone; give --public 'PATTERN' or a [[channels]] row in the file"
    );
    assert!(refused(&["--public", "*"]).starts_with("--redis is missing: "));
    assert!(refused(&["--shards", "0"]).starts_with("--shards 0: "));
    assert!(refused(&["--heartbeat", "15"]).contains("a duration needs its unit"));
    assert!(refused(&["--lisen", "127.0.0.1:0"]).contains("--listen"), "the nearest name is told");
}

#[test]
fn a_mistake_in_the_file_is_told_with_its_line() {
    let directory = Directory::new();
    let config =
        directory.file("courier.toml", "[redis]\nurl = \"redis://127.0.0.1\"\n\n[server]\nlistn = []\n");
    let line = refused(&["--config", &config]);
    assert!(line.starts_with(&format!("{config}:5: ")) && line.contains("server.listen"), "{line}");
    let config = directory.file("size.toml", "[limits]\nhead_bytes = \"100B\"\n");
    let line = refused(&["--config", &config]);
    assert_eq!(line, format!("{config}:2: limits.head_bytes = 100B: at least 1KiB"));
}

#[test]
fn a_cpu_that_is_not_there_is_refused() {
    let line = refused(&["--broker", "127.0.0.1:0", "--cpus", "4000"]);
    assert!(line.starts_with("--cpus: CPU 4000 is not one that this process may use"), "{line}");
}

#[test]
fn a_second_courier_on_an_address_is_told_of_the_first() {
    let first = Courier::start(&["--broker", "127.0.0.1:0"]);
    let (web, admin) = (first.web.to_string(), first.admin.to_string());
    let broker = ["--broker", "127.0.0.1:0"];
    assert_eq!(
        refused(&[&broker[..], &["--listen", &web]].concat()),
        format!("{web} is already served by another courier")
    );
    assert_eq!(
        refused(&[&broker[..], &["--admin", &admin]].concat()),
        format!("{admin} is already served by another courier")
    );
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let line = refused(&[&broker[..], &["--listen", &taken]].concat());
    assert!(line.starts_with(&format!("{taken} is in use by another program")), "{line}");
    // Killed, it leaves nothing behind that keeps the next one out.
    drop(first);
    Courier::start(&[&broker[..], &["--listen", &web, "--admin", &admin]].concat());
}

#[test]
fn a_login_that_redis_refuses_ends_the_start() {
    let redis = Redis::with(&["--requirepass", "right"]);
    let public = ["--public", "*"];
    let line = refused(&[&["--redis", &redis.url().replace("//", "//:wrong@")], &public[..]].concat());
    assert!(line.starts_with("Redis refused user and password: WRONGPASS"), "{line}");
    let line = refused(&[&["--redis", &redis.url()], &public[..]].concat());
    assert!(line.starts_with("Redis asks for a password: give redis.password_file"), "{line}");
    let line = refused(
        &[&["--redis", &format!("{}?db=99", redis.url().replace("//", "//:right@"))], &public[..]].concat(),
    );
    assert!(line.starts_with("the database of redis.url cannot be used"), "{line}");
}

/// A server that gives everybody the same answer: a foreign peer.
fn answering(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            std::thread::spawn(move || {
                let mut socket = socket.unwrap();
                let _ = socket.read(&mut [0; 1_024]);
                let _ = socket.write_all(answer);
                // Until the client has gone.
                let _ = std::io::copy(&mut socket, &mut std::io::sink());
            });
        }
    });
    address
}

#[test]
fn what_is_no_redis_of_today_ends_the_start() {
    let start = |address: SocketAddr| refused(&["--redis", &format!("redis://{address}"), "--public", "*"]);
    let old = "it speaks RESP2 only: courier needs Redis 6.2 or later, or Valkey";
    assert_eq!(start(answering(b"-ERR unknown command 'HELLO'\r\n-ERR unknown subcommand\r\n")), old);
    assert_eq!(start(answering(b"-NOPROTO unsupported protocol version\r\n")), old);
    let line = start(answering(b"HTTP/1.1 400 Bad Request\r\nServer: some\r\nConnection: close\r\n\r\n"));
    assert!(line.contains(r"HTTP/1.1 400 Bad Request\r\nServer"), "{line}");
    // A real one, which says even less.
    let server = Process::start(Command::new("python3").args(["-um", "http.server", "-b", "127.0.0.1", "0"]));
    let said = server.output.with("Serving HTTP");
    let port: u16 = said.split(' ').find_map(|word| word.parse().ok()).unwrap();
    let line = start(SocketAddr::from(([127, 0, 0, 1], port)));
    assert!(line.contains(r#"<!DOCTYPE HTML>\n<html"#), "{line}");
}

#[test]
fn version_help_and_configuration_are_shown() {
    let (code, output, errors) = run(courier::command().arg("--version"));
    assert_eq!((code, errors.as_str()), (0, ""));
    let version = output.strip_prefix("courier ").unwrap();
    assert!(version.starts_with(env!("CARGO_PKG_VERSION")) && version.contains('('), "{output}");
    let (code, output, _) = run(courier::command().arg("--help"));
    assert!(code == 0 && output.contains("--redis") && output.contains("Administration"));
    let (code, output, _) = run(courier::command()
        .args(["--redis", "redis://:hidden@db:6379", "--public", "news.*", "--print-config"])
        .env("COURIER_HEARTBEAT", "20s"));
    assert_eq!(code, 0);
    assert!(output.contains("20s") && output.contains("COURIER_HEARTBEAT"), "{output}");
    assert!(output.contains("redis://:***@db:6379") && !output.contains("hidden"), "{output}");
    let (code, _, errors) =
        run(courier::command().args(["--redis", "redis://db", "--public", "*", "--check-config"]));
    assert_eq!((code, errors.as_str()), (0, ""));
    let (code, _, errors) = run(courier::command().args(["--redis", "redis://db", "--check-config"]));
    assert_eq!((code, errors.lines().count()), (2, 1), "{errors}");
}

#[test]
fn the_example_file_is_a_configuration() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/courier.example.toml");
    let flags = ["--config", example, "--broker", "--public", "*", "--check-config"];
    let (code, _, errors) = run(courier::command().args(flags));
    assert_eq!((code, errors.as_str()), (0, ""));
}

#[test]
fn publish_reaches_redis_and_the_embedded_broker() {
    let redis = Redis::start();
    let with_redis = Courier::start(&["--redis", &redis.url(), "--public", "*"]);
    let with_broker = Courier::with_broker(&[]);
    let broker = format!("redis://{}", with_broker.broker.unwrap());
    for (courier, url) in [(&with_redis, redis.url()), (&with_broker, broker)] {
        let mut stream = Stream::open(courier.web, "channel=demo");
        let publish = |words: &[&str]| run(courier::command().args(["publish", "--redis", &url]).args(words));
        assert_eq!(publish(&["demo", "hello world"]), (0, "1\n".to_owned(), String::new()));
        assert_eq!(stream.data(), "hello world");
        let (code, output, errors) = publish(&["nobody", "x"]);
        assert_eq!((code, output.as_str()), (0, "0\n"));
        assert_eq!(errors, "courier publish: nobody listens to nobody right now\n");
        let mut from_stdin =
            Process::start(courier::command().args(["publish", "--redis", &url, "demo", "-"]));
        from_stdin.input().unwrap().write_all(b"two\nlines").unwrap();
        assert!(from_stdin.wait().success());
        assert_eq!(stream.data(), "two\nlines");
    }
    let (code, output, errors) =
        run(courier::command().args(["publish", "--redis", "unix:///nowhere.sock", "a", "b"]));
    assert_eq!((code, output.as_str()), (1, ""));
    assert!(errors.contains("start courier first"), "{errors}");
}

/// Passes connections on to a server, until it cuts them.
struct Passage {
    address: SocketAddr,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
    /// Held while nobody is to get through.
    gate: Arc<Mutex<()>>,
}

impl Passage {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let passage =
            Self { address: listener.local_addr().unwrap(), sockets: Arc::default(), gate: Arc::default() };
        let (sockets, gate) = (Arc::clone(&passage.sockets), Arc::clone(&passage.gate));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let _open = gate.lock().unwrap();
                let (client, server) = (client.unwrap(), TcpStream::connect(server).unwrap());
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
                }
                sockets.lock().unwrap().extend([client, server]);
            }
        });
        passage
    }

    fn cut(&self) {
        for socket in self.sockets.lock().unwrap().drain(..) {
            // The other side may be gone.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

#[test]
fn subscribe_resumes_over_a_cut_and_states_what_a_restart_lost() {
    let mut courier = Courier::with_broker(&["--retry", "100ms"]);
    let passage = Passage::to(courier.web);
    let url = format!("http://{}", passage.address);
    let subscriber = Process::start(courier::command().args(["subscribe", "--url", &url, "demo"]));
    courier.until_metric("courier_subscriptions", |count| count == 1.0);
    let mut publisher = courier.client();
    publisher.publish("demo", "one");
    subscriber.output.with("one");
    let closed = passage.gate.lock().unwrap();
    passage.cut();
    courier.until_metric("courier_subscriptions", |count| count == 0.0);
    publisher.publish("demo", "missed");
    publisher.publish("demo", "missed too");
    drop(closed);
    assert_eq!(subscriber.output.first(3), ["one", "missed", "missed too"]);
    subscriber.errors.with("reconnecting in");
    // courier itself goes and comes back at the same place.
    let (web, broker) = (courier.web.to_string(), courier.broker.unwrap().to_string());
    courier.process.kill();
    let courier =
        Courier::start(&["--broker", &broker, "--public", "*", "--retry", "100ms", "--listen", &web]);
    passage.cut();
    assert_eq!(
        subscriber.errors.with("gap on"),
        "courier subscribe: gap on demo: messages may be missing here (unknown-epoch)"
    );
    courier.client().publish("demo", "after the restart");
    subscriber.output.with("after the restart");
    assert_eq!(subscriber.output.all().len(), 4);
}

#[test]
fn subscribe_tells_channels_apart_and_what_is_refused() {
    let courier = Courier::start(&["--broker", "127.0.0.1:0", "--public", "open.*"]);
    let url = format!("http://{}", courier.web);
    let subscriber =
        Process::start(courier::command().args(["subscribe", "--url", &url, "open.a", "open.b"]));
    courier.until_metric("courier_subscriptions", |count| count == 2.0);
    courier.client().publish("open.b", "x");
    assert_eq!(subscriber.output.first(1), ["open.b x"]);
    let (code, output, errors) = run(courier::command().args(["subscribe", "--url", &url, "closed"]));
    assert_eq!((code, output.as_str()), (1, ""));
    assert!(errors.contains("answers 403: No rule opens this channel"), "{errors}");
}
