//! The `Accept` field (RFC 9110, section 12.5.1): whether it lets one media type through.

/// Whether the lines of an `Accept` field take `kind/subtype`. The most specific range that covers the type decides;
/// `q=0` counts as not accepted. No line, or nothing but empty lines, takes everything.
pub(super) fn accepts(lines: &[&[u8]], kind: &str, subtype: &str) -> bool {
    let mut any = false;
    let mut best: Option<(u8, bool)> = None;
    for range in lines.iter().flat_map(|line| line.split(|&byte| byte == b',')) {
        let mut parts = range.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let media = parts.next().unwrap_or_default();
        if media.is_empty() {
            continue;
        }
        any = true;
        let Some(specific) = specificity(media, kind, subtype) else { continue };
        let taken = !parts.any(is_zero_weight);
        best = match best {
            Some((level, _)) if level > specific => best,
            Some((level, before)) if level == specific => Some((level, before || taken)),
            Some(_) | None => Some((specific, taken)),
        };
    }
    !any || best.is_some_and(|(_, taken)| taken)
}

/// How closely a media range names the type; none if it does not cover it.
fn specificity(range: &[u8], kind: &str, subtype: &str) -> Option<u8> {
    let slash = memchr::memchr(b'/', range)?;
    let (range_kind, range_subtype) = (&range[..slash], &range[slash + 1..]);
    match (range_kind.eq_ignore_ascii_case(kind.as_bytes()), range_subtype) {
        (true, named) if named.eq_ignore_ascii_case(subtype.as_bytes()) => Some(2),
        (true, b"*") => Some(1),
        (false, b"*") if range_kind == b"*" => Some(0),
        (true | false, _) => None,
    }
}

/// Whether a parameter is `q=0`, `q=0.0`, `q=0.00` or `q=0.000`.
fn is_zero_weight(parameter: &[u8]) -> bool {
    let Some(equals) = memchr::memchr(b'=', parameter) else { return false };
    let (name, value) = (parameter[..equals].trim_ascii(), parameter[equals + 1..].trim_ascii());
    name.eq_ignore_ascii_case(b"q")
        && value.first() == Some(&b'0')
        && value[1..].iter().all(|&byte| byte == b'.' || byte == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts_stream(lines: &[&str]) -> bool {
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        accepts(&lines, "text", "event-stream")
    }

    #[test]
    fn the_most_specific_range_decides_and_a_weight_of_zero_refuses() {
        for (lines, expected) in [
            (&[][..], true),
            (&[""], true),
            (&["text/event-stream"], true),
            (&["Text/Event-Stream; charset=utf-8"], true),
            (&["text/*"], true),
            (&["*/*"], true),
            (&["application/json, text/plain, */*"], true),
            (&["text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"], true),
            (&["application/json", "text/event-stream"], true),
            (&["text/event-stream;q=0.001"], true),
            (&["application/json"], false),
            (&["text/html"], false),
            (&["text/event-stream;q=0"], false),
            (&["text/event-stream; Q = 0.000"], false),
            (&["text/event-stream;q=0, */*"], false),
            (&["text/*;q=0, */*"], false),
            (&["*/*;q=0"], false),
            (&["*/*;q=0, text/event-stream"], true),
            (&["*/event-stream"], false),
            (&["garbage"], false),
        ] {
            assert_eq!(accepts_stream(lines), expected, "{lines:?}");
        }
    }
}
