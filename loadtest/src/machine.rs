//! The machine that a run took place on, and which of its CPUs do what.

use std::fs;

use serde::Serialize;

use crate::arguments::Common;
use crate::sys;
use crate::trouble::Trouble;

/// What somebody needs who compares figures.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    pub kernel: String,
    pub processor: String,
    /// CPUs that this process may use.
    pub cpus: usize,
    pub is_virtual: bool,
    pub memory_bytes: u64,
    /// Limit of open files of each process.
    pub open_files: u64,
    /// How TCP decides when to send (`net.ipv4.tcp_congestion_control`): runs under different ones are not to be compared.
    pub tcp_congestion_control: String,
    /// One-minute load average at the start: what else was running.
    pub load_before: f64,
}

/// Which CPUs the server and the subscribers run on; empty means anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Placement {
    pub server: Vec<usize>,
    pub clients: Vec<usize>,
}

impl Machine {
    pub fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (cpuinfo, meminfo, load) = (read("/proc/cpuinfo"), read("/proc/meminfo"), read("/proc/loadavg"));
        let value = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = value(&meminfo, "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor: value(&cpuinfo, "model name").unwrap_or_else(|| "unknown".to_owned()),
            cpus: sys::allowed_cpus().len(),
            is_virtual: value(&cpuinfo, "flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            memory_bytes: memory.unwrap_or_default() * 1_024,
            open_files: sys::raise_open_file_limit(),
            tcp_congestion_control: read("/proc/sys/net/ipv4/tcp_congestion_control").trim().to_owned(),
            load_before: load.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or_default(),
        }
    }
}

impl Placement {
    pub fn choose(common: &Common, starts_server: bool) -> Result<Self, Trouble> {
        let asked = |cpus: &Option<crate::arguments::Cpus>| cpus.as_ref().map(|cpus| cpus.0.clone());
        let placement = Self::among(
            &sys::allowed_cpus(),
            asked(&common.server_cpus),
            asked(&common.client_cpus),
            starts_server,
        )?;
        Ok(placement)
    }

    fn among(
        allowed: &[usize],
        server: Option<Vec<usize>>,
        clients: Option<Vec<usize>>,
        starts_server: bool,
    ) -> Result<Self, Trouble> {
        for cpu in server.iter().chain(&clients).flatten() {
            if !allowed.contains(cpu) {
                return Err(Trouble::Usage(format!(
                    "CPU {cpu} is none of those that may be used: {allowed:?}"
                )));
            }
        }
        if !starts_server {
            // The server runs already, elsewhere or wherever its operator put it.
            return Ok(Self { server: Vec::new(), clients: clients.unwrap_or_default() });
        }
        let server = server.unwrap_or_else(|| allowed[..1].to_vec());
        let others = || allowed.iter().copied().filter(|cpu| !server.contains(cpu)).collect();
        let clients = clients.unwrap_or_else(others);
        Ok(Self { server, clients })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(allowed: &[usize], server: Option<&[usize]>, clients: Option<&[usize]>) -> Placement {
        let owned = |cpus: Option<&[usize]>| cpus.map(<[usize]>::to_vec);
        Placement::among(allowed, owned(server), owned(clients), true).unwrap()
    }

    #[test]
    fn the_server_has_the_first_cpu_and_the_subscribers_the_others() {
        assert_eq!(choose(&[2, 3, 5], None, None), Placement { server: vec![2], clients: vec![3, 5] });
        assert_eq!(
            choose(&[0, 1, 2], Some(&[1, 2]), None),
            Placement { server: vec![1, 2], clients: vec![0] }
        );
        assert_eq!(choose(&[0, 1], None, Some(&[0, 1])), Placement { server: vec![0], clients: vec![0, 1] });
    }

    #[test]
    fn with_one_cpu_they_share_it() {
        assert_eq!(choose(&[0], None, None), Placement { server: vec![0], clients: vec![] });
    }

    #[test]
    fn a_cpu_that_may_not_be_used_is_refused() {
        assert!(Placement::among(&[0, 1], Some(vec![4]), None, true).is_err());
    }

    #[test]
    fn the_machine_is_known() {
        let machine = Machine::look();
        assert!(!machine.kernel.is_empty());
        assert!(machine.cpus > 0 && machine.memory_bytes > 0 && machine.open_files > 0);
    }
}
