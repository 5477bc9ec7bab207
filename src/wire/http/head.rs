//! Request heads: from bytes as they arrive to what a request asks for, or to why it is refused.
//!
//! httparse tokenizes; what it lets through and we do not is refused on top of it: bare LF, leading empty lines, `#`
//! in a target, a second Host, any doubt about where the next request starts. Field values that matter are kept as
//! slices of the input; the rest is not looked at again.
//!
//! Incremental: a head is parsed once, when its blank line is there. [`parse_from`] looks only at bytes that it has
//! not seen, so a head that comes byte by byte costs one look at each byte. Cost: one pass for the blank line, one of
//! httparse; no allocation unless the path has escapes.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use smallvec::SmallVec;

use crate::base::limits::HEAD_FIELDS;
use crate::base::refusal::Refusal;
use crate::wire::http::accept;
use crate::wire::url;

/// What a request asks for.
#[derive(Debug, Clone)]
pub struct Head<'a> {
    pub method: Method,
    pub version: Version,
    /// Decoded; starts with `/`, or is `*` (OPTIONS only).
    pub path: Cow<'a, [u8]>,
    /// Behind the `?`, as it came; empty if there is none.
    pub query: &'a [u8],
    /// Whether the client lets the connection carry another request.
    pub keep_alive: bool,
    /// How many bytes of body follow the head; none if it did not say so, which means no body.
    pub content_length: Option<u64>,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Of an absolute-form target if it is one, else of the Host field; may be empty.
    pub host: Option<&'a [u8]>,
    pub origin: Option<&'a [u8]>,
    pub last_event_id: Option<&'a [u8]>,
    pub authorization: Option<&'a [u8]>,
    pub access_control_request_method: Option<&'a [u8]>,
    pub access_control_request_headers: Option<&'a [u8]>,
    /// The lines of the Accept field, in order.
    accept: SmallVec<[&'a [u8]; 2]>,
}

impl Head<'_> {
    /// Whether the client takes `kind/subtype`.
    pub fn accepts(&self, kind: &str, subtype: &str) -> bool {
        accept::accepts(&self.accept, kind, subtype)
    }

    /// Whether bytes that belong to this request follow its head.
    pub fn has_body(&self) -> bool {
        self.content_length.is_some_and(|length| length > 0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Options,
    Post,
    /// Any other well-formed method.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

/// Why there will be no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// To be answered with this refusal, and closed.
    Refused(Refusal),
    /// A TLS handshake: an answer would not be understood, so the connection is closed without one.
    Tls,
}

impl From<Refusal> for HeadError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The head at the front of `bytes` and its length; none if it is not complete yet.
pub fn parse(bytes: &[u8], head_bytes_max: usize) -> Result<Option<(Head<'_>, usize)>, HeadError> {
    parse_from(bytes, 0, head_bytes_max)
}

/// As [`parse`]; the first `seen` of the bytes were there at an earlier call that found the head incomplete.
pub fn parse_from(
    bytes: &[u8],
    seen: usize,
    head_bytes_max: usize,
) -> Result<Option<(Head<'_>, usize)>, HeadError> {
    refuse_other_protocols(bytes)?;
    let Some(length) = find_end(bytes, seen, head_bytes_max)? else { return Ok(None) };
    let head = parse_complete(&bytes[..length])?;
    Ok(Some((head, length)))
}

/// What is recognised by its first bytes, before any line ends.
fn refuse_other_protocols(bytes: &[u8]) -> Result<(), HeadError> {
    match bytes {
        // A TLS record of type handshake, version 3.x (RFC 8446, section 5.1).
        [0x16, 0x03, ..] => Err(HeadError::Tls),
        [] | [0x16] => Ok(()),
        // A request starts with its method, a token: no other first byte can become one, nor can an empty line.
        [first, ..] if is_token_byte(*first) => Ok(()),
        [..] => Err(Refusal::BadRequest.into()),
    }
}

/// The length of the head, by its blank line. Refuses at once what can no longer become a head.
fn find_end(bytes: &[u8], seen: usize, head_bytes_max: usize) -> Result<Option<usize>, HeadError> {
    let window = &bytes[..bytes.len().min(head_bytes_max)];
    // A line end that was cut in two by the last call starts up to three bytes before what is new.
    let from = seen.saturating_sub(3).min(window.len());
    for at in memchr::memchr_iter(b'\n', &window[from..]) {
        let before = &window[..from + at];
        if before.last() != Some(&b'\r') {
            return Err(Refusal::BadRequest.into());
        }
        if before.ends_with(b"\r\n\r") {
            return Ok(Some(before.len() + 1));
        }
    }
    if bytes.len() >= head_bytes_max { Err(Refusal::HeadTooLarge.into()) } else { Ok(None) }
}

fn parse_complete(bytes: &[u8]) -> Result<Head<'_>, Refusal> {
    let mut fields = [const { MaybeUninit::uninit() }; HEAD_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        // The blank line is there, so httparse either ends at it or finds a mistake; anything else is in doubt.
        Ok(httparse::Status::Complete(_) | httparse::Status::Partial) => return Err(Refusal::BadRequest),
        Err(error) => return Err(refusal_of(error, bytes)),
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Refusal::BadRequest);
    };
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "OPTIONS" => Method::Options,
        "POST" => Method::Post,
        _ => Method::Other,
    };
    let version = if version == 0 { Version::Http10 } else { Version::Http11 };
    let target = Target::parse(target, method)?;
    let mut fields = Fields::read(request.headers)?;
    if fields.hosts == 0 && version == Version::Http11 {
        return Err(Refusal::MissingHost);
    }
    let bodiless = matches!(method, Method::Get | Method::Head | Method::Options);
    if bodiless && fields.content_length.is_some_and(|length| length > 0) {
        return Err(Refusal::BodyNotAllowed);
    }
    // Absolute form overrides the field (RFC 9112, section 3.2.2).
    if target.authority.is_some() {
        fields.host = target.authority;
    }
    Ok(Head {
        method,
        version,
        path: url::decode(target.path),
        query: target.query,
        keep_alive: !fields.close && (version == Version::Http11 || fields.keep_alive),
        content_length: fields.content_length,
        expects_continue: fields.expects_continue && version == Version::Http11,
        host: fields.host,
        origin: fields.origin,
        last_event_id: fields.last_event_id,
        authorization: fields.authorization,
        access_control_request_method: fields.request_method,
        access_control_request_headers: fields.request_headers,
        accept: fields.accept,
    })
}

fn refusal_of(error: httparse::Error, bytes: &[u8]) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::HeadTooLarge,
        httparse::Error::Version if names_other_version(bytes) => Refusal::HttpVersion,
        httparse::Error::Version
        | httparse::Error::HeaderName
        | httparse::Error::HeaderValue
        | httparse::Error::NewLine
        | httparse::Error::Status
        | httparse::Error::Token => Refusal::BadRequest,
    }
}

/// Whether the request line is method, target and a version, as `PRI * HTTP/2.0` is, and that version is not ours.
fn names_other_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ');
    let version = words.nth(2).unwrap_or_default();
    let is_version = matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit());
    is_version && words.next().is_none() && version != b"HTTP/1.0" && version != b"HTTP/1.1"
}

/// The parts of a request target (RFC 9112, section 3.2).
struct Target<'a> {
    authority: Option<&'a [u8]>,
    path: &'a [u8],
    query: &'a [u8],
}

impl<'a> Target<'a> {
    fn parse(target: &'a str, method: Method) -> Result<Self, Refusal> {
        let target = target.as_bytes();
        if target.contains(&b'#') {
            return Err(Refusal::BadRequest);
        }
        match target {
            b"*" if method == Method::Options => Ok(Self { authority: None, path: target, query: &[] }),
            [b'/', ..] => Ok(Self::split(None, target)),
            [..] => Self::absolute(target),
        }
    }

    /// `http://authority/path?query`. An empty path is `/`.
    fn absolute(target: &'a [u8]) -> Result<Self, Refusal> {
        let scheme_end = target
            .windows(3)
            .position(|bytes| bytes == b"://")
            .filter(|&end| {
                target[..end].eq_ignore_ascii_case(b"http") || target[..end].eq_ignore_ascii_case(b"https")
            })
            .ok_or(Refusal::BadRequest)?;
        let rest = &target[scheme_end + 3..];
        let path_start = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_start);
        if authority.is_empty() || !is_host(authority) {
            return Err(Refusal::BadRequest);
        }
        Ok(Self::split(Some(authority), path))
    }

    fn split(authority: Option<&'a [u8]>, target: &'a [u8]) -> Self {
        let (path, query) = match memchr::memchr(b'?', target) {
            None => (target, &[][..]),
            Some(at) => (&target[..at], &target[at + 1..]),
        };
        Self { authority, path: if path.is_empty() { b"/" } else { path }, query }
    }
}

/// The fields that matter here, as they came.
#[derive(Default)]
struct Fields<'a> {
    hosts: usize,
    host: Option<&'a [u8]>,
    content_length: Option<u64>,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    origin: Option<&'a [u8]>,
    last_event_id: Option<&'a [u8]>,
    authorization: Option<&'a [u8]>,
    request_method: Option<&'a [u8]>,
    request_headers: Option<&'a [u8]>,
    accept: SmallVec<[&'a [u8]; 2]>,
}

impl<'a> Fields<'a> {
    fn read(headers: &[httparse::Header<'a>]) -> Result<Self, Refusal> {
        let mut fields = Self::default();
        for header in headers {
            fields.take(header.name, header.value.trim_ascii())?;
        }
        Ok(fields)
    }

    fn take(&mut self, name: &str, value: &'a [u8]) -> Result<(), Refusal> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        // The length tells most names apart, so that a field that does not matter costs one comparison.
        match name.len() {
            4 if is("host") => return self.take_host(value),
            6 if is("accept") => self.accept.push(value),
            6 if is("origin") => once(&mut self.origin, value)?,
            6 if is("expect") => self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            10 if is("connection") => self.take_connection(value),
            13 if is("last-event-id") => self.last_event_id = Some(value),
            13 if is("authorization") => once(&mut self.authorization, value)?,
            14 if is("content-length") => return self.take_content_length(value),
            17 if is("transfer-encoding") => return Err(Refusal::TransferEncoding),
            29 if is("access-control-request-method") => self.request_method = Some(value),
            30 if is("access-control-request-headers") => self.request_headers = Some(value),
            _ => {}
        }
        Ok(())
    }

    fn take_host(&mut self, value: &'a [u8]) -> Result<(), Refusal> {
        self.hosts += 1;
        if self.hosts > 1 {
            return Err(Refusal::MissingHost);
        }
        if !is_host(value) {
            return Err(Refusal::BadRequest);
        }
        self.host = Some(value);
        Ok(())
    }

    fn take_connection(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// Digits only, once: `parse` would take a plus sign, and a list of equal lengths is a sign of smuggling.
    fn take_content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.content_length.is_some() || value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(Refusal::BadContentLength);
        }
        let digits = std::str::from_utf8(value).map_err(|_| Refusal::BadContentLength)?;
        self.content_length = Some(digits.parse().map_err(|_| Refusal::BadContentLength)?);
        Ok(())
    }
}

/// A field that decides something and must not be there twice.
fn once<'a>(field: &mut Option<&'a [u8]>, value: &'a [u8]) -> Result<(), Refusal> {
    if field.replace(value).is_some() { Err(Refusal::BadRequest) } else { Ok(()) }
}

/// Whether the bytes can be a host and port (RFC 3986, section 3.2), without user information. Empty is allowed:
/// a client sends an empty Host for a target that has no authority.
fn is_host(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(byte))
}

/// RFC 9110, section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 8_192;

    fn head(bytes: &str) -> Head<'_> {
        let (head, length) = parse(bytes.as_bytes(), MAX).unwrap().expect("the head is complete");
        assert_eq!(length, bytes.len());
        head
    }

    fn refusal(bytes: impl AsRef<[u8]>) -> Refusal {
        match parse(bytes.as_ref(), MAX) {
            Err(HeadError::Refused(refusal)) => refusal,
            other => panic!("{:?} became {other:?}", String::from_utf8_lossy(bytes.as_ref())),
        }
    }

    /// What a driver sees when the bytes come in pieces.
    fn parse_in_pieces(bytes: &[u8], cuts: impl Iterator<Item = usize>) -> String {
        let mut seen = 0;
        for cut in cuts.chain([bytes.len()]) {
            match parse_from(&bytes[..cut], seen, MAX) {
                Ok(None) => seen = cut,
                outcome => return format!("{outcome:?}"),
            }
        }
        "incomplete".to_owned()
    }

    const BROWSER: &str = "GET /events?channel=news HTTP/1.1\r\nHost: localhost:8080\r\nConnection: keep-alive\r\n\
        Accept: text/event-stream\r\nOrigin: https://example.org\r\nLast-Event-ID: a.5\r\n\
        Cache-Control: no-cache\r\nAuthorization: Bearer x\r\n\r\n";

    #[test]
    fn a_browsers_request_is_read() {
        let head = head(BROWSER);
        assert_eq!((head.method, head.version, head.keep_alive), (Method::Get, Version::Http11, true));
        assert_eq!((&*head.path, head.query), (&b"/events"[..], &b"channel=news"[..]));
        assert_eq!(head.host, Some(&b"localhost:8080"[..]));
        assert_eq!(head.origin, Some(&b"https://example.org"[..]));
        assert_eq!(head.last_event_id, Some(&b"a.5"[..]));
        assert_eq!(head.authorization, Some(&b"Bearer x"[..]));
        assert!(head.accepts("text", "event-stream") && !head.accepts("text", "html"));
        assert_eq!(head.content_length, None);
    }

    #[test]
    fn field_names_are_of_any_case_and_white_space_around_values_is_none_of_them() {
        let head = head("GET / HTTP/1.1\r\nhOsT:\t a \t\r\nLAST-EVENT-ID:x\r\nAccept:\r\n\r\n");
        assert_eq!((head.host, head.last_event_id), (Some(&b"a"[..]), Some(&b"x"[..])));
        assert!(head.accepts("text", "event-stream"));
    }

    #[test]
    fn a_head_may_be_cut_at_any_byte() {
        let bytes = BROWSER.as_bytes();
        let whole = parse_in_pieces(bytes, std::iter::empty());
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut], MAX).unwrap().map(|(_, length)| length), None, "{cut}");
            assert_eq!(parse_in_pieces(bytes, [cut].into_iter()), whole, "{cut}");
        }
        assert_eq!(parse_in_pieces(bytes, 0..bytes.len()), whole);
    }

    #[test]
    fn what_follows_a_head_is_left_to_the_next() {
        let two = "GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n";
        let (first, length) = parse(two.as_bytes(), MAX).unwrap().unwrap();
        assert_eq!(&*first.path, b"/a");
        assert_eq!(&*head(&two[length..]).path, b"/b");
    }

    #[test]
    fn targets_are_of_origin_form_absolute_form_or_a_star() {
        for (target, host, path, query) in [
            ("/", "field", "/", ""),
            ("/a?", "field", "/a", ""),
            ("/a?b=%20?c", "field", "/a", "b=%20?c"),
            ("/%65vents?channel=%c3%bc", "field", "/events", "channel=%c3%bc"),
            ("/ü", "field", "/ü", ""),
            ("//a/b", "field", "//a/b", ""),
            ("http://target:80/a?b", "target:80", "/a", "b"),
            ("HTTPS://target", "target", "/", ""),
            ("http://target?b", "target", "/", "b"),
            ("http://[::1]:8080/a", "[::1]:8080", "/a", ""),
        ] {
            let bytes = format!("GET {target} HTTP/1.1\r\nHost: field\r\n\r\n");
            let head = head(&bytes);
            assert_eq!(head.host, Some(host.as_bytes()), "{target}");
            assert_eq!(String::from_utf8_lossy(&head.path), path, "{target}");
            assert_eq!(head.query, query.as_bytes(), "{target}");
        }
        assert_eq!(&*head("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").path, b"*");
        for target in [
            "*",
            "a",
            "a:80",
            "/a#b",
            "ftp://a/",
            "://a/",
            "http:///a",
            "http://u@a/",
            "http://a b/",
            "/\x01",
        ] {
            let bytes = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(refusal(&bytes), Refusal::BadRequest, "{target}");
        }
        assert_eq!(refusal("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"), Refusal::BadRequest);
        assert_eq!(refusal(b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n"), Refusal::BadRequest);
    }

    #[test]
    fn methods_are_of_one_case() {
        for (word, method) in [
            ("GET", Method::Get),
            ("HEAD", Method::Head),
            ("OPTIONS", Method::Options),
            ("POST", Method::Post),
            ("get", Method::Other),
            ("DELETE", Method::Other),
            ("M-SEARCH", Method::Other),
        ] {
            assert_eq!(head(&format!("{word} / HTTP/1.1\r\nHost: a\r\n\r\n")).method, method);
        }
    }

    #[test]
    fn a_connection_is_kept_as_version_and_connection_field_say() {
        for (version, fields, keep_alive) in [
            ("1.1", "", true),
            ("1.1", "Connection: Keep-Alive\r\n", true),
            ("1.1", "Connection: close\r\n", false),
            ("1.1", "Connection: keep-alive, Close\r\n", false),
            ("1.1", "Connection: upgrade\r\nConnection: close\r\n", false),
            ("1.0", "", false),
            ("1.0", "Connection: keep-alive\r\n", true),
            ("1.0", "Connection: keep-alive, close\r\n", false),
        ] {
            let bytes = format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
            assert_eq!(head(&bytes).keep_alive, keep_alive, "{version} {fields}");
        }
        assert_eq!(head("GET / HTTP/1.0\r\n\r\n").host, None);
    }

    #[test]
    fn a_body_is_of_a_stated_length_and_not_on_a_get() {
        let post = head("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n");
        assert_eq!(post.content_length, Some(5));
        assert!(post.has_body() && post.expects_continue);
        assert!(!head("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").has_body());
        for method in ["GET", "HEAD", "OPTIONS"] {
            let bytes = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
            assert_eq!(refusal(&bytes), Refusal::BodyNotAllowed);
        }
        for coding in ["chunked", "identity", "", "xchunked, chunked"] {
            let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n");
            assert_eq!(refusal(&bytes), Refusal::TransferEncoding, "{coding}");
        }
        for length in ["", "+5", "-5", "5, 5", "0x5", "5 5", "99999999999999999999", "5\r\nContent-Length: 5"]
        {
            let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
            assert_eq!(refusal(&bytes), Refusal::BadContentLength, "{length}");
        }
    }

    #[test]
    fn hosts_are_named_once() {
        assert_eq!(refusal("GET / HTTP/1.1\r\n\r\n"), Refusal::MissingHost);
        assert_eq!(refusal("GET http://a/ HTTP/1.1\r\n\r\n"), Refusal::MissingHost);
        for version in ["1.0", "1.1"] {
            let bytes = format!("GET / HTTP/{version}\r\nHost: a\r\nHost: a\r\n\r\n");
            assert_eq!(refusal(&bytes), Refusal::MissingHost);
        }
        for host in ["a/b", "a b", "u@a", "a\\b", "ü", "a?b"] {
            let bytes = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(refusal(&bytes), Refusal::BadRequest, "{host}");
        }
        assert_eq!(head("GET / HTTP/1.1\r\nHost:\r\n\r\n").host, Some(&b""[..]));
    }

    #[test]
    fn other_versions_are_told_apart_from_garbage() {
        for line in ["PRI * HTTP/2.0", "GET / HTTP/2.0", "GET / HTTP/1.2", "GET / HTTP/0.9"] {
            assert_eq!(refusal(format!("{line}\r\n\r\nSM\r\n\r\n")), Refusal::HttpVersion, "{line}");
        }
        for line in ["GET / HTP/1.1", "GET / http/1.1", "GET /", "GET", "GET  / HTTP/1.1", "GET / HTTP/1.1 "]
        {
            assert_eq!(refusal(format!("{line}\r\nHost: a\r\n\r\n")), Refusal::BadRequest, "{line:?}");
        }
    }

    /// httparse takes the first three of these: the checks on top of it must stay.
    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for bytes in [
            &b"GET / HTTP/1.1\nHost: a\n\n"[..],
            b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\n",
            b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\rHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\tb: c\r\n\r\n",
            b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nb: \0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nb: \x7f\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nb\xff: c\r\n\r\n",
            b"GET\0 / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: b\r\nOrigin: c\r\n\r\n",
            b"\x80\x2e\x01",
            b"\0",
            b"{\"a\":1}",
        ] {
            assert_eq!(refusal(bytes), Refusal::BadRequest, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_bare_line_feed_is_refused_as_soon_as_it_comes() {
        assert_eq!(refusal("GET / HTTP/1.1\n"), Refusal::BadRequest);
    }

    #[test]
    fn a_head_is_bounded_in_bytes_and_in_fields() {
        let padded = |length: usize| {
            let frame = "GET / HTTP/1.1\r\nHost: a\r\nCookie: \r\n\r\n".len();
            format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {}\r\n\r\n", "c".repeat(length - frame))
        };
        head(&padded(MAX));
        assert_eq!(refusal(padded(MAX + 1)), Refusal::HeadTooLarge);
        assert_eq!(refusal(&padded(MAX + 1)[..MAX]), Refusal::HeadTooLarge);
        assert!(parse(&padded(MAX).as_bytes()[..MAX - 1], MAX).unwrap().is_none());
        // A body behind a head does not count.
        let posted = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {MAX}\r\n\r\n");
        let bytes = posted.clone() + &"b".repeat(MAX);
        assert_eq!(parse(bytes.as_bytes(), MAX).unwrap().unwrap().1, posted.len());

        let many =
            |fields: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "b: c\r\n".repeat(fields - 1));
        head(&many(HEAD_FIELDS));
        assert_eq!(refusal(many(HEAD_FIELDS + 1)), Refusal::HeadTooLarge);
    }

    #[test]
    fn a_tls_handshake_is_recognised_by_its_first_two_bytes() {
        assert!(parse(b"\x16", MAX).unwrap().is_none());
        assert_eq!(parse(b"\x16\x03\x01\x02\x00\x01", MAX).unwrap_err(), HeadError::Tls);
        assert_eq!(refusal(b"\x16\x04"), Refusal::BadRequest);
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_come_to_the_same_end(
            pieces in prop::collection::vec(
                prop_oneof![
                    Just(b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec()),
                    Just(b"\r\n".to_vec()),
                    Just(b"\n".to_vec()),
                    Just(b"Content-Length: 3\r\n".to_vec()),
                    Just(b"\x16\x03".to_vec()),
                    Just(vec![b'a'; 3_000]),
                    prop::collection::vec(any::<u8>(), 0..20),
                ],
                0..8,
            )
        ) {
            let bytes = pieces.concat();
            let mut end = 0;
            let cuts: Vec<usize> = pieces.iter().map(|piece| { end += piece.len(); end }).collect();
            let whole = parse_in_pieces(&bytes, std::iter::empty());
            prop_assert_eq!(parse_in_pieces(&bytes, cuts.into_iter()), whole.clone());
            prop_assert_eq!(parse_in_pieces(&bytes, 0..bytes.len()), whole);
        }
    }
}
