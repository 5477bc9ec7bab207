//! `courier subscribe CHANNEL...`: prints the messages of channels, reconnects and resumes like a browser.
//!
//! Asks with HTTP/1.0, because an event stream is then the connection's bytes until it ends, also through a proxy that
//! would cut an HTTP/1.1 answer into chunks. What a page would lose silently is told on stderr: gaps and reconnects.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use crate::base::limits::{EVENT_BYTES, KIB};
use crate::base::random::Random;
use crate::base::version::VERSION;
use crate::config::SubscribeCommand;
use crate::protocol::sse::GAP_EVENT;
use crate::tools::connect;
use crate::wire::sse_parser::{Event, Parser};

/// Runs the command until the server says that nothing will follow or stdout is closed (0), or refuses (1).
pub fn run(command: &SubscribeCommand) -> ExitCode {
    let seed = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| u64::from(time.subsec_nanos()));
    let random = Random::new(seed ^ u64::from(std::process::id()));
    match follow(command, random, &mut io::stdout().lock(), &mut io::stderr().lock()) {
        End::Complete | End::OutputClosed => ExitCode::SUCCESS,
        End::Refused(sentence) => {
            eprintln!("courier subscribe: {sentence}");
            ExitCode::FAILURE
        }
    }
}

/// Why it is over.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The server answered 204: nothing will follow.
    Complete,
    /// Nobody reads what is printed.
    OutputClosed,
    /// The server will not serve this, now or later.
    Refused(String),
}

/// Follows the channels over all reconnects.
pub fn follow(
    command: &SubscribeCommand,
    mut random: Random,
    output: &mut impl Write,
    notices: &mut impl Write,
) -> End {
    let mut progress = Progress { last_event_id: String::new(), retry: RETRY, failures: 0 };
    loop {
        let why = match stream(command, &mut progress, output, notices) {
            Break::End(end) => return end,
            Break::Lost(why) => why,
        };
        let delay = random.jitter(progress.delay());
        // Whoever closed stderr wants no notices; the messages go on.
        let _ = writeln!(notices, "courier subscribe: {why}; reconnecting in {:.1} s", delay.as_secs_f64());
        std::thread::sleep(delay);
    }
}

/// What one connection hands to the next.
struct Progress {
    /// Empty until the first one.
    last_event_id: String,
    /// As the server asked for.
    retry: Duration,
    /// Connections in a row that brought no stream.
    failures: u32,
}

impl Progress {
    /// The server's retry time at most, of which half is jitter; doubled for each failure in a row, up to a bound.
    fn delay(&self) -> Duration {
        let doubled = self.retry.saturating_mul(1 << self.failures.min(10));
        doubled.min(DELAY_MAX.max(self.retry))
    }
}

/// How one connection ended.
enum Break {
    End(End),
    /// It is worth another try.
    Lost(String),
}

fn stream(
    command: &SubscribeCommand,
    progress: &mut Progress,
    output: &mut impl Write,
    notices: &mut impl Write,
) -> Break {
    let connected = open(command, &progress.last_event_id);
    let (mut socket, head) = match connected {
        Ok(connected) => connected,
        Err(error) => {
            progress.failures += 1;
            return Break::Lost(format!("{}: {}", command.server.authority(), connect::words(&error)));
        }
    };
    if let Some(end) = head.verdict(&command.server.authority()) {
        progress.failures += 1;
        return end;
    }
    let mut parser = Parser::new(&progress.last_event_id, EVENT_BYTES);
    let mut bytes = head.behind;
    let mut chunk = vec![0; 64 * KIB];
    let lost = loop {
        let mut events = Vec::new();
        let fed = parser.feed(&bytes, &mut events);
        for event in &events {
            if print(command, event, output, notices).is_err() {
                return Break::End(End::OutputClosed);
            }
        }
        if output.flush().is_err() {
            return Break::End(End::OutputClosed);
        }
        progress.last_event_id = parser.last_event_id().to_owned();
        progress.retry = parser.retry().unwrap_or(progress.retry);
        // A stream that says something is no failure, however short.
        progress.failures = if bytes.is_empty() { progress.failures } else { 0 };
        if fed.is_err() {
            return Break::End(End::Refused("a message is larger than this client takes".into()));
        }
        match socket.read(&mut chunk) {
            Ok(0) => break "the server ended the stream".to_owned(),
            Ok(length) => bytes = chunk[..length].to_vec(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => bytes = Vec::new(),
            Err(error) => break format!("the stream is lost: {}", connect::words(&error)),
        }
    };
    Break::Lost(lost)
}

fn print(
    command: &SubscribeCommand,
    event: &Event,
    output: &mut impl Write,
    notices: &mut impl Write,
) -> io::Result<()> {
    if event.event == GAP_EVENT {
        let _ = writeln!(notices, "courier subscribe: {}", gap(&event.data));
        return Ok(());
    }
    if command.channels.len() == 1 {
        return writeln!(output, "{}", event.data);
    }
    match serde_json::from_str::<serde_json::Value>(&event.data) {
        Ok(object) => {
            let text = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
            writeln!(output, "{} {}", text("channel"), text("data"))
        }
        Err(_) => writeln!(output, "{}", event.data),
    }
}

/// A gap in words.
fn gap(data: &str) -> String {
    let gap: serde_json::Value = serde_json::from_str(data).unwrap_or_default();
    let channel = gap["channel"].as_str().unwrap_or("a channel");
    let reason = gap["reason"].as_str().unwrap_or("unknown");
    format!("gap on {channel}: messages may be missing here ({reason})")
}

/// The head of an answer, and the bytes that came behind it.
struct Head {
    status: u16,
    is_event_stream: bool,
    behind: Vec<u8>,
}

impl Head {
    /// Nothing if this is the stream.
    fn verdict(&self, authority: &str) -> Option<Break> {
        match self.status {
            200 if self.is_event_stream => None,
            200 => Some(Break::End(End::Refused(format!(
                "{authority} answers, but not with an event stream; is it courier?"
            )))),
            204 => Some(Break::End(End::Complete)),
            // It may be better later: overload, a proxy whose courier is away.
            408 | 429 | 500.. => Some(Break::Lost(format!("{authority} answers {}", self.status))),
            status => {
                Some(Break::End(End::Refused(format!("{authority} answers {status}: {}", self.detail()))))
            }
        }
    }

    /// The sentence of a problem body, or its first line.
    fn detail(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(&self.behind).unwrap_or_default();
        match problem["detail"].as_str() {
            Some(detail) => detail.to_owned(),
            None => {
                String::from_utf8_lossy(&self.behind).lines().next().unwrap_or("no reason given").to_owned()
            }
        }
    }
}

fn open(command: &SubscribeCommand, last_event_id: &str) -> io::Result<(TcpStream, Head)> {
    let server = &command.server;
    let mut socket = connect::tcp(&server.host, server.port, CONNECT_TIMEOUT)?;
    socket.set_write_timeout(Some(CONNECT_TIMEOUT))?;
    socket.set_read_timeout(Some(SILENCE_MAX))?;
    socket.write_all(request(command, last_event_id).as_bytes())?;
    let mut received = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        let length = socket.read(&mut chunk)?;
        received.extend_from_slice(&chunk[..length]);
        match parse_head(&received)? {
            Some((mut head, end)) => {
                head.behind = received.split_off(end);
                if head.status != 200 {
                    // The whole of a refusal says more than its beginning; the server closes behind it.
                    let rest = HEAD_BYTES.saturating_sub(head.behind.len()) as u64;
                    let _ = Read::by_ref(&mut socket).take(rest).read_to_end(&mut head.behind);
                }
                return Ok((socket, head));
            }
            None if length == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            None if received.len() > HEAD_BYTES => return Err(io::Error::other("the answer is not HTTP")),
            None => {}
        }
    }
}

fn request(command: &SubscribeCommand, last_event_id: &str) -> String {
    let channels: Vec<_> = command
        .channels
        .iter()
        .map(|channel| format!("channel={}", percent_encode(channel.as_str())))
        .collect();
    let format = if channels.len() > 1 { "&format=json" } else { "" };
    // An id is what the server sent; what could not stand in a header is not sent back.
    let resume = match last_event_id {
        "" => String::new(),
        id if id.bytes().all(|byte| byte.is_ascii_graphic()) => format!("Last-Event-ID: {id}\r\n"),
        _ => String::new(),
    };
    format!(
        "GET {}/events?{}{format} HTTP/1.0\r\nHost: {}\r\nAccept: text/event-stream\r\nUser-Agent: courier/{VERSION}\r\n\
         {resume}\r\n",
        command.server.base_path,
        channels.join("&"),
        command.server.authority(),
    )
}

/// The head and its length, once it is whole.
fn parse_head(bytes: &[u8]) -> io::Result<Option<(Head, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut fields);
    match answer.parse(bytes) {
        Ok(httparse::Status::Complete(end)) => {
            let is_event_stream = answer.headers.iter().any(|field| {
                field.name.eq_ignore_ascii_case("content-type")
                    && field.value.to_ascii_lowercase().starts_with(b"text/event-stream")
            });
            let status = answer.code.unwrap_or_default();
            Ok(Some((Head { status, is_event_stream, behind: Vec::new() }, end)))
        }
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => Err(io::Error::other("the answer is not HTTP")),
    }
}

/// Everything but the unreserved characters of RFC 3986, section 2.3.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Before the server has said its own.
const RETRY: Duration = Duration::from_secs(2);
const DELAY_MAX: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Several heartbeats of the default interval. A server without heartbeats costs a reconnect, which resumes.
const SILENCE_MAX: Duration = Duration::from_secs(90);
const HEAD_BYTES: usize = 16 * KIB;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::base::channel::ChannelName;
    use crate::config::server_url::ServerUrl;

    /// Follows channels at a server that gives these answers, one a connection; the requests that it got, what was
    /// printed, the notices, and the end.
    fn against(channels: &[&str], answers: &[&str]) -> (Vec<String>, String, String, End) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let command = SubscribeCommand {
            server: ServerUrl::parse(&format!("http://127.0.0.1:{port}/live")).unwrap(),
            channels: channels.iter().map(|name| ChannelName::parse(name.as_bytes()).unwrap()).collect(),
        };
        let (mut output, mut notices, mut requests) = (Vec::new(), Vec::new(), Vec::new());
        let end = std::thread::scope(|scope| {
            scope.spawn(|| {
                for answer in answers {
                    let (mut socket, _) = listener.accept().unwrap();
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        let mut byte = [0];
                        socket.read_exact(&mut byte).unwrap();
                        request.push(byte[0]);
                    }
                    requests.push(String::from_utf8(request).unwrap());
                    socket.write_all(answer.as_bytes()).unwrap();
                }
            });
            follow(&command, Random::new(1), &mut output, &mut notices)
        });
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&port.to_string(), "PORT");
        let requests = requests.iter().map(|request| request.replace(&port.to_string(), "PORT")).collect();
        (requests, text(output), text(notices), end)
    }

    const STREAM: &str =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\nretry: 1\n\n";

    #[test]
    fn messages_are_printed_and_a_cut_stream_is_resumed() {
        let first = format!("{STREAM}data: one\nid: e.1\n\ndata: two\ndata: lines\nid: e.2\n\ndata: cut");
        let second = format!("{STREAM}data: three\nid: e.3\n\n");
        let (requests, output, notices, end) =
            against(&["news/ü"], &[&first, &second, "HTTP/1.1 204 No Content\r\n\r\n"]);
        assert_eq!(output, "one\ntwo\nlines\nthree\n");
        assert_eq!(end, End::Complete);
        let version = format!("User-Agent: courier/{VERSION}\r\n");
        let head = format!(
            "GET /live/events?channel=news%2F%C3%BC HTTP/1.0\r\nHost: 127.0.0.1:PORT\r\nAccept: text/event-stream\r\n{version}"
        );
        assert_eq!(
            requests,
            [
                format!("{head}\r\n"),
                format!("{head}Last-Event-ID: e.2\r\n\r\n"),
                format!("{head}Last-Event-ID: e.3\r\n\r\n"),
            ]
        );
        assert_eq!(
            notices,
            "courier subscribe: the server ended the stream; reconnecting in 0.0 s\n".repeat(2)
        );
    }

    #[test]
    fn several_channels_are_told_apart_and_gaps_are_stated() {
        let stream = format!(
            "{STREAM}event: courier-gap\ndata: {{\"channel\":\"a\",\"from\":\"e.1\",\"reason\":\"too-old\"}}\nid: e.5\n\n\
             data: {{\"channel\":\"b\",\"id\":\"e.6\",\"data\":\"x\\ny\"}}\nid: e.6\n\n"
        );
        let (requests, output, notices, _) =
            against(&["a", "b"], &[&stream, "HTTP/1.1 204 No Content\r\n\r\n"]);
        assert!(requests[0].starts_with("GET /live/events?channel=a&channel=b&format=json HTTP/1.0\r\n"));
        assert_eq!(output, "b x\ny\n");
        assert!(notices.starts_with("courier subscribe: gap on a: messages may be missing here (too-old)\n"));
    }

    #[test]
    fn a_refusal_ends_it_with_the_servers_sentence() {
        let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Type: application/problem+json\r\n\r\n\
                       {\"code\":\"channel-not-open\",\"detail\":\"No rule opens this channel.\"}";
        let (_, output, _, end) = against(&["a"], &[refusal]);
        assert_eq!(output, "");
        let End::Refused(sentence) = end else { panic!("{end:?}") };
        assert!(sentence.ends_with(" answers 403: No rule opens this channel."), "{sentence}");
    }

    #[test]
    fn what_is_no_event_stream_is_told() {
        let (_, _, _, end) = against(&["a"], &["HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>"]);
        let End::Refused(sentence) = end else { panic!("{end:?}") };
        assert!(sentence.ends_with("answers, but not with an event stream; is it courier?"), "{sentence}");
    }

    #[test]
    fn an_overloaded_server_is_asked_again() {
        let answers = [STREAM, "HTTP/1.1 503 Busy\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"];
        let (requests, _, notices, end) = against(&["a"], &answers);
        assert_eq!((requests.len(), end), (3, End::Complete));
        assert!(notices.contains("127.0.0.1:PORT answers 503; reconnecting"), "{notices}");
    }

    #[test]
    fn it_ends_when_nobody_reads_what_it_prints() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let command = SubscribeCommand {
            server: ServerUrl::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap(),
            channels: vec![ChannelName::parse(b"a").unwrap()],
        };
        let end = std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut socket, _) = listener.accept().unwrap();
                socket.write_all(format!("{STREAM}data: x\nid: e.1\n\n").as_bytes()).unwrap();
                // Until the client is gone.
                let _ = io::copy(&mut socket, &mut io::sink());
            });
            follow(&command, Random::new(1), &mut Closed, &mut Vec::new())
        });
        assert_eq!(end, End::OutputClosed);
    }

    #[test]
    fn failures_in_a_row_wait_longer_up_to_a_bound() {
        let delay = |failures, retry| Progress { last_event_id: String::new(), retry, failures }.delay();
        assert_eq!(delay(0, RETRY), RETRY);
        assert_eq!(delay(1, RETRY), RETRY * 2);
        assert_eq!(delay(100, RETRY), DELAY_MAX);
        assert_eq!(delay(0, Duration::from_secs(60)), Duration::from_secs(60), "the server's word is kept");
    }
}
