//! What `courier sign` needs: the secret that the channels' rule checks with, or that of the options for all.

use std::time::Duration;

use crate::access::signed_url::is_user;
use crate::access::{Right, Rules, SigningKey, Way};
use crate::base::channel::ChannelName;
use crate::config::SignCommand;
use crate::config::access;
use crate::config::error::{ConfigError, Origin};
use crate::config::settings::Settings;
use crate::config::table::Kind;
use crate::config::value::Value;

pub(super) fn command(
    settings: &Settings,
    channels: &[ChannelName],
    expires: &str,
    user: String,
    right: Right,
) -> Result<SignCommand, ConfigError> {
    let wrong = |flag: &str, value: &str, remedy: &str| {
        ConfigError::value(&Origin::Flag(flag.into()), flag, value, remedy)
    };
    let holds_for = match HOLDS_FOR.parse(&[expires.to_owned()]) {
        Ok(Value::Duration(duration)) => duration,
        Ok(other) => unreachable!("a duration is a duration: {other:?}"),
        Err(bad) => return Err(wrong("--expires", &bad.text, &bad.remedy)),
    };
    if !is_user(&user) {
        return Err(wrong("--user", &user, "at most 255 bytes without control characters"));
    }
    Ok(SignCommand {
        key: key(settings, channels, right)?,
        channels: channels.to_vec(),
        holds_for,
        user,
        right,
    })
}

fn key(settings: &Settings, channels: &[ChannelName], right: Right) -> Result<SigningKey, ConfigError> {
    if settings.rules.is_empty() {
        let (index, keys) = access::url_key(settings)?;
        return Ok(keys.ring.url_key(index).clone());
    }
    let (rules, keys) = access::rules(settings, &mut Vec::new())?;
    let rules = Rules::new(rules);
    let mut found = None;
    for channel in channels {
        let rule = rules.decide(channel).filter(|rule| rule.access(right).ways().contains(&Way::SignedUrl));
        let Some(url) = rule.and_then(|rule| rule.signed_url) else {
            return Err(ConfigError::new(format!(
                "no rule lets a signed URL into {channel}: access = [\"signed-url\"]"
            )));
        };
        if found.is_some_and(|found| found != url) {
            return Err(ConfigError::new(format!(
                "{channel} has another key than the channels before it: sign a URL for each"
            )));
        }
        found = Some(url);
    }
    let url = found.expect("the command line has at least one channel");
    Ok(keys.ring.url_key(url.key).clone())
}

const HOLDS_FOR: Kind = Kind::Duration {
    least: Duration::from_secs(1),
    most: Duration::from_secs(10 * 365 * 24 * 3_600),
    zero: false,
};
