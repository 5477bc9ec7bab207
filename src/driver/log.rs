//! Logs: one line an event with its fields, as text or JSON, to stderr.
//!
//! A thread of its own writes; a stderr that nobody reads blocks that thread and nobody else: the lines between are
//! bounded, and those beyond are dropped and counted. Levels below `warn` are courier's own events only.

use std::io::{IsTerminal, Write};

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

use crate::base::limits::LOG_LINES;

/// The least severe events that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// `2026-01-31T12:00:00.000000Z  INFO courier::server: listening address=127.0.0.1:8080`
    Text,
    /// `{"timestamp":"..","level":"INFO","target":"courier::server","message":"listening","address":".."}`
    Json,
}

/// The log's writer; when it is dropped, what is left is written, for at most about a second.
#[derive(Debug)]
pub struct Log {
    _guard: WorkerGuard,
    dropped: DroppedLines,
}

/// How many lines were lost because stderr did not take them.
#[derive(Debug, Clone)]
pub struct DroppedLines(ErrorCounter);

/// Starts the log of this process, on stderr. Call it once, after signals are blocked: it starts a thread.
pub fn start(level: LogLevel, format: LogFormat) -> Log {
    let colour = std::io::stderr().is_terminal();
    let (log, subscriber) = to_writer(level, format, colour, std::io::stderr());
    // A second log in one process would be our own mistake, and the first one goes on.
    let first = tracing::subscriber::set_global_default(subscriber);
    debug_assert!(first.is_ok(), "the log of a process is started once");
    log
}

impl Log {
    pub fn dropped(&self) -> DroppedLines {
        self.dropped.clone()
    }
}

impl DroppedLines {
    pub fn count(&self) -> u64 {
        self.0.dropped_lines() as u64
    }
}

fn to_writer(
    level: LogLevel,
    format: LogFormat,
    colour: bool,
    output: impl Write + Send + 'static,
) -> (Log, impl Subscriber + Send + Sync) {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LOG_LINES)
        .thread_name("courier-log")
        .finish(output);
    let dropped = DroppedLines(writer.error_counter());
    let lines = lines(format, colour, writer).with_filter(level.targets());
    (Log { _guard: guard, dropped }, tracing_subscriber::registry().with(lines))
}

fn lines<S>(format: LogFormat, colour: bool, writer: NonBlocking) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        LogFormat::Text => lines.with_ansi(colour).boxed(),
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    }
}

impl LogLevel {
    /// Our events from this level on, those of libraries from `warn` on.
    fn targets(self) -> Targets {
        let ours = match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        };
        Targets::new().with_default(ours.min(LevelFilter::WARN)).with_target("courier", ours)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// What one event becomes.
    fn written(level: LogLevel, format: LogFormat, event: impl FnOnce()) -> String {
        let (mut reader, writer) = UnixStream::pair().unwrap();
        let (log, subscriber) = to_writer(level, format, false, writer);
        tracing::subscriber::with_default(subscriber, event);
        drop(log);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn an_event_is_one_line_with_its_fields() {
        let event =
            || tracing::info!(target: "courier::server", address = "127.0.0.1:8080", shard = 3, "listening");
        let text = written(LogLevel::Info, LogFormat::Text, event);
        assert!(
            text.ends_with(" INFO courier::server: listening address=\"127.0.0.1:8080\" shard=3\n"),
            "{text:?}"
        );
        let json = written(LogLevel::Info, LogFormat::Json, event);
        let line: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (&line["level"], &line["message"], &line["address"], &line["shard"]),
            (&"INFO".into(), &"listening".into(), &"127.0.0.1:8080".into(), &3.into())
        );
        assert_eq!(json.matches('\n').count(), 1);
    }

    #[test]
    fn the_level_holds_for_our_events_and_libraries_only_warn() {
        let events = || {
            tracing::debug!(target: "courier::reader", "ours, debug");
            tracing::info!(target: "library", "theirs, info");
            tracing::warn!(target: "library", "theirs, warn");
        };
        let text = written(LogLevel::Debug, LogFormat::Text, events);
        assert!(
            text.contains("ours, debug") && text.contains("theirs, warn") && !text.contains("theirs, info")
        );
        let text = written(LogLevel::Error, LogFormat::Text, events);
        assert_eq!(text, "");
    }

    #[test]
    fn an_output_that_nobody_reads_delays_nobody_and_loses_counted_lines() {
        let (reader, writer) = UnixStream::pair().unwrap();
        let (log, subscriber) = to_writer(LogLevel::Info, LogFormat::Text, false, writer);
        let long = "x".repeat(1_000);
        // More than the socket's buffer and the queue hold: if writing waited, this would never end.
        let lines = LOG_LINES * 4;
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..lines {
                tracing::info!(target: "courier", long);
            }
        });
        assert!(log.dropped().count() > 0);
        assert!(log.dropped().count() < lines as u64);
        // The writer's thread wakes up with an error and ends.
        drop(reader);
    }
}
