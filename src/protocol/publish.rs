//! `POST /publish?channel=NAME`, in try-out only: the demo page's way to speak.
//!
//! Publishing is for courier's own page: the Host must be a loopback name, so that a page that had its name resolve
//! to this machine gets nowhere, and the Origin, if there is one, the same host.

use crate::access::{Credentials, Right, Verdict, is_same_host};
use crate::base::channel::ChannelName;
use crate::base::number::index;
use crate::base::queue::PublishOutcome;
use crate::base::refusal::Refusal;
use crate::base::time::UnixTime;
use crate::protocol::answer::{Answer, Exchange, Reply};
use crate::protocol::site::Site;
use crate::wire::http::Head;
use crate::wire::{sse, url};

/// A message that may be published once its body is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishRequest {
    pub channel: ChannelName,
    /// How many bytes of body follow the head.
    pub length: usize,
    /// To be sent at once, before the body comes: `100 Continue` if the client waits for it, else nothing.
    pub interim: &'static [u8],
    exchange: Exchange,
}

impl PublishRequest {
    /// The complete answer, once the outcome is known.
    pub fn answer(&self, outcome: PublishOutcome) -> Answer {
        match outcome {
            PublishOutcome::Accepted => {
                let mut body = b"{\"channel\":".to_vec();
                sse::json_string(self.channel.as_str(), &mut body);
                body.extend_from_slice(b"}\n");
                let fields = b"Cache-Control: no-store\r\n";
                let content_type = Some("application/json");
                self.exchange.answer(&Reply { status: 202, content_type, fields, body: &body })
            }
            PublishOutcome::Unavailable => self.exchange.refuse(Refusal::Unavailable),
        }
    }

    /// The complete answer of a server that has no room for the body: it closes, because a body that nobody reads
    /// would be taken for the next request.
    pub fn answer_unread(&self) -> Answer {
        self.exchange.before_body().refuse(Refusal::Unavailable)
    }
}

pub(super) fn decide(
    site: &Site,
    head: &Head<'_>,
    credentials: &Credentials<'_>,
    now: UnixTime,
    exchange: &Exchange,
) -> Result<PublishRequest, Answer> {
    let refuse = |refusal| exchange.refuse(refusal);
    let host = head.host.filter(|host| is_loopback(host)).ok_or_else(|| refuse(Refusal::OriginNotAllowed))?;
    if head.origin.is_some_and(|origin| !is_same_host(origin, host)) {
        return Err(refuse(Refusal::OriginNotAllowed));
    }
    let mut channel = None;
    for (_, value) in url::pairs(head.query).filter(|(name, _)| &**name == b"channel") {
        let name = ChannelName::parse(&value).map_err(|_| refuse(Refusal::BadChannelName))?;
        if channel.replace(name).is_some() {
            return Err(exchange.refuse_with(Refusal::TooManyChannels, ONE_CHANNEL));
        }
    }
    let channel = channel.ok_or_else(|| exchange.refuse_with(Refusal::MissingChannel, NAME_THE_CHANNEL))?;
    match site.gate.decide(Right::Publish, [&channel], credentials, now) {
        Verdict::Granted(_) => {}
        Verdict::Refused(refusal) => return Err(refuse(refusal)),
    }
    let length = head.content_length.ok_or_else(|| refuse(Refusal::LengthRequired))?;
    if length > site.publish_limit as u64 {
        return Err(refuse(Refusal::PayloadTooLarge));
    }
    let interim: &[u8] = if head.expects_continue { b"HTTP/1.1 100 Continue\r\n\r\n" } else { b"" };
    Ok(PublishRequest { channel, length: index(length), interim, exchange: exchange.with_body_read(head) })
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

const ONE_CHANNEL: &str = "A message is published to one channel; send one request for each.";
const NAME_THE_CHANNEL: &str = "Name the channel, as in POST /publish?channel=news.";
