//! `courier publish CHANNEL [DATA|-]`: one PUBLISH to Redis or to the embedded broker, and the count it answers.
//!
//! Speaks RESP2 without HELLO, which both have always understood. Login, database and message go out at once; the first
//! answer that is an error is the one that is told.

use std::io::{self, IsTerminal, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use crate::base::limits::RESP_BULK_BYTES;
use crate::config::redis_url::RedisUrl;
use crate::config::{PublishCommand, PublishPayload};
use crate::reader::RedisAddress;
use crate::tools::connect;
use crate::wire::resp::reply::{Reply, decode_reply};
use crate::wire::resp::request::encode_command;

/// Runs the command: 0 published, 1 not published.
pub fn run(command: &PublishCommand) -> ExitCode {
    match payload(&command.payload).and_then(|payload| publish(command, &payload)) {
        Ok(receivers) => {
            if receivers == 0 {
                eprintln!("courier publish: nobody listens to {} right now", command.channel);
            }
            // Whoever closed stdout does not want the number; the message is out.
            let _ = writeln!(io::stdout(), "{receivers}");
            ExitCode::SUCCESS
        }
        Err(sentence) => {
            eprintln!("courier publish: {sentence}");
            ExitCode::FAILURE
        }
    }
}

/// Publishes and returns how many subscribers there were, or the sentence that says why not.
pub fn publish(command: &PublishCommand, payload: &[u8]) -> Result<i64, String> {
    let PublishCommand { redis, timeout, .. } = command;
    let commands = commands(redis, command.channel.as_bytes(), payload);
    let failed = |error: &io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
                "; start courier first, or name another Redis or broker with --redis URL"
            }
            _ => "",
        };
        format!("{redis}: {}{hint}", connect::words(error))
    };
    match &redis.address {
        RedisAddress::Tcp { host, port } => {
            let stream = connect::tcp(host, *port, *timeout).map_err(|error| failed(&error))?;
            set_timeouts(&stream, *timeout).map_err(|error| failed(&error))?;
            let replies = exchange(&stream, &commands);
            let _ = stream.shutdown(Shutdown::Both);
            receivers(redis, replies)
        }
        RedisAddress::Unix { path } => {
            let stream = UnixStream::connect(path).map_err(|error| failed(&error))?;
            stream.set_read_timeout(Some(*timeout)).map_err(|error| failed(&error))?;
            stream.set_write_timeout(Some(*timeout)).map_err(|error| failed(&error))?;
            receivers(redis, exchange(&stream, &commands))
        }
    }
}

fn payload(payload: &PublishPayload) -> Result<Vec<u8>, String> {
    match payload {
        PublishPayload::Argument(bytes) => Ok(bytes.clone()),
        PublishPayload::Stdin => {
            if io::stdin().is_terminal() {
                eprintln!("courier publish: type the message, and end it with Ctrl-D on a line of its own");
            }
            let mut bytes = Vec::new();
            let limit = RESP_BULK_BYTES as u64 + 1;
            io::stdin()
                .lock()
                .take(limit)
                .read_to_end(&mut bytes)
                .map_err(|error| format!("stdin: {error}"))?;
            if bytes.len() > RESP_BULK_BYTES {
                return Err("the message is longer than the 512 MiB that Redis takes".into());
            }
            Ok(bytes)
        }
    }
}

/// What is asked, and how many answers belong to it.
struct Commands {
    bytes: Vec<u8>,
    count: usize,
}

fn commands(redis: &RedisUrl, channel: &[u8], payload: &[u8]) -> Commands {
    let mut commands = Commands { bytes: Vec::with_capacity(payload.len() + 128), count: 0 };
    let mut put = |arguments: &[&[u8]]| {
        encode_command(arguments, &mut commands.bytes);
        commands.count += 1;
    };
    match (&redis.user, &redis.password) {
        (Some(user), Some(password)) => put(&[b"AUTH", user.as_bytes(), password.reveal().as_bytes()]),
        (None, Some(password)) => put(&[b"AUTH", password.reveal().as_bytes()]),
        (_, None) => {}
    }
    if redis.database != 0 {
        put(&[b"SELECT", redis.database.to_string().as_bytes()]);
    }
    put(&[b"PUBLISH", channel, payload]);
    commands
}

fn set_timeouts(stream: &std::net::TcpStream, timeout: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))
}

/// Why there is no whole set of answers.
enum NoAnswer {
    Failed(io::Error),
    NotRedis(String),
}

fn exchange<S>(stream: &S, commands: &Commands) -> Result<Vec<Reply>, NoAnswer>
where
    for<'a> &'a S: Read + Write,
{
    let mut socket = stream;
    // An answer may explain why the rest could not be written: it is looked at first.
    let written = socket.write_all(&commands.bytes);
    let (mut received, mut replies) = (Vec::new(), Vec::new());
    let mut chunk = [0; 4_096];
    loop {
        match decode_reply(&received) {
            Ok(Some((reply, length))) => {
                received.drain(..length);
                let is_last = matches!(reply, Reply::Error(_));
                replies.push(reply);
                if is_last || replies.len() == commands.count {
                    return Ok(replies);
                }
                continue;
            }
            Ok(None) => {}
            Err(error) => return Err(NoAnswer::NotRedis(error.to_string())),
        }
        match socket.read(&mut chunk) {
            Ok(0) => {
                let closed = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Err(NoAnswer::Failed(written.err().unwrap_or(closed)));
            }
            Ok(length) => received.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(NoAnswer::Failed(written.err().unwrap_or(error))),
        }
        if received.len() > ANSWER_BYTES {
            return Err(NoAnswer::NotRedis("an answer that is too long".into()));
        }
    }
}

fn receivers(redis: &RedisUrl, replies: Result<Vec<Reply>, NoAnswer>) -> Result<i64, String> {
    let replies = replies.map_err(|failure| match failure {
        NoAnswer::Failed(error) => format!("{redis}: {}", connect::words(&error)),
        NoAnswer::NotRedis(what) => format!("{redis}: {what}"),
    })?;
    match replies.last() {
        Some(Reply::Integer(receivers)) => Ok(*receivers),
        Some(Reply::Error(text)) => Err(format!("{redis}: {}{}", text.escape_ascii(), login_hint(text))),
        Some(_) | None => Err(format!("{redis}: an answer to PUBLISH that is no number")),
    }
}

fn login_hint(error: &[u8]) -> &'static str {
    if error.starts_with(b"NOAUTH") || error.starts_with(b"WRONGPASS") {
        return " (the password comes from --redis-password-file, COURIER_REDIS_PASSWORD_FILE or the URL)";
    }
    ""
}

/// Status lines, errors and numbers are short.
const ANSWER_BYTES: usize = 64 * 1_024;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::base::channel::ChannelName;

    fn command(url: &str) -> PublishCommand {
        PublishCommand {
            redis: RedisUrl::parse(url).unwrap(),
            timeout: Duration::from_secs(5),
            channel: ChannelName::parse(b"demo").unwrap(),
            payload: PublishPayload::Stdin,
        }
    }

    /// Publishes to a peer that answers with these bytes; what the peer received, and what came of it.
    fn against(login: &str, path: &str, expected: &[u8], answer: &[u8]) -> Result<i64, String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut socket, _) = listener.accept().unwrap();
                let mut received = vec![0; expected.len()];
                socket.read_exact(&mut received).unwrap();
                assert_eq!(received.escape_ascii().to_string(), expected.escape_ascii().to_string());
                socket.write_all(answer).unwrap();
            });
            publish(&command(&format!("redis://{login}127.0.0.1:{port}{path}")), b"hi\r\n\0")
        })
        .map_err(|sentence| sentence.replace(&port.to_string(), "PORT"))
    }

    const PUBLISH: &[u8] = b"*3\r\n$7\r\nPUBLISH\r\n$4\r\ndemo\r\n$5\r\nhi\r\n\0\r\n";

    #[test]
    fn a_message_is_published_byte_for_byte() {
        assert_eq!(against("", "", PUBLISH, b":3\r\n"), Ok(3));
    }

    #[test]
    fn login_and_database_come_first() {
        let expected =
            [&b"*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$2\r\np@\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n2\r\n"[..], PUBLISH]
                .concat();
        assert_eq!(against("u:p%40@", "/2", &expected, b"+OK\r\n+OK\r\n:0\r\n"), Ok(0));
    }

    #[test]
    fn every_failure_is_a_sentence() {
        let wrong = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n-NOAUTH Authentication required.\r\n";
        let expected = [&b"*2\r\n$4\r\nAUTH\r\n$1\r\np\r\n"[..], PUBLISH].concat();
        assert_eq!(
            against(":p@", "", &expected, wrong).unwrap_err(),
            "redis://:***@127.0.0.1:PORT: WRONGPASS invalid username-password pair or user is disabled. (the password \
             comes from --redis-password-file, COURIER_REDIS_PASSWORD_FILE or the URL)"
        );
        for (answer, sentence) in [
            (
                &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
                "not Redis: it says \"HTTP/1.1 400 Bad Request\\r\\n\\r\\n\"",
            ),
            (b"", "the connection was closed"),
            (b":1", "the connection was closed"),
            (b"+OK\r\n", "an answer to PUBLISH that is no number"),
        ] {
            assert_eq!(
                against("", "", PUBLISH, answer).unwrap_err(),
                format!("redis://127.0.0.1:PORT: {sentence}")
            );
        }
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(
            publish(&command(&format!("redis://{free}")), b"x").unwrap_err(),
            format!(
                "redis://{free}: nothing listens there (connection refused); start courier first, or name another \
                 Redis or broker with --redis URL"
            )
        );
        assert_eq!(
            publish(&command("unix:///nonexistent/redis.sock"), b"x").unwrap_err(),
            "unix:///nonexistent/redis.sock: No such file or directory; start courier first, or name another Redis or \
             broker with --redis URL"
        );
    }
}
