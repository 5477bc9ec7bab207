//! Who gets in: what is shown against every kind of rule. The outcomes are expected here, in `OUTCOMES`, and
//! docs/reference/access.md is made from what the site really answers. `UPDATE_DOCS=1` rewrites it.
#![allow(clippy::unwrap_used)] // Tests state what must hold by unwrapping it; clippy.toml covers only functions marked as tests.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use courier::access::jwt::{Algorithm, Jwt, Template, Verifier};
use courier::access::keys::{KeyForm, KeyRing};
use courier::access::signed_url::{SignedUrl, Statement};
use courier::access::{Access, AllowedOrigins, Gate, Pattern, Proxies, Right, Rule, Rules, SigningKey, Way};
use courier::base::channel::ChannelName;
use courier::base::position::Epoch;
use courier::base::socket::{Arrival, Listener};
use courier::base::time::UnixTime;
use courier::protocol::site::{Decision, Shedding, Site};
use courier::wire::http;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

const NOW: u64 = 1_000_000;
const SECRET: &[u8] = b"a secret that is thirty-two bytes";
const OTHER: &[u8] = b"another secret, of as many bytes";

/// The rules, by what the page calls them and how they are written.
const RULES: [(&str, &str); 6] = [
    ("public", "access = \"public\""),
    ("closed", "access = \"closed\""),
    ("jwt", "access = \"jwt\", template = \"user.{sub}\""),
    ("jwt, query", "the same, query = \"on\""),
    ("signed-url", "access = \"signed-url\""),
    ("jwt, signed-url", "access = [\"jwt\", \"signed-url\"], template = \"user.{sub}\""),
];

/// What a request for the channel `user.7` shows, and what it gets under each of the rules.
const OUTCOMES: &[(&str, [&str; 6])] = &[
    (
        "nothing",
        [
            "200",
            "403 channel-not-open",
            "401 token-missing",
            "401 token-missing",
            "403 channel-not-open",
            "401 token-missing",
        ],
    ),
    ("a token of user 7, in the field", ["200", CLOSED, "200 user 7", "200 user 7", CLOSED, "200 user 7"]),
    ("the same, in the cookie", ["200", CLOSED, "200 user 7", "200 user 7", CLOSED, "200 user 7"]),
    ("the same, in the query", ["200", CLOSED, MISSING, "200 user 7", CLOSED, MISSING]),
    ("a token of user 8", ["200", CLOSED, CLOSED, CLOSED, CLOSED, CLOSED]),
    ("a token of user `*`", ["200", CLOSED, CLOSED, CLOSED, CLOSED, CLOSED]),
    (
        "a token of user 8 whose claim `courier` lists `user.*`",
        ["200", CLOSED, "200 user 8", "200 user 8", CLOSED, "200 user 8"],
    ),
    ("a token of nobody (no `sub`)", ["200", CLOSED, CLOSED, CLOSED, CLOSED, CLOSED]),
    ("a token that has expired", INVALID_TOKEN),
    ("a token without `exp`", INVALID_TOKEN),
    ("a token whose `exp` is a text", INVALID_TOKEN),
    ("a token that holds later than now (`nbf`)", INVALID_TOKEN),
    ("a token with an `aud`, where the rule has none", INVALID_TOKEN),
    ("a token signed with another key", INVALID_TOKEN),
    ("a token of `alg` HS512, where the rule has HS256", INVALID_TOKEN),
    ("a token of `alg` none, without a signature", INVALID_TOKEN),
    ("a field that is no token", INVALID_TOKEN),
    ("a good token in the cookie, a bad one in the field", INVALID_TOKEN),
    ("a signed URL", ["200", CLOSED, MISSING, MISSING, "200 user 7", "200 user 7"]),
    ("a signed URL that has expired", INVALID_URL),
    ("a URL signed with another key", INVALID_URL),
    ("a URL that was signed for two channels", INVALID_URL),
    ("a URL that was signed for publishing", INVALID_URL),
    ("a signed URL whose user was changed", INVALID_URL),
    ("a signed URL with `expires` twice", INVALID_URL),
    ("a bad token and a signed URL", ["200", CLOSED, INVALID, INVALID, "200 user 7", "200 user 7"]),
    ("a bad token and a bad URL", ["200", CLOSED, INVALID, INVALID, BAD_URL, INVALID]),
];

const CLOSED: &str = "403 channel-not-open";
const MISSING: &str = "401 token-missing";
const INVALID: &str = "401 token-invalid";
const BAD_URL: &str = "403 url-invalid";
const INVALID_TOKEN: [&str; 6] = ["200", CLOSED, INVALID, INVALID, CLOSED, INVALID];
const INVALID_URL: [&str; 6] = ["200", CLOSED, MISSING, MISSING, BAD_URL, BAD_URL];

#[test]
fn the_outcomes_are_these_and_the_page_says_so() {
    let shown = shown();
    let mut page = HEAD.to_owned();
    for (name, written) in RULES {
        page += &format!("- **{name}**: `{written}`\n");
    }
    page += "\n| Shown | ";
    page += &RULES.map(|(name, _)| name).join(" | ");
    page += " |\n| --- |";
    page += &" --- |".repeat(RULES.len());
    page.push('\n');
    for (index, (what, expected)) in OUTCOMES.iter().enumerate() {
        let (described, request) = &shown[index];
        assert_eq!(what, described, "the tables are in the same order");
        let got: [String; 6] = std::array::from_fn(|rule| outcome(rule, request));
        assert_eq!(got, *expected, "{what}");
        page += &format!("| {what} | {} |\n", got.map(|cell| format!("`{cell}`")).join(" | "));
    }
    assert_eq!(shown.len(), OUTCOMES.len());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/access.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/reference/access.md is not what the site answers: run make reference");
}

#[test]
fn all_tokens_that_do_not_hold_get_the_same_answer_byte_for_byte() {
    let mut answers: Vec<Vec<u8>> = Vec::new();
    for ((_, expected), (what, request)) in OUTCOMES.iter().zip(shown()) {
        if expected[2] == INVALID {
            let Decision::Answer(answer) = decide(2, &request) else { panic!("{what}: refused") };
            answers.push(answer.bytes);
        }
    }
    assert!(answers.len() >= 10);
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    let text = String::from_utf8(answers.remove(0)).unwrap();
    assert!(text.contains("\r\nWWW-Authenticate: Bearer error=\"invalid_token\"\r\n"), "{text}");
}

#[test]
fn who_shows_nothing_is_asked_for_a_token_without_an_error() {
    let Decision::Answer(answer) = decide(2, &request("channel=user.7", "")) else { panic!("refused") };
    let text = String::from_utf8(answer.bytes).unwrap();
    assert!(text.contains("\r\nWWW-Authenticate: Bearer\r\n"), "{text}");
}

/// The requests, in the order of `OUTCOMES`.
fn shown() -> Vec<(&'static str, Vec<u8>)> {
    let token = |claims: Value| signed(Header::default(), claims, SECRET);
    let good = token(json!({ "sub": "7", "exp": NOW + 60 }));
    let bad = signed(Header::default(), json!({ "sub": "7", "exp": NOW + 60 }), OTHER);
    let field = |token: &str| request("channel=user.7", &format!("Authorization: Bearer {token}\r\n"));
    let hs512 =
        signed(Header::new(jsonwebtoken::Algorithm::HS512), json!({ "sub": "7", "exp": NOW + 60 }), SECRET);
    // {"alg":"none"} and {"sub":"7","exp":1000060}
    let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiI3IiwiZXhwIjoxMDAwMDYwfQ.";
    let url = |expires: u64, channels: &[&str], right, secret| {
        let names: Vec<_> =
            channels.iter().map(|name| ChannelName::parse(name.as_bytes()).unwrap()).collect();
        let statement = Statement { right, expires: UnixTime::from_secs(expires), user: "7" };
        statement.query(&names, &SigningKey::new(secret))
    };
    let good_url = url(NOW + 60, &["user.7"], Right::Subscribe, SECRET);
    let bad_url = url(NOW + 60, &["user.7"], Right::Subscribe, OTHER);
    let of_two =
        url(NOW + 60, &["user.7", "user.8"], Right::Subscribe, SECRET).replace("channel=user.8&", "");
    vec![
        ("nothing", request("channel=user.7", "")),
        ("a token of user 7, in the field", field(&good)),
        (
            "the same, in the cookie",
            request("channel=user.7", &format!("Cookie: courier_access_token={good}\r\n")),
        ),
        ("the same, in the query", request(&format!("channel=user.7&access_token={good}"), "")),
        ("a token of user 8", field(&token(json!({ "sub": "8", "exp": NOW + 60 })))),
        ("a token of user `*`", field(&token(json!({ "sub": "*", "exp": NOW + 60 })))),
        (
            "a token of user 8 whose claim `courier` lists `user.*`",
            field(&token(json!({ "sub": "8", "exp": NOW + 60, "courier": { "subscribe": ["user.*"] } }))),
        ),
        ("a token of nobody (no `sub`)", field(&token(json!({ "exp": NOW + 60 })))),
        ("a token that has expired", field(&token(json!({ "sub": "7", "exp": NOW })))),
        ("a token without `exp`", field(&token(json!({ "sub": "7" })))),
        (
            "a token whose `exp` is a text",
            field(&token(json!({ "sub": "7", "exp": (NOW + 60).to_string() }))),
        ),
        (
            "a token that holds later than now (`nbf`)",
            field(&token(json!({ "sub": "7", "exp": NOW + 60, "nbf": NOW + 30 }))),
        ),
        (
            "a token with an `aud`, where the rule has none",
            field(&token(json!({ "sub": "7", "exp": NOW + 60, "aud": "somebody" }))),
        ),
        ("a token signed with another key", field(&bad)),
        ("a token of `alg` HS512, where the rule has HS256", field(&hs512)),
        ("a token of `alg` none, without a signature", field(none)),
        ("a field that is no token", field("hello")),
        (
            "a good token in the cookie, a bad one in the field",
            request(
                "channel=user.7",
                &format!("Authorization: Bearer {bad}\r\nCookie: courier_access_token={good}\r\n"),
            ),
        ),
        ("a signed URL", request(&good_url, "")),
        ("a signed URL that has expired", request(&url(NOW, &["user.7"], Right::Subscribe, SECRET), "")),
        ("a URL signed with another key", request(&bad_url, "")),
        ("a URL that was signed for two channels", request(&of_two, "")),
        (
            "a URL that was signed for publishing",
            request(&url(NOW + 60, &["user.7"], Right::Publish, SECRET), ""),
        ),
        ("a signed URL whose user was changed", request(&good_url.replace("user=7", "user=8"), "")),
        ("a signed URL with `expires` twice", request(&format!("{good_url}&expires=2000000"), "")),
        ("a bad token and a signed URL", request(&good_url, &format!("Authorization: Bearer {bad}\r\n"))),
        ("a bad token and a bad URL", request(&bad_url, &format!("Authorization: Bearer {bad}\r\n"))),
    ]
}

fn signed(header: Header, claims: Value, secret: &[u8]) -> String {
    encode(&header, &claims, &EncodingKey::from_secret(secret)).unwrap()
}

fn request(query: &str, fields: &str) -> Vec<u8> {
    format!("GET /events?{query} HTTP/1.1\r\nHost: localhost:8080\r\n{fields}\r\n").into_bytes()
}

fn outcome(rule: usize, request: &[u8]) -> String {
    match decide(rule, request) {
        Decision::Stream(opening) => match opening.grant.user {
            Some(user) => format!("200 user {user}"),
            None => "200".into(),
        },
        Decision::Answer(answer) => {
            let refusal = answer.refusal.unwrap();
            format!("{} {}", refusal.status(), refusal.code())
        }
        other => panic!("neither a stream nor an answer: {other:?}"),
    }
}

fn decide(rule: usize, request: &[u8]) -> Decision {
    let (head, _) = http::parse(request, 8_192).unwrap().unwrap();
    site(rule).decide(Arrival::on(Listener::Web), &head, Epoch(1), UnixTime::from_secs(NOW))
}

/// A site with one of the rules for every channel.
fn site(rule: usize) -> Site {
    let mut ring = KeyRing::default();
    let keys = ring.push(KeyForm::Token(Algorithm::Hs256).read(SECRET).unwrap());
    let url = ring.push(KeyForm::Url.read(SECRET).unwrap());
    let jwt = |query| {
        let verifier = Arc::new(Verifier {
            algorithm: Algorithm::Hs256,
            keys,
            audience: None,
            issuer: None,
            cookie: "courier_access_token".into(),
            query,
            endless: false,
        });
        Some(Arc::new(Jwt { verifier, template: Some(Template::parse("user.{sub}").unwrap()) }))
    };
    let signed_url = Some(SignedUrl { key: url });
    let plain = |access| Rule::new(Pattern::parse("*").unwrap(), access);
    let rule = match rule {
        0 => plain(Access::public()),
        1 => plain(Access::closed()),
        2 => Rule { jwt: jwt(false), ..plain(Access::new(vec![Way::Jwt])) },
        3 => Rule { jwt: jwt(true), ..plain(Access::new(vec![Way::Jwt])) },
        4 => Rule { signed_url, ..plain(Access::new(vec![Way::SignedUrl])) },
        _ => Rule { jwt: jwt(false), signed_url, ..plain(Access::new(vec![Way::Jwt, Way::SignedUrl])) },
    };
    Site {
        gate: Gate { keys: Arc::new(ring), ..Gate::new(Rules::new(vec![rule])) },
        origins: AllowedOrigins::Any,
        try_out: false,
        demo_page: b"",
        publish_limit: 0,
        retry: Duration::from_secs(2),
        shedding: Shedding::Retry,
        allow_credentials: false,
        channels_per_connection: 64,
        proxies: Proxies::default(),
        admin_token: None,
    }
}

const HEAD: &str = "\
# Allowed and refused

<!-- Made from what courier answers in tests/access_docs.rs: make reference. -->

What a request for the channel `user.7` gets, by what it shows (down) and by the rule that decides (across). The
rules' keys are all the same; all tokens that do not hold get the same answer, byte for byte. How to use them is said in
[Who gets in](../guide/access.md), what the codes mean in [HTTP](../protocols/http.md).

";
