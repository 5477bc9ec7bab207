//! JSON Web Tokens (RFC 7519): the application signs one, the client shows it, and its claims say which channels.
//!
//! What decides is the rule: its algorithm, its keys, its audience; the token's header chooses among the rule's keys
//! and nothing else. The signature is checked before any claim is read, with some key of the rule even when the header
//! already rules the token out, so that the time of an answer tells little of what was wrong. Times are compared with
//! the calendar that is passed in. Cost: one verification (`benches/tokens.rs`) for all channels of a request.

mod algorithm;
mod claims;
mod fault;
mod template;
mod token;

use std::sync::Arc;

use crate::access::Right;
use crate::access::credentials::Credentials;
use crate::access::keys::{KeyIndex, KeyRing, TokenKey};
use crate::base::channel::ChannelName;
use crate::base::limits::NOT_BEFORE_LEEWAY;
use crate::base::time::UnixTime;
use crate::wire::url;

pub use algorithm::Algorithm;
pub use claims::Claims;
pub use fault::Fault;
pub use template::{BadTemplate, Template};
pub use token::{Header, Parts};

/// What a rule says about tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwt {
    /// The same one for every rule that checks tokens in the same way: a request's token is checked once for all of them.
    pub verifier: Arc<Verifier>,
    /// The channels that a token opens beside those that its own claim `courier` lists.
    pub template: Option<Template>,
}

/// How a token is found and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier {
    pub algorithm: Algorithm,
    pub keys: KeyIndex,
    /// What `aud` must hold. None: a token that is meant for somebody in particular is not meant for courier.
    pub audience: Option<String>,
    /// What `iss` must be. None: it is not looked at.
    pub issuer: Option<String>,
    /// The cookie that may carry the token.
    pub cookie: String,
    /// Whether the query may carry it, as `access_token`.
    pub query: bool,
    /// Whether `exp` may be missing.
    pub endless: bool,
}

impl Jwt {
    /// Whether these claims give this right to this channel.
    pub fn opens(&self, right: Right, channel: &ChannelName, claims: &Claims) -> bool {
        claims.open(right, channel)
            || self.template.as_ref().is_some_and(|template| template.matches(claims, channel))
    }
}

impl Verifier {
    /// The token of a request. What is written for it comes before what a browser adds by itself.
    pub fn find<'a>(&self, credentials: &Credentials<'a>) -> Option<std::borrow::Cow<'a, [u8]>> {
        let in_query = || {
            let mut pairs = url::pairs(credentials.query).filter(|_| self.query);
            pairs
                .find(|(name, value)| &**name == b"access_token" && !value.is_empty())
                .map(|(_, value)| value)
        };
        let in_cookie = || credentials.cookie(&self.cookie).filter(|value| !value.is_empty()).map(Into::into);
        credentials.bearer().map(Into::into).or_else(in_query).or_else(in_cookie)
    }

    /// The claims of a token that holds now.
    pub fn check(&self, ring: &KeyRing, token: &[u8], now: UnixTime) -> Result<Claims, Fault> {
        let parts = Parts::split(token).ok_or(Fault::Shape)?;
        let header = Header::read(parts.header).ok_or(Fault::Header)?;
        let (key, is_known) = choose(ring.token_keys(self.keys), header.key_id.as_deref());
        let is_signed = key.is_signature(self.algorithm, parts.signed, parts.signature);
        if header.algorithm != self.algorithm.name() {
            return Err(Fault::Algorithm);
        }
        if header.critical.is_some() {
            return Err(Fault::Critical);
        }
        if !is_known {
            return Err(Fault::UnknownKey);
        }
        if !is_signed {
            return Err(Fault::Signature);
        }
        let claims = Claims::read(parts.payload)?;
        self.check_claims(&claims, now).map(|()| claims)
    }

    fn check_claims(&self, claims: &Claims, now: UnixTime) -> Result<(), Fault> {
        match claims.expires {
            None if !self.endless => return Err(Fault::NoExpiry),
            Some(expires) if expires <= now => return Err(Fault::Expired),
            Some(_) | None => {}
        }
        if claims.not_before.is_some_and(|begin| begin > now.after(NOT_BEFORE_LEEWAY)) {
            return Err(Fault::NotYet);
        }
        match &self.audience {
            Some(audience) if !claims.audience.contains(audience) => return Err(Fault::Audience),
            // RFC 7519, section 4.1.3: who is not among those that are named refuses the token.
            None if claims.has_audience => return Err(Fault::ForeignAudience),
            Some(_) | None => {}
        }
        if self.issuer.is_some() && claims.issuer != self.issuer {
            return Err(Fault::Issuer);
        }
        Ok(())
    }
}

/// The key that a token names, or some key and that it is not the one. A token that names none has a choice of one.
fn choose<'a>(keys: &'a [TokenKey], id: Option<&str>) -> (&'a TokenKey, bool) {
    let first = keys.first().expect("a set of keys has at least one");
    match (keys, id) {
        // Key files have keys without a name, and no choice.
        ([only], None) => (only, true),
        ([only], Some(_)) if only.id.is_none() => (only, true),
        (_, Some(id)) => match keys.iter().find(|key| key.id.as_deref() == Some(id)) {
            Some(key) => (key, true),
            None => (first, false),
        },
        (_, None) => (first, false),
    }
}

#[cfg(test)]
mod tests;
