//! The decision: may these credentials do this with these channels?
//!
//! For each channel the first rule that matches counts, and of its ways in the first that lets the request in. All
//! channels of a request must be granted, or the request is refused; a refusal never says whether a channel exists.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::access::denial::Denial;
use crate::access::jwt::{Claims, Fault, Verifier};
use crate::access::keys::KeyRing;
use crate::access::{Credentials, Grant, Right, Rule, Rules, Way};
use crate::base::channel::ChannelName;
use crate::base::refusal::Refusal;
use crate::base::time::UnixTime;

/// What decides. The same for every shard.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    pub rules: Rules,
    /// What the rules' signatures are checked with; may be replaced at any time.
    pub keys: Arc<KeyRing>,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Granted(Grant),
    Refused(Refusal),
}

/// How a decision about one channel came about, for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account<'a> {
    pub channel: &'a ChannelName,
    /// The rule that decides, by its place. None: no rule matches.
    pub rule: Option<usize>,
    /// The ways that were tried, in their order, and what they said; the last one granted, or none did.
    pub tried: Vec<(Way, Result<Grant, Denial>)>,
}

impl Gate {
    /// Only what the rules themselves can decide.
    pub fn new(rules: Rules) -> Self {
        Self { rules, keys: Arc::default() }
    }

    /// Decides about all of these channels at once.
    pub fn decide<'a>(
        &self,
        right: Right,
        channels: impl IntoIterator<Item = &'a ChannelName>,
        credentials: &Credentials<'_>,
        now: UnixTime,
    ) -> Verdict {
        let mut visit = Visit::new(self, right, channels, credentials, now);
        let mut granted = Grant::default();
        for index in 0..visit.channels.len() {
            let channel = visit.channels[index];
            let Some(rule) = self.rules.decide(channel) else {
                return Verdict::Refused(Refusal::ChannelNotOpen);
            };
            match visit.try_rule(rule, channel) {
                Ok(grant) => granted = granted.and(grant),
                Err(refusal) => return Verdict::Refused(refusal),
            }
        }
        Verdict::Granted(granted)
    }

    /// The same decision with everything that led to it.
    pub fn explain<'a>(
        &self,
        right: Right,
        channels: impl IntoIterator<Item = &'a ChannelName>,
        credentials: &Credentials<'_>,
        now: UnixTime,
    ) -> Vec<Account<'a>> {
        let mut visit = Visit::new(self, right, channels, credentials, now);
        let channels = visit.channels.clone();
        let account = |channel| {
            let rule = self.rules.place(channel);
            let mut tried = Vec::new();
            if let Some(rule) = rule.map(|place| &self.rules.rows()[place]) {
                for &way in rule.access(right).ways() {
                    tried.push((way, visit.try_way(way, rule, channel)));
                    if tried.last().is_some_and(|(_, said)| said.is_ok()) {
                        break;
                    }
                }
            }
            Account { channel, rule, tried }
        };
        channels.into_iter().map(account).collect()
    }
}

/// What a verifier said of a token.
type Checked = Result<Arc<Claims>, Denial>;

/// A request before the gate. What it shows is checked once, however many channels it asks for.
struct Visit<'a, 'g, 'r> {
    gate: &'g Gate,
    right: Right,
    channels: SmallVec<[&'a ChannelName; 4]>,
    credentials: &'g Credentials<'r>,
    now: UnixTime,
    /// What each verifier said of the request's token.
    tokens: SmallVec<[(&'g Arc<Verifier>, Checked); 1]>,
}

impl<'a, 'g, 'r> Visit<'a, 'g, 'r> {
    fn new(
        gate: &'g Gate,
        right: Right,
        channels: impl IntoIterator<Item = &'a ChannelName>,
        credentials: &'g Credentials<'r>,
        now: UnixTime,
    ) -> Self {
        let channels = channels.into_iter().collect();
        Self { gate, right, channels, credentials, now, tokens: SmallVec::new() }
    }

    /// The grant of the first way that gives one, or what to tell the client.
    fn try_rule(&mut self, rule: &'g Rule, channel: &ChannelName) -> Result<Grant, Refusal> {
        let ways = rule.access(self.right).ways();
        let mut denied: Option<Denial> = None;
        for &way in ways {
            match self.try_way(way, rule, channel) {
                Ok(grant) => return Ok(grant),
                Err(denial) => denied = Some(denied.map_or(denial, |denied| denied.or(denial))),
            }
        }
        // What is wrong is not what was shown, but on whose page.
        if self.credentials.cookies_withheld
            && ways.iter().any(Way::reads_cookies)
            && !denied.is_some_and(Denial::is_about_what_was_shown)
        {
            return Err(Refusal::OriginNotAllowed);
        }
        Err(denied.map_or(Refusal::ChannelNotOpen, Denial::refusal))
    }

    fn try_way(&mut self, way: Way, rule: &'g Rule, channel: &ChannelName) -> Result<Grant, Denial> {
        match way {
            Way::Public => Ok(Grant::default()),
            Way::Jwt => {
                let jwt = rule.jwt.as_deref().expect("a rule that lets tokens in says how they are checked");
                let claims = self.claims(&jwt.verifier)?;
                if !jwt.opens(self.right, channel, &claims) {
                    return Err(Denial::NotOpened);
                }
                Ok(Grant { user: claims.user.clone(), expires: claims.expires })
            }
            Way::SignedUrl => {
                let url = rule.signed_url.expect("a rule that lets signed URLs in says how they are checked");
                url.check(&self.gate.keys, self.right, &self.channels, self.credentials, self.now)
                    .map_err(Denial::Url)
            }
        }
    }

    /// The claims of the request's token, by this verifier.
    fn claims(&mut self, verifier: &'g Arc<Verifier>) -> Checked {
        if let Some((_, known)) = self.tokens.iter().find(|(one, _)| Arc::ptr_eq(one, verifier)) {
            return known.clone();
        }
        let checked = match verifier.find(self.credentials) {
            None => Err(Denial::NoToken),
            Some(token) => {
                let checked: Result<Claims, Fault> = verifier.check(&self.gate.keys, &token, self.now);
                checked.map(Arc::new).map_err(Denial::Token)
            }
        };
        self.tokens.push((verifier, checked.clone()));
        checked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Access, Pattern, Rule};

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
