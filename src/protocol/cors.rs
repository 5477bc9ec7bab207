//! The fields that let pages of other origins read an answer (Fetch standard, "CORS protocol").
//!
//! Every answer of the web side has them, errors and preflights too: without them a page cannot tell an error from a
//! dead network. With credentials only for listed origins, and only if the operator says so.

use crate::access::{AllowedOrigins, is_same_host};
use crate::protocol::site::Site;
use crate::wire::http::{self, Head};

/// The field lines of an answer to a request with this origin.
pub(super) fn fields(site: &Site, origin: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    match &site.origins {
        // The same for every origin, so that caches need not tell them apart.
        AllowedOrigins::Any => http::field("Access-Control-Allow-Origin", "*", &mut out),
        AllowedOrigins::Listed(_) => {
            let allowed = origin.filter(|origin| site.origins.lists(origin));
            if let Some(origin) = allowed.and_then(|origin| std::str::from_utf8(origin).ok()) {
                http::field("Access-Control-Allow-Origin", origin, &mut out);
                if site.allow_credentials {
                    http::field("Access-Control-Allow-Credentials", "true", &mut out);
                }
            }
            http::field("Vary", "Origin", &mut out);
        }
    }
    out
}

/// The further field lines of an answer to a preflight.
pub(super) fn preflight_fields(methods: &str, out: &mut Vec<u8>) {
    http::field("Access-Control-Allow-Methods", methods, out);
    http::field(
        "Access-Control-Allow-Headers",
        "last-event-id, cache-control, authorization, content-type",
        out,
    );
    // The longest that browsers honour (Chromium: two hours).
    http::field("Access-Control-Max-Age", "7200", out);
}

/// Whether cookies of this request count: a browser sends them whoever's page asks, so the page has to be the host's own,
/// or on the list where the operator lets listed pages use cookies; to withhold `Access-Control-Allow-Credentials` keeps a
/// page from reading an answer and not from asking. Requests without Origin are of no page, or of one of the
/// same origin, unless the browser says otherwise (Fetch metadata, as of an image's address).
pub(super) fn may_use_cookies(site: &Site, head: &Head<'_>) -> bool {
    match head.origin {
        Some(origin) => site.allow_credentials && site.origins.lists(origin) || is_of_host(origin, head),
        None => !head.sec_fetch_site.is_some_and(|site| site == b"cross-site" || site == b"same-site"),
    }
}

/// Whether the page that asks, if it is one, may read the answer.
pub(super) fn is_allowed(origins: &AllowedOrigins, head: &Head<'_>) -> bool {
    head.origin.is_none_or(|origin| origins.allows(origin) || is_of_host(origin, head))
}

fn is_of_host(origin: &[u8], head: &Head<'_>) -> bool {
    head.host.is_some_and(|host| is_same_host(origin, host))
}
