//! A client of Redis or of the embedded broker: words out, replies in.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use courier::wire::resp::reply::{Reply, decode_reply};
use courier::wire::resp::request::encode_command;

use super::DEADLINE;

#[derive(Debug)]
pub struct Client {
    socket: Socket,
    received: Vec<u8>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Client {
    pub fn tcp(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket: Socket::Tcp(socket), received: Vec::new() }
    }

    /// None if nobody listens there yet.
    pub fn unix(path: &Path) -> Option<Self> {
        let socket = UnixStream::connect(path).ok()?;
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Some(Self { socket: Socket::Unix(socket), received: Vec::new() })
    }

    #[track_caller]
    pub fn command(&mut self, words: &[&[u8]]) -> Reply {
        let mut bytes = Vec::new();
        encode_command(words, &mut bytes);
        self.send(&bytes);
        self.reply()
    }

    /// A command whose words have no spaces in them, as one types it.
    #[track_caller]
    pub fn say(&mut self, line: &str) -> Reply {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.command(&words)
    }

    /// Publishes; how many subscribers Redis counted.
    #[track_caller]
    pub fn publish(&mut self, channel: &str, payload: impl AsRef<[u8]>) -> i64 {
        match self.command(&[b"PUBLISH", channel.as_bytes(), payload.as_ref()]) {
            Reply::Integer(count) => count,
            other => panic!("PUBLISH is answered {other:?}"),
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        match &mut self.socket {
            Socket::Tcp(socket) => socket.write_all(bytes).unwrap(),
            Socket::Unix(socket) => socket.write_all(bytes).unwrap(),
        }
    }

    #[track_caller]
    pub fn reply(&mut self) -> Reply {
        loop {
            if let Some((reply, length)) = decode_reply(&self.received).unwrap() {
                self.received.drain(..length);
                return reply;
            }
            assert!(self.receive(), "the connection ended instead of a reply");
        }
    }

    /// The connection ends behind these bytes.
    #[track_caller]
    pub fn rest(&mut self) -> String {
        while self.receive() {}
        String::from_utf8_lossy(&self.received).into_owned()
    }

    fn receive(&mut self) -> bool {
        let mut chunk = [0; 4_096];
        let read = match &mut self.socket {
            Socket::Tcp(socket) => socket.read(&mut chunk),
            Socket::Unix(socket) => socket.read(&mut chunk),
        };
        match read {
            Ok(length) => {
                self.received.extend_from_slice(&chunk[..length]);
                length > 0
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error} behind {}", self.received.escape_ascii()),
        }
    }
}
