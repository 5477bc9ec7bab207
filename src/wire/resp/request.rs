//! What a client asks of a server: commands as arrays of bulk strings, decoded as they arrive and encoded to be sent.
//!
//! Redis's inline commands (a line of words) are deliberately not taken: an array begins with `*`, which no other
//! protocol does, so a web page that makes a browser post to the port is told from a client by its first byte.
//!
//! A request may be cut at any byte; what has been understood of it is remembered, and no byte is looked at twice. A
//! request that came whole is never copied: its arguments point into the bytes that were received.
//! As in Redis, the line ends are skipped, not compared.

use memchr::memchr;

use crate::base::number::small;
use crate::wire::resp::{parse_integer, push_decimal};

/// How much a request may be. The bounds may differ from one request to the next: a client that has not logged in may
/// say little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestBounds {
    /// Arguments, the command's name included.
    pub elements: usize,
    /// Bytes of one argument.
    pub bulk_bytes: usize,
    /// Bytes of the whole request, and of the list of its arguments while it is incomplete.
    pub request_bytes: usize,
    /// What is wrong with a request that has more elements, or a longer one.
    pub who: Who,
}

/// Whom the bounds are for; the sentences differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    LoggedIn,
    NotLoggedIn,
}

/// Why what a client sent cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestError {
    /// The request does not begin with `*` but with this byte.
    NotAnArray(u8),
    /// The number of elements is no number, or too large.
    ArrayLength,
    /// The number of elements is too large for a client that has not logged in.
    ArrayLengthNotLoggedIn,
    /// The line with the number of elements does not end.
    ArrayLine,
    /// An element does not begin with `$` but with this byte.
    NotABulk(u8),
    /// The length of an element is no number, or too large.
    BulkLength,
    /// The length of an element is too large for a client that has not logged in.
    BulkLengthNotLoggedIn,
    /// The line with the length of an element does not end.
    BulkLine,
    /// The elements are too large together. Redis closes the connection without a word.
    TooLong,
}

/// Cuts a client's bytes into requests.
#[derive(Debug, Default)]
pub struct Requests {
    /// Received, but not understood as a whole yet; before `start` is what has been.
    buffer: Vec<u8>,
    start: usize,
    /// How many of the buffer's bytes the request that was given out last had.
    given_out: usize,
    progress: Progress,
}

/// The arguments of one command, its name first: never empty.
#[derive(Clone, Copy)]
pub struct Arguments<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

/// Where one argument lies in its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

/// How far a request has been understood. All offsets count from its first byte.
#[derive(Debug, Default)]
struct Progress {
    step: Step,
    /// Where the step's bytes begin.
    at: usize,
    /// Up to where the step's line has been searched for its end.
    searched: usize,
    spans: Vec<Span>,
}

#[derive(Debug, Default, Clone, Copy)]
enum Step {
    /// `*3\r\n`
    #[default]
    Array,
    /// `$7\r\n`, with so many elements to come, this one included.
    Length { left: usize },
    /// `PUBLISH\r\n`
    Bulk { left: usize, length: usize },
}

impl RequestError {
    /// The sentence of the error reply, as Redis says it; none if it says nothing.
    pub fn text(self) -> Option<Vec<u8>> {
        let text: &[u8] = match self {
            Self::NotAnArray(byte) => &[b"expected '*', got '".as_slice(), &[byte], b"'"].concat(),
            Self::NotABulk(byte) => &[b"expected '$', got '".as_slice(), &[byte], b"'"].concat(),
            Self::ArrayLength => b"invalid multibulk length",
            Self::ArrayLengthNotLoggedIn => b"unauthenticated multibulk length",
            Self::ArrayLine => b"too big mbulk count string",
            Self::BulkLength => b"invalid bulk length",
            Self::BulkLengthNotLoggedIn => b"unauthenticated bulk length",
            Self::BulkLine => b"too big bulk count string",
            Self::TooLong => return None,
        };
        Some([b"ERR Protocol error: ", text].concat())
    }
}

impl Requests {
    /// The next request out of what was kept and `input`, of which it takes what it needs; `None` when all of it is
    /// used up. After an error nothing that this client sends can be understood.
    pub fn next<'a, 'input: 'a>(
        &'a mut self,
        input: &mut &'input [u8],
        bounds: &RequestBounds,
    ) -> Result<Option<Arguments<'a>>, RequestError> {
        self.start += std::mem::take(&mut self.given_out);
        if self.start < self.buffer.len() {
            self.buffer.extend_from_slice(std::mem::take(input));
            return self.next_kept(bounds);
        }
        self.forget();
        // Hot: once per command that came whole, which is nearly every one; nothing is copied.
        loop {
            let Some(bytes) = self.progress.advance(input, bounds)? else {
                self.buffer.extend_from_slice(std::mem::take(input));
                return Ok(None);
            };
            let (request, rest) = input.split_at(bytes);
            *input = rest;
            if !self.progress.is_empty_array() {
                return Ok(Some(self.progress.take(request)));
            }
        }
    }

    fn next_kept(&mut self, bounds: &RequestBounds) -> Result<Option<Arguments<'_>>, RequestError> {
        loop {
            let Some(bytes) = self.progress.advance(&self.buffer[self.start..], bounds)? else {
                self.buffer.drain(..std::mem::take(&mut self.start));
                return Ok(None);
            };
            if !self.progress.is_empty_array() {
                self.given_out = bytes;
                return Ok(Some(self.progress.take(&self.buffer[self.start..][..bytes])));
            }
            self.start += bytes;
        }
    }

    /// Bytes that are kept of an incomplete request.
    pub fn kept_bytes(&self) -> usize {
        self.buffer.len() - self.start - self.given_out
    }

    fn forget(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(CAPACITY_KEPT);
        self.start = 0;
    }
}

impl Progress {
    /// Goes on in `request`, which begins with the request's first byte; if it is all there, says how long it is.
    fn advance(&mut self, request: &[u8], bounds: &RequestBounds) -> Result<Option<usize>, RequestError> {
        loop {
            match self.step {
                Step::Array => {
                    let Some(&first) = request.get(self.at) else { return Ok(None) };
                    if first != b'*' {
                        return Err(RequestError::NotAnArray(first));
                    }
                    let Some(line) = self.line(request, RequestError::ArrayLine)? else { return Ok(None) };
                    let elements = array_length(line, bounds)?;
                    // The list grows with the arguments that come, not with those that are promised.
                    self.spans.clear();
                    self.spans.shrink_to(SPANS_KEPT);
                    if elements == 0 {
                        return Ok(Some(self.at));
                    }
                    self.step = Step::Length { left: elements };
                }
                Step::Length { left } => {
                    let Some(line) = self.line(request, RequestError::BulkLine)? else { return Ok(None) };
                    let length = bulk_length(line, bounds)?;
                    let list_bytes = self.spans.len() * size_of::<Span>();
                    if self.at + length + list_bytes > bounds.request_bytes {
                        return Err(RequestError::TooLong);
                    }
                    self.step = Step::Bulk { left, length };
                }
                Step::Bulk { left, length } => {
                    let end = self.at + length;
                    if request.len() < end + LINE_END.len() {
                        return Ok(None);
                    }
                    self.spans.push(Span { start: small(self.at), end: small(end) });
                    self.at = end + LINE_END.len();
                    self.searched = self.at;
                    if left == 1 {
                        return Ok(Some(self.at));
                    }
                    self.step = Step::Length { left: left - 1 };
                }
            }
        }
    }

    /// The line that begins at `at`, without its end; the next step begins behind it.
    fn line<'a>(
        &mut self,
        request: &'a [u8],
        endless: RequestError,
    ) -> Result<Option<&'a [u8]>, RequestError> {
        let Some(found) = memchr(b'\r', &request[self.searched..]) else {
            self.searched = request.len();
            if request.len() - self.at > LINE_BYTES { return Err(endless) } else { return Ok(None) }
        };
        let end = self.searched + found;
        self.searched = end;
        if request.len() < end + LINE_END.len() {
            return Ok(None);
        }
        let line = &request[self.at..end];
        self.at = end + LINE_END.len();
        self.searched = self.at;
        Ok(Some(line))
    }

    /// Whether what `advance` found complete is an array that is empty or null: as in Redis, no request at all. If so,
    /// it is ready for the next.
    fn is_empty_array(&mut self) -> bool {
        if self.spans.is_empty() {
            self.begin();
        }
        self.spans.is_empty()
    }

    fn begin(&mut self) {
        self.step = Step::Array;
        self.at = 0;
        self.searched = 0;
    }

    /// Gives out the request that `advance` found complete, and is ready for the next.
    fn take<'a>(&'a mut self, request: &'a [u8]) -> Arguments<'a> {
        self.begin();
        assert!(!self.spans.is_empty(), "a complete request has at least its command's name");
        Arguments { bytes: request, spans: &self.spans }
    }
}

fn array_length(line: &[u8], bounds: &RequestBounds) -> Result<usize, RequestError> {
    let length = parse_integer(&line[1..]).ok_or(RequestError::ArrayLength)?;
    let length = usize::try_from(length).unwrap_or(0);
    match bounds.who {
        _ if length <= bounds.elements => Ok(length),
        Who::LoggedIn => Err(RequestError::ArrayLength),
        Who::NotLoggedIn => Err(RequestError::ArrayLengthNotLoggedIn),
    }
}

fn bulk_length(line: &[u8], bounds: &RequestBounds) -> Result<usize, RequestError> {
    let digits = match line {
        [b'$', digits @ ..] => digits,
        [other, ..] => return Err(RequestError::NotABulk(*other)),
        [] => return Err(RequestError::NotABulk(b'\r')),
    };
    let length = parse_integer(digits).and_then(|length| usize::try_from(length).ok());
    let length = length.ok_or(RequestError::BulkLength)?;
    match bounds.who {
        _ if length <= bounds.bulk_bytes => Ok(length),
        Who::LoggedIn => Err(RequestError::BulkLength),
        Who::NotLoggedIn => Err(RequestError::BulkLengthNotLoggedIn),
    }
}

impl<'a> Arguments<'a> {
    /// How many there are, the command's name included.
    pub fn count(&self) -> usize {
        self.spans.len()
    }

    /// The argument at `index`; 0 is the command's name.
    ///
    /// # Panics
    /// If there is none.
    pub fn at(&self, index: usize) -> &'a [u8] {
        let span = self.spans[index];
        &self.bytes[span.start as usize..span.end as usize]
    }

    /// The arguments from `index` on.
    pub fn from(&self, index: usize) -> impl DoubleEndedIterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        let spans = self.spans.get(index..).unwrap_or_default();
        spans.iter().map(move |span| &bytes[span.start as usize..span.end as usize])
    }

    /// Bytes of the whole request.
    pub fn request_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub fn to_owned(&self) -> OwnedArguments {
        OwnedArguments { bytes: self.bytes.into(), spans: self.spans.into() }
    }
}

impl std::fmt::Debug for Arguments<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_list()
            .entries(self.from(0).map(|argument| argument.escape_ascii().to_string()))
            .finish()
    }
}

/// Arguments that are kept for later, as between `MULTI` and `EXEC`.
#[derive(Debug)]
pub struct OwnedArguments {
    bytes: Box<[u8]>,
    spans: Box<[Span]>,
}

impl OwnedArguments {
    pub fn borrow(&self) -> Arguments<'_> {
        Arguments { bytes: &self.bytes, spans: &self.spans }
    }

    /// Memory in use.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + self.spans.len() * size_of::<Span>()
    }
}

/// Appends a command as a client sends it.
pub fn encode_command(arguments: &[&[u8]], out: &mut Vec<u8>) {
    out.push(b'*');
    push_decimal(arguments.len() as u64, out);
    out.extend_from_slice(LINE_END);
    for argument in arguments {
        out.push(b'$');
        push_decimal(argument.len() as u64, out);
        out.extend_from_slice(LINE_END);
        out.extend_from_slice(argument);
        out.extend_from_slice(LINE_END);
    }
}

const LINE_END: &[u8] = b"\r\n";
/// The longest line with a number (Redis's PROTO_INLINE_MAX_SIZE).
const LINE_BYTES: usize = 64 * 1_024;
/// What a client that is silent keeps of a large request's memory: nothing to speak of.
const CAPACITY_KEPT: usize = 4 * 1_024;
const SPANS_KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: RequestBounds =
        RequestBounds { elements: 4, bulk_bytes: 20, request_bytes: 100, who: Who::LoggedIn };

    /// Everything that comes out when these pieces come in, one after the other.
    fn requests(pieces: &[&[u8]], bounds: &RequestBounds) -> (Vec<Vec<Vec<u8>>>, Option<RequestError>) {
        let mut requests = Requests::default();
        let mut all = Vec::new();
        for piece in pieces {
            let mut input = *piece;
            loop {
                match requests.next(&mut input, bounds) {
                    Ok(Some(arguments)) => all.push(arguments.from(0).map(<[u8]>::to_vec).collect()),
                    Ok(None) => break,
                    Err(error) => return (all, Some(error)),
                }
            }
            assert!(input.is_empty());
        }
        (all, None)
    }

    fn words(request: &str) -> Vec<Vec<u8>> {
        request.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn requests_are_arrays_of_bulk_strings() {
        type Row = (&'static [u8], &'static [&'static str]);
        let table: [Row; 8] = [
            (b"*1\r\n$4\r\nPING\r\n", &["PING"]),
            (b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", &["ECHO "]),
            (b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nQUIT\r\n", &["PING", "QUIT"]),
            (b"*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n*0\r\n", &["PING"]),
            (b"*2\r\n$4\r\nECHO\r\n$6\r\na\r\nb\r\n\r\n", &["ECHO a\r\nb\r\n"]),
            (b"*1\r\n$4\r\nPING", &[]),
            (b"*1\r\n$4\r\nPING\r", &[]),
            (b"", &[]),
        ];
        for (bytes, expected) in table {
            let expected: Vec<_> = expected.iter().copied().map(words).collect();
            assert_eq!(requests(&[bytes], &BOUNDS), (expected, None), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_is_no_request_is_told_apart() {
        let endless = [b"*".as_slice(), &[b'1'; 70_000]].concat();
        let table: [(&[u8], RequestError); 17] = [
            (b"PING\r\n", RequestError::NotAnArray(b'P')),
            (b"POST / HTTP/1.1\r\n", RequestError::NotAnArray(b'P')),
            (b"\r\n", RequestError::NotAnArray(b'\r')),
            (b"*x\r\n", RequestError::ArrayLength),
            (b"*\r\n", RequestError::ArrayLength),
            (b"*5\r\n", RequestError::ArrayLength),
            (b"*99999999999999999999\r\n", RequestError::ArrayLength),
            (&endless, RequestError::ArrayLine),
            (b"*1\r\n:1\r\n", RequestError::NotABulk(b':')),
            (b"*1\r\n*1\r\n", RequestError::NotABulk(b'*')),
            (b"*1\r\n\r\n", RequestError::NotABulk(b'\r')),
            (b"*1\r\n$x\r\n", RequestError::BulkLength),
            (b"*1\r\n$-1\r\n", RequestError::BulkLength),
            (b"*1\r\n$21\r\n", RequestError::BulkLength),
            (b"*1\r\n$99999999999999999999\r\n", RequestError::BulkLength),
            (b"*1\r\n$4\r\nPING\r\n*x\r\n", RequestError::ArrayLength),
            (b"*4\r\n$20\r\n11111111111111111111\r\n$20\r\n11111111111111111111\r\n$20\r\n11111111111111111111\r\n$20\r\n", RequestError::TooLong),
        ];
        for (bytes, error) in table {
            assert_eq!(requests(&[bytes], &BOUNDS).1, Some(error), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn before_login_the_sentences_differ() {
        let bounds = RequestBounds { who: Who::NotLoggedIn, ..BOUNDS };
        let table: [(&[u8], RequestError); 3] = [
            (b"*5\r\n", RequestError::ArrayLengthNotLoggedIn),
            (b"*1\r\n$21\r\n", RequestError::BulkLengthNotLoggedIn),
            (b"*x\r\n", RequestError::ArrayLength),
        ];
        for (bytes, error) in table {
            assert_eq!(requests(&[bytes], &bounds), (vec![], Some(error)));
        }
    }

    #[test]
    fn empty_arrays_are_not_kept() {
        let mut kept = Requests::default();
        for _ in 0..1_000 {
            let mut input = b"*0\r\n*0\r\n*".as_slice();
            assert!(kept.next(&mut input, &BOUNDS).unwrap().is_none());
            let mut input = b"0\r\n".as_slice();
            assert!(kept.next(&mut input, &BOUNDS).unwrap().is_none());
            assert_eq!(kept.kept_bytes(), 0);
        }
    }

    #[test]
    fn a_large_argument_is_kept_once_and_let_go() {
        let bounds = RequestBounds { bulk_bytes: 1 << 20, request_bytes: 1 << 21, ..BOUNDS };
        let mut bytes = Vec::new();
        encode_command(&[b"ECHO", &vec![b'x'; 1 << 20]], &mut bytes);
        let mut requests = Requests::default();
        for piece in bytes[..bytes.len() - 1].chunks(1_000) {
            let mut input = piece;
            assert!(requests.next(&mut input, &bounds).unwrap().is_none());
        }
        assert_eq!(requests.kept_bytes(), bytes.len() - 1);
        let mut input = b"\n".as_slice();
        let arguments = requests.next(&mut input, &bounds).unwrap().unwrap();
        assert_eq!((arguments.count(), arguments.at(1).len()), (2, 1 << 20));
        assert!(requests.next(&mut input, &bounds).unwrap().is_none());
        assert!(requests.buffer.capacity() <= CAPACITY_KEPT);
    }

    proptest! {
        #[test]
        fn where_a_request_is_cut_does_not_matter(
            commands in prop::collection::vec(prop::collection::vec(".{0,20}", 1..4), 0..6),
            noise in prop::option::of(prop::collection::vec(any::<u8>(), 0..30)),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        ) {
            let bounds = RequestBounds { bulk_bytes: 80, request_bytes: 1_000, ..BOUNDS };
            let mut bytes = Vec::new();
            for command in &commands {
                let words: Vec<&[u8]> = command.iter().map(String::as_bytes).collect();
                encode_command(&words, &mut bytes);
            }
            bytes.extend(noise.iter().flatten());
            let whole = requests(&[&bytes], &bounds);
            let expected: Vec<Vec<Vec<u8>>> = commands
                .iter()
                .map(|command| command.iter().map(|word| word.as_bytes().to_vec()).collect())
                .collect();
            prop_assert_eq!(&whole.0[..commands.len()], &expected[..]);

            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(&requests(&single, &bounds), &whole);

            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.sort_unstable();
            let mut pieces = Vec::new();
            let mut start = 0;
            for end in at.into_iter().chain([bytes.len()]) {
                pieces.push(&bytes[start..end]);
                start = end;
            }
            prop_assert_eq!(&requests(&pieces, &bounds), &whole);
        }

        #[test]
        fn no_bytes_are_too_strange(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)) {
            let pieces: Vec<Vec<u8>> = pieces.into_iter().map(|piece| [b"*1\r\n$".as_slice(), &piece].concat()).collect();
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let _ = requests(&pieces, &BOUNDS);
        }
    }
}
