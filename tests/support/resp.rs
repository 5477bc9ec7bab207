//! A client of Redis or of the embedded broker: words out, replies in.

use std::io::{ErrorKind, Read, Result, Write};
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
        self.attempt(words).unwrap()
    }

    /// The same where the other side may go away.
    pub fn attempt(&mut self, words: &[&[u8]]) -> Result<Reply> {
        let mut bytes = Vec::new();
        encode_command(words, &mut bytes);
        self.write(&bytes)?;
        self.read_reply()
    }

    /// A command whose words have no spaces in them, as one types it.
    #[track_caller]
    pub fn say(&mut self, line: &str) -> Reply {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.command(&words)
    }

    /// The same, and the answer is OK.
    #[track_caller]
    pub fn expect_ok(&mut self, line: &str) {
        assert_eq!(self.say(line).as_text(), Some(&b"OK"[..]), "{line}");
    }

    /// Publishes; how many subscribers Redis counted.
    #[track_caller]
    pub fn publish(&mut self, channel: &str, payload: impl AsRef<[u8]>) -> i64 {
        match self.command(&[b"PUBLISH", channel.as_bytes(), payload.as_ref()]) {
            Reply::Integer(count) => count,
            other => panic!("PUBLISH is answered {other:?}"),
        }
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.write(bytes).unwrap();
    }

    #[track_caller]
    pub fn reply(&mut self) -> Reply {
        self.read_reply().unwrap()
    }

    /// The connection ends behind these bytes.
    #[track_caller]
    pub fn rest(&mut self) -> String {
        loop {
            match self.receive() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{error} behind {}", self.received.escape_ascii()),
            }
        }
        String::from_utf8_lossy(&self.received).into_owned()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.socket {
            Socket::Tcp(socket) => socket.write_all(bytes),
            Socket::Unix(socket) => socket.write_all(bytes),
        }
    }

    fn read_reply(&mut self) -> Result<Reply> {
        loop {
            if let Some((reply, length)) = decode_reply(&self.received).unwrap() {
                self.received.drain(..length);
                return Ok(reply);
            }
            if !self.receive()? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// False at the end of the connection.
    fn receive(&mut self) -> Result<bool> {
        let mut chunk = [0; 4_096];
        let length = match &mut self.socket {
            Socket::Tcp(socket) => socket.read(&mut chunk),
            Socket::Unix(socket) => socket.read(&mut chunk),
        }?;
        self.received.extend_from_slice(&chunk[..length]);
        Ok(length > 0)
    }
}
