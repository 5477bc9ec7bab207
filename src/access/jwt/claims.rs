//! What a token says, once its signature is known to be right.
//!
//! A claim of the wrong type makes the token worthless: who gets one wrong may have got others wrong.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::fault::Fault;
use super::token::decode;
use crate::access::{Pattern, Right};
use crate::base::channel::ChannelName;
use crate::base::limits::{CLAIM_PATTERNS, USER_BYTES};
use crate::base::time::UnixTime;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claims {
    /// `sub`; not empty.
    pub user: Option<Arc<str>>,
    /// `exp`.
    pub expires: Option<UnixTime>,
    /// `nbf`.
    pub not_before: Option<UnixTime>,
    /// `iss`.
    pub issuer: Option<String>,
    /// Those of `aud`.
    pub audience: Vec<String>,
    /// Whether there is an `aud`, even an empty one.
    pub has_audience: bool,
    subscribe: Vec<Pattern>,
    publish: Vec<Pattern>,
    /// All of them, for templates.
    all: Map<String, Value>,
}

impl Claims {
    /// Reads the second part of a token.
    pub fn read(part: &str) -> Result<Self, Fault> {
        let bytes = decode(part).ok_or(Fault::Claims)?;
        let all: Map<String, Value> = serde_json::from_slice(&bytes).map_err(|_| Fault::Claims)?;
        let (subscribe, publish) = match all.get("courier") {
            None => Default::default(),
            Some(Value::Object(rights)) => (patterns(rights, "subscribe")?, patterns(rights, "publish")?),
            Some(_) => return Err(Fault::Rights),
        };
        Ok(Self {
            user: all.get("sub").map(user).transpose()?,
            expires: all.get("exp").map(time).transpose()?,
            not_before: all.get("nbf").map(time).transpose()?,
            issuer: match all.get("iss") {
                None => None,
                Some(Value::String(issuer)) => Some(issuer.clone()),
                Some(_) => return Err(Fault::Issuer),
            },
            audience: all.get("aud").map_or_else(|| Ok(Vec::new()), audience)?,
            has_audience: all.contains_key("aud"),
            subscribe,
            publish,
            all,
        })
    }

    /// Whether the claim `courier` gives this right to this channel. A pattern never opens a reserved name.
    pub fn open(&self, right: Right, channel: &ChannelName) -> bool {
        let patterns = match right {
            Right::Subscribe => &self.subscribe,
            Right::Publish => &self.publish,
        };
        patterns.iter().any(|pattern| pattern.matches(channel))
    }

    /// The claim of this name as a part of a channel's name. None: it is missing, empty, or neither text nor whole number.
    pub fn text(&self, name: &str) -> Option<String> {
        let text = match self.all.get(name)? {
            Value::String(text) => text.clone(),
            Value::Number(number) if !number.is_f64() => number.to_string(),
            Value::Number(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                return None;
            }
        };
        (!text.is_empty()).then_some(text)
    }
}

fn user(value: &Value) -> Result<Arc<str>, Fault> {
    let user: Arc<str> = match value {
        Value::String(text) => text.as_str().into(),
        // RFC 7519 wants a text; applications whose users have numbers write numbers.
        Value::Number(number) if !number.is_f64() => number.to_string().into(),
        Value::Number(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            return Err(Fault::Subject);
        }
    };
    let fits = (1..=USER_BYTES).contains(&user.len()) && !user.contains(char::is_control);
    fits.then_some(user).ok_or(Fault::Subject)
}

/// A NumericDate: seconds since 1970, perhaps with a fraction. What lies before is 1970.
fn time(value: &Value) -> Result<UnixTime, Fault> {
    let number = value.as_number().ok_or(Fault::Times)?;
    if let Some(secs) = number.as_u64() {
        return Ok(UnixTime::from_secs(secs));
    }
    let secs = number.as_f64().filter(|secs| secs.is_finite()).ok_or(Fault::Times)?;
    // Saturates at both ends.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "what does not fit is cut to what does"
    )]
    Ok(UnixTime::from_millis((secs * 1_000.0) as u64))
}

fn audience(value: &Value) -> Result<Vec<String>, Fault> {
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or(Fault::Audience);
    match value {
        Value::Array(values) => values.iter().map(text).collect(),
        one => text(one).map(|one| vec![one]),
    }
}

fn patterns(rights: &Map<String, Value>, name: &str) -> Result<Vec<Pattern>, Fault> {
    let Some(value) = rights.get(name) else { return Ok(Vec::new()) };
    let values = value.as_array().filter(|values| values.len() <= CLAIM_PATTERNS).ok_or(Fault::Rights)?;
    let pattern =
        |value: &Value| value.as_str().and_then(|text| Pattern::parse(text).ok()).ok_or(Fault::Rights);
    values.iter().map(pattern).collect()
}
