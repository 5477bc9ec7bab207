//! `--print-config` and `--check-config`: what courier understood, and from where. Secrets are hidden.

use std::fmt::Write;

use crate::config::settings::{Setting, Settings};
use crate::config::table::{Group, Key, Kind, Row};
use crate::config::{Config, Mode, Upstream, rows};

/// Every option with its value, in the syntax of the file, and where it came from.
pub fn print_config(settings: &Settings, config: &Config) -> String {
    let mut text = format!("# {}\n", summary(config));
    for group in Group::ALL {
        let _ = write!(text, "\n# {}\n", group.heading());
        for row in group.rows() {
            text.push_str(&line(row, settings, config));
            text.push('\n');
        }
    }
    for rule in &settings.rules {
        let _ = write!(text, "\n[[channels]] # {}\n", rule.origin);
        text.push_str(&rows::written(rule));
    }
    text
}

/// One line that says that all is well, and the warnings.
pub fn check_config(settings: &Settings, config: &Config) -> String {
    let file = settings.given(Key::Config).map(|setting| format!("{}: ", setting.texts.join(" ")));
    let mut text = format!("{}ok: {}\n", file.unwrap_or_default(), summary(config));
    for warning in &config.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

fn summary(config: &Config) -> String {
    let source = match &config.upstream {
        Upstream::Redis(redis) => format!("messages from {}", redis.url),
        Upstream::Broker(broker) => format!("messages from courier's own broker at {}", broker.listen),
    };
    match config.mode {
        Mode::TryOut => format!("try-out mode, every channel open, {source}"),
        Mode::Production => match config.rules.len() {
            1 => format!("production, 1 channel rule, {source}"),
            count => format!("production, {count} channel rules, {source}"),
        },
    }
}

fn line(row: &Row, settings: &Settings, config: &Config) -> String {
    let name = row.name();
    match (settings.find(row.key), &config.upstream) {
        (Some(_), Upstream::Redis(_)) if row.key == Key::BrokerListen => {
            format!("# {name} is not used with Redis")
        }
        (None, _) => format!("# {name} is not given"),
        // An option that the file cannot hold is a comment, so that the whole stays a file.
        (Some(setting), _) => {
            let comment = if row.file_key.is_none() { "# " } else { "" };
            let assignment = format!("{comment}{name} = {}", toml_value(row.kind, setting));
            format!("{assignment:<40} # {}", setting.origin)
        }
    }
}

pub(super) fn toml_value(kind: Kind, setting: &Setting) -> String {
    let values: Vec<String> = setting.texts.iter().map(|text| quoted(text)).collect();
    match kind {
        Kind::Count { .. } => setting.texts.join(""),
        _ if kind.is_list() => format!("[{}]", values.join(", ")),
        _ => values.join(""),
    }
}

/// A string of TOML.
pub fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
