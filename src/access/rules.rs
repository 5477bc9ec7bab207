//! The channel rules: one table, the first row that matches decides, and a name that no row matches is refused.
//!
//! Cost: a decision is one glob match a row until the first that matches, once for each channel of a request.

use std::sync::Arc;

use crate::access::jwt::Jwt;
use crate::access::signed_url::SignedUrl;
use crate::access::{EndpointIndex, Right};
use crate::base::channel::{BadChannelName, ChannelMode, ChannelName, PayloadMode, SlowMode};
use crate::base::glob;
use crate::base::retention::Retention;

/// The rows, in the operator's order. The reader and every shard have the same ones.
#[derive(Debug, Clone, Default)]
pub struct Rules(Arc<[Rule]>);

/// One row: the channels it is about, and what holds for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub pattern: Pattern,
    /// Who may listen.
    pub access: Access,
    /// Who may publish over HTTP. The application publishes in Redis, whatever this says.
    pub publish: Access,
    pub payload: PayloadMode,
    /// What is kept for those who come back.
    pub history: Retention,
    /// What happens to those who read too slowly.
    pub slow: SlowMode,
    /// How tokens are checked; there exactly if a way in is [`Way::Jwt`].
    pub jwt: Option<Arc<Jwt>>,
    /// How signed URLs are checked; there exactly if a way in is [`Way::SignedUrl`].
    pub signed_url: Option<SignedUrl>,
}

/// The ways in, tried in the operator's order. None: nobody gets in, which takes names out of a wider row that follows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access(Vec<Way>);

/// How one gets in. What else has to be known about a way stands in the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Everyone does.
    Public,
    /// With a token that the application has signed.
    Jwt,
    /// With a URL that the application has signed.
    SignedUrl,
    /// Whom the application lets in.
    Callback(EndpointIndex),
    /// Whom the application lets in by nothing but cookies.
    Session(EndpointIndex),
}

impl Way {
    /// Whether a cookie may decide: then the page that asks has to be trusted, because a browser sends cookies whoever's
    /// page asks.
    pub fn reads_cookies(&self) -> bool {
        match self {
            Self::Public | Self::SignedUrl => false,
            Self::Jwt => true,
            Self::Callback(_) | Self::Session(_) => true,
        }
    }

    /// Whether who asks may decide: to know that costs something for each connection.
    pub fn reads_client(&self) -> bool {
        match self {
            Self::Public | Self::Jwt | Self::SignedUrl | Self::Session(_) => false,
            Self::Callback(_) => true,
        }
    }
}

impl Access {
    pub fn new(ways: Vec<Way>) -> Self {
        Self(ways)
    }

    /// Everyone.
    pub fn public() -> Self {
        Self(vec![Way::Public])
    }

    /// Nobody.
    pub fn closed() -> Self {
        Self(Vec::new())
    }

    pub fn ways(&self) -> &[Way] {
        &self.0
    }

    pub fn ways_mut(&mut self) -> &mut [Way] {
        &mut self.0
    }

    /// Whether everyone gets in.
    pub fn is_public(&self) -> bool {
        self.0.contains(&Way::Public)
    }
}

/// A Redis glob over channel names. Reserved names (`__*`, `courier:*`) match only a pattern that spells them out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    /// True exactly if the pattern has none of `*?[\`, and so matches one name.
    exact: bool,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadPattern {
    Empty,
    TooLong,
    /// No channel name has one, so the pattern could never match.
    ControlCharacter,
}

impl Rules {
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules.into())
    }

    /// The row that decides about this channel.
    pub fn decide(&self, channel: &ChannelName) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.pattern.matches(channel))
    }

    /// Its place.
    pub fn place(&self, channel: &ChannelName) -> Option<usize> {
        self.0.iter().position(|rule| rule.pattern.matches(channel))
    }

    /// How this channel is served.
    pub fn mode(&self, channel: &ChannelName) -> ChannelMode {
        self.decide(channel).map(Rule::mode).unwrap_or_default()
    }

    /// What is kept of this channel: by its row, or as of any channel.
    pub fn retention(&self, channel: &ChannelName) -> Retention {
        self.decide(channel).map_or(Retention::STANDARD, |rule| rule.history)
    }

    pub fn rows(&self) -> &[Rule] {
        &self.0
    }
}

impl Rule {
    /// A row that says no more than who may listen to what. Nobody publishes over HTTP.
    pub fn new(pattern: Pattern, access: Access) -> Self {
        let ChannelMode { payload, slow } = ChannelMode::default();
        Self {
            pattern,
            access,
            publish: Access::closed(),
            payload,
            history: Retention::default(),
            slow,
            jwt: None,
            signed_url: None,
        }
    }

    /// Who has this right.
    pub fn access(&self, right: Right) -> &Access {
        match right {
            Right::Subscribe => &self.access,
            Right::Publish => &self.publish,
        }
    }

    /// Whether this way in is one of the row's, to listen or to publish.
    pub fn has(&self, way: Way) -> bool {
        self.access.ways().contains(&way) || self.publish.ways().contains(&way)
    }

    /// How the row's channels are served.
    pub fn mode(&self) -> ChannelMode {
        ChannelMode { payload: self.payload, slow: self.slow }
    }
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        match ChannelName::parse(text.as_bytes()) {
            Ok(_) => {}
            Err(BadChannelName::Empty) => return Err(BadPattern::Empty),
            Err(BadChannelName::TooLong) => return Err(BadPattern::TooLong),
            Err(BadChannelName::ControlCharacter | BadChannelName::NotUtf8) => {
                return Err(BadPattern::ControlCharacter);
            }
        }
        Ok(Self { text: text.to_owned(), exact: !text.contains(['*', '?', '[', '\\']) })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it spells out a reserved name, which is worth a warning at start.
    pub fn is_reserved(&self) -> bool {
        self.exact && ChannelName::parse(self.text.as_bytes()).is_ok_and(|name| name.is_reserved())
    }

    pub fn matches(&self, channel: &ChannelName) -> bool {
        if self.exact {
            return self.text == channel.as_str();
        }
        !channel.is_reserved() && glob::matches(self.text.as_bytes(), channel.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ChannelName {
        ChannelName::parse(text.as_bytes()).unwrap()
    }

    fn rule(pattern: &str, access: Access, payload: PayloadMode) -> Rule {
        Rule { payload, ..Rule::new(Pattern::parse(pattern).unwrap(), access) }
    }

    #[test]
    fn the_first_row_that_matches_decides_and_no_row_refuses() {
        let rules = Rules::new(vec![
            rule("news.secret", Access::closed(), PayloadMode::Raw),
            rule("news.*", Access::public(), PayloadMode::Envelope),
            rule("*", Access::closed(), PayloadMode::Raw),
        ]);
        assert_eq!(rules.decide(&name("news.secret")).unwrap().access, Access::closed());
        assert_eq!(rules.decide(&name("news.sport")).unwrap().payload, PayloadMode::Envelope);
        assert_eq!(rules.decide(&name("other")).unwrap().access, Access::closed());
        assert_eq!(Rules::default().decide(&name("news.sport")), None);
    }

    #[test]
    fn what_is_kept_is_decided_by_the_first_row_too() {
        let short = Retention { count: 1, ..Retention::STANDARD };
        let rules = Rules::new(vec![
            Rule { history: short, ..rule("news.*", Access::public(), PayloadMode::Raw) },
            rule("*", Access::closed(), PayloadMode::Raw),
        ]);
        assert_eq!(rules.retention(&name("news.sport")), short);
        assert_eq!(rules.retention(&name("other")), Retention::STANDARD);
        assert_eq!(Rules::default().retention(&name("news.sport")), Retention::STANDARD);
    }

    #[test]
    fn a_pattern_never_matches_reserved_names_and_an_exact_name_does() {
        for pattern in ["*", "__*", "_?keyspace@0__:a", "courier:*", "courier:liv[e]", "courier\\:live"] {
            let pattern = Pattern::parse(pattern).unwrap();
            for reserved in ["__keyspace@0__:a", "courier:live"] {
                assert!(!pattern.matches(&name(reserved)), "{} on {reserved}", pattern.as_str());
            }
            assert!(!pattern.is_reserved());
        }
        let exact = Pattern::parse("courier:live").unwrap();
        assert!(exact.matches(&name("courier:live")));
        assert!(exact.is_reserved());
        assert!(!exact.matches(&name("courier:liv")));
    }

    #[test]
    fn a_pattern_that_could_never_match_is_no_pattern() {
        assert_eq!(Pattern::parse(""), Err(BadPattern::Empty));
        assert_eq!(Pattern::parse("a\n*"), Err(BadPattern::ControlCharacter));
        assert_eq!(Pattern::parse(&"a".repeat(256)), Err(BadPattern::TooLong));
    }
}
