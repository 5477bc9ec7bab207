//! A model of Redis: two connections, subscriptions, publish. It loses what nobody is subscribed to, as Redis does.

use std::collections::BTreeSet;

use crate::base::random::Random;
use crate::reader::input::Link;

#[derive(Debug)]
pub(super) struct Redis {
    /// The number of the last message of each channel; messages say their number.
    pub(super) published: Vec<u64>,
    /// Dials are refused.
    pub(super) refuses: bool,
    push: Connection,
    ask: Connection,
}

#[derive(Debug, Default)]
struct Connection {
    is_open: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    subscribed: BTreeSet<String>,
}

impl Redis {
    pub(super) fn new(channels: usize) -> Self {
        Self {
            published: vec![0; channels],
            refuses: false,
            push: Connection::default(),
            ask: Connection::default(),
        }
    }

    pub(super) fn connect(&mut self, link: Link) {
        *self.connection(link) = Connection { is_open: true, ..Connection::default() };
    }

    pub(super) fn disconnect(&mut self, link: Link) {
        *self.connection(link) = Connection::default();
    }

    /// Publishes the channel's next message; of any length, so that frames are cut at any place.
    pub(super) fn publish(&mut self, channel: usize, random: &mut Random) {
        self.published[channel] += 1;
        let name = channel_name(channel);
        if self.push.subscribed.contains(&name) {
            let filler = "x".repeat(usize::try_from(random.below(120)).expect("a short text"));
            let payload = format!("{} {filler}", self.published[channel]);
            let parts = [("message", ""), (&*name, ""), (&*payload, "")];
            self.push.output.extend_from_slice(b">3\r\n");
            for (text, _) in parts {
                self.push.output.extend_from_slice(format!("${}\r\n{text}\r\n", text.len()).as_bytes());
            }
        }
    }

    /// Some of the bytes that are on their way to the reader.
    pub(super) fn take_output(&mut self, link: Link, random: &mut Random) -> Vec<u8> {
        let output = &mut self.connection(link).output;
        // Often all of it, or the end of what was published would never come.
        let most =
            if random.below(2) == 0 { output.len() as u64 } else { random.below(output.len() as u64 + 1) };
        output.drain(..usize::try_from(most).expect("at most what is there")).collect()
    }

    pub(super) fn receive(&mut self, link: Link, bytes: &[u8]) {
        let connection = self.connection(link);
        if !connection.is_open {
            return;
        }
        connection.input.extend_from_slice(bytes);
        while let Some(command) = connection.next_command() {
            connection.answer(&command);
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

    fn answer(&mut self, command: &[String]) {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        match words[0].to_ascii_uppercase().as_str() {
            "HELLO" => self.output.extend_from_slice(HELLO),
            "PING" => self.output.extend_from_slice(b"+PONG\r\n"),
            "CLIENT" | "SELECT" => self.output.extend_from_slice(b"+OK\r\n"),
            "PUBLISH" => self.output.extend_from_slice(b":1\r\n"),
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

/// The name of a channel by its index.
pub(super) fn channel_name(channel: usize) -> String {
    format!("channel-{channel}")
}

const HELLO: &[u8] = b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n\
    $2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";
