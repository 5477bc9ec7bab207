//! The operator's fault: one line with origin and remedy. The process ends with exit code 2.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File {
        path: PathBuf,
        line: usize,
    },
    /// A variable, by its name.
    Environment(String),
    /// A flag, by its spelling with dashes.
    Flag(String),
}

/// Why courier does not start. `Display` is the whole line, without `error:` before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(String);

impl ConfigError {
    pub fn new(line: impl Into<String>) -> Self {
        Self(line.into())
    }

    /// A value that does not do, in the spelling of the place it came from:
    /// `courier.toml:12: limits.head_bytes = 100B: at least 1KiB`.
    pub fn value(origin: &Origin, key: &str, value: &str, remedy: impl fmt::Display) -> Self {
        match origin {
            Origin::Default | Origin::File { .. } => Self(format!("{origin}: {key} = {value}: {remedy}")),
            Origin::Environment(name) => Self(format!("{name}={value}: {remedy}")),
            Origin::Flag(flag) => Self(format!("{flag} {value}: {remedy}")),
        }
    }

    /// Something wrong at a place, but not with one option's value.
    pub fn at(origin: &Origin, remedy: impl fmt::Display) -> Self {
        Self(format!("{origin}: {remedy}"))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File { path, line } => write!(formatter, "{}:{line}", path.display()),
            Self::Environment(name) => formatter.write_str(name),
            Self::Flag(flag) => formatter.write_str(flag),
        }
    }
}
