//! A process of the test's own: its lines are collected as they come, and it is killed when the value goes.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::DEADLINE;

#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pub output: Lines,
    pub errors: Lines,
    status: Option<ExitStatus>,
}

/// What a process has written so far, line by line.
#[derive(Debug, Clone, Default)]
pub struct Lines(Arc<(Mutex<Written>, Condvar)>);

#[derive(Debug, Default)]
struct Written {
    lines: Vec<String>,
    is_over: bool,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{name} (make tools installs it): {error}"));
        let output = Lines::collect(child.stdout.take().unwrap());
        let errors = Lines::collect(child.stderr.take().unwrap());
        Self { name, child, output, errors, status: None }
    }

    /// Starts it and waits for its end: exit code, stdout and stderr.
    pub fn run(command: &mut Command) -> (i32, String, String) {
        let mut process = Self::start(command);
        drop(process.input());
        let status = process.wait();
        (status.code().unwrap_or(-1), process.output.text(), process.errors.text())
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// By its name, as in `TERM`.
    pub fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -$0 $1", name, &id]).status().unwrap();
        assert!(sent.success(), "{} is there to be sent {name}", self.name);
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.wait();
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        if let Some(status) = self.status {
            return status;
        }
        // Both are over when the process is, since it has no children that would keep them open.
        self.output.wait_for_end(&self.name);
        self.errors.wait_for_end(&self.name);
        let status = self.child.wait().unwrap();
        self.status = Some(status);
        status
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended = self.child.try_wait();
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            for lines in [&self.output, &self.errors] {
                lines.wait(Duration::from_secs(1), |written| written.is_over.then_some(()));
            }
            eprintln!(
                "--- {} ({:?}) said:\n{}{}---",
                self.name,
                ended,
                self.output.text(),
                self.errors.text()
            );
        }
    }
}

impl Lines {
    fn collect(source: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let written = lines.clone();
        std::thread::spawn(move || {
            let mut source = BufReader::new(source);
            let mut line = Vec::new();
            while source.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                written.change(|written| written.lines.push(text));
                line.clear();
            }
            written.change(|written| written.is_over = true);
        });
        lines
    }

    pub fn all(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    pub fn text(&self) -> String {
        self.all().iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }

    /// The first line with this text in it, once it is there.
    #[track_caller]
    pub fn with(&self, text: &str) -> String {
        self.nth_with(0, text)
    }

    /// The line with this text in it that has `before` such lines before it.
    #[track_caller]
    pub fn nth_with(&self, before: usize, text: &str) -> String {
        let found = self.wait(DEADLINE, |written| {
            let line = written.lines.iter().filter(|line| line.contains(text)).nth(before);
            line.cloned().map(Some).or_else(|| written.is_over.then_some(None))
        });
        match found {
            Some(Some(line)) => line,
            _ => panic!("no line with {text:?} came:\n{}", self.text()),
        }
    }

    /// So many lines, once they are there.
    #[track_caller]
    pub fn first(&self, count: usize) -> Vec<String> {
        let found = self.wait(DEADLINE, |written| {
            (written.lines.len() >= count).then(|| written.lines[..count].to_vec())
        });
        found.unwrap_or_else(|| panic!("{count} lines did not come:\n{}", self.text()))
    }

    #[track_caller]
    fn wait_for_end(&self, name: &str) {
        let ended = self.wait(DEADLINE, |written| written.is_over.then_some(()));
        assert!(ended.is_some(), "{name} did not end within {DEADLINE:?}:\n{}", self.text());
    }

    fn wait<T>(&self, patience: Duration, find: impl Fn(&Written) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut written = self.lock();
        loop {
            if let Some(found) = find(&written) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            written = self.0.1.wait_timeout(written, left).unwrap().0;
        }
    }

    fn change(&self, change: impl FnOnce(&mut Written)) {
        change(&mut self.lock());
        self.0.1.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.0.lock().unwrap()
    }
}
