//! What a server answers: replies and pushes, in the protocol version that the client chose.
//!
//! Everything appends to one buffer. An aggregate is opened with its length and filled by what follows; that the
//! lengths are right is the caller's part.

use crate::wire::resp::{Protocol, push_decimal};

/// A buffer of replies for one client.
#[derive(Debug, Default)]
pub struct Answer {
    bytes: Vec<u8>,
    protocol: Protocol,
}

impl Answer {
    pub fn new(protocol: Protocol) -> Self {
        Self { bytes: Vec::new(), protocol }
    }

    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// What follows is for a client that speaks this version.
    pub fn speak(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Empties the buffer; keeps its memory unless one large reply has blown it up.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(CAPACITY_KEPT);
    }

    pub fn ok(&mut self) {
        self.simple("OK");
    }

    /// A simple string, which has no line breaks.
    pub fn simple(&mut self, text: &str) {
        debug_assert!(!text.contains(['\r', '\n']), "a simple string is one line");
        self.line(b'+', text.as_bytes());
    }

    /// An error: its code, a space and a sentence. Line breaks, which can come from quoted arguments, become spaces.
    pub fn error(&mut self, text: &[u8]) {
        let start = self.bytes.len();
        self.line(b'-', text);
        let end = self.bytes.len() - 2;
        for byte in &mut self.bytes[start..end] {
            if matches!(*byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
    }

    pub fn integer(&mut self, number: i64) {
        self.bytes.push(b':');
        if number < 0 {
            self.bytes.push(b'-');
        }
        push_decimal(number.unsigned_abs(), &mut self.bytes);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// A number of things in memory.
    pub fn count(&mut self, count: usize) {
        self.integer(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub fn bulk(&mut self, text: &[u8]) {
        self.header(b'$', text.len());
        self.bytes.extend_from_slice(text);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Text for people: a verbatim string where the protocol has it.
    pub fn verbatim(&mut self, text: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => {
                self.header(b'=', text.len() + 4);
                self.bytes.extend_from_slice(b"txt:");
                self.bytes.extend_from_slice(text);
                self.bytes.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Nothing, where a string might have been.
    pub fn null(&mut self) {
        self.bytes.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n".as_slice(),
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// Nothing, where an array might have been.
    pub fn null_array(&mut self) {
        self.bytes.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"*-1\r\n".as_slice(),
            Protocol::Resp3 => b"_\r\n",
        });
    }

    pub fn array(&mut self, length: usize) {
        self.header(b'*', length);
    }

    /// So many pairs of key and value.
    pub fn map(&mut self, pairs: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', pairs * 2),
            Protocol::Resp3 => self.header(b'%', pairs),
        }
    }

    pub fn set(&mut self, length: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', length),
            Protocol::Resp3 => self.header(b'~', length),
        }
    }

    /// Out-of-band data, such as a published message.
    pub fn push(&mut self, length: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', length),
            Protocol::Resp3 => self.header(b'>', length),
        }
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(text);
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn header(&mut self, kind: u8, length: usize) {
        self.bytes.push(kind);
        push_decimal(length as u64, &mut self.bytes);
        self.bytes.extend_from_slice(b"\r\n");
    }
}

const CAPACITY_KEPT: usize = 64 * 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn written(protocol: Protocol, write: impl Fn(&mut Answer)) -> String {
        let mut answer = Answer::new(protocol);
        write(&mut answer);
        answer.bytes().escape_ascii().to_string()
    }

    #[test]
    fn each_kind_of_reply_has_its_bytes_in_both_versions() {
        type Row = (fn(&mut Answer), &'static str, &'static str);
        let table: [Row; 14] = [
            (|a| a.ok(), r"+OK\r\n", r"+OK\r\n"),
            (|a| a.error(b"ERR syntax error"), r"-ERR syntax error\r\n", r"-ERR syntax error\r\n"),
            (|a| a.error(b"ERR 'a\r\nb'"), r"-ERR \'a  b\'\r\n", r"-ERR \'a  b\'\r\n"),
            (|a| a.integer(-2), r":-2\r\n", r":-2\r\n"),
            (|a| a.integer(i64::MIN), r":-9223372036854775808\r\n", r":-9223372036854775808\r\n"),
            (|a| a.bulk(b"hi\r\n"), r"$4\r\nhi\r\n\r\n", r"$4\r\nhi\r\n\r\n"),
            (|a| a.bulk(b""), r"$0\r\n\r\n", r"$0\r\n\r\n"),
            (|a| a.verbatim(b"hi"), r"$2\r\nhi\r\n", r"=6\r\ntxt:hi\r\n"),
            (|a| a.null(), r"$-1\r\n", r"_\r\n"),
            (|a| a.null_array(), r"*-1\r\n", r"_\r\n"),
            (|a| a.array(2), r"*2\r\n", r"*2\r\n"),
            (|a| a.map(2), r"*4\r\n", r"%2\r\n"),
            (|a| a.set(2), r"*2\r\n", r"~2\r\n"),
            (|a| a.push(3), r"*3\r\n", r">3\r\n"),
        ];
        for (write, resp2, resp3) in table {
            assert_eq!(written(Protocol::Resp2, write), resp2);
            assert_eq!(written(Protocol::Resp3, write), resp3);
        }
    }
}
