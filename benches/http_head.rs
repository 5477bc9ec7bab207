//! What a request costs until its answer is decided: the head alone, in one piece and byte by byte, and the decision.

use std::time::Duration;

use divan::{Bencher, black_box};

use courier::access::{Access, AllowedOrigins, Gate, Pattern, Proxies, Rule, Rules};
use courier::base::position::Epoch;
use courier::base::socket::{Arrival, Listener};
use courier::base::time::UnixTime;
use courier::protocol::site::{Shedding, Site};
use courier::wire::http;

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

const HEAD_BYTES_MAX: usize = 8_192;

/// As Chromium sends it.
const BROWSER: &[u8] = b"GET /events?channel=news.sport&channel=news.world HTTP/1.1\r\nHost: localhost:8080\r\n\
    Connection: keep-alive\r\nsec-ch-ua-platform: \"Linux\"\r\nCache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
    Accept: text/event-stream\r\nOrigin: https://example.org\r\nSec-Fetch-Site: cross-site\r\n\
    Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nReferer: https://example.org/\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n\r\n";

const CURL: &[u8] =
    b"GET /events?channel=demo HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";

#[divan::bench]
fn a_browsers_head(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| black_box(http::parse(black_box(BROWSER), HEAD_BYTES_MAX)).is_ok());
}

#[divan::bench]
fn curls_head(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| black_box(http::parse(black_box(CURL), HEAD_BYTES_MAX)).is_ok());
}

#[divan::bench]
fn a_browsers_head_byte_by_byte(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| {
        (1..=BROWSER.len())
            .filter(|&end| {
                matches!(
                    http::parse_from(
                        black_box(&BROWSER[..end]),
                        end - 1,
                        http::HeadBounds::of(HEAD_BYTES_MAX)
                    ),
                    Ok(Some(_))
                )
            })
            .count()
    });
}

/// 8 KiB of cookie that never ends, byte by byte: what a slow attacker makes us do.
#[divan::bench]
fn the_longest_head_byte_by_byte(bencher: Bencher<'_, '_>) {
    let mut bytes = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: ".to_vec();
    bytes.resize(HEAD_BYTES_MAX, b'c');
    bencher.bench_local(|| {
        (1..=bytes.len())
            .filter(|&end| {
                http::parse_from(black_box(&bytes[..end]), end - 1, http::HeadBounds::of(HEAD_BYTES_MAX))
                    .is_err()
            })
            .count()
    });
}

#[divan::bench]
fn head_and_decision(bencher: Bencher<'_, '_>) {
    let pattern = Pattern::parse("news.*").expect("the pattern is well-formed");
    let rule = Rule::new(pattern, Access::public());
    let site = Site {
        gate: Gate::new(Rules::new(vec![rule])),
        origins: AllowedOrigins::Any,
        allow_credentials: false,
        proxies: Proxies::default(),
        channels_per_connection: 64,
        try_out: false,
        demo_page: b"",
        admin_token: None,
        publish_limit: 1_024,
        retry: Duration::from_secs(2),
        shedding: Shedding::Retry,
    };
    bencher.bench_local(|| {
        let head = http::parse(black_box(BROWSER), HEAD_BYTES_MAX).expect("the head is well-formed");
        head.map(|(head, _)| {
            black_box(site.decide(Arrival::on(Listener::Web), &head, Epoch(10), UnixTime::from_secs(0)))
        })
    });
}
