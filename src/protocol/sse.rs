//! Server-Sent Events: which lines a block has, in each of the three formats. docs/protocols/sse.md shows the bytes.

use std::borrow::Cow;
use std::time::Duration;

use crate::base::channel::PayloadMode;
use crate::base::position::{Epoch, Position};
use crate::protocol::{Encoded, Event, GapNotice};
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
    out.extend_from_slice(b"}\n");
    sse::id_and_end(gap.epoch, gap.position, None, out);
}

/// Appends the first block: stored by a client, dispatched to no one.
pub(super) fn encode_opening(epoch: Epoch, position: Position, retry: Duration, out: &mut Vec<u8>) {
    sse::retry(retry, out);
    sse::id_and_end(epoch, position, None, out);
}

/// Appends the last block. It has no id: what the client has seen does not change.
pub(super) fn encode_closing(retry: Duration, out: &mut Vec<u8>) {
    sse::retry(retry, out);
    out.push(b'\n');
}

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
