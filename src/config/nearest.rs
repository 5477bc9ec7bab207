//! The name that was probably meant.

/// Of `names` the one closest to `wrong`, if it is close enough to be a slip.
pub fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let best =
        names.into_iter().map(|name| (likeness(wrong, name), name)).min_by_key(|(distance, _)| *distance)?;
    (best.0 <= 2.max(wrong.chars().count() / 3)).then_some(best.1)
}

/// How far a name is, also without its table: `listen` is close to `server.listen`.
fn likeness(wrong: &str, name: &str) -> usize {
    let whole = distance(wrong, name);
    match name.split_once('.') {
        Some((_, key)) => whole.min(distance(wrong, key) + 1),
        None => whole,
    }
}

/// Levenshtein's distance. Cost: the product of the lengths.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(LENGTH_MAX).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, left) in left.chars().take(LENGTH_MAX).enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (at, right) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(left != *right);
            diagonal = row[at + 1];
            row[at + 1] = substituted.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// Longer names are compared by their beginning.
const LENGTH_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_find_the_name_and_other_words_do_not() {
        let names = ["server.listen", "admin.listen", "sse.heartbeat"];
        assert_eq!(nearest("server.lisen", names), Some("server.listen"));
        assert_eq!(nearest("heartbeet", names), Some("sse.heartbeat"));
        assert_eq!(nearest("sse.hearbeat", names), Some("sse.heartbeat"));
        assert_eq!(nearest("tls.certificate", names), None);
        assert_eq!(nearest("COURIER_REDIS_URL", ["COURIER_REDIS", "COURIER_RETRY"]), Some("COURIER_REDIS"));
    }
}
