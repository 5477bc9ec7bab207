//! How much memory this process may use: what the machine has, or what its control groups leave of it.
//!
//! A process that grows beyond the first is swapped or killed, beyond the second killed, whatever the machine has left. Both
//! versions of control groups are read, each with all the groups above one's own, since each of them is a bound.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::base::limits::KIB;
use crate::driver::files;

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    pub bytes: u64,
    pub bound: Bound,
}

/// What bounds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    Machine,
    /// The file of the control group that says so.
    Group(PathBuf),
}

/// What this process may use; none where the kernel does not say.
pub fn available() -> Option<Memory> {
    available_below(Path::new("/"))
}

/// What the kernel lets all TCP sockets of this machine hold together (`net.ipv4.tcp_mem`).
pub fn socket_bytes() -> Option<u64> {
    socket_bytes_below(Path::new("/"))
}

fn available_below(root: &Path) -> Option<Memory> {
    let machine = machine(root).map(|bytes| Memory { bytes, bound: Bound::Machine });
    let groups = groups(root).into_iter().filter_map(|file| {
        // Version 2 says `max` where there is no bound, version 1 the largest number of whole pages.
        let bytes = read(&file)?.trim().parse().ok()?;
        Some(Memory { bytes, bound: Bound::Group(Path::new("/").join(file.strip_prefix(root).ok()?)) })
    });
    machine.into_iter().chain(groups).min_by_key(|memory| memory.bytes)
}

fn machine(root: &Path) -> Option<u64> {
    let text = read(&root.join("proc/meminfo"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(KIB as u64)
}

fn socket_bytes_below(root: &Path) -> Option<u64> {
    let pages: u64 =
        read(&root.join("proc/sys/net/ipv4/tcp_mem"))?.split_whitespace().nth(2)?.parse().ok()?;
    pages.checked_mul(PAGE_BYTES)
}

/// The files that may say what the groups of this process are left.
fn groups(root: &Path) -> Vec<PathBuf> {
    let text = read(&root.join("proc/self/cgroup")).unwrap_or_default();
    let mut files = Vec::new();
    for line in text.lines() {
        // `<number>:<controllers>:<path>`; version 2 names no controllers.
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (places, file): (&[&str], &str) = if controllers.is_empty() {
            (&["sys/fs/cgroup", "sys/fs/cgroup/unified"], "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (&["sys/fs/cgroup/memory"], "memory.limit_in_bytes")
        } else {
            continue;
        };
        // In a container the path may be the host's, and the group itself what is mounted: the last of the ancestors.
        let path = Path::new(path.trim_start_matches('/'));
        for place in places {
            files.extend(path.ancestors().map(|group| root.join(place).join(group).join(file)));
        }
    }
    files
}

fn read(path: &Path) -> Option<String> {
    files::read(path, KERNEL_FILE_BYTES).ok()
}

impl fmt::Display for Bound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine => formatter.write_str("the machine's memory"),
            Self::Group(file) => write!(formatter, "{}", file.display()),
        }
    }
}

/// More than any of these files has.
const KERNEL_FILE_BYTES: usize = 64 * KIB;
/// In `tcp_mem`. Where pages are larger the kernel's bound is, too.
const PAGE_BYTES: u64 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    /// A root directory of the test's own, with these files; it goes with the value.
    struct Root(PathBuf);

    impl Root {
        fn with(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("courier-memory-{}-{name}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            Self(root)
        }

        fn bound(&self) -> (u64, String) {
            let memory = available_below(&self.0).unwrap();
            (memory.bytes, memory.bound.to_string())
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    const MEMINFO: (&str, &str) =
        ("proc/meminfo", "MemTotal:        2048000 kB\nMemFree:          1024 kB\n");
    const MACHINE: u64 = 2_048_000 * 1_024;

    #[test]
    fn without_groups_it_is_the_machines() {
        let root = Root::with("machine", &[MEMINFO]);
        assert_eq!(root.bound(), (MACHINE, "the machine's memory".into()));
        let unbounded = [
            MEMINFO,
            ("proc/self/cgroup", "4:memory:/a\n0::/a\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/unified/a/memory.max", "max\n"),
        ];
        let root = Root::with("unbounded", &unbounded);
        assert_eq!(root.bound(), (MACHINE, "the machine's memory".into()));
    }

    #[test]
    fn a_group_of_version_2_bounds_it_and_so_do_those_above() {
        let files = [
            MEMINFO,
            ("proc/self/cgroup", "0::/system.slice/courier.service\n"),
            ("sys/fs/cgroup/system.slice/courier.service/memory.max", "536870912\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "268435456\n"),
        ];
        let root = Root::with("above", &files);
        assert_eq!(root.bound(), (268_435_456, "/sys/fs/cgroup/system.slice/memory.max".into()));
    }

    #[test]
    fn a_group_of_version_1_bounds_it() {
        let files = [
            MEMINFO,
            ("proc/self/cgroup", "5:devices:/d\n4:hugetlb,memory:/docker/1\n0::/\n"),
            ("sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "268435456\n"),
        ];
        let root = Root::with("version-1", &files);
        let file = "/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes";
        assert_eq!(root.bound(), (268_435_456, file.into()));
    }

    /// The path that the kernel says is the host's; what is mounted here is the group itself.
    #[test]
    fn in_a_container_it_is_what_is_mounted() {
        for (name, cgroup, file) in [
            ("container-1", "4:memory:/docker/1\n", "sys/fs/cgroup/memory/memory.limit_in_bytes"),
            ("container-2", "0::/docker/1\n", "sys/fs/cgroup/memory.max"),
        ] {
            let root = Root::with(name, &[MEMINFO, ("proc/self/cgroup", cgroup), (file, "134217728\n")]);
            assert_eq!(root.bound(), (134_217_728, format!("/{file}")));
        }
    }

    #[test]
    fn what_is_not_said_is_not_known() {
        let root = Root::with("nothing", &[("proc/meminfo", "MemTotal: many kB\n")]);
        assert_eq!(available_below(&root.0), None);
        assert_eq!(socket_bytes_below(&root.0), None);
        assert!(available().is_some(), "this machine says it");
    }

    #[test]
    fn the_kernels_bound_of_sockets_is_in_pages() {
        let root = Root::with("sockets", &[("proc/sys/net/ipv4/tcp_mem", "287901\t383869\t575802\n")]);
        assert_eq!(socket_bytes_below(&root.0), Some(575_802 * 4_096));
    }
}
