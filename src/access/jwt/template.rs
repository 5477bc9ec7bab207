//! The channels that a token opens by a rule: a name with claims in braces, `user.{sub}`, and perhaps with the `*` and `?`
//! of a glob, `team.{team}.*`. `{{` and `}}` are braces.
//!
//! A claim's value stands for itself: what would be special in a glob is escaped, and an empty value matches nothing.
//! The template itself has neither classes nor backslashes, which could reach into a value behind them. Reserved names
//! are never opened so.

use super::claims::Claims;
use crate::base::channel::ChannelName;
use crate::base::glob;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Glob(String),
    Claim(String),
}

/// Why a text is no template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadTemplate {
    Empty,
    /// A brace without its partner.
    Brace,
    /// `{}`.
    NoClaim,
    /// `[` or a backslash.
    Special,
    TooLong,
    ControlCharacter,
}

impl Template {
    pub fn parse(text: &str) -> Result<Self, BadTemplate> {
        if text.is_empty() {
            return Err(BadTemplate::Empty);
        }
        if text.len() > ChannelName::BYTES_MAX {
            return Err(BadTemplate::TooLong);
        }
        if text.contains(char::is_control) {
            return Err(BadTemplate::ControlCharacter);
        }
        if text.contains(['[', '\\']) {
            return Err(BadTemplate::Special);
        }
        let mut pieces = Vec::new();
        let mut glob = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            glob.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            let behind = &rest[at + 1..];
            if let Some(behind) = behind.strip_prefix(brace) {
                glob.push_str(brace);
                rest = behind;
                continue;
            }
            let (claim, behind) =
                behind.split_once('}').filter(|_| brace == "{").ok_or(BadTemplate::Brace)?;
            match claim {
                "" => return Err(BadTemplate::NoClaim),
                _ if claim.contains('{') => return Err(BadTemplate::Brace),
                _ => pieces.extend([Piece::Glob(std::mem::take(&mut glob)), Piece::Claim(claim.to_owned())]),
            }
            rest = behind;
        }
        glob.push_str(rest);
        pieces.push(Piece::Glob(glob));
        Ok(Self { text: text.to_owned(), pieces })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether these claims, put in, open this channel.
    pub fn matches(&self, claims: &Claims, channel: &ChannelName) -> bool {
        !channel.is_reserved()
            && self.glob(claims).is_some_and(|glob| glob::matches(glob.as_bytes(), channel.as_bytes()))
    }

    fn glob(&self, claims: &Claims) -> Option<String> {
        let mut glob = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Glob(text) => glob.push_str(text),
                Piece::Claim(name) => {
                    for character in claims.text(name)?.chars() {
                        if matches!(character, '*' | '?' | '[' | '\\') {
                            glob.push('\\');
                        }
                        glob.push(character);
                    }
                }
            }
        }
        Some(glob)
    }
}
