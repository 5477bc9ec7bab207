//! What Redis sends to a client: RESP3, and the errors of RESP2 that a server too old for RESP3 answers a login with.
//!
//! Incremental: bytes go in as they were read, frames come out, the rest of a frame is kept until its missing length
//! has arrived. The one hot frame, `>3 message channel payload`, is decoded by a few lines of our own, borrows from the
//! bytes and allocates nothing; everything else is walked over by `scan` and then built by the
//! redis-protocol crate. A fuzz target and a property hold the two equal. What is no RESP at all (an HTTP server on
//! Redis's port) is recognised by its first byte and quoted.
//!
//! Cost: a message is one look at each of its header bytes; only a frame that straddles two reads is copied.

use std::fmt;

use bytes::Bytes;
use redis_protocol::resp3::decode::complete::decode_range;
use redis_protocol::resp3::types::RangeFrame;

use crate::wire::resp::scan::{Scanner, Wants, length};

/// The bytes of one connection, cut into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The beginning of a frame whose end has not been read yet.
    partial: Vec<u8>,
    /// How far `partial` has been walked over.
    scanner: Scanner,
    /// True exactly while `partial` is a whole frame that was handed out.
    is_spent: bool,
}

/// One frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The hot frame.
    Message(Message<'a>),
    Reply(Reply),
}

/// A message of a channel, as the push carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    pub channel: &'a [u8],
    pub payload: &'a [u8],
}

/// Any other frame. Text of every kind (simple, bulk, verbatim, big numbers, doubles as sent) is bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Null,
    Integer(i64),
    Boolean(bool),
    Text(Bytes),
    Error(Bytes),
    Array(Vec<Self>),
    Map(Vec<(Self, Self)>),
    Push(Vec<Self>),
}

/// Why bytes are no frame. The connection cannot be used further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RespError {
    /// The first byte of a frame is none of RESP's: something else answers on this port.
    NotResp(Quote),
    /// An element of an aggregate has a type byte that RESP does not have, or one that is not taken (streams).
    UnknownType(u8),
    /// A length or count is no plain decimal number.
    Length,
    /// A line or a bulk does not end in CR LF.
    Terminator,
    TooDeep,
    TooManyElements,
    BulkTooLong,
    LineTooLong,
    FrameTooLong,
    /// Well-formed lines with contents that RESP does not allow.
    Malformed,
}

/// The first bytes of what is no RESP, for one line of the log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    bytes: [u8; Self::BYTES_MAX],
    length: usize,
}

/// The frames in the bytes of one read.
#[derive(Debug)]
pub struct Frames<'a> {
    decoder: &'a mut Decoder,
    bytes: &'a [u8],
}

impl Decoder {
    /// The frames that end in these bytes; take them until there is none, so that the rest is kept.
    pub fn decode<'a>(&'a mut self, bytes: &'a [u8]) -> Frames<'a> {
        Frames { decoder: self, bytes }
    }

    /// Moves into `partial` what its frame still wants of `bytes`; its length once it is whole.
    fn complete(&mut self, bytes: &mut &[u8]) -> Result<Option<usize>, RespError> {
        loop {
            let wanted = match self.scanner.wants() {
                Wants::Line => memchr::memchr(b'\n', bytes).map_or(bytes.len(), |line_feed| line_feed + 1),
                Wants::Bytes(end) => bytes.len().min(end - self.partial.len().min(end)),
            };
            let (taken, rest) = bytes.split_at(wanted);
            self.partial.extend_from_slice(taken);
            *bytes = rest;
            match self.scanner.scan(&self.partial)? {
                Some(length) => return Ok(Some(length)),
                None if bytes.is_empty() => return Ok(None),
                None => {}
            }
        }
    }

    fn clear(&mut self) {
        self.partial.clear();
        self.partial.shrink_to(PARTIAL_BYTES_KEPT);
        self.scanner = Scanner::default();
        self.is_spent = false;
    }
}

impl Frames<'_> {
    /// The next frame. After an error there is none.
    // Hot: once per message.
    #[allow(clippy::should_implement_trait)] // A frame borrows from the decoder: no Iterator can say that.
    pub fn next(&mut self) -> Option<Result<Frame<'_>, RespError>> {
        if self.decoder.is_spent {
            self.decoder.clear();
        }
        if !self.decoder.partial.is_empty() {
            return self.next_of_partial();
        }
        let bytes = self.bytes;
        if let Some((message, length)) = decode_message(bytes) {
            self.bytes = &bytes[length..];
            return Some(Ok(Frame::Message(message)));
        }
        if bytes.is_empty() {
            return None;
        }
        match self.decoder.scanner.scan(bytes) {
            Ok(Some(length)) => {
                self.decoder.scanner = Scanner::default();
                self.bytes = &bytes[length..];
                Some(self.build(&bytes[..length]).map(Frame::Reply))
            }
            Ok(None) => {
                self.decoder.partial.extend_from_slice(bytes);
                self.bytes = &[];
                None
            }
            Err(error) => Some(Err(self.fail(error))),
        }
    }

    fn next_of_partial(&mut self) -> Option<Result<Frame<'_>, RespError>> {
        match self.decoder.complete(&mut self.bytes) {
            Ok(None) => None,
            Ok(Some(_)) => {
                self.decoder.is_spent = true;
                if let Some((message, _)) = decode_message(&self.decoder.partial) {
                    return Some(Ok(Frame::Message(message)));
                }
                Some(build(&self.decoder.partial).map(Frame::Reply))
            }
            Err(error) => Some(Err(self.fail(error))),
        }
    }

    fn build(&mut self, frame: &[u8]) -> Result<Reply, RespError> {
        build(frame).map_err(|error| self.fail(error))
    }

    fn fail(&mut self, error: RespError) -> RespError {
        self.decoder.clear();
        self.bytes = &[];
        error
    }
}

/// The hot frame, if that is what `bytes` start with, and its length.
// Hot: once per message; 25 ns and no allocation, the crate takes 20 times that (benches/resp.rs).
pub fn decode_message(bytes: &[u8]) -> Option<(Message<'_>, usize)> {
    let rest = bytes.strip_prefix(b">3\r\n$7\r\nmessage\r\n")?;
    let (channel, rest) = bulk(rest)?;
    let (payload, rest) = bulk(rest)?;
    Some((Message { channel, payload }, bytes.len() - rest.len()))
}

/// One bulk string, and what follows it.
fn bulk(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(b"$")?;
    // The longest length that is taken, 512 MiB, has nine digits.
    let digits = rest.iter().take(10).take_while(|byte| byte.is_ascii_digit()).count();
    let length = length(&rest[..digits]).filter(|&length| length <= crate::base::limits::RESP_BULK_BYTES)?;
    let rest = rest[digits..].strip_prefix(b"\r\n")?;
    let (text, rest) = rest.split_at_checked(length)?;
    Some((text, rest.strip_prefix(b"\r\n")?))
}

/// The frame that `bytes` start with, by the crate and never by the hot path, and its length; none if it is not whole.
/// The reference that the hot path is held to.
pub fn decode_reply(bytes: &[u8]) -> Result<Option<(Reply, usize)>, RespError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    match Scanner::default().scan(bytes)? {
        None => Ok(None),
        Some(length) => Ok(Some((build(&bytes[..length])?, length))),
    }
}

/// Builds the value of one whole frame.
fn build(frame: &[u8]) -> Result<Reply, RespError> {
    match decode_range(frame) {
        Ok(Some((range, length))) if length == frame.len() => {
            reply(range, &Bytes::copy_from_slice(frame)).ok_or(RespError::Malformed)
        }
        // The scanner found the frame whole: what the crate finds incomplete has an inner length that is wrong.
        Ok(_) | Err(_) => Err(RespError::Malformed),
    }
}

/// The value of a frame that lies in `bytes`.
fn reply(frame: RangeFrame, bytes: &Bytes) -> Option<Reply> {
    let text =
        |(start, end): (usize, usize)| (start <= end && end <= bytes.len()).then(|| bytes.slice(start..end));
    Some(match frame {
        RangeFrame::Null => Reply::Null,
        RangeFrame::Number { data, .. } => Reply::Integer(data),
        RangeFrame::Boolean { data, .. } => Reply::Boolean(data),
        RangeFrame::Double { data, .. } => Reply::Text(Bytes::from(data.to_string())),
        RangeFrame::BlobString { data, .. }
        | RangeFrame::SimpleString { data, .. }
        | RangeFrame::BigNumber { data, .. }
        | RangeFrame::VerbatimString { data, .. } => Reply::Text(text(data)?),
        RangeFrame::SimpleError { data, .. } | RangeFrame::BlobError { data, .. } => {
            Reply::Error(text(data)?)
        }
        RangeFrame::Array { data, .. } => Reply::Array(replies(data, bytes)?),
        RangeFrame::Push { data, .. } => Reply::Push(replies(data, bytes)?),
        RangeFrame::Set { data, .. } => Reply::Array(replies(data, bytes)?),
        // The crate fills its map from the last pair on.
        RangeFrame::Map { data, .. } => Reply::Map(
            data.into_iter()
                .rev()
                .map(|(key, value)| Some((reply(key, bytes)?, reply(value, bytes)?)))
                .collect::<Option<_>>()?,
        ),
        RangeFrame::ChunkedString(_) | RangeFrame::Hello { .. } => return None,
    })
}

fn replies(frames: impl IntoIterator<Item = RangeFrame>, bytes: &Bytes) -> Option<Vec<Reply>> {
    frames.into_iter().map(|frame| reply(frame, bytes)).collect()
}

impl Reply {
    /// The bytes of a text; none for anything else.
    pub fn as_text(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null
            | Self::Integer(_)
            | Self::Boolean(_)
            | Self::Error(_)
            | Self::Array(_)
            | Self::Map(_)
            | Self::Push(_) => None,
        }
    }

    /// The value of a text key in a map.
    pub fn field(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(pairs) => {
                pairs.iter().find(|(name, _)| name.as_text() == Some(key.as_bytes())).map(|(_, value)| value)
            }
            Self::Null
            | Self::Integer(_)
            | Self::Boolean(_)
            | Self::Text(_)
            | Self::Error(_)
            | Self::Array(_)
            | Self::Push(_) => None,
        }
    }
}

impl Quote {
    pub const BYTES_MAX: usize = 32;

    pub fn new(bytes: &[u8]) -> Self {
        let length = bytes.len().min(Self::BYTES_MAX);
        let mut quoted = [0; Self::BYTES_MAX];
        quoted[..length].copy_from_slice(&bytes[..length]);
        Self { bytes: quoted, length }
    }
}

impl fmt::Display for Quote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.bytes[..self.length].escape_ascii())
    }
}

impl fmt::Debug for Quote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Quote(\"{self}\")")
    }
}

impl fmt::Display for RespError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotResp(quote) => write!(formatter, "not Redis: it says \"{quote}\""),
            Self::UnknownType(kind) => {
                write!(formatter, "a frame of an unknown type, '{}'", kind.escape_ascii())
            }
            Self::Length => formatter.write_str("a length that is no number"),
            Self::Terminator => formatter.write_str("a line or a bulk that does not end in CR LF"),
            Self::TooDeep => formatter.write_str("a frame nested too deeply"),
            Self::TooManyElements => formatter.write_str("a frame of too many elements"),
            Self::BulkTooLong => formatter.write_str("a bulk that is too long"),
            Self::LineTooLong => formatter.write_str("a line that is too long"),
            Self::FrameTooLong => formatter.write_str("a frame that is too long"),
            Self::Malformed => formatter.write_str("a malformed frame"),
        }
    }
}

impl std::error::Error for RespError {}

/// What a decoder keeps allocated for the next frame that straddles two reads.
const PARTIAL_BYTES_KEPT: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::limits::{RESP_BULK_BYTES, RESP_ELEMENTS, RESP_LINE_BYTES};

    fn text(text: &str) -> Reply {
        Reply::Text(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// What the pieces decode to, messages written as the crate would give them.
    fn decode(pieces: &[&[u8]]) -> Vec<Result<Reply, RespError>> {
        let mut decoder = Decoder::default();
        let mut found = Vec::new();
        for piece in pieces {
            let mut frames = decoder.decode(piece);
            while let Some(frame) = frames.next() {
                found.push(frame.map(|frame| match frame {
                    Frame::Message(Message { channel, payload }) => push(channel, payload),
                    Frame::Reply(reply) => reply,
                }));
            }
        }
        found
    }

    fn push(channel: &[u8], payload: &[u8]) -> Reply {
        let text = |bytes: &[u8]| Reply::Text(Bytes::copy_from_slice(bytes));
        Reply::Push(vec![text(b"message"), text(channel), text(payload)])
    }

    fn table() -> Vec<(&'static [u8], Reply)> {
        vec![
            (b"+PONG\r\n", text("PONG")),
            (b"+\r\n", text("")),
            (b"-NOPERM this user\r\n", Reply::Error(Bytes::from_static(b"NOPERM this user"))),
            (b"!8\r\nERR a\r\nb\r\n", Reply::Error(Bytes::from_static(b"ERR a\r\nb"))),
            (b":-42\r\n", Reply::Integer(-42)),
            (b"$0\r\n\r\n", text("")),
            (b"$4\r\na\r\nb\r\n", text("a\r\nb")),
            (b"=7\r\ntxt:abc\r\n", text("abc")),
            (b"_\r\n", Reply::Null),
            (b"#t\r\n", Reply::Boolean(true)),
            (b",1.5\r\n", text("1.5")),
            (b"(12345678901234567890\r\n", text("12345678901234567890")),
            (b"*0\r\n", Reply::Array(vec![])),
            (b"~1\r\n:1\r\n", Reply::Array(vec![Reply::Integer(1)])),
            (
                b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n",
                Reply::Map(vec![(text("server"), text("redis")), (text("proto"), Reply::Integer(3))]),
            ),
            (
                b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
                Reply::Push(vec![text("subscribe"), text("a"), Reply::Integer(1)]),
            ),
            (b">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n", push(b"news", b"hi")),
            (b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$0\r\n\r\n", push(b"a", b"")),
            (
                b"*2\r\n*1\r\n*2\r\n$1\r\na\r\n*0\r\n|1\r\n+k\r\n+v\r\n:7\r\n",
                Reply::Array(vec![
                    Reply::Array(vec![Reply::Array(vec![text("a"), Reply::Array(vec![])])]),
                    Reply::Integer(7),
                ]),
            ),
        ]
    }

    #[test]
    fn every_kind_of_frame_is_read_however_it_is_split() {
        for (bytes, expected) in table() {
            assert_eq!(decode(&[bytes]), [Ok(expected.clone())], "{}", bytes.escape_ascii());
            for cut in 0..=bytes.len() {
                let (first, second) = bytes.split_at(cut);
                assert_eq!(
                    decode(&[first, second]),
                    [Ok(expected.clone())],
                    "{} at {cut}",
                    bytes.escape_ascii()
                );
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(decode(&single), [Ok(expected)], "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn frames_follow_each_other_in_one_read_or_in_many() {
        let all: Vec<u8> = table().iter().flat_map(|(bytes, _)| bytes.iter().copied()).collect();
        let expected: Vec<Result<Reply, RespError>> =
            table().into_iter().map(|(_, reply)| Ok(reply)).collect();
        for size in [1, 2, 3, 7, 16, 61, all.len()] {
            let pieces: Vec<&[u8]> = all.chunks(size).collect();
            assert_eq!(decode(&pieces), expected, "in reads of {size}");
        }
    }

    #[test]
    fn what_is_no_frame_is_an_error_however_it_is_split() {
        let deep = [b"*1\r\n".repeat(2_000), b":1\r\n".to_vec()].concat();
        let long = [b"+".to_vec(), vec![b'a'; RESP_LINE_BYTES]].concat();
        let many = format!("*{}\r\n", RESP_ELEMENTS + 1);
        let big = format!("${}\r\n", RESP_BULK_BYTES + 1);
        let hot = format!(">3\r\n$7\r\nmessage\r\n$1\r\na\r\n${}\r\n", RESP_BULK_BYTES + 1);
        let table: Vec<(&[u8], RespError)> = vec![
            (&deep, RespError::TooDeep),
            (&long, RespError::LineTooLong),
            (many.as_bytes(), RespError::TooManyElements),
            (big.as_bytes(), RespError::BulkTooLong),
            (hot.as_bytes(), RespError::BulkTooLong),
            (b"$99999999999999999999\r\n", RespError::Length),
            (b"$-1\r\n", RespError::Length),
            (b"*?\r\n", RespError::Length),
            (b"$+1\r\na\r\n", RespError::Length),
            (b"*\r\n", RespError::Length),
            (b"$1\r\nabc", RespError::Terminator),
            (b"+a\n", RespError::Terminator),
            (b">3\r\n$7\r\nmessage\r\n$1\r\nabc$2\r\nhi\r\n", RespError::Terminator),
            (b"*1\r\nx\r\n", RespError::UnknownType(b'x')),
            (b"*1\r\n.\r\n", RespError::UnknownType(b'.')),
            (b":12a\r\n", RespError::Malformed),
            (b"#x\r\n", RespError::Malformed),
            (b"=1\r\na\r\n", RespError::Malformed),
            (b"%1\r\n*0\r\n:1\r\n", RespError::Malformed),
        ];
        for (bytes, expected) in table {
            let shown = bytes[..bytes.len().min(60)].escape_ascii();
            assert_eq!(decode(&[bytes]), [Err(expected)], "{shown}");
            for cut in 1..bytes.len().min(60) {
                let (first, second) = bytes.split_at(cut);
                assert_eq!(decode(&[first, second]).first(), Some(&Err(expected)), "{shown} at {cut}");
            }
        }
    }

    #[test]
    fn another_server_on_the_port_is_quoted() {
        let answer = b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n";
        let error = decode(&[answer]).remove(0).unwrap_err();
        assert_eq!(error.to_string(), r#"not Redis: it says "HTTP/1.1 400 Bad Request\r\nServer""#);
        let error = decode(&[b"\x00\xff\"x"]).remove(0).unwrap_err();
        assert_eq!(error.to_string(), r#"not Redis: it says "\x00\xff\"x""#);
        assert_eq!(decode(&[b"HTTP", b"/1.1"]).len(), 2);
    }

    #[test]
    fn the_deepest_frame_that_is_taken_is_eight_deep() {
        let nested = |depth: usize| [b"*1\r\n".repeat(depth), b":1\r\n".to_vec()].concat();
        assert!(decode_reply(&nested(8)).unwrap().is_some());
        assert_eq!(decode_reply(&nested(9)), Err(RespError::TooDeep));
    }

    #[test]
    fn a_large_array_is_looked_at_once_in_however_many_reads() {
        let element = b"$3\r\nabc\r\n";
        let bytes = [b"*100000\r\n".to_vec(), element.repeat(100_000)].concat();
        let mut decoder = Decoder::default();
        let mut found = 0;
        for piece in bytes.chunks(100) {
            let mut frames = decoder.decode(piece);
            while let Some(frame) = frames.next() {
                assert!(
                    matches!(frame, Ok(Frame::Reply(Reply::Array(elements))) if elements.len() == 100_000)
                );
                found += 1;
            }
        }
        assert_eq!(found, 1);
    }

    proptest! {
        #[test]
        fn the_hot_path_and_the_crate_agree_on_messages(
            channel in prop::collection::vec(any::<u8>(), 0..40),
            payload in prop::collection::vec(any::<u8>(), 0..300),
            behind in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut bytes = format!(">3\r\n$7\r\nmessage\r\n${}\r\n", channel.len()).into_bytes();
            bytes.extend_from_slice(&channel);
            bytes.extend_from_slice(format!("\r\n${}\r\n", payload.len()).as_bytes());
            bytes.extend_from_slice(&payload);
            bytes.extend_from_slice(b"\r\n");
            let length = bytes.len();
            bytes.extend_from_slice(&behind);
            let expected = Message { channel: &channel, payload: &payload };
            prop_assert_eq!(decode_message(&bytes), Some((expected, length)));
            prop_assert_eq!(decode_reply(&bytes), Ok(Some((push(&channel, &payload), length))));
            for cut in 0..length {
                prop_assert_eq!(decode_message(&bytes[..cut]), None);
                prop_assert_eq!(decode_reply(&bytes[..cut]), Ok(None));
            }
        }

        #[test]
        fn the_hot_path_takes_nothing_that_the_crate_does_not(
            edits in prop::collection::vec((0_usize..48, prop::sample::select(b">3$*:+-\r\n0179ma\xff".to_vec())), 0..4),
        ) {
            let mut bytes = b">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$10\r\n0123456789\r\n".to_vec();
            for (at, byte) in edits {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            if let Some((message, length)) = decode_message(&bytes) {
                let expected = push(message.channel, message.payload);
                prop_assert_eq!(decode_reply(&bytes), Ok(Some((expected, length))));
            }
        }

        #[test]
        fn no_bytes_cause_a_panic(
            bytes in prop::collection::vec(prop::sample::select(b">*$%~|=!_#,:+-3217\r\namessage\xff".to_vec()), 0..200),
            size in 1_usize..50,
        ) {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            let cut: Vec<_> = decode(&pieces).into_iter().take_while(Result::is_ok).collect();
            let whole: Vec<_> = decode(&[&bytes]).into_iter().take_while(Result::is_ok).collect();
            prop_assert_eq!(cut, whole);
        }
    }
}
