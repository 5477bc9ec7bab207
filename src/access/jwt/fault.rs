//! Why a token does not hold. A client is never told which: the operator is, by `--check-config --as`.

/// A reason, in the order in which they are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Shape,
    Header,
    Algorithm,
    Critical,
    UnknownKey,
    Signature,
    Claims,
    Times,
    Subject,
    Rights,
    NoExpiry,
    Expired,
    NotYet,
    Audience,
    ForeignAudience,
    Issuer,
}

impl Fault {
    /// What is wrong, and what to do where that is not plain.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Shape => "it is no token: three parts of base64url with dots between them",
            Self::Header => "its header is no JSON object with the member alg",
            Self::Algorithm => "its alg is not the rule's algorithm",
            Self::Critical => "its header has the member crit, and courier knows no such extension",
            Self::UnknownKey => "its kid names no key of the rule, or it names none where there are several",
            Self::Signature => "its signature is not by the rule's key",
            Self::Claims => "its claims are no JSON object",
            Self::Times => "exp and nbf are numbers, seconds since 1970",
            Self::Subject => "sub is a text of 1 to 255 bytes without control characters, or a whole number",
            Self::Rights => {
                "courier is an object whose members subscribe and publish are lists of at most 256 channel patterns"
            }
            Self::NoExpiry => {
                "it has no exp, and the rule wants one (jwt.expiry = \"optional\" does without)"
            }
            Self::Expired => "it has expired",
            Self::NotYet => "it holds later than now (nbf)",
            Self::Audience => "its aud does not hold the rule's audience",
            Self::ForeignAudience => {
                "it has an aud, and the rule no audience that it could hold (jwt.audience)"
            }
            Self::Issuer => "its iss is not the rule's issuer",
        }
    }
}
