//! A row of `[[channels]]`: which members it may have, how they are read, and how they are written back.

use std::fmt::Write;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::access::{Access, EndpointIndex, Rule, Way};
use crate::base::channel::{PayloadMode, SlowMode};
use crate::base::limits::RETENTION_COUNT;
use crate::base::retention::Retention;
use crate::config::callback::{self, RowAsks};
use crate::config::error::ConfigError;
use crate::config::file::{FileRule, Source, texts, unknown};
use crate::config::print::quoted;
use crate::config::row_options::{OPTION_TABLES, RowOptions};
use crate::config::table::{self, Kind};
use crate::config::value::{Value, parse_pattern, show_duration, show_size};

/// Reads a row that starts at the byte `at` of the file.
pub(super) fn read(source: &Source<'_>, row: &DeTable<'_>, at: usize) -> Result<FileRule, ConfigError> {
    let (mut pattern, mut access, mut publish) = (None, None, Access::closed());
    let (mut payload, mut history) = (PayloadMode::default(), Retention::default());
    let (mut slow, mut asks) = (SlowMode::default(), None);
    let mut options = RowOptions::default();
    for (name, value) in row {
        let origin = source.origin(name.span().start);
        let key = format!("channels.{}", name.get_ref());
        let wrong = |remedy: String| {
            ConfigError::value(&origin, &key, &source.written(Kind::Patterns, value), remedy)
        };
        let text = || value.get_ref().as_str().ok_or_else(|| wrong("write it in quotes".into()));
        match name.get_ref().as_ref() {
            "match" => pattern = Some(parse_pattern(text()?).map_err(wrong)?),
            "access" => access = Some(read_access(value.get_ref()).map_err(wrong)?),
            "publish" => publish = read_access(value.get_ref()).map_err(wrong)?,
            "history" => {
                let members = value.get_ref().as_table();
                let shape = || wrong(format!("a table, as in {}", standard_history()));
                history = read_history(source, members.ok_or_else(shape)?)?;
            }
            "payload" => payload = word(text()?, &PAYLOAD_WORDS).map_err(wrong)?,
            "callback" | "session" => callback::read_row(source, name, value, &mut asks)?,
            "slow" => slow = word(text()?, &SLOW_WORDS).map_err(wrong)?,
            table if OPTION_TABLES.contains(&table) => {
                let shape = || wrong("a table, as in { key_file = \"/run/secrets/key\" }".into());
                options.read(
                    source,
                    (table, name.span().start),
                    value.get_ref().as_table().ok_or_else(shape)?,
                )?;
            }
            _ => return Err(ConfigError::at(&origin, unknown(&key, MEMBERS))),
        }
    }
    let origin = source.origin(at);
    let pattern = pattern.ok_or_else(|| {
        ConfigError::at(&origin, "a [[channels]] row needs its pattern: match = \"news.*\"")
    })?;
    // Nobody gets in by an omission.
    let access = access.ok_or_else(|| {
        ConfigError::at(&origin, "a [[channels]] row says who may listen: access = \"public\" or \"closed\"")
    })?;
    let rule = Rule { publish, payload, history, slow, ..Rule::new(pattern, access) };
    options.check(&rule)?;
    callback::check_row(&origin, &rule, asks.as_ref())?;
    Ok(FileRule { rule, options, asks, origin })
}

/// A row as the file would have it, without its heading, secrets hidden.
pub(super) fn written(row: &FileRule) -> String {
    let FileRule { rule, options, asks, .. } = row;
    let mut text = String::new();
    let _ = writeln!(text, "match = {}", quoted(rule.pattern.as_str()));
    let _ = writeln!(text, "access = {}", written_access(&rule.access));
    let _ = writeln!(text, "publish = {}", written_access(&rule.publish));
    text.extend(asks.as_ref().map(RowAsks::written));
    let _ = writeln!(text, "history = {}", written_history(&rule.history));
    let _ = writeln!(text, "payload = {}", quoted(word_of(&PAYLOAD_WORDS, rule.payload)));
    let _ = writeln!(text, "slow = {}", quoted(word_of(&SLOW_WORDS, rule.slow)));
    text.push_str(&options.written());
    text
}

/// The words of the ways in, alone or in a list.
fn read_access(value: &DeValue<'_>) -> Result<Access, String> {
    let shape = || "write it in quotes, alone or in a list, as in [\"public\"]".to_owned();
    let texts: Vec<&str> = match value {
        DeValue::String(text) => vec![text],
        DeValue::Array(values) => {
            values.iter().map(|value| value.get_ref().as_str()).collect::<Option<_>>().ok_or_else(shape)?
        }
        _ => return Err(shape()),
    };
    match texts[..] {
        [] => Err(format!("name a way in, or write \"{CLOSED}\"")),
        [CLOSED] => Ok(Access::closed()),
        _ if texts.contains(&CLOSED) => Err(format!("{CLOSED} stands alone")),
        _ => texts.into_iter().map(way).collect::<Result<_, _>>().map(Access::new),
    }
}

fn way(text: &str) -> Result<Way, String> {
    WAYS.iter().find(|(word, _)| *word == text).map(|(_, way)| *way).ok_or_else(|| {
        let words: Vec<_> = WAYS.iter().map(|(word, _)| *word).collect();
        format!("one of {}, {CLOSED}", words.join(", "))
    })
}

fn written_access(access: &Access) -> String {
    match access.ways() {
        [] => quoted(CLOSED),
        [way] => quoted(way_word(*way)),
        ways => format!("[{}]", ways.iter().map(|way| quoted(way_word(*way))).collect::<Vec<_>>().join(", ")),
    }
}

/// The history of a row that says nothing of it.
pub(super) fn standard_history() -> String {
    written_history(&Retention::STANDARD)
}

fn read_history(source: &Source<'_>, members: &DeTable<'_>) -> Result<Retention, ConfigError> {
    let mut history = Retention::default();
    for (name, value) in members {
        let origin = source.origin(name.span().start);
        let key = format!("channels.history.{}", name.get_ref());
        let Some((_, kind)) = HISTORY_MEMBERS.iter().find(|(member, _)| *member == key) else {
            let members = HISTORY_MEMBERS.map(|(member, _)| member);
            return Err(ConfigError::at(&origin, unknown(&key, members)));
        };
        match one(*kind, value) {
            Ok(Value::Count(count)) => history.count = count,
            Ok(Value::Size(bytes)) => history.bytes = bytes,
            Ok(Value::Duration(age)) => history.age = age,
            Ok(_) => unreachable!("a member is of its kind"),
            Err(remedy) => {
                return Err(ConfigError::value(&origin, &key, &source.written(*kind, value), remedy));
            }
        }
    }
    Ok(history)
}

/// A member's value by the parser of all options, or what is wrong with it.
fn one(kind: Kind, value: &Spanned<DeValue<'_>>) -> Result<Value, String> {
    kind.parse(&texts(kind, value.get_ref())?).map_err(|bad| bad.remedy)
}

fn written_history(history: &Retention) -> String {
    let Retention { count, bytes, age } = *history;
    format!("{{ count = {count}, bytes = \"{}\", age = \"{}\" }}", show_size(bytes), show_duration(age))
}

fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!("one of {}", words.join(", "))
    })
}

/// The word for a value; the inverse of reading it.
fn word_of<T: Copy + PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, one)| *one == value).map_or("", |(word, _)| word)
}

/// The word for a way in.
pub fn way_word(way: Way) -> &'static str {
    match way {
        Way::Public => "public",
        Way::Jwt => "jwt",
        Way::SignedUrl => "signed-url",
        Way::Callback(_) => "callback",
        Way::Session(_) => "session",
    }
}

const WAYS: [(&str, Way); 5] = [
    ("public", Way::Public),
    ("jwt", Way::Jwt),
    ("signed-url", Way::SignedUrl),
    ("callback", Way::Callback(UNPLACED)),
    ("session", Way::Session(UNPLACED)),
];
/// Until it is known where all rows ask, and each endpoint gets its place.
const UNPLACED: EndpointIndex = EndpointIndex(u16::MAX);
/// No way in.
const CLOSED: &str = "closed";
const PAYLOAD_WORDS: [(&str, PayloadMode); 2] =
    [("raw", PayloadMode::Raw), ("envelope", PayloadMode::Envelope)];
const SLOW_WORDS: [(&str, SlowMode); 2] =
    [("disconnect", SlowMode::Disconnect), ("latest", SlowMode::Latest)];
const MEMBERS: [&str; 10] = [
    "channels.match",
    "channels.access",
    "channels.publish",
    "channels.callback",
    "channels.session",
    "channels.history",
    "channels.payload",
    "channels.slow",
    "channels.jwt",
    "channels.signed_url",
];
const HISTORY_MEMBERS: [(&str, Kind); 3] = [
    ("channels.history.count", table::count(0, RETENTION_COUNT)),
    ("channels.history.bytes", table::RETENTION_BYTES),
    ("channels.history.age", table::RETENTION_AGE),
];

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::config::file::parse;

    fn rules(text: &str) -> Result<Vec<FileRule>, ConfigError> {
        parse(Path::new("courier.toml"), text).map(|found| found.rules)
    }

    fn history(members: &str) -> Result<Retention, String> {
        let text = format!("[[channels]]\nmatch = \"a\"\naccess = \"public\"\nhistory = {members}\n");
        rules(&text).map(|rules| rules[0].rule.history).map_err(|error| error.to_string())
    }

    #[test]
    fn a_history_has_the_bounds_that_are_given_and_the_usual_ones_beside() {
        let usual = Retention::STANDARD;
        assert_eq!(history("{}"), Ok(usual));
        assert_eq!(history("{ count = 0 }"), Ok(Retention { count: 0, ..usual }));
        assert_eq!(
            history("{ count = 5, bytes = \"1MiB\", age = \"2h\" }"),
            Ok(Retention { count: 5, bytes: 1 << 20, age: Duration::from_secs(7_200) })
        );
    }

    #[test]
    fn a_history_that_cannot_be_is_told_with_its_remedy() {
        for (members, line) in [
            (
                "5",
                "courier.toml:4: channels.history = 5: a table, as in { count = 100, bytes = \"64KiB\", age = \"1m\" }",
            ),
            (
                "{ cont = 1 }",
                "courier.toml:4: channels.history.cont: no such key; did you mean channels.history.count?",
            ),
            (
                "{ bytes = 5 }",
                "courier.toml:4: channels.history.bytes = 5: a size needs its unit, as in 5KiB or 5B",
            ),
            ("{ age = \"0s\" }", "courier.toml:4: channels.history.age = 0s: at least 1s"),
            (
                "{ count = \"x\" }",
                "courier.toml:4: channels.history.count = x: a whole number without a unit",
            ),
        ] {
            assert_eq!(history(members).unwrap_err(), line);
        }
    }

    #[test]
    fn ways_in_stand_alone_or_in_a_list() {
        let access = |member: &str| {
            let rules = rules(&format!("[[channels]]\nmatch = \"a\"\naccess = {member}\n"));
            rules.map(|rules| rules[0].rule.access.clone()).map_err(|error| error.to_string())
        };
        assert_eq!(access("\"public\""), Ok(Access::public()));
        assert_eq!(access("[\"public\"]"), Ok(Access::public()));
        assert_eq!(access("\"closed\""), Ok(Access::closed()));
        assert_eq!(access("[\"closed\"]"), Ok(Access::closed()));
        for (member, remedy) in [
            ("[]", "name a way in, or write \"closed\""),
            ("[\"closed\", \"public\"]", "closed stands alone"),
            ("\"pubic\"", "one of public, jwt, signed-url, callback, session, closed"),
            ("5", "write it in quotes, alone or in a list, as in [\"public\"]"),
            ("[5]", "write it in quotes, alone or in a list, as in [\"public\"]"),
        ] {
            let line = access(member).unwrap_err();
            assert!(line.ends_with(remedy), "{line}");
        }
    }

    #[test]
    fn a_row_is_read_as_it_is_written() {
        let text = "[[channels]]\nmatch = \"a.*\"\naccess = [\"public\", \"jwt\"]\npublish = \"public\"\n\
                    history = { count = 7, bytes = \"3KiB\", age = \"90s\" }\npayload = \"envelope\"\nslow = \"latest\"\n\
                    jwt = { algorithm = \"RS256\", key_file = \"k.pem\" }\n";
        let row = rules(text).unwrap().remove(0);
        assert_eq!(format!("[[channels]]\n{}", written(&row)), text);
    }

    #[test]
    fn a_row_that_says_nothing_of_slow_readers_ends_their_streams() {
        let row = "[[channels]]\nmatch = \"a\"\naccess = \"public\"\n";
        let slow = |member: &str| {
            let rules = rules(&format!("{row}{member}"));
            rules.map(|rules| rules[0].rule.slow).map_err(|error| error.to_string())
        };
        assert_eq!(slow(""), Ok(SlowMode::Disconnect));
        assert_eq!(slow("slow = \"disconnect\""), Ok(SlowMode::Disconnect));
        assert_eq!(slow("slow = \"latest\""), Ok(SlowMode::Latest));
        assert_eq!(
            slow("slow = \"skip\"").unwrap_err(),
            "courier.toml:4: channels.slow = skip: one of disconnect, latest"
        );
    }
}
