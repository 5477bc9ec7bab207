//! The JSON form of several messages: `{"messages": [{"channel", "data", "event", "id", "retry"}, ..]}`.
//!
//! `data` is a string, whose content is the payload, or any other JSON value, whose text as it was written is. In a channel whose
//! payloads are envelopes the message becomes one, so that what a subscriber gets as data is `data` whatever it looks
//! like; only there may it have `event`, `id` and `retry`. Whatever is in doubt refuses the whole batch.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::base::channel::ChannelName;
use crate::base::limits::PUBLISH_BATCH;
use crate::base::queue::Publication;
use crate::wire::envelope;

/// One message of a batch.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) channel: ChannelName,
    members: Members<'a>,
    number: usize,
}

/// Why a body is no batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadBatch {
    /// As the parser says it.
    NotOne(String),
    Empty,
    TooMany,
    /// Of the message with this number, from 0.
    Channel(usize),
    /// A text that JSON can write and no string can hold.
    Data(usize),
    NoEnvelope(usize),
    Envelope(usize),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<'a> {
    #[serde(borrow, deserialize_with = "bounded")]
    messages: Vec<Members<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Members<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow, default)]
    event: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    retry: Option<&'a RawValue>,
}

/// Reads a batch; nothing is published of one that is not right as a whole.
pub(super) fn parse(body: &[u8]) -> Result<Vec<Entry<'_>>, BadBatch> {
    let batch: Batch<'_> = serde_json::from_slice(body).map_err(|error| {
        let error = error.to_string();
        if error.starts_with(TOO_MANY) { BadBatch::TooMany } else { BadBatch::NotOne(error) }
    })?;
    if batch.messages.is_empty() {
        return Err(BadBatch::Empty);
    }
    let entries = batch.messages.into_iter().enumerate().map(|(number, members)| {
        let channel =
            ChannelName::parse(members.channel.as_bytes()).map_err(|_| BadBatch::Channel(number))?;
        Ok(Entry { channel, members, number })
    });
    entries.collect()
}

/// Reads messages up to the bound and no further: what a body costs in memory does not depend on how many it holds.
fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Members<'de>>, D::Error> {
    struct Bounded;

    impl<'de> Visitor<'de> for Bounded {
        type Value = Vec<Members<'de>>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a sequence")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut messages = Vec::new();
            while let Some(message) = sequence.next_element()? {
                if messages.len() == PUBLISH_BATCH {
                    return Err(A::Error::custom(TOO_MANY));
                }
                messages.push(message);
            }
            Ok(messages)
        }
    }

    deserializer.deserialize_seq(Bounded)
}

impl Entry<'_> {
    /// The message as it is published.
    pub(super) fn publication(&self, is_envelope: bool) -> Result<Publication, BadBatch> {
        let Members { data, event, id, retry, .. } = &self.members;
        let name = self.channel.clone();
        if !is_envelope {
            if event.is_some() || id.is_some() || retry.is_some() {
                return Err(BadBatch::NoEnvelope(self.number));
            }
            let payload = match data.get().starts_with('"') {
                true => serde_json::from_str::<String>(data.get())
                    .map(Bytes::from)
                    .map_err(|_| BadBatch::Data(self.number))?,
                false => Bytes::copy_from_slice(data.get().as_bytes()),
            };
            return Ok(Publication { name, payload });
        }
        let mut payload = format!("{{\"data\":{}", data.get());
        for (member, value) in [("event", event), ("id", id), ("retry", retry)] {
            if let Some(value) = value {
                payload.push_str(&format!(",\"{member}\":{}", value.get()));
            }
        }
        payload.push('}');
        // Else it would be delivered as it is, and a member that is wrong shall be told to who wrote it.
        let is_whole = envelope::parse(&payload).is_some_and(|read| id.is_none() || read.id.is_some());
        if !is_whole {
            return Err(BadBatch::Envelope(self.number));
        }
        Ok(Publication { name, payload: Bytes::from(payload) })
    }
}

impl BadBatch {
    /// The sentence for the answer.
    pub(super) fn detail(&self) -> String {
        match self {
            Self::NotOne(error) => {
                format!("The body is no {{\"messages\": [{{\"channel\": .., \"data\": ..}}, ..]}}: {error}.")
            }
            Self::Empty => "A batch has at least one message.".into(),
            Self::TooMany => format!("A batch has at most {PUBLISH_BATCH} messages; send several."),
            Self::Channel(number) => format!(
                "messages[{number}].channel: a channel name is 1 to 255 bytes without control characters."
            ),
            Self::Data(number) => format!("messages[{number}].data is a string that is no text."),
            Self::NoEnvelope(number) => format!(
                "messages[{number}]: event, id and retry need a channel whose rule has payload = \"envelope\"."
            ),
            Self::Envelope(number) => format!(
                "messages[{number}]: event is a string in one line, id 1 to 64 of A-Z a-z 0-9 . _ -, retry a number of \
                 milliseconds."
            ),
        }
    }
}

/// What the visitor says of too many messages; the parser's own errors begin otherwise.
const TOO_MANY: &str = "too many messages";

#[cfg(test)]
mod tests {
    use super::*;

    fn payloads(body: &str, is_envelope: bool) -> Result<Vec<String>, BadBatch> {
        let entries = parse(body.as_bytes())?;
        let text = |entry: &Entry<'_>| {
            let publication = entry.publication(is_envelope)?;
            Ok(format!("{}: {}", publication.name.as_str(), String::from_utf8_lossy(&publication.payload)))
        };
        entries.iter().map(text).collect()
    }

    #[test]
    fn a_string_is_its_content_and_anything_else_its_text() {
        let body = r#"{"messages": [
            {"channel": "a", "data": "one\n\"two\""}, {"channel": "b", "data": {"n": 1.50, "m": [ ]}},
            {"channel": "c\u00e9", "data": ""}, {"channel": "d", "data": null}, {"data": 17, "channel": "e"}]}"#;
        assert_eq!(
            payloads(body, false).unwrap(),
            ["a: one\n\"two\"", "b: {\"n\": 1.50, \"m\": [ ]}", "cé: ", "d: null", "e: 17"]
        );
    }

    #[test]
    fn in_a_channel_of_envelopes_each_message_is_one() {
        let body = r#"{"messages": [{"channel": "a", "data": "x"}, {"channel": "a", "data": {"data": 1}},
            {"channel": "a", "data": [1], "event": "goal", "id": "g-1", "retry": 1000}]}"#;
        assert_eq!(
            payloads(body, true).unwrap(),
            [
                r#"a: {"data":"x"}"#,
                r#"a: {"data":{"data": 1}}"#,
                r#"a: {"data":[1],"event":"goal","id":"g-1","retry":1000}"#
            ]
        );
        for members in
            [r#""event": "a\nb""#, r#""event": 5"#, r#""id": "a b""#, r#""retry": -1"#, r#""retry": "1s""#]
        {
            let body = format!(r#"{{"messages": [{{"channel": "a", "data": "x", {members}}}]}}"#);
            assert_eq!(payloads(&body, true), Err(BadBatch::Envelope(0)), "{members}");
        }
    }

    #[test]
    fn nothing_is_read_behind_one_message_too_many() {
        let message = r#"{"channel": "a", "data": "x"}, "#;
        let body = format!("{{\"messages\": [{}and no more JSON", message.repeat(PUBLISH_BATCH + 1));
        assert_eq!(payloads(&body, false), Err(BadBatch::TooMany));
    }

    #[test]
    fn whatever_is_in_doubt_refuses_the_whole() {
        let message = r#"{"channel": "a", "data": "x"}"#;
        let of = |messages: &str| format!(r#"{{"messages": [{messages}]}}"#);
        let many = |count: usize| of(&vec![message; count].join(","));
        assert_eq!(payloads(&many(PUBLISH_BATCH), false).unwrap().len(), PUBLISH_BATCH);
        assert_eq!(payloads(&many(PUBLISH_BATCH + 1), false), Err(BadBatch::TooMany));
        assert_eq!(payloads(&of(""), false), Err(BadBatch::Empty));
        assert_eq!(
            payloads(&of(&format!(r#"{message}, {{"channel": "", "data": ""}}"#)), false),
            Err(BadBatch::Channel(1))
        );
        let event = r#"{"channel": "a", "data": "x", "event": "e"}"#;
        assert_eq!(payloads(&of(event), false), Err(BadBatch::NoEnvelope(0)));
        assert_eq!(payloads(&of(r#"{"channel": "a", "data": "\ud800"}"#), false), Err(BadBatch::Data(0)));
        for body in [
            "",
            "[]",
            "{}",
            "hello",
            r#"{"messages": {}}"#,
            r#"{"messages": [], "more": 1}"#,
            "{\"messages\": [\"\u{0}\"]}",
            &of(r#"{"channel": "a"}"#),
            &of(r#"{"data": "a"}"#),
            &of(r#"{"channel": 5, "data": "a"}"#),
            &of(r#"{"channel": "a", "data": "x", "dat": "y"}"#),
            &of(r#"{"channel": "a", "channel": "b", "data": "x"}"#),
        ] {
            assert!(matches!(payloads(body, false), Err(BadBatch::NotOne(_))), "{body}");
        }
        assert!(matches!(
            parse(b"{\"messages\": [{\"channel\": \"a\", \"data\": \"\xff\"}]}"),
            Err(BadBatch::NotOne(_))
        ));
        let detail = payloads(&of(r#"{"chanel": "a", "data": "x"}"#), false).unwrap_err().detail();
        assert!(detail.contains("unknown field `chanel`"), "{detail}");
    }
}
