//! A model of Redis: two connections, subscriptions, an ACL. It loses what nobody is subscribed to, as Redis does.
//!
//! What goes wrong with it is told from outside: it refuses dials, a connection breaks behind so many bytes, in the
//! middle of a frame too, or falls silent there, and channels are forbidden and allowed again.

use std::collections::BTreeSet;

use super::order::{Message, channel_name};
use crate::base::random::Random;
use crate::reader::input::Link;

#[derive(Debug, Default)]
pub(super) struct Redis {
    /// Dials are refused.
    pub(super) refuses: bool,
    /// What is in store for connections that are made from here on, in order.
    pub(super) fates: Vec<Fate>,
    forbidden: BTreeSet<String>,
    push: Connection,
    ask: Connection,
}

/// How a connection fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Fate {
    #[default]
    Lasts,
    /// Breaks when the reader has been given so many bytes.
    Breaks(usize),
    /// Says nothing more from there on, and stays open.
    FallsSilent(usize),
}

#[derive(Debug, Default)]
struct Connection {
    is_open: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    subscribed: BTreeSet<String>,
    fate: Fate,
}

/// What a connection gives the reader.
#[derive(Debug)]
pub(super) struct Spoken {
    pub(super) bytes: Vec<u8>,
    /// It breaks behind them.
    pub(super) breaks: bool,
}

impl Redis {
    pub(super) fn connect(&mut self, link: Link) {
        let fate = self.fates.pop().unwrap_or_default();
        *self.connection(link) = Connection { is_open: true, fate, ..Connection::default() };
    }

    pub(super) fn disconnect(&mut self, link: Link) {
        *self.connection(link) = Connection::default();
    }

    /// What is to happen to a connection that is open, counted from now.
    pub(super) fn doom(&mut self, link: Link, fate: Fate) {
        let connection = self.connection(link);
        if connection.is_open {
            connection.fate = fate;
        }
    }

    /// Nothing goes wrong from here on; a connection that has fallen silent is found out by itself.
    pub(super) fn calm(&mut self) {
        self.refuses = false;
        self.fates.clear();
        self.forbidden.clear();
        for connection in [&mut self.push, &mut self.ask] {
            if let Fate::Breaks(_) = connection.fate {
                connection.fate = Fate::Lasts;
            }
        }
    }

    /// Changes the ACL. True: the subscriber had the channel, and is disconnected for it, as Redis does.
    pub(super) fn forbid(&mut self, channel: usize) -> bool {
        let name = channel_name(channel);
        let had = self.push.subscribed.contains(&name);
        self.forbidden.insert(name);
        had
    }

    pub(super) fn allow_all(&mut self) {
        self.forbidden.clear();
    }

    pub(super) fn is_subscribed(&self, channel: usize) -> bool {
        self.push.fate == Fate::Lasts && self.push.subscribed.contains(&channel_name(channel))
    }

    pub(super) fn subscriptions(&self) -> usize {
        self.push.subscribed.len()
    }

    pub(super) fn publish(&mut self, message: Message) {
        let name = channel_name(message.channel);
        if self.push.subscribed.contains(&name) {
            let payload = message.payload();
            self.push.output.extend_from_slice(b">3\r\n");
            for text in ["message", &name, &payload] {
                self.push.output.extend_from_slice(format!("${}\r\n{text}\r\n", text.len()).as_bytes());
            }
        }
    }

    /// Some of the bytes that are on their way to the reader.
    pub(super) fn speak(&mut self, link: Link, random: &mut Random) -> Spoken {
        let connection = self.connection(link);
        let waiting = connection.output.len() as u64;
        // Often all of it, or the end of what was published would never come.
        let most = if random.below(2) == 0 { waiting } else { random.below(waiting + 1) };
        let mut count = usize::try_from(most).expect("at most what is there");
        let mut breaks = false;
        match &mut connection.fate {
            Fate::Lasts => {}
            Fate::Breaks(left) => {
                breaks = count >= *left;
                count = count.min(*left);
                *left -= count;
            }
            Fate::FallsSilent(left) => {
                count = count.min(*left);
                *left -= count;
            }
        }
        Spoken { bytes: connection.output.drain(..count).collect(), breaks }
    }

    pub(super) fn receive(&mut self, link: Link, bytes: &[u8]) {
        let Self { push, ask, forbidden, .. } = self;
        let connection = match link {
            Link::Push => push,
            Link::Ask => ask,
        };
        if !connection.is_open {
            return;
        }
        connection.input.extend_from_slice(bytes);
        while let Some(command) = connection.next_command() {
            connection.answer(&command, forbidden);
        }
    }

    fn connection(&mut self, link: Link) -> &mut Connection {
        match link {
            Link::Push => &mut self.push,
            Link::Ask => &mut self.ask,
        }
    }
}

impl Connection {
    /// The next whole command: an array of bulk strings.
    fn next_command(&mut self) -> Option<Vec<String>> {
        let mut rest = &self.input[..];
        let count = take_number(&mut rest, b'*')?;
        let mut words = Vec::new();
        for _ in 0..count {
            let length = take_number(&mut rest, b'$')?;
            let word = rest.get(..length)?;
            words.push(String::from_utf8_lossy(word).into_owned());
            rest = rest.get(length + 2..)?;
        }
        let used = self.input.len() - rest.len();
        self.input.drain(..used);
        Some(words)
    }

    fn answer(&mut self, command: &[String], forbidden: &BTreeSet<String>) {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        match words[0].to_ascii_uppercase().as_str() {
            "HELLO" => self.output.extend_from_slice(HELLO),
            "PING" => self.output.extend_from_slice(b"+PONG\r\n"),
            "CLIENT" | "SELECT" => self.output.extend_from_slice(b"+OK\r\n"),
            "PUBLISH" => self.output.extend_from_slice(b":1\r\n"),
            // One forbidden name fails the whole command.
            "SUBSCRIBE" if words[1..].iter().any(|&name| forbidden.contains(name)) => {
                self.output.extend_from_slice(NOPERM);
            }
            "SUBSCRIBE" => self.subscribe(&words[1..], true),
            "UNSUBSCRIBE" => self.subscribe(&words[1..], false),
            other => panic!("the model of Redis does not know {other}"),
        }
    }

    fn subscribe(&mut self, names: &[&str], on: bool) {
        for &name in names {
            if on {
                self.subscribed.insert(name.to_owned());
            } else {
                self.subscribed.remove(name);
            }
            let word = if on { "subscribe" } else { "unsubscribe" };
            let count = self.subscribed.len();
            let (length, name_length) = (word.len(), name.len());
            let push = format!(">3\r\n${length}\r\n{word}\r\n${name_length}\r\n{name}\r\n:{count}\r\n");
            self.output.extend_from_slice(push.as_bytes());
        }
    }
}

fn take_number(rest: &mut &[u8], mark: u8) -> Option<usize> {
    let end = rest.iter().position(|&byte| byte == b'\n')?;
    assert_eq!(rest[0], mark, "the reader sends arrays of bulk strings");
    let number = std::str::from_utf8(&rest[1..end - 1]).expect("digits").parse().expect("a number");
    *rest = &rest[end + 1..];
    Some(number)
}

const NOPERM: &[u8] = b"-NOPERM No permissions to access a channel\r\n";
const HELLO: &[u8] = b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n\
    $2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";
