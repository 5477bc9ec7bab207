//! The decision: may these credentials do this with these channels?
//!
//! For each channel the first rule that matches counts, and of its ways in the first that lets the request in. All
//! channels of a request must be granted, or the request is refused; a refusal never says whether a channel exists.

use crate::access::{Access, Credentials, Grant, Right, Rules, Way};
use crate::base::channel::ChannelName;
use crate::base::refusal::Refusal;
use crate::base::time::UnixTime;

/// What decides. The same for every shard.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    pub rules: Rules,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Granted(Grant),
    Refused(Refusal),
}

impl Gate {
    /// Only what the rules themselves can decide.
    pub fn new(rules: Rules) -> Self {
        Self { rules }
    }

    /// Decides about all of these channels at once.
    pub fn decide<'a>(
        &self,
        right: Right,
        channels: impl IntoIterator<Item = &'a ChannelName>,
        credentials: &Credentials<'_>,
        now: UnixTime,
    ) -> Verdict {
        let mut granted = Grant::default();
        for channel in channels {
            let Some(rule) = self.rules.decide(channel) else {
                return Verdict::Refused(Refusal::ChannelNotOpen);
            };
            let access = rule.access(right);
            match Self::try_ways(access, credentials, now) {
                Verdict::Granted(grant) => granted = granted.and(grant),
                // What is wrong is not what was shown, but on whose page.
                Verdict::Refused(_)
                    if credentials.cookies_withheld && access.ways().iter().any(Way::reads_cookies) =>
                {
                    return Verdict::Refused(Refusal::OriginNotAllowed);
                }
                refused @ Verdict::Refused(_) => return refused,
            }
        }
        Verdict::Granted(granted)
    }

    fn try_ways(access: &Access, _credentials: &Credentials<'_>, _now: UnixTime) -> Verdict {
        if access.is_public() {
            return Verdict::Granted(Grant::default());
        }
        Verdict::Refused(Refusal::ChannelNotOpen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Pattern, Rule};

    #[test]
    fn all_channels_must_be_granted_and_the_right_that_is_asked_for_counts() {
        let rule = |pattern, access| Rule::new(Pattern::parse(pattern).unwrap(), access);
        let gate = Gate::new(Rules::new(vec![
            rule("secret", Access::closed()),
            Rule { publish: Access::public(), ..rule("both", Access::public()) },
            rule("*", Access::public()),
        ]));
        let decide = |right, names: &[&str]| {
            let names: Vec<_> =
                names.iter().map(|name| ChannelName::parse(name.as_bytes()).unwrap()).collect();
            gate.decide(right, &names, &Credentials::default(), UnixTime::from_secs(0))
        };
        let refused = Verdict::Refused(Refusal::ChannelNotOpen);
        assert_eq!(decide(Right::Subscribe, &["a", "both"]), Verdict::Granted(Grant::default()));
        assert_eq!(decide(Right::Subscribe, &["a", "secret"]), refused);
        assert_eq!(decide(Right::Publish, &["both"]), Verdict::Granted(Grant::default()));
        assert_eq!(decide(Right::Publish, &["both", "a"]), refused);
        assert_eq!(decide(Right::Subscribe, &["__reserved"]), refused);
    }
}
