//! Why a run, or one round of it, could not be measured.

use std::fmt;
use std::io;

#[derive(Debug)]
pub enum Trouble {
    /// The command line asks for something that cannot be: the user's to change.
    Usage(String),
    /// A process could not be started, or ended on its own.
    Process(String),
    /// The subscribers could not be connected, or did not behave.
    Swarm(String),
    /// A message could not be published.
    Publish(String),
    /// The system refused something.
    System { doing: &'static str, error: io::Error },
}

impl Trouble {
    /// For `map_err`: what was being done when the system refused.
    pub fn doing(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { doing, error }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Process(text) | Self::Swarm(text) | Self::Publish(text) => {
                formatter.write_str(text)
            }
            Self::System { doing, error } => write!(formatter, "{doing}: {error}"),
        }
    }
}

impl std::error::Error for Trouble {}
