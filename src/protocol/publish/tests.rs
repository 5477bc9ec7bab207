//! Requests that publish, as they are on the wire, and what they get.

use super::*;
use crate::access::{Access, AllowedOrigins, Gate, Pattern, Proxies, Rule, Rules};
use crate::base::position::Position;
use crate::base::refusal::After;
use crate::base::secret::Secret;
use crate::base::socket::{Arrival, Listener};
use crate::protocol::site::{Decision, Shedding};
use crate::wire::http;

const EPOCH: Epoch = Epoch(10);

/// Rules that let everyone publish in `open.*`, nobody else anywhere; in try-out everyone everywhere.
fn site(try_out: bool) -> Site {
    let row = |pattern, payload, publish| {
        let pattern = Pattern::parse(pattern).unwrap();
        Rule { payload, publish, ..Rule::new(pattern, Access::public()) }
    };
    let rules = match try_out {
        true => vec![row("*", PayloadMode::Raw, Access::public())],
        false => vec![
            row("open.envelope", PayloadMode::Envelope, Access::public()),
            row("open.*", PayloadMode::Raw, Access::public()),
            row("*", PayloadMode::Raw, Access::closed()),
        ],
    };
    Site {
        gate: Gate::new(Rules::new(rules)),
        origins: AllowedOrigins::parse(["https://example.org"]).unwrap(),
        allow_credentials: false,
        proxies: Proxies::default(),
        channels_per_connection: 64,
        try_out,
        demo_page: b"",
        admin_token: Some(Secret::new("0123456789abcdef".into())),
        publish_limit: 1_000,
        retry: Duration::from_secs(2),
        shedding: Shedding::Retry,
    }
}

fn post(site: &Site, side: Listener, target: &str, fields: &str) -> Decision {
    let request = format!("POST {target} HTTP/1.1\r\n{fields}\r\n");
    let (head, _) = http::parse(request.as_bytes(), 8_192).unwrap().expect("the head is complete");
    site.decide(Arrival::on(side), &head, EPOCH, UnixTime::from_secs(0))
}

/// In try-out.
fn publish(target: &str, fields: &str) -> Decision {
    post(&site(true), Listener::Web, target, fields)
}

fn taken(decision: Decision) -> PublishRequest {
    match decision {
        Decision::Publish(request) => request,
        other => panic!("refused: {other:?}"),
    }
}

fn answer(decision: Decision) -> Answer {
    match decision {
        Decision::Answer(answer) => answer,
        other => panic!("not an answer: {other:?}"),
    }
}

fn text(answer: &Answer) -> &str {
    std::str::from_utf8(&answer.bytes).unwrap()
}

fn with_body(site: &Site, request: PublishRequest, body: &str) -> Result<Publishing, Answer> {
    request.with_body(site, Bytes::copy_from_slice(body.as_bytes()), UnixTime::from_secs(0))
}

fn accepted(placed: &[Placed]) -> PublishOutcome {
    PublishOutcome::Accepted(placed.iter().copied().collect())
}

#[test]
fn a_message_is_published_from_couriers_own_page() {
    let fields = "Host: localhost:8080\r\nOrigin: http://localhost:8080\r\nContent-Length: 5\r\n";
    let request = taken(publish("/publish?channel=a%22b", fields));
    assert_eq!((request.length, request.interim), (5, &b""[..]));
    let unread = request.answer_unread();
    assert_eq!((unread.after, unread.refusal), (After::Close, Some(Refusal::Unavailable)));

    let publishing = with_body(&site(true), request, "hello").unwrap();
    let hello = Publication { name: ChannelName::parse(b"a\"b").unwrap(), payload: Bytes::from("hello") };
    assert_eq!(publishing.messages, [hello]);
    let answered = publishing.pending.answer(EPOCH, &accepted(&[Placed::At(Position(7))]));
    let head = "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 43\r\n\
         Vary: Origin\r\nCache-Control: no-store\r\n\r\n";
    assert_eq!(
        text(&answered),
        format!("{head}{{\"channel\":\"a\\\"b\",\"id\":\"{EPOCH}.7\",\"exact\":true}}\n")
    );
    assert_eq!((answered.after, answered.refusal), (After::Keep, None));
    let refused = publishing.pending.answer(EPOCH, &PublishOutcome::Unavailable { taken: 0 });
    assert_eq!((refused.after, refused.refusal), (After::Keep, Some(Refusal::Unavailable)));
    assert!(text(&refused).contains("\r\nRetry-After: 1\r\n"));

    let closing = format!("{fields}Connection: close\r\nExpect: 100-continue\r\n");
    let request = taken(publish("/publish?channel=a", &closing));
    assert_eq!(request.interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    let publishing = with_body(&site(true), request, "").unwrap();
    assert_eq!(publishing.pending.answer(EPOCH, &accepted(&[Placed::At(Position(7))])).after, After::Close);
}

#[test]
fn publishing_is_for_pages_and_programs_of_this_machine() {
    for (host, origin, taken) in [
        ("localhost", "", true),
        ("LOCALHOST:8080", "", true),
        ("demo.localhost:8080", "", true),
        ("127.0.0.1:8080", "", true),
        ("127.8.8.8", "Origin: http://127.8.8.8\r\n", true),
        ("[::1]:8080", "Origin: http://[::1]:8080\r\n", true),
        ("localhost:8080", "Origin: http://localhost:3000\r\n", false),
        ("localhost:8080", "Origin: http://evil.com\r\n", false),
        ("localhost:8080", "Origin: null\r\n", false),
        ("evil.com", "", false),
        ("evil.com:8080", "Origin: http://evil.com:8080\r\n", false),
        ("localhost.evil.com", "", false),
        ("notlocalhost", "", false),
        ("192.168.0.1", "", false),
        ("127.0.0.1.evil.com", "", false),
        ("", "", false),
    ] {
        let fields = format!("Host: {host}\r\n{origin}Content-Length: 1\r\n");
        match publish("/publish?channel=a", &fields) {
            Decision::Publish(_) => assert!(taken, "{host} {origin}"),
            decision => {
                assert_eq!(answer(decision).refusal, Some(Refusal::OriginNotAllowed), "{host} {origin}");
                assert!(!taken, "{host} {origin}");
            }
        }
    }
}

#[test]
fn a_publish_names_one_channel_and_a_length_within_the_limit() {
    for (query, length, expected) in [
        ("", "Content-Length: 1\r\n", Refusal::MissingChannel),
        ("?channel=a&channel=b", "Content-Length: 1\r\n", Refusal::TooManyChannels),
        ("?channel=", "Content-Length: 1\r\n", Refusal::BadChannelName),
        ("?channel=courier:clock", "Content-Length: 1\r\n", Refusal::ChannelNotOpen),
        ("?channel=a", "", Refusal::LengthRequired),
        ("?channel=a", "Content-Length: 1001\r\n", Refusal::PayloadTooLarge),
        ("?channel=a", "Content-Length: 18446744073709551615\r\n", Refusal::PayloadTooLarge),
    ] {
        let refused = answer(publish(&format!("/publish{query}"), &format!("Host: localhost\r\n{length}")));
        // The body has not been read, so the connection cannot go on.
        assert_eq!((refused.refusal, refused.after), (Some(expected), After::Close), "{query} {length}");
    }
    for length in [0, 1_000] {
        let fields = format!("Host: localhost\r\nContent-Length: {length}\r\n");
        assert!(matches!(publish("/publish?channel=a", &fields), Decision::Publish(_)), "{length}");
    }
}

#[test]
fn on_the_web_side_the_rules_decide_and_the_origin_of_a_page() {
    let ask = |channel: &str, fields: &str| {
        let fields = format!("Host: a\r\nContent-Length: 0\r\n{fields}");
        post(&site(false), Listener::Web, &format!("/publish?channel={channel}"), &fields)
    };
    for origin in ["", "Origin: https://example.org\r\n", "Origin: http://a\r\n"] {
        taken(ask("open.a", origin));
    }
    for (channel, fields, expected) in [
        ("open.a", "Origin: https://example.com\r\n", Refusal::OriginNotAllowed),
        ("open.a", "Origin: null\r\n", Refusal::OriginNotAllowed),
        ("closed.a", "", Refusal::ChannelNotOpen),
        ("closed.a", "Authorization: Bearer 0123456789abcdef\r\n", Refusal::ChannelNotOpen),
        ("courier:control", "", Refusal::ChannelNotOpen),
    ] {
        assert_eq!(answer(ask(channel, fields)).refusal, Some(expected), "{channel} {fields}");
    }
    let listed = answer(ask("closed.a", "Origin: https://example.org\r\n"));
    assert!(text(&listed).contains("\r\nAccess-Control-Allow-Origin: https://example.org\r\n"));
}

#[test]
fn on_the_admin_side_the_token_decides() {
    let ask = |site: &Site, token: &str| {
        let fields = format!("Host: a\r\nContent-Length: 5\r\n{token}");
        post(site, Listener::Admin, "/publish?channel=closed.a", &fields)
    };
    let request = taken(ask(&site(false), "Authorization: Bearer 0123456789abcdef\r\n"));
    let publishing = with_body(&site(false), request, "hello").unwrap();
    assert_eq!((publishing.publisher, publishing.messages.len()), (Publisher::Operator, 1));
    let without = Site { admin_token: None, ..site(false) };
    let right = "Authorization: Bearer 0123456789abcdef\r\n";
    for (site, token) in [
        (&site(false), ""),
        (&site(false), "Authorization: Bearer 0123456789abcdeg\r\n"),
        (&site(false), "Authorization: Bearer 0123456789abcde\r\n"),
        (&site(false), "Authorization: Basic 0123456789abcdef\r\n"),
        (&site(false), "Cookie: courier_access_token=0123456789abcdef\r\n"),
        (&without, ""),
        (&without, right),
    ] {
        let refused = answer(ask(site, token));
        assert_eq!((refused.refusal, refused.after), (Some(Refusal::AdminToken), After::Close), "{token}");
        assert!(text(&refused).contains("\r\nWWW-Authenticate: Bearer\r\n"));
        assert!(!text(&refused).contains("Access-Control"), "pages of other origins read nothing here");
    }
}

#[test]
fn a_batch_is_granted_as_a_whole_and_answered_in_its_order() {
    let json = "Host: a\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 5\r\n";
    let ask = |body: &str| {
        let site = site(false);
        with_body(&site, taken(post(&site, Listener::Web, "/publish", json)), body)
    };
    let publishing = ask(
        r#"{"messages": [{"channel": "open.a", "data": "x"}, {"channel": "open.envelope", "data": 1, "event": "e"}]}"#,
    )
    .unwrap();
    let said: Vec<_> = publishing.messages.iter().map(|one| (one.name.as_str(), &one.payload[..])).collect();
    assert_eq!(said, [("open.a", &b"x"[..]), ("open.envelope", br#"{"data":1,"event":"e"}"#)]);
    let outcome = accepted(&[Placed::At(Position(7)), Placed::Behind(Position(7))]);
    let answered = publishing.pending.answer(EPOCH, &outcome);
    assert!(text(&answered).ends_with(
        "{\"messages\":[{\"channel\":\"open.a\",\"id\":\"a.7\",\"exact\":true},\
         {\"channel\":\"open.envelope\",\"id\":\"a.7\",\"exact\":false}]}\n"
    ));
    let partly = publishing.pending.answer(EPOCH, &PublishOutcome::Unavailable { taken: 1 });
    assert_eq!(partly.refusal, Some(Refusal::Unavailable));
    assert!(text(&partly).contains("1 of the 2 messages were published"));
    let too_fast = publishing.pending.answer_too_fast(Duration::from_millis(1_200));
    assert!(
        text(&too_fast).starts_with("HTTP/1.1 429 ") && text(&too_fast).contains("\r\nRetry-After: 2\r\n")
    );
    for (body, expected) in [
        (
            r#"{"messages": [{"channel": "open.a", "data": "x"}, {"channel": "closed", "data": "x"}]}"#,
            Refusal::ChannelNotOpen,
        ),
        (r#"{"messages": [{"channel": "open.a", "data": "x", "event": "e"}]}"#, Refusal::BadBatch),
        ("hello", Refusal::BadBatch),
    ] {
        let refused = ask(body).unwrap_err();
        assert_eq!((refused.refusal, refused.after), (Some(expected), After::Keep), "{body}");
    }
    // With a channel the body is the payload, JSON or not; without, what is no JSON is no batch.
    let request = taken(post(&site(false), Listener::Web, "/publish?channel=open.a", json));
    assert_eq!(&with_body(&site(false), request, "{}").unwrap().messages[0].payload[..], b"{}");
    let unnamed = post(&site(false), Listener::Web, "/publish", "Host: a\r\nContent-Length: 2\r\n");
    assert_eq!(answer(unnamed).refusal, Some(Refusal::MissingChannel));
    let admin = format!("{json}Authorization: Bearer 0123456789abcdef\r\n");
    let request = taken(post(&site(false), Listener::Admin, "/publish", &admin));
    let body = r#"{"messages": [{"channel": "closed", "data": "x"}]}"#;
    assert_eq!(with_body(&site(false), request, body).unwrap().publisher, Publisher::Operator);
}
