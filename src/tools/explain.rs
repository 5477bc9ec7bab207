//! `courier --check-config --channel NAME [--as TOKEN]`: which rule decides, what each of its ways in says and why.
//!
//! Decides by the same code as the server, with the keys as they are now. A token in the list of processes can be
//! read by others: `@FILE` and `-` keep it out. Nothing of what is shown but what the token itself says is printed.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use crate::access::jwt::{Claims, Header, Parts};
use crate::access::{Account, Credentials, Denial, Gate, Right, Rules, Verdict};
use crate::base::limits::KEY_FILE_BYTES;
use crate::base::time::UnixTime;
use crate::config::{ExplainCommand, rows};
use crate::driver::files;
use crate::driver::sys::time;

/// 0: let in; 1: refused.
pub fn run(command: &ExplainCommand) -> ExitCode {
    let shown = match command.shown.as_deref().map(read).transpose() {
        Ok(shown) => shown,
        Err(sentence) => {
            eprintln!("courier: --as: {sentence}");
            return ExitCode::from(2);
        }
    };
    let (text, is_granted) = explain(command, shown.as_deref(), time::unix_now());
    let _ = io::stdout().write_all(text.as_bytes());
    if is_granted { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What to print, and whether the request is let in.
pub fn explain(command: &ExplainCommand, shown: Option<&str>, now: UnixTime) -> (String, bool) {
    let ExplainCommand { config, channels, right, .. } = command;
    let gate = Gate::new(Rules::new(config.rules.clone())).asking(config.endpoints.clone());
    let gate = Gate { keys: Arc::new(config.keys.clone()), ..gate };
    let bearer;
    let mut credentials = Credentials::default();
    match shown {
        // No token has the sign, and no query is without.
        Some(query) if query.contains('=') => {
            credentials.query = query.trim_start_matches("/events").trim_start_matches('?').as_bytes();
        }
        Some(token) => {
            bearer = format!("Bearer {token}");
            credentials.authorization = Some(bearer.as_bytes());
        }
        None => {}
    }
    let mut text = String::new();
    if let Some(token) = credentials.bearer() {
        text.push_str(&contents(token, now));
    }
    for account in gate.explain(*right, channels, &credentials, now) {
        tell(&account, command, now, &mut text);
    }
    let verb = match right {
        Right::Subscribe => "listen",
        Right::Publish => "publish",
    };
    match gate.decide(*right, channels, &credentials, now) {
        Verdict::Granted(grant) => {
            let user =
                grant.user.map_or_else(|| "nobody in particular".to_owned(), |user| format!("user {user}"));
            let end =
                grant.expires.map_or_else(|| "for ever".to_owned(), |end| format!("for {}", from(now, end)));
            let _ = writeln!(text, "granted: may {verb}, as {user}, {end}");
            (text, true)
        }
        Verdict::Ask(asked) => {
            for question in asked.questions {
                let _ = writeln!(text, "asks: {} decides", gate.endpoint(question.endpoint));
            }
            (text, false)
        }
        Verdict::Refused(refusal) => {
            let _ = writeln!(text, "refused: {} {}", refusal.status(), refusal.code());
            (text, false)
        }
    }
}

fn tell(account: &Account<'_>, command: &ExplainCommand, now: UnixTime, text: &mut String) {
    let Some(place) = account.rule else {
        let _ = writeln!(text, "{}: no rule matches", account.channel);
        return;
    };
    let (rule, origin) = (&command.config.rules[place], &command.config.rule_origins[place]);
    let pattern = rule.pattern.as_str();
    let _ = writeln!(text, "{}: rule {} decides: {pattern} ({origin})", account.channel, place + 1);
    if account.tried.is_empty() {
        text.push_str("  closed: nobody gets in\n");
    }
    for (way, said) in &account.tried {
        let word = rows::way_word(*way);
        let _ = match said {
            Err(denial @ Denial::Asks) => writeln!(text, "  {word}: {}", denial.reason()),
            Err(denial) => writeln!(text, "  {word}: no, {}", denial.reason()),
            Ok(grant) => {
                let user = grant.user.as_ref().map_or_else(String::new, |user| format!(", user {user}"));
                let end = grant.expires.map_or_else(String::new, |end| format!(", for {}", from(now, end)));
                writeln!(text, "  {word}: yes{user}{end}")
            }
        };
    }
}

/// What a token says of itself, whether it is true or not.
fn contents(token: &[u8], now: UnixTime) -> String {
    let parts = Parts::split(token);
    let header = parts.and_then(|parts| Header::read(parts.header));
    let claims = parts.and_then(|parts| Claims::read(parts.payload).ok());
    let mut text = String::from("token:");
    if let Some(header) = &header {
        let _ = write!(text, " alg {}", header.algorithm.escape_debug());
        if let Some(id) = &header.key_id {
            let _ = write!(text, ", kid {}", id.escape_debug());
        }
    }
    if let Some(claims) = &claims {
        if let Some(user) = &claims.user {
            let _ = write!(text, ", sub {user}");
        }
        if let Some(expires) = claims.expires {
            let _ = match expires > now {
                true => write!(text, ", exp in {}", from(now, expires)),
                false => write!(text, ", exp {} ago", from(expires, now)),
            };
        }
    }
    if header.is_none() && claims.is_none() {
        text.push_str(" cannot be read");
    }
    text.push('\n');
    text
}

/// The time between two, in its two greatest units.
fn from(begin: UnixTime, end: UnixTime) -> String {
    let secs = end.since(begin).as_secs();
    match secs {
        0..60 => format!("{secs} s"),
        60..3_600 => format!("{} min {} s", secs / 60, secs % 60),
        3_600..86_400 => format!("{} h {} min", secs / 3_600, secs / 60 % 60),
        _ => format!("{} d {} h", secs / 86_400, secs / 3_600 % 24),
    }
}

fn read(shown: &str) -> Result<String, String> {
    let text = match shown.strip_prefix('@') {
        Some(path) => {
            files::read(Path::new(path), KEY_FILE_BYTES).map_err(|remedy| format!("{path} {remedy}"))?
        }
        None if shown == "-" => {
            let mut text = String::new();
            let limit = u64::try_from(KEY_FILE_BYTES).unwrap_or(u64::MAX);
            io::stdin()
                .lock()
                .take(limit)
                .read_to_string(&mut text)
                .map_err(|error| format!("stdin: {error}"))?;
            text
        }
        None => shown.to_owned(),
    };
    Ok(text.trim().to_owned())
}
