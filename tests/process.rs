//! The courier process as its operator sees it: started for real on free ports, spoken to over sockets, sent signals.
//!
//! No sleeps: every wait is for a line, a byte or an exit, with a deadline.

#![allow(clippy::unwrap_used)] // A test states what must hold by unwrapping it; clippy knows that of #[test] functions only.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// A running courier in try-out mode; killed when dropped.
struct Courier {
    child: Child,
    web: String,
    admin: String,
    broker: String,
    log: Receiver<String>,
}

impl Courier {
    fn start(arguments: &[&str]) -> Self {
        let mut child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let printed = lines(child.stdout.take().unwrap());
        let log = lines(child.stderr.take().unwrap());
        let mut courier =
            Self { child, web: String::new(), admin: String::new(), broker: String::new(), log };
        while courier.broker.is_empty() {
            let line = printed.recv_timeout(PATIENCE).expect("courier says what listens where");
            let mut words = line.split_whitespace();
            let (name, value) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let address = value.trim_start_matches("http://").trim_end_matches('/');
            match name {
                "clients" if courier.web.is_empty() => courier.web = address.to_owned(),
                "admin" => courier.admin = address.to_owned(),
                // PUBLISH at 127.0.0.1:6380, as to Redis
                "messages" => courier.broker = words.nth(1).unwrap().trim_end_matches(',').to_owned(),
                _ => {}
            }
        }
        courier
    }

    /// A stream of events, subscribed: its first block has arrived.
    fn subscribe(&self, channel: &str) -> Events {
        let mut socket = TcpStream::connect(&self.web).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(socket, "GET /events?channel={channel} HTTP/1.1\r\nHost: {}\r\n\r\n", self.web).unwrap();
        let mut events = Events { lines: BufReader::new(socket) };
        assert_eq!(events.line(), "HTTP/1.1 200 OK");
        while !events.line().is_empty() {}
        let opening = events.block();
        assert!(opening[0].starts_with("retry: ") && opening[1].starts_with("id: "), "{opening:?}");
        events
    }

    fn publish(&self, channel: &str, payload: &[u8]) {
        let mut socket = TcpStream::connect(&self.broker).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        self.publish_on(&mut socket, channel, payload);
    }

    fn publish_on(&self, socket: &mut TcpStream, channel: &str, payload: &[u8]) {
        let head =
            format!("*3\r\n$7\r\nPUBLISH\r\n${}\r\n{channel}\r\n${}\r\n", channel.len(), payload.len());
        socket.write_all(&[head.as_bytes(), payload, b"\r\n"].concat()).unwrap();
        let mut answer = [0; 1];
        socket.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b":");
        while answer != *b"\n" {
            socket.read_exact(&mut answer).unwrap();
        }
    }

    fn get(&self, path: &str) -> String {
        let mut socket = TcpStream::connect(&self.admin).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    fn counter(&self, name: &str) -> u64 {
        let metrics = self.get("/metrics");
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name} is counted: {metrics}")).parse().unwrap()
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    fn exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "courier ends");
            std::thread::yield_now();
        }
    }

    fn logged(&self, text: &str) -> String {
        loop {
            let line = self.log.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("the log says {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Events {
    lines: BufReader<TcpStream>,
}

impl Events {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end_matches(['\r', '\n']).to_owned()
    }

    /// The lines of the next block; none at the end.
    fn block(&mut self) -> Vec<String> {
        let mut block = Vec::new();
        loop {
            match self.line() {
                line if line.is_empty() => return block,
                line => block.push(line),
            }
        }
    }

    fn data(&mut self) -> String {
        let block = self.block();
        block.iter().find_map(|line| line.strip_prefix("data: ")).expect("an event").to_owned()
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_courier"));
    command.env_clear().args(arguments);
    for flag in ["--listen", "--admin", "--broker"] {
        if !arguments.contains(&flag) {
            command.args([flag, "127.0.0.1:0"]);
        }
    }
    command
}

/// A courier that ends by itself.
fn outcome(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn refusal(arguments: &[&str]) -> String {
    let output = outcome(arguments);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text.trim_end().to_owned()
}

/// Lines as they come, so that a pipe never fills up.
fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("courier-process-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

#[test]
fn a_publish_reaches_every_subscriber_in_order_whatever_the_number_of_shards() {
    for shards in ["1", "2", "4"] {
        let courier = Courier::start(&["--shards", shards]);
        let mut subscribers: Vec<Events> = (0..8).map(|_| courier.subscribe("demo")).collect();
        let mut socket = TcpStream::connect(&courier.broker).unwrap();
        for number in 0..200 {
            courier.publish_on(&mut socket, "demo", number.to_string().as_bytes());
        }
        for subscriber in &mut subscribers {
            for number in 0..200 {
                assert_eq!(subscriber.data(), number.to_string(), "{shards} shards");
            }
        }
        assert_eq!(courier.counter("courier_messages_delivered_total"), 1_600);
        assert!(courier.get("/livez").starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

#[test]
fn a_large_message_arrives_whole() {
    let courier = Courier::start(&[]);
    let mut subscriber = courier.subscribe("demo");
    let payload = "0123456789abcdef".repeat(1 << 16);
    courier.publish("demo", payload.as_bytes());
    assert!(subscriber.data() == payload, "1 MiB, byte for byte");
}

#[test]
fn a_second_courier_and_another_program_are_told_apart() {
    let courier = Courier::start(&[]);
    let line = refusal(&["--listen", &courier.web]);
    assert_eq!(line, format!("courier: {} is already served by another courier", courier.web));

    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let line = refusal(&["--listen", &taken]);
    assert!(line.starts_with(&format!("courier: {taken} is in use by another program")), "{line}");
}

#[test]
fn a_cpu_that_is_not_there_is_refused() {
    let line = refusal(&["--cpus", "4000"]);
    assert!(line.starts_with("courier: --cpus: CPU 4000 is not one that this process may use"), "{line}");
}

#[test]
fn a_stop_ends_the_streams_with_a_retry_and_then_the_process() {
    for signal in ["-TERM", "-INT"] {
        let mut courier = Courier::start(&[]);
        let mut subscriber = courier.subscribe("demo");
        courier.publish("demo", b"last");
        assert_eq!(subscriber.data(), "last");
        courier.signal(signal);
        let closing = subscriber.block();
        assert!(closing.len() == 1 && closing[0].starts_with("retry: "), "{closing:?}");
        assert!(subscriber.block().is_empty(), "the stream has ended");
        drop(subscriber);
        assert_eq!(courier.exit().code(), Some(0));
        courier.logged("stopped");
    }
}

#[test]
fn a_hang_up_changes_nothing() {
    let courier = Courier::start(&[]);
    let mut subscriber = courier.subscribe("demo");
    courier.signal("-HUP");
    courier.logged("SIGHUP");
    courier.publish("demo", b"still here");
    assert_eq!(subscriber.data(), "still here");
}

/// A courier whose drain waits for a subscriber that does not read.
fn held_up(drain_timeout: &str) -> (Courier, Events) {
    let courier = Courier::start(&["--drain-timeout", drain_timeout]);
    let subscriber = courier.subscribe("demo");
    let payload = vec![b'x'; 12 << 20];
    courier.publish("demo", &payload);
    // Answered behind the message's first volley, in which the subscriber's buffer was filled.
    let deadline = Instant::now() + PATIENCE;
    while courier.counter("courier_short_sends_total") == 0 {
        assert!(Instant::now() < deadline, "a subscriber that does not read makes a send short");
    }
    courier.signal("-TERM");
    courier.logged("stopping");
    (courier, subscriber)
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let (mut courier, _subscriber) = held_up("60s");
    courier.signal("-TERM");
    assert_eq!(courier.exit().code(), Some(0));
    courier.logged("a second signal");
}

#[test]
fn the_drain_timeout_bounds_the_stop() {
    let (mut courier, _subscriber) = held_up("1s");
    let began = Instant::now();
    assert_eq!(courier.exit().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5));
    courier.logged("the drain timeout has passed");
}

#[test]
fn a_unix_socket_is_served_with_its_mode_and_removed_at_the_end() {
    let directory = directory("unix");
    let path = directory.join("web.sock");
    let listen = format!("unix:{},mode=0600", path.display());
    let mut courier = Courier::start(&["--listen", &listen, "--shards", "2"]);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for _ in 0..8 {
        let mut socket = UnixStream::connect(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(socket, "GET /events?channel=demo HTTP/1.1\r\nHost: courier\r\n\r\n").unwrap();
        let mut head = [0; 15];
        socket.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
    }
    courier.signal("-TERM");
    assert_eq!(courier.exit().code(), Some(0));
    assert!(!path.exists());
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_redis_that_refuses_the_password_ends_the_start() {
    let redis = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://:wrong@{}", redis.local_addr().unwrap());
    std::thread::spawn(move || {
        for socket in redis.incoming() {
            let mut socket = socket.unwrap();
            let _ = socket.read(&mut [0; 512]);
            let _ = socket.write_all(b"-WRONGPASS invalid username-password pair or user is disabled.\r\n");
            let _ = socket.read(&mut [0; 512]);
        }
    });
    let output = Command::new(env!("CARGO_BIN_EXE_courier"))
        .env_clear()
        .args(["--redis", &url, "--public", "*", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("WRONGPASS"), "{text}");
}
