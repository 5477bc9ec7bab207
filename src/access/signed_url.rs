//! Signed URLs: the application signs the channels of a URL, until when it holds, and perhaps for whom. No token, no
//! cookie, no code in the page.
//!
//! `expires` (seconds since 1970), `user` (optional) and `signature` stand in the query. The signature is HMAC-SHA256, in
//! hexadecimal digits, over lines with a line feed between them: the right (`subscribe` or `publish`), expires, user
//! (empty if there is none), then the channels in the order of the URL. No value holds a line feed, so no two requests
//! have the same text. All channels of the URL are signed together: one more or one less is another URL.

use std::borrow::Cow;
use std::sync::Arc;

use crate::access::keys::{KeyIndex, KeyRing};
use crate::access::signing_key::SigningKey;
use crate::access::{Credentials, Grant, Right};
use crate::base::channel::ChannelName;
use crate::base::limits::USER_BYTES;
use crate::base::time::UnixTime;
use crate::wire::url;

/// What a rule says about signed URLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedUrl {
    pub key: KeyIndex,
}

/// Why a URL is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlFault {
    /// It has no signature.
    Unsigned,
    /// `expires` or `user` is missing, twice there, or malformed.
    Malformed,
    Signature,
    Expired,
}

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub struct Statement<'a> {
    pub right: Right,
    pub expires: UnixTime,
    /// Empty: for nobody in particular.
    pub user: &'a str,
}

impl SignedUrl {
    /// What a URL with these channels gets.
    pub fn check(
        &self,
        ring: &KeyRing,
        right: Right,
        channels: &[&ChannelName],
        credentials: &Credentials<'_>,
        now: UnixTime,
    ) -> Result<Grant, UrlFault> {
        let parameters = Parameters::read(credentials.query)?;
        let expires = parameters.expires.as_deref().and_then(seconds).ok_or(UrlFault::Malformed)?;
        let user = std::str::from_utf8(parameters.user.as_deref().unwrap_or_default());
        let user = user.ok().filter(|user| is_user(user)).ok_or(UrlFault::Malformed)?;
        let text = Statement { right, expires, user }.text(channels.iter().copied());
        if !ring.url_key(self.key).is_signature(&text, &parameters.signature) {
            return Err(UrlFault::Signature);
        }
        if expires <= now {
            return Err(UrlFault::Expired);
        }
        let user = (!user.is_empty()).then(|| Arc::from(user));
        Ok(Grant { user, expires: Some(expires) })
    }
}

impl UrlFault {
    /// What is wrong, for the operator.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Unsigned => "the URL has no signature",
            Self::Malformed => {
                "expires is a whole number of seconds since 1970, user a text of at most 255 bytes without control \
                 characters, and each stands in the URL at most once"
            }
            Self::Signature => {
                "the signature is not by the rule's key, or not over these channels in this order"
            }
            Self::Expired => "the URL has expired",
        }
    }
}

impl Statement<'_> {
    /// The text that is signed.
    pub fn text<'a>(&self, channels: impl IntoIterator<Item = &'a ChannelName>) -> Vec<u8> {
        let right = match self.right {
            Right::Subscribe => "subscribe",
            Right::Publish => "publish",
        };
        let mut text = format!("{right}\n{}\n{}", self.expires.as_secs(), self.user).into_bytes();
        for channel in channels {
            text.push(b'\n');
            text.extend_from_slice(channel.as_bytes());
        }
        text
    }

    /// The query of a URL that holds: channels, expiry, user, signature.
    pub fn query<'a>(
        &self,
        channels: impl IntoIterator<Item = &'a ChannelName> + Clone,
        key: &SigningKey,
    ) -> String {
        let mut query = String::new();
        for channel in channels.clone() {
            query.push_str("channel=");
            url::encode(channel.as_bytes(), &mut query);
            query.push('&');
        }
        query.push_str(&format!("expires={}", self.expires.as_secs()));
        if !self.user.is_empty() {
            query.push_str("&user=");
            url::encode(self.user.as_bytes(), &mut query);
        }
        query.push_str("&signature=");
        query.push_str(&key.sign(&self.text(channels)));
        query
    }
}

/// Whether a text may stand as the user of a URL; an empty one is nobody.
pub fn is_user(text: &str) -> bool {
    text.len() <= USER_BYTES && !text.contains(char::is_control)
}

struct Parameters<'a> {
    expires: Option<Cow<'a, [u8]>>,
    user: Option<Cow<'a, [u8]>>,
    signature: Cow<'a, [u8]>,
}

impl<'a> Parameters<'a> {
    /// What stands twice could mean either: it is malformed.
    fn read(query: &'a [u8]) -> Result<Self, UrlFault> {
        let (mut expires, mut user, mut signature) = (None, None, None);
        for (name, value) in url::pairs(query) {
            let place = match &*name {
                b"expires" => &mut expires,
                b"user" => &mut user,
                b"signature" => &mut signature,
                _ => continue,
            };
            if place.replace(value).is_some() {
                return Err(UrlFault::Malformed);
            }
        }
        Ok(Self { expires, user, signature: signature.ok_or(UrlFault::Unsigned)? })
    }
}

/// Digits only, without zeros in front, so that a time has one spelling.
fn seconds(text: &[u8]) -> Option<UnixTime> {
    let is_plain = text.iter().all(u8::is_ascii_digit) && !text.starts_with(b"0");
    let secs = std::str::from_utf8(text).ok()?.parse().ok().filter(|_| is_plain)?;
    Some(UnixTime::from_secs(secs))
}
