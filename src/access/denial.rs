//! Why a way in did not let a request in, and what the client is told when none of a rule's ways did.

use crate::access::jwt::Fault;
use crate::access::signed_url::UrlFault;
use crate::base::refusal::Refusal;

/// The answer of one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// It wants a token, and there is none.
    NoToken,
    /// The token does not hold.
    Token(Fault),
    /// The token holds, and does not open this channel.
    NotOpened,
    /// The URL has no signature, or not a good one.
    Url(UrlFault),
    /// The application is to be asked, and has not been.
    Asks,
}

impl Denial {
    /// What is wrong, for the operator.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoToken => {
                "there is no token: no Authorization: Bearer, no cookie of the rule's name, no access_token where the \
                 query may carry it"
            }
            Self::Token(fault) => fault.reason(),
            Self::NotOpened => {
                "the token holds, but neither its claim courier nor the rule's template opens this channel"
            }
            Self::Url(fault) => fault.reason(),
            Self::Asks => "the application decides, and is asked when a request comes",
        }
    }

    /// What the client is told; every token that does not hold in the same words.
    pub const fn refusal(self) -> Refusal {
        match self {
            Self::NoToken => Refusal::TokenMissing,
            Self::Token(_) => Refusal::TokenInvalid,
            Self::NotOpened | Self::Url(UrlFault::Unsigned) | Self::Asks => Refusal::ChannelNotOpen,
            Self::Url(UrlFault::Malformed | UrlFault::Signature | UrlFault::Expired) => Refusal::UrlInvalid,
        }
    }

    /// Of two ways' answers the one that is told: about what the client has shown, before what it has not.
    pub fn or(self, other: Self) -> Self {
        if other.weight() > self.weight() { other } else { self }
    }

    /// Whether the request has shown what this way asks for.
    pub const fn is_about_what_was_shown(self) -> bool {
        self.weight() >= 2
    }

    const fn weight(self) -> u8 {
        match self {
            Self::Url(UrlFault::Unsigned) | Self::Asks => 0,
            Self::NoToken => 1,
            Self::Token(_) | Self::Url(UrlFault::Malformed | UrlFault::Signature | UrlFault::Expired) => 2,
            Self::NotOpened => 3,
        }
    }
}
