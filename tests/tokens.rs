//! Tokens and signed URLs against a real courier: streams that end in time and lose nothing, keys that change under way.
#![allow(clippy::unwrap_used)] // Tests state what must hold by unwrapping it; clippy.toml covers only functions marked as tests.

#[path = "support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use support::courier::{Courier, command, refused};
use support::http::{Answer, Peer};
use support::process::Process;
use support::stream::Stream;
use support::{Directory, until};

const SECRET: &str = "a secret that is thirty-two bytes";
const OTHER: &str = "another secret, of as many bytes";

#[test]
fn a_stream_ends_with_its_token_and_a_new_one_resumes_it_without_a_loss() {
    let directory = Directory::new();
    let courier = courier(&directory, SECRET);
    let mut stream = open(&courier, &token(json!({ "sub": "7", "exp": now() + 2.0 }), SECRET), "");
    let mut broker = courier.client();
    broker.publish("user.7", "one");
    assert_eq!(stream.data(), "one");
    let event = stream.event();
    assert_eq!(event.event, "courier-expired");
    let retry: Value = serde_json::from_str(&event.data).unwrap();
    assert!(retry["retry_ms"].as_u64().is_some_and(|millis| millis > 0), "{event:?}");
    stream.expect_end();
    courier.until_metric("courier_disconnects_total{reason=\"expired\"}", |count| count == 1.0);
    for text in ["two", "three"] {
        broker.publish("user.7", text);
    }
    // The old token is refused; the old id is as good as ever.
    let id = stream.last_event_id().to_owned();
    let expired = token(json!({ "sub": "7", "exp": now() - 1.0 }), SECRET);
    assert_eq!(ask(courier.web, "user.7", &expired).status, 401);
    let fresh = token(json!({ "sub": "7", "exp": now() + 60.0 }), SECRET);
    let mut stream = open(&courier, &fresh, &format!("Last-Event-ID: {id}\r\n"));
    broker.publish("user.7", "four");
    assert_eq!(stream.data_of(3), ["two", "three", "four"]);
}

#[test]
fn keys_change_under_way_and_streams_go_on() {
    let directory = Directory::new();
    let courier = courier(&directory, SECRET);
    let (old, new) =
        [SECRET, OTHER].map(|secret| token(json!({ "sub": "7", "exp": now() + 600.0 }), secret)).into();
    let mut stream = open(&courier, &old, "");
    assert_eq!(ask(courier.web, "user.7", &new).status, 401);
    // A rename, as the guide says; and what is no key in between changes nothing.
    replace(&directory, "");
    courier.until_metric("courier_key_failures_total", |count| count == 1.0);
    assert_eq!(ask(courier.web, "user.7", &old).status, 200);
    std::fs::remove_file(directory.path().join("jwt.secret")).unwrap();
    replace(&directory, OTHER);
    until("the new key holds", || ask(courier.web, "user.7", &new).status == 200);
    assert_eq!(ask(courier.web, "user.7", &old).status, 401);
    assert_eq!(courier.metric("courier_key_reloads_total"), 1.0);
    assert_eq!(courier.metric("courier_key_failures_total"), 1.0, "a warning a transition, not a look");
    courier.client().publish("user.7", "still here");
    assert_eq!(stream.data(), "still here");
}

#[test]
fn secrets_are_shown_nowhere() {
    let directory = Directory::new();
    let text = format!(
        "[broker]\nlisten = \"127.0.0.1:0\"\n[jwt]\nkey = \"{SECRET}\"\n[signed_url]\nkey = \"{OTHER}\"\n[[channels]]\n\
         match = \"*\"\naccess = [\"jwt\", \"signed-url\"]\njwt = {{ key = \"{SECRET}!\" }}\n"
    );
    let config = directory.file("courier.toml", &text);
    let (code, output, errors) = Process::run(command().args(["--config", &config, "--print-config"]));
    assert_eq!(code, 0, "{errors}");
    assert!(output.contains("jwt.key = \"***\"") && output.contains("jwt = { key = \"***\" }"), "{output}");
    let mut shown = output + &errors;
    for arguments in [
        vec!["--jwt-key", SECRET, "--jwt-key", OTHER, "--public", "a", "--broker"],
        vec!["--config", &*config, "--jwt-key-file", "/nonexistent", "--check-config"],
        vec!["--config", &*config, "--check-config", "--channel", "a", "--as", "channel=a&signature=x"],
    ] {
        let (_, output, errors) = Process::run(command().args(&arguments));
        shown += &(output + &errors);
    }
    assert!(!shown.contains(SECRET) && !shown.contains(OTHER), "{shown}");
}

#[test]
fn what_cannot_work_is_told_at_the_start() {
    let directory = Directory::new();
    let refuse = |row: &str| {
        let text = format!("[broker]\nlisten = \"127.0.0.1:0\"\n[[channels]]\nmatch = \"*\"\n{row}\n");
        let config = directory.file("courier.toml", &text);
        refused(&["--config", &config]).replace(&config, "courier.toml")
    };
    let file = |name: &str, text: &str| directory.file(name, text);
    assert_eq!(
        refuse("access = \"jwt\""),
        "courier.toml:3: \"jwt\" needs a key: give jwt.key_file or jwt.jwks_file, or the row its own with jwt = { key_file \
         = \"FILE\" }"
    );
    assert_eq!(
        refuse("publish = \"signed-url\"\naccess = \"public\""),
        "courier.toml:3: \"signed-url\" needs a key: give signed_url.key_file, or the row its own with signed_url = { \
         key_file = \"FILE\" }"
    );
    let short = file("short", "secret\n");
    for (row, line) in [
        ("access = \"jwt\"\njwt = { key_file = \"/nonexistent\" }", "cannot be read: No such file"),
        (
            &*format!("access = \"jwt\"\njwt = {{ key_file = {short:?}, key = \"a secret of no use\" }}"),
            "jwt.key and jwt.key_file are both given",
        ),
        (
            &*format!("access = \"jwt\"\njwt = {{ key_file = {short:?}, algorithm = \"RS256\" }}"),
            "is no public key in PEM",
        ),
        (&*format!("access = \"jwt\"\njwt = {{ jwks_file = {short:?} }}"), "is no JSON Web Key Set"),
        (
            "access = \"jwt\"\njwt = { algorithm = \"none\", key = \"a secret of no use\" }",
            "one of HS256, HS384",
        ),
        (
            "access = \"jwt\"\njwt = { template = \"user.{sub\", key = \"a secret of no use\" }",
            "a claim stands in braces",
        ),
        ("access = \"jwt\"\njwt = { keyfile = \"x\" }", "did you mean jwt.key_file?"),
        (
            "access = \"public\"\njwt = { key = \"a secret of no use\" }",
            "says nothing where neither access nor publish has \"jwt\"",
        ),
        ("access = \"jwt\"\njwt = 5", "a table, as in"),
    ] {
        let told = refuse(row);
        assert!(told.starts_with("courier.toml:") && told.contains(line), "{row}: {told}");
    }
    let weak = format!(
        "[broker]\n[[channels]]\nmatch = \"*\"\naccess = \"jwt\"\njwt = {{ key_file = {short:?} }}\n"
    );
    let config = file("weak.toml", &weak.replace("[broker]", "[broker]\nlisten = \"127.0.0.1:0\""));
    let (_, output, _) = Process::run(command().args(["--config", &config, "--check-config"]));
    assert!(
        output.contains("warning: ") && output.contains("the secret has fewer than 32 bytes"),
        "{output}"
    );
}

#[test]
fn a_token_is_explained_from_a_file_and_from_stdin() {
    let directory = Directory::new();
    let config = configuration(&directory, SECRET);
    let forged = token(json!({ "sub": "7", "exp": now() + 60.0 }), OTHER);
    let at = format!("@{}", directory.file("token", &forged));
    let arguments = ["--config", &*config, "--check-config", "--channel", "user.7", "--as"];
    let (code, output, _) = Process::run(command().args(arguments).arg(at));
    assert_eq!(code, 1);
    assert!(output.contains("jwt: no, its signature is not by the rule's key"), "{output}");
    assert!(output.ends_with("refused: 401 token-invalid\n"), "{output}");
    let mut piped = command();
    piped.args(arguments).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let good = token(json!({ "sub": "7", "exp": now() + 60.0 }), SECRET);
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), good.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("granted: may listen, as user 7, for "));
}

#[test]
fn a_url_is_signed_for_all_of_its_channels() {
    let directory = Directory::new();
    let courier = courier(&directory, SECRET);
    let secret = directory.path().join("url.secret");
    let sign = |channels: &[&str]| {
        let mut sign = command();
        sign.args(["sign", "--expires", "1h", "--signed-url-key-file"]).arg(&secret);
        sign.args(channels.iter().flat_map(|channel| ["--channel", channel]));
        let (code, output, errors) = Process::run(&mut sign);
        assert_eq!(code, 0, "{errors}");
        output.trim().to_owned()
    };
    let query = sign(&["vip.a", "vip.b c"]);
    let mut stream = Stream::open(courier.web, &query);
    courier.client().publish("vip.b c", "hello");
    assert_eq!(stream.data(), "hello");
    let status = |query: &str| head(courier.web, query, "").status;
    assert_eq!(status(&query.replace("channel=vip.b%20c&", "")), 403);
    assert_eq!(status(&query.replacen("channel=", "channel=vip.z&channel=", 1)), 403);
    assert_eq!(status(&query.replace("channel=vip.a&", "").replacen('&', "&channel=vip.a&", 1)), 403);
    assert_eq!(status(&sign(&["vip.a"])), 200);
}

#[test]
fn a_request_whose_token_and_url_are_of_two_users_is_refused_and_told_to_split() {
    let directory = Directory::new();
    let courier = courier(&directory, SECRET);
    let bearer =
        format!("Authorization: Bearer {}\r\n", token(json!({ "sub": "7", "exp": now() + 60.0 }), SECRET));
    let answer = |user: &str| {
        let mut sign = command();
        sign.args(["sign", "--expires", "1h", "--user", user, "--channel", "user.7", "--channel", "vip.a"]);
        sign.arg("--signed-url-key-file").arg(directory.path().join("url.secret"));
        let (code, query, errors) = Process::run(&mut sign);
        assert_eq!(code, 0, "{errors}");
        let mut peer = Peer::connect(courier.web);
        peer.send(format!("GET /events?{} HTTP/1.1\r\nHost: a\r\n{bearer}\r\n", query.trim()));
        peer
    };
    let refused = answer("8").answer();
    assert_eq!((refused.status, refused.code()), (403, "two-users".into()));
    assert!(refused.body.contains("open one stream for each"));
    let mut stream = Stream::behind(answer("7"));
    courier.client().publish("vip.a", "hello");
    assert_eq!(stream.data(), "hello");
}

/// A courier whose channels `user.*` take tokens by this secret, and `vip.*` URLs.
fn courier(directory: &Directory, secret: &str) -> Courier {
    Courier::start(&["--config", &configuration(directory, secret)])
}

fn configuration(directory: &Directory, secret: &str) -> String {
    let key = directory.file("jwt.secret", secret);
    let url = directory.file("url.secret", OTHER);
    let text = format!(
        "[broker]\nlisten = \"127.0.0.1:0\"\n[jwt]\nkey_file = {key:?}\n[signed_url]\nkey_file = {url:?}\n\
         [[channels]]\nmatch = \"user.*\"\naccess = \"jwt\"\njwt = {{ template = \"user.{{sub}}\" }}\n\
         [[channels]]\nmatch = \"vip.*\"\naccess = \"signed-url\"\n"
    );
    directory.file("courier.toml", &text)
}

/// Another secret in the place of the first, whole.
fn replace(directory: &Directory, secret: &str) {
    let next = directory.file("next.secret", secret);
    std::fs::rename(next, directory.path().join("jwt.secret")).unwrap();
}

fn open(courier: &Courier, token: &str, fields: &str) -> Stream {
    let mut peer = Peer::connect(courier.web);
    peer.send(format!(
        "GET /events?channel=user.7 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{fields}\r\n"
    ));
    Stream::behind(peer)
}

/// What a client with this token is answered.
fn ask(address: SocketAddr, channel: &str, token: &str) -> Answer {
    head(address, &format!("channel={channel}"), &format!("Authorization: Bearer {token}\r\n"))
}

fn head(address: SocketAddr, query: &str, fields: &str) -> Answer {
    let mut peer = Peer::connect(address);
    peer.send(format!("HEAD /events?{query} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n"));
    peer.head()
}

fn token(claims: Value, secret: &str) -> String {
    encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}
