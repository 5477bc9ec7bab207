//! Redis's glob patterns over bytes: `*`, `?`, `[abc]`, `[^a-z]`, `\x`.
//!
//! Behaves as `stringmatchlen` of Redis 7 without its case-insensitive form (util.c). Written as a loop with one
//! backtracking point, not by recursion: a pattern of many stars costs at most pattern x text steps.

/// Whether `text` matches `pattern`.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut text_at) = (0, 0);
    // Where to go on after the last star: the pattern behind it, and the text that it does not swallow yet.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            star = Some((at, text_at));
            continue;
        }
        if text_at == text.len() {
            return at == pattern.len();
        }
        if at < pattern.len() {
            let (matched, next) = step(pattern, at, text[text_at]);
            if matched {
                (at, text_at) = (next, text_at + 1);
                continue;
            }
        }
        match star {
            None => return false,
            Some((behind, swallowed)) => {
                star = Some((behind, swallowed + 1));
                (at, text_at) = (behind, swallowed + 1);
            }
        }
    }
}

/// Whether the pattern element at `at` takes `byte`, and where the next element starts.
fn step(pattern: &[u8], at: usize, byte: u8) -> (bool, usize) {
    match pattern[at] {
        b'?' => (true, at + 1),
        b'[' => class(pattern, at + 1, byte),
        b'\\' if at + 1 < pattern.len() => (pattern[at + 1] == byte, at + 2),
        literal => (literal == byte, at + 1),
    }
}

/// A character class whose first element is at `at`. One without its `]` ends with the pattern, as in Redis.
fn class(pattern: &[u8], mut at: usize, byte: u8) -> (bool, usize) {
    let negated = pattern.get(at) == Some(&b'^');
    if negated {
        at += 1;
    }
    let mut found = false;
    loop {
        match pattern[at.min(pattern.len())..] {
            [] => break,
            [b'\\', escaped, ..] => {
                found |= escaped == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [first, b'-', last, ..] => {
                found |= (first.min(last)..=first.max(last)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                found |= literal == byte;
                at += 1;
            }
        }
    }
    (found != negated, at)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_in_redis() {
        let table: [(&str, &str, bool); 24] = [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("news.*", "news.sport", true),
            ("news.*", "news.", true),
            ("news.*", "news", false),
            ("*.sport", "a.b.sport", true),
            ("a*b*c", "a__b__b__c", true),
            ("a*b*c", "a__b__b__", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("h[a-b]llo", "hcllo", false),
            ("h\\*llo", "h*llo", true),
            ("h\\*llo", "hello", false),
            ("[\\]]", "]", true),
            ("a**b", "ab", true),
            ("[abc", "b", true),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn many_stars_cost_at_most_pattern_times_text() {
        let pattern = "a*".repeat(100) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(10_000).as_bytes()));
    }
}
