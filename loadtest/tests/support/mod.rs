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

/// What somebody is sent who comes back, given the frames that it missed, and how many came back before.
pub(crate) type Replay = dyn Fn(usize, &[Vec<u8>]) -> Vec<Vec<u8>> + Send + Sync;

#[derive(Default)]
struct State {
    /// Each with its channel.
    subscribers: Vec<(String, Option<TcpStream>)>,
    /// Each channel's so far.
    frames: HashMap<String, Vec<Vec<u8>>>,
    resumed: usize,
}

pub(crate) struct TestServer {
    pub(crate) web: SocketAddr,
    pub(crate) broker: SocketAddr,
}

impl TestServer {
    /// `head` is the head of every response. The threads end with the test's process.
    pub(crate) fn start(head: &'static str, fate: Box<Fate>) -> Self {
        Self::start_with(head, fate, Box::new(|_, missed| missed.to_vec()))
    }

    /// The same, and what becomes of those who come back.
    pub(crate) fn start_with(head: &'static str, fate: Box<Fate>, replay: Box<Replay>) -> Self {
        let (web, broker) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let server = Self { web: web.local_addr().unwrap(), broker: broker.local_addr().unwrap() };
        let state: Arc<Mutex<State>> = Arc::default();
        let listening = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in web.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let request = lines.next().unwrap().unwrap();
                let channel = request.strip_prefix("GET /events?channel=").unwrap();
                let channel = channel.strip_suffix(" HTTP/1.1").unwrap().to_owned();
                let mut last_id = None;
                while let Some(line) = lines.next().map(Result::unwrap).filter(|line| !line.is_empty()) {
                    last_id = line.strip_prefix("Last-Event-ID: ").map(str::to_owned).or(last_id);
                }
                stream.set_nodelay(true).unwrap();
                let mut state = listening.lock().unwrap();
                let bytes = match last_id {
                    None => head.as_bytes().to_vec(),
                    Some(id) => state.go_on(&channel, head, &id, &*replay),
                };
                // Whoever is gone already is none of the subscribers.
                if stream.write_all(&bytes).is_ok() {
                    state.subscribers.push((channel, Some(stream)));
                }
            }
        });
        std::thread::spawn(move || {
            for publisher in broker.incoming() {
                serve_publisher(publisher.unwrap(), &state, &*fate);
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

impl State {
    /// What somebody is sent who had the message `test.<number>`, or the head of an earlier life.
    fn go_on(&mut self, channel: &str, head: &str, id: &str, replay: &Replay) -> Vec<u8> {
        let head = head.split_once("\r\n\r\n").unwrap().0;
        let begin = format!("{head}\r\n\r\nretry: 50\nid: {id}\n\n");
        let number: usize = id.strip_prefix("test.").unwrap().parse().unwrap();
        let missed = self.frames.get(channel).map_or(&[][..], |frames| &frames[number..]);
        let pieces = replay(self.resumed, missed);
        self.resumed += 1;
        [begin.into_bytes(), pieces.concat()].concat()
    }
}

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

fn serve_publisher(stream: TcpStream, state: &Mutex<State>, fate: &Fate) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(words) = command(&mut reader) {
        if words[0] == b"RESTART" {
            // As a server does that was killed: every stream breaks. Its frames are known, so that ids go on.
            state.lock().unwrap().subscribers.clear();
            (&stream).write_all(b"+OK\r\n").unwrap();
            continue;
        }
        assert_eq!(words[0], b"PUBLISH");
        let name = String::from_utf8(words[1].clone()).unwrap();
        let State { subscribers, frames, .. } = &mut *state.lock().unwrap();
        let frames = frames.entry(name.clone()).or_default();
        let number = frames.len() as u64 + 1;
        let payload = String::from_utf8(words[2].clone()).unwrap();
        frames.push(format!("data: {payload}\nid: test.{number}\n\n").into_bytes());
        let of_channel = subscribers.iter_mut().filter(|(channel, _)| *channel == name);
        for (index, (_, subscriber)) in of_channel.enumerate() {
            let Some(client) = subscriber else { continue };
            match fate(number, index, frames) {
                // Who has cut its connection gets nothing any more.
                Some(pieces) if pieces.iter().try_for_each(|piece| client.write_all(piece)).is_err() => {
                    *subscriber = None;
                }
                Some(_) => {}
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
