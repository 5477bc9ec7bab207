//! The application and the configuration of the guide, as they stand there, but for their ports.

use std::process::Command;

use super::support::courier::Courier;
use super::support::http::Peer;
use super::support::process::Process;
use super::support::stream::Stream;
use super::support::{Directory, until};

const GUIDE: &str = include_str!("../../docs/guide/callback.md");

/// The first block of this language.
fn block(language: &str) -> String {
    let (_, rest) = GUIDE.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("\n```").unwrap().0.to_owned() + "\n"
}

#[test]
fn the_guides_application_lets_in_whom_it_says() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let place = |text: String| {
        assert!(text.contains("8000"));
        text.replace("8000", &port).replace("127.0.0.1:6380", "127.0.0.1:0")
    };
    let directory = Directory::new();
    let script = directory.file("app.py", &place(block("python")));
    let _app = Process::start(Command::new("python3").args(["-u", &script]));
    until("the application listens", || std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_ok());
    let config = directory.file("courier.toml", &place(block("toml")));
    let courier = Courier::start(&["--config", &config]);
    let ask = |query: &str, cookie: &str| {
        let mut peer = Peer::connect(courier.web);
        peer.send(format!("GET /events?{query} HTTP/1.1\r\nHost: {}\r\n{cookie}\r\n", courier.web));
        peer
    };
    let session = "Cookie: session=5eed\r\n";
    let mut stream = Stream::behind(ask("channel=chat.ann&channel=chat.all", session));
    courier.client().publish("chat.all", "hello");
    assert_eq!(stream.data(), "hello");
    assert_eq!(ask("channel=chat.bob", session).answer().code(), "application-forbidden");
    assert_eq!(ask("channel=chat.all", "").answer().code(), "application-unauthorized");
    assert_eq!(ask("channel=other", session).answer().code(), "channel-not-open");
}
