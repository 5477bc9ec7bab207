//! Why a request was refused: a closed table of codes, statuses and sentences that say what to do.
//!
//! The code is the label of `courier_refusals_total`, the `code` member of the problem body, and a row of the page in
//! docs/protocols. A refusal never says whether a channel exists.

macro_rules! refusals {
    ($($variant:ident = $status:literal $code:literal $connection:ident $trigger:literal $detail:literal,)+) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Refusal {
            $($variant,)+
        }

        impl Refusal {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The HTTP status code.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            /// The stable word for programs.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The sentence for people: what is wrong and what to do.
            pub const fn detail(self) -> &'static str {
                match self { $(Self::$variant => $detail,)+ }
            }

            /// What brings it about, in the words of the reference page.
            pub const fn trigger(self) -> &'static str {
                match self { $(Self::$variant => $trigger,)+ }
            }

            /// What happens to the connection after the answer.
            pub const fn after(self) -> After {
                match self { $(Self::$variant => After::$connection,)+ }
            }
        }
    };
}

impl Refusal {
    /// The WWW-Authenticate field of the answer (RFC 6750, section 3): without an error for who shows nothing.
    pub const fn challenge(self) -> Option<&'static str> {
        match self {
            Self::TokenMissing | Self::AdminToken => Some("Bearer"),
            Self::TokenInvalid => Some("Bearer error=\"invalid_token\""),
            // A scheme of no registry: by what the application knows its clients is its own matter, and no browser shall ask
            // for a password.
            Self::ApplicationUnauthorized => Some("Application"),
            _ => None,
        }
    }
}

/// What happens to a connection after a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It may carry another request.
    Keep,
    /// Where the next request would start is unknown or cannot be trusted: it is closed.
    Close,
}

refusals! {
    MissingChannel = 400 "missing-channel" Keep
        "No `channel` parameter, at `/publish` unless the body is a batch."
        "Name at least one channel, as in /events?channel=news.",
    TooManyChannels = 400 "too-many-channels" Keep
        "More different `channel` parameters than `limits.channels_per_connection` (64 by default); more than one at `/publish`."
        "One connection takes at most 64 channels, if the operator says nothing else; open a second connection for the rest.",
    BadChannelName = 400 "bad-channel-name" Keep
        "A `channel` that is empty, longer than 255 bytes, not UTF-8, or has a control character."
        "A channel name is 1 to 255 bytes of UTF-8 without control characters; percent-encode it in the URL.",
    BadParameter = 400 "bad-parameter" Keep
        "A `format` other than `raw`, `event` and `json`; a `history` that is no whole number."
        "A query parameter has a value that is not one of those listed in the documentation.",
    BadBatch = 400 "bad-batch" Keep
        "A batch at `/publish` that is not right as a whole; nothing of it is published."
        "The body is no batch of messages.",
    AdminToken = 401 "admin-token" Keep
        "`POST /publish` on the admin side without the token of `admin.token`, with another one, or where none is given."
        "Publishing here needs Authorization: Bearer with the token that the operator has put into admin.token_file; \
         without one, nobody may.",
    ChannelNotOpen = 403 "channel-not-open" Keep
        "A channel that no rule opens, whether it exists or not."
        "No rule opens this channel to you. The operator opens channels with --public PATTERN or a [[channels]] rule.",
    TokenMissing = 401 "token-missing" Keep
        "A channel whose rule wants a token, and a request that shows none."
        "This channel wants a token: in Authorization: Bearer, or in the cookie that the operator names.",
    TokenInvalid = 401 "token-invalid" Keep
        "A channel whose rule wants a token, and a token that does not hold, for whatever reason."
        "The token does not hold, or no longer. Get a new one; courier --check-config --as TOKEN --channel NAME tells \
         the operator why.",
    UrlInvalid = 403 "url-invalid" Keep
        "A signed URL whose signature is not right, not over these channels, or expired."
        "The signature of this URL does not hold, or no longer. Get a new URL.",
    TwoUsers = 403 "two-users" Keep
        "Several channels that are open to the client as different users, as where a token names one and the application another."
        "These channels are open to you as different users, and a request is of one user: open one stream for each.",
    Disconnected = 403 "disconnected" Keep
        "`POST /publish` by a user, or in a channel, that `courier disconnect --for` keeps away."
        "The application keeps you away for a time; try again later.",
    ApplicationUnauthorized = 401 "application-unauthorized" Keep
        "The application answers 401."
        "The application does not know you: log in there, and come back.",
    ApplicationForbidden = 403 "application-forbidden" Keep
        "The application answers 403, or does not grant all of the channels."
        "The application does not grant you all of these channels.",
    OriginNotAllowed = 403 "origin-not-allowed" Keep
        "An `Origin` that is neither allowed nor the request's own host, or, where a cookie decides, one that is \
         not listed or may not use cookies; at `/publish` in try-out, any \
         `Origin` but the request's own host, or a `Host` that is no loopback name."
        "Pages of this origin may not do this. The operator lists origins with --allowed-origins; in try-out \
         publishing is for courier's own page at a loopback address.",
    NotFound = 404 "not-found" Keep
        "A path at which nothing is served."
        "Nothing is served here. Event streams are at /events?channel=NAME.",
    MethodNotAllowed = 405 "method-not-allowed" Keep
        "A method that the resource does not take; the answer's `Allow` lists those it takes."
        "This resource does not take that method; the Allow header lists those it takes.",
    NotAcceptable = 406 "not-acceptable" Keep
        "An `Accept` at `/events` that leaves no room for `text/event-stream`, or gives it `q=0`."
        "This resource is text/event-stream only; send Accept: text/event-stream or no Accept at all.",
    HeadTimeout = 408 "head-timeout" Close
        "A head that is not complete within `limits.head_timeout`."
        "The request head was not complete in time; send it in one go.",
    PayloadTooLarge = 413 "payload-too-large" Close
        "A `Content-Length` at `/publish` above `limits.message_bytes`."
        "The body is larger than this resource takes.",
    PublishRate = 429 "publish-rate" Keep
        "Messages at `/publish` of the web side beyond `limits.publish_rate` or `limits.publish_rate_per_client`."
        "Messages come faster than may be published here; go on after the time that Retry-After gives.",
    HeadTooLarge = 431 "head-too-large" Close
        "A head of more than `limits.head_bytes` bytes, or of more than `limits.head_fields` fields."
        "The request head is too large (8 KiB and 100 fields by default); send fewer cookies or a shorter query.",
    BadRequest = 400 "bad-request" Close
        "Anything else that is no HTTP/1.x head: bare LF or CR, an empty line in front, a folded field, a \
         forbidden byte, space before a colon, `#` or a foreign scheme in the target, `Host` that is no \
         host, two `Origin` or `Authorization` fields."
        "The request is not well-formed HTTP/1.1.",
    BodyNotAllowed = 400 "body-not-allowed" Close
        "GET, HEAD or OPTIONS with a `Content-Length` above 0."
        "A GET, HEAD or OPTIONS request has no body here; send neither Content-Length nor Transfer-Encoding.",
    TransferEncoding = 400 "transfer-encoding" Close
        "A `Transfer-Encoding` field, whatever it says."
        "Transfer-Encoding is not taken; send a body with Content-Length.",
    BadContentLength = 400 "bad-content-length" Close
        "Two `Content-Length` fields, equal or not, or a value that is not digits only."
        "Content-Length must be one decimal number, once.",
    LengthRequired = 411 "length-required" Close
        "`POST /publish` without `Content-Length`."
        "Say how long the body is: send Content-Length.",
    MissingHost = 400 "missing-host" Close
        "HTTP/1.1 without `Host`, or two `Host` fields."
        "An HTTP/1.1 request names its host, once: send a Host header.",
    HttpVersion = 505 "http-version" Close
        "A request line that ends with another version, such as `PRI * HTTP/2.0`."
        "This port speaks HTTP/1.1 and 1.0; put a proxy in front for HTTP/2.",
    Busy = 503 "busy" Close
        "A stream that cannot be served now, where `server.shed` is `503`; a HEAD about which the application does not say \
         whether it is let in."
        "This stream cannot be served now; come back after the time that Retry-After gives.",
    Unavailable = 503 "unavailable" Keep
        "`POST /publish` while Redis cannot be asked, or when it refused a message."
        "The message could not be handed to Redis, or it is not known whether it was; try again.",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_answered_401_is_told_what_to_show() {
        for refusal in Refusal::ALL {
            assert_eq!(refusal.status() == 401, refusal.challenge().is_some(), "{refusal:?}");
        }
    }
}
