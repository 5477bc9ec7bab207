//! A client and what it holds courier to: of each channel every message, in order, once, or a stated gap.
//!
//! Messages of a channel are numbered from 1. A client that has heard message 5 of a channel must hear 6 next, also
//! after it was cut off and came back with its last id, unless a gap was stated for that channel in between. A client
//! that comes anew must hear, of what is published after its stream has opened, the first. Ids rise.

use crate::base::random::Random;
use crate::base::socket::Slot;
use crate::wire::sse_parser::{Event, Parser};

use super::redis::channel_name;

#[derive(Debug)]
pub(super) struct Client {
    number: u64,
    /// The channels it wants, by index.
    channels: Vec<Wanted>,
    /// The shard and slot it is connected to.
    pub(super) place: Option<(usize, Slot)>,
    to_say: Vec<u8>,
    head: Vec<u8>,
    in_head: bool,
    parser: Parser,
    last_id: Option<String>,
    last_position: u64,
    /// No longer hangs up on its own.
    pub(super) rested: bool,
    pub(super) messages: u64,
    pub(super) gaps: u64,
}

#[derive(Debug)]
struct Wanted {
    channel: usize,
    heard: Heard,
    /// A gap was stated since the last message.
    excused: bool,
}

#[derive(Debug, Clone, Copy)]
enum Heard {
    /// The stream has not opened.
    Nothing,
    /// The stream opened when so many messages had been published.
    Opened(u64),
    /// The last message was this.
    Message(u64),
}

impl Client {
    pub(super) fn new(number: u64, channels: usize, random: &mut Random) -> Self {
        let mut wanted = Vec::new();
        for channel in 0..channels {
            if random.below(2) == 0 || (wanted.is_empty() && channel + 1 == channels) {
                wanted.push(Wanted { channel, heard: Heard::Nothing, excused: false });
            }
        }
        Self {
            number,
            channels: wanted,
            place: None,
            to_say: Vec::new(),
            head: Vec::new(),
            in_head: true,
            parser: Parser::new("", 1 << 20),
            last_id: None,
            last_position: 0,
            rested: false,
            messages: 0,
            gaps: 0,
        }
    }

    /// Connects; true if it resumes.
    pub(super) fn connect(&mut self, place: (usize, Slot)) -> bool {
        self.place = Some(place);
        let query: Vec<String> =
            self.channels.iter().map(|wanted| format!("channel={}", channel_name(wanted.channel))).collect();
        let resume = self.last_id.as_ref().map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        let request =
            format!("GET /events?format=event&{} HTTP/1.1\r\nHost: courier\r\n{resume}\r\n", query.join("&"));
        self.to_say = request.into_bytes();
        self.head.clear();
        self.in_head = true;
        self.parser = Parser::new(self.last_id.as_deref().unwrap_or_default(), 1 << 20);
        self.last_id.is_some()
    }

    /// The connection there has ended, if it still is this client's.
    pub(super) fn disconnected(&mut self, place: (usize, Slot)) {
        if self.place == Some(place) {
            self.place = None;
        }
    }

    /// Now and then a client has had enough.
    pub(super) fn is_tired(&self, random: &mut Random) -> bool {
        !self.rested && random.below(40) == 0
    }

    /// Some more of its request.
    pub(super) fn speak(&mut self, random: &mut Random) -> Vec<u8> {
        let most = random.below(self.to_say.len() as u64 + 1);
        self.to_say.drain(..usize::try_from(most).expect("at most what is left")).collect()
    }

    pub(super) fn hear(&mut self, bytes: &[u8], published: &[u64], seed: u64) {
        let mut body = bytes;
        if self.in_head {
            for (at, &byte) in bytes.iter().enumerate() {
                self.head.push(byte);
                if self.head.ends_with(b"\r\n\r\n") {
                    let head = String::from_utf8_lossy(&self.head);
                    if head.starts_with("HTTP/1.1 408 ") {
                        // It dawdled; what follows is the answer's body, and the end.
                        self.head.clear();
                        return;
                    }
                    assert!(head.starts_with("HTTP/1.1 200 "), "{}: {head}", self.name(seed));
                    self.in_head = false;
                    body = &bytes[at + 1..];
                    break;
                }
            }
            if self.in_head {
                return;
            }
        }
        let mut events = Vec::new();
        self.parser.feed(body, &mut events).expect("blocks are small");
        for event in events {
            self.check(&event, published, seed);
        }
        let id = self.parser.last_event_id();
        if !id.is_empty() && self.last_id.as_deref() != Some(id) {
            // The first id is the stream's opening.
            self.last_id = Some(id.to_owned());
        }
        if self.last_id.is_some() {
            for wanted in &mut self.channels {
                if let Heard::Nothing = wanted.heard {
                    wanted.heard = Heard::Opened(published[wanted.channel]);
                }
            }
        }
    }

    fn check(&mut self, event: &Event, published: &[u64], seed: u64) {
        let name = self.name(seed);
        let position: u64 =
            event.id.split_once('.').expect("an id has a dot").1.parse().expect("an id has a number");
        if event.event == "courier-gap" {
            assert!(position >= self.last_position, "{name}: a gap's id {} falls back", event.id);
            self.last_position = position;
            self.gaps += 1;
            let gap: serde_json::Value = serde_json::from_str(&event.data).expect("a gap is JSON");
            let channel = gap["channel"].as_str().expect("a gap names its channel");
            let wanted = self.channels.iter_mut().find(|wanted| channel_name(wanted.channel) == channel);
            wanted.expect("a gap is of a channel that is listened to").excused = true;
            return;
        }
        assert!(position > self.last_position, "{name}: id {} does not rise", event.id);
        self.last_position = position;
        self.messages += 1;
        let wanted = self.channels.iter_mut().find(|wanted| channel_name(wanted.channel) == event.event);
        let wanted = wanted.expect("a message is of a channel that is listened to");
        let number: u64 = event.data.split(' ').next().unwrap_or_default().parse().expect("a number");
        assert!(number <= published[wanted.channel], "{name}: message {number} was never published");
        match wanted.heard {
            Heard::Message(last) => {
                assert!(number > last, "{name}: {} {number} comes again after {last}", event.event);
                assert!(
                    number == last + 1 || wanted.excused,
                    "{name}: {} after {last} comes {number}",
                    event.event
                );
            }
            Heard::Opened(before) => {
                assert!(
                    number <= before + 1 || wanted.excused,
                    "{name}: {} opened at {before}, then {number}",
                    event.event
                );
            }
            Heard::Nothing => {}
        }
        wanted.heard = Heard::Message(number);
        wanted.excused = false;
    }

    /// At rest, after one more message on every channel: the last message of each has been heard.
    pub(super) fn check_complete(&self, published: &[u64], seed: u64) {
        let name = self.name(seed);
        assert!(self.place.is_some(), "{name}: is not connected at rest");
        for wanted in &self.channels {
            match wanted.heard {
                Heard::Message(last) if last == published[wanted.channel] => {}
                heard => panic!(
                    "{name}: channel {} is at {heard:?} of {}, at rest",
                    wanted.channel, published[wanted.channel]
                ),
            }
        }
    }

    fn name(&self, seed: u64) -> String {
        format!("seed {seed}, client {}", self.number)
    }
}
