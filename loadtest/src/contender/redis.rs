//! A Redis for the contenders that are fed through one: started for one round, keeps nothing on disk.
//!
//! It runs beside the publisher and the subscribers, not on the server's CPU, and its CPU time is not the server's.

use std::process::{Command, Stdio};

use crate::contender::{free_address, wait_until_up};
use crate::machine::Placement;
use crate::process::{Ending, Process};
use crate::publisher::RedisUrl;
use crate::trouble::Trouble;

pub fn start(placement: &Placement) -> Result<(Process, RedisUrl), Trouble> {
    let address = free_address()?;
    let mut command = Command::new("redis-server");
    command.args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()]);
    command.args(["--save", "", "--appendonly", "no"]);
    command.current_dir(std::env::temp_dir()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut process = Process::start(command, &placement.clients, Ending::Kill)?;
    wait_until_up(&mut process, address)?;
    Ok((process, RedisUrl::local(address)))
}
