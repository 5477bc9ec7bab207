//! `courier sign --channel NAME --expires TIME`: the query of a signed URL.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::access::signed_url::Statement;
use crate::config::SignCommand;
use crate::driver::sys::time;

/// Prints it.
pub fn run(command: &SignCommand) -> ExitCode {
    let SignCommand { key, channels, holds_for, user, right } = command;
    let expires = time::unix_now().after(*holds_for);
    let query = Statement { right: *right, expires, user }.query(channels, key);
    match writeln!(io::stdout(), "{query}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
