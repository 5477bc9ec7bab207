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
    // serde would take an array of the members' values, too.
    if !payload.trim_ascii_start().starts_with('{') {
        return None;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn data(payload: &str) -> Option<String> {
        parse(payload).map(|envelope| envelope.data.into_owned())
    }

    #[test]
    fn an_envelope_says_data_event_id_and_retry() {
        let payload = r#" {"data": "a\nb", "event": "goal", "id": "order-17", "retry": 2500} "#;
        assert_eq!(
            parse(payload),
            Some(Envelope {
                data: "a\nb".into(),
                event: Some("goal".into()),
                id: Some("order-17".into()),
                retry: Some(Duration::from_millis(2_500)),
            })
        );
    }

    #[test]
    fn data_is_a_strings_content_or_another_values_compact_text() {
        for (payload, expected) in [
            (r#"{"data":""}"#, ""),
            (r#"{"data":"\u00fc\ud83d\ude00"}"#, "ü😀"),
            (r#"{"data":null}"#, "null"),
            (r#"{"data":12345678901234567890.10}"#, "12345678901234567890.10"),
            (
                "{\"data\":{ \"z\" : [ 1 ,\r\n\t2 ] , \"a\" : \"x \\\" : y\\\\\" } }",
                r#"{"z":[1,2],"a":"x \" : y\\"}"#,
            ),
            (r#"{"data":[]}"#, "[]"),
        ] {
            assert_eq!(data(payload).as_deref(), Some(expected), "{payload}");
        }
    }

    #[test]
    fn what_breaks_a_rule_is_no_envelope() {
        for payload in [
            "",
            "hello",
            "\"hello\"",
            "[1]",
            "{}",
            r#"{"event":"a"}"#,
            r#"{"data":1,"more":2}"#,
            r#"{"data":1,"data":2}"#,
            r#"{"data":1} x"#,
            r#"{"data":1"#,
            r#"{"data":1,"event":"a\nb"}"#,
            r#"{"data":1,"event":"a\rb"}"#,
            r#"{"data":1,"event":"a\u0000b"}"#,
            r#"{"data":1,"event":7}"#,
            r#"{"data":1,"retry":"2500"}"#,
            r#"{"data":1,"retry":-1}"#,
            r#"{"data":"\ud83d"}"#,
            "{\"data\":\"a\nb\"}",
        ] {
            assert_eq!(parse(payload), None, "{payload}");
        }
    }

    #[test]
    fn deep_nesting_is_read_without_a_deep_stack() {
        let nested = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
        assert!(data(&format!("{{\"data\":{nested}}}")).is_none_or(|text| text == nested));
    }

    #[test]
    fn an_id_is_of_what_an_event_id_can_carry() {
        for (id, expected) in [
            (r#""a.B_c-9""#, Some("a.B_c-9")),
            ("17", Some("17")),
            ("-1.5", Some("-1.5")),
            ("null", None),
            ("true", None),
            ("[1]", None),
            (r#""""#, None),
            (r#""a~b""#, None),
            (r#""a b""#, None),
            (r#""\n""#, None),
            (r#""ü""#, None),
        ] {
            let envelope = format!("{{\"data\":1,\"id\":{id}}}");
            assert_eq!(parse(&envelope).unwrap().id.as_deref(), expected, "{id}");
        }
        let longest = "a".repeat(64);
        assert!(parse(&format!("{{\"data\":1,\"id\":\"{longest}\"}}")).unwrap().id.is_some());
        assert!(parse(&format!("{{\"data\":1,\"id\":\"{longest}a\"}}")).unwrap().id.is_none());
    }

    #[test]
    fn retry_is_moved_into_its_span() {
        for (retry, expected) in
            [("0", 500), ("499", 500), ("1500.5", 1_500), ("3600000", 3_600_000), ("1e300", 3_600_000)]
        {
            let envelope = format!("{{\"data\":1,\"retry\":{retry}}}");
            let retry = parse(&envelope).unwrap().retry.unwrap();
            assert_eq!(retry.as_millis(), expected, "{retry:?}");
        }
        assert_eq!(parse(r#"{"data":1,"retry":null}"#).unwrap().retry, None);
    }
}
