//! Requests as they are on the wire, and what they get.

use super::*;
use crate::access::{Access, Pattern, Rule, Rules};
use crate::base::channel::PayloadMode;
use crate::base::position::{Position, Seen};
use crate::base::refusal::After;
use crate::wire::http;

const EPOCH: Epoch = Epoch(10);

fn site(origins: &[&str], try_out: bool) -> Site {
    let row =
        |pattern, access, payload| Rule { payload, ..Rule::new(Pattern::parse(pattern).unwrap(), access) };
    let rules = if try_out {
        vec![Rule { publish: Access::public(), ..row("*", Access::public(), PayloadMode::Raw) }]
    } else {
        vec![
            row("news.secret", Access::closed(), PayloadMode::Raw),
            row("news.*", Access::public(), PayloadMode::Raw),
            row("env.*", Access::public(), PayloadMode::Envelope),
            row("ü", Access::public(), PayloadMode::Raw),
        ]
    };
    Site {
        gate: Gate::new(Rules::new(rules)),
        origins: AllowedOrigins::parse(origins.iter().copied()).unwrap(),
        allow_credentials: false,
        proxies: Proxies::default(),
        channels_per_connection: 64,
        try_out,
        demo_page: b"<!doctype html>",
        admin_token: None,
        publish_limit: 1_000,
        retry: Duration::from_secs(2),
        shedding: Shedding::Retry,
    }
}

fn decide(site: &Site, side: Listener, request: &str) -> Decision {
    let (head, _) = http::parse(request.as_bytes(), 8_192).unwrap().expect("the head is complete");
    site.decide(Arrival::on(side), &head, EPOCH, UnixTime::from_secs(0))
}

/// What a GET of this target with these further fields gets, where every origin is allowed.
fn get(target: &str, fields: &str) -> Decision {
    let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    decide(&site(&["*"], false), Listener::Web, &request)
}

fn opening(decision: Decision) -> Opening {
    match decision {
        Decision::Stream(opening) => opening,
        other => panic!("not a stream: {other:?}"),
    }
}

fn answer(decision: Decision) -> Answer {
    match decision {
        Decision::Answer(answer) => answer,
        Decision::Head(opening) => opening.head_alone(),
        other => panic!("not an answer: {other:?}"),
    }
}

fn refusal(decision: Decision) -> Option<Refusal> {
    answer(decision).refusal
}

fn text(answer: &Answer) -> &str {
    std::str::from_utf8(&answer.bytes).unwrap()
}

fn names(opening: &Opening) -> Vec<&str> {
    opening.channels.iter().map(|(name, _)| name.as_str()).collect()
}

const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\n\
    Content-Type: text/event-stream; charset=utf-8\r\n\
    Cache-Control: no-store, no-transform\r\n\
    X-Accel-Buffering: no\r\n\
    Access-Control-Allow-Origin: *\r\n\
    Connection: close\r\n\
    \r\n";

#[test]
fn a_stream_opens_with_a_head_that_ends_with_its_connection() {
    let opened = opening(get("/events?channel=news.sport", ""));
    assert_eq!(std::str::from_utf8(&opened.head).unwrap(), STREAM_HEAD);
    assert_eq!(names(&opened), ["news.sport"]);
    assert_eq!((opened.format, opened.start), (WireFormat::SseRaw, Start::Live));
    let old = "GET /events?channel=news.sport HTTP/1.0\r\n\r\n";
    assert_eq!(opening(decide(&site(&["*"], false), Listener::Web, old)).head, STREAM_HEAD.as_bytes());
}

#[test]
fn channels_are_each_subscribed_once_in_the_requests_order() {
    let target = "/events?channel=news.b&x=1&channel=env.a&channel=news.b&channel=%c3%bc&channel=news.%62";
    let opened = opening(get(target, ""));
    assert_eq!(names(&opened), ["news.b", "env.a", "ü"]);
    let modes: Vec<PayloadMode> = opened.channels.iter().map(|(_, mode)| mode.payload).collect();
    assert_eq!(modes, [PayloadMode::Raw, PayloadMode::Envelope, PayloadMode::Raw]);
}

#[test]
fn sixty_four_channels_are_taken_and_one_more_is_not() {
    let query = |count| (0..count).map(|n| format!("channel=news.{n}")).collect::<Vec<_>>().join("&");
    assert_eq!(opening(get(&format!("/events?{}&{0}", query(64)), "")).channels.len(), 64);
    assert_eq!(refusal(get(&format!("/events?{}", query(65)), "")), Some(Refusal::TooManyChannels));
}

#[test]
fn a_request_without_good_open_channels_is_refused() {
    let long = format!("/events?channel={}", "a".repeat(256));
    for (target, expected) in [
        ("/events", Refusal::MissingChannel),
        ("/events?", Refusal::MissingChannel),
        ("/events?Channel=news.a", Refusal::MissingChannel),
        ("/events?channel=", Refusal::BadChannelName),
        ("/events?channel", Refusal::BadChannelName),
        ("/events?channel=news.a&channel=", Refusal::BadChannelName),
        ("/events?channel=news.%0a", Refusal::BadChannelName),
        ("/events?channel=news.%00", Refusal::BadChannelName),
        ("/events?channel=news.%7f", Refusal::BadChannelName),
        ("/events?channel=news.%ff", Refusal::BadChannelName),
        ("/events?channel=news.%c2%85", Refusal::BadChannelName),
        (&long, Refusal::BadChannelName),
        ("/events?channel=other", Refusal::ChannelNotOpen),
        ("/events?channel=news.secret", Refusal::ChannelNotOpen),
        ("/events?channel=news.a&channel=other", Refusal::ChannelNotOpen),
        ("/events?channel=__keyspace@0__:a", Refusal::ChannelNotOpen),
        ("/events?channel=news.a&format=xml", Refusal::BadParameter),
        ("/events?channel=news.a&format=", Refusal::BadParameter),
        ("/events?channel=news.a&history=", Refusal::BadParameter),
        ("/events?channel=news.a&history=-1", Refusal::BadParameter),
        ("/events?channel=news.a&history=%d9%a1", Refusal::BadParameter),
    ] {
        assert_eq!(refusal(get(target, "")), Some(expected), "{target}");
    }
}

#[test]
fn try_out_opens_every_channel_but_the_reserved() {
    let site = site(&["*"], true);
    for (channel, open) in [("anything", true), ("__keyspace@0__:a", false), ("courier:clock", false)] {
        let request = format!("GET /events?channel={channel} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(matches!(decide(&site, Listener::Web, &request), Decision::Stream(_)), open, "{channel}");
    }
}

#[test]
fn a_refusal_does_not_say_whether_the_channel_exists() {
    let refused = |channel| answer(get(&format!("/events?channel={channel}"), ""));
    assert_eq!(refused("news.secret"), refused("never.heard.of"));
}

#[test]
fn formats_are_named_in_the_query() {
    for (query, format) in [
        ("", WireFormat::SseRaw),
        ("&format=raw", WireFormat::SseRaw),
        ("&format=event", WireFormat::SseEvent),
        ("&format=json", WireFormat::SseJson),
    ] {
        assert_eq!(opening(get(&format!("/events?channel=news.a{query}"), "")).format, format, "{query}");
    }
}

#[test]
fn the_header_overrides_every_id_of_the_query() {
    let here = |n| Start::Behind(Seen::Here(Position(n)));
    let elsewhere = Start::Behind(Seen::Elsewhere);
    for (query, fields, start) in [
        ("", "", Start::Live),
        ("&last_event_id=a.5", "", here(5)),
        ("&lastEventId=a.5", "", here(5)),
        ("&last_event_id=", "", Start::Live),
        ("&last_event_id=b.5", "", elsewhere),
        ("", "Last-Event-ID: a.7~order-17\r\n", here(7)),
        ("&last_event_id=a.5&lastEventId=a.6", "Last-Event-ID: a.7\r\n", here(7)),
        ("&last_event_id=a.5", "Last-Event-ID: foreign\r\n", elsewhere),
        ("&last_event_id=a.5", "Last-Event-ID:\r\n", here(5)),
        ("&last_event_id=earliest", "", Start::Earliest),
        ("", "Last-Event-ID: earliest\r\n", Start::Earliest),
        ("&history=10", "", Start::Last(10)),
        ("&history=99999999999999999999", "", Start::Last(u32::MAX)),
        ("&history=10&last_event_id=a.5", "", here(5)),
        ("&last_event_id=&history=10", "", Start::Last(10)),
        ("&history=10&last_event_id=earliest", "Last-Event-ID: a.7\r\n", here(7)),
    ] {
        let opened = opening(get(&format!("/events?channel=news.a{query}"), fields));
        assert_eq!(opened.start, start, "{query} {fields}");
    }
}

#[test]
fn a_client_that_does_not_take_event_streams_is_refused() {
    for (accept, taken) in [("text/event-stream", true), ("*/*", true), ("application/json", false)] {
        let decision = get("/events?channel=news.a", &format!("Accept: {accept}\r\n"));
        assert_eq!(matches!(decision, Decision::Stream(_)), taken, "{accept}");
    }
    let refused = get("/events?channel=news.a", "Accept: text/event-stream;q=0, */*\r\n");
    assert_eq!(refusal(refused), Some(Refusal::NotAcceptable));
}

#[test]
fn head_gets_the_same_head_after_the_same_checks() {
    let head = |target: &str| {
        let request = format!("HEAD {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        answer(decide(&site(&["*"], false), Listener::Web, &request))
    };
    let taken = head("/events?channel=news.a");
    assert_eq!((text(&taken), taken.after, taken.refusal), (STREAM_HEAD, After::Close, None));
    let refused = head("/events?channel=other");
    let full = answer(get("/events?channel=other", ""));
    assert_eq!(refused.refusal, Some(Refusal::ChannelNotOpen));
    let (same_head, _) = text(&full).split_once("\r\n\r\n").unwrap();
    assert_eq!(text(&refused), format!("{same_head}\r\n\r\n"));
}

#[test]
fn a_refusal_is_a_problem_that_says_what_to_do() {
    let refused = answer(get("/events?channel=other", ""));
    let body = "{\"type\":\"about:blank\",\"title\":\"Forbidden\",\"status\":403,\"code\":\"channel-not-open\",\
        \"detail\":\"No rule opens this channel to you. The operator opens channels with --public PATTERN or a \
        [[channels]] rule.\"}\n";
    let expected = format!(
        "HTTP/1.1 403 Forbidden\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\n\
         Access-Control-Allow-Origin: *\r\nCache-Control: no-store\r\n\r\n{body}",
        body.len()
    );
    assert_eq!((text(&refused), refused.after), (&*expected, After::Keep));
}

#[test]
fn every_refusal_is_a_json_object_with_its_status() {
    for &refusal in Refusal::ALL {
        let refused = site(&["*"], false).refuse(Listener::Web, refusal);
        let (head, body) = text(&refused).split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&body["status"], &body["code"]), (&refusal.status().into(), &refusal.code().into()));
        assert!(head.starts_with(&format!("HTTP/1.1 {} ", refusal.status())));
        assert!(head.contains("\r\nConnection: close"), "{head}");
        assert_eq!((refused.after, refused.refusal), (After::Close, Some(refusal)));
    }
}

#[test]
fn a_short_answer_keeps_the_connection_unless_someone_says_otherwise() {
    let site = site(&["*"], false);
    for (request, after, says) in [
        ("GET /x HTTP/1.1\r\nHost: a\r\n", After::Keep, None),
        ("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", After::Close, Some("close")),
        ("GET /x HTTP/1.0\r\n", After::Close, Some("close")),
        ("GET /x HTTP/1.0\r\nConnection: keep-alive\r\n", After::Keep, Some("keep-alive")),
        // A body that nobody reads must not be taken for the next request.
        ("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n", After::Close, Some("close")),
        ("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n", After::Keep, None),
    ] {
        let answered = answer(decide(&site, Listener::Web, &format!("{request}\r\n")));
        let said = text(&answered).lines().find_map(|line| line.strip_prefix("Connection: "));
        assert_eq!((answered.after, said), (after, says), "{request}");
    }
}

#[test]
fn a_method_that_a_resource_does_not_take_is_refused_with_those_it_takes() {
    for (side, try_out, path, method, allow) in [
        (Listener::Web, false, "/events?channel=news.a", "POST", Some("GET, HEAD, OPTIONS")),
        (Listener::Web, false, "/events", "DELETE", Some("GET, HEAD, OPTIONS")),
        (Listener::Web, true, "/", "POST", Some("GET, HEAD, OPTIONS")),
        (Listener::Web, true, "/publish?channel=a", "GET", Some("POST, OPTIONS")),
        (Listener::Web, true, "/publish?channel=a", "HEAD", Some("POST, OPTIONS")),
        (Listener::Admin, false, "/metrics", "POST", Some("GET, HEAD, OPTIONS")),
        (Listener::Web, false, "/nothing", "DELETE", None),
    ] {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let refused = answer(decide(&site(&["*"], try_out), side, &request));
        let allowed = text(&refused).lines().find_map(|line| line.strip_prefix("Allow: "));
        assert_eq!(allowed, allow, "{method} {path}");
        let expected = if allow.is_some() { Refusal::MethodNotAllowed } else { Refusal::NotFound };
        assert_eq!(refused.refusal, Some(expected), "{method} {path}");
    }
}

#[test]
fn an_unknown_path_is_told_what_is_served() {
    for (side, try_out, served) in [
        (Listener::Web, false, &["/events?channel=NAME"][..]),
        (Listener::Web, true, &["demo page is at /", "/events?channel=NAME", "/publish?channel=NAME"]),
        (Listener::Admin, false, &["/metrics", "/livez", "/readyz", "/healthz", "/stats", "/slow"]),
    ] {
        for path in ["/nothing", "/events/", "/Events", "/metrics/", "//events"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
            let refused = answer(decide(&site(&["*"], try_out), side, &request));
            assert_eq!(refused.refusal, Some(Refusal::NotFound), "{path}");
            for word in served {
                assert!(text(&refused).contains(word), "{word} in {}", text(&refused));
            }
        }
    }
    // Outside try-out there is neither page nor publishing; the admin side has no streams, the web side no metrics.
    for (side, request) in [
        (Listener::Web, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (
            Listener::Web,
            "POST /publish?channel=news.a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
        ),
        (Listener::Web, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"),
        (Listener::Admin, "GET /events?channel=news.a HTTP/1.1\r\nHost: a\r\n\r\n"),
        (Listener::Broker, "GET /events?channel=news.a HTTP/1.1\r\nHost: a\r\n\r\n"),
    ] {
        let decision = decide(&site(&["*"], false), side, request);
        assert_eq!(refusal(decision), Some(Refusal::NotFound), "{request}");
    }
}

#[test]
fn a_preflight_is_told_what_a_page_may_send() {
    let preflight = "OPTIONS /events?channel=news.a HTTP/1.1\r\nHost: a\r\nOrigin: https://example.org\r\n\
        Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: last-event-id\r\n\r\n";
    let told = "Allow: GET, HEAD, OPTIONS\r\nAccess-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n\
        Access-Control-Allow-Headers: last-event-id, cache-control, authorization, content-type\r\n\
        Access-Control-Max-Age: 7200\r\n\r\n";
    for (origins, cors) in [
        (&["*"][..], "Access-Control-Allow-Origin: *\r\n"),
        (&["https://example.org"], "Access-Control-Allow-Origin: https://example.org\r\nVary: Origin\r\n"),
        (&["https://example.com"], "Vary: Origin\r\n"),
    ] {
        let answered = answer(decide(&site(origins, false), Listener::Web, preflight));
        assert_eq!(text(&answered), format!("HTTP/1.1 204 No Content\r\n{cors}{told}"));
        assert_eq!((answered.after, answered.refusal), (After::Keep, None));
    }
    let whole = answer(decide(&site(&["*"], false), Listener::Web, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert!(text(&whole).contains("\r\nAllow: GET, HEAD, OPTIONS, POST\r\n"));
    let admin =
        answer(decide(&site(&["*"], false), Listener::Admin, "OPTIONS /stats HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(text(&admin), "HTTP/1.1 204 No Content\r\nAllow: GET, HEAD, OPTIONS\r\n\r\n");
}

#[test]
fn with_a_list_of_origins_the_answer_depends_on_the_origin() {
    let site = site(&["https://*.example.org"], false);
    let ask = |path: &str, host: &str, origin: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{origin}\r\n");
        decide(&site, Listener::Web, &request)
    };
    let lines = |bytes: &[u8]| -> Vec<String> {
        let text = std::str::from_utf8(bytes).unwrap();
        let cors = |line: &&str| line.starts_with("Access-Control") || line.starts_with("Vary");
        text.lines().filter(cors).map(str::to_owned).collect()
    };
    let friend = "Origin: https://a.example.org\r\n";
    let stranger = "Origin: https://example.com\r\n";
    let echoed = ["Access-Control-Allow-Origin: https://a.example.org", "Vary: Origin"];

    let opened = opening(ask("/events?channel=news.a", "a", friend));
    assert_eq!(lines(&opened.head), echoed);
    assert_eq!(lines(&answer(ask("/events?channel=other", "a", friend)).bytes), echoed);
    assert_eq!(lines(&answer(ask("/nothing", "a", friend)).bytes), echoed);
    // No origin, or the server's own: not a page of another origin.
    for origin in ["", "Origin: http://a\r\n"] {
        assert_eq!(lines(&opening(ask("/events?channel=news.a", "a", origin)).head), ["Vary: Origin"]);
    }
    for origin in [stranger, "Origin: null\r\n", "Origin: https://a.example.org.evil.com\r\n"] {
        let refused = answer(ask("/events?channel=news.a", "a", origin));
        assert_eq!(refused.refusal, Some(Refusal::OriginNotAllowed));
        assert_eq!(lines(&refused.bytes), ["Vary: Origin"]);
    }
    assert_eq!(lines(&site.refuse(Listener::Web, Refusal::HeadTimeout).bytes), ["Vary: Origin"]);
    assert_eq!(lines(&site.refuse(Listener::Admin, Refusal::HeadTimeout).bytes), Vec::<String>::new());
}

#[test]
fn the_demo_page_is_there_in_try_out() {
    let page = answer(decide(&site(&["*"], true), Listener::Web, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert!(text(&page).starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"));
    assert!(text(&page).ends_with("\r\n\r\n<!doctype html>"));
    assert_eq!((page.after, page.refusal), (After::Keep, None));
    let head = answer(decide(&site(&["*"], true), Listener::Web, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert!(text(&head).contains("\r\nContent-Length: 15\r\n") && text(&head).ends_with("\r\n\r\n"));
}

#[test]
fn so_many_slow_readers_as_are_never_shown_are_refused() {
    for limit in ["0", "1001", "65536", "99999999999", "", "-1", "x"] {
        let request = format!("GET /slow?limit={limit} HTTP/1.1\r\nHost: a\r\n\r\n");
        let decision = decide(&site(&["*"], false), Listener::Admin, &request);
        assert_eq!(refusal(decision), Some(Refusal::BadParameter), "{limit}");
    }
}

#[test]
fn admin_pages_are_answered_once_they_are_rendered() {
    let ask = |method: &str, path: &str| {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        match decide(&site(&["*"], false), Listener::Admin, &request) {
            Decision::Admin(request) => request,
            other => panic!("{path} became {other:?}"),
        }
    };
    for (path, page) in [
        ("/metrics", AdminPage::Metrics),
        ("/livez", AdminPage::Live),
        ("/readyz", AdminPage::Ready),
        ("/healthz", AdminPage::Ready),
        ("/stats?pretty", AdminPage::Stats),
        ("/slow", AdminPage::Slow { limit: 100 }),
        ("/slow?limit=7&pretty", AdminPage::Slow { limit: 7 }),
        ("/slow?limit=1000", AdminPage::Slow { limit: 1_000 }),
    ] {
        assert_eq!(ask("GET", path).page, page);
        assert_eq!(ask("HEAD", path).page, page);
    }
    let head = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\
        Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n";
    let full = ask("GET", "/readyz").answer(503, "text/plain", b"red\n");
    assert_eq!((text(&full), full.after, full.refusal), (&*format!("{head}red\n"), After::Keep, None));
    let bare = ask("HEAD", "/readyz");
    assert!(bare.is_head_only());
    assert_eq!(text(&bare.answer(503, "text/plain", b"red\n")), head);
}

#[test]
fn cookies_count_only_if_the_page_that_asks_is_the_hosts_own_or_may_use_them() {
    let own = "Origin: http://a\r\n";
    let listed = "Origin: https://app.example\r\n";
    let stranger = "Origin: https://evil.example\r\n";
    for (origins, fields, count) in [
        ("*", "", true),
        ("*", own, true),
        ("*", listed, false),
        ("*", stranger, false),
        ("*", "Origin: null\r\n", false),
        ("https://app.example", listed, true),
        ("https://app.example", stranger, false),
        ("https://app.example", own, true),
        ("https://*.app.example", "Origin: https://www.app.example\r\n", true),
        ("*", "Sec-Fetch-Site: same-origin\r\n", true),
        ("*", "Sec-Fetch-Site: none\r\n", true),
        ("*", "Sec-Fetch-Site: same-site\r\n", false),
        ("*", "Sec-Fetch-Site: cross-site\r\n", false),
    ] {
        let request = format!("GET /events HTTP/1.1\r\nHost: a\r\nCookie: session=1\r\n{fields}\r\n");
        let (head, _) = http::parse(request.as_bytes(), 8_192).unwrap().unwrap();
        for allow_credentials in [true, false] {
            let site = Site { allow_credentials, ..site(&[origins], false) };
            let credentials = site.credentials(Peer::Unknown, &head);
            // Pages of other origins need both: the list, and that listed ones may use cookies.
            let count = count && (allow_credentials || origins == "*" || fields == own);
            let what = format!("{origins} {fields} {allow_credentials}");
            assert_eq!(credentials.cookie("session").is_some(), count, "{what}");
            assert_eq!(credentials.cookies_withheld, !count, "{what}");
        }
    }
    let (head, _) =
        http::parse(b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: null\r\n\r\n", 8_192).unwrap().unwrap();
    assert!(!site(&["*"], false).credentials(Peer::Unknown, &head).cookies_withheld, "there were none");
}
