//! What a request shows to get in. Borrowed from its head; nothing here is logged or kept.

use std::fmt;

use smallvec::SmallVec;

use crate::base::peer::Peer;

/// The parts of a request that ways in look at, as they came.
#[derive(Clone, Default)]
pub struct Credentials<'a> {
    /// The Authorization field.
    pub authorization: Option<&'a [u8]>,
    /// The lines of the Cookie field, in order. None if the page that asks may not use them: no way in has to think of it.
    pub cookies: SmallVec<[&'a [u8]; 1]>,
    /// True exactly if there were cookies that do not count because of the page that asks.
    pub cookies_withheld: bool,
    /// Behind the `?` of the target, undecoded.
    pub query: &'a [u8],
    /// Who asks; behind a trusted proxy the one that it names. Known only if [`super::Way::reads_client`] is true of a way in,
    /// or something else wants it.
    pub client: Peer,
    /// All field lines of its head, for those that an operator chooses.
    pub fields: &'a [u8],
}

/// Who asks, and nothing of what is shown: that is secret.
impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credentials").field("client", &self.client).finish_non_exhaustive()
    }
}

impl<'a> Credentials<'a> {
    /// The first cookie of this name (RFC 6265, section 4.2.1). Quotes around a value are part of it, as browsers have it.
    pub fn cookie(&self, name: &str) -> Option<&'a [u8]> {
        self.pairs().find(|(known, _)| *known == name.as_bytes()).map(|(_, value)| value)
    }

    /// All cookies in order. What has no `=` is none.
    pub fn pairs(&self) -> impl DoubleEndedIterator<Item = (&'a [u8], &'a [u8])> {
        let pairs = self.cookies.iter().flat_map(|line| line.split(|&byte| byte == b';'));
        pairs.filter_map(|pair| {
            let pair = pair.trim_ascii();
            let at = pair.iter().position(|&byte| byte == b'=')?;
            Some((&pair[..at], &pair[at + 1..]))
        })
    }

    /// The token of `Authorization: Bearer` (RFC 6750, section 2.1); the scheme's case does not matter.
    pub fn bearer(&self) -> Option<&'a [u8]> {
        let (scheme, token) = self.authorization?.split_at_checked(BEARER.len())?;
        let token = token.strip_prefix(b" ")?.trim_ascii();
        (scheme.eq_ignore_ascii_case(BEARER) && !token.is_empty()).then_some(token)
    }
}

const BEARER: &[u8] = b"bearer";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_never_printed() {
        let credentials = Credentials {
            authorization: Some(b"Bearer secret"),
            cookies: [&b"token=secret"[..]].into_iter().collect(),
            query: b"access_token=secret",
            ..Credentials::default()
        };
        let bytes = format!("{:?}", b"secret").replace(['[', ']'], "");
        let printed = format!("{credentials:?}");
        assert!(!printed.contains(&bytes) && !printed.contains("secret"), "{printed}");
    }

    #[test]
    fn the_first_cookie_of_the_name_counts() {
        let cookies = [&b"a=1; ab=2;b=3"[..], b"b=4;  c=\"5=\" "];
        let credentials = Credentials { cookies: cookies.into_iter().collect(), ..Credentials::default() };
        for (name, value) in [
            ("a", Some(&b"1"[..])),
            ("ab", Some(b"2")),
            ("b", Some(b"3")),
            ("c", Some(b"\"5=\"")),
            ("d", None),
            ("", None),
        ] {
            assert_eq!(credentials.cookie(name), value, "{name}");
        }
    }

    #[test]
    fn a_bearer_token_stands_behind_its_scheme() {
        for (field, token) in [
            (&b"Bearer a.b.c"[..], Some(&b"a.b.c"[..])),
            (b"bearer  a ", Some(b"a")),
            (b"Bearer", None),
            (b"Bearer ", None),
            (b"Bearera", None),
            (b"Basic YTpi", None),
        ] {
            let credentials = Credentials { authorization: Some(field), ..Credentials::default() };
            assert_eq!(credentials.bearer(), token, "{}", field.escape_ascii());
        }
        assert_eq!(Credentials::default().bearer(), None);
    }
}
