//! The configuration file: TOML in, texts with their lines out.
//!
//! A value is turned back into the text that a flag would carry, so that one parser serves all spellings; only
//! `[[channels]]` has a shape of its own. Unknown names are errors here, with the nearest name that exists.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::access::Rule;
use crate::base::limits::CONFIG_FILE_BYTES;
use crate::config::callback::RowAsks;
use crate::config::error::{ConfigError, Origin};
use crate::config::nearest::nearest;
use crate::config::row_options::RowOptions;
use crate::config::rows;
use crate::config::table::{Key, Kind, TABLE};
use crate::config::value::shown;
use crate::driver::files;

/// What a file says.
#[derive(Debug, Default)]
pub struct FileSettings {
    pub settings: Vec<FileSetting>,
    pub rules: Vec<FileRule>,
}

#[derive(Debug)]
pub struct FileSetting {
    pub key: Key,
    pub texts: Vec<String>,
    pub origin: Origin,
}

/// A row.
#[derive(Debug)]
pub struct FileRule {
    /// Without what its ways in need to know, which is decided when all options are.
    pub rule: Rule,
    /// The row's own values of options.
    pub options: RowOptions,
    /// What its member `callback` or `session` says, if it has one.
    pub asks: Option<RowAsks>,
    pub origin: Origin,
}

/// Reads and parses the file that `origin` names.
pub fn load(path: &Path, origin: &Origin) -> Result<FileSettings, ConfigError> {
    let shown = path.display().to_string();
    let text = files::read(path, CONFIG_FILE_BYTES)
        .map_err(|remedy| ConfigError::value(origin, "config", &shown, remedy))?;
    parse(path, &text)
}

/// Parses the text of the file at `path`.
pub fn parse(path: &Path, text: &str) -> Result<FileSettings, ConfigError> {
    let source = Source { path, text };
    let document = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let message = error.message().lines().next().unwrap_or("not TOML").to_owned();
        ConfigError::at(&source.origin(at), message)
    })?;
    let mut found = FileSettings::default();
    // The parser sorts by name; errors and rows are wanted in the order of the file.
    let mut tables: Vec<_> = document.get_ref().iter().collect();
    tables.sort_by_key(|(name, _)| name.span().start);
    for (name, value) in tables {
        match (name.get_ref().as_ref(), value.get_ref()) {
            ("channels", value) => found.rules = source.rules(value, name.span().start)?,
            (table, DeValue::Table(rows)) if is_table(table) => source.table(table, rows, &mut found)?,
            (table, _) if is_table(table) => {
                let remedy = format!("{table} is a table: write [{table}] on a line of its own");
                return Err(ConfigError::at(&source.origin(name.span().start), remedy));
            }
            (unknown, _) => return Err(source.unknown_table(unknown, name.span().start)),
        }
    }
    Ok(found)
}

/// The file's name and text, to tell lines.
pub(super) struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    pub(super) fn origin(&self, at: usize) -> Origin {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = 1 + memchr::memchr_iter(b'\n', before).count();
        Origin::File { path: PathBuf::from(self.path), line }
    }

    fn table(&self, table: &str, rows: &DeTable<'_>, found: &mut FileSettings) -> Result<(), ConfigError> {
        let mut rows: Vec<_> = rows.iter().collect();
        rows.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in rows {
            let full = format!("{table}.{}", name.get_ref());
            let origin = self.origin(name.span().start);
            let Some(row) = TABLE.iter().find(|row| row.file_key == Some(full.as_str())) else {
                return Err(ConfigError::at(&origin, unknown(&full, file_keys())));
            };
            let texts = texts(row.kind, value.get_ref()).map_err(|remedy| {
                ConfigError::value(&origin, &full, &self.written(row.kind, value), remedy)
            })?;
            found.settings.push(FileSetting { key: row.key, texts, origin });
        }
        Ok(())
    }

    fn unknown_table(&self, name: &str, at: usize) -> ConfigError {
        let keys: Vec<_> =
            file_keys().filter(|key| key.split_once('.').is_some_and(|(_, key)| key == name)).collect();
        let tables = file_keys().filter_map(|key| key.split_once('.')).map(|(table, _)| table);
        let remedy = match keys[..] {
            [] => unknown(name, tables.chain(["channels"])),
            [..] => format!("{name}: no such key here; did you mean {}?", keys.join(" or ")),
        };
        ConfigError::at(&self.origin(at), remedy)
    }

    fn rules(&self, value: &DeValue<'_>, at: usize) -> Result<Vec<FileRule>, ConfigError> {
        let shape =
            || ConfigError::at(&self.origin(at), "channels is a list of tables: write [[channels]] for each");
        let rows = value.as_array().ok_or_else(shape)?;
        let mut rules = Vec::new();
        for row in rows.iter() {
            rules.push(rows::read(self, row.get_ref().as_table().ok_or_else(shape)?, row.span().start)?);
        }
        Ok(rules)
    }

    /// A value as the file spells it, without a string's quotes.
    pub(super) fn written(&self, kind: Kind, value: &Spanned<DeValue<'_>>) -> String {
        match value.get_ref().as_str() {
            Some(text) => shown(kind, text),
            None if kind == Kind::Secret => shown(kind, ""),
            None => {
                self.text.get(value.span()).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
            }
        }
    }
}

/// The texts that a flag would carry, or what is wrong with the value's type.
pub(super) fn texts(kind: Kind, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    match value {
        DeValue::String(text) => Ok(vec![text.clone().into_owned()]),
        DeValue::Integer(number) if number.radix() == 10 => Ok(vec![number.as_str().to_owned()]),
        DeValue::Array(values) if kind.is_list() => values
            .iter()
            .map(|value| value.get_ref().as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or_else(|| "a list of strings in quotes".into()),
        DeValue::Array(_) => Err("takes one value, not a list".into()),
        DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Table(_) => Err("write it in quotes".into()),
    }
}

fn file_keys() -> impl Iterator<Item = &'static str> {
    TABLE.iter().filter_map(|row| row.file_key)
}

fn is_table(name: &str) -> bool {
    file_keys().any(|key| key.split_once('.').is_some_and(|(table, _)| table == name))
}

/// The sentence for a name that does not exist.
pub fn unknown<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(name, names) {
        Some(near) => format!("{name}: no such key; did you mean {near}?"),
        None => format!("{name}: no such key; courier --print-config lists them all"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Access;
    use crate::base::channel::PayloadMode;

    fn error(text: &str) -> String {
        parse(Path::new("courier.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn values_come_with_their_lines() {
        let text = "# a comment\n[server]\nlisten = [\"127.0.0.1:1\", \"unix:/x\"]\n\n[limits]\nbroker_clients = 9\n";
        let found = parse(Path::new("courier.toml"), text).unwrap();
        let rows: Vec<_> =
            found.settings.iter().map(|one| (one.key, one.texts.join(" "), one.origin.to_string())).collect();
        assert_eq!(
            rows,
            [
                (Key::ServerListen, "127.0.0.1:1 unix:/x".into(), "courier.toml:3".into()),
                (Key::LimitsBrokerClients, "9".into(), "courier.toml:6".into()),
            ]
        );
    }

    #[test]
    fn channel_rules_keep_their_order() {
        let text = "[[channels]]\nmatch = \"b.*\"\naccess = \"public\"\npayload = \"envelope\"\n\n[[channels]]\nmatch = \"a\"\naccess = \"closed\"\n";
        let found = parse(Path::new("courier.toml"), text).unwrap();
        let rows: Vec<_> = found
            .rules
            .iter()
            .map(|one| {
                (one.rule.pattern.as_str(), one.rule.access.clone(), one.rule.payload, one.origin.to_string())
            })
            .collect();
        assert_eq!(
            rows,
            [
                ("b.*", Access::public(), PayloadMode::Envelope, "courier.toml:1".to_owned()),
                ("a", Access::closed(), PayloadMode::Raw, "courier.toml:6".to_owned()),
            ]
        );
    }

    #[test]
    fn every_mistake_has_its_line_and_its_remedy() {
        for (text, line) in [
            (
                "[server]\nlisen = \"x\"",
                "courier.toml:2: server.lisen: no such key; did you mean server.listen?",
            ),
            ("\n[servr]\n", "courier.toml:2: servr: no such key; did you mean server?"),
            (
                "listen = \"x\"",
                "courier.toml:1: listen: no such key here; did you mean broker.listen or server.listen or admin.listen?",
            ),
            (
                "[certificates]\n",
                "courier.toml:1: certificates: no such key; courier --print-config lists them all",
            ),
            ("server = 1", "courier.toml:1: server is a table: write [server] on a line of its own"),
            ("[server]\nlisten = true", "courier.toml:2: server.listen = true: write it in quotes"),
            ("[sse]\nretry = 1.5", "courier.toml:2: sse.retry = 1.5: write it in quotes"),
            ("[sse]\nretry = [\"1s\"]", "courier.toml:2: sse.retry = [\"1s\"]: takes one value, not a list"),
            ("[server]\nlisten = [1]", "courier.toml:2: server.listen = [1]: a list of strings in quotes"),
            (
                "[channels]\nmatch=\"a\"",
                "courier.toml:1: channels is a list of tables: write [[channels]] for each",
            ),
            (
                "[[channels]]\nmatch = \"a\"\n",
                "courier.toml:1: a [[channels]] row says who may listen: access = \"public\" or \"closed\"",
            ),
            ("\n[[channels]]\n", "courier.toml:2: a [[channels]] row needs its pattern: match = \"news.*\""),
            (
                "[[channels]]\nmach = \"a\"",
                "courier.toml:2: channels.mach: no such key; did you mean channels.match?",
            ),
            ("[[channels]]\nmatch = 1", "courier.toml:2: channels.match = 1: write it in quotes"),
            (
                "[[channels]]\nmatch = \"\"",
                "courier.toml:2: channels.match = : a pattern is not empty; '*' is every channel",
            ),
            (
                "[[channels]]\nmatch = \"a\"\npayload = \"json\"",
                "courier.toml:3: channels.payload = json: one of raw, envelope",
            ),
            (
                "[[channels]]\nmatch = \"a\"\naccess = \"all\"",
                "courier.toml:3: channels.access = all: one of public, jwt, signed-url, callback, session, closed",
            ),
        ] {
            assert_eq!(error(text), line, "{text}");
        }
    }

    #[test]
    fn what_is_not_toml_is_one_line_too() {
        for text in ["[server\n", "a = \n", "[a]\n[a]\n", "\0", "x", "a = \"\n"] {
            let line = error(text);
            assert!(line.starts_with("courier.toml:") && !line.contains('\n'), "{line}");
        }
    }
}
