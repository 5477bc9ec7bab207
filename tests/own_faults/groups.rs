//! Control groups of the test's own, of version 1 or 2, by which it stops a thread or bounds a process's memory.
//!
//! Where the machine does not let us make them the test is skipped, says so on the real stderr, and `make test` counts it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
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

    pub(crate) fn make(parent: &Path, must_have: &str) -> Option<Self> {
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

/// A group that bounds what its processes hold, the kernel's memory of their sockets with it: in version 2 that counts by
/// itself, in version 1 in a counter of its own, which gets the same bound.
#[derive(Debug)]
pub struct MemoryGroup {
    group: Group,
    is_version_1: bool,
}

impl MemoryGroup {
    pub fn of(bytes: u64) -> Option<Self> {
        let bound = bytes.to_string();
        let version_1 = own_group("memory").and_then(|own| Group::make(&own, "memory.limit_in_bytes"));
        if let Some(group) = version_1 {
            group.write("memory.limit_in_bytes", &bound);
            group.write("memory.kmem.tcp.limit_in_bytes", &bound);
            return Some(Self { group, is_version_1: true });
        }
        // A group with processes of its own gives no controllers to those below; the root may.
        let parents = own_group("").into_iter().chain([PathBuf::from("/sys/fs/cgroup")]);
        let group = parents.into_iter().find_map(|parent| Group::make(&parent, "memory.max"))?;
        group.write("memory.max", &bound);
        Some(Self { group, is_version_1: false })
    }

    /// The same command, in the group from its first moment.
    pub fn around(&self, command: &Command) -> Command {
        let mut inside = Command::new("sh");
        inside.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
        inside.arg(self.group.0.join("cgroup.procs")).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// Bytes that the group holds, of processes and of the kernel for them.
    pub fn used(&self) -> u64 {
        let files: &[&str] = if self.is_version_1 {
            &["memory.usage_in_bytes", "memory.kmem.tcp.usage_in_bytes"]
        } else {
            &["memory.current"]
        };
        files.iter().map(|file| self.group.read(file).trim().parse::<u64>().unwrap()).sum()
    }

    /// How often the kernel has killed a process because the group was at its bound.
    pub fn kills(&self) -> u64 {
        let text = self.group.read(if self.is_version_1 { "memory.oom_control" } else { "memory.events" });
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.expect("the kernel counts its kills").parse().unwrap()
    }

    /// The file that has the bound, as courier names it.
    pub fn bound(&self) -> PathBuf {
        self.group.0.join(if self.is_version_1 { "memory.limit_in_bytes" } else { "memory.max" })
    }
}

/// This process's own group of a controller of version 1; of version 2 with the name of none.
fn own_group(controller: &str) -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let of_line = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let is_it = parts.next()?.split(',').any(|name| name == controller);
        is_it.then(|| parts.next().map(str::to_owned)).flatten()
    };
    let path = groups.lines().find_map(of_line)?;
    Some(Path::new("/sys/fs/cgroup").join(controller).join(path.trim_start_matches('/')))
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
