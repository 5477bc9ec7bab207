//! The application of these tests, as its own process.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::support::process::{Lines, Process};

#[derive(Debug)]
pub(crate) struct App {
    /// What it has printed.
    pub(crate) lines: Lines,
    pub(crate) url: String,
    /// Ends with this value.
    _process: Process,
}

#[derive(Debug)]
pub(crate) struct Question {
    /// The connection that it came on.
    pub(crate) connection: u64,
    /// The fields of the request, in lower case.
    pub(crate) fields: Value,
    pub(crate) body: Value,
    /// The body as it came.
    pub(crate) text: String,
}

impl App {
    pub(crate) fn tcp() -> Self {
        let process = start("0");
        let line: Value = serde_json::from_str(&process.output.with("listening")).unwrap();
        let url = format!("http://127.0.0.1:{}/ask", line["listening"]);
        Self { lines: process.output.clone(), url, _process: process }
    }

    pub(crate) fn unix(path: &Path) -> Self {
        let process = start(path.to_str().unwrap());
        process.output.with("listening");
        let url = format!("unix:{}:/ask", path.display());
        Self { lines: process.output.clone(), url, _process: process }
    }

    /// The question that came after so many others, once it is there.
    #[track_caller]
    pub(crate) fn question(&self, number: usize) -> Question {
        let line: Value = serde_json::from_str(&self.lines.nth_with(number, "question")).unwrap();
        assert_eq!(line["question"], "POST /ask HTTP/1.1");
        Question {
            connection: line["connection"].as_u64().unwrap(),
            fields: line["fields"].clone(),
            body: line["body"].clone(),
            text: line["text"].as_str().unwrap().to_owned(),
        }
    }

    /// How many have come.
    pub(crate) fn questions(&self) -> usize {
        self.lines.all().iter().filter(|line| line.contains("question")).count()
    }

    /// How many connections there have been, those with a question.
    pub(crate) fn connections(&self) -> u64 {
        (0..self.questions()).map(|number| self.question(number).connection).max().unwrap_or(0)
    }
}

fn start(place: &str) -> Process {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/callback/app.py");
    Process::start(Command::new("python3").args(["-u", script, place]))
}
