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

use crate::base::limits::{HEAD_FIELDS, HEAD_FIELDS_MAX};
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
    /// What a browser says of the page that asks (W3C Fetch Metadata): `same-origin`, `same-site`, `cross-site` or `none`.
    pub sec_fetch_site: Option<&'a [u8]>,
    pub last_event_id: Option<&'a [u8]>,
    pub authorization: Option<&'a [u8]>,
    /// The first, if there are several.
    pub content_type: Option<&'a [u8]>,
    /// The lines of the Cookie field, in order.
    pub cookies: SmallVec<[&'a [u8]; 1]>,
    /// The lines of the fields in which proxies say for whom they ask, in order.
    pub x_forwarded_for: SmallVec<[&'a [u8]; 1]>,
    pub forwarded: SmallVec<[&'a [u8]; 1]>,
    pub access_control_request_method: Option<&'a [u8]>,
    pub access_control_request_headers: Option<&'a [u8]>,
    /// All field lines as they came, each with its line end; see [`values`].
    pub fields: &'a [u8],
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

/// How long a head may be. Beyond: 431.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadBounds {
    pub bytes: usize,
    /// At most [`HEAD_FIELDS_MAX`].
    pub fields: usize,
}

impl HeadBounds {
    /// So many bytes, and as many fields as usual.
    pub const fn of(bytes: usize) -> Self {
        Self { bytes, fields: HEAD_FIELDS }
    }
}

/// The head at the front of `bytes` and its length; none if it is not complete yet.
pub fn parse(bytes: &[u8], head_bytes_max: usize) -> Result<Option<(Head<'_>, usize)>, HeadError> {
    parse_from(bytes, 0, HeadBounds::of(head_bytes_max))
}

/// As [`parse`]; the first `seen` of the bytes were there at an earlier call that found the head incomplete.
pub fn parse_from(
    bytes: &[u8],
    seen: usize,
    bounds: HeadBounds,
) -> Result<Option<(Head<'_>, usize)>, HeadError> {
    refuse_other_protocols(bytes)?;
    let Some(length) = find_end(bytes, seen, bounds.bytes)? else { return Ok(None) };
    let head = parse_complete(&bytes[..length], bounds.fields)?;
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

fn parse_complete(bytes: &[u8], fields_max: usize) -> Result<Head<'_>, Refusal> {
    let mut fields = [const { MaybeUninit::uninit() }; HEAD_FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut fields[..fields_max]) {
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
        sec_fetch_site: fields.sec_fetch_site,
        last_event_id: fields.last_event_id,
        authorization: fields.authorization,
        content_type: fields.content_type,
        cookies: fields.cookies,
        x_forwarded_for: fields.x_forwarded_for,
        forwarded: fields.forwarded,
        access_control_request_method: fields.request_method,
        access_control_request_headers: fields.request_headers,
        fields: behind_first_line(bytes),
        accept: fields.accept,
    })
}

/// The values of the lines of this field, in order; what [`parse`] has taken as a head has every field on one line. For
/// fields that matter to few requests: looks at every line, each time.
pub fn values<'a>(fields: &'a [u8], name: &str) -> impl Iterator<Item = &'a [u8]> {
    let lines = fields.split(|&byte| byte == b'\n');
    lines.filter_map(move |line| {
        let (field, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        field.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
    })
}

fn behind_first_line(head: &[u8]) -> &[u8] {
    let line = memchr::memchr(b'\n', head).map_or(head.len(), |at| at + 1);
    &head[line..]
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
    sec_fetch_site: Option<&'a [u8]>,
    last_event_id: Option<&'a [u8]>,
    authorization: Option<&'a [u8]>,
    content_type: Option<&'a [u8]>,
    cookies: SmallVec<[&'a [u8]; 1]>,
    x_forwarded_for: SmallVec<[&'a [u8]; 1]>,
    forwarded: SmallVec<[&'a [u8]; 1]>,
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
            6 if is("cookie") => self.cookies.push(value),
            6 if is("accept") => self.accept.push(value),
            6 if is("origin") => once(&mut self.origin, value)?,
            6 if is("expect") => self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            9 if is("forwarded") => self.forwarded.push(value),
            15 if is("x-forwarded-for") => self.x_forwarded_for.push(value),
            10 if is("connection") => self.take_connection(value),
            12 if is("content-type") => self.content_type = self.content_type.or(Some(value)),
            13 if is("last-event-id") => self.last_event_id = Some(value),
            13 if is("authorization") => once(&mut self.authorization, value)?,
            14 if is("content-length") => return self.take_content_length(value),
            14 if is("sec-fetch-site") => self.sec_fetch_site = Some(value),
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
mod tests;
