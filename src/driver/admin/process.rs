//! What the kernel knows of this process, from `/proc`: the figures that every Prometheus client exposes.

use std::fs;

/// A figure that could not be read is left out of the page.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Process {
    /// User and system time together. The kernel keeps their sum exactly, to a tick.
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) virtual_bytes: Option<u64>,
    /// Without the sockets of clients, which lie in the rings' own tables.
    pub(super) open_descriptors: Option<u64>,
    pub(super) most_descriptors: Option<u64>,
    /// Since the epoch of Unix.
    pub(super) start_seconds: Option<f64>,
}

impl Process {
    pub(super) fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        Self {
            cpu_seconds: cpu_seconds(&stat),
            resident_bytes: kibibytes(&status, "VmRSS:"),
            virtual_bytes: kibibytes(&status, "VmSize:"),
            // Reading the directory is one descriptor itself.
            open_descriptors: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64 - 1),
            most_descriptors: most_descriptors(&limits),
            start_seconds: start_seconds(&stat, &boot),
        }
    }
}

/// The fields of `/proc/PID/stat` behind the name, which may contain anything but ends with the last bracket.
/// Field 3 of proc(5) is the first of them.
fn field(stat: &str, number: usize) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(number - 3)?.trim().parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    let ticks = field(stat, 14)? + field(stat, 15)?;
    Some(ticks as f64 / TICKS_PER_SECOND)
}

fn start_seconds(stat: &str, boot: &str) -> Option<f64> {
    let booted: u64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(booted as f64 + field(stat, 22)? as f64 / TICKS_PER_SECOND)
}

fn kibibytes(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1_024)
}

fn most_descriptors(limits: &str) -> Option<u64> {
    let values = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    values.split_whitespace().next()?.parse().ok()
}

/// USER_HZ, which is 100 on every Linux that io_uring runs on.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_the_kernel_writes_them() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194304 95 0 0 0 150 75 0 0 20 0 1 0 12345 2592768 200 ...";
        assert_eq!(cpu_seconds(stat), Some(2.25));
        assert_eq!(start_seconds(stat, "cpu 1 2\nbtime 1000\n"), Some(1_123.45));
        let status = "Name:\tcourier\nVmSize:\t    2048 kB\nVmRSS:\t     512 kB\n";
        assert_eq!(
            (kibibytes(status, "VmSize:"), kibibytes(status, "VmRSS:")),
            (Some(2_097_152), Some(524_288))
        );
        let limits = "Limit   Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n";
        assert_eq!(most_descriptors(limits), Some(1_024));
        assert_eq!(most_descriptors("Max open files  unlimited  unlimited  files"), None);
        assert_eq!((cpu_seconds(""), start_seconds("", ""), kibibytes("", "VmRSS:")), (None, None, None));
    }

    #[test]
    fn this_process_has_every_figure() {
        let process = Process::read();
        assert!(process.cpu_seconds.is_some());
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 0));
        assert!(process.virtual_bytes >= process.resident_bytes);
        assert!(process.open_descriptors.is_some_and(|count| count >= 3));
        assert!(process.start_seconds.is_some_and(|seconds| seconds > 1e9));
    }
}
