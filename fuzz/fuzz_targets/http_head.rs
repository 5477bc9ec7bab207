//! Any bytes as a request, whole and in pieces: no panic, the same end however they are cut, and a decision that is a
//! well-formed answer or a stream within its bounds.
#![no_main]

use std::time::Duration;

use bytes::Bytes;

use courier::access::{
    Access, AllowedOrigins, AppAddress, Endpoint, EndpointIndex, Gate, Pattern, Proxies, Rule, Rules, Way,
};
use courier::base::position::{Epoch, Position};
use courier::base::queue::{Placed, PublishOutcome};
use courier::base::refusal::Refusal;
use courier::base::socket::{Arrival, Listener};
use courier::base::time::UnixTime;
use courier::protocol::site::{Decision, Shedding, Site};
use courier::wire::http::{self, HeadError};
use libfuzzer_sys::fuzz_target;

const HEAD_BYTES_MAX: usize = 1_024;

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let whole = http::parse(bytes, HEAD_BYTES_MAX);
    let cut = usize::from(cut) % (bytes.len() + 1);
    let in_pieces = match http::parse(&bytes[..cut], HEAD_BYTES_MAX) {
        Ok(None) => http::parse_from(bytes, cut, http::HeadBounds::of(HEAD_BYTES_MAX)),
        ended => ended,
    };
    assert_eq!(format!("{whole:?}"), format!("{in_pieces:?}"));

    let site = site();
    match whole {
        Ok(None) => assert!(bytes.len() < HEAD_BYTES_MAX),
        Ok(Some((head, length))) => {
            assert!(length <= bytes.len().min(HEAD_BYTES_MAX));
            assert!(bytes[..length].ends_with(b"\r\n\r\n"));
            for side in [Listener::Web, Listener::Admin] {
                let decision = site.decide(Arrival::on(side), &head, Epoch(10), UnixTime::from_secs(0));
                check(decision, &bytes[length..]);
            }
        }
        Err(HeadError::Refused(refusal)) => check_answer(&site.refuse(Listener::Web, refusal).bytes),
        Err(HeadError::Tls) => assert!(bytes.starts_with(&[0x16, 0x03])),
    }
});

/// `rest` is what follows the head: a body, if it wants one.
fn check(decision: Decision, rest: &[u8]) {
    match decision {
        Decision::Stream(opening) => {
            assert!((1..=64).contains(&opening.channels.len()));
            check_answer(&opening.head);
        }
        Decision::Answer(answer) => check_answer(&answer.bytes),
        Decision::Head(opening) => check_answer(&opening.head_alone().bytes),
        Decision::Publish(request) => {
            assert!(request.length <= site().publish_limit);
            check_answer(&request.answer_unread().bytes);
            match request.with_body(&site(), Bytes::copy_from_slice(rest), UnixTime::from_secs(0)) {
                Ok(publishing) => {
                    let placed = publishing.messages.iter().map(|_| Placed::At(Position(7))).collect();
                    for outcome in [PublishOutcome::Accepted(placed), PublishOutcome::Unavailable { taken: 0 }] {
                        check_answer(&publishing.pending.answer(Epoch(10), &outcome).bytes);
                    }
                }
                Err(answer) => check_answer(&answer.bytes),
            }
        }
        Decision::Ask(mut inquiry) => {
            let question = inquiry.next_question().expect("there is something to ask");
            check_question(
                &question.request(site().gate.endpoint(question.endpoint), UnixTime::from_secs(0)),
            );
            check_answer(&inquiry.refuse(Refusal::ApplicationForbidden).bytes);
            check(inquiry.finish(), rest);
        }
        Decision::Admin(request) => check_answer(&request.answer(200, "text/plain", b"fine\n").bytes),
    }
}

/// What a client makes of the answer: one head, and no line that the request smuggled in.
fn check_answer(bytes: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut fields);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        other => panic!("{other:?}: {}", String::from_utf8_lossy(bytes)),
    };
    assert!(bytes[..length - 4].windows(4).all(|four| four != b"\r\n\r\n"));
}

/// What the application makes of a question: one head, its body, and no line that the request smuggled in.
fn check_question(bytes: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        other => panic!("{other:?}: {}", String::from_utf8_lossy(bytes)),
    };
    let names = [
        "Host",
        "User-Agent",
        "Accept",
        "Content-Type",
        "Content-Length",
        "authorization",
        "accept-language",
        "cookie",
    ];
    assert!(request.headers.iter().all(|field| names.contains(&field.name)));
    let said =
        request.headers.iter().find(|field| field.name == "Content-Length").expect("a body has a length");
    assert_eq!(said.value, (bytes.len() - length).to_string().as_bytes());
    assert!(bytes[length..].starts_with(b"{\"right\":") && bytes.ends_with(b"}"));
}

fn site() -> Site {
    let rule = |pattern| {
        let pattern = Pattern::parse(pattern).expect("the pattern is well-formed");
        Rule { publish: Access::public(), ..Rule::new(pattern, Access::public()) }
    };
    let asked = Rule { access: Access::new(vec![Way::Callback(EndpointIndex(0))]), ..rule("e*") };
    let endpoint = Endpoint {
        address: AppAddress::Tcp { host: "app".into(), port: 80 },
        target: "/ask".into(),
        host: "app".into(),
        fields: vec!["authorization".into(), "accept-language".into()],
        sends_peer: true,
        secret: None,
    };
    Site {
        gate: Gate::new(Rules::new(vec![rule("a*"), rule("[b-d]?"), asked])).asking(vec![endpoint]),
        origins: AllowedOrigins::parse(["https://*.example.org"]).expect("the origin is well-formed"),
        allow_credentials: false,
        proxies: Proxies::default(),
        channels_per_connection: 64,
        try_out: true,
        demo_page: b"page",
        admin_token: None,
        publish_limit: 100,
        retry: Duration::from_secs(2),
        shedding: Shedding::Retry,
    }
}
