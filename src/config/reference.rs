//! The pages that are made from the options table: `courier.example.toml` and `docs/reference/options.md`.

use std::fmt::Write;

use crate::config::print::quoted;
use crate::config::rows;
use crate::config::table::{Group, Key, Kind, Row, TABLE};
use crate::config::value::{show_duration, show_size};

/// A configuration file with every option, all of them comments.
pub fn example_file() -> String {
    let mut text = String::from(EXAMPLE_HEAD);
    for table in tables() {
        let _ = write!(text, "\n[{table}]\n");
        for row in TABLE.iter().filter(|row| table_of(row) == Some(table)) {
            let key = row.file_key.and_then(|key| key.split_once('.')).map_or("", |(_, key)| key);
            text.push_str(&comment(row.help));
            let _ = writeln!(text, "#{key} = {}", example_value(row));
        }
    }
    text.push_str(&EXAMPLE_CHANNELS.replace("{history}", &rows::standard_history()));
    text
}

/// The reference page.
pub fn options_page() -> String {
    let mut text = String::from(PAGE_HEAD);
    for group in Group::ALL {
        let _ = write!(text, "\n## {}\n\n", group.heading());
        text.push_str("| Flag | Key in the file | Variable | Default | Value | |\n");
        text.push_str("| --- | --- | --- | --- | --- | --- |\n");
        for row in group.rows() {
            let key = row.file_key.map_or_else(String::new, |key| format!("`{key}`"));
            let default = row.default.map_or_else(String::new, |default| format!("`{default}`"));
            let cells = [
                format!("`--{}`", row.flag),
                key,
                format!("`{}`", row.variable()),
                default,
                values(row.kind),
                row.help.replace('|', "\\|"),
            ];
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
    }
    text.push_str(&PAGE_CHANNELS.replace("{history}", &rows::standard_history()));
    text
}

/// The tables of the file, in the order of their first option.
fn tables() -> Vec<&'static str> {
    let mut tables = Vec::new();
    for table in TABLE.iter().filter_map(table_of) {
        if !tables.contains(&table) {
            tables.push(table);
        }
    }
    tables
}

fn table_of(row: &Row) -> Option<&'static str> {
    row.file_key.and_then(|key| key.split_once('.')).map(|(table, _)| table)
}

/// The default, or for an option without one a value that shows its shape.
fn example_value(row: &Row) -> String {
    let text = row.default.unwrap_or(match row.key {
        Key::RedisUrl => "redis://127.0.0.1:6379",
        Key::RedisPasswordFile => "/run/secrets/redis-password",
        Key::BrokerPasswordFile => "/run/secrets/broker-password",
        Key::AdminToken => "a-text-of-16-characters-or-more",
        Key::ControlSecret => "a-text-of-16-characters-or-more",
        Key::ControlSecretFile => "/run/secrets/courier-control-secret",
        Key::AdminTokenFile => "/run/secrets/courier-admin-token",
        Key::JwtKey | Key::SignedUrlKey => "a-text-of-32-characters-or-more.",
        Key::JwtKeyFile => "/run/secrets/courier-jwt",
        Key::JwtJwksFile => "/run/secrets/jwks.json",
        Key::JwtAudience => "courier",
        Key::JwtIssuer => "https://app.example",
        Key::JwtTemplate => "user.{sub}",
        Key::SignedUrlKeyFile => "/run/secrets/courier-urls",
        Key::CallbackUrl => "http://127.0.0.1:8000/courier",
        Key::CallbackHeaders => "authorization",
        Key::CallbackSecretFile => "/run/secrets/courier-callback",
        Key::CallbackSecret => "a long random text",
        Key::Cpus => "0-3",
        Key::Shards => "4",
        _ => "0",
    });
    match row.kind {
        Kind::Count { .. } => text.to_owned(),
        kind if kind.is_list() => format!("[{}]", quoted(text)),
        _ => quoted(text),
    }
}

/// What a value may be, in words.
fn values(kind: Kind) -> String {
    match kind {
        Kind::Address => "address".into(),
        Kind::Addresses => "addresses".into(),
        Kind::RedisUrl | Kind::AppUrl => "URL".into(),
        Kind::Fields => "header names".into(),
        Kind::Secret => "text".into(),
        Kind::Patterns => "patterns".into(),
        Kind::Origins => "origins".into(),
        Kind::Proxies => "ranges".into(),
        Kind::File => "path".into(),
        Kind::Cpus => "CPU list".into(),
        Kind::Count { least, most } => format!("{least} to {most}"),
        Kind::Duration { least, most, zero } => {
            format!(
                "{} to {}{}",
                show_duration(least),
                show_duration(most),
                if zero { ", or `0s`" } else { "" }
            )
        }
        Kind::Size { least, most } => format!("{} to {}", show_size(least), show_size(most)),
        Kind::Text => "text".into(),
        Kind::CookieName => "cookie name".into(),
        Kind::Template => "template".into(),
        Kind::Choice(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
    }
}

/// The text as lines of a comment.
fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::from("#");
    for word in text.split(' ') {
        if line.len() + 1 + word.len() > COMMENT_COLUMNS {
            lines.push_str(&line);
            lines.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    lines + &line + "\n"
}

const COMMENT_COLUMNS: usize = 100;

const EXAMPLE_HEAD: &str = "\
# Every option of courier, with its default where it has one. Use it with courier --config courier.toml, and
# check it with courier --config courier.toml --check-config. A flag or a variable wins over this file.
#
# This file is made from the table of options in src/config/table.rs (make reference).
";

const EXAMPLE_CHANNELS: &str = "
# Who may listen to which channels. The first row that matches decides; a channel that no row matches is refused.
# match is a Redis glob; it never matches names that start with __ or courier:, which are opened by exact name only.
# access is \"public\" (everyone), \"closed\" (nobody: takes names out of a wider row that follows), or a list of ways
# in, of which the first that lets a request in counts: \"jwt\", \"signed-url\", \"callback\" and \"session\" (whom the
# application at callback.url lets in). jwt = { .. }, signed_url = { .. }, callback = { .. } and session = { .. } are that
# row's own values of the options of these tables.
# publish is who may publish over HTTP (POST /publish), in the same words; nobody if it is left out. It does not bind the
# application, which publishes in Redis or on the admin side.
# history is how much is kept for those who come back; whichever bound is reached first drops the oldest message.
# payload is \"raw\" (the message is the event's data) or \"envelope\" (a JSON object with data, event, id and retry).
# slow is what happens to a client that reads too slowly: \"disconnect\" (it resumes by its last id) or \"latest\" (it is
# told of a gap and goes on with the newest message).

#[[channels]]
#match = \"news.internal.*\"
#access = \"closed\"

#[[channels]]
#match = \"user.*\"
#access = [\"jwt\"]
#jwt = { template = \"user.{sub}\" }

#[[channels]]
#match = \"chat.*\"
#access = \"callback\"
#callback = { url = \"http://127.0.0.1:8000/courier\", headers = [\"authorization\"] }

#[[channels]]
#match = \"news.*\"
#access = \"public\"
#publish = \"closed\"
#history = {history}
#payload = \"raw\"
#slow = \"disconnect\"
";

const PAGE_HEAD: &str = "\
# Options

<!-- Made from the table of options in src/config/table.rs: make reference. -->

An option has three spellings: a flag, a variable and a key of the file that `--config` names. If it is given in
several places, the flag wins over the variable, the variable over the file, the file over the default.
`courier --print-config` shows every value and where it came from; `courier --check-config` says whether all is right.

- A time is a whole number and its unit: `250ms`, `15s`, `2m`, `1h`. A size is a whole number and its unit: `100B`,
  `64KiB`, `16MiB`, `1GiB`. A bare number is refused where a unit belongs.
- An address is `127.0.0.1:8080`, `[::]:8080` (every interface) or `unix:/run/courier.sock,mode=0660`.
- An option that takes several values is repeated as a flag, is a list in the file, and in a variable its values are
  separated by spaces.
- A variable that is set to nothing counts as not set. A variable that starts with `COURIER_` and is no option, and an
  unknown key in the file, are errors (but for those that Kubernetes sets for a service of that name).
- A mistake ends the start with exit code 2 and one line that names the place and the remedy.

Without `--redis`, `--public` and `--config`, in any spelling, courier is in try-out mode: it has a broker of its own,
every channel is open to everyone, and it refuses to listen anywhere but on this machine.
";

const PAGE_CHANNELS: &str = "
## Channel rules

```toml
[[channels]]
match = \"news.*\"      # a Redis glob
access = \"public\"     # public: everyone may listen; closed: nobody; else a list: [\"jwt\", \"signed-url\", ..]
publish = \"closed\"    # who may publish over HTTP, in the same words; closed if it is left out
history = {history}
payload = \"raw\"       # raw: the message is the event's data; envelope: a JSON object {data, event, id, retry}
slow = \"disconnect\"   # disconnect: a slow reader is closed and resumes by its id; latest: it skips, told of a gap
```

The first row that matches a channel decides; a channel that no row matches is refused. `--public PATTERN` adds a row
`access = \"public\"` behind those of the file, with what a row has that says no more. A pattern never matches names that start with `__` or
`courier:`; those are opened by their exact name only, with a warning.

`publish` is who may publish in the channel with `POST /publish` of the web side; while no row lets anybody, there is no such
resource. It does not bind the application, which publishes in Redis, in the embedded broker, or with
`POST /publish` of the admin side: see [publishing](../guide/publishing.md).

`access` and `publish` take one way in or a list of them, and the first that lets a request in counts: `jwt`, a token
that the application has signed; `signed-url`, a URL that it has signed; `callback` and
`session`, whom the application lets in when it is asked. A row has these options of its own in the
tables `jwt` and `signed_url`, which have the keys of the tables of the same name above; what a row leaves out is as
there. A row that names a key in any form takes no key from there.

```toml
[[channels]]
match = \"partner.*\"
access = [\"jwt\", \"signed-url\"]
jwt = { algorithm = \"RS256\", key_file = \"/run/secrets/partner.pem\", audience = \"courier\", template = \"partner.{org}.*\" }
signed_url = { key_file = \"/run/secrets/partner-urls\" }
```

[Access](../guide/access.md) says how to use them.

`callback` and `session` ask the application at `callback.url`; what it is asked and what it may answer stands in
[../guide/callback.md](../guide/callback.md). A row asks elsewhere, or sends other headers, by a member of the same name:
`callback = { url = \"http://127.0.0.1:8000/chat\", headers = [\"authorization\"] }`, `session = { url = \"..\" }`.

`history` is what courier keeps of each channel, in memory, for clients that come back or ask for what was: at most so
many messages, payload bytes, and so old. Whichever bound is reached first drops the oldest message; the newest stays
whatever its size. Members that are left out have the values above, which are also those of a row without `history`;
`history = { count = 0 }` keeps nothing. A channel that nobody listens to any more is heard for as long as its history
reaches back, and for a minute at least. All histories together have a bound as well, `limits.history_bytes`: there the
channel with the oldest message loses its history first.

`slow` is what happens to a client that does not read as fast as its channel speaks, when what is kept for it reaches
`limits.lag_bytes`, or all that a shard keeps reaches `limits.log_bytes`. With `disconnect` its connection ends, it comes back
with its last id and gets from the history what it missed. With `latest` the connection stays: when the client reads
again, it is told of one gap (`courier-gap`, reason `lagged`) and goes on with the newest message. That suits channels of
which only the last message counts: prices, positions, progress. What a client listens to beside it loses nothing by it.

## Memory

The bounds of `limits` say what courier may come to hold when many things go wrong at once; at rest it holds a small part of
that. Those of a shard count for each of them. Beside them count the kernel's buffers of connections whose clients do not
read: two and a half times `limits.send_buffer_bytes` each, as far as `net.ipv4.tcp_mem` lets all of them. Where the sum is more than the
machine has, or than a control group leaves it (`memory.max`), courier warns at its start, and names the options to lower.

## Redis

`redis://[user[:password]@]host[:port][/database]` or `unix://[user[:password]@]/path[?db=database]`; user and password
percent-encoded. `rediss://` is refused: put a TLS proxy such as stunnel beside courier. A password belongs into
`redis.password_file`; as part of a flag it can be read in the list of processes, and courier warns.
";
