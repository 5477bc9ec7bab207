//! A small server that streams events and takes `PUBLISH`, and does to the stream what a test asks for.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// What is written to one subscriber, each piece by a write of its own; none at all ends its stream.
pub(crate) type Pieces = Option<Vec<Vec<u8>>>;

/// What becomes of message `number` (from 1) for subscriber `subscriber`, given all frames so far.
pub(crate) type Fate = dyn Fn(u64, usize, &[Vec<u8>]) -> Pieces + Send + Sync;

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
        let subscribers: Arc<Mutex<Vec<Option<TcpStream>>>> = Arc::default();
        let listening = Arc::clone(&subscribers);
        std::thread::spawn(move || {
            for stream in web.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let request = lines.next().unwrap().unwrap();
                assert_eq!(request, "GET /events?channel=test HTTP/1.1");
                while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                stream.set_nodelay(true).unwrap();
                stream.write_all(head.as_bytes()).unwrap();
                listening.lock().unwrap().push(Some(stream));
            }
        });
        std::thread::spawn(move || {
            for publisher in broker.incoming() {
                serve_publisher(publisher.unwrap(), &subscribers, &*fate);
            }
        });
        server
    }

    /// Runs `loadtest fanout` against this server; its output and the JSON file's content.
    pub(crate) fn fanout(&self, name: &str, further: &[&str]) -> (Output, Value) {
        let (target, redis) = (format!("http://{}", self.web), format!("redis://{}", self.broker));
        let mut arguments =
            vec!["fanout", "--target", &target, "--redis", &redis, "--channel", "test", "--rounds", "1"];
        arguments.extend(further);
        run(name, &arguments)
    }
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

fn serve_publisher(stream: TcpStream, subscribers: &Mutex<Vec<Option<TcpStream>>>, fate: &Fate) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut frames = Vec::new();
    while let Some(words) = command(&mut reader) {
        assert_eq!((words[0].as_slice(), words[1].as_slice()), (b"PUBLISH".as_slice(), b"test".as_slice()));
        let number = frames.len() as u64 + 1;
        let payload = String::from_utf8(words[2].clone()).unwrap();
        frames.push(format!("data: {payload}\nid: test.{number}\n\n").into_bytes());
        for (index, subscriber) in subscribers.lock().unwrap().iter_mut().enumerate() {
            let Some(client) = subscriber else { continue };
            match fate(number, index, &frames) {
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
