//! Percent-decoding and query pairs, as `application/x-www-form-urlencoded` is read by browsers (WHATWG URL, 5.1).
//!
//! Never fails: a `%` that starts no escape is itself, so what is refused is decided by whoever gives the value a
//! meaning. Cost: no allocation for a text without escapes.

use std::borrow::Cow;

/// The text with every `%XX` replaced by its byte; `+` stays what it is, as in a path.
pub fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    match memchr::memchr(b'%', text) {
        None => Cow::Borrowed(text),
        Some(first) => Cow::Owned(unescape(text, first, b'+')),
    }
}

/// The pairs of a query, decoded, in their order. A pair without `=` has an empty value; empty pairs are left out.
pub fn pairs(query: &[u8]) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    query.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = match memchr::memchr(b'=', pair) {
            None => (pair, &[][..]),
            Some(at) => (&pair[..at], &pair[at + 1..]),
        };
        (decode_form(name), decode_form(value))
    })
}

/// Appends a text so that it reads back the same as a name or a value of a query.
pub fn encode(text: &[u8], out: &mut String) {
    for &byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.extend([byte >> 4, byte & 15].map(|nibble| char::from(HEX[usize::from(nibble)])));
        }
    }
}

/// As [`decode`], and `+` is a space.
fn decode_form(text: &[u8]) -> Cow<'_, [u8]> {
    match memchr::memchr2(b'%', b'+', text) {
        None => Cow::Borrowed(text),
        Some(first) => Cow::Owned(unescape(text, first, b' ')),
    }
}

/// Decodes a text whose first special byte is at `first`; a `+` becomes `plus`.
fn unescape(text: &[u8], first: usize, plus: u8) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    decoded.extend_from_slice(&text[..first]);
    let mut rest = &text[first..];
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match (byte, behind) {
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    decoded.push(high << 4 | low);
                    rest = after;
                }
                (None, _) | (_, None) => decoded.push(b'%'),
            },
            (b'+', _) => decoded.push(plus),
            (byte, _) => decoded.push(byte),
        }
    }
    decoded
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(query: &str) -> Vec<(String, String)> {
        let text = |bytes: Cow<'_, [u8]>| String::from_utf8_lossy(&bytes).into_owned();
        pairs(query.as_bytes()).map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn escapes_are_decoded_and_a_percent_sign_that_starts_none_is_itself() {
        for (text, expected) in [
            ("/events", "/events"),
            ("/%65vents", "/events"),
            ("%c3%BC", "ü"),
            ("100%", "100%"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("%%41", "%A"),
            ("a+b", "a+b"),
            ("%2525", "%25"),
        ] {
            assert_eq!(String::from_utf8_lossy(&decode(text.as_bytes())), expected, "{text}");
        }
        assert_eq!(&*decode(b"%00%ff"), b"\x00\xff");
    }

    #[test]
    fn what_is_encoded_reads_back() {
        let every_byte: Vec<u8> = (0..=255).collect();
        let mut query = String::from("a=");
        encode(&every_byte, &mut query);
        assert_eq!(pairs(query.as_bytes()).next().unwrap().1, every_byte);
        let mut text = String::new();
        encode("user.7 ü/*".as_bytes(), &mut text);
        assert_eq!(text, "user.7%20%C3%BC%2F%2A");
    }

    #[test]
    fn a_query_is_read_as_a_browser_writes_it() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            listed("channel=a+b&channel=c%2Bd&x&=y&&z==&%63=%26"),
            [
                pair("channel", "a b"),
                pair("channel", "c+d"),
                pair("x", ""),
                pair("", "y"),
                pair("z", "="),
                pair("c", "&")
            ]
        );
        assert_eq!(listed(""), []);
    }
}
