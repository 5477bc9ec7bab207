//! The configuration as a whole, as an operator meets it: a command line, an environment, a file, and what comes of it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::access::Access;
use crate::base::channel::PayloadMode;

fn run(line: &str, environment: &[(&str, &str)]) -> Result<Command, String> {
    let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    load(line.split(' ').map(OsString::from), environment).map_err(|error| error.to_string())
}

fn serve(line: &str, environment: &[(&str, &str)]) -> Config {
    match run(line, environment) {
        Ok(Command::Serve(config)) => *config,
        other => panic!("{line}: {other:?}"),
    }
}

/// A file that is gone when the value is dropped.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("courier-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn nothing_at_all_is_try_out_on_this_machine() {
    let config = serve("courier", &[]);
    assert_eq!(config.mode, Mode::TryOut);
    assert_eq!(config.listen, [ListenAddress::parse("127.0.0.1:8080").unwrap()]);
    assert_eq!(config.admin.to_string(), "127.0.0.1:8081");
    assert_eq!(
        config.upstream,
        Upstream::Broker(BrokerConfig {
            listen: ListenAddress::parse("127.0.0.1:6380").unwrap(),
            password: None
        })
    );
    assert_eq!(config.rules.len(), 1);
    assert_eq!((config.rules[0].pattern.as_str(), config.rules[0].access.clone()), ("*", Access::public()));
    assert_eq!(config.limits, Limits::default(), "the table and the type agree on every default");
    assert_eq!((config.heartbeat, config.retry), (Some(Duration::from_secs(15)), Duration::from_secs(2)));
    assert_eq!((config.shards, config.cpus, config.reader_cpu), (None, None, None));
    assert!(config.warnings.is_empty());
}

#[test]
fn try_out_listens_on_this_machine_only() {
    for line in ["courier --listen 0.0.0.0:8080", "courier --admin [::]:1", "courier --broker 192.0.2.1:6379"]
    {
        assert_eq!(
            run(line, &[]).unwrap_err(),
            "try-out opens every channel to everyone: listen on loopback, or give --redis and --public",
            "{line}"
        );
    }
    let config = serve("courier --listen unix:/run/x.sock --listen [::1]:80 --broker localhost:1", &[]);
    assert_eq!(config.mode, Mode::TryOut);
}

#[test]
fn any_spelling_of_redis_public_or_config_leaves_try_out() {
    for (line, environment) in [
        ("courier --redis redis://h --public a", &[][..]),
        ("courier --public a", &[("REDIS_URL", "redis://h")]),
        ("courier", &[("COURIER_REDIS", "redis://h"), ("COURIER_PUBLIC", "a")]),
        ("courier --listen 0.0.0.0:80", &[("COURIER_BROKER", "127.0.0.1:1"), ("COURIER_PUBLIC", "a")]),
    ] {
        assert_eq!(serve(line, environment).mode, Mode::Production, "{line}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let file = TemporaryFile::new("missing.toml", "[log]\nlevel = \"warn\"\n");
    let with_file = format!("courier --config {}", file.path());
    for (line, environment, error) in [
        (
            "courier --redis redis://h",
            &[][..],
            "--public is missing: no channel is open to anyone; give --public 'PATTERN' or a [[channels]] row in the \
             file",
        ),
        (
            "courier",
            &[("REDIS_URL", "redis://h")],
            "--public is missing: no channel is open to anyone; give --public 'PATTERN' or a [[channels]] row in the \
             file",
        ),
        (
            "courier --public a",
            &[],
            "--redis is missing: say where messages come from, with --redis URL, or --broker for a broker of \
             courier's own",
        ),
        (
            &with_file,
            &[],
            "--redis and --public are missing: say where messages come from and which channels are open to everyone",
        ),
        (
            "courier --redis redis://h --broker --public a",
            &[],
            "--broker: messages come either from the broker or from Redis (--redis); give one of them",
        ),
        (
            "courier --broker --public a",
            &[("REDIS_URL", "redis://h")],
            "--broker: messages come either from the broker or from Redis (REDIS_URL); give one of them",
        ),
        (
            "courier --redis rediss://h --public a",
            &[],
            "--redis rediss://h: courier speaks no TLS to Redis: run a TLS proxy such as stunnel beside it and give \
             its plain address, as in redis://127.0.0.1:6379",
        ),
        (
            "courier --redis redis://u@h --public a",
            &[],
            "redis.url = redis://u@h:6379: a user needs a password: give redis.password_file",
        ),
        (
            "courier --admin 127.0.0.1:8080",
            &[],
            "server.listen and admin.listen are both 127.0.0.1:8080: give each an address of its own",
        ),
        (
            "courier --listen unix:/x --listen unix:/x,mode=0600",
            &[],
            "server.listen has unix:/x,mode=0600 twice: give each an address of its own",
        ),
        (
            "courier --limits-lag-bytes 2MiB --limits-log-bytes 1MiB",
            &[],
            "limits.lag_bytes = 2MiB: at most limits.log_bytes, which is 1MiB",
        ),
        ("courier publish a\u{1}b x", &[], "the channel name \"a\\u{1}b\" has control characters"),
        (
            "courier subscribe a --url https://h",
            &[],
            "--url https://h: subscribe speaks plain HTTP only; for https use curl -N 'URL/events?channel=NAME'",
        ),
    ] {
        assert_eq!(run(line, environment).unwrap_err(), error, "{line}");
    }
}

#[test]
fn the_flag_wins_over_the_variable_over_the_file_over_the_default() {
    let file = TemporaryFile::new(
        "order.toml",
        "[server]\nlisten = \"127.0.0.1:1\"\n[sse]\nheartbeat = \"1s\"\nretry = \"1s\"\n[redis]\nurl = \"redis://file\"\n\
         [[channels]]\nmatch = \"a.*\"\naccess = \"public\"\npayload = \"envelope\"\n",
    );
    let environment =
        [("COURIER_HEARTBEAT", "2s"), ("COURIER_RETRY", "2s"), ("REDIS_URL", "redis://variable")];
    let line = format!("courier --config {} --retry 3s --public b", file.path());
    let config = serve(&line, &environment);
    assert_eq!(config.listen[0].to_string(), "127.0.0.1:1");
    assert_eq!(config.heartbeat, Some(Duration::from_secs(2)));
    assert_eq!(config.retry, Duration::from_secs(3));
    assert_eq!(config.admin.to_string(), "127.0.0.1:8081");
    let Upstream::Redis(redis) = &config.upstream else { panic!("a Redis") };
    assert_eq!(redis.url.to_string(), "redis://file:6379", "REDIS_URL is only the last resort");
    let rules: Vec<_> = config.rules.iter().map(|rule| (rule.pattern.as_str(), rule.payload)).collect();
    assert_eq!(rules, [("a.*", PayloadMode::Envelope), ("b", PayloadMode::Raw)]);

    let Ok(Command::Print(text)) = run(&format!("{line} --print-config"), &environment) else {
        panic!("a print")
    };
    for (key, origin) in [
        ("server.listen = ", format!("# {}:2", file.path())),
        ("sse.heartbeat = \"2s\"", "# COURIER_HEARTBEAT".into()),
        ("sse.retry = \"3s\"", "# --retry".into()),
        ("admin.listen = ", "# default".into()),
        ("redis.url = \"redis://file\"", format!("# {}:7", file.path())),
        ("[[channels]]", format!("# {}:8", file.path())),
    ] {
        assert!(text.lines().any(|line| line.starts_with(key) && line.ends_with(&origin)), "{key}: {text}");
    }
}

#[test]
fn a_mistake_in_the_file_counts_even_where_a_flag_wins() {
    let file = TemporaryFile::new("wrong.toml", "\n[limits]\nhead_bytes = \"100B\"\n");
    let line = format!("courier --config {} --limits-head-bytes 2KiB", file.path());
    assert_eq!(
        run(&line, &[]).unwrap_err(),
        format!("{}:3: limits.head_bytes = 100B: at least 1KiB", file.path())
    );
}

#[test]
fn what_is_allowed_but_hardly_meant_is_a_warning() {
    let password = TemporaryFile::new("password", "secret\r\n");
    let with_file =
        format!("courier --redis redis://:other@h --public a --redis-password-file {}", password.path());
    for (line, warnings) in [
        (
            "courier --redis redis://:p@h --public a",
            &["--redis: everyone on this machine can read the password"][..],
        ),
        (
            "courier --redis redis://h --public __keyevent@0__:del",
            &["--public: __keyevent@0__:del is a reserved name"],
        ),
        ("courier --redis redis://h --public courier:*", &["--public: courier:* matches nothing"]),
        ("courier --broker 0.0.0.0:6380 --public a", &["--broker: whoever reaches 0.0.0.0:6380 may publish"]),
        (
            &with_file,
            &["--redis: everyone on this machine", "--redis-password-file: the password of the file is used"],
        ),
    ] {
        let config = serve(line, &[]);
        assert_eq!(config.warnings.len(), warnings.len(), "{:?}", config.warnings);
        for (warning, start) in config.warnings.iter().zip(warnings) {
            assert!(warning.starts_with(start), "{warning}");
        }
    }
}

#[test]
fn the_password_comes_from_its_file_without_the_line_end() {
    let file = TemporaryFile::new("secret", "p@ss word\n");
    let environment =
        [("COURIER_REDIS_PASSWORD_FILE", file.0.to_str().unwrap()), ("REDIS_URL", "redis://u@h")];
    let config = serve("courier --public a", &environment);
    let Upstream::Redis(redis) = &config.upstream else { panic!("a Redis") };
    assert_eq!(redis.url.password.as_ref().unwrap().reveal(), "p@ss word");
    assert!(!format!("{config:?}").contains("p@ss"));

    let empty = TemporaryFile::new("empty", "\n");
    let line = format!("courier --public a --redis redis://h --redis-password-file {}", empty.path());
    assert_eq!(
        run(&line, &[]).unwrap_err(),
        format!("--redis-password-file {}: is empty: it holds the password and nothing else", empty.path())
    );
}

#[test]
fn check_config_says_that_all_is_well() {
    let Ok(Command::Print(text)) = run("courier --redis redis://:p@h --public a --check-config", &[]) else {
        panic!("a print");
    };
    assert!(
        text.starts_with("ok: production, 1 channel rule, messages from redis://:***@h:6379\nwarning: "),
        "{text}"
    );
}

#[test]
fn publish_goes_where_the_configuration_points() {
    let file = TemporaryFile::new("publish.toml", "[broker]\nlisten = \"[::]:7000\"\n");
    let with_file = format!("courier publish --config {} demo x", file.path());
    for (line, environment, target) in [
        ("courier publish demo x", &[][..], "redis://127.0.0.1:6380"),
        (
            "courier publish --redis redis://h/2 demo x",
            &[("COURIER_REDIS", "redis://other")],
            "redis://h:6379/2",
        ),
        ("courier publish demo x", &[("REDIS_URL", "redis://h")], "redis://h:6379"),
        ("courier publish demo x", &[("COURIER_BROKER", "unix:/x")], "unix:///x"),
        (&with_file, &[], "redis://[::]:7000"),
    ] {
        let Ok(Command::Publish(publish)) = run(line, environment) else { panic!("{line}") };
        assert_eq!(publish.redis.to_string(), target);
    }
}

#[test]
fn the_banner_has_lines_to_copy() {
    let banner = banner::banner(&serve("courier", &[]), "courier");
    for line in [
        "http://127.0.0.1:8080/",
        "curl -N 'http://127.0.0.1:8080/events?channel=demo'",
        "courier publish demo hello",
        "redis-cli -p 6380 PUBLISH demo hello",
    ] {
        assert!(banner.contains(line), "{banner}");
    }
    let elsewhere = banner::banner(
        &serve("courier --broker [::1]:7000 --listen unix:/run/x.sock", &[]),
        "target/release/courier",
    );
    for line in [
        "curl -N --unix-socket /run/x.sock 'http://courier/events?channel=demo'",
        "target/release/courier publish --redis redis://[::1]:7000 demo hello",
        "redis-cli -h ::1 -p 7000 PUBLISH demo hello",
    ] {
        assert!(elsewhere.contains(line), "{elsewhere}");
    }
    let production =
        banner::banner(&serve("courier --redis redis://:p@h --public a --listen [::]:80", &[]), "courier");
    assert!(
        production.contains("http://[::1]:80/") && production.contains("redis://:***@h:6379"),
        "{production}"
    );
    assert!(!production.contains("courier publish"), "{production}");
}

#[test]
fn the_example_file_is_a_configuration_that_changes_nothing() {
    let uncommented: String = reference::example_file()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    // Redis and the broker exclude each other, as the forms of a key do, and the example's files do not exist here.
    let uncommented = uncommented
        .replace("listen = \"127.0.0.1:6380\"", "")
        .replace("password_file = \"/run/secrets/redis-password\"", "")
        .replace("password_file = \"/run/secrets/broker-password\"", "")
        .replace("token_file = \"/run/secrets/courier-admin-token\"", "")
        .replace("key_file = \"/run/secrets/courier-jwt\"", "")
        .replace("key_file = \"/run/secrets/courier-urls\"", "")
        .replace("jwks_file = \"/run/secrets/jwks.json\"", "")
        .replace("secret_file = \"/run/secrets/courier-control-secret\"", "")
        .replace("secret_file = \"/run/secrets/courier-callback\"", "");
    let file = TemporaryFile::new("example.toml", &uncommented);
    let config = serve(&format!("courier --config {}", file.path()), &[]);
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.rules.len(), 4);
    assert_eq!((config.shards, config.cpus), (Some(4), Some(vec![0, 1, 2, 3])));
}
