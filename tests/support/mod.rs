//! What the integration tests stand on: a real courier, a real redis-server, and clients that speak over real sockets.
//!
//! Nothing here stands in for a part of courier. Everything waits for an event, at most until [`DEADLINE`]: a test that
//! hangs says what it waited for. Each test starts what it needs for itself, on ports that the kernel chose or on
//! sockets in a directory of its own, and a process ends with the value that holds it.

// Each test binary uses its own part of this.
#![allow(dead_code, unreachable_pub)]
// Tests state what must hold by unwrapping it; these are their helpers.
#![allow(clippy::unwrap_used)]

pub mod courier;
pub mod http;
pub mod process;
pub mod redis;
pub mod resp;
pub mod stream;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long anything that must happen may take. Long, since other tests run beside this one.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Asks again and again until the condition holds.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited for {DEADLINE:?}: {what}");
        // The pause between two questions, which must not take the CPU from those who are asked.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A directory that is gone when the test is over.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("courier-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A file with this content; its path.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
