//! Complete answers: what of a request decides how its answer is put, and the bodies of refusals.

use std::time::Duration;

use crate::base::refusal::{After, Refusal};
use crate::protocol::cors;
use crate::protocol::site::Site;
use crate::wire::http::{self, Connection, Head, Method, Response, Version};
use crate::wire::sse;

/// A complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub bytes: Vec<u8>,
    pub after: After,
    /// Why, if it is a refusal; to be counted.
    pub refusal: Option<Refusal>,
}

/// What of a request its answer depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exchange {
    version: Version,
    head_only: bool,
    /// What happens after an answer that is not itself a reason to close.
    after: After,
    /// Whole field lines.
    cors: Vec<u8>,
}

/// An answer before it is put into the form that the request asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reply<'a> {
    pub(super) status: u16,
    pub(super) content_type: Option<&'a str>,
    /// Whole field lines.
    pub(super) fields: &'a [u8],
    pub(super) body: &'a [u8],
}

impl Exchange {
    /// A request on the web side, where pages of other origins may ask.
    pub(super) fn web(head: &Head<'_>, site: &Site) -> Self {
        Self { cors: cors::fields(site, head.origin), ..Self::local(head) }
    }

    /// A request on a side that is not for pages.
    pub(super) fn local(head: &Head<'_>) -> Self {
        // A body that nobody reads would be taken for the next request.
        let after = if head.keep_alive && !head.has_body() { After::Keep } else { After::Close };
        Self { version: head.version, head_only: head.method == Method::Head, after, cors: Vec::new() }
    }

    /// No request that could be read.
    pub(super) fn closing(cors: Vec<u8>) -> Self {
        Self { version: Version::Http11, head_only: false, after: After::Close, cors }
    }

    /// The same request, once its body has been read.
    pub(super) fn with_body_read(&self, head: &Head<'_>) -> Self {
        let after = if head.keep_alive { After::Keep } else { After::Close };
        Self { after, ..self.clone() }
    }

    /// The same request, if its body will not be read.
    pub(super) fn before_body(&self) -> Self {
        Self { after: After::Close, ..self.clone() }
    }

    /// Whole field lines.
    pub(super) fn cors(&self) -> &[u8] {
        &self.cors
    }

    pub(super) fn is_head_only(&self) -> bool {
        self.head_only
    }

    pub(super) fn answer(&self, reply: &Reply<'_>) -> Answer {
        self.encode(reply, self.after, None)
    }

    pub(super) fn refuse(&self, refusal: Refusal) -> Answer {
        self.refuse_with(refusal, refusal.detail())
    }

    /// A refusal with a sentence that fits the resource better than the table's.
    pub(super) fn refuse_with(&self, refusal: Refusal, detail: &str) -> Answer {
        self.problem(refusal, detail, &[])
    }

    /// The refusal of a method, with those that the resource takes.
    pub(super) fn refuse_method(&self, methods: &str) -> Answer {
        let mut fields = Vec::new();
        http::field("Allow", methods, &mut fields);
        self.problem(Refusal::MethodNotAllowed, Refusal::MethodNotAllowed.detail(), &fields)
    }

    /// A refusal of what may be had later, with when to ask again.
    pub(super) fn refuse_for_now(&self, refusal: Refusal, retry: Duration) -> Answer {
        self.refuse_for_now_with(refusal, retry, refusal.detail())
    }

    pub(super) fn refuse_for_now_with(&self, refusal: Refusal, retry: Duration, detail: &str) -> Answer {
        let mut fields = Vec::new();
        let seconds = retry.as_millis().div_ceil(1_000);
        http::field("Retry-After", &seconds.to_string(), &mut fields);
        self.problem(refusal, detail, &fields)
    }

    /// The answer to OPTIONS, preflight or not.
    pub(super) fn preflight(&self, methods: &str) -> Answer {
        let mut fields = Vec::new();
        http::field("Allow", methods, &mut fields);
        if !self.cors.is_empty() {
            cors::preflight_fields(methods, &mut fields);
        }
        self.answer(&Reply { status: 204, content_type: None, fields: &fields, body: &[] })
    }

    /// The head of a stream.
    pub(super) fn stream_head(&self) -> Vec<u8> {
        let mut fields = Vec::with_capacity(128 + self.cors.len());
        // No store may keep what has no end, no proxy may compress or buffer it; nginx listens to the second line.
        http::field("Cache-Control", "no-store, no-transform", &mut fields);
        http::field("X-Accel-Buffering", "no", &mut fields);
        fields.extend_from_slice(&self.cors);
        http::encode_stream_head("text/event-stream; charset=utf-8", &fields)
    }

    fn problem(&self, refusal: Refusal, detail: &str, fields: &[u8]) -> Answer {
        let body = problem_body(refusal, detail);
        let mut fields = [fields, b"Cache-Control: no-store\r\n"].concat();
        if let Some(challenge) = refusal.challenge() {
            http::field("WWW-Authenticate", challenge, &mut fields);
        }
        let after = match refusal.after() {
            After::Keep => self.after,
            After::Close => After::Close,
        };
        let content_type = Some("application/problem+json");
        let reply = Reply { status: refusal.status(), content_type, fields: &fields, body: &body };
        self.encode(&reply, after, Some(refusal))
    }

    fn encode(&self, reply: &Reply<'_>, after: After, refusal: Option<Refusal>) -> Answer {
        let connection = match after {
            After::Keep => Connection::Keep(self.version),
            After::Close => Connection::Close,
        };
        let bytes = http::encode(&Response {
            status: reply.status,
            content_type: reply.content_type,
            fields: &[&self.cors, reply.fields].concat(),
            body: reply.body,
            head_only: self.head_only,
            connection,
        });
        Answer { bytes, after, refusal }
    }
}

/// RFC 9457. The type is `about:blank`: what tells refusals apart is the member `code`.
fn problem_body(refusal: Refusal, detail: &str) -> Vec<u8> {
    let mut body = b"{\"type\":\"about:blank\",\"title\":".to_vec();
    sse::json_string(http::reason(refusal.status()), &mut body);
    body.extend_from_slice(format!(",\"status\":{},\"code\":", refusal.status()).as_bytes());
    sse::json_string(refusal.code(), &mut body);
    body.extend_from_slice(b",\"detail\":");
    sse::json_string(detail, &mut body);
    body.extend_from_slice(b"}\n");
    body
}
