//! The decision: may these credentials do this with these channels?
//!
//! For each channel the first rule that matches counts, and of its ways in the first that lets the request in. Ways that
//! courier can decide by itself are tried before the application is asked. All channels of a request must be granted, or
//! the request is refused; a refusal never says whether a channel exists.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::access::denial::Denial;
use crate::access::jwt::{Claims, Fault, Verifier};
use crate::access::keys::KeyRing;
use crate::access::{Credentials, Endpoint, EndpointIndex, Grant, Question, Right, Rule, Rules, Way};
use crate::base::channel::ChannelName;
use crate::base::refusal::Refusal;
use crate::base::time::UnixTime;

/// What decides. The same for every shard.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    pub rules: Rules,
    /// What the rules' signatures are checked with; may be replaced at any time.
    pub keys: Arc<KeyRing>,
    /// Where the rules' ways `callback` and `session` ask.
    pub endpoints: Arc<[Endpoint]>,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Granted(Grant),
    Refused(Refusal),
    /// What is left is for applications to say.
    Ask(Questions),
}

/// What applications are to be asked, all of whom must grant it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Questions {
    /// Of the channels about which nobody needs to be asked.
    pub granted: Grant,
    /// At least one, each to another endpoint.
    pub questions: Vec<Question>,
}

/// What the ways of one channel come to.
enum Decided {
    Granted(Grant),
    Refused(Refusal),
    Ask(EndpointIndex),
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
        Self { rules, keys: Arc::default(), endpoints: Arc::default() }
    }

    /// The same, where applications are asked: each endpoint of the rules is an index into these.
    pub fn asking(self, endpoints: Vec<Endpoint>) -> Self {
        Self { endpoints: endpoints.into(), ..self }
    }

    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// # Panics
    /// If the index is not of this gate's rules.
    pub fn endpoint(&self, endpoint: EndpointIndex) -> &Endpoint {
        &self.endpoints[endpoint.index()]
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
        let mut asked: Vec<(EndpointIndex, Vec<&ChannelName>)> = Vec::new();
        for index in 0..visit.channels.len() {
            let channel = visit.channels[index];
            let Some(rule) = self.rules.decide(channel) else {
                return Verdict::Refused(Refusal::ChannelNotOpen);
            };
            match visit.try_rule(rule, channel) {
                Decided::Granted(grant) => match granted.and(grant) {
                    Ok(both) => granted = both,
                    Err(refusal) => return Verdict::Refused(refusal),
                },
                Decided::Refused(refusal) => return Verdict::Refused(refusal),
                Decided::Ask(endpoint) => match asked.iter_mut().find(|(one, _)| *one == endpoint) {
                    Some((_, channels)) => channels.push(channel),
                    None => asked.push((endpoint, vec![channel])),
                },
            }
        }
        if asked.is_empty() {
            return Verdict::Granted(granted);
        }
        let question =
            |(index, channels)| Question::new((index, self.endpoint(index)), right, channels, credentials);
        Verdict::Ask(Questions { granted, questions: asked.into_iter().map(question).collect() })
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

    /// The grant of the first way that gives one, whom to ask if none does, or what to tell the client.
    fn try_rule(&mut self, rule: &'g Rule, channel: &ChannelName) -> Decided {
        let ways = rule.access(self.right).ways();
        let mut denied: Option<Denial> = None;
        for &way in ways {
            match self.try_way(way, rule, channel) {
                Ok(grant) => return Decided::Granted(grant),
                Err(denial) => denied = Some(denied.map_or(denial, |denied| denied.or(denial))),
            }
        }
        if let Some(endpoint) = ways.iter().find_map(|way| self.endpoint(*way)) {
            return Decided::Ask(endpoint);
        }
        // What is wrong is not what was shown, but on whose page.
        if self.credentials.cookies_withheld
            && ways.iter().any(Way::reads_cookies)
            && !denied.is_some_and(Denial::is_about_what_was_shown)
        {
            return Decided::Refused(Refusal::OriginNotAllowed);
        }
        Decided::Refused(denied.map_or(Refusal::ChannelNotOpen, Denial::refusal))
    }

    /// Where this way asks, if it does, and there is something to ask with.
    fn endpoint(&self, way: Way) -> Option<EndpointIndex> {
        match way {
            Way::Callback(endpoint) => Some(endpoint),
            // It has nothing but cookies.
            Way::Session(endpoint) => (!self.credentials.cookies_withheld).then_some(endpoint),
            Way::Public | Way::Jwt | Way::SignedUrl => None,
        }
    }

    fn try_way(&mut self, way: Way, rule: &'g Rule, channel: &ChannelName) -> Result<Grant, Denial> {
        match way {
            Way::Public => Ok(Grant::default()),
            Way::Callback(_) | Way::Session(_) => Err(Denial::Asks),
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
    use crate::access::{Access, AppAddress, Pattern, Rule};

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

    #[test]
    fn the_application_is_asked_about_what_courier_cannot_decide_itself() {
        let endpoint = |target: &str| Endpoint {
            address: AppAddress::Tcp { host: "app".into(), port: 80 },
            target: target.into(),
            host: "app".into(),
            fields: Vec::new(),
            sends_peer: false,
            secret: None,
        };
        let rule = |pattern, ways| Rule::new(Pattern::parse(pattern).unwrap(), Access::new(ways));
        let (first, second) = (EndpointIndex(0), EndpointIndex(1));
        let gate = Gate::new(Rules::new(vec![
            rule("one.*", vec![Way::Callback(first)]),
            rule("two.*", vec![Way::Session(second)]),
            rule("both.*", vec![Way::Callback(first), Way::Public]),
            rule("closed", Vec::new()),
            rule("*", vec![Way::Public]),
        ]));
        let gate = gate.asking(vec![endpoint("/one"), endpoint("/two")]);
        let decide = |names: &[&str], credentials: &Credentials<'_>| {
            let names: Vec<_> =
                names.iter().map(|name| ChannelName::parse(name.as_bytes()).unwrap()).collect();
            gate.decide(Right::Subscribe, &names, credentials, UnixTime::from_secs(0))
        };
        let shown = Credentials::default();
        let Verdict::Ask(asked) = decide(&["two.a", "free", "one.a", "one.b"], &shown) else {
            panic!("nothing is asked")
        };
        let endpoints: Vec<_> = asked.questions.iter().map(|question| question.endpoint).collect();
        assert_eq!(endpoints, [second, first]);
        assert_eq!(decide(&["both.a"], &shown), Verdict::Granted(Grant::default()));
        assert_eq!(decide(&["one.a", "closed"], &shown), Verdict::Refused(Refusal::ChannelNotOpen));
        // With cookies that do not count a session has nothing to show.
        let withheld = Credentials { cookies_withheld: true, ..shown };
        assert_eq!(decide(&["two.a"], &withheld), Verdict::Refused(Refusal::OriginNotAllowed));
        assert!(matches!(decide(&["one.a"], &withheld), Verdict::Ask(_)));
    }
}
