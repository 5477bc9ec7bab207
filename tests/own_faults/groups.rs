//! Control groups of the test's own, of version 1 or 2, by which it stops a thread or bounds a process's memory.
//!
//! Where the machine does not let us make them the test is skipped, says so on the real stderr, and `make test` counts it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::until;

#[derive(Debug)]
pub struct Group(PathBuf);

impl Group {
    /// A group of the freezer of version 1, the one that can hold a single thread of a process.
    pub fn freezer() -> Option<Self> {
        Self::make(&own_group("freezer")?, "freezer.state")
    }

    /// A thread, by its id.
    pub fn add_thread(&self, thread: u32) {
        self.write("tasks", &thread.to_string());
    }

    pub fn freeze(&self) {
        self.write("freezer.state", "FROZEN");
        until("the thread stands still", || self.read("freezer.state").trim() == "FROZEN");
    }

    pub fn thaw(&self) {
        self.write("freezer.state", "THAWED");
    }

    fn make(parent: &Path, must_have: &str) -> Option<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("courier-test-{}-{number}", std::process::id()));
        fs::create_dir(&path).ok()?;
        let group = Self(path);
        group.0.join(must_have).exists().then_some(group)
    }

    pub fn write(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).unwrap_or_else(|error| panic!("{file}: {error}"));
    }

    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A frozen thread would hear of no signal, and a group with a thread in it stays.
        let thawed = self.0.join("freezer.state");
        if thawed.exists() {
            fs::write(thawed, "THAWED").ok();
        }
        let threads = fs::read_to_string(self.0.join("tasks")).unwrap_or_default();
        for thread in threads.lines() {
            // It may have ended already.
            fs::write(self.0.parent().unwrap().join("tasks"), thread).ok();
        }
        fs::remove_dir(&self.0).ok();
    }
}

/// This process's own group of a controller of version 1.
fn own_group(controller: &str) -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let of_line = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let is_it = parts.next()?.split(',').any(|name| name == controller);
        is_it.then(|| parts.next().map(str::to_owned)).flatten()
    };
    let path = groups.lines().find_map(of_line)?;
    Some(PathBuf::from(format!("/sys/fs/cgroup/{controller}{path}")))
}

/// Past the capture of what a test prints: a test that did not run must not look as if it had.
pub fn skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    std::io::stderr().write_all(format!("skipped: {test}: {why}\n").as_bytes()).unwrap();
}

/// What a test found out, for docs/reliability.md.
pub fn figure(text: &str) {
    eprintln!("figure: {}: {text}", std::thread::current().name().unwrap_or_default());
}
