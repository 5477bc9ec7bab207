//! What a server uses, seen from outside: CPU and memory of a process on this machine from /proc, of another machine's
//! from the `process_*` metrics that it exposes.
//!
//! CPU comes from `schedstat`, which the scheduler keeps to the nanosecond at every switch; `utime` in `stat` is
//! sampled by ticks and lies about work that comes in bursts.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde::Serialize;

use crate::trouble::Trouble;
use crate::url::HttpUrl;

#[derive(Debug, Clone)]
pub enum Observer {
    /// A process of this machine.
    Process(u32),
    /// Processes of this machine that share memory.
    Processes(Vec<u32>),
    /// A process that exposes `process_*` metrics.
    Metrics(HttpUrl),
    /// Nothing is known but what the subscribers see.
    Blind,
}

/// CPU time of all threads of a process since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CpuTime {
    pub run_nanos: u64,
    /// How long threads that wanted to run waited for a CPU; none where it is not known.
    pub wait_nanos: Option<u64>,
    /// How often a thread was put on a CPU: a process at rest, never.
    pub runs: Option<u64>,
}

impl Observer {
    pub fn cpu(&self) -> Result<Option<CpuTime>, Trouble> {
        match self {
            Self::Blind => Ok(None),
            Self::Process(pid) => process_cpu(*pid).map(Some),
            Self::Processes(pids) => {
                let mut sum = CpuTime { run_nanos: 0, wait_nanos: Some(0), runs: Some(0) };
                for &pid in pids {
                    let time = process_cpu(pid)?;
                    sum.run_nanos += time.run_nanos;
                    sum.wait_nanos = sum.wait_nanos.zip(time.wait_nanos).map(|(sum, wait)| sum + wait);
                    sum.runs = sum.runs.zip(time.runs).map(|(sum, runs)| sum + runs);
                }
                Ok(Some(sum))
            }
            Self::Metrics(url) => {
                let seconds = metric(&fetch(url)?, "process_cpu_seconds_total");
                Ok(seconds.map(|seconds| CpuTime { run_nanos: nanos(seconds), ..CpuTime::default() }))
            }
        }
    }

    /// Bytes in user space: anonymous memory of a local process, resident memory by its metrics of a remote one.
    pub fn user_bytes(&self) -> Result<Option<u64>, Trouble> {
        match self {
            Self::Blind => Ok(None),
            Self::Process(pid) => anonymous_bytes(*pid).map(Some),
            Self::Processes(pids) => {
                let bytes = |&pid| Ok(anonymous_bytes(pid)? + share_of_shared_bytes(pid));
                pids.iter().map(bytes).sum::<Result<u64, Trouble>>().map(Some)
            }
            Self::Metrics(url) => {
                // A count of bytes below 2^52.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                Ok(metric(&fetch(url)?, "process_resident_memory_bytes").map(|bytes| bytes as u64))
            }
        }
    }
}

/// CPU time of the process `pid` of this machine.
pub fn process_cpu(pid: u32) -> Result<CpuTime, Trouble> {
    let gone = |error| Trouble::Process(format!("process {pid} cannot be observed: {error}"));
    let mut sum = CpuTime { run_nanos: 0, wait_nanos: Some(0), runs: Some(0) };
    for task in fs::read_dir(format!("/proc/{pid}/task")).map_err(gone)? {
        // A thread may end between the listing and the reading.
        let Ok(text) = fs::read_to_string(task.map_err(gone)?.path().join("schedstat")) else { continue };
        let Some((run, wait, runs)) = schedstat(&text) else {
            return Err(Trouble::Process(format!("/proc/{pid}/task/*/schedstat says {text:?}")));
        };
        sum.run_nanos += run;
        sum.wait_nanos = sum.wait_nanos.map(|sum| sum + wait);
        sum.runs = sum.runs.map(|sum| sum + runs);
    }
    Ok(sum)
}

/// CPU time of the kernel's network threads of these CPUs. Packets on loopback that are not dealt with inside of the send
/// that made them are left to `ksoftirqd`, on the same CPU: work of the server's, on another account.
pub fn kernel_network_nanos(cpus: &[usize]) -> u64 {
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    let is_one = |name: &str| {
        let cpu = name.trim_end().strip_prefix("ksoftirqd/").and_then(|cpu| cpu.parse().ok());
        cpu.is_some_and(|cpu| cpus.contains(&cpu))
    };
    let time = |process: fs::DirEntry| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let name = fs::read_to_string(process.path().join("comm")).ok()?;
        if is_one(&name) { process_cpu(pid).ok() } else { None }
    };
    processes.flatten().filter_map(time).map(|time| time.run_nanos).sum()
}

/// Bytes of kernel slab memory of the whole machine: sockets, files, inodes.
pub fn kernel_slab_bytes() -> Result<u64, Trouble> {
    let text = fs::read_to_string("/proc/meminfo").map_err(Trouble::doing("read /proc/meminfo"))?;
    kibibytes(&text, "Slab:").ok_or_else(|| Trouble::Process("/proc/meminfo has no Slab line".to_owned()))
}

/// Connections that listeners of this machine have turned away for want of room in their queues.
pub fn listen_drops() -> u64 {
    let text = fs::read_to_string("/proc/net/netstat").unwrap_or_default();
    paired(&text, "TcpExt:", "ListenDrops").unwrap_or_default()
}

/// The value below `name`, in a file of a line of names and then a line of values.
fn paired(text: &str, prefix: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(prefix));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut pairs = names.split_ascii_whitespace().zip(values.split_ascii_whitespace());
    pairs.find(|(found, _)| *found == name)?.1.parse().ok()
}

fn anonymous_bytes(pid: u32) -> Result<u64, Trouble> {
    // `status` is a cheap count that lags by up to 64 pages a CPU; `smaps_rollup` walks the page tables and is exact,
    // but only the owner and root may read it.
    let exact = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok();
    if let Some(bytes) = exact.and_then(|text| kibibytes(&text, "Anonymous:")) {
        return Ok(bytes);
    }
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(path).map_err(Trouble::doing("read the server's status"))?;
    kibibytes(&text, "RssAnon:").ok_or_else(|| Trouble::Process("status has no RssAnon line".to_owned()))
}

/// This process's part of the memory that it shares with the others; 0 where that cannot be read.
fn share_of_shared_bytes(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    kibibytes(&text, "Pss_Shmem:").unwrap_or_default()
}

/// `run wait timeslices`.
fn schedstat(text: &str) -> Option<(u64, u64, u64)> {
    let mut fields = text.split_ascii_whitespace().map(|field| field.parse().ok());
    Some((fields.next()??, fields.next()??, fields.next()??))
}

fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|count| count * 1_024)
}

/// The value of a metric, with its labels as they stand in the text format.
pub fn metric_of(url: &HttpUrl, name: &str) -> Result<Option<f64>, Trouble> {
    Ok(metric(&fetch(url)?, name))
}

/// The value of a metric without labels in the Prometheus text format.
fn metric(text: &str, name: &str) -> Option<f64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    value.split_ascii_whitespace().next()?.parse().ok()
}

fn nanos(seconds: f64) -> u64 {
    u64::try_from(Duration::try_from_secs_f64(seconds).unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

/// The body of a page, by HTTP/1.0 so that it comes in one piece.
fn fetch(url: &HttpUrl) -> Result<String, Trouble> {
    let failed = |error: &dyn std::fmt::Display| Trouble::Process(format!("cannot read {url}: {error}"));
    let mut addresses = (url.host.as_str(), url.port).to_socket_addrs().map_err(|error| failed(&error))?;
    let address = addresses.next().ok_or_else(|| failed(&"no such host"))?;
    let mut stream = TcpStream::connect_timeout(&address, FETCH_TIMEOUT).map_err(|error| failed(&error))?;
    stream.set_read_timeout(Some(FETCH_TIMEOUT)).map_err(|error| failed(&error))?;
    let request =
        format!("GET {} HTTP/1.0\r\nHost: {}\r\nAccept: text/plain\r\n\r\n", url.path, url.authority());
    stream.write_all(request.as_bytes()).map_err(|error| failed(&error))?;
    let mut answer = String::new();
    stream.take(FETCH_BYTES_MAX).read_to_string(&mut answer).map_err(|error| failed(&error))?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
        _ => Err(failed(&format!("it answered {:?}", answer.lines().next().unwrap_or_default()))),
    }
}

const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const FETCH_BYTES_MAX: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedstat_is_run_time_wait_time_and_timeslices() {
        assert_eq!(schedstat("102150 73928 2\n"), Some((102_150, 73_928, 2)));
        for bad in ["", "1", "1 2", "1 x 3", "-1 2 3"] {
            assert_eq!(schedstat(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn this_process_can_be_observed() {
        let before = process_cpu(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while process_cpu(std::process::id()).unwrap().run_nanos <= before.run_nanos {
            sum = sum.wrapping_add(1);
        }
        assert!(anonymous_bytes(std::process::id()).unwrap() > 0);
        assert!(kernel_slab_bytes().unwrap() > 0);
    }

    #[test]
    fn metrics_are_found_by_their_whole_name() {
        let text = "# HELP process_cpu_seconds_total x\nprocess_cpu_seconds_total_more 9\n\
                    process_cpu_seconds_total 1.25\nprocess_resident_memory_bytes 8.192e3 1700000000\n";
        assert_eq!(metric(text, "process_cpu_seconds_total"), Some(1.25));
        assert_eq!(metric(text, "process_resident_memory_bytes"), Some(8_192.0));
        assert_eq!(metric(text, "process_open_fds"), None);
        assert_eq!(nanos(1.25), 1_250_000_000);
    }

    #[test]
    fn counts_of_the_network_stand_below_their_names() {
        let text = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 2 3\nIpExt: A\nIpExt: 9\n";
        assert_eq!(paired(text, "TcpExt:", "ListenDrops"), Some(3));
        assert_eq!(paired(text, "TcpExt:", "Nothing"), None);
    }

    #[test]
    fn memory_lines_are_in_kibibytes() {
        assert_eq!(kibibytes("Rss:      12 kB\nAnonymous:     7 kB\n", "Anonymous:"), Some(7_168));
        assert_eq!(kibibytes("Rss: 12 kB\n", "Slab:"), None);
    }
}
