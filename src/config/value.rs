//! The values of options: text in, value or the sentence that says what to write out.
//!
//! A number that means time or bytes carries its unit; which unit a bare number has is the oldest trap of such files.

use std::path::PathBuf;
use std::time::Duration;

use crate::access::jwt::{BadTemplate, Template};
use crate::access::{AllowedOrigins, BadOrigin, BadPattern, BadRange, Pattern, TrustedProxies};
use crate::base::channel::ChannelName;
use crate::base::limits::{KIB, MIB, SECRET_BYTES_LEAST};
use crate::base::secret::Secret;
use crate::config::address::ListenAddress;
use crate::config::app_url::AppUrl;
use crate::config::redis_url::RedisUrl;
use crate::config::table::{CPU_MAX, Kind};

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Address(ListenAddress),
    Addresses(Vec<ListenAddress>),
    RedisUrl(RedisUrl),
    AppUrl(AppUrl),
    /// In lower case, each once.
    Fields(Vec<String>),
    Secret(Secret),
    Patterns(Vec<Pattern>),
    Origins(AllowedOrigins),
    Proxies(TrustedProxies),
    File(PathBuf),
    Cpus(Vec<usize>),
    Count(usize),
    Duration(Duration),
    Size(usize),
    /// The index of the word.
    Choice(usize),
    Text(String),
    Template(Template),
}

/// Why a text is no value, and which of the texts that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadValue {
    pub text: String,
    pub remedy: String,
}

impl Kind {
    /// The value of an option that was given as these texts: several if the kind is a list, else one.
    pub fn parse(self, texts: &[String]) -> Result<Value, BadValue> {
        if texts.is_empty() {
            return Err(BadValue { text: "[]".into(), remedy: "an empty list: give at least one".into() });
        }
        if self.is_list() {
            return self.parse_list(texts);
        }
        match texts {
            [text] => self.parse_one(text).map_err(|remedy| BadValue { text: shown(self, text), remedy }),
            [_, second, ..] => {
                Err(BadValue { text: shown(self, second), remedy: "takes one value, not several".into() })
            }
            [] => unreachable!("the list is not empty"),
        }
    }

    fn parse_list(self, texts: &[String]) -> Result<Value, BadValue> {
        match self {
            Self::Addresses => parse_each(texts, ListenAddress::parse).map(Value::Addresses),
            Self::Patterns => parse_each(texts, parse_pattern).map(Value::Patterns),
            Self::Proxies => parse_proxies(texts).map(Value::Proxies),
            Self::Fields => parse_each(texts, parse_field).map(without_repeats).map(Value::Fields),
            _ => parse_origins(texts).map(Value::Origins),
        }
    }

    fn parse_one(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Address => ListenAddress::parse(text).map(Value::Address),
            Self::RedisUrl => RedisUrl::parse(text).map(Value::RedisUrl),
            Self::Secret => parse_secret(text).map(Value::Secret),
            Self::AppUrl => AppUrl::parse(text).map(Value::AppUrl),
            Self::File if text.is_empty() => Err("the path is empty".into()),
            Self::File => Ok(Value::File(PathBuf::from(text))),
            Self::Cpus => parse_cpus(text).map(Value::Cpus),
            Self::Count { least, most } => parse_count(text, least, most).map(Value::Count),
            Self::Duration { least, most, zero } => {
                parse_duration_in(text, least, most, zero).map(Value::Duration)
            }
            Self::Size { least, most } => parse_size_in(text, least, most).map(Value::Size),
            Self::Choice(words) => parse_choice(text, words).map(Value::Choice),
            Self::Text => parse_text(text).map(Value::Text),
            Self::CookieName => parse_cookie_name(text).map(Value::Text),
            Self::Template => parse_template(text).map(Value::Template),
            Self::Addresses | Self::Patterns | Self::Origins | Self::Proxies | Self::Fields => {
                unreachable!("a list")
            }
        }
    }
}

/// `15s` and the like, as an operator writes it.
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0s".into(),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
        _ => format!("{millis}ms"),
    }
}

/// `64KiB` and the like.
pub fn show_size(bytes: usize) -> String {
    match SIZE_UNITS.iter().rev().find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

/// A value as an error line or a page shows it: no secret, and a URL without the password that it may carry.
pub fn shown(kind: Kind, text: &str) -> String {
    match kind {
        Kind::RedisUrl => {}
        Kind::Secret => return HIDDEN.to_owned(),
        _ => return text.to_owned(),
    }
    let start = text.find("://").map_or(0, |at| at + 3);
    match (text[start..].rfind('@'), text[start..].find(':')) {
        (Some(end), Some(colon)) if colon < end => {
            format!("{}:***{}", &text[..start + colon], &text[start + end..])
        }
        _ => text.to_owned(),
    }
}

fn parse_text(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("the text is empty".into());
    }
    if text.contains(char::is_control) {
        return Err("a text without control characters".into());
    }
    Ok(text.to_owned())
}

/// RFC 6265, section 4.1.1: a token of RFC 9110.
fn parse_cookie_name(text: &str) -> Result<String, String> {
    let is_token_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_token_byte) {
        return Err("a cookie's name has letters, digits and -_., as in courier_access_token".into());
    }
    Ok(text.to_owned())
}

fn parse_template(text: &str) -> Result<Template, String> {
    Template::parse(text).map_err(|bad| match bad {
        BadTemplate::Empty => "a template is not empty; user.{sub} is a channel for each user".into(),
        BadTemplate::Brace => {
            "a claim stands in braces, as in user.{sub}; a brace of the channel's name is written twice"
                .into()
        }
        BadTemplate::NoClaim => "name the claim in the braces, as in user.{sub}".into(),
        BadTemplate::Special => {
            "of a glob a template has only * and ?; [ and \\ could reach into a claim's value".into()
        }
        BadTemplate::TooLong => format!("a channel name has at most {} bytes", ChannelName::BYTES_MAX),
        BadTemplate::ControlCharacter => {
            "no channel name has control characters, so this would never match".into()
        }
    })
}

fn parse_each<T>(texts: &[String], parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, BadValue> {
    texts.iter().map(|text| parse(text).map_err(|remedy| BadValue { text: text.clone(), remedy })).collect()
}

/// A secret that may be worth guessing at is not a short one.
pub fn parse_secret(text: &str) -> Result<Secret, String> {
    if text.len() < SECRET_BYTES_LEAST {
        return Err(format!("at least {SECRET_BYTES_LEAST} characters, as openssl rand -hex 32 makes them"));
    }
    Ok(Secret::new(text.to_owned()))
}

/// A Redis glob over channel names, or what is wrong with it.
pub fn parse_pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|bad| match bad {
        BadPattern::Empty => "a pattern is not empty; '*' is every channel".into(),
        BadPattern::TooLong => format!("a channel name has at most {} bytes", ChannelName::BYTES_MAX),
        BadPattern::ControlCharacter => {
            "no channel name has control characters, so this would never match".into()
        }
    })
}

/// The name of a field of the client's request that may be sent along.
fn parse_field(text: &str) -> Result<String, String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_token) {
        return Err("the name of a header field, as in authorization".into());
    }
    let name = text.to_ascii_lowercase();
    match &*name {
        "cookie" => Err("Cookie is always sent; leave it out".into()),
        name if OWN_FIELDS.contains(&name) => {
            Err("courier writes this field itself, since it is about its own exchange with the application"
                .into())
        }
        _ => Ok(name),
    }
}

/// Fields about one exchange or connection: not the client's, but courier's own.
const OWN_FIELDS: [&str; 16] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-courier-signature",
];

fn without_repeats(names: Vec<String>) -> Vec<String> {
    let mut kept = Vec::new();
    for name in names {
        if !kept.contains(&name) {
            kept.push(name);
        }
    }
    kept
}

fn parse_origins(texts: &[String]) -> Result<AllowedOrigins, BadValue> {
    let origins = || texts.iter().flat_map(|text| text.split([',', ' '])).filter(|origin| !origin.is_empty());
    if origins().next().is_none() {
        return Err(BadValue {
            text: "\"\"".into(),
            remedy: "give at least one origin, or * for all".into(),
        });
    }
    AllowedOrigins::parse(origins()).map_err(|bad| {
        // Which of them it is: the list is read again one by one; only `*` among others is no fault of a single one.
        let wrong = origins().find(|origin| AllowedOrigins::parse([*origin]).is_err()).unwrap_or("*");
        BadValue { text: wrong.to_owned(), remedy: origin_remedy(bad) }
    })
}

fn origin_remedy(bad: BadOrigin) -> String {
    match bad {
        BadOrigin::AnyAmongOthers => "* stands alone: it already allows every origin".into(),
        BadOrigin::Scheme => "an origin starts with https:// or http://, as in https://app.example".into(),
        BadOrigin::Host => {
            "an origin is scheme and host, as in https://app.example or https://*.app.example: no path, no slash at \
             the end"
                .into()
        }
        BadOrigin::Port => "the port of an origin is a number, as in http://localhost:3000".into(),
    }
}

fn parse_proxies(texts: &[String]) -> Result<TrustedProxies, BadValue> {
    let ranges = || texts.iter().flat_map(|text| text.split([',', ' '])).filter(|range| !range.is_empty());
    if ranges().eq(["none"]) {
        return Ok(TrustedProxies::default());
    }
    let parse = |range| {
        TrustedProxies::parse([range])
            .map_err(|bad| BadValue { text: String::from(range), remedy: range_remedy(&bad) })
    };
    if let Some(bad) = ranges().find_map(|range| parse(range).err()) {
        return Err(bad);
    }
    let remedy = "give at least one range, or none for nobody";
    let trusted =
        TrustedProxies::parse(ranges()).ok().filter(|trusted| *trusted != TrustedProxies::default());
    trusted.ok_or_else(|| BadValue { text: "\"\"".into(), remedy: remedy.into() })
}

fn range_remedy(bad: &BadRange) -> String {
    match bad {
        BadRange::Address => {
            "a proxy is an address or a range, as in 192.0.2.1 or 10.0.0.0/8, or unix".into()
        }
        BadRange::Prefix => "behind the slash is how many bits count: 0 to 32, of IPv6 0 to 128".into(),
        BadRange::Host(meant) => format!("there are bits behind the prefix; did you mean {meant}?"),
    }
}

fn parse_cpus(text: &str) -> Result<Vec<usize>, String> {
    let remedy = || "a list of CPU numbers and ranges, as in 0-3,8".to_owned();
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (digits(first).ok_or_else(remedy)?, digits(last).ok_or_else(remedy)?);
        if first > last {
            return Err(format!("{part} runs backwards; write {last}-{first}"));
        }
        if last > CPU_MAX {
            return Err(format!("Linux numbers CPUs from 0 to {CPU_MAX}"));
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(cpus)
}

fn parse_count(text: &str, least: usize, most: usize) -> Result<usize, String> {
    let number = digits(text).ok_or_else(|| "a whole number without a unit".to_owned())?;
    in_range(number, least, most, |number| number.to_string())
}

fn parse_duration_in(text: &str, least: Duration, most: Duration, zero: bool) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    if zero && duration.is_zero() {
        return Ok(duration);
    }
    in_range(duration, least, most, show_duration)
        .map_err(|remedy| if zero { format!("{remedy}, or 0s") } else { remedy })
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let at = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let millis = DURATION_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, millis)| millis);
    match (digits(number), millis) {
        (Some(_), None) if unit.is_empty() => {
            Err(format!("a duration needs its unit, as in {number}s or {number}ms"))
        }
        (Some(number), Some(millis)) => Ok(Duration::from_millis((number as u64).saturating_mul(*millis))),
        _ => Err("a duration is a whole number and ms, s, m or h, as in 15s or 250ms".into()),
    }
}

fn parse_size_in(text: &str, least: usize, most: usize) -> Result<usize, String> {
    let at = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let factor = SIZE_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| factor);
    match (digits(number), factor) {
        (Some(_), None) if unit.is_empty() => {
            Err(format!("a size needs its unit, as in {number}KiB or {number}B"))
        }
        (Some(number), Some(factor)) => in_range(number.saturating_mul(*factor), least, most, show_size),
        _ => Err("a size is a whole number and B, KiB, MiB or GiB, as in 64KiB".into()),
    }
}

fn parse_choice(text: &str, words: &[&str]) -> Result<usize, String> {
    words.iter().position(|word| *word == text).ok_or_else(|| format!("one of {}", words.join(", ")))
}

fn in_range<T: PartialOrd>(value: T, least: T, most: T, show: impl Fn(T) -> String) -> Result<T, String> {
    if value < least {
        return Err(format!("at least {}", show(least)));
    }
    if value > most {
        return Err(format!("at most {}", show(most)));
    }
    Ok(value)
}

/// Digits only: no sign, no separator. Too many saturate, and fail the range.
fn digits(text: &str) -> Option<usize> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(usize::MAX))
}

/// What stands for a secret.
const HIDDEN: &str = "***";
const DURATION_UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
const SIZE_UNITS: [(&str, usize); 4] = [("B", 1), ("KiB", KIB), ("MiB", MIB), ("GiB", 1_024 * MIB)];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: Kind, text: &str) -> Result<Value, String> {
        kind.parse(&[text.to_owned()]).map_err(|bad| bad.remedy)
    }

    const HEARTBEAT: Kind =
        Kind::Duration { least: Duration::from_millis(100), most: Duration::from_secs(3_600), zero: true };
    const HEAD: Kind = Kind::Size { least: KIB, most: 64 * KIB };

    #[test]
    fn durations_and_sizes_carry_their_unit() {
        for (text, millis) in [("15s", 15_000), ("250ms", 250), ("2m", 120_000), ("1h", 3_600_000), ("0s", 0)]
        {
            assert_eq!(parse(HEARTBEAT, text), Ok(Value::Duration(Duration::from_millis(millis))), "{text}");
            assert_eq!(show_duration(Duration::from_millis(millis)), text);
        }
        for (text, bytes) in [("1024B", 1_024), ("1KiB", 1_024), ("64KiB", 65_536)] {
            assert_eq!(parse(HEAD, text), Ok(Value::Size(bytes)), "{text}");
        }
        for (bytes, text) in
            [(0, "0B"), (100, "100B"), (1_536, "1536B"), (65_536, "64KiB"), (3 << 30, "3GiB")]
        {
            assert_eq!(show_size(bytes), text);
        }
    }

    #[test]
    fn a_wrong_value_says_what_to_write() {
        for (kind, text, remedy) in [
            (HEARTBEAT, "15", "a duration needs its unit, as in 15s or 15ms"),
            (HEARTBEAT, "0", "a duration needs its unit, as in 0s or 0ms"),
            (HEARTBEAT, "1.5s", "a duration is a whole number and ms, s, m or h, as in 15s or 250ms"),
            (HEARTBEAT, "15 s", "a duration is a whole number and ms, s, m or h, as in 15s or 250ms"),
            (HEARTBEAT, "-1s", "a duration is a whole number and ms, s, m or h, as in 15s or 250ms"),
            (HEARTBEAT, "", "a duration is a whole number and ms, s, m or h, as in 15s or 250ms"),
            (HEARTBEAT, "1ms", "at least 100ms, or 0s"),
            (HEARTBEAT, "99999999999999999999999h", "at most 1h, or 0s"),
            (HEAD, "8", "a size needs its unit, as in 8KiB or 8B"),
            (HEAD, "8k", "a size is a whole number and B, KiB, MiB or GiB, as in 64KiB"),
            (HEAD, "100B", "at least 1KiB"),
            (HEAD, "1GiB", "at most 64KiB"),
            (HEAD, "99999999999999999999GiB", "at most 64KiB"),
            (Kind::Count { least: 1, most: 9 }, "0", "at least 1"),
            (Kind::Count { least: 1, most: 9 }, "10", "at most 9"),
            (Kind::Count { least: 1, most: 9 }, "+1", "a whole number without a unit"),
            (Kind::Count { least: 1, most: 9 }, "auto", "a whole number without a unit"),
            (Kind::Choice(&["text", "json"]), "JSON", "one of text, json"),
            (Kind::Cpus, "0-", "a list of CPU numbers and ranges, as in 0-3,8"),
            (Kind::Cpus, "", "a list of CPU numbers and ranges, as in 0-3,8"),
            (Kind::Cpus, "3-1", "3-1 runs backwards; write 1-3"),
            (Kind::Cpus, "0-8192", "Linux numbers CPUs from 0 to 8191"),
            (Kind::Patterns, "", "a pattern is not empty; '*' is every channel"),
            (Kind::File, "", "the path is empty"),
        ] {
            assert_eq!(parse(kind, text), Err(remedy.to_owned()), "{text}");
        }
    }

    #[test]
    fn cpus_are_a_set() {
        assert_eq!(parse(Kind::Cpus, "8,0-3,2"), Ok(Value::Cpus(vec![0, 1, 2, 3, 8])));
    }

    #[test]
    fn origins_are_a_list_or_all() {
        assert_eq!(parse(Kind::Origins, "*"), Ok(Value::Origins(AllowedOrigins::Any)));
        let two = AllowedOrigins::parse(["https://a.example", "http://localhost:3000"]).unwrap();
        assert_eq!(
            parse(Kind::Origins, "https://a.example, http://localhost:3000"),
            Ok(Value::Origins(two.clone()))
        );
        let texts = ["https://a.example".to_owned(), "http://localhost:3000".to_owned()];
        assert_eq!(Kind::Origins.parse(&texts), Ok(Value::Origins(two)));
        for (text, wrong, remedy) in [
            ("https://a.example/", "https://a.example/", "no slash at the end"),
            ("https://a.example,a.example", "a.example", "starts with https://"),
            ("null", "null", "starts with https://"),
            ("http://a:x", "http://a:x", "the port of an origin is a number"),
            ("*,https://a.example", "*", "* stands alone"),
            (",", "\"\"", "give at least one origin"),
        ] {
            let bad = Kind::Origins.parse(&[text.to_owned()]).unwrap_err();
            assert_eq!(bad.text, wrong);
            assert!(bad.remedy.contains(remedy), "{text}: {}", bad.remedy);
        }
    }

    #[test]
    fn proxies_are_a_list_of_ranges() {
        let trusted = TrustedProxies::parse(["10.0.0.0/8", "unix"]).unwrap();
        assert_eq!(parse(Kind::Proxies, "10.0.0.0/8, unix"), Ok(Value::Proxies(trusted)));
        assert_eq!(parse(Kind::Proxies, "none"), Ok(Value::Proxies(TrustedProxies::default())));
        for (text, wrong, remedy) in [
            (
                "unix,nginx",
                "nginx",
                "a proxy is an address or a range, as in 192.0.2.1 or 10.0.0.0/8, or unix",
            ),
            (
                "10.0.0.0/64",
                "10.0.0.0/64",
                "behind the slash is how many bits count: 0 to 32, of IPv6 0 to 128",
            ),
            ("10.0.0.1/8", "10.0.0.1/8", "there are bits behind the prefix; did you mean 10.0.0.0/8?"),
            (",", "\"\"", "give at least one range, or none for nobody"),
        ] {
            let bad = Kind::Proxies.parse(&[text.to_owned()]).unwrap_err();
            assert_eq!((bad.text.as_str(), bad.remedy.as_str()), (wrong, remedy));
        }
    }

    #[test]
    fn texts_cookies_and_templates_are_checked() {
        assert_eq!(parse(Kind::CookieName, "__Host-token"), Ok(Value::Text("__Host-token".into())));
        assert!(matches!(parse(Kind::Template, "user.{sub}"), Ok(Value::Template(_))));
        for (kind, text, remedy) in [
            (Kind::Text, "", "is empty"),
            (Kind::Text, "a\nb", "without control characters"),
            (Kind::CookieName, "", "a cookie's name has"),
            (Kind::CookieName, "a b", "a cookie's name has"),
            (Kind::CookieName, "a=b", "a cookie's name has"),
            (Kind::Secret, "hunter2", "at least 16 characters"),
            (Kind::Template, "", "is not empty"),
            (Kind::Template, "user.{sub", "stands in braces"),
            (Kind::Template, "user.sub}", "stands in braces"),
            (Kind::Template, "user.{{sub}", "stands in braces"),
            (Kind::Template, "user.{}", "name the claim"),
            (Kind::Template, "user.\\{sub}", "only * and ?"),
            (Kind::Template, "user.[{sub}]", "only * and ?"),
            (Kind::Template, "a\t", "control characters"),
        ] {
            let told = parse(kind, text).unwrap_err();
            assert!(told.contains(remedy), "{text}: {told}");
        }
    }

    #[test]
    fn a_secret_is_shown_nowhere() {
        let secret = "hunter2 hunter2 hunter2";
        assert_eq!(shown(Kind::Secret, secret), "***");
        let value = Kind::Secret.parse(&[secret.to_owned()]).unwrap();
        assert!(!format!("{value:?}").contains("hunter"));
        let twice = Kind::Secret.parse(&[secret.to_owned(), secret.to_owned()]).unwrap_err();
        assert!(!format!("{twice:?}").contains("hunter"));
        let short = Kind::Secret.parse(&["hunter2".to_owned()]).unwrap_err();
        assert!(!format!("{short:?}").contains("hunter"));
    }

    #[test]
    fn a_password_is_not_shown_even_in_a_url_that_is_wrong() {
        for (text, expected) in [
            ("redis://u:secret@h:x", "redis://u:***@h:x"),
            ("http://:secret@h", "http://:***@h"),
            ("u:secret@h", "u:***@h"),
            ("redis://u:se@cret@h", "redis://u:***@h"),
            ("redis://h:x", "redis://h:x"),
        ] {
            assert_eq!(shown(Kind::RedisUrl, text), expected);
        }
    }
}
