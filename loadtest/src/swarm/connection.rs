//! One subscriber's connection, from the connect to its end: a request goes out, a head comes back, then the stream.
//!
//! Knows nothing of the other subscribers, nor what its messages mean for the run.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::swarm::check::Check;
use crate::swarm::chunked::Chunked;
use crate::swarm::events::EventReader;

#[derive(Debug)]
pub enum Connection {
    Connecting(TcpStream),
    /// The request is out; so much of the response's head is there.
    Asked(TcpStream, Vec<u8>),
    Live(TcpStream, Body, EventReader),
    /// The stream was open and is over.
    Ended,
    /// There never was a stream.
    Refused,
}

#[derive(Debug)]
pub enum Body {
    Plain,
    Chunked(Chunked),
}

/// What a step changed, beyond the events it gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Unchanged,
    /// The head was good: the subscriber counts from now on.
    Opened,
    /// Over, and why.
    Ended(String),
    /// Over before it began, with an answer that is no stream: an EventSource does not ask again.
    Rejected(String),
}

/// Memory for reading, shared by all connections.
#[derive(Debug)]
pub struct Scratch<'a> {
    /// For one read.
    pub buffer: &'a mut [u8],
    /// For taking chunks off.
    pub body: &'a mut Vec<u8>,
    /// Whether the stream is read until there is no more, or once and no further: for one who is slow on purpose.
    pub is_drained: bool,
}

impl Connection {
    /// Does what the socket is ready for; what comes goes through `check`.
    // Hot: once per reported socket; live, one recv(2) unless it fills the buffer.
    pub fn advance(&mut self, request: &[u8], scratch: Scratch<'_>, check: &mut Check<'_>) -> Step {
        let Scratch { buffer, body, is_drained } = scratch;
        let mut opened = false;
        loop {
            match self {
                Self::Ended | Self::Refused => return Step::Unchanged,
                Self::Connecting(stream) => match ask(stream, request) {
                    Ok(false) => return Step::Unchanged,
                    Ok(true) => self.asked(),
                    Err(error) => return self.end(format!("cannot connect: {error}")),
                },
                Self::Asked(stream, head) => match stream.read(buffer) {
                    Ok(0) => return self.end("closed before it answered".to_owned()),
                    Ok(count) => {
                        head.extend_from_slice(&buffer[..count]);
                        match self.open(body, check) {
                            Ok(true) if !is_drained => return Step::Opened,
                            Ok(is_open) => opened |= is_open,
                            Err(reason) => return self.reject(reason),
                        }
                    }
                    Err(error) if is_not_ready(&error) => return Step::Unchanged,
                    Err(error) => return self.end(format!("broken before it answered: {error}")),
                },
                Self::Live(stream, form, events) => match stream.read(buffer) {
                    Ok(0) => return self.end("the server ended the stream".to_owned()),
                    Ok(count) => {
                        if let Err(reason) = form.read(&buffer[..count], events, body, check) {
                            return self.end(reason.to_owned());
                        }
                        // A short read has emptied the socket (epoll(7)); what comes now is reported anew. But an end
                        // that came together with these bytes is not: who comes back has to know of it.
                        let is_emptied = count < buffer.len() && check.memory.is_none();
                        if !opened && (is_emptied || !is_drained) {
                            return Step::Unchanged;
                        }
                    }
                    Err(error) if is_not_ready(&error) => {
                        return if opened { Step::Opened } else { Step::Unchanged };
                    }
                    Err(error) => return self.end(format!("the stream broke: {error}")),
                },
            }
        }
    }

    fn asked(&mut self) {
        if let Self::Connecting(stream) = std::mem::replace(self, Self::Refused) {
            *self = Self::Asked(stream, Vec::new());
        }
    }

    /// Goes live if the head is complete and good; whether it did.
    fn open(&mut self, body: &mut Vec<u8>, check: &mut Check<'_>) -> Result<bool, String> {
        let Self::Asked(_, head) = self else { return Ok(false) };
        let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else {
            return if head.len() > HEAD_BYTES_MAX {
                Err("answered an endless head".to_owned())
            } else {
                Ok(false)
            };
        };
        let mut form = form(&head[..end + 2])?;
        let mut events = EventReader::default();
        form.read(&head[end + 4..], &mut events, body, check)?;
        if let Self::Asked(stream, _) = std::mem::replace(self, Self::Refused) {
            *self = Self::Live(stream, form, events);
        }
        Ok(true)
    }

    fn reject(&mut self, reason: String) -> Step {
        *self = Self::Refused;
        Step::Rejected(reason)
    }

    fn end(&mut self, reason: String) -> Step {
        *self = if matches!(self, Self::Live(..)) { Self::Ended } else { Self::Refused };
        Step::Ended(reason)
    }
}

impl Body {
    fn read(
        &mut self,
        bytes: &[u8],
        events: &mut EventReader,
        scratch: &mut Vec<u8>,
        check: &mut Check<'_>,
    ) -> Result<(), &'static str> {
        let bytes = match self {
            Self::Plain => bytes,
            Self::Chunked(chunked) => {
                scratch.clear();
                chunked.read(bytes, scratch).map_err(|_| "sent a body that is not chunked as announced")?;
                scratch.as_slice()
            }
        };
        check.read(events, bytes).map_err(|_| "sent a block without end")
    }
}

/// What is sent to be subscribed.
pub fn request(path: &str, host: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n").into_bytes()
}

/// What is sent to go on behind the message with the id `last_id`; who was given none subscribes as if for the first time.
pub fn request_from(path: &str, host: &str, last_id: &[u8]) -> Vec<u8> {
    let mut bytes = request(path, host);
    if !last_id.is_empty() {
        bytes.truncate(bytes.len() - b"\r\n".len());
        bytes.extend_from_slice(&[b"Last-Event-ID: ", last_id, b"\r\n\r\n"].concat());
    }
    bytes
}

const HEAD_BYTES_MAX: usize = 16_384;

/// Sends the request if the connection stands; false if it does not yet.
fn ask(stream: &mut TcpStream, request: &[u8]) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.write(request) {
        Ok(count) if count == request.len() => Ok(true),
        Ok(_) => Err(io::Error::other("a new connection did not take a request of a few hundred bytes")),
        Err(error) if is_not_ready(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_not_ready(error: &io::Error) -> bool {
    // Linux answers ENOTCONN, not EAGAIN, to a read or write while it is still connecting in some states.
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::NotConnected
    )
}

/// How the body of the response comes, or why it is no stream.
fn form(head: &[u8]) -> Result<Body, String> {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    let (version, answer) = status.split_once(' ').unwrap_or((status, ""));
    if !version.starts_with("HTTP/1.") || answer.get(..3) != Some("200") {
        return Err(format!("answered {status:?}"));
    }
    let (mut body, mut is_stream) = (Body::Plain, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim().to_ascii_lowercase();
        if name.eq_ignore_ascii_case("transfer-encoding") && value == "chunked" {
            body = Body::Chunked(Chunked::default());
        }
        if name.eq_ignore_ascii_case("content-type") {
            is_stream = value.starts_with("text/event-stream");
        }
    }
    if is_stream { Ok(body) } else { Err("answered 200, but not with text/event-stream".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_how_the_body_comes() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n";
        assert!(matches!(form(plain), Ok(Body::Plain)));
        let chunked = b"HTTP/1.1 200 OK\r\ncontent-type: Text/Event-Stream;charset=utf-8\r\ntransfer-encoding: chunked\r\n";
        assert!(matches!(form(chunked), Ok(Body::Chunked(_))));
    }

    #[test]
    fn who_comes_back_says_what_it_had_last() {
        let bytes = request_from("/events?channel=c", "h", b"e.7");
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.ends_with("Accept: text/event-stream\r\nLast-Event-ID: e.7\r\n\r\n"), "{text}");
        assert_eq!(request_from("/", "h", b""), request("/", "h"));
    }

    #[test]
    fn an_answer_that_is_no_stream_is_refused_with_its_status() {
        let refused =
            form(b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/problem+json\r\n").unwrap_err();
        assert_eq!(refused, "answered \"HTTP/1.1 403 Forbidden\"");
        assert!(form(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n").is_err());
        assert!(form(b"-ERR unknown command 'GET'\r\n").is_err());
    }
}
