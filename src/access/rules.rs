//! The channel rules: one table, the first row that matches decides, and a name that no row matches is refused.
//!
//! Cost: a decision is one glob match a row until the first that matches, once for each channel of a request.

use std::sync::Arc;

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
    pub access: Access,
    pub payload: PayloadMode,
    /// What is kept for those who come back.
    pub history: Retention,
    /// What happens to those who read too slowly.
    pub slow: SlowMode,
}

/// Who may listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everyone.
    Public,
    /// Nobody: takes names out of a wider row that follows.
    Closed,
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

    /// The rule that lets everyone listen to this channel, if there is one.
    pub fn open(&self, channel: &ChannelName) -> Option<&Rule> {
        self.decide(channel).filter(|rule| match rule.access {
            Access::Public => true,
            Access::Closed => false,
        })
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
    /// A row that says no more than who may listen to what.
    pub fn new(pattern: Pattern, access: Access) -> Self {
        let ChannelMode { payload, slow } = ChannelMode::default();
        Self { pattern, access, payload, history: Retention::default(), slow }
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
            rule("news.secret", Access::Closed, PayloadMode::Raw),
            rule("news.*", Access::Public, PayloadMode::Envelope),
            rule("*", Access::Closed, PayloadMode::Raw),
        ]);
        assert_eq!(rules.decide(&name("news.secret")).unwrap().access, Access::Closed);
        assert_eq!(rules.open(&name("news.secret")), None);
        assert_eq!(rules.open(&name("news.sport")).unwrap().payload, PayloadMode::Envelope);
        assert_eq!(rules.open(&name("other")), None);
        assert_eq!(Rules::default().decide(&name("news.sport")), None);
    }

    #[test]
    fn what_is_kept_is_decided_by_the_first_row_too() {
        let short = Retention { count: 1, ..Retention::STANDARD };
        let rules = Rules::new(vec![
            Rule { history: short, ..rule("news.*", Access::Public, PayloadMode::Raw) },
            rule("*", Access::Closed, PayloadMode::Raw),
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
