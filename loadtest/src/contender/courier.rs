//! courier, started as an operator would start it: one shard for each CPU of the server, heartbeats off unless asked for.
//!
//! A shard holds as many connections as the limit of open files allows. For more, there are more shards than CPUs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::arguments::Common;
use crate::contender::{Server, free_address, redis, wait_until_up};
use crate::machine::Placement;
use crate::process::{Ending, Process};
use crate::publisher::{Intake, RedisUrl};
use crate::sys;
use crate::trouble::Trouble;
use crate::url::HttpUrl;

/// The program: as given, or next to this one, or on the PATH.
pub fn find(common: &Common) -> Result<PathBuf, Trouble> {
    if let Some(program) = &common.courier {
        return if program.is_file() {
            Ok(program.clone())
        } else {
            Err(Trouble::Usage(format!("--courier {}: no such file", program.display())))
        };
    }
    let here = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.to_owned()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = here.into_iter().chain(std::env::split_paths(&path)).map(|folder| folder.join("courier"));
    found.find(|program| program.is_file()).ok_or_else(|| {
        Trouble::Usage(
            "courier is not next to this program: build it (cargo build --release), give --courier FILE, or leave it \
             out (--contenders send-loop,ring-loop)"
                .to_owned(),
        )
    })
}

/// Where its messages come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Its own broker.
    Broker,
    Redis(RedisUrl),
    /// A Redis that is started with it.
    OwnRedis,
}

/// How one courier is started, and started again at the same addresses.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    program: PathBuf,
    heartbeat: Duration,
    web: SocketAddr,
    admin: SocketAddr,
    /// Where its broker listens, if it has no Redis.
    broker: Option<SocketAddr>,
    redis: Option<RedisUrl>,
    shards: Option<usize>,
    cpus: Vec<usize>,
}

pub fn start(
    program: &Path,
    source: &Source,
    heartbeat: Duration,
    placement: &Placement,
    connections: usize,
) -> Result<Server, Trouble> {
    let (redis_process, redis_url) = match source {
        Source::Broker => (None, None),
        Source::Redis(url) => (None, Some(url.clone())),
        Source::OwnRedis => redis::start(placement).map(|(process, url)| (Some(process), Some(url)))?,
    };
    let broker = if redis_url.is_none() { Some(free_address()?) } else { None };
    let cpus = placement.server.clone();
    let shards = (!cpus.is_empty()).then(|| shards(cpus.len(), connections, sys::raise_open_file_limit()));
    let launch = Launch {
        program: program.to_owned(),
        heartbeat,
        web: free_address()?,
        admin: free_address()?,
        broker,
        redis: redis_url,
        shards,
        cpus,
    };
    let mut server = Server::started(launch.start()?, launch.web, Intake::Publish(launch.publish()?));
    server.further.extend(redis_process);
    server.is_crowded = shards.is_some_and(|shards| shards > launch.cpus.len());
    server.launch = Some(launch);
    Ok(server)
}

impl Launch {
    /// Starts it, and waits until it listens.
    pub(super) fn start(&self) -> Result<Process, Trouble> {
        let mut command = Command::new(&self.program);
        command.args(["--public", "*", "--heartbeat", &format!("{}ms", self.heartbeat.as_millis())]);
        command.args(["--log-level", "warn"]);
        command.args(["--listen", &self.web.to_string(), "--admin", &self.admin.to_string()]);
        if let Some(broker) = self.broker {
            command.args(["--broker", &broker.to_string()]);
        }
        if let Some(redis) = &self.redis {
            // By the environment: a command line is for everybody on the machine to read.
            command.env("COURIER_REDIS", redis.to_string());
        }
        if let Some(shards) = self.shards {
            let cpus: Vec<String> = self.cpus.iter().map(usize::to_string).collect();
            command.args(["--shards", &shards.to_string(), "--cpus", &cpus.join(",")]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = Process::start(command, &self.cpus, Ending::Kill)?;
        for address in [Some(self.web), self.broker].into_iter().flatten() {
            wait_until_up(&mut process, address)?;
        }
        Ok(process)
    }

    /// Where messages are published to it.
    fn publish(&self) -> Result<RedisUrl, Trouble> {
        let nowhere = || Trouble::Usage("courier has neither a broker nor a Redis".to_owned());
        self.redis.clone().or_else(|| self.broker.map(RedisUrl::local)).ok_or_else(nowhere)
    }

    /// Its metrics.
    pub(super) fn metrics(&self) -> Result<HttpUrl, Trouble> {
        HttpUrl::parse(&format!("http://{}/metrics", self.admin)).map_err(Trouble::Usage)
    }
}

/// A shard for each CPU, or as many as hold the connections: the kernel spreads them by a hash, so no shard is meant to
/// be full: with 18,400 of 20,000 places taken on average, a full one is eleven standard deviations away.
fn shards(cpus: usize, connections: usize, open_files: u64) -> usize {
    let per_shard = usize::try_from(open_files).unwrap_or(usize::MAX) / 100 * SHARD_FILL_PERCENT;
    cpus.max(connections.div_ceil(per_shard.max(1)))
}

const SHARD_FILL_PERCENT: usize = 92;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_shards_as_hold_the_connections_and_no_fewer_than_cpus() {
        for (cpus, connections, expected) in
            [(1, 18_000, 1), (4, 18_000, 4), (1, 200_000, 11), (2, 300_000, 17)]
        {
            assert_eq!(shards(cpus, connections, 20_000), expected, "{connections} on {cpus}");
        }
        assert_eq!(shards(1, 200_000, 1 << 20), 1);
    }
}
