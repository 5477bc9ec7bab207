//! courier, started as an operator would start it: one shard for each CPU of the server, heartbeats off.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::arguments::Common;
use crate::contender::{Server, free_address, wait_until_up};
use crate::machine::Placement;
use crate::process::Process;
use crate::publisher::{Intake, RedisUrl};
use crate::trouble::Trouble;

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

pub fn start(program: &Path, redis: Option<&RedisUrl>, placement: &Placement) -> Result<Server, Trouble> {
    let (web, admin, broker) = (free_address()?, free_address()?, free_address()?);
    let mut command = Command::new(program);
    command.args(["--public", "*", "--heartbeat", "0s", "--log-level", "warn"]);
    command.args(["--listen", &web.to_string(), "--admin", &admin.to_string()]);
    let publish = match redis {
        None => {
            command.args(["--broker", &broker.to_string()]);
            RedisUrl::local(broker)
        }
        Some(redis) => {
            // By the environment: a command line is for everybody on the machine to read.
            command.env("COURIER_REDIS", redis.to_string());
            redis.clone()
        }
    };
    if !placement.server.is_empty() {
        let cpus: Vec<String> = placement.server.iter().map(usize::to_string).collect();
        command.args(["--shards", &cpus.len().to_string(), "--cpus", &cpus.join(",")]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut process = Process::start(command, &placement.server)?;
    wait_until_up(&mut process, web)?;
    if redis.is_none() {
        wait_until_up(&mut process, broker)?;
    }
    Ok(Server::started(process, web, Intake::Publish(publish)))
}
