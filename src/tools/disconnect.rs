//! `courier disconnect --user U | --channel C [--for 10m]`: a signed order to every courier on a Redis or broker.

use std::process::ExitCode;

use crate::access::control::{self, CONTROL_CHANNEL};
use crate::base::channel::ChannelName;
use crate::config::{DisconnectCommand, PublishCommand, PublishPayload};
use crate::driver::sys::time;
use crate::tools::publish;

/// Runs the command: 0 published, 1 not published, or nobody takes orders.
pub fn run(command: &DisconnectCommand) -> ExitCode {
    match order(command) {
        Ok(0) => {
            eprintln!(
                "courier disconnect: no courier takes orders there; give each one the secret (control.secret_file)"
            );
            ExitCode::FAILURE
        }
        Ok(couriers) => {
            println!("{couriers}");
            ExitCode::SUCCESS
        }
        Err(sentence) => {
            eprintln!("courier disconnect: {sentence}");
            ExitCode::FAILURE
        }
    }
}

/// Returns how many couriers were told.
fn order(command: &DisconnectCommand) -> Result<i64, String> {
    let nonce = time::random().map_err(|error| format!("no random number: {error}"))?;
    let nonce = format!("{nonce:016x}");
    let message = control::write(&command.key, &command.whom, command.keep_away, time::unix_now(), &nonce);
    let channel = ChannelName::parse(CONTROL_CHANNEL.as_bytes()).expect("it is a channel name");
    let publish = PublishCommand {
        redis: command.redis.clone(),
        timeout: command.timeout,
        channel,
        payload: PublishPayload::Stdin,
    };
    publish::publish(&publish, message.as_bytes())
}
