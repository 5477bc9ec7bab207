//! Runs a script against the embedded broker and a real redis-server.
//!
//! A script is a list of lines, `CLIENT: WORD WORD ..`; `CLIENT! BYTES` sends the bytes as they are. Words know the
//! escapes `\s` (space), `\r`, `\n`, `\0`, `\e` (nothing at all). After each line, exactly as many bytes are read from
//! Redis for each client as the broker has for it; after the last line both must have nothing left.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use courier::base::socket::{HangUp, Slot, SocketKey};
use courier::base::time::{Time, WallClock};
use courier::driver::sys::time;
use courier::reader::broker::{Broker, BrokerOptions};
use courier::reader::input::Output;
use courier::wire::resp::request::encode_command;

use crate::support::DEADLINE;
use crate::support::redis::Redis;

/// Runs the script against both and compares.
pub(crate) fn check(options: &[&str], script: &[&str]) {
    let redis = start_redis(options);
    let mut broker = BrokerUnderTest::new(options);
    let mut sockets: BTreeMap<&str, UnixStream> = BTreeMap::new();
    for line in script {
        let (name, bytes) = parse(line);
        let socket = sockets.entry(name).or_insert_with(|| connect(&redis));
        // A peer that has closed is noticed by what it sent.
        let _ = socket.write_all(&bytes);
        broker.receive(name, &bytes);
        for (name, client) in &mut broker.clients {
            let expected = std::mem::take(&mut client.sent);
            let Some(socket) = sockets.get_mut(name.as_str()) else { continue };
            let got = read(socket, expected.len());
            assert_eq!(
                shown(&expected),
                shown(&got),
                "broker (left) and Redis (right), to {name} after {line}"
            );
        }
    }
    for (name, mut socket) in sockets {
        socket.shutdown(std::net::Shutdown::Write).ok();
        let mut rest = Vec::new();
        match socket.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("Redis does not close {name}: {error}"),
        }
        let is_closed = broker.clients[name].is_shut_down;
        assert_eq!(shown(&rest), "", "Redis has more for {name}; the broker has closed it: {is_closed}");
    }
}

pub(crate) fn start_redis(options: &[&str]) -> Redis {
    let bulk_bytes = BULK_BYTES.to_string();
    Redis::with(&[&["--proto-max-bulk-len", &bulk_bytes], options].concat())
}

pub(crate) fn connect(redis: &Redis) -> UnixStream {
    let socket = UnixStream::connect(redis.socket()).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

/// Up to `count` bytes: fewer if Redis closes or has no more to say for a while.
fn read(socket: &mut UnixStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    let mut filled = 0;
    while filled < count {
        match socket.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    bytes.truncate(filled);
    bytes
}

/// Readable, and without what differs by nature: the number of a connection.
fn shown(bytes: &[u8]) -> String {
    let text = bytes.escape_ascii().to_string();
    let Some(at) = text.find(r"$2\r\nid\r\n:") else { return text };
    let start = at + r"$2\r\nid\r\n:".len();
    let end = start + text[start..].find('\\').unwrap_or(0);
    format!("{}ID{}", &text[..start], &text[end..])
}

/// The client's name and the bytes that it sends.
pub(crate) fn parse(line: &str) -> (&str, Vec<u8>) {
    let (name, rest) = line.split_at(1);
    let (kind, rest) = rest.split_at(1);
    match kind {
        "!" => (name, unescape(&rest[1..])),
        _ => {
            let words: Vec<Vec<u8>> = rest[1..].split(' ').map(unescape).collect();
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            let mut bytes = Vec::new();
            encode_command(&words, &mut bytes);
            (name, bytes)
        }
    }
}

fn unescape(word: &str) -> Vec<u8> {
    let plain = word.replace("\\e", "").replace("\\s", " ").replace("\\r", "\r");
    plain.replace("\\n", "\n").replace("\\0", "\0").into_bytes()
}

pub(crate) struct BrokerUnderTest {
    broker: Broker,
    pub(crate) clients: BTreeMap<String, ClientUnderTest>,
}

pub(crate) struct ClientUnderTest {
    socket: SocketKey,
    pub(crate) sent: Vec<u8>,
    is_shut_down: bool,
}

impl BrokerUnderTest {
    pub(crate) fn new(options: &[&str]) -> Self {
        let option = |name| options.iter().skip_while(move |&&option| option != name).nth(1).copied();
        let number = |name| option(name).map(|number| number.parse::<usize>().unwrap());
        let broker = Broker::new(BrokerOptions {
            memory_bytes: number("--maxmemory").unwrap_or(1 << 20),
            clients_max: number("--maxclients").unwrap_or(100),
            message_bytes: BULK_BYTES,
            output_bytes_max: 1 << 20,
            buffer_bytes_max: 1 << 24,
            password: option("--requirepass").map(|password| password.as_bytes().into()),
            version: "0.0.0",
            wall_clock: WallClock { at: Time::ZERO, unix: time::unix_now() },
            counters: Arc::default(),
        });
        Self { broker, clients: BTreeMap::new() }
    }

    pub(crate) fn receive(&mut self, name: &str, bytes: &[u8]) {
        if !self.clients.contains_key(name) {
            let slot = Slot(u32::try_from(self.clients.len()).unwrap());
            let socket = SocketKey { slot, generation: 7 };
            self.clients
                .insert(name.to_owned(), ClientUnderTest { socket, sent: Vec::new(), is_shut_down: false });
            self.broker.accepted(Time::ZERO, socket);
        }
        self.broker.received(Time::ZERO, self.clients[name].socket, bytes);
        while let Some(socket) = self.broker.next_to_send() {
            let outgoing = self.broker.outgoing(socket).to_vec();
            self.broker.sent(socket, outgoing.len());
            let client = self.clients.values_mut().find(|client| client.socket == socket).unwrap();
            client.sent.extend(outgoing);
        }
        while let Some(output) = self.broker.next_output() {
            if let Output::Shutdown { socket } = output {
                let client = self.clients.values_mut().find(|client| client.socket == socket).unwrap();
                client.is_shut_down = true;
                self.broker.hung_up(socket, HangUp::Closed);
            }
        }
    }
}

/// The least that Redis takes for `proto-max-bulk-len`.
const BULK_BYTES: usize = 1 << 20;
