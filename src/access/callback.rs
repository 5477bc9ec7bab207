//! The ways in `callback` and `session`: the application decides. What it is asked, and what its answer means.
//!
//! A question is a `POST` with a JSON body, and an answer is a status and a JSON body; how they travel is the driver's.
//! Two questions are the same if their bytes are: endpoint, right, channels and everything of the client that is sent.
//! So nobody is let in by an answer about somebody else, and what is not sent decides nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::access::{Credentials, Grant, Right, SigningKey};
use crate::base::asked::AskOutcome;
use crate::base::channel::ChannelName;
use crate::base::limits::{CALLBACK_CACHE_AGE, CALLBACK_USER_BYTES};
use crate::base::peer::Peer;
use crate::base::refusal::Refusal;
use crate::base::secret::Secret;
use crate::base::time::UnixTime;
use crate::base::version::VERSION;
use crate::wire::http;

/// Where the application is asked, and what it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub address: AppAddress,
    /// The path of the request, and its query if there is one.
    pub target: String,
    /// The Host field.
    pub host: String,
    /// Names of the fields of the client's request that are sent along, in lower case; Cookie always is.
    pub fields: Vec<String>,
    /// Whether the application is told who is at the other end.
    pub sends_peer: bool,
    /// What questions are signed with, if they are.
    pub secret: Option<Secret>,
}

/// Where that is, as the configuration has it.
impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            AppAddress::Tcp { .. } => write!(formatter, "http://{}{}", self.host, self.target),
            AppAddress::Unix { path } => write!(formatter, "unix:{}:{}", path.display(), self.target),
        }
    }
}

/// What is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppAddress {
    Tcp { host: String, port: u16 },
    Unix { path: PathBuf },
}

/// An endpoint by its place in the gate's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointIndex(pub u16);

impl EndpointIndex {
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One question to the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub endpoint: EndpointIndex,
    /// All of them must be granted. In the order of their names.
    channels: Vec<ChannelName>,
    /// Whole field lines: Cookie, and those that the operator chose.
    fields: Vec<u8>,
    body: Vec<u8>,
}

/// What the application says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Granted(Grant),
    Refused(Refusal),
}

/// An answer, and how long it may be given to whoever asks the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    pub answer: Answer,
    pub cache: Duration,
}

impl Question {
    pub(super) fn new<'a>(
        endpoint: (EndpointIndex, &Endpoint),
        right: Right,
        channels: impl IntoIterator<Item = &'a ChannelName>,
        credentials: &Credentials<'_>,
    ) -> Self {
        let mut channels: Vec<ChannelName> = channels.into_iter().cloned().collect();
        // The order of a query decides nothing.
        channels.sort_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
        let (index, endpoint) = endpoint;
        let mut fields = Vec::new();
        let mut headers = BTreeMap::new();
        for name in &endpoint.fields {
            let values: Vec<&[u8]> = http::values(credentials.fields, name).collect();
            if let Some(value) = joined(&values, b", ") {
                field(name, &value, &mut fields);
                headers.insert(name.as_str(), lossy(&value));
            }
        }
        if let Some(value) = joined(&credentials.cookies, b"; ") {
            field("cookie", &value, &mut fields);
        }
        let body = Body {
            right: match right {
                Right::Subscribe => "subscribe",
                Right::Publish => "publish",
            },
            channels: channels.iter().map(ChannelName::as_str).collect(),
            cookies: credentials.pairs().map(|(name, value)| (lossy(name), lossy(value))).rev().collect(),
            headers,
            peer: match credentials.client {
                Peer::Unknown => None,
                peer @ (Peer::Ip(_) | Peer::Unix) => endpoint.sends_peer.then(|| peer.to_string()),
            },
        };
        let body = serde_json::to_vec(&body).expect("texts and lists of them are JSON");
        Self { endpoint: index, channels, fields, body }
    }

    /// The bytes by which two questions are told apart.
    pub fn identity(&self) -> Vec<u8> {
        let (endpoint, fields) = (self.endpoint.0.to_be_bytes(), (self.fields.len() as u64).to_be_bytes());
        [&endpoint[..], &fields, &self.fields, &self.body].concat()
    }

    /// How much of it is kept while it is asked.
    pub fn bytes(&self) -> usize {
        self.fields.len() + self.body.len()
    }

    /// The whole request.
    pub fn request(&self, endpoint: &Endpoint, now: UnixTime) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes() + 512);
        out.extend_from_slice(format!("POST {} HTTP/1.1\r\n", endpoint.target).as_bytes());
        http::field("Host", &endpoint.host, &mut out);
        http::field("User-Agent", &format!("courier/{VERSION}"), &mut out);
        http::field("Accept", "application/json", &mut out);
        http::field("Content-Type", "application/json", &mut out);
        http::field("Content-Length", &self.body.len().to_string(), &mut out);
        if let Some(secret) = &endpoint.secret {
            http::field("X-Courier-Signature", &signature(secret, now, &self.body), &mut out);
        }
        out.extend_from_slice(&self.fields);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
        out
    }

    /// What an answer with this status and body means.
    pub fn read(&self, status: u16, body: &[u8], now: UnixTime) -> Result<Answered, AskOutcome> {
        match status {
            200 => {
                let answered = self.read_grant(body).ok_or(AskOutcome::BadAnswer)?;
                match &answered.answer {
                    // It has said yes: more likely its clock is behind ours than the client is nobody.
                    Answer::Granted(grant) if grant.expires.is_some_and(|expires| expires <= now) => {
                        Err(AskOutcome::Expired)
                    }
                    Answer::Granted(_) | Answer::Refused(_) => Ok(answered),
                }
            }
            401 => Ok(Answered::refused(Refusal::ApplicationUnauthorized, cache_of_refusal(body))),
            403 => Ok(Answered::refused(Refusal::ApplicationForbidden, cache_of_refusal(body))),
            300..=399 => Err(AskOutcome::Redirect),
            // These two are about the application's own state.
            408 | 429 => Err(AskOutcome::Status),
            400..=499 => Err(AskOutcome::ClientError),
            500.. => Err(AskOutcome::ServerError),
            _ => Err(AskOutcome::Status),
        }
    }

    fn read_grant(&self, body: &[u8]) -> Option<Answered> {
        let granted: GrantBody = serde_json::from_slice(body).ok()?;
        let cache = duration(granted.cache)?;
        let expires = match granted.expires {
            None => None,
            Some(seconds) => Some(UnixTime::from_millis(0).after(Duration::try_from_secs_f64(seconds).ok()?)),
        };
        let user = match granted.user {
            None => None,
            Some(User::Number(number)) => Some(Arc::from(number.to_string())),
            Some(User::Text(text)) => Some(Arc::from(user(text)?)),
        };
        let is_granted = |channel: &ChannelName| granted.channels.iter().any(|one| *one == channel.as_str());
        if !self.channels.iter().all(is_granted) {
            return Some(Answered::refused(Refusal::ApplicationForbidden, cache));
        }
        Some(Answered { answer: Answer::Granted(Grant { user, expires }), cache })
    }
}

impl Answered {
    fn refused(refusal: Refusal, cache: Duration) -> Self {
        Self { answer: Answer::Refused(refusal), cache }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    right: &'static str,
    channels: Vec<&'a str>,
    /// Of several cookies of a name the first.
    cookies: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
}

/// Members that are not ours are left alone.
#[derive(Deserialize)]
struct GrantBody {
    channels: Vec<String>,
    #[serde(default)]
    user: Option<User>,
    /// Unix time.
    #[serde(default)]
    expires: Option<f64>,
    #[serde(default)]
    cache: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum User {
    Text(String),
    Number(i64),
}

#[derive(Deserialize)]
struct RefusalBody {
    #[serde(default)]
    cache: Option<f64>,
}

/// The body of a refusal is the application's own; only if it says so in our words is it kept.
fn cache_of_refusal(body: &[u8]) -> Duration {
    let cache = serde_json::from_slice(body).ok().and_then(|refusal: RefusalBody| duration(refusal.cache));
    cache.unwrap_or_default()
}

/// None if it is no span of time.
fn duration(seconds: Option<f64>) -> Option<Duration> {
    match seconds {
        None => Some(Duration::ZERO),
        Some(seconds) if seconds >= CALLBACK_CACHE_AGE.as_secs_f64() => Some(CALLBACK_CACHE_AGE),
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
    }
}

fn user(text: String) -> Option<String> {
    let is_user = !text.is_empty() && text.len() <= CALLBACK_USER_BYTES && !text.contains(char::is_control);
    is_user.then_some(text)
}

/// `t=<Unix time>,v1=<HMAC-SHA256 of "<Unix time>.<body>" in hexadecimal>`, as Stripe signs its webhooks.
fn signature(secret: &Secret, now: UnixTime, body: &[u8]) -> String {
    let time = now.as_secs().to_string();
    let text = [time.as_bytes(), b".", body].concat();
    format!("t={time},v1={}", SigningKey::new(secret.reveal().as_bytes()).sign(&text))
}

fn joined(values: &[&[u8]], separator: &[u8]) -> Option<Vec<u8>> {
    (!values.is_empty()).then(|| values.join(separator))
}

/// A field line of bytes that came as a field's value: they have no line end.
fn field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    debug_assert!(!value.contains(&b'\r') && !value.contains(&b'\n'), "a field value is one line");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(secret: Option<&str>) -> Endpoint {
        Endpoint {
            address: AppAddress::Unix { path: "/run/app.sock".into() },
            target: "/ask?x=y".into(),
            host: "localhost".into(),
            fields: vec!["authorization".into(), "x-team".into()],
            sends_peer: true,
            secret: secret.map(|secret| Secret::new(secret.into())),
        }
    }

    fn question(channels: &[&str], credentials: &Credentials<'_>) -> Question {
        let names: Vec<_> =
            channels.iter().map(|name| ChannelName::parse(name.as_bytes()).unwrap()).collect();
        Question::new((EndpointIndex(0), &endpoint(None)), Right::Subscribe, &names, credentials)
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_question_has_what_is_sent_of_the_client_as_fields_and_in_its_body() {
        let credentials = Credentials {
            cookies: [&b"a=1; a=2"[..], b"b=\"x\"; none"].into_iter().collect(),
            fields: b"X-Team: red\r\nOther: no\r\nx-team: blue\r\n\r\n",
            query: b"access_token=secret",
            client: Peer::Ip([192, 0, 2, 7].into()),
            ..Credentials::default()
        };
        let asked = question(&["b", "a"], &credentials);
        assert_eq!(text(&asked.fields), "x-team: red, blue\r\ncookie: a=1; a=2; b=\"x\"; none\r\n");
        assert_eq!(
            text(&asked.body),
            r#"{"right":"subscribe","channels":["a","b"],"cookies":{"a":"1","b":"\"x\""},"headers":{"x-team":"red, blue"},"peer":"192.0.2.7"}"#
        );
        let request = asked.request(&endpoint(None), UnixTime::from_secs(7));
        let head = text(&request).split_once("\r\n\r\n").unwrap().0;
        assert!(head.starts_with("POST /ask?x=y HTTP/1.1\r\nHost: localhost\r\n"), "{head}");
        assert!(!head.contains("secret") && !head.to_lowercase().contains("signature"), "{head}");
    }

    #[test]
    fn the_signature_is_about_the_time_and_the_body() {
        let asked = question(&["a"], &Credentials::default());
        let endpoint = endpoint(Some("Jefe"));
        let request = asked.request(&endpoint, UnixTime::from_millis(1_700_000_000_900));
        let (head, body) = text(&request).split_once("\r\n\r\n").unwrap();
        let signature = SigningKey::new(b"Jefe").sign(format!("1700000000.{body}").as_bytes());
        assert!(head.contains(&format!("\r\nX-Courier-Signature: t=1700000000,v1={signature}")), "{head}");
        assert!(!format!("{endpoint:?}").contains("Jefe"));
    }

    #[test]
    fn two_questions_are_the_same_only_if_everything_that_is_sent_is() {
        let with = |cookie: &'static [u8], team: &'static [u8], last: u8| Credentials {
            cookies: [cookie].into_iter().collect(),
            fields: team,
            client: Peer::Ip([192, 0, 2, last].into()),
            ..Credentials::default()
        };
        let first = question(&["a", "b"], &with(b"s=1", b"", 1)).identity();
        assert_eq!(question(&["b", "a"], &with(b"s=1", b"Other: x\r\n", 1)).identity(), first);
        let bad = |cookie| question(&["a"], &with(cookie, b"", 1));
        // What JSON cannot tell apart is told apart all the same.
        assert_eq!(bad(b"s=\xfe").body, bad(b"s=\xff").body);
        assert_ne!(bad(b"s=\xfe").identity(), bad(b"s=\xff").identity());
        for other in [
            question(&["a"], &with(b"s=1", b"", 1)),
            question(&["a", "b"], &with(b"s=2", b"", 1)),
            question(&["a", "b"], &with(b"s=1", b"x-team: red\r\n", 1)),
            question(&["a", "b"], &with(b"s=1", b"", 2)),
        ] {
            assert_ne!(other.identity(), first);
        }
    }

    #[test]
    fn an_answer_says_as_whom_until_when_and_for_how_long_it_may_be_given_again() {
        let asked = question(&["a"], &Credentials::default());
        let now = UnixTime::from_secs(1_000);
        let read = |body: &str| asked.read(200, body.as_bytes(), now).unwrap();
        let granted = |user: Option<&str>, expires: Option<u64>| {
            Answer::Granted(Grant { user: user.map(Arc::from), expires: expires.map(UnixTime::from_millis) })
        };
        for (body, answer, cache) in [
            (r#"{"channels":["a"]}"#, granted(None, None), 0),
            (
                r#"{"channels":["b","a"],"user":null,"expires":null,"cache":null,"more":[]}"#,
                granted(None, None),
                0,
            ),
            (
                r#"{"channels":["a"],"user":7,"expires":1000.25,"cache":1.5}"#,
                granted(Some("7"), Some(1_000_250)),
                1_500,
            ),
            (r#"{"channels":["a"],"user":"ann","cache":1e9}"#, granted(Some("ann"), None), 3_600_000),
        ] {
            assert_eq!(read(body), Answered { answer, cache: Duration::from_millis(cache) }, "{body}");
        }
        let refused = |refusal, cache| Answered::refused(refusal, Duration::from_secs(cache));
        assert_eq!(read(r#"{"channels":["b"],"cache":5}"#), refused(Refusal::ApplicationForbidden, 5));
        let expired = r#"{"channels":["a"],"expires":1000,"cache":5}"#;
        assert_eq!(asked.read(200, expired.as_bytes(), now), Err(AskOutcome::Expired));
        for (body, cache) in [("", 0), (r#"{"cache":5}"#, 5), (r#"{"cache":-5}"#, 0), ("<h1>no</h1>", 0)] {
            let answered = asked.read(403, body.as_bytes(), now);
            assert_eq!(answered, Ok(refused(Refusal::ApplicationForbidden, cache)), "{body}");
        }
        let long = format!(r#"{{"channels":["a"],"user":"{}"}}"#, "x".repeat(CALLBACK_USER_BYTES + 1));
        assert_eq!(asked.read(200, long.as_bytes(), now), Err(AskOutcome::BadAnswer));
    }
}
