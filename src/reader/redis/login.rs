//! What a Redis says to a login, and what that means: go on, try again later, or tell the operator.
//!
//! Pure classification; who asks and what follows lies in `link`.

use std::collections::VecDeque;

use crate::reader::RedisOptions;
use crate::wire::resp::reply::Reply;
use crate::wire::resp::request::encode_command;

/// The commands of a login, sent in one go and answered in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Hello,
    Select,
    SetName,
}

/// Why a link cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// It may work the next time.
    Down(String),
    /// It will not mend by itself.
    Refused(String),
}

impl Failure {
    pub(super) fn reason(&self) -> &str {
        let (Self::Down(reason) | Self::Refused(reason)) = self;
        reason
    }
}

/// Appends the commands of a login; returns the steps whose answers are awaited.
pub(super) fn write(options: &RedisOptions, out: &mut Vec<u8>) -> VecDeque<Step> {
    let mut steps = VecDeque::from([Step::Hello]);
    match &options.password {
        Some(password) => {
            let username = options.username.as_deref().unwrap_or("default");
            encode_command(
                &[b"HELLO", b"3", b"AUTH", username.as_bytes(), password.reveal().as_bytes()],
                out,
            );
        }
        None => encode_command(&[b"HELLO", b"3"], out),
    }
    if options.database != 0 {
        encode_command(&[b"SELECT", options.database.to_string().as_bytes()], out);
        steps.push_back(Step::Select);
    }
    encode_command(&[b"CLIENT", b"SETNAME", options.client_name.as_bytes()], out);
    steps.push_back(Step::SetName);
    steps
}

/// Whether the login can go on after this reply.
pub(super) fn judge(step: Step, reply: &Reply) -> Result<(), Failure> {
    match (step, reply) {
        (Step::Hello, Reply::Error(error)) => Err(hello_refused(error)),
        (Step::Hello, reply) if reply.field("proto") == Some(&Reply::Integer(3)) => Ok(()),
        (Step::Hello, _) => Err(speaks_resp2_only()),
        (Step::Select, Reply::Error(error)) if is_passing(error) => Err(Failure::Down(text(error))),
        (Step::Select, Reply::Error(error)) => {
            Err(Failure::Refused(format!("the database of redis.url cannot be used: {}", text(error))))
        }
        // A name is a courtesy: an ACL without CLIENT does no harm.
        (Step::Select | Step::SetName, _) => Ok(()),
    }
}

/// What an error means that comes where none is expected.
pub(super) fn unexpected(error: &[u8]) -> Failure {
    if error.starts_with(b"NOAUTH") { hello_refused(error) } else { Failure::Down(text(error)) }
}

fn hello_refused(error: &[u8]) -> Failure {
    let code = error.split(|&byte| byte == b' ').next().unwrap_or_default();
    match code {
        b"NOPROTO" => speaks_resp2_only(),
        b"ERR" if error.starts_with(b"ERR unknown command") => speaks_resp2_only(),
        b"WRONGPASS" => Failure::Refused(format!("Redis refused user and password: {}", text(error))),
        b"NOAUTH" => Failure::Refused(
            "Redis asks for a password: give redis.password_file, or user and password in redis.url"
                .to_owned(),
        ),
        b"NOPERM" | b"DENIED" => Failure::Refused(format!("Redis refused the login: {}", text(error))),
        // LOADING, BUSY, MASTERDOWN, "ERR max number of clients reached" and what a proxy may say.
        _ => Failure::Down(format!("Redis is not ready: {}", text(error))),
    }
}

/// Errors that pass by themselves.
fn is_passing(error: &[u8]) -> bool {
    [b"LOADING".as_slice(), b"BUSY", b"MASTERDOWN", b"TRYAGAIN", b"CLUSTERDOWN"]
        .iter()
        .any(|code| error.starts_with(code))
}

fn speaks_resp2_only() -> Failure {
    Failure::Refused("it speaks RESP2 only: courier needs Redis 6.2 or later, or Valkey".to_owned())
}

/// The error's text, in one line of bounded length.
fn text(error: &[u8]) -> String {
    error[..error.len().min(ERROR_BYTES_SHOWN)].escape_ascii().to_string()
}

const ERROR_BYTES_SHOWN: usize = 200;
