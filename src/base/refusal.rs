//! Why a request was refused: a closed table of codes, statuses and sentences that say what to do.
//!
//! The code is the label of `courier_refusals_total`, the `code` member of the problem body, and a row of the page in
//! docs/protocols. A refusal never says whether a channel exists.

macro_rules! refusals {
    ($($variant:ident = $status:literal $code:literal $connection:ident $detail:literal,)+) => {
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

            /// What happens to the connection after the answer.
            pub const fn after(self) -> After {
                match self { $(Self::$variant => After::$connection,)+ }
            }
        }
    };
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
        "Name at least one channel, as in /events?channel=news.",
    TooManyChannels = 400 "too-many-channels" Keep
        "One connection takes at most 64 channels; open a second connection for the rest.",
    BadChannelName = 400 "bad-channel-name" Keep
        "A channel name is 1 to 255 bytes of UTF-8 without control characters; percent-encode it in the URL.",
    BadParameter = 400 "bad-parameter" Keep
        "A query parameter has a value that is not one of those listed in the documentation.",
    ChannelNotOpen = 403 "channel-not-open" Keep
        "No rule opens this channel to you. The operator opens channels with --public PATTERN or a [[channels]] rule.",
    OriginNotAllowed = 403 "origin-not-allowed" Keep
        "Pages of this origin may not do this; it is allowed from courier's own pages only.",
    NotFound = 404 "not-found" Keep
        "Nothing is served here. Event streams are at /events?channel=NAME.",
    MethodNotAllowed = 405 "method-not-allowed" Keep
        "This resource does not take that method; the Allow header lists those it takes.",
    NotAcceptable = 406 "not-acceptable" Keep
        "This resource is text/event-stream only; send Accept: text/event-stream or no Accept at all.",
    HeadTimeout = 408 "head-timeout" Close
        "The request head was not complete in time; send it in one go.",
    PayloadTooLarge = 413 "payload-too-large" Close
        "The body is larger than this resource takes.",
    HeadTooLarge = 431 "head-too-large" Close
        "The request head is larger than 8 KiB; send fewer cookies or a shorter query.",
    BadRequest = 400 "bad-request" Close
        "The request is not well-formed HTTP/1.1.",
    BodyNotAllowed = 400 "body-not-allowed" Close
        "A GET, HEAD or OPTIONS request has no body here; send neither Content-Length nor Transfer-Encoding.",
    TransferEncoding = 400 "transfer-encoding" Close
        "Transfer-Encoding is not taken; send a body with Content-Length.",
    BadContentLength = 400 "bad-content-length" Close
        "Content-Length must be one decimal number, once.",
    LengthRequired = 411 "length-required" Close
        "Say how long the body is: send Content-Length.",
    MissingHost = 400 "missing-host" Close
        "An HTTP/1.1 request names its host, once: send a Host header.",
    HttpVersion = 505 "http-version" Close
        "This port speaks HTTP/1.1 and 1.0; put a proxy in front for HTTP/2.",
    Unavailable = 503 "unavailable" Keep
        "The message could not be handed to Redis; try again.",
}
