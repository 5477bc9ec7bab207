//! `POST /publish`: who may, what is published, and the answer.
//!
//! With `?channel=NAME` the body is the payload; without, and with `Content-Type: application/json`, it is a batch. On
//! the web side the rules decide, and the origin if it is a page that asks; on the admin side the operator's token. In
//! try-out it is for courier's own page: the Host must be a loopback name, so that a page that had its name resolve to
//! this machine gets nowhere, and the Origin, if there is one, the same host.

use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::access::{Credentials, Grant, Right, Verdict, is_same_host};
use crate::base::channel::{ChannelName, PayloadMode};
use crate::base::limits::PUBLISH_RETRY;
use crate::base::number::index;
use crate::base::peer::Peer;
use crate::base::position::Epoch;
use crate::base::queue::{Placed, Publication, PublishOutcome};
use crate::base::refusal::Refusal;
use crate::base::time::UnixTime;
use crate::protocol::answer::{Answer, Exchange, Reply};
use crate::protocol::batch::{self, BadBatch};
use crate::protocol::cors;
use crate::protocol::site::Site;
use crate::wire::http::Head;
use crate::wire::{sse, url};

/// A publish that may go on once its body is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishRequest {
    /// How many bytes of body follow the head.
    pub length: usize,
    /// To be sent at once, before the body comes: `100 Continue` if the client waits for it, else nothing.
    pub interim: &'static [u8],
    content: Content,
    exchange: Exchange,
}

/// What the body is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    /// The payload for this channel, which was granted.
    Payload { channel: ChannelName, publisher: Publisher },
    /// A batch; its channels are decided about when they are known.
    Batch(Shown),
}

/// Who publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publisher {
    /// The application, by the operator's token: it is not limited.
    Operator,
    Client {
        grant: Grant,
        peer: Peer,
    },
}

/// What a batch's request showed, kept until its channels are known.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shown {
    Token,
    Credentials {
        authorization: Option<Vec<u8>>,
        cookies: SmallVec<[Vec<u8>; 1]>,
        cookies_withheld: bool,
        query: Vec<u8>,
        client: Peer,
    },
}

/// A publish whose body is there and that may go to the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publishing {
    pub publisher: Publisher,
    /// At least one.
    pub messages: Vec<Publication>,
    pub pending: PendingAnswer,
}

/// The answer to a publish, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingAnswer {
    channels: SmallVec<[ChannelName; 1]>,
    is_batch: bool,
    exchange: Exchange,
}

impl PublishRequest {
    /// What is to be published, now that the body is there.
    pub fn with_body(self, site: &Site, body: Bytes, now: UnixTime) -> Result<Publishing, Answer> {
        let Self { content, exchange, .. } = self;
        let (publisher, messages, is_batch) = match content {
            Content::Payload { channel, publisher } => {
                (publisher, vec![Publication { name: channel, payload: body }], false)
            }
            Content::Batch(shown) => {
                let (publisher, messages) = read_batch(site, &shown, &body, now, &exchange)?;
                (publisher, messages, true)
            }
        };
        let channels = messages.iter().map(|message| message.name.clone()).collect();
        Ok(Publishing { publisher, messages, pending: PendingAnswer { channels, is_batch, exchange } })
    }

    /// The complete answer of a server that has no room for the body: it closes, because a body that nobody reads
    /// would be taken for the next request.
    pub fn answer_unread(&self) -> Answer {
        self.exchange.before_body().refuse_for_now(Refusal::Unavailable, PUBLISH_RETRY)
    }
}

impl PendingAnswer {
    /// The complete answer, once the outcome is known.
    pub fn answer(&self, epoch: Epoch, outcome: &PublishOutcome) -> Answer {
        match outcome {
            PublishOutcome::Accepted(placed) => self.accepted(epoch, placed),
            &PublishOutcome::Unavailable { taken } if taken > 0 => {
                let count = self.channels.len();
                let detail = format!(
                    "{taken} of the {count} messages were published; the others were not, or it is not known. \
                     Repeating the batch repeats those."
                );
                self.exchange.refuse_for_now_with(Refusal::Unavailable, PUBLISH_RETRY, &detail)
            }
            PublishOutcome::Unavailable { .. } => {
                self.exchange.refuse_for_now(Refusal::Unavailable, PUBLISH_RETRY)
            }
        }
    }

    /// The complete answer to who publishes faster than is allowed.
    pub fn answer_too_fast(&self, wait: Duration) -> Answer {
        self.exchange.refuse_for_now(Refusal::PublishRate, wait)
    }

    /// The complete answer to who is kept away.
    pub fn answer_kept_away(&self) -> Answer {
        self.exchange.refuse(Refusal::Disconnected)
    }

    fn accepted(&self, epoch: Epoch, placed: &[Placed]) -> Answer {
        let mut body = Vec::new();
        if self.is_batch {
            body.extend_from_slice(b"{\"messages\":[");
        }
        for (number, (channel, placed)) in self.channels.iter().zip(placed).enumerate() {
            if number > 0 {
                body.push(b',');
            }
            let (position, is_exact) = match *placed {
                Placed::At(position) => (position, true),
                Placed::Behind(position) => (position, false),
            };
            body.extend_from_slice(b"{\"channel\":");
            sse::json_string(channel.as_str(), &mut body);
            let place = format!(",\"id\":\"{epoch}.{}\",\"exact\":{is_exact}}}", position.0);
            body.extend_from_slice(place.as_bytes());
        }
        if self.is_batch {
            body.extend_from_slice(b"]}");
        }
        body.push(b'\n');
        let fields = b"Cache-Control: no-store\r\n";
        self.exchange.answer(&Reply {
            status: 202,
            content_type: Some("application/json"),
            fields,
            body: &body,
        })
    }
}

/// On the web side: what the rules grant.
pub(super) fn decide(
    site: &Site,
    head: &Head<'_>,
    credentials: &Credentials<'_>,
    now: UnixTime,
    exchange: &Exchange,
) -> Result<PublishRequest, Answer> {
    if !may_ask(site, head) {
        return Err(exchange.refuse(Refusal::OriginNotAllowed));
    }
    let content = match named_channel(head, exchange)? {
        Some(channel) => {
            let publisher = granted(site, [&channel], credentials, now, exchange)?;
            Content::Payload { channel, publisher }
        }
        None => Content::Batch(Shown::of(credentials)),
    };
    announced(site, head, content, exchange)
}

/// On the admin side: every channel, to who has the token.
pub(super) fn decide_admin(
    site: &Site,
    head: &Head<'_>,
    exchange: &Exchange,
) -> Result<PublishRequest, Answer> {
    let token = Credentials { authorization: head.authorization, ..Credentials::default() }.bearer();
    let is_right = site.admin_token.as_ref().zip(token).is_some_and(|(expected, token)| expected.is(token));
    if !is_right {
        return Err(exchange.refuse(Refusal::AdminToken));
    }
    let content = match named_channel(head, exchange)? {
        Some(channel) => Content::Payload { channel, publisher: Publisher::Operator },
        None => Content::Batch(Shown::Token),
    };
    announced(site, head, content, exchange)
}

/// Whether this may be asked from there at all.
fn may_ask(site: &Site, head: &Head<'_>) -> bool {
    if !site.try_out {
        return cors::is_allowed(&site.origins, head);
    }
    let Some(host) = head.host.filter(|host| is_loopback(host)) else { return false };
    head.origin.is_none_or(|origin| is_same_host(origin, host))
}

fn granted<'a>(
    site: &Site,
    channels: impl IntoIterator<Item = &'a ChannelName>,
    credentials: &Credentials<'_>,
    now: UnixTime,
    exchange: &Exchange,
) -> Result<Publisher, Answer> {
    match site.gate.decide(Right::Publish, channels, credentials, now) {
        Verdict::Granted(grant) => Ok(Publisher::Client { grant, peer: credentials.client }),
        // The configuration takes no way of publishing that asks.
        Verdict::Ask(_) => Err(exchange.refuse(Refusal::ChannelNotOpen)),
        Verdict::Refused(refusal) => Err(exchange.refuse(refusal)),
    }
}

/// The channel of the query; none for a batch, which names its own.
fn named_channel(head: &Head<'_>, exchange: &Exchange) -> Result<Option<ChannelName>, Answer> {
    let mut channel = None;
    for (_, value) in url::pairs(head.query).filter(|(name, _)| &**name == b"channel") {
        let name = ChannelName::parse(&value).map_err(|_| exchange.refuse(Refusal::BadChannelName))?;
        if channel.replace(name).is_some() {
            return Err(exchange.refuse_with(Refusal::TooManyChannels, ONE_CHANNEL));
        }
    }
    if channel.is_none() && !head.content_type.is_some_and(is_json) {
        return Err(exchange.refuse_with(Refusal::MissingChannel, NAME_THE_CHANNEL));
    }
    Ok(channel)
}

/// A request whose body may come.
fn announced(
    site: &Site,
    head: &Head<'_>,
    content: Content,
    exchange: &Exchange,
) -> Result<PublishRequest, Answer> {
    let length = head.content_length.ok_or_else(|| exchange.refuse(Refusal::LengthRequired))?;
    if length > site.publish_limit as u64 {
        return Err(exchange.refuse(Refusal::PayloadTooLarge));
    }
    let interim: &[u8] = if head.expects_continue { b"HTTP/1.1 100 Continue\r\n\r\n" } else { b"" };
    Ok(PublishRequest { length: index(length), interim, content, exchange: exchange.with_body_read(head) })
}

/// All rights are looked at before anything is published.
fn read_batch(
    site: &Site,
    shown: &Shown,
    body: &[u8],
    now: UnixTime,
    exchange: &Exchange,
) -> Result<(Publisher, Vec<Publication>), Answer> {
    let bad = |bad: BadBatch| exchange.refuse_with(Refusal::BadBatch, &bad.detail());
    let entries = batch::parse(body).map_err(bad)?;
    let channels = || entries.iter().map(|entry| &entry.channel);
    let publisher = match shown {
        Shown::Token => Publisher::Operator,
        Shown::Credentials { authorization, cookies, cookies_withheld, query, client } => {
            let credentials = Credentials {
                authorization: authorization.as_deref(),
                cookies: cookies.iter().map(Vec::as_slice).collect(),
                cookies_withheld: *cookies_withheld,
                query,
                // No way of publishing looks at further fields.
                fields: &[],
                client: *client,
            };
            granted(site, channels(), &credentials, now, exchange)?
        }
    };
    let is_envelope = |channel| site.gate.rules.mode(channel).payload == PayloadMode::Envelope;
    let messages = entries.iter().map(|entry| entry.publication(is_envelope(&entry.channel)));
    Ok((publisher, messages.collect::<Result<_, _>>().map_err(bad)?))
}

impl Shown {
    fn of(credentials: &Credentials<'_>) -> Self {
        let Credentials { authorization, cookies, cookies_withheld, query, client, .. } = credentials;
        Self::Credentials {
            authorization: authorization.map(<[u8]>::to_vec),
            cookies: cookies.iter().map(|line| line.to_vec()).collect(),
            cookies_withheld: *cookies_withheld,
            query: query.to_vec(),
            client: *client,
        }
    }
}

/// `application/json`, whatever its parameters.
fn is_json(content_type: &[u8]) -> bool {
    let kind = content_type.split(|&byte| byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// Whether a Host field names this machine to itself: `localhost`, a name below it, 127.0.0.0/8 or `[::1]`.
fn is_loopback(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let name = name.to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name == "[::1]"
        || name.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

const ONE_CHANNEL: &str = "A message is published to one channel; send one request for each, or a batch.";
const NAME_THE_CHANNEL: &str = "Name the channel, as in POST /publish?channel=news, or send a batch with \
    Content-Type: application/json.";

#[cfg(test)]
mod tests;
