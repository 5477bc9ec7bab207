//! Publishes messages the way that a server wants them: RESP `PUBLISH` to a Redis or to the server's own broker, the same
//! in nchan's envelope, or HTTP `POST`.
//!
//! One connection, requests pipelined, replies looked at as they come. Never waits for a reply; waits for the broker to
//! take the bytes, and reads its replies meanwhile, so that neither side can block the other. A refusal is an error of the
//! next call.
//!
//! Cost: one copy of the payload and one send(2) a flush, however many messages; no allocation once warm.

pub mod envelope;
pub mod redis;
pub mod reply;

use std::fmt;
use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::payload::{Payload, Stamp};
use crate::sys;
use crate::trouble::Trouble;
use crate::url::{HttpUrl, percent_encoded};

pub use redis::RedisUrl;
use reply::Replies;

/// How a server is given messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intake {
    /// A plain `PUBLISH` of the payload.
    Publish(RedisUrl),
    /// A plain `PUBLISH` of the payload in nchan's envelope, under nchan's name of the channel.
    PublishEnvelope(RedisUrl),
    /// A `POST` of the payload to this URL, in whose path `{channel}` stands for the channel.
    Post(HttpUrl),
}

#[derive(Debug)]
pub struct Publisher {
    stream: TcpStream,
    intake: Intake,
    payload: Payload,
    /// Messages that were added since the last flush, as they go out.
    requests: Vec<u8>,
    replies: Replies,
    /// Messages that were added and not yet answered.
    unanswered: u64,
    /// Scratch for one payload, and for one channel or body.
    message: Vec<u8>,
    scratch: Vec<u8>,
}

impl Publisher {
    pub fn connect(intake: &Intake, payload: Payload) -> Result<Self, Trouble> {
        let (host, port) = match intake {
            Intake::Publish(url) | Intake::PublishEnvelope(url) => (url.host.as_str(), url.port),
            Intake::Post(url) => (url.host.as_str(), url.port),
        };
        let failed =
            |error: &dyn fmt::Display| Trouble::Publish(format!("cannot publish to {host}:{port}: {error}"));
        let mut addresses = (host, port).to_socket_addrs().map_err(|error| failed(&error))?;
        let address = addresses.next().ok_or_else(|| failed(&"no such host"))?;
        let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| failed(&error))?;
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        let mut publisher = Self {
            stream,
            intake: intake.clone(),
            payload,
            requests: Vec::new(),
            replies: Replies::new(intake),
            unanswered: 0,
            message: Vec::new(),
            scratch: Vec::new(),
        };
        publisher.authenticate()?;
        Ok(publisher)
    }

    /// Sends one message, and looks at the replies that have come so far without waiting for more.
    pub fn publish(&mut self, channel: &str, stamp: Stamp) -> Result<(), Trouble> {
        self.add(channel, stamp);
        self.flush()
    }

    /// Adds one message to what the next flush sends.
    // Hot: once per message.
    pub fn add(&mut self, channel: &str, stamp: Stamp) {
        self.message.clear();
        self.payload.write(stamp, &mut self.message);
        self.unanswered += 1;
        match &self.intake {
            Intake::Publish(_) => {
                command(&[b"PUBLISH", channel.as_bytes(), &self.message], &mut self.requests);
            }
            Intake::PublishEnvelope(_) => {
                self.scratch.clear();
                envelope::channel(&percent_encoded(channel), &mut self.scratch);
                let name_bytes = self.scratch.len();
                envelope::write(&self.message, &mut self.scratch);
                let (name, envelope) = self.scratch.split_at(name_bytes);
                command(&[b"PUBLISH", name, envelope], &mut self.requests);
            }
            Intake::Post(url) => post(url, channel, &self.message, &mut self.requests),
        }
    }

    /// Sends what was added, and looks at the replies that have come so far.
    pub fn flush(&mut self) -> Result<(), Trouble> {
        let mut sent = 0;
        while sent < self.requests.len() {
            match sys::send_now(&self.stream, &self.requests[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.look_at_replies()?;
                    let is_ready =
                        sys::wait_for_change(&self.stream, PATIENCE).map_err(Trouble::doing("publish"))?;
                    if !is_ready {
                        return Err(Trouble::Publish("the broker takes no more messages".to_owned()));
                    }
                }
                Err(error) => return Err(Trouble::System { doing: "publish", error }),
            }
        }
        self.requests.clear();
        self.look_at_replies()
    }

    /// An error if a message was refused, as far as replies have come.
    pub fn look_at_replies(&mut self) -> Result<(), Trouble> {
        let mut bytes = [0; 16_384];
        loop {
            match sys::receive_now(&self.stream, &mut bytes) {
                Ok(0) => return Err(Trouble::Publish("the broker closed the connection".to_owned())),
                Ok(count) => self.replies.push(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(Trouble::System { doing: "read the broker's replies", error }),
            }
        }
        let accepted = self.replies.take().map_err(|refusal| {
            Trouble::Publish(format!("the broker answered {:?}", String::from_utf8_lossy(&refusal.0)))
        })?;
        self.unanswered = self.unanswered.saturating_sub(accepted);
        Ok(())
    }

    /// Messages that were added and not yet answered: what a publisher that must not run ahead looks at.
    pub fn unanswered(&self) -> u64 {
        self.unanswered
    }

    fn authenticate(&mut self) -> Result<(), Trouble> {
        let (Intake::Publish(url) | Intake::PublishEnvelope(url)) = &self.intake else { return Ok(()) };
        let Some(password) = &url.password else { return Ok(()) };
        let mut words: Vec<&[u8]> = vec![b"AUTH"];
        words.extend(url.user.as_ref().map(|user| user.as_bytes()));
        words.push(password.as_bytes());
        command(&words, &mut self.requests);
        self.unanswered += 1;
        self.flush()
    }
}

/// How long the broker may take to be there, or to take bytes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A command of Redis: an array of bulk strings.
fn command(words: &[&[u8]], requests: &mut Vec<u8>) {
    put(requests, format_args!("*{}\r\n", words.len()));
    for word in words {
        put(requests, format_args!("${}\r\n", word.len()));
        requests.extend_from_slice(word);
        requests.extend_from_slice(b"\r\n");
    }
}

/// An empty content type: nchan passes it on with each message otherwise.
fn post(url: &HttpUrl, channel: &str, body: &[u8], requests: &mut Vec<u8>) {
    let (before, after) = url.path.split_once("{channel}").unwrap_or((&url.path, ""));
    let channel = percent_encoded(channel);
    put(requests, format_args!("POST {before}{channel}{after} HTTP/1.1\r\nHost: {}\r\n", url.authority()));
    put(requests, format_args!("Content-Type:\r\nContent-Length: {}\r\n\r\n", body.len()));
    requests.extend_from_slice(body);
}

fn put(bytes: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    bytes.write_fmt(text).expect("a vector takes what it is given");
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        let mut bytes = Vec::new();
        command(&[b"PUBLISH", b"news", b"hi"], &mut bytes);
        assert_eq!(bytes, b"*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$2\r\nhi\r\n");
    }

    #[test]
    fn a_post_names_its_channel_in_the_path() {
        let url = HttpUrl::parse("http://h:81/publish?channel={channel}").unwrap();
        let mut bytes = Vec::new();
        post(&url, "news", b"hi", &mut bytes);
        let expected = "POST /publish?channel=news HTTP/1.1\r\nHost: h:81\r\nContent-Type:\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    #[test]
    fn a_publisher_that_is_ahead_of_its_replies_is_not_blocked_by_them() {
        const MESSAGES: u64 = 300_000;
        const MESSAGE_BYTES: u64 = 132;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = RedisUrl::local(listener.local_addr().unwrap());
        let mut publisher = Publisher::connect(&Intake::Publish(url), Payload::new(100)).unwrap();
        // Answers before it reads on, and waits until each answer is taken: as a broker does that is full.
        let broker = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            // Together far more than the sockets hold.
            let reply = [b":".as_slice(), &[b'0'; 100], b"\r\n"].concat();
            let mut bytes = vec![0; 1 << 20];
            let (mut read, mut answered) = (0, 0);
            while answered < MESSAGES {
                read += io::Read::read(&mut stream, &mut bytes).unwrap();
                while answered < read as u64 / MESSAGE_BYTES {
                    stream.write_all(&reply).unwrap();
                    answered += 1;
                }
            }
            stream // Closed by whoever joins.
        });
        (0..MESSAGES).for_each(|sequence| publisher.add("c", Stamp { sequence, due_nanos: 0 }));
        assert_eq!(publisher.requests.len() as u64, MESSAGES * MESSAGE_BYTES, "the length of one message");
        publisher.flush().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while publisher.unanswered() > 0 {
            publisher.look_at_replies().unwrap();
            assert!(Instant::now() < deadline, "{} replies are missing", publisher.unanswered());
        }
        broker.join().unwrap();
    }
}
