//! Measures a fan-out server from outside.
//!
//! ```text
//! scenario (what is done) -> contender (who is measured: courier, the bare loops, a running server)
//!                         -> swarm (thousands of subscribers in processes of their own, each message checked)
//!                         -> publisher (as the server wants it: PUBLISH, PUBLISH in an envelope, POST), window (CPU, and who was the limit)
//!                         -> statistics -> report (table, JSON)
//! ```
//!
//! A new scenario is one file in `scenario`, a new contender one in `contender`.

pub mod arguments;
pub mod contender;
pub mod machine;
pub mod observe;
pub mod payload;
pub mod process;
pub mod progress;
pub mod publisher;
pub mod report;
pub mod scenario;
pub mod statistics;
pub mod swarm;
pub mod sys;
pub mod trouble;
pub mod url;
pub mod window;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use trouble::Trouble;

pub fn main() -> ExitCode {
    let result = match Arguments::take().command {
        Command::Fanout(arguments) => scenario::fanout::run(&arguments),
        Command::Spread(arguments) => scenario::spread::run(&arguments),
        Command::Curve(arguments) => scenario::curve::run(&arguments),
        Command::Connect(arguments) => scenario::connect::run(&arguments),
        Command::Jitter(arguments) => scenario::jitter::run(&arguments),
        Command::Avalanche(arguments) => scenario::avalanche::run(&arguments),
        Command::Slow(arguments) => scenario::slow::run(&arguments),
        Command::Firehose(arguments) => scenario::firehose::run(&arguments),
        Command::Idle(arguments) => scenario::idle::run(&arguments),
        Command::SwarmProcess => swarm::worker::run().map(|()| true),
        Command::BareServer { volley } => contender::bare::serve(volley).map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(trouble) => {
            eprintln!("loadtest: {trouble}");
            ExitCode::from(if matches!(trouble, Trouble::Usage(_)) { 2 } else { 1 })
        }
    }
}
