//! Holds docs/protocols to the code: the refusals, and the bytes of the examples. `UPDATE_DOCS=1` rewrites them.
#![allow(clippy::unwrap_used)] // Tests state what must hold by unwrapping it; clippy.toml covers only functions marked as tests.

use std::path::PathBuf;
use std::time::Duration;

use courier::access::{Access, AllowedOrigins, Gate, Pattern, Proxies, Rule, Rules};
use courier::base::asked::AskOutcome;
use courier::base::channel::{ChannelName, PayloadMode};
use courier::base::disconnect::Disconnect;
use courier::base::position::{Epoch, Position};
use courier::base::queue::GapReason;
use courier::base::refusal::{After, Refusal};
use courier::base::socket::{Arrival, Listener};
use courier::base::time::UnixTime;
use courier::protocol::site::{Decision, Opening, Shedding, Site};
use courier::protocol::{Closing, Event, GapNotice, WireFormat};
use courier::wire::http;

const EPOCH: Epoch = Epoch(1_727_433_600);

#[test]
fn the_table_of_refusals_is_in_step() {
    let mut table = "| Status | `code` | When | Connection |\n| --- | --- | --- | --- |\n".to_owned();
    for refusal in Refusal::ALL {
        let after = match refusal.after() {
            After::Keep => "stays",
            After::Close => "closes",
        };
        let (status, code, trigger) = (refusal.status(), refusal.code(), refusal.trigger());
        table += &format!("| {status} | `{code}` | {trigger} | {after} |\n");
    }
    hold("http.md", &[("refusals", table)]);
}

#[test]
fn the_table_of_what_becomes_of_a_question_is_in_step() {
    let mut table = "| `outcome` | |\n| --- | --- |\n".to_owned();
    for outcome in AskOutcome::ALL {
        table += &format!("| `{}` | {} |\n", outcome.name(), outcome.description().trim());
    }
    hold("../guide/callback.md", &[("outcomes", table)]);
}

#[test]
fn the_bytes_of_a_stream_are_in_step() {
    hold("sse.md", &[("head", head()), ("messages", messages()), ("blocks", other_blocks())]);
}

#[test]
fn every_reason_of_a_gap_is_explained() {
    let page = std::fs::read_to_string(page("sse.md")).unwrap();
    for reason in GapReason::ALL {
        assert!(page.contains(&format!("| `{}` |", reason.name())), "{} is missing", reason.name());
    }
}

fn head() -> String {
    shown(&opening(&site()).head)
}

fn site() -> Site {
    let rule = Rule::new(Pattern::parse("*").unwrap(), Access::public());
    Site {
        gate: Gate::new(Rules::new(vec![rule])),
        origins: AllowedOrigins::Any,
        allow_credentials: false,
        proxies: Proxies::default(),
        channels_per_connection: 64,
        try_out: false,
        demo_page: b"",
        admin_token: None,
        publish_limit: 0,
        retry: Duration::from_secs(2),
        shedding: Shedding::Retry,
    }
}

fn opening(site: &Site) -> Opening {
    let request = b"GET /events?channel=news HTTP/1.1\r\nHost: localhost:8080\r\n\r\n";
    let (head, _) = http::parse(request, 8_192).unwrap().unwrap();
    let web = Arrival::on(Listener::Web);
    let Decision::Stream(opening) = site.decide(web, &head, EPOCH, UnixTime::from_secs(0)) else {
        panic!("no stream")
    };
    opening
}

/// The whole answers to a stream for which there is no room: as an EventSource obeys it, and as a 503.
fn refused_streams() -> (Vec<u8>, Vec<u8>) {
    let site = Site { shedding: Shedding::Unavailable, ..site() };
    let Opening { mut head, format, busy, .. } = opening(&site);
    let retry = Duration::from_millis(1_734);
    format.encode_closing(Closing::ComeBack, retry, &mut head);
    (head, busy.expect("it is refused by a 503").answer(retry).bytes)
}

fn messages() -> String {
    let envelope =
        r#"{"data": {"minute": 17, "text": "a goal"}, "event": "goal", "id": "g-17", "retry": 100}"#;
    let lines = "one\r\n two\n";
    let mut examples = String::new();
    for (title, format, payload, mode) in [
        ("`hello`, `format=raw` (default)", WireFormat::SseRaw, "hello", PayloadMode::Raw),
        ("`hello`, `format=event`", WireFormat::SseEvent, "hello", PayloadMode::Raw),
        ("`hello`, `format=json`", WireFormat::SseJson, "hello", PayloadMode::Raw),
        ("The empty payload", WireFormat::SseRaw, "", PayloadMode::Raw),
        ("`one\\r\\n two\\n`: the last line is empty", WireFormat::SseRaw, lines, PayloadMode::Raw),
        ("The same with `format=json`", WireFormat::SseJson, lines, PayloadMode::Raw),
        ("The envelope below, `format=raw`", WireFormat::SseRaw, envelope, PayloadMode::Envelope),
        ("The envelope below, `format=event`", WireFormat::SseEvent, envelope, PayloadMode::Envelope),
        ("The envelope below, `format=json`", WireFormat::SseJson, envelope, PayloadMode::Envelope),
    ] {
        let channel = ChannelName::parse(b"news").unwrap();
        let (position, payload) = (Position(42), payload.as_bytes());
        let mut out = Vec::new();
        format.encode(&Event { epoch: EPOCH, position, channel: &channel, payload, mode }, &mut out);
        examples += &format!("{title}:\n\n{}\n", shown(&out));
    }
    examples + &format!("The envelope of these examples:\n\n```json\n{envelope}\n```\n")
}

fn other_blocks() -> String {
    let format = WireFormat::SseRaw;
    let (mut opening, mut gap, mut closing) = (Vec::new(), Vec::new(), Vec::new());
    format.encode_opening(EPOCH, Some(Position(41)), Duration::from_secs(2), &mut opening);
    let notice = GapNotice {
        epoch: EPOCH,
        position: Some(Position(50)),
        channel: &ChannelName::parse(b"news").unwrap(),
        from: Some(Position(42)),
        until: Position(50),
        reason: GapReason::UpstreamDown,
    };
    format.encode_gap(&notice, &mut gap);
    let mut skipped = Vec::new();
    let notice = GapNotice { until: Position(57), reason: GapReason::Lagged, ..notice };
    format.encode_gap(&notice, &mut skipped);
    let mut several = Vec::new();
    let notice = GapNotice { position: None, from: None, reason: GapReason::UnknownEpoch, ..notice };
    format.encode_gap(&notice, &mut several);
    format.encode_closing(Closing::ComeBack, Duration::from_millis(3_217), &mut closing);
    let mut expired = Vec::new();
    format.encode_closing(Closing::Expired, Duration::from_millis(3_217), &mut expired);
    let (mut dismissed, reason) = (Vec::new(), Disconnect::UserDismissed.name());
    format.encode_closing(Closing::Dismissed(reason), Duration::from_millis(3_217), &mut dismissed);
    let (shed, busy) = refused_streams();
    let mut examples = String::new();
    for (title, bytes) in [
        ("Opening, when every channel is live", &opening[..]),
        ("Heartbeat, when nothing was sent for `sse.heartbeat`", format.heartbeat()),
        ("Gap", &gap),
        ("Gap that ends behind messages of other channels", &skipped),
        ("Gap of a client with an id of another run, if it is not the last", &several),
        ("Closing, before a planned end", &closing),
        ("Closing, when what the client was let in with has expired", &expired),
        ("Closing, when the application has ended the stream", &dismissed),
        ("A stream that cannot be served now, whole", &shed),
        ("The same with `server.shed = \"503\"`", &busy),
    ] {
        examples += &format!("{title}:\n\n{}\n", shown(bytes));
    }
    examples
}

/// The bytes, with their line ends to be seen.
fn shown(bytes: &[u8]) -> String {
    let text = std::str::from_utf8(bytes).unwrap();
    let lines = text.replace('\r', "\\r").replace('\n', "\\n\n");
    format!("```text\n{lines}```\n")
}

/// Compares the parts of the page between their markers with what the code makes.
fn hold(name: &str, parts: &[(&str, String)]) {
    let path = page(name);
    let before = std::fs::read_to_string(&path).unwrap();
    let mut text = before.clone();
    for (part, made) in parts {
        let begin = format!("<!-- {part}: made by tests/protocol_docs.rs -->\n");
        let start = text.find(&begin).expect("the page has the begin marker") + begin.len();
        let end = text[start..].find(&format!("<!-- /{part} -->")).expect("the page has the end marker");
        text.replace_range(start..start + end, &format!("\n{}\n\n", made.trim_end()));
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, text).unwrap();
    } else {
        assert_eq!(before, text, "docs/protocols/{name} is out of step: run this test with UPDATE_DOCS=1");
    }
}

fn page(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "docs", "protocols", name].iter().collect()
}
