//! Responses of an application that is asked over HTTP/1.x: from bytes as they arrive to a status and a whole body.
//!
//! Strict where leniency lets two readers of the same bytes disagree about where an answer ends (RFC 9112, section 6):
//! both a length and chunks, two lengths, a coding other than `chunked`, bare LF. A body has its length, comes in chunks,
//! or ends with the connection. Interim answers (1xx) are passed over. What has an end is given with whether the
//! connection may carry another exchange; bytes behind an answer that nobody asked for say that it may not.
//!
//! Bounds: a head has [`HEAD_BYTES`] and [`HEAD_FIELDS`] fields at most, a body as many bytes as the reader is made for.
//! Cost: each byte is looked at once for the end of its head or chunk, and copied once.

use std::mem::MaybeUninit;

use crate::base::limits::{HEAD_FIELDS, KIB};
use crate::base::number::index;

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub body: Vec<u8>,
    /// Whether the connection may be used again.
    pub keep_alive: bool,
}

/// Why there will be no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyError {
    /// What came is no response of HTTP/1.x, or leaves in doubt where it ends.
    Malformed,
    /// The head or the body is larger than what is taken.
    TooLarge,
    /// The connection ended in the middle.
    Cut,
}

/// Reads one answer.
#[derive(Debug)]
pub struct ReplyReader {
    body_bytes_max: usize,
    /// Received, and not yet taken as a part of anything.
    rest: Vec<u8>,
    /// How much of the rest has been searched for the end of a head or line.
    scanned: usize,
    state: State,
    reply: Reply,
    /// Bytes of heads and trailers so far: interim answers count too.
    head_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of the body are still to come.
    Length(u64),
    ChunkSize,
    /// So many bytes of the chunk are still to come.
    Chunk(u64),
    /// The line end behind a chunk.
    ChunkEnd,
    Trailers,
    UntilClose,
    Complete,
}

/// What a look at the rest gave.
enum Step {
    More,
    Next(State),
}

impl ReplyReader {
    pub fn new(body_bytes_max: usize) -> Self {
        let reply = Reply { status: 0, body: Vec::new(), keep_alive: true };
        Self { body_bytes_max, rest: Vec::new(), scanned: 0, state: State::Head, reply, head_bytes: 0 }
    }

    /// Whether anything of the answer has come.
    pub fn has_begun(&self) -> bool {
        self.state != State::Head || !self.rest.is_empty() || self.head_bytes > 0
    }

    /// Takes what came next; the answer, once it is whole.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Option<Reply>, ReplyError> {
        self.rest.extend_from_slice(bytes);
        while self.state != State::Complete {
            let step = match self.state {
                State::Head => self.read_head()?,
                State::Length(left) => self.read_body(left, State::Length, State::Complete)?,
                State::ChunkSize => self.read_chunk_size()?,
                State::Chunk(left) => self.read_body(left, State::Chunk, State::ChunkEnd)?,
                State::ChunkEnd => self.read_chunk_end()?,
                State::Trailers => self.read_trailer()?,
                State::UntilClose => self.read_body(u64::MAX, |_| State::UntilClose, State::UntilClose)?,
                State::Complete => break,
            };
            match step {
                Step::More => return Ok(None),
                Step::Next(state) => self.state = state,
            }
        }
        let reply = Reply { keep_alive: self.reply.keep_alive && self.rest.is_empty(), ..self.take_reply() };
        Ok(Some(reply))
    }

    /// The connection has ended: that ends an answer without a length, and cuts any other.
    pub fn end(mut self) -> Result<Reply, ReplyError> {
        match self.state {
            State::UntilClose => Ok(Reply { keep_alive: false, ..self.take_reply() }),
            State::Head
            | State::Length(_)
            | State::ChunkSize
            | State::Chunk(_)
            | State::ChunkEnd
            | State::Trailers
            | State::Complete => Err(ReplyError::Cut),
        }
    }

    fn take_reply(&mut self) -> Reply {
        let nothing = Reply { status: 0, body: Vec::new(), keep_alive: false };
        std::mem::replace(&mut self.reply, nothing)
    }

    fn read_head(&mut self) -> Result<Step, ReplyError> {
        let Some(length) = self.find_head_end()? else { return Ok(Step::More) };
        let head = Head::parse(&self.rest[..length])?;
        self.take(length);
        self.head_bytes += length;
        if (100..200).contains(&head.status) {
            // 101 is the answer to an Upgrade, which was not asked for.
            return if head.status == 101 { Err(ReplyError::Malformed) } else { Ok(Step::Next(State::Head)) };
        }
        self.reply.status = head.status;
        self.reply.keep_alive = head.keep_alive;
        let has_no_body = matches!(head.status, 204 | 304);
        Ok(Step::Next(match (head.is_chunked, head.content_length) {
            (true, Some(_)) => return Err(ReplyError::Malformed),
            _ if has_no_body => State::Complete,
            (true, None) => State::ChunkSize,
            (false, Some(0)) => State::Complete,
            (false, Some(length)) if length > self.body_bytes_max as u64 => return Err(ReplyError::TooLarge),
            (false, Some(length)) => State::Length(length),
            (false, None) => State::UntilClose,
        }))
    }

    /// The length of the head, by its blank line.
    fn find_head_end(&mut self) -> Result<Option<usize>, ReplyError> {
        let window = &self.rest[..self.rest.len().min(HEAD_BYTES.saturating_sub(self.head_bytes))];
        for at in memchr::memchr_iter(b'\n', &window[self.scanned.min(window.len())..]) {
            let before = &window[..self.scanned + at];
            if before.last() != Some(&b'\r') {
                return Err(ReplyError::Malformed);
            }
            if before.ends_with(b"\r\n\r") {
                return Ok(Some(before.len() + 1));
            }
        }
        if window.len() < self.rest.len() || self.head_bytes + window.len() >= HEAD_BYTES {
            return Err(ReplyError::TooLarge);
        }
        self.scanned = window.len();
        Ok(None)
    }

    fn read_body(
        &mut self,
        left: u64,
        unfinished: impl Fn(u64) -> State,
        finished: State,
    ) -> Result<Step, ReplyError> {
        let count = index(left.min(self.rest.len() as u64));
        if self.reply.body.len() + count > self.body_bytes_max {
            return Err(ReplyError::TooLarge);
        }
        self.reply.body.extend_from_slice(&self.rest[..count]);
        self.take(count);
        match left - count as u64 {
            0 => Ok(Step::Next(finished)),
            left => {
                self.state = unfinished(left);
                Ok(Step::More)
            }
        }
    }

    fn read_chunk_size(&mut self) -> Result<Step, ReplyError> {
        let Some(line) = self.read_line()? else { return Ok(Step::More) };
        // Extensions mean nothing here (RFC 9112, section 7.1.1).
        let digits = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii_end();
        if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(ReplyError::Malformed);
        }
        let digits = std::str::from_utf8(digits).map_err(|_| ReplyError::Malformed)?;
        let size = u64::from_str_radix(digits, 16).map_err(|_| ReplyError::Malformed)?;
        if size > self.body_bytes_max as u64 {
            return Err(ReplyError::TooLarge);
        }
        Ok(Step::Next(if size == 0 { State::Trailers } else { State::Chunk(size) }))
    }

    fn read_chunk_end(&mut self) -> Result<Step, ReplyError> {
        match self.rest[..] {
            [b'\r', b'\n', ..] => {
                self.take(2);
                Ok(Step::Next(State::ChunkSize))
            }
            [] | [b'\r'] => Ok(Step::More),
            [..] => Err(ReplyError::Malformed),
        }
    }

    /// Trailers are passed over; the blank line ends the answer.
    fn read_trailer(&mut self) -> Result<Step, ReplyError> {
        match self.read_line()? {
            None => Ok(Step::More),
            Some(line) if line.is_empty() => Ok(Step::Next(State::Complete)),
            Some(_) => Ok(Step::Next(State::Trailers)),
        }
    }

    /// The next line, without its end. Lines count as head: who sends them without end is cut off.
    fn read_line(&mut self) -> Result<Option<Vec<u8>>, ReplyError> {
        let found = memchr::memchr(b'\n', &self.rest[self.scanned..]);
        let length = found.map_or(self.rest.len(), |at| self.scanned + at + 1);
        if self.head_bytes + length > HEAD_BYTES {
            return Err(ReplyError::TooLarge);
        }
        if found.is_none() {
            self.scanned = self.rest.len();
            return Ok(None);
        }
        let line = self.rest[..length].strip_suffix(b"\r\n").ok_or(ReplyError::Malformed)?.to_vec();
        self.take(length);
        self.head_bytes += length;
        Ok(Some(line))
    }

    fn take(&mut self, count: usize) {
        self.rest.drain(..count);
        self.scanned = 0;
    }
}

/// What matters of a response's head.
struct Head {
    status: u16,
    keep_alive: bool,
    content_length: Option<u64>,
    is_chunked: bool,
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Self, ReplyError> {
        let mut fields = [const { MaybeUninit::uninit() }; HEAD_FIELDS];
        let mut response = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        match config.parse_response_with_uninit_headers(&mut response, bytes, &mut fields) {
            Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
            Ok(_) => return Err(ReplyError::Malformed),
            Err(httparse::Error::TooManyHeaders) => return Err(ReplyError::TooLarge),
            Err(_) => return Err(ReplyError::Malformed),
        }
        let (Some(status), Some(version)) = (response.code, response.version) else {
            return Err(ReplyError::Malformed);
        };
        let (mut closes, mut keeps, mut chunked) = (false, false, None);
        let mut content_length = None;
        for header in response.headers {
            let value = header.value.trim_ascii();
            if header.name.eq_ignore_ascii_case("content-length") {
                let length = digits(value).ok_or(ReplyError::Malformed)?;
                if content_length.replace(length).is_some() {
                    return Err(ReplyError::Malformed);
                }
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                if chunked.replace(value.eq_ignore_ascii_case(b"chunked")).is_some() {
                    return Err(ReplyError::Malformed);
                }
            } else if header.name.eq_ignore_ascii_case("connection") {
                for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                    closes |= option.eq_ignore_ascii_case(b"close");
                    keeps |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
        }
        // HTTP/1.0 knows no chunks (RFC 9112, section 6.1), and nobody was told that another coding would be taken.
        if chunked == Some(false) || chunked.is_some() && version == 0 {
            return Err(ReplyError::Malformed);
        }
        Ok(Self {
            status,
            keep_alive: !closes && (version == 1 || keeps),
            content_length,
            is_chunked: chunked.is_some(),
        })
    }
}

/// Digits only: `parse` would take a plus sign.
fn digits(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| is_number)?.parse().ok()
}

/// Of an answer's heads, chunk lines and trailers together.
const HEAD_BYTES: usize = 16 * KIB;

#[cfg(test)]
mod tests {
    use super::*;

    const BODY_BYTES_MAX: usize = 100;

    /// What the bytes come to, received in pieces of this size, and then the connection's end.
    fn read(bytes: &[u8], size: usize) -> Result<Reply, ReplyError> {
        let mut reader = ReplyReader::new(BODY_BYTES_MAX);
        for piece in bytes.chunks(size) {
            if let Some(reply) = reader.receive(piece)? {
                return Ok(reply);
            }
        }
        reader.end()
    }

    fn reply(status: u16, body: &str, keep_alive: bool) -> Result<Reply, ReplyError> {
        Ok(Reply { status, body: body.into(), keep_alive })
    }

    #[test]
    fn an_answer_ends_where_its_head_says_however_its_bytes_arrive() {
        for (bytes, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", reply(200, "hello", true)),
            ("HTTP/1.1 200\r\ncontent-length:0\r\n\r\n", reply(200, "", true)),
            ("HTTP/1.1 403 No\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", reply(403, "x", false)),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", reply(200, "x", false)),
            (
                "HTTP/1.0 200 OK\r\nConnection: Keep-Alive, x\r\nContent-Length: 1\r\n\r\nx",
                reply(200, "x", true),
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", reply(204, "", true)),
            ("HTTP/1.1 200 OK\r\n\r\nuntil the end", reply(200, "until the end", false)),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0A;x=\"y\"\r\n0123456789\r\n0\r\n\r\n",
                reply(200, "abc0123456789", true),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n000\r\nTrailer: x\r\n\r\n",
                reply(200, "a", true),
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno",
                reply(401, "no", true),
            ),
        ] {
            for size in 1..=bytes.len() {
                assert_eq!(read(bytes.as_bytes(), size), expected, "{size} bytes at once of {bytes:?}");
            }
        }
    }

    #[test]
    fn what_leaves_the_end_of_an_answer_in_doubt_is_no_answer() {
        let ok = "HTTP/1.1 200 OK\r\n";
        for bytes in [
            "SSH-2.0-OpenSSH\r\n\r\n".to_owned(),
            "HTTP/2 200\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\nContent-Length: 0\n\n".to_owned(),
            "HTTP/1.1 2000 OK\r\n\r\n".to_owned(),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n".to_owned(),
            format!("{ok}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"),
            format!("{ok}Content-Length: +1\r\n\r\nx"),
            format!("{ok}Content-Length: \r\n\r\nx"),
            format!("{ok}Content-Length: 1, 1\r\n\r\nx"),
            format!("{ok}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            format!("{ok}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
            format!("{ok}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            format!("{ok}Transfer-Encoding: chunked\r\n\r\nx\r\n"),
            format!("{ok}Transfer-Encoding: chunked\r\n\r\n-1\r\n"),
            format!("{ok}Transfer-Encoding: chunked\r\n\r\n0x1\r\n"),
            format!("{ok}Transfer-Encoding: chunked\r\n\r\n\r\n"),
            format!("{ok}Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n"),
            format!("{ok}Transfer-Encoding: chunked\r\n\r\n1\na\r\n"),
            format!("{ok}Folded: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
        ] {
            for size in [1, bytes.len()] {
                assert_eq!(read(bytes.as_bytes(), size), Err(ReplyError::Malformed), "{bytes:?}");
            }
        }
    }

    #[test]
    fn an_answer_that_is_too_large_is_given_up_before_it_is_read() {
        let body = "x".repeat(BODY_BYTES_MAX + 1);
        let fields = "X: y\r\n".repeat(HEAD_FIELDS + 1);
        let long = "x".repeat(HEAD_BYTES);
        for bytes in [
            "HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n".to_owned(),
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n{}\r\n1\r\nx\r\n",
                &body[..BODY_BYTES_MAX]
            ),
            format!("HTTP/1.1 200 OK\r\n\r\n{body}"),
            format!("HTTP/1.1 200 OK\r\n{fields}\r\n"),
            format!("HTTP/1.1 200 OK\r\nX: {long}\r\n\r\n"),
            "HTTP/1.1 100 Continue\r\n\r\n".repeat(HEAD_BYTES / 20),
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: {long}"),
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0;{long}"),
        ] {
            for size in [1, 7, bytes.len()] {
                assert_eq!(read(bytes.as_bytes(), size), Err(ReplyError::TooLarge), "{bytes:.60}");
            }
        }
    }

    #[test]
    fn an_answer_that_is_cut_is_none() {
        for whole in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ] {
            for length in 0..whole.len() {
                assert_eq!(read(&whole.as_bytes()[..length], 8), Err(ReplyError::Cut), "{length}");
            }
        }
    }

    #[test]
    fn bytes_behind_an_answer_end_the_use_of_its_connection() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n";
        assert_eq!(read(bytes, bytes.len()), reply(200, "x", false));
    }

    #[test]
    fn an_answer_has_begun_with_its_first_byte() {
        let mut reader = ReplyReader::new(BODY_BYTES_MAX);
        assert!(!reader.has_begun());
        reader.receive(b"H").unwrap();
        assert!(reader.has_begun());
        let mut reader = ReplyReader::new(BODY_BYTES_MAX);
        reader.receive(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        assert!(reader.has_begun());
    }
}
