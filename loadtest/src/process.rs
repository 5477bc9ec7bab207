//! A child process that is gone when its handle is: killed by its own id, and by the kernel should this process die
//! first.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::sys;
use crate::trouble::Trouble;

#[derive(Debug)]
pub struct Process {
    child: Child,
    ending: Ending,
    name: String,
    /// The last bytes that it wrote to its standard error, for when it ends unexpectedly.
    words: Arc<Mutex<Vec<u8>>>,
}

/// What ends a process, when its handle is dropped or this process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Kill,
    /// For one that has processes of its own to end first; killed if it takes too long.
    Terminate,
}

/// A command that starts this very program again, also when its file was replaced by a new build in the meantime.
pub fn this_program() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("loadtest");
    command
}

impl Process {
    /// Starts `command` on `cpus`, or anywhere if there are none. Must be called by a thread that lives as long as the
    /// process is needed: the kernel ends the process with that thread.
    pub fn start(mut command: Command, cpus: &[usize], ending: Ending) -> Result<Self, Trouble> {
        let name = command.get_program().to_string_lossy().into_owned();
        sys::bind_child(&mut command, cpus.to_vec(), ending.signal());
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Trouble::Process(format!("cannot start {name}: {error}")))?;
        let words = Arc::new(Mutex::new(Vec::new()));
        if let Some(mut output) = child.stderr.take() {
            let words = Arc::clone(&words);
            std::thread::spawn(move || {
                let mut bytes = [0; 1_024];
                while let Ok(count @ 1..) = output.read(&mut bytes) {
                    let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
                    words.extend_from_slice(&bytes[..count]);
                    let surplus = words.len().saturating_sub(WORDS_BYTES);
                    words.drain(..surplus);
                }
            });
        }
        Ok(Self { child, ending, name, words })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    pub fn output(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// An error if it has ended, with its last words.
    pub fn check(&mut self) -> Result<(), Trouble> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                Err(Trouble::Process(format!("{} ended ({status}): {}", self.name, self.last_words())))
            }
            Err(error) => Err(Trouble::System { doing: "wait for a process", error }),
        }
    }

    /// An error if it ends within `patience`: for when its sockets are gone, and itself perhaps not quite.
    pub fn check_within(&mut self, patience: Duration) -> Result<(), Trouble> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            self.check()?;
            std::thread::sleep(CHECK_INTERVAL);
        }
        Ok(())
    }

    /// Sends it `signal` and waits until it has ended; an error if it has not within `patience`.
    pub fn end(&mut self, signal: i32, patience: Duration) -> Result<(), Trouble> {
        sys::signal(&self.child, signal);
        let deadline = Instant::now() + patience;
        while self.child.try_wait().map_err(Trouble::doing("wait for a process"))?.is_none() {
            if Instant::now() >= deadline {
                return Err(Trouble::Process(format!("{} did not end in time", self.name)));
            }
            std::thread::sleep(TERMINATE_INTERVAL);
        }
        Ok(())
    }

    pub fn last_words(&self) -> String {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        match String::from_utf8_lossy(&words).trim() {
            "" => "it said nothing".to_owned(),
            words => words.to_owned(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ending == Ending::Terminate {
            sys::signal(&self.child, libc::SIGTERM);
            let deadline = Instant::now() + TERMINATE_TIMEOUT;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(TERMINATE_INTERVAL);
            }
        }
        // Both fail only if it is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ending {
    fn signal(self) -> i32 {
        match self {
            Self::Kill => libc::SIGKILL,
            Self::Terminate => libc::SIGTERM,
        }
    }
}

/// Thousands of connections take a moment to close.
const TERMINATE_TIMEOUT: Duration = Duration::from_secs(5);
const TERMINATE_INTERVAL: Duration = Duration::from_millis(2);
const WORDS_BYTES: usize = 2_048;
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_gone_when_its_handle_is() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let process = Process::start(command, &[], Ending::Kill).unwrap();
        let path = format!("/proc/{}", process.id());
        assert!(std::path::Path::new(&path).exists());
        drop(process);
        assert!(!std::path::Path::new(&path).exists());
    }

    #[test]
    fn a_process_that_does_not_end_at_a_signal_is_not_taken_for_gone() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let mut process = Process::start(command, &[], Ending::Kill).unwrap();
        assert!(process.end(libc::SIGCONT, Duration::from_millis(10)).is_err());
        process.end(libc::SIGTERM, Duration::from_secs(10)).unwrap();
        assert!(process.check().is_err());
    }
}
