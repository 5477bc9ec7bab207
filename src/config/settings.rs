//! What was given where, and what counts: flag, environment, file, default, in this order.
//!
//! Every value that is given is checked, also one that another overrides: a mistake in the file is told at once, not on
//! the day the flag goes away.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::config::address::ListenAddress;
use crate::config::app_url::AppUrl;
use crate::config::error::{ConfigError, Origin};
use crate::config::file::{self, FileRule};
use crate::config::nearest::nearest;
use crate::config::redis_url::RedisUrl;
use crate::config::table::{BUILD_VARIABLE, Key, Kind, PREFIX, REDIS_URL_VARIABLE, Row, TABLE};
use crate::config::value::{Value, shown};

/// One option's value and where it came from.
#[derive(Debug, Clone)]
pub struct Setting {
    pub value: Value,
    /// As they were written, passwords hidden.
    pub texts: Vec<String>,
    pub origin: Origin,
}

/// The values of all options.
#[derive(Debug)]
pub struct Settings {
    /// By key; `None` where nothing was given and the table has no default.
    settings: Vec<Option<Setting>>,
    /// The file's channel rules, in its order.
    pub rules: Vec<FileRule>,
}

/// The flags that were given, with their values.
pub type Flags = Vec<(Key, Vec<String>)>;

impl Settings {
    /// Reads the environment and the file that it or a flag names, and decides what counts.
    pub fn collect(
        flags: Flags,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut layers = Layers::default();
        for (key, texts) in flags {
            layers.flags.put(key, texts, Origin::Flag(key.row().flag()))?;
        }
        layers.read_environment(environment)?;
        let rules = layers.read_file()?;
        Ok(Self { settings: layers.decide()?, rules })
    }

    pub fn find(&self, key: Key) -> Option<&Setting> {
        self.settings[key as usize].as_ref()
    }

    /// The setting, if somebody gave it: not the default.
    pub fn given(&self, key: Key) -> Option<&Setting> {
        self.find(key).filter(|setting| setting.origin != Origin::Default)
    }

    pub fn address(&self, key: Key) -> ListenAddress {
        match self.value(key) {
            Value::Address(address) => address.clone(),
            other => wrong_kind(key, other),
        }
    }

    pub fn addresses(&self, key: Key) -> Vec<ListenAddress> {
        match self.value(key) {
            Value::Addresses(addresses) => addresses.clone(),
            other => wrong_kind(key, other),
        }
    }

    pub fn redis_url(&self) -> Option<RedisUrl> {
        self.find(Key::RedisUrl).map(|setting| match &setting.value {
            Value::RedisUrl(url) => url.clone(),
            other => wrong_kind(Key::RedisUrl, other),
        })
    }

    pub fn app_url(&self) -> Option<AppUrl> {
        self.find(Key::CallbackUrl).map(|setting| match &setting.value {
            Value::AppUrl(url) => url.clone(),
            other => wrong_kind(Key::CallbackUrl, other),
        })
    }

    pub fn duration(&self, key: Key) -> std::time::Duration {
        match self.value(key) {
            Value::Duration(duration) => *duration,
            other => wrong_kind(key, other),
        }
    }

    pub fn size(&self, key: Key) -> usize {
        match self.value(key) {
            Value::Size(bytes) => *bytes,
            other => wrong_kind(key, other),
        }
    }

    pub fn count(&self, key: Key) -> usize {
        self.optional_count(key).unwrap_or_else(|| panic!("{key:?} has a default in the table"))
    }

    pub fn optional_count(&self, key: Key) -> Option<usize> {
        self.find(key).map(|setting| match &setting.value {
            Value::Count(count) => *count,
            other => wrong_kind(key, other),
        })
    }

    /// The word that was chosen.
    pub fn choice(&self, key: Key) -> &'static str {
        match (key.row().kind, self.value(key)) {
            (Kind::Choice(words), Value::Choice(index)) => words[*index],
            (_, other) => wrong_kind(key, other),
        }
    }

    /// The value of an option that has a default.
    ///
    /// # Panics
    /// If the table has none: our own mistake, which any start would show.
    pub fn value(&self, key: Key) -> &Value {
        match self.find(key) {
            Some(setting) => &setting.value,
            None => panic!("{key:?} has a default in the table"),
        }
    }
}

fn wrong_kind(key: Key, value: &Value) -> ! {
    panic!("the table says which kind {key:?} is, and it is not {value:?}")
}

/// One place that options are given in, by key.
#[derive(Debug)]
struct Layer(Vec<Option<Setting>>);

#[derive(Debug, Default)]
struct Layers {
    flags: Layer,
    environment: Layer,
    file: Layer,
    /// `REDIS_URL`, which counts only where nothing else names a Redis.
    fallback: Layer,
}

impl Default for Layer {
    fn default() -> Self {
        Self(vec![None; TABLE.len()])
    }
}

impl Layer {
    fn put(&mut self, key: Key, texts: Vec<String>, origin: Origin) -> Result<(), ConfigError> {
        let row = key.row();
        let value = row
            .kind
            .parse(&texts)
            .map_err(|bad| ConfigError::value(&origin, &row.name(), &bad.text, bad.remedy))?;
        let texts = texts.iter().map(|text| shown(row.kind, text)).collect();
        self.0[key as usize] = Some(Setting { value, texts, origin });
        Ok(())
    }
}

impl Layers {
    fn read_environment(
        &mut self,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(), ConfigError> {
        // Sorted, so that of several mistakes always the same one is told.
        let mut variables: Vec<_> = environment.into_iter().collect();
        variables.sort();
        for (name, value) in variables {
            let Some(name) = name.to_str() else { continue };
            // An empty variable is none: that is what `COURIER_REDIS=${REDIS:-}` of a compose file means by it.
            let is_ours = name.starts_with(PREFIX) || name == REDIS_URL_VARIABLE;
            if !is_ours || name == BUILD_VARIABLE || value.is_empty() {
                continue;
            }
            let origin = Origin::Environment(name.to_owned());
            let Some(value) = value.to_str() else {
                return Err(ConfigError::at(&origin, "the value is not UTF-8"));
            };
            if name == REDIS_URL_VARIABLE {
                self.fallback.put(Key::RedisUrl, vec![value.to_owned()], origin)?;
                continue;
            }
            match TABLE.iter().find(|row| row.variable() == name) {
                Some(row) => self.environment.put(row.key, split(row, value), origin)?,
                None if is_service_link(name, value) => {}
                None => return Err(unknown_variable(name)),
            }
        }
        Ok(())
    }

    fn read_file(&mut self) -> Result<Vec<FileRule>, ConfigError> {
        let named =
            self.flags.0[Key::Config as usize].as_ref().or(self.environment.0[Key::Config as usize].as_ref());
        let Some(Setting { value: Value::File(path), origin, .. }) = named else { return Ok(Vec::new()) };
        let (path, origin): (PathBuf, Origin) = (path.clone(), origin.clone());
        let found = file::load(&path, &origin)?;
        for setting in found.settings {
            self.file.put(setting.key, setting.texts, setting.origin)?;
        }
        Ok(found.rules)
    }

    fn decide(self) -> Result<Vec<Option<Setting>>, ConfigError> {
        let mut defaults = Layer::default();
        for row in &TABLE {
            if let Some(text) = row.default {
                defaults.put(row.key, vec![text.to_owned()], Origin::Default)?;
            }
        }
        let mut decided = defaults.0;
        for layer in [self.fallback, self.file, self.environment, self.flags] {
            for (place, setting) in decided.iter_mut().zip(layer.0) {
                *place = setting.or_else(|| place.take());
            }
        }
        Ok(decided)
    }
}

/// A list in one variable is separated by spaces: no address and hardly a pattern contains one.
fn split(row: &Row, value: &str) -> Vec<String> {
    if row.kind.is_list() && row.kind != Kind::Origins {
        return value.split_whitespace().map(str::to_owned).collect();
    }
    vec![value.to_owned()]
}

/// Kubernetes gives every container variables about each service of its namespace. If the service is called courier,
/// they look like ours: `COURIER_SERVICE_HOST`, `COURIER_PORT=tcp://10.0.0.7:80`, `COURIER_PORT_80_TCP_ADDR`.
fn is_service_link(name: &str, value: &str) -> bool {
    let after_port = name.split("_PORT_").skip(1).any(|rest| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        digits > 0 && ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| rest[digits..].starts_with(protocol))
    });
    let is_address = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    after_port
        || name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && is_address)
}

fn unknown_variable(name: &str) -> ConfigError {
    let names: Vec<String> = TABLE.iter().map(Row::variable).collect();
    let remedy = match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => format!("no such variable; did you mean {near}?"),
        None => "no such variable; courier --print-config lists the options".to_owned(),
    };
    ConfigError::at(&Origin::Environment(name.to_owned()), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
    }

    fn collect(flags: &[(Key, &str)], pairs: &[(&str, &str)]) -> Result<Settings, String> {
        let flags = flags.iter().map(|(key, text)| (*key, vec![(*text).to_owned()])).collect();
        Settings::collect(flags, environment(pairs)).map_err(|error| error.to_string())
    }

    #[test]
    fn variables_are_read_and_empty_ones_are_not() {
        let settings = collect(
            &[],
            &[("COURIER_LISTEN", "127.0.0.1:1 unix:/x,mode=0600"), ("COURIER_REDIS", ""), ("HOME", "/root")],
        )
        .unwrap();
        let listen = settings.given(Key::ServerListen).unwrap();
        assert_eq!(listen.texts, ["127.0.0.1:1", "unix:/x,mode=0600"]);
        assert_eq!(listen.origin.to_string(), "COURIER_LISTEN");
        assert!(settings.find(Key::RedisUrl).is_none());
    }

    #[test]
    fn redis_url_is_the_last_resort() {
        let settings = collect(&[], &[("REDIS_URL", "redis://a"), ("COURIER_REDIS", "redis://b")]).unwrap();
        assert_eq!(settings.find(Key::RedisUrl).unwrap().origin.to_string(), "COURIER_REDIS");
        let settings = collect(&[], &[("REDIS_URL", "redis://a")]).unwrap();
        assert_eq!(settings.find(Key::RedisUrl).unwrap().origin.to_string(), "REDIS_URL");
    }

    #[test]
    fn an_unknown_variable_is_an_error_with_the_nearest_name() {
        for (name, line) in [
            ("COURIER_LISTN", "COURIER_LISTN: no such variable; did you mean COURIER_LISTEN?"),
            ("COURIER_REDIS_URL", "COURIER_REDIS_URL: no such variable; did you mean COURIER_REDIS?"),
            ("COURIER_PORT", "COURIER_PORT: no such variable; did you mean COURIER_RETRY?"),
            (
                "COURIER_ZZZZZZZZZZZZZZZZZZZZZZZ",
                "COURIER_ZZZZZZZZZZZZZZZZZZZZZZZ: no such variable; courier --print-config lists the options",
            ),
        ] {
            assert_eq!(collect(&[], &[(name, "x")]).unwrap_err(), line);
        }
    }

    #[test]
    fn variables_of_a_kubernetes_service_called_courier_are_not_ours() {
        let pairs = [
            ("COURIER_SERVICE_HOST", "10.0.0.7"),
            ("COURIER_SERVICE_PORT", "80"),
            ("COURIER_SERVICE_PORT_HTTP", "80"),
            ("COURIER_PORT", "tcp://10.0.0.7:80"),
            ("COURIER_PORT_80_TCP", "tcp://10.0.0.7:80"),
            ("COURIER_PORT_80_TCP_ADDR", "10.0.0.7"),
            ("COURIER_ADMIN_PORT_8081_TCP_PROTO", "tcp"),
        ];
        assert!(collect(&[], &pairs).is_ok());
    }

    #[test]
    fn a_wrong_value_is_told_in_the_spelling_it_was_given_in() {
        assert_eq!(
            collect(&[(Key::Heartbeat, "15")], &[]).unwrap_err(),
            "--heartbeat 15: a duration needs its unit, as in 15s or 15ms"
        );
        assert_eq!(
            collect(&[(Key::Heartbeat, "15s")], &[("COURIER_HEARTBEAT", "15")]).unwrap_err(),
            "COURIER_HEARTBEAT=15: a duration needs its unit, as in 15s or 15ms"
        );
        assert_eq!(
            collect(&[], &[("REDIS_URL", "redis://:secret@h:x")]).unwrap_err(),
            "REDIS_URL=redis://:***@h:x: the port is a number from 1 to 65535"
        );
        assert_eq!(
            collect(&[(Key::Config, "/nonexistent/courier.toml")], &[]).unwrap_err(),
            "--config /nonexistent/courier.toml: cannot be read: No such file or directory (os error 2)"
        );
    }
}
