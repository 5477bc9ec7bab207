//! A small server that streams events and takes `PUBLISH`, and does to the stream what a test asks for.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// What is written to one subscriber, each piece by a write of its own; none at all ends its stream.
pub(crate) type Pieces = Option<Vec<Vec<u8>>>;

/// What becomes of message `number` (from 1) of a channel for subscriber `subscriber` of it, given all frames of that
/// channel so far.
pub(crate) type Fate = dyn Fn(u64, usize, &[Vec<u8>]) -> Pieces + Send + Sync;

/// Each with its channel.
type Subscribers = Mutex<Vec<(String, Option<TcpStream>)>>;

pub(crate) struct TestServer {
    pub(crate) web: SocketAddr,
    pub(crate) broker: SocketAddr,
}

impl TestServer {
    /// `head` is the head of every response. The threads end with the test's process.
    pub(crate) fn start(head: &'static str, fate: Box<Fate>) -> Self {
        let (web, broker) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let server = Self { web: web.local_addr().unwrap(), broker: broker.local_addr().unwrap() };
        let subscribers: Arc<Subscribers> = Arc::default();
        let listening = Arc::clone(&subscribers);
        std::thread::spawn(move || {
            for stream in web.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let request = lines.next().unwrap().unwrap();
                let channel = request.strip_prefix("GET /events?channel=").unwrap();
                let channel = channel.strip_suffix(" HTTP/1.1").unwrap().to_owned();
                while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                stream.set_nodelay(true).unwrap();
                stream.write_all(head.as_bytes()).unwrap();
                listening.lock().unwrap().push((channel, Some(stream)));
            }
        });
        std::thread::spawn(move || {
            for publisher in broker.incoming() {
                serve_publisher(publisher.unwrap(), &subscribers, &*fate);
            }
        });
        server
    }

    /// Runs a scenario against this server; its output and the JSON file's content.
    pub(crate) fn run(&self, scenario: &str, name: &str, further: &[&str]) -> (Output, Value) {
        let (target, redis) = (format!("http://{}", self.web), format!("redis://{}", self.broker));
        let mut arguments =
            vec![scenario, "--target", &target, "--redis", &redis, "--channel", "test", "--rounds", "1"];
        arguments.extend(further);
        run(name, &arguments)
    }
}

pub(crate) const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n\
                               retry: 2000\nid: test.0\n\n";

/// The newest frame as it is.
pub(crate) fn faithful(_: u64, _: usize, frames: &[Vec<u8>]) -> Pieces {
    Some(vec![frames.last().unwrap().clone()])
}

/// What the first round of the first contender counted.
pub(crate) fn counts(json: &Value) -> [u64; 6] {
    let tally = &json["trials"][0]["rounds"][0]["measured"]["tally"];
    ["expected", "delivered", "lost", "repeated", "reordered", "disconnected"]
        .map(|name| tally[name].as_u64().unwrap())
}

/// Runs loadtest; its output and the JSON file's content.
pub(crate) fn run(name: &str, arguments: &[&str]) -> (Output, Value) {
    let json = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(arguments)
        .arg("--json")
        .arg(&json)
        .output()
        .unwrap();
    let content = std::fs::read(&json).unwrap_or_else(|_| panic!("no JSON file; it said: {output:?}"));
    (output, serde_json::from_slice(&content).unwrap())
}

fn serve_publisher(stream: TcpStream, subscribers: &Subscribers, fate: &Fate) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut channels: HashMap<String, Vec<Vec<u8>>> = HashMap::new();
    while let Some(words) = command(&mut reader) {
        assert_eq!(words[0], b"PUBLISH");
        let name = String::from_utf8(words[1].clone()).unwrap();
        let frames = channels.entry(name.clone()).or_default();
        let number = frames.len() as u64 + 1;
        let payload = String::from_utf8(words[2].clone()).unwrap();
        frames.push(format!("data: {payload}\nid: test.{number}\n\n").into_bytes());
        let mut subscribers = subscribers.lock().unwrap();
        let of_channel = subscribers.iter_mut().filter(|(channel, _)| *channel == name);
        for (index, (_, subscriber)) in of_channel.enumerate() {
            let Some(client) = subscriber else { continue };
            match fate(number, index, frames) {
                Some(pieces) => pieces.iter().for_each(|piece| client.write_all(piece).unwrap()),
                None => *subscriber = None,
            }
        }
        (&stream).write_all(b":1\r\n").unwrap();
    }
}

fn command(reader: &mut impl BufRead) -> Option<Vec<Vec<u8>>> {
    let count = number(reader)?;
    let word = |reader: &mut dyn BufRead| {
        let length = number(reader)?;
        let mut word = vec![0; length + 2];
        reader.read_exact(&mut word).ok()?;
        word.truncate(length);
        Some(word)
    };
    (0..count).map(|_| word(reader)).collect()
}

fn number(reader: &mut (impl BufRead + ?Sized)) -> Option<usize> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    line.trim().get(1..)?.parse().ok()
}
