//! What a request gets: a stream, a complete answer, a publish, or a page of the admin side.
//!
//! One decision a request, from its head alone: no I/O, no clock, no subscription. The answers are whole: a caller
//! sends the bytes and does with the connection what `after` says. Order of the checks: path, method, origin, Accept,
//! parameters, channels. A refusal never says whether a channel exists.

use std::time::Duration;

use smallvec::SmallVec;

use crate::access::{AllowedOrigins, Credentials, Gate, Grant, Proxies, Questions, Right, Verdict};
use crate::base::channel::{ChannelMode, ChannelName};
use crate::base::peer::Peer;
use crate::base::position::{Epoch, Start};
use crate::base::refusal::{After, Refusal};
use crate::base::secret::Secret;
use crate::base::socket::{Arrival, Listener};
use crate::base::time::UnixTime;
use crate::protocol::WireFormat;
use crate::protocol::admin::{AdminPage, SLOW_DEFAULT, SLOW_MAX};
use crate::protocol::answer::{Exchange, Reply};
use crate::protocol::cors;
use crate::protocol::inquiry::{Inquiry, Wanted};
use crate::protocol::publish::{self, PublishRequest};
use crate::wire::http::{Head, Method};
use crate::wire::url;

pub use crate::protocol::answer::Answer;

/// What this server serves, and to whom. The same for every shard.
#[derive(Debug, Clone)]
pub struct Site {
    pub gate: Gate,
    pub origins: AllowedOrigins,
    /// Whether cookies count in requests of pages of listed origins, and those pages may read the answers.
    pub allow_credentials: bool,
    /// Who may say for whom it asks.
    pub proxies: Proxies,
    /// The most channels of one stream.
    pub channels_per_connection: usize,
    /// Whether the demo page exists; and `/publish`, for nobody but it.
    pub try_out: bool,
    /// Who shows it may publish on the admin side.
    pub admin_token: Option<Secret>,
    pub demo_page: &'static [u8],
    /// The longest body of a publish, in bytes.
    pub publish_limit: usize,
    /// How soon a client is told to reconnect, before jitter.
    pub retry: Duration,
    pub shedding: Shedding,
}

/// What to do with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Subscribe, send the head, stream.
    Stream(Opening),
    /// Send the head of the stream that would begin, and nothing behind it.
    Head(Opening),
    /// Send this.
    Answer(Answer),
    /// Read the body, publish, send the answer that the request makes of the outcome.
    Publish(PublishRequest),
    /// Ask the application, then go on as the inquiry says.
    Ask(Box<Inquiry>),
    /// Have the page rendered, send the answer that the request makes of it.
    Admin(AdminRequest),
}

/// A stream that may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// At least one, each once, in the request's order.
    pub channels: Vec<(ChannelName, ChannelMode)>,
    pub format: WireFormat,
    pub start: Start,
    pub grant: Grant,
    /// Who asked; behind a trusted proxy the one that it names.
    pub client: Peer,
    /// The complete response head.
    pub head: Vec<u8>,
    /// What of it lets pages of other origins read an answer.
    pub cors: Vec<u8>,
    /// How the stream is refused if it cannot be served now; none: by its head, a time to come back, and its end.
    pub busy: Option<Box<Busy>>,
}

/// The refusal of a stream that cannot be served now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Busy(Exchange);

/// What a client gets whose stream cannot be served now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shedding {
    /// A stream that ends at once and says when to come back: what an EventSource obeys.
    Retry,
    /// 503 with Retry-After: what other clients and balancers obey, and what an EventSource gives up on.
    Unavailable,
}

/// A page of the admin side that may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminRequest {
    pub page: AdminPage,
    exchange: Exchange,
}

impl Site {
    /// What this request gets.
    pub fn decide(&self, arrival: Arrival, head: &Head<'_>, epoch: Epoch, now: UnixTime) -> Decision {
        match arrival.listener {
            Listener::Web => self.decide_web(arrival.peer, head, epoch, now),
            Listener::Admin => self.decide_admin(head),
            // No HTTP is spoken there; whoever asks all the same finds nothing.
            Listener::Broker => Decision::Answer(Exchange::local(head).refuse(Refusal::NotFound)),
        }
    }

    /// The answer to a head that never became one: malformed, too large, too late.
    pub fn refuse(&self, side: Listener, refusal: Refusal) -> Answer {
        let cors = match side {
            Listener::Web => cors::fields(self, None),
            Listener::Admin | Listener::Broker => Vec::new(),
        };
        Exchange::closing(cors).refuse(refusal)
    }

    fn decide_web(&self, peer: Peer, head: &Head<'_>, epoch: Epoch, now: UnixTime) -> Decision {
        let credentials = self.credentials(peer, head);
        let exchange = Exchange::web(head, self);
        match &*head.path {
            EVENTS => match head.method {
                Method::Get | Method::Head => match self.open(head, &credentials, epoch, now, &exchange) {
                    Ok((opening, questions)) => {
                        let wanted = match head.method {
                            Method::Get => Wanted::Stream(opening),
                            _ => Wanted::Head(opening),
                        };
                        match questions {
                            Some(questions) => Decision::Ask(Box::new(Inquiry::new(
                                questions,
                                wanted,
                                &credentials,
                                exchange,
                            ))),
                            None => wanted.get(),
                        }
                    }
                    Err(refusal) => Decision::Answer(exchange.refuse(refusal)),
                },
                Method::Options => Decision::Answer(exchange.preflight(EVENTS_METHODS)),
                Method::Post | Method::Other => Decision::Answer(exchange.refuse_method(EVENTS_METHODS)),
            },
            b"/" if self.try_out => match head.method {
                Method::Get | Method::Head => Decision::Answer(self.demo_page(&exchange)),
                Method::Options => Decision::Answer(exchange.preflight(PAGE_METHODS)),
                Method::Post | Method::Other => Decision::Answer(exchange.refuse_method(PAGE_METHODS)),
            },
            PUBLISH if self.takes_messages() => match head.method {
                Method::Post => publish::decide(self, head, &credentials, now, &exchange)
                    .map_or_else(Decision::Answer, Decision::Publish),
                Method::Options => Decision::Answer(exchange.preflight(PUBLISH_METHODS)),
                Method::Get | Method::Head | Method::Other => {
                    Decision::Answer(exchange.refuse_method(PUBLISH_METHODS))
                }
            },
            b"*" => Decision::Answer(exchange.preflight(ALL_METHODS)),
            _ if self.try_out => Decision::Answer(exchange.refuse_with(Refusal::NotFound, NOT_FOUND_TRY_OUT)),
            _ => Decision::Answer(exchange.refuse(Refusal::NotFound)),
        }
    }

    fn decide_admin(&self, head: &Head<'_>) -> Decision {
        let exchange = Exchange::local(head);
        let page = match &*head.path {
            b"/metrics" => AdminPage::Metrics,
            b"/livez" => AdminPage::Live,
            b"/readyz" | b"/healthz" => AdminPage::Ready,
            b"/stats" => AdminPage::Stats,
            b"/slow" => match limit(head.query) {
                Some(limit) => AdminPage::Slow { limit },
                None => return Decision::Answer(exchange.refuse_with(Refusal::BadParameter, BAD_LIMIT)),
            },
            PUBLISH => {
                return match head.method {
                    Method::Post => publish::decide_admin(self, head, &exchange)
                        .map_or_else(Decision::Answer, Decision::Publish),
                    Method::Options => Decision::Answer(exchange.preflight(PUBLISH_METHODS)),
                    Method::Get | Method::Head | Method::Other => {
                        Decision::Answer(exchange.refuse_method(PUBLISH_METHODS))
                    }
                };
            }
            b"*" => return Decision::Answer(exchange.preflight(ALL_METHODS)),
            _ => return Decision::Answer(exchange.refuse_with(Refusal::NotFound, NOT_FOUND_ADMIN)),
        };
        match head.method {
            Method::Get | Method::Head => Decision::Admin(AdminRequest { page, exchange }),
            Method::Options => Decision::Answer(exchange.preflight(PAGE_METHODS)),
            Method::Post | Method::Other => Decision::Answer(exchange.refuse_method(PAGE_METHODS)),
        }
    }

    /// Whether anybody may publish on the web side.
    fn takes_messages(&self) -> bool {
        self.try_out || self.gate.rules.rows().iter().any(|rule| !rule.publish.ways().is_empty())
    }

    /// A stream that may begin after all checks, if the application, should it be asked, says so too.
    fn open(
        &self,
        head: &Head<'_>,
        credentials: &Credentials<'_>,
        epoch: Epoch,
        now: UnixTime,
        exchange: &Exchange,
    ) -> Result<(Opening, Option<Questions>), Refusal> {
        if !cors::is_allowed(&self.origins, head) {
            return Err(Refusal::OriginNotAllowed);
        }
        if !head.accepts("text", "event-stream") {
            return Err(Refusal::NotAcceptable);
        }
        let parameters = Parameters::read(head, epoch, self.channels_per_connection)?;
        let verdict = self.gate.decide(Right::Subscribe, &parameters.names, credentials, now);
        let (grant, questions) = match verdict {
            Verdict::Granted(grant) => (grant, None),
            Verdict::Ask(questions) => (questions.granted.clone(), Some(questions)),
            Verdict::Refused(refusal) => return Err(refusal),
        };
        let mode = |name: ChannelName| {
            let mode = self.gate.rules.mode(&name);
            (name, mode)
        };
        let opening = Opening {
            channels: parameters.names.into_iter().map(mode).collect(),
            format: parameters.format,
            start: parameters.start,
            grant,
            client: credentials.client,
            head: exchange.stream_head(),
            cors: exchange.cors().to_vec(),
            busy: match self.shedding {
                Shedding::Retry => None,
                Shedding::Unavailable => Some(Box::new(Busy(exchange.clone()))),
            },
        };
        Ok((opening, questions))
    }

    /// What the request shows to get in.
    fn credentials<'a>(&self, peer: Peer, head: &Head<'a>) -> Credentials<'a> {
        let Head { authorization, query, fields, ref cookies, .. } = *head;
        let is_trusted = cookies.is_empty() || cors::may_use_cookies(self, head);
        Credentials {
            authorization,
            cookies: if is_trusted { cookies.clone() } else { SmallVec::new() },
            cookies_withheld: !is_trusted,
            query,
            fields,
            client: self.proxies.client(peer, head),
        }
    }

    fn demo_page(&self, exchange: &Exchange) -> Answer {
        let fields =
            b"Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n";
        exchange.answer(&Reply {
            status: 200,
            content_type: Some("text/html; charset=utf-8"),
            fields,
            body: self.demo_page,
        })
    }
}

impl Opening {
    /// The complete answer to HEAD.
    pub fn head_alone(self) -> Answer {
        Answer { bytes: self.head, after: After::Close, refusal: None }
    }

    /// The complete answer that makes an EventSource stop for good: nothing is to be had here.
    pub fn stop(&self) -> Answer {
        let fields = b"Cache-Control: no-store\r\n";
        let reply = Reply { status: 204, content_type: None, fields, body: &[] };
        Exchange::closing(self.cors.clone()).answer(&reply)
    }
}

impl Busy {
    /// The complete answer; the time to come back is rounded up to whole seconds.
    pub fn answer(&self, retry: Duration) -> Answer {
        self.0.refuse_for_now(Refusal::Busy, retry)
    }
}

impl AdminRequest {
    /// Whether the answer is sent without its body, as to HEAD.
    pub fn is_head_only(&self) -> bool {
        self.exchange.is_head_only()
    }

    /// The complete answer, once the page is rendered.
    pub fn answer(&self, status: u16, content_type: &str, body: &[u8]) -> Answer {
        let fields = b"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";
        self.exchange.answer(&Reply { status, content_type: Some(content_type), fields, body })
    }
}

/// How many slow readers a request wants to see.
fn limit(query: &[u8]) -> Option<u16> {
    let mut limit = SLOW_DEFAULT;
    for (name, value) in url::pairs(query) {
        if &*name == b"limit" {
            let wanted = count(&value).ok().and_then(|wanted| u16::try_from(wanted).ok());
            limit = wanted.filter(|wanted| (1..=SLOW_MAX).contains(wanted))?;
        }
    }
    Some(limit)
}

/// What the query of a stream says. Parameters that are not ours are left alone: caches are defeated with them.
struct Parameters {
    names: SmallVec<[ChannelName; 4]>,
    format: WireFormat,
    start: Start,
}

impl Parameters {
    fn read(head: &Head<'_>, epoch: Epoch, channels_max: usize) -> Result<Self, Refusal> {
        let mut parameters = Self { names: SmallVec::new(), format: WireFormat::SseRaw, start: Start::Live };
        let (mut from, mut last) = (None, None);
        for (name, value) in url::pairs(head.query) {
            match &*name {
                b"channel" => parameters.add_channel(&value, channels_max)?,
                b"format" => parameters.format = format(&value)?,
                b"last_event_id" | b"lastEventId" if !value.is_empty() => {
                    from = Some(Start::parse(&value, epoch));
                }
                b"history" => last = Some(count(&value)?),
                _ => {}
            }
        }
        if parameters.names.is_empty() {
            return Err(Refusal::MissingChannel);
        }
        // An EventSource repeats its URL when it reconnects, so the URL's id is the older one.
        if let Some(id) = head.last_event_id.filter(|id| !id.is_empty()) {
            from = Some(Start::parse(id, epoch));
        }
        // An id is about what this client has seen: it counts for more than how much a new one wants.
        parameters.start = from.or_else(|| last.map(Start::Last)).unwrap_or(Start::Live);
        Ok(parameters)
    }

    /// A channel that is named twice is one subscription.
    fn add_channel(&mut self, value: &[u8], channels_max: usize) -> Result<(), Refusal> {
        if self.names.iter().any(|name| name.as_bytes() == value) {
            return Ok(());
        }
        let name = ChannelName::parse(value).map_err(|_| Refusal::BadChannelName)?;
        if self.names.len() >= channels_max {
            return Err(Refusal::TooManyChannels);
        }
        self.names.push(name);
        Ok(())
    }
}

/// Digits only. More than any history holds is all of it.
fn count(value: &[u8]) -> Result<u32, Refusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::BadParameter);
    }
    let digits = std::str::from_utf8(value).map_err(|_| Refusal::BadParameter)?;
    Ok(digits.parse().unwrap_or(u32::MAX))
}

fn format(value: &[u8]) -> Result<WireFormat, Refusal> {
    match value {
        b"raw" => Ok(WireFormat::SseRaw),
        b"event" => Ok(WireFormat::SseEvent),
        b"json" => Ok(WireFormat::SseJson),
        _ => Err(Refusal::BadParameter),
    }
}

const EVENTS: &[u8] = b"/events";
const PUBLISH: &[u8] = b"/publish";
const EVENTS_METHODS: &str = "GET, HEAD, OPTIONS";
const PAGE_METHODS: &str = "GET, HEAD, OPTIONS";
const PUBLISH_METHODS: &str = "POST, OPTIONS";
const ALL_METHODS: &str = "GET, HEAD, OPTIONS, POST";
const NOT_FOUND_TRY_OUT: &str = "Nothing is served here. The demo page is at /, event streams are at \
    /events?channel=NAME, and POST /publish?channel=NAME publishes.";
const NOT_FOUND_ADMIN: &str = "Nothing is served here. The admin side serves /metrics, /livez, /readyz, /healthz, /stats and /slow, and \
    takes POST /publish.";
const BAD_LIMIT: &str = "limit is a whole number from 1 to 1000.";
const _: () = assert!(SLOW_MAX == 1_000, "the sentence above says so");

#[cfg(test)]
mod tests;
