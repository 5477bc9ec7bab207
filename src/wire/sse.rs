//! The lines of `text/event-stream` (WHATWG HTML, 9.2.6): what a block is made of.
//!
//! Writers only; which lines stand in which block is the protocol's. Every block ends with its `id:` line and a blank
//! line: several clients take an id before its event is complete, and would lose an event that was cut in between.
//! A parser reads CR, LF and CRLF alike as line ends, so a payload arrives with each of them as LF; every other
//! character arrives as it is, leading spaces and NUL among them. Cost: one pass over the payload, no allocation.

use std::time::Duration;

use crate::base::position::{Epoch, Position};

/// A comment: keeps a connection and the proxies on its way awake, and no client sees it.
pub const HEARTBEAT: &[u8] = b":\n\n";

/// The `data:` lines of a payload. At most six bytes for each line end and seven more.
// Hot: once per message, wire format and shard.
pub fn data(payload: &[u8], out: &mut Vec<u8>) {
    let mut rest = payload;
    while let Some(end) = line_end(rest) {
        data_line(&rest[..end], out);
        let behind = if rest[end..].starts_with(b"\r\n") { end + 2 } else { end + 1 };
        rest = &rest[behind..];
    }
    data_line(rest, out);
}

/// Where the first line ends. An empty line costs no search: 1 MiB of newlines took 4.0 ms instead of 9.2 at best
/// (benches/sse_encode).
fn line_end(text: &[u8]) -> Option<usize> {
    match text.first() {
        Some(b'\r' | b'\n') => Some(0),
        _ => memchr::memchr2(b'\r', b'\n', text),
    }
}

/// One line; a parser takes away one space behind the colon, so that a leading space of the text stays.
fn data_line(line: &[u8], out: &mut Vec<u8>) {
    if line.is_empty() {
        out.extend_from_slice(b"data:\n");
    } else {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.push(b'\n');
    }
}

/// The `event:` line. The name has no line ends, which whoever took it from outside has made sure of.
pub fn event(name: &str, out: &mut Vec<u8>) {
    debug_assert!(!name.contains(['\r', '\n']), "an event's name is one line");
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.push(b'\n');
}

/// The `retry:` line, in milliseconds.
pub fn retry(delay: Duration, out: &mut Vec<u8>) {
    out.extend_from_slice(b"retry: ");
    decimal(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), out);
    out.push(b'\n');
}

/// The `id:` line and the blank line: the end of every block that has an id.
pub fn id_and_end(epoch: Epoch, position: Position, suffix: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"id: ");
    id(epoch, position, suffix, out);
    out.extend_from_slice(b"\n\n");
}

/// `<epoch>.<n>`, and `~<suffix>` if the application has an id of its own.
pub fn id(epoch: Epoch, position: Position, suffix: Option<&str>, out: &mut Vec<u8>) {
    base_36(epoch.0, out);
    out.push(b'.');
    decimal(position.0, out);
    if let Some(suffix) = suffix {
        out.push(b'~');
        out.extend_from_slice(suffix.as_bytes());
    }
}

/// The text as a JSON string, quotes included.
pub fn json_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut written = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[written..at]);
        written = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}

fn decimal(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = HEX[(number % 10) as usize];
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

fn base_36(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 13];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize];
        number /= 36;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_payload_is_cut_into_lines_where_a_parser_sees_line_ends() {
        for (payload, expected) in [
            ("hi", "data: hi\n"),
            ("", "data:\n"),
            (" hi", "data:  hi\n"),
            (":hi", "data: :hi\n"),
            ("a\nb", "data: a\ndata: b\n"),
            ("a\rb", "data: a\ndata: b\n"),
            ("a\r\nb", "data: a\ndata: b\n"),
            ("a\n\rb", "data: a\ndata:\ndata: b\n"),
            ("a\r\rb", "data: a\ndata:\ndata: b\n"),
            ("\n", "data:\ndata:\n"),
            ("a\n", "data: a\ndata:\n"),
            ("\r\n\r\n", "data:\ndata:\ndata:\n"),
            ("a\0\t\u{85}\u{2028}b", "data: a\0\t\u{85}\u{2028}b\n"),
        ] {
            assert_eq!(written(|out| data(payload.as_bytes(), out)), expected, "{payload:?}");
        }
    }

    #[test]
    fn ids_are_written_as_they_are_displayed() {
        for number in [0, 1, 9, 10, 35, 36, 1_000_000, u64::MAX] {
            let id_line = written(|out| id_and_end(Epoch(number), Position(number), None, out));
            assert_eq!(id_line, format!("id: {}.{number}\n\n", Epoch(number)));
        }
        assert_eq!(written(|out| id(Epoch(10), Position(7), Some("order-17"), out)), "a.7~order-17");
    }

    #[test]
    fn json_strings_are_what_serde_reads_back() {
        let text = "\0\u{1}\u{1f} a\"b\\c\n\r\t/ü\u{2028}\u{7f}😀";
        let json = written(|out| json_string(text, out));
        assert_eq!(json, "\"\\u0000\\u0001\\u001f a\\\"b\\\\c\\n\\r\\t/ü\u{2028}\u{7f}😀\"");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn other_lines() {
        assert_eq!(written(|out| event("news.sport", out)), "event: news.sport\n");
        assert_eq!(written(|out| retry(Duration::from_millis(2_500), out)), "retry: 2500\n");
    }
}
