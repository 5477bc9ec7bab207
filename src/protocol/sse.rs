//! Server-Sent Events: which lines a block has, in each of the three formats. docs/protocols/sse.md shows the bytes.

use std::borrow::Cow;
use std::time::Duration;

use crate::base::channel::PayloadMode;
use crate::base::position::{Epoch, Position};
use crate::protocol::{Closing, Encoded, Event, GapNotice};
use crate::wire::envelope::{self, Envelope};
use crate::wire::sse;

pub use crate::wire::sse::HEARTBEAT;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Raw,
    Event,
    Json,
}

/// Appends one event. With `format=event` and `format=json` the channel is what tells events apart, so an envelope's
/// `event` is the type of a raw event only, and a member of a JSON one.
// Hot: once per message, format and shard; one UTF-8 check and one search for line ends.
pub(super) fn encode(format: Format, event: &Event<'_>, out: &mut Vec<u8>) -> Encoded {
    let mut encoded = Encoded::default();
    let text = match std::str::from_utf8(event.payload) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            encoded.invalid_utf8 = true;
            // Replaces maximal subparts, as a browser's decoder would.
            String::from_utf8_lossy(event.payload)
        }
    };
    match event.mode {
        PayloadMode::Raw => block(format, event, &plain(&text), out),
        PayloadMode::Envelope => match envelope::parse(&text).filter(|_| !encoded.invalid_utf8) {
            Some(envelope) => block(format, event, &envelope, out),
            None => {
                encoded.plain_envelope = true;
                block(format, event, &plain(&text), out);
            }
        },
    }
    encoded
}

/// Appends the event that states a gap; the same in every format.
pub(super) fn encode_gap(gap: &GapNotice<'_>, out: &mut Vec<u8>) {
    sse::event(GAP_EVENT, out);
    out.extend_from_slice(b"data: {\"channel\":");
    sse::json_string(gap.channel.as_str(), out);
    out.extend_from_slice(b",\"from\":");
    match gap.from {
        None => out.extend_from_slice(b"null"),
        Some(from) => {
            out.push(b'"');
            sse::id(gap.epoch, from, None, out);
            out.push(b'"');
        }
    }
    out.extend_from_slice(b",\"reason\":");
    sse::json_string(gap.reason.name(), out);
    if gap.position != Some(gap.until) {
        out.extend_from_slice(b",\"to\":\"");
        sse::id(gap.epoch, gap.until, None, out);
        out.push(b'"');
    }
    out.extend_from_slice(b"}\n");
    match gap.position {
        Some(position) => sse::id_and_end(gap.epoch, position, None, out),
        None => out.push(b'\n'),
    }
}

/// Appends the first block: stored by a client, dispatched to no one.
pub(super) fn encode_opening(epoch: Epoch, position: Option<Position>, retry: Duration, out: &mut Vec<u8>) {
    sse::retry(retry, out);
    match position {
        Some(position) => sse::id_and_end(epoch, position, None, out),
        None => out.push(b'\n'),
    }
}

/// Appends the last block. It has no id: what the client has seen does not change.
pub(super) fn encode_closing(closing: Closing, retry: Duration, out: &mut Vec<u8>) {
    sse::retry(retry, out);
    match closing {
        Closing::ComeBack => {}
        // Without an id: the last one stays valid, and is what the client comes back with.
        Closing::Expired => {
            sse::event(EXPIRED_EVENT, out);
            out.extend_from_slice(format!("data: {{\"retry_ms\":{}}}\n", retry.as_millis()).as_bytes());
        }
        Closing::Dismissed(reason) => {
            sse::event(CLOSE_EVENT, out);
            let data = format!("data: {{\"reason\":\"{reason}\",\"retry_ms\":{}}}\n", retry.as_millis());
            out.extend_from_slice(data.as_bytes());
        }
    }
    out.push(b'\n');
}

/// The type of the event that ends a stream because the application wants it to.
pub const CLOSE_EVENT: &str = "courier-close";

/// The type of the event that ends a stream whose grant has expired.
pub const EXPIRED_EVENT: &str = "courier-expired";

/// The type of the event that states a gap.
pub const GAP_EVENT: &str = "courier-gap";

fn plain(text: &str) -> Envelope<'_> {
    Envelope { data: Cow::Borrowed(text), event: None, id: None, retry: None }
}

fn block(format: Format, event: &Event<'_>, content: &Envelope<'_>, out: &mut Vec<u8>) {
    let (epoch, position, suffix) = (event.epoch, event.position, content.id.as_deref());
    match format {
        Format::Raw => {
            if let Some(name) = content.event.as_deref() {
                sse::event(name, out);
            }
            sse::data(content.data.as_bytes(), out);
        }
        Format::Event => {
            sse::event(event.channel.as_str(), out);
            sse::data(content.data.as_bytes(), out);
        }
        Format::Json => json_data(event, content, out),
    }
    if let Some(retry) = content.retry {
        sse::retry(retry, out);
    }
    sse::id_and_end(epoch, position, suffix, out);
}

/// `data: {"channel":..,"id":..,"data":..}`, with `"event"` if the envelope named one. JSON escapes every line end.
fn json_data(event: &Event<'_>, content: &Envelope<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: {\"channel\":");
    sse::json_string(event.channel.as_str(), out);
    out.extend_from_slice(b",\"id\":\"");
    sse::id(event.epoch, event.position, content.id.as_deref(), out);
    out.push(b'"');
    if let Some(name) = content.event.as_deref() {
        out.extend_from_slice(b",\"event\":");
        sse::json_string(name, out);
    }
    out.extend_from_slice(b",\"data\":");
    sse::json_string(&content.data, out);
    out.extend_from_slice(b"}\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::channel::ChannelName;
    use crate::base::queue::GapReason;
    use crate::protocol::WireFormat;
    use crate::wire::sse_parser::{Event as Received, Parser};

    const EPOCH: Epoch = Epoch(10);

    fn channel() -> ChannelName {
        ChannelName::parse(b"news").unwrap()
    }

    fn encoded(format: WireFormat, payload: &[u8], mode: PayloadMode) -> (String, Encoded) {
        let mut out = Vec::new();
        let event = Event { epoch: EPOCH, position: Position(7), channel: &channel(), payload, mode };
        let noticed = format.encode(&event, &mut out);
        (String::from_utf8(out).unwrap(), noticed)
    }

    fn received(stream: &[u8], pieces: &[usize]) -> Vec<Received> {
        let (mut parser, mut events, mut rest) = (Parser::new("", usize::MAX), Vec::new(), stream);
        for &piece in pieces {
            let (front, behind) = rest.split_at(piece.min(rest.len()));
            parser.feed(front, &mut events).unwrap();
            rest = behind;
        }
        parser.feed(rest, &mut events).unwrap();
        events
    }

    /// What the specification makes of a text on its way: every line end becomes LF.
    fn normalised(text: &str) -> String {
        text.replace("\r\n", "\n").replace('\r', "\n")
    }

    #[test]
    fn a_message_in_each_format() {
        for (format, expected) in [
            (WireFormat::SseRaw, "data: a\ndata: b\nid: a.7\n\n"),
            (WireFormat::SseEvent, "event: news\ndata: a\ndata: b\nid: a.7\n\n"),
            (
                WireFormat::SseJson,
                "data: {\"channel\":\"news\",\"id\":\"a.7\",\"data\":\"a\\nb\"}\nid: a.7\n\n",
            ),
        ] {
            assert_eq!(
                encoded(format, b"a\nb", PayloadMode::Raw),
                (expected.to_owned(), Encoded::default()),
                "{format:?}"
            );
        }
    }

    #[test]
    fn an_envelope_in_each_format() {
        let payload = br#"{"data":{"a": 1},"event":"goal","id":17,"retry":100}"#;
        for (format, expected) in [
            (WireFormat::SseRaw, "event: goal\ndata: {\"a\":1}\nretry: 500\nid: a.7~17\n\n"),
            (WireFormat::SseEvent, "event: news\ndata: {\"a\":1}\nretry: 500\nid: a.7~17\n\n"),
            (
                WireFormat::SseJson,
                "data: {\"channel\":\"news\",\"id\":\"a.7~17\",\"event\":\"goal\",\"data\":\"{\\\"a\\\":1}\"}\n\
                 retry: 500\nid: a.7~17\n\n",
            ),
        ] {
            assert_eq!(
                encoded(format, payload, PayloadMode::Envelope),
                (expected.to_owned(), Encoded::default()),
                "{format:?}"
            );
        }
        // The same bytes on a channel without envelopes are data.
        assert!(encoded(WireFormat::SseRaw, payload, PayloadMode::Raw).0.starts_with("data: {\"data\":"));
    }

    #[test]
    fn text_that_is_no_envelope_is_delivered_as_it_is() {
        for payload in ["hello", r#"{"data":1,"event":"a\nb"}"#, r#"{"data":1,"extra":2}"#] {
            assert_eq!(
                encoded(WireFormat::SseRaw, payload.as_bytes(), PayloadMode::Envelope),
                (
                    format!("data: {payload}\nid: a.7\n\n"),
                    Encoded { invalid_utf8: false, plain_envelope: true }
                )
            );
        }
    }

    #[test]
    fn invalid_utf_8_is_replaced_by_maximal_subparts_and_reported() {
        for mode in [PayloadMode::Raw, PayloadMode::Envelope] {
            let (frame, noticed) = encoded(WireFormat::SseRaw, b"a\xff\xe2\x82b\xf0\x9f\x98", mode);
            assert_eq!(frame, "data: a\u{fffd}\u{fffd}b\u{fffd}\nid: a.7\n\n");
            assert!(noticed.invalid_utf8);
            assert_eq!(noticed.plain_envelope, mode == PayloadMode::Envelope);
        }
    }

    #[test]
    fn a_gap_is_an_event_with_the_id_behind_it() {
        let mut out = Vec::new();
        for (position, from, until) in
            [(Some(7), Some(3), 7), (Some(7), None, 7), (Some(7), Some(5), 9), (None, None, 9)]
        {
            let (from, until, reason) = (from.map(Position), Position(until), GapReason::TooOld);
            let (position, channel) = (position.map(Position), &channel());
            let gap = GapNotice { epoch: EPOCH, position, channel, from, until, reason };
            WireFormat::SseJson.encode_gap(&gap, &mut out);
        }
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "event: courier-gap\ndata: {\"channel\":\"news\",\"from\":\"a.3\",\"reason\":\"too-old\"}\nid: a.7\n\n\
             event: courier-gap\ndata: {\"channel\":\"news\",\"from\":null,\"reason\":\"too-old\"}\nid: a.7\n\n\
             event: courier-gap\ndata: {\"channel\":\"news\",\"from\":\"a.5\",\"reason\":\"too-old\",\"to\":\"a.9\"}\nid: a.7\n\n\
             event: courier-gap\ndata: {\"channel\":\"news\",\"from\":null,\"reason\":\"too-old\",\"to\":\"a.9\"}\n\n"
        );
    }

    #[test]
    fn a_stream_opens_with_an_id_and_closes_with_a_delay_and_neither_is_an_event() {
        let mut stream = Vec::new();
        for format in WireFormat::ALL {
            stream.clear();
            format.encode_opening(EPOCH, Some(Position(7)), Duration::from_millis(2_500), &mut stream);
            stream.extend_from_slice(format.heartbeat());
            format.encode_closing(Closing::ComeBack, Duration::from_secs(4), &mut stream);
            assert_eq!(stream, b"retry: 2500\nid: a.7\n\n:\n\nretry: 4000\n\n");
        }
        let (mut parser, mut events) = (Parser::new("", 1_000), Vec::new());
        parser.feed(&stream, &mut events).unwrap();
        assert_eq!((events, parser.last_event_id()), (vec![], "a.7"));
        assert_eq!(parser.retry(), Some(Duration::from_secs(4)));
    }

    #[test]
    fn a_mebibyte_arrives_whole_and_costs_at_most_seven_times_its_bytes() {
        let text = "x".repeat(1 << 20);
        let newlines = "\n".repeat(1 << 20);
        for payload in [text, newlines] {
            let (frame, _) = encoded(WireFormat::SseRaw, payload.as_bytes(), PayloadMode::Raw);
            assert!(frame.len() <= 7 * payload.len());
            assert_eq!(received(frame.as_bytes(), &[])[0].data, payload);
        }
    }

    fn payload() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..12),
            "[\\PC\r\n :\u{0}\u{feff}]{0,12}".prop_map(String::into_bytes),
            Just(b"\r\n".to_vec()),
            Just(b"data: x\nid: 5\n\n".to_vec()),
        ];
        prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_payload_arrives_as_the_specification_says_however_it_is_cut(
            payload in payload(),
            pieces in prop::collection::vec(0_usize..9, 0..40),
        ) {
            let text = String::from_utf8_lossy(&payload).into_owned();
            for format in WireFormat::ALL {
                let (frame, noticed) = encoded(format, &payload, PayloadMode::Raw);
                prop_assert_eq!(noticed.invalid_utf8, std::str::from_utf8(&payload).is_err());
                prop_assert!(frame.ends_with("\nid: a.7\n\n"));
                // A block before it, so that a byte order mark is not at the start of the stream.
                let stream = [b":\n\n", frame.as_bytes(), frame.as_bytes()].concat();
                let events = received(&stream, &pieces);
                prop_assert_eq!(events.len(), 2);
                for event in events {
                    prop_assert_eq!(&event.id, "a.7");
                    let name = if format == WireFormat::SseEvent { "news" } else { "message" };
                    prop_assert_eq!(&event.event, name);
                    if format == WireFormat::SseJson {
                        // JSON carries the line ends themselves.
                        let value: serde_json::Value = serde_json::from_str(&event.data).unwrap();
                        prop_assert_eq!(&value["data"], &serde_json::Value::from(text.clone()));
                        prop_assert_eq!(&value["id"], "a.7");
                    } else {
                        prop_assert_eq!(event.data, normalised(&text));
                    }
                }
            }
        }

        #[test]
        fn any_payload_on_an_envelope_channel_is_one_event(payload in payload()) {
            for format in WireFormat::ALL {
                let (frame, _) = encoded(format, &payload, PayloadMode::Envelope);
                prop_assert_eq!(received(frame.as_bytes(), &[]).len(), 1);
            }
        }

        #[test]
        fn any_envelope_is_one_event_with_its_data(
            data in any::<String>(), event in any::<String>(), id in any::<String>(), retry in any::<f64>(),
        ) {
            let payload = serde_json::json!({ "data": data, "event": event, "id": id, "retry": retry }).to_string();
            let (frame, noticed) = encoded(WireFormat::SseRaw, payload.as_bytes(), PayloadMode::Envelope);
            let events = received(frame.as_bytes(), &[]);
            prop_assert_eq!(events.len(), 1);
            let expected = if noticed.plain_envelope { &payload } else { &data };
            prop_assert_eq!(&events[0].data, &normalised(expected));
            prop_assert!(events[0].id.starts_with("a.7"));
        }
    }
}
