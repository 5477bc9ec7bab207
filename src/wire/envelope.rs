//! The envelope: a JSON payload that says more about its event than the data.
//!
//! `{"data": .., "event": "..", "id": "..", "retry": ..}`. `data` is required, a string or any other JSON value, which
//! is delivered as its compact text, numbers and the order of members untouched. `event`, if given, is a string
//! without CR, LF and NUL; `retry`, if given, a number of milliseconds. A text that breaks one of these, or has another
//! member, or one twice, is no envelope: it is delivered whole, so that nothing an application wrote is lost without
//! being seen. An `id` that an event id cannot carry is left out, and nothing else depends on it.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::base::limits::{ENVELOPE_RETRY_MAX, ENVELOPE_RETRY_MIN};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    pub data: Cow<'a, str>,
    pub event: Option<Cow<'a, str>>,
    /// `[A-Za-z0-9._-]{1,64}`.
    pub id: Option<Cow<'a, str>>,
    /// Between the two limits.
    pub retry: Option<Duration>,
}

/// Reads a payload; none if it is no envelope.
pub fn parse(payload: &str) -> Option<Envelope<'_>> {
    let members: Members<'_> = serde_json::from_str(payload).ok()?;
    let event = members.event.map(|event| event.0);
    if event.as_ref().is_some_and(|event| event.contains(['\r', '\n', '\0'])) {
        return None;
    }
    Some(Envelope {
        data: data_text(members.data.get())?,
        event,
        id: members.id.and_then(|id| id_text(id.get())),
        retry: match members.retry {
            None => None,
            Some(retry) => Some(clamped(retry)?),
        },
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow, default)]
    event: Option<Text<'a>>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    retry: Option<f64>,
}

/// A string that is borrowed if it has no escapes, which serde does not do for a `Cow` inside an `Option`.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A string's content, or any other value's compact text.
fn data_text(value: &str) -> Option<Cow<'_, str>> {
    if value.starts_with('"') {
        return serde_json::from_str::<Text<'_>>(value).ok().map(|text| text.0);
    }
    if value.bytes().any(|byte| byte.is_ascii_whitespace()) {
        return Some(Cow::Owned(compact(value)));
    }
    Some(Cow::Borrowed(value))
}

/// A valid JSON text without the whitespace between its tokens.
fn compact(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let (mut in_string, mut escaped, mut written) = (false, false, 0);
    for (at, byte) in value.bytes().enumerate() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte.is_ascii_whitespace() {
            out.push_str(&value[written..at]);
            written = at + 1;
        } else {
            in_string = byte == b'"';
        }
    }
    out.push_str(&value[written..]);
    out
}

/// A string or a number that can stand in an event id.
fn id_text(value: &str) -> Option<Cow<'_, str>> {
    let id = data_text(value)?;
    let fits = (1..=ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let scalar =
        value.starts_with('"') || value.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    (fits && scalar).then_some(id)
}

/// Milliseconds within the limits; none for what is no span of time.
fn clamped(retry: f64) -> Option<Duration> {
    if retry < 0.0 {
        return None;
    }
    let seconds = retry.min(ENVELOPE_RETRY_MAX.as_secs_f64() * 1_000.0) / 1_000.0;
    Some(Duration::from_secs_f64(seconds).max(ENVELOPE_RETRY_MIN))
}

/// The longest id of an application, in bytes.
const ID_BYTES_MAX: usize = 64;
