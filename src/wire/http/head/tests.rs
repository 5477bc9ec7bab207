use proptest::prelude::*;

use super::*;

const MAX: usize = 8_192;

fn head(bytes: &str) -> Head<'_> {
    let (head, length) = parse(bytes.as_bytes(), MAX).unwrap().expect("the head is complete");
    assert_eq!(length, bytes.len());
    head
}

fn refusal(bytes: impl AsRef<[u8]>) -> Refusal {
    match parse(bytes.as_ref(), MAX) {
        Err(HeadError::Refused(refusal)) => refusal,
        other => panic!("{:?} became {other:?}", String::from_utf8_lossy(bytes.as_ref())),
    }
}

/// What a driver sees when the bytes come in pieces.
fn parse_in_pieces(bytes: &[u8], cuts: impl Iterator<Item = usize>) -> String {
    let mut seen = 0;
    for cut in cuts.chain([bytes.len()]) {
        match parse_from(&bytes[..cut], seen, HeadBounds::of(MAX)) {
            Ok(None) => seen = cut,
            outcome => return format!("{outcome:?}"),
        }
    }
    "incomplete".to_owned()
}

const BROWSER: &str = "GET /events?channel=news HTTP/1.1\r\nHost: localhost:8080\r\nConnection: keep-alive\r\n\
    Accept: text/event-stream\r\nOrigin: https://example.org\r\nLast-Event-ID: a.5\r\n\
    Cache-Control: no-cache\r\nAuthorization: Bearer x\r\n\r\n";

#[test]
fn a_browsers_request_is_read() {
    let head = head(BROWSER);
    assert_eq!((head.method, head.version, head.keep_alive), (Method::Get, Version::Http11, true));
    assert_eq!((&*head.path, head.query), (&b"/events"[..], &b"channel=news"[..]));
    assert_eq!(head.host, Some(&b"localhost:8080"[..]));
    assert_eq!(head.origin, Some(&b"https://example.org"[..]));
    assert_eq!(head.last_event_id, Some(&b"a.5"[..]));
    assert_eq!(head.authorization, Some(&b"Bearer x"[..]));
    assert!(head.accepts("text", "event-stream") && !head.accepts("text", "html"));
    assert_eq!(head.content_length, None);
}

#[test]
fn field_names_are_of_any_case_and_white_space_around_values_is_none_of_them() {
    let head = head("GET / HTTP/1.1\r\nhOsT:\t a \t\r\nLAST-EVENT-ID:x\r\nAccept:\r\n\r\n");
    assert_eq!((head.host, head.last_event_id), (Some(&b"a"[..]), Some(&b"x"[..])));
    assert!(head.accepts("text", "event-stream"));
}

#[test]
fn a_head_may_be_cut_at_any_byte() {
    let bytes = BROWSER.as_bytes();
    let whole = parse_in_pieces(bytes, std::iter::empty());
    for cut in 0..bytes.len() {
        assert_eq!(parse(&bytes[..cut], MAX).unwrap().map(|(_, length)| length), None, "{cut}");
        assert_eq!(parse_in_pieces(bytes, [cut].into_iter()), whole, "{cut}");
    }
    assert_eq!(parse_in_pieces(bytes, 0..bytes.len()), whole);
}

#[test]
fn what_follows_a_head_is_left_to_the_next() {
    let two = "GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n";
    let (first, length) = parse(two.as_bytes(), MAX).unwrap().unwrap();
    assert_eq!(&*first.path, b"/a");
    assert_eq!(&*head(&two[length..]).path, b"/b");
}

#[test]
fn targets_are_of_origin_form_absolute_form_or_a_star() {
    for (target, host, path, query) in [
        ("/", "field", "/", ""),
        ("/a?", "field", "/a", ""),
        ("/a?b=%20?c", "field", "/a", "b=%20?c"),
        ("/%65vents?channel=%c3%bc", "field", "/events", "channel=%c3%bc"),
        ("/ü", "field", "/ü", ""),
        ("//a/b", "field", "//a/b", ""),
        ("http://target:80/a?b", "target:80", "/a", "b"),
        ("HTTPS://target", "target", "/", ""),
        ("http://target?b", "target", "/", "b"),
        ("http://[::1]:8080/a", "[::1]:8080", "/a", ""),
    ] {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: field\r\n\r\n");
        let head = head(&bytes);
        assert_eq!(head.host, Some(host.as_bytes()), "{target}");
        assert_eq!(String::from_utf8_lossy(&head.path), path, "{target}");
        assert_eq!(head.query, query.as_bytes(), "{target}");
    }
    assert_eq!(&*head("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").path, b"*");
    for target in
        ["*", "a", "a:80", "/a#b", "ftp://a/", "://a/", "http:///a", "http://u@a/", "http://a b/", "/\x01"]
    {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(refusal(&bytes), Refusal::BadRequest, "{target}");
    }
    assert_eq!(refusal("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"), Refusal::BadRequest);
    assert_eq!(refusal(b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n"), Refusal::BadRequest);
}

#[test]
fn methods_are_of_one_case() {
    for (word, method) in [
        ("GET", Method::Get),
        ("HEAD", Method::Head),
        ("OPTIONS", Method::Options),
        ("POST", Method::Post),
        ("get", Method::Other),
        ("DELETE", Method::Other),
        ("M-SEARCH", Method::Other),
    ] {
        assert_eq!(head(&format!("{word} / HTTP/1.1\r\nHost: a\r\n\r\n")).method, method);
    }
}

#[test]
fn a_connection_is_kept_as_version_and_connection_field_say() {
    for (version, fields, keep_alive) in [
        ("1.1", "", true),
        ("1.1", "Connection: Keep-Alive\r\n", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: keep-alive, Close\r\n", false),
        ("1.1", "Connection: upgrade\r\nConnection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let bytes = format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(head(&bytes).keep_alive, keep_alive, "{version} {fields}");
    }
    assert_eq!(head("GET / HTTP/1.0\r\n\r\n").host, None);
}

#[test]
fn a_body_is_of_a_stated_length_and_not_on_a_get() {
    let post = head("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n");
    assert_eq!(post.content_length, Some(5));
    assert!(post.has_body() && post.expects_continue);
    assert!(!head("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").has_body());
    for method in ["GET", "HEAD", "OPTIONS"] {
        let bytes = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(refusal(&bytes), Refusal::BodyNotAllowed);
    }
    for coding in ["chunked", "identity", "", "xchunked, chunked"] {
        let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n");
        assert_eq!(refusal(&bytes), Refusal::TransferEncoding, "{coding}");
    }
    for length in ["", "+5", "-5", "5, 5", "0x5", "5 5", "99999999999999999999", "5\r\nContent-Length: 5"] {
        let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        assert_eq!(refusal(&bytes), Refusal::BadContentLength, "{length}");
    }
}

#[test]
fn hosts_are_named_once() {
    assert_eq!(refusal("GET / HTTP/1.1\r\n\r\n"), Refusal::MissingHost);
    assert_eq!(refusal("GET http://a/ HTTP/1.1\r\n\r\n"), Refusal::MissingHost);
    for version in ["1.0", "1.1"] {
        let bytes = format!("GET / HTTP/{version}\r\nHost: a\r\nHost: a\r\n\r\n");
        assert_eq!(refusal(&bytes), Refusal::MissingHost);
    }
    for host in ["a/b", "a b", "u@a", "a\\b", "ü", "a?b"] {
        let bytes = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(refusal(&bytes), Refusal::BadRequest, "{host}");
    }
    assert_eq!(head("GET / HTTP/1.1\r\nHost:\r\n\r\n").host, Some(&b""[..]));
}

#[test]
fn other_versions_are_told_apart_from_garbage() {
    for line in ["PRI * HTTP/2.0", "GET / HTTP/2.0", "GET / HTTP/1.2", "GET / HTTP/0.9"] {
        assert_eq!(refusal(format!("{line}\r\n\r\nSM\r\n\r\n")), Refusal::HttpVersion, "{line}");
    }
    for line in ["GET / HTP/1.1", "GET / http/1.1", "GET /", "GET", "GET  / HTTP/1.1", "GET / HTTP/1.1 "] {
        assert_eq!(refusal(format!("{line}\r\nHost: a\r\n\r\n")), Refusal::BadRequest, "{line:?}");
    }
}

/// httparse takes the first three of these: the checks on top of it must stay.
#[test]
fn what_two_readers_could_read_differently_is_refused() {
    for bytes in [
        &b"GET / HTTP/1.1\nHost: a\n\n"[..],
        b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\rHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\tb: c\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nb: \0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nb: \x7f\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nb\xff: c\r\n\r\n",
        b"GET\0 / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: b\r\nOrigin: c\r\n\r\n",
        b"\x80\x2e\x01",
        b"\0",
        b"{\"a\":1}",
    ] {
        assert_eq!(refusal(bytes), Refusal::BadRequest, "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn a_bare_line_feed_is_refused_as_soon_as_it_comes() {
    assert_eq!(refusal("GET / HTTP/1.1\n"), Refusal::BadRequest);
}

#[test]
fn a_head_is_bounded_in_bytes_and_in_fields() {
    let padded = |length: usize| {
        let frame = "GET / HTTP/1.1\r\nHost: a\r\nCookie: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {}\r\n\r\n", "c".repeat(length - frame))
    };
    head(&padded(MAX));
    assert_eq!(refusal(padded(MAX + 1)), Refusal::HeadTooLarge);
    assert_eq!(refusal(&padded(MAX + 1)[..MAX]), Refusal::HeadTooLarge);
    assert!(parse(&padded(MAX).as_bytes()[..MAX - 1], MAX).unwrap().is_none());
    // A body behind a head does not count.
    let posted = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {MAX}\r\n\r\n");
    let bytes = posted.clone() + &"b".repeat(MAX);
    assert_eq!(parse(bytes.as_bytes(), MAX).unwrap().unwrap().1, posted.len());

    let many = |fields: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "b: c\r\n".repeat(fields - 1));
    head(&many(HEAD_FIELDS));
    assert_eq!(refusal(many(HEAD_FIELDS + 1)), Refusal::HeadTooLarge);
}

#[test]
fn a_tls_handshake_is_recognised_by_its_first_two_bytes() {
    assert!(parse(b"\x16", MAX).unwrap().is_none());
    assert_eq!(parse(b"\x16\x03\x01\x02\x00\x01", MAX).unwrap_err(), HeadError::Tls);
    assert_eq!(refusal(b"\x16\x04"), Refusal::BadRequest);
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_come_to_the_same_end(
        pieces in prop::collection::vec(
            prop_oneof![
                Just(b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec()),
                Just(b"\r\n".to_vec()),
                Just(b"\n".to_vec()),
                Just(b"Content-Length: 3\r\n".to_vec()),
                Just(b"\x16\x03".to_vec()),
                Just(vec![b'a'; 3_000]),
                prop::collection::vec(any::<u8>(), 0..20),
            ],
            0..8,
        )
    ) {
        let bytes = pieces.concat();
        let mut end = 0;
        let cuts: Vec<usize> = pieces.iter().map(|piece| { end += piece.len(); end }).collect();
        let whole = parse_in_pieces(&bytes, std::iter::empty());
        prop_assert_eq!(parse_in_pieces(&bytes, cuts.into_iter()), whole.clone());
        prop_assert_eq!(parse_in_pieces(&bytes, 0..bytes.len()), whole);
    }
}

#[test]
fn any_field_is_found_by_its_name() {
    let bytes =
        b"GET /a:b HTTP/1.1\r\nHost: x\r\nX-Team: red \r\nx-teams: no\r\nX-TEAM:blue\r\nEmpty:\r\n\r\n";
    let (head, _) = parse(bytes, 1_000).unwrap().unwrap();
    let found = |name: &str| values(head.fields, name).collect::<Vec<_>>();
    assert_eq!(found("x-team"), [&b"red"[..], b"blue"]);
    assert_eq!(found("empty"), [b""]);
    for name in ["x-tea", "get /a", "absent"] {
        assert!(found(name).is_empty(), "{name}");
    }
}
