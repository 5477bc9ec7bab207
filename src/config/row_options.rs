//! Options that a row of `[[channels]]` has for itself: `jwt = { .. }` and `signed_url = { .. }`, with the keys, kinds and
//! sentences of the tables of the same name. What a row does not say is as for all.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::access::{Rule, Way};
use crate::config::error::{ConfigError, Origin};
use crate::config::file::{Source, texts, unknown};
use crate::config::print::toml_value;
use crate::config::settings::{Setting, Settings};
use crate::config::table::{Key, Row, TABLE};
use crate::config::value::shown;

/// The values that a row gives, in the order of the options.
#[derive(Debug, Default)]
pub struct RowOptions {
    settings: Vec<(Key, Setting)>,
    /// Where each table is, to be told that it is of no use.
    tables: Vec<(&'static str, Origin)>,
}

/// The tables that a row may have, and the way in that each is about.
const TABLES: [(&str, Way); 2] = [("jwt", Way::Jwt), ("signed_url", Way::SignedUrl)];
/// Their names.
pub(super) const OPTION_TABLES: [&str; 2] = [TABLES[0].0, TABLES[1].0];

impl RowOptions {
    /// Reads one of the tables, which starts at the byte `at` of the file.
    pub(super) fn read(
        &mut self,
        source: &Source<'_>,
        (table, at): (&str, usize),
        members: &DeTable<'_>,
    ) -> Result<(), ConfigError> {
        let table = OPTION_TABLES.into_iter().find(|one| *one == table).expect("the caller has looked");
        for (name, value) in members {
            let origin = source.origin(name.span().start);
            let full = format!("{table}.{}", name.get_ref());
            let Some(row) = TABLE.iter().find(|row| row.file_key == Some(full.as_str())) else {
                let keys = TABLE.iter().filter_map(|row| row.file_key).filter(|key| key.starts_with(table));
                return Err(ConfigError::at(&origin, unknown(&full, keys)));
            };
            let setting = setting(row, value, &origin).map_err(|remedy| {
                ConfigError::value(
                    &origin,
                    &format!("channels.{full}"),
                    &source.written(row.kind, value),
                    remedy,
                )
            })?;
            self.settings.push((row.key, setting));
        }
        self.settings.sort_by_key(|(key, _)| *key as usize);
        self.tables.push((table, source.origin(at)));
        Ok(())
    }

    /// A table without its way in would be an omission that nobody sees.
    pub(super) fn check(&self, rule: &Rule) -> Result<(), ConfigError> {
        for (table, origin) in &self.tables {
            let way = TABLES.iter().find(|(name, _)| name == table).map(|(_, way)| *way);
            if way.is_some_and(|way| !rule.has(way)) {
                let word = table.replace('_', "-");
                let remedy = format!(
                    "channels.{table} says nothing where neither access nor publish has \"{word}\": access = [\"{word}\"]"
                );
                return Err(ConfigError::at(origin, remedy));
            }
        }
        Ok(())
    }

    /// The row's own value, or that for all.
    pub fn find<'a>(&'a self, settings: &'a Settings, key: Key) -> Option<&'a Setting> {
        self.own(key).or_else(|| settings.find(key))
    }

    /// The row's own value.
    pub fn own(&self, key: Key) -> Option<&Setting> {
        self.settings.iter().find(|(one, _)| *one == key).map(|(_, setting)| setting)
    }

    /// As the file would have them, secrets hidden.
    pub(super) fn written(&self) -> String {
        let mut text = String::new();
        for (table, _) in TABLES {
            let of_table =
                |key: Key| key.row().file_key.and_then(|full| full.strip_prefix(table)?.strip_prefix('.'));
            let members: Vec<String> = self
                .settings
                .iter()
                .filter_map(|(key, setting)| {
                    Some(format!("{} = {}", of_table(*key)?, toml_value(key.row().kind, setting)))
                })
                .collect();
            if !members.is_empty() {
                text.push_str(&format!("{table} = {{ {} }}\n", members.join(", ")));
            }
        }
        text
    }
}

fn setting(row: &Row, value: &Spanned<DeValue<'_>>, origin: &Origin) -> Result<Setting, String> {
    let texts = texts(row.kind, value.get_ref())?;
    let value = row.kind.parse(&texts).map_err(|bad| bad.remedy)?;
    let texts = texts.iter().map(|text| shown(row.kind, text)).collect();
    Ok(Setting { value, texts, origin: origin.clone() })
}
