//! A subscriber: an event stream over a real connection, read by the parser of the specification.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use courier::wire::sse_parser::{Event, Parser};

use super::DEADLINE;
use super::http::{Answer, Peer};

#[derive(Debug)]
pub struct Stream {
    pub peer: Peer,
    pub head: Answer,
    parser: Parser,
    events: VecDeque<Event>,
    /// Every byte behind the head.
    pub raw: Vec<u8>,
    is_over: bool,
}

impl Stream {
    /// Subscribes, and waits for the opening block: what is published from now on comes.
    #[track_caller]
    pub fn open(address: SocketAddr, query: &str) -> Self {
        Self::request(address, query, "")
    }

    /// The same behind an id that was seen.
    #[track_caller]
    pub fn resume(address: SocketAddr, query: &str, id: &str) -> Self {
        Self::request(address, query, &format!("Last-Event-ID: {id}\r\n"))
    }

    #[track_caller]
    fn request(address: SocketAddr, query: &str, fields: &str) -> Self {
        let mut peer = Peer::connect(address);
        peer.send(format!("GET /events?{query} HTTP/1.1\r\nHost: {address}\r\n{fields}\r\n"));
        Self::behind(peer)
    }

    /// Of a connection that has sent its request.
    #[track_caller]
    pub fn behind(mut peer: Peer) -> Self {
        let head = peer.head();
        assert_eq!(head.status, 200, "{head:?}");
        assert_eq!(head.field("content-type"), Some("text/event-stream; charset=utf-8"));
        let parser = Parser::new("", 64 << 20);
        let mut stream =
            Self { peer, head, parser, events: VecDeque::new(), raw: Vec::new(), is_over: false };
        while stream.parser.retry().is_none() || stream.parser.last_event_id().is_empty() {
            stream.read(DEADLINE);
            assert!(!stream.is_over, "the stream ended before it began");
        }
        stream
    }

    #[track_caller]
    pub fn event(&mut self) -> Event {
        match self.event_within(DEADLINE) {
            Some(event) => event,
            None if self.is_over => {
                panic!("the stream ended; its last id is {}", self.parser.last_event_id())
            }
            None => panic!("no event came in {DEADLINE:?}; the last id is {}", self.parser.last_event_id()),
        }
    }

    /// The next event's data; it is a plain message.
    #[track_caller]
    pub fn data(&mut self) -> String {
        let event = self.event();
        assert_eq!(event.event, "message", "{event:?}");
        event.data
    }

    #[track_caller]
    pub fn data_of(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.data()).collect()
    }

    /// The next event is a gap: its channel and its reason.
    #[track_caller]
    pub fn gap(&mut self) -> (String, String) {
        let event = self.event();
        assert_eq!(event.event, "courier-gap", "{event:?}");
        let gap: serde_json::Value = serde_json::from_str(&event.data).unwrap();
        let text = |name: &str| gap[name].as_str().unwrap().to_owned();
        (text("channel"), text("reason"))
    }

    /// The next message behind any number of gaps for this reason.
    #[track_caller]
    pub fn data_behind_gaps(&mut self, reason: &str) -> String {
        loop {
            let event = self.event();
            if event.event != "courier-gap" {
                return event.data;
            }
            assert!(event.data.contains(&format!("\"reason\":\"{reason}\"")), "{event:?}");
        }
    }

    pub fn event_within(&mut self, patience: Duration) -> Option<Event> {
        let deadline = Instant::now() + patience;
        while self.events.is_empty() && !self.is_over {
            let left = deadline.saturating_duration_since(Instant::now());
            if !self.read(left) {
                break;
            }
        }
        self.events.pop_front()
    }

    /// The stream ends, and no event comes before that.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let event = self.event_within(DEADLINE);
        assert_eq!(event, None);
        assert!(self.is_over, "the stream does not end");
    }

    /// Waits until this has come, comments among it.
    #[track_caller]
    pub fn until_raw(&mut self, text: &str) {
        while !self.raw.windows(text.len()).any(|window| window == text.as_bytes()) {
            assert!(self.read(DEADLINE) && !self.is_over, "{text:?} did not come");
        }
    }

    pub fn last_event_id(&self) -> &str {
        self.parser.last_event_id()
    }

    /// The id of the opening block, whatever has come behind it.
    #[track_caller]
    pub fn opening_id(&self) -> &str {
        let opening = std::str::from_utf8(&self.raw).unwrap();
        opening.lines().find_map(|line| line.strip_prefix("id: ")).expect("a stream opens with an id")
    }

    pub fn retry(&self) -> Duration {
        self.parser.retry().unwrap()
    }

    /// Takes what comes next. False if nothing came in time.
    fn read(&mut self, patience: Duration) -> bool {
        match self.peer.receive(patience) {
            Ok(Some(bytes)) => {
                let mut events = Vec::new();
                self.parser.feed(&bytes, &mut events).unwrap();
                self.raw.extend(bytes);
                self.events.extend(events);
            }
            Ok(None) => self.is_over = true,
            Err(()) => return false,
        }
        true
    }
}
