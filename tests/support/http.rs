//! A client that sends bytes and reads answers, and hides nothing of either.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::DEADLINE;

#[derive(Debug)]
pub struct Peer {
    pub socket: TcpStream,
    /// Received and not yet read as anything.
    received: Vec<u8>,
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    fields: Vec<(String, String)>,
    pub body: String,
}

impl Peer {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    pub fn over(socket: TcpStream) -> Self {
        socket.set_nodelay(true).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        Self { socket, received: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).unwrap();
    }

    /// The next answer, with the body that its head announces; a stream's head has none.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        let length = answer.field("content-length").map_or(0, |length| length.parse().unwrap());
        self.receive_until(|received| received.len() >= length);
        answer.body = String::from_utf8(self.received.drain(..length).collect()).unwrap();
        answer
    }

    /// The next answer's head: the answer to HEAD, or what comes before a stream.
    #[track_caller]
    pub fn head(&mut self) -> Answer {
        self.receive_until(|received| end_of_head(received).is_some());
        let end = end_of_head(&self.received).unwrap();
        let head = String::from_utf8(self.received.drain(..end).collect()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
        let field = |line: &str| {
            line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        };
        Answer { status, fields: lines.filter_map(field).collect(), body: String::new() }
    }

    /// Everything up to the end of the connection.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        while let Some(bytes) =
            self.receive(DEADLINE).unwrap_or_else(|()| panic!("the connection does not end"))
        {
            rest.extend(bytes);
        }
        rest
    }

    /// The connection ends here, and nothing comes before that.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "{:?} came before the end", rest.escape_ascii().to_string());
    }

    /// Bytes that have been received and not read, or the next ones; `None` at the end, an error if none came in time.
    pub fn receive(&mut self, patience: Duration) -> Result<Option<Vec<u8>>, ()> {
        if !self.received.is_empty() {
            return Ok(Some(std::mem::take(&mut self.received)));
        }
        let mut chunk = vec![0; 64 * 1_024];
        let deadline = Instant::now() + patience;
        loop {
            let left =
                deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()).ok_or(())?;
            self.socket.set_read_timeout(Some(left)).unwrap();
            match self.socket.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(length) => {
                    chunk.truncate(length);
                    return Ok(Some(chunk));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
                // The other side was done with the connection while bytes of ours were on their way.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[track_caller]
    fn receive_until(&mut self, is_enough: impl Fn(&[u8]) -> bool) {
        while !is_enough(&self.received) {
            let before = std::mem::take(&mut self.received);
            let more = self.receive(DEADLINE);
            self.received = before;
            match more {
                Ok(Some(bytes)) => self.received.extend(bytes),
                Ok(None) => panic!("the connection ended behind {}", self.received.escape_ascii()),
                Err(()) => panic!("nothing came in {DEADLINE:?} behind {}", self.received.escape_ascii()),
            }
        }
    }
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// The code of a refusal, whose body must be a whole problem.
    #[track_caller]
    pub fn code(&self) -> String {
        assert_eq!(self.field("content-type"), Some("application/problem+json"), "{self:?}");
        let problem: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["status"], self.status);
        assert!(problem["detail"].as_str().unwrap().ends_with('.'), "{problem}");
        problem["code"].as_str().unwrap().to_owned()
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}
