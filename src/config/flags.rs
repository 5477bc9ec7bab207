//! The command line: clap's view of the options table, and its errors in one line each.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use clap::builder::{NonEmptyStringValueParser, OsStringValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgGroup, ArgMatches};

use crate::access::Right;
use crate::base::version::{REVISION, VERSION};
use crate::config::PublishPayload;
use crate::config::error::ConfigError;
use crate::config::nearest::nearest;
use crate::config::settings::Flags;
use crate::config::table::{Group, Key, Kind, Row, TABLE};

/// What a command line says, not looked at any further.
#[derive(Debug)]
pub enum Invocation {
    Serve {
        flags: Flags,
        action: Action,
    },
    Publish {
        flags: Flags,
        channel: String,
        payload: PublishPayload,
    },
    Subscribe {
        url: String,
        channels: Vec<String>,
    },
    /// `--check-config --channel NAME`: who gets in there, and why.
    Explain {
        flags: Flags,
        /// What `--as` says.
        shown: Option<String>,
        channels: Vec<String>,
        right: Right,
    },
    Sign {
        flags: Flags,
        channels: Vec<String>,
        expires: String,
        user: String,
        right: Right,
    },
    Disconnect {
        flags: Flags,
        target: Target,
        keep_away: Option<String>,
    },
    /// Help or version: text for stdout.
    Print(String),
}

/// Whom `courier disconnect` is about.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    User(String),
    Channel(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Run,
    PrintConfig,
    CheckConfig,
}

/// Reads a command line; the first argument is the program's name.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, ConfigError> {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return Ok(Invocation::Print(error.render().to_string()));
        }
        Err(error) => return Err(one_line(&error)),
    };
    let flags = given(&matches, TABLE.iter());
    let Some((name, inner)) = matches.subcommand() else {
        return serve_or_explain(&matches, flags);
    };
    if let Some((key, _)) = flags.first() {
        let flag = key.row().flag();
        return Err(ConfigError::new(format!(
            "{flag}: flags stand after the subcommand: courier {name} {flag} ..."
        )));
    }
    Ok(match name {
        PUBLISH => Invocation::Publish {
            flags: given(inner, publish_rows()),
            channel: text(inner, CHANNEL),
            payload: payload(inner),
        },
        SIGN => Invocation::Sign {
            flags: given(inner, sign_rows()),
            channels: channels(inner),
            expires: text(inner, EXPIRES),
            user: text(inner, USER),
            right: right(inner),
        },
        DISCONNECT => Invocation::Disconnect {
            flags: given(inner, disconnect_rows()),
            target: match inner.get_one::<String>(USER) {
                Some(user) => Target::User(user.clone()),
                None => Target::Channel(text(inner, CHANNEL)),
            },
            keep_away: inner.get_one::<String>(FOR).cloned(),
        },
        _ => Invocation::Subscribe { url: text(inner, URL), channels: channels(inner) },
    })
}

fn serve_or_explain(matches: &ArgMatches, flags: Flags) -> Result<Invocation, ConfigError> {
    let action = action(matches);
    let (shown, channels) = (matches.get_one::<String>(AS).cloned(), channels(matches));
    let right = right(matches);
    match (action, channels.is_empty()) {
        (Action::CheckConfig, false) => Ok(Invocation::Explain { flags, shown, channels, right }),
        (Action::Run | Action::PrintConfig, false) => Err(ConfigError::new(format!(
            "--{CHANNEL}: goes with --{CHECK_CONFIG}, which then says who gets in there"
        ))),
        (_, true) if shown.is_some() || right == Right::Publish => Err(ConfigError::new(format!(
            "--{CHANNEL} is missing: courier --{CHECK_CONFIG} --{AS} TOKEN --{CHANNEL} NAME says who gets in there"
        ))),
        (action, true) => Ok(Invocation::Serve { flags, action }),
    }
}

/// The whole command, for the parser and for `--help`.
pub fn command() -> clap::Command {
    let mut command = clap::Command::new("courier")
        .about("Delivers messages published in Redis to very many web clients.")
        .version(format!("{VERSION} ({REVISION})"))
        .override_usage(
            "courier [OPTIONS]\n       courier publish CHANNEL [DATA|-]\n       courier subscribe CHANNEL...\n       \
             courier sign --channel NAME --expires TIME\n       \
             courier disconnect --user USER | --channel CHANNEL [--for TIME]",
        )
        .after_help(AFTER_HELP)
        .term_width(HELP_COLUMNS)
        .disable_help_subcommand(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .subcommand(publish_command())
        .subcommand(subscribe_command())
        .subcommand(sign_command())
        .subcommand(disconnect_command());
    for group in Group::ALL {
        for row in group.rows() {
            command = command.arg(argument(row).help_heading(group.heading()).hide(is_hidden(row)));
        }
    }
    command
        .arg(switch(PRINT_CONFIG, "Show every option's value and where it came from, and exit."))
        .arg(switch(CHECK_CONFIG, "Say whether the configuration is right, and exit; with --channel NAME [--as TOKEN], who gets in there, and why."))
        .arg(
            option(CHANNEL, "NAME", "With --check-config: who gets into this channel, and why.")
                .action(ArgAction::Append),
        )
        .arg(option(AS, "TOKEN", "With --channel: for who shows this token, @FILE or -."))
        .arg(switch(PUBLISH, "With --channel: to publish, not to listen.").hide(true))
        .args([help_flag(), version_flag()].map(|flag| flag.help_heading(Group::General.heading())))
}

/// Help shall stay short; and of a secret, its file is the better place.
fn is_hidden(row: &Row) -> bool {
    row.group.is_hidden() || row.kind == Kind::Secret
}

/// clap's own, but a member of the group of general options; disabling clap's holds for the subcommands too.
fn help_flag() -> Arg {
    Arg::new("help").short('h').long("help").action(ArgAction::Help).help("Show this.")
}

fn version_flag() -> Arg {
    Arg::new("version")
        .short('V')
        .long("version")
        .action(ArgAction::Version)
        .help("Show the version and the commit.")
}

fn publish_command() -> clap::Command {
    let command = clap::Command::new(PUBLISH)
        .arg(help_flag())
        .about("Publish one message and print how many subscribers took it.")
        .override_usage("courier publish [OPTIONS] CHANNEL [DATA|-]")
        .after_help(PUBLISH_HELP)
        .term_width(HELP_COLUMNS)
        .arg(Arg::new(CHANNEL).value_name("CHANNEL").required(true).help("The channel's name."))
        .arg(
            Arg::new(DATA)
                .value_name("DATA")
                .value_parser(OsStringValueParser::new())
                .allow_negative_numbers(true)
                .help("The message. Not given or -: all of stdin."),
        );
    publish_rows().fold(command, |command, row| command.arg(argument(row)))
}

fn subscribe_command() -> clap::Command {
    clap::Command::new(SUBSCRIBE)
        .arg(help_flag())
        .about("Print the messages of channels; reconnect and resume.")
        .override_usage("courier subscribe [OPTIONS] CHANNEL...")
        .after_help(SUBSCRIBE_HELP)
        .term_width(HELP_COLUMNS)
        .arg(
            Arg::new(CHANNEL).value_name("CHANNEL").required(true).num_args(1..).help("The channels' names."),
        )
        .arg(
            Arg::new(URL)
                .long(URL)
                .value_name("URL")
                .default_value("http://127.0.0.1:8080")
                .help("Where courier serves clients."),
        )
}

fn sign_command() -> clap::Command {
    let command = clap::Command::new(SIGN)
        .arg(help_flag())
        .about("Print the query of a signed URL.")
        .override_usage("courier sign [OPTIONS] --channel NAME --expires TIME")
        .after_help(SIGN_HELP)
        .term_width(HELP_COLUMNS)
        .arg(
            plain(CHANNEL, "NAME", "A channel, in the order of the URL. Repeatable.")
                .required(true)
                .action(ArgAction::Append),
        )
        .arg(plain(EXPIRES, "TIME", "How long the URL shall hold, as in 1h.").required(true))
        .arg(plain(USER, "USER", "As whom it lets in."))
        .arg(
            Arg::new(PUBLISH)
                .long(PUBLISH)
                .action(ArgAction::SetTrue)
                .help("For POST /publish, not for a stream."),
        );
    sign_rows().fold(command, |command, row| command.arg(argument(row)))
}

fn plain(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

/// One that the help of another explains.
fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    plain(name, value, help).hide(true)
}

/// What `sign` needs of the options: the secret, which has no place in a list of processes.
fn sign_rows() -> impl Iterator<Item = &'static Row> {
    [Key::SignedUrlKeyFile, Key::Config].into_iter().map(Key::row)
}

fn disconnect_command() -> clap::Command {
    let option = |name: &'static str, placeholder: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name(placeholder)
            .value_parser(NonEmptyStringValueParser::new())
            .help(help)
    };
    let command = clap::Command::new(DISCONNECT)
        .arg(help_flag())
        .about("End the streams of a user or of a channel at every courier.")
        .override_usage("courier disconnect [OPTIONS] --user USER | --channel CHANNEL")
        .after_help(DISCONNECT_HELP)
        .term_width(HELP_COLUMNS)
        .arg(option(USER, "USER", "Those of this user."))
        .arg(option(CHANNEL, "CHANNEL", "Those that listen to this channel, and to whatever else."))
        .arg(option(FOR, "TIME", "Keep them away for so long, as in 10m. Not given: they may come back."))
        .group(ArgGroup::new("whom").args([USER, CHANNEL]).required(true));
    disconnect_rows().fold(command, |command, row| command.arg(argument(row)))
}

fn disconnect_rows() -> impl Iterator<Item = &'static Row> {
    publish_rows().chain([Key::ControlSecret, Key::ControlSecretFile].map(Key::row))
}

/// What `publish` needs of the options: where the messages go.
fn publish_rows() -> impl Iterator<Item = &'static Row> {
    [Key::RedisUrl, Key::RedisPasswordFile, Key::BrokerPasswordFile, Key::Config].into_iter().map(Key::row)
}

fn argument(row: &Row) -> Arg {
    let help = match row.default {
        Some(default) => format!("{} [default: {default}]", row.help),
        None => row.help.to_owned(),
    };
    let argument = Arg::new(row.flag).long(row.flag).value_name(row.kind.placeholder()).help(help);
    match row.default {
        Some(default) if row.is_switch() => argument.num_args(0..=1).default_missing_value(default),
        _ if row.kind.is_list() => argument.action(ArgAction::Append),
        _ => argument,
    }
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help).help_heading(Group::General.heading())
}

fn given(matches: &ArgMatches, rows: impl Iterator<Item = &'static Row>) -> Flags {
    rows.filter_map(|row| {
        let texts: Vec<String> = matches.get_many(row.flag)?.cloned().collect();
        Some((row.key, texts))
    })
    .collect()
}

fn action(matches: &ArgMatches) -> Action {
    match (matches.get_flag(PRINT_CONFIG), matches.get_flag(CHECK_CONFIG)) {
        (true, _) => Action::PrintConfig,
        (false, true) => Action::CheckConfig,
        (false, false) => Action::Run,
    }
}

fn channels(matches: &ArgMatches) -> Vec<String> {
    matches.get_many(CHANNEL).into_iter().flatten().cloned().collect()
}

fn right(matches: &ArgMatches) -> Right {
    if matches.get_flag(PUBLISH) { Right::Publish } else { Right::Subscribe }
}

fn text(matches: &ArgMatches, name: &str) -> String {
    matches.get_one::<String>(name).cloned().unwrap_or_default()
}

fn payload(matches: &ArgMatches) -> PublishPayload {
    match matches.get_one::<OsString>(DATA) {
        Some(data) if data != "-" => PublishPayload::Argument(data.clone().into_vec()),
        Some(_) | None => PublishPayload::Stdin,
    }
}

/// clap explains over several lines; one has to do.
fn one_line(error: &clap::Error) -> ConfigError {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.split(' ').next().unwrap_or_default().to_owned(),
        Some(ContextValue::Strings(texts)) => texts.join(" "),
        _ => String::new(),
    };
    let argument = context(ContextKind::InvalidArg);
    ConfigError::new(match error.kind() {
        ErrorKind::UnknownArgument if argument.starts_with('-') => unknown_flag(&argument),
        ErrorKind::UnknownArgument => no_subcommand(&argument),
        ErrorKind::InvalidSubcommand => no_subcommand(&context(ContextKind::InvalidSubcommand)),
        ErrorKind::InvalidValue if context(ContextKind::InvalidValue).is_empty() => {
            format!("{argument}: the value is missing")
        }
        ErrorKind::ArgumentConflict if argument == context(ContextKind::PriorArg) => {
            format!("{argument}: takes one value, not several")
        }
        ErrorKind::MissingRequiredArgument => {
            format!("{argument} is missing; courier --help shows what to give")
        }
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".to_owned(),
        _ => {
            let text = error.render().to_string();
            text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
        }
    })
}

fn no_subcommand(name: &str) -> String {
    format!(
        "{name}: no such subcommand; courier {PUBLISH}, {SUBSCRIBE}, {SIGN} and {DISCONNECT} are those there are"
    )
}

fn unknown_flag(flag: &str) -> String {
    let flags: Vec<String> = TABLE
        .iter()
        .map(Row::flag)
        .chain(
            [PRINT_CONFIG, CHECK_CONFIG, CHANNEL, AS, PUBLISH, EXPIRES, USER, URL, "help", "version"]
                .map(|name| format!("--{name}")),
        )
        .collect();
    match nearest(flag, flags.iter().map(String::as_str)) {
        Some(near) => format!("{flag}: no such flag; did you mean {near}?"),
        None => format!("{flag}: no such flag; courier --help lists them"),
    }
}

const PUBLISH: &str = "publish";
const SUBSCRIBE: &str = "subscribe";
const SIGN: &str = "sign";
const AS: &str = "as";
const EXPIRES: &str = "expires";
const USER: &str = "user";
const DISCONNECT: &str = "disconnect";
const CHANNEL: &str = "channel";
const FOR: &str = "for";
const DATA: &str = "data";
const URL: &str = "url";
const PRINT_CONFIG: &str = "print-config";
const CHECK_CONFIG: &str = "check-config";

const HELP_COLUMNS: usize = 80;

const AFTER_HELP: &str = "\
Without --redis, --public and --config courier starts in try-out mode: a broker \
of its own, every channel open, and only this machine can reach it.

Every option is also a variable (--redis-password-file is \
COURIER_REDIS_PASSWORD_FILE) and a key of the file (courier.example.toml). \
A flag wins over the variable, the variable over the file. Access by token, \
limits and timeouts are options too: --print-config shows all of them.";

const PUBLISH_HELP: &str = "\
Goes to --redis, to the Redis or broker of COURIER_REDIS, COURIER_BROKER, \
REDIS_URL or --config, or else to the broker of a courier in try-out mode, \
127.0.0.1:6380.

Exit codes: 0 published, 1 not published, 2 wrong usage or configuration.";

const DISCONNECT_HELP: &str = "\
Publishes an order, signed with --control-secret-file or COURIER_CONTROL_SECRET, \
to where courier publish goes, and prints how many couriers were told. Their \
streams end with the event courier-close. While they are kept away, a request \
is answered 204, on which an EventSource stops for good.

Exit codes: 0 published, 1 not published, or no courier takes orders; 2 wrong \
usage or configuration.";

const SUBSCRIBE_HELP: &str = "\
Prints the data of each message; with several channels, the channel's name and \
a space before it. Gaps and reconnects are told on stderr.

Exit codes: 0 nothing will follow (204), or stdout was closed; 1 the server \
refuses; 2 wrong usage.";

const SIGN_HELP: &str = "\
Prints channel=..&expires=..&signature=.., to be put behind /events?. The secret \
is that of signed_url.key_file or signed_url.key, or of the row of --config that \
lets signed URLs into the channel; it may also come by COURIER_SIGNED_URL_KEY, \
but not as an argument, which others can read.";

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Result<Invocation, String> {
        parse(line.split(' ').map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_row_of_the_table_is_a_flag() {
        for row in &TABLE {
            let value = row.default.unwrap_or("x");
            let Ok(Invocation::Serve { flags, .. }) = run(&format!("courier --{} {value}", row.flag)) else {
                panic!("--{}", row.flag);
            };
            assert_eq!(flags, [(row.key, vec![value.to_owned()])]);
        }
    }

    #[test]
    fn lists_are_repeated_and_broker_may_stand_alone() {
        let Ok(Invocation::Serve { flags, action }) =
            run("courier --broker --public a --public b --print-config")
        else {
            panic!("a valid line");
        };
        assert_eq!(action, Action::PrintConfig);
        assert_eq!(
            flags,
            [
                (Key::BrokerListen, vec!["127.0.0.1:6380".to_owned()]),
                (Key::Public, vec!["a".to_owned(), "b".to_owned()]),
            ]
        );
    }

    #[test]
    fn subcommands_are_read() {
        let Ok(Invocation::Publish { flags, channel, payload }) =
            run("courier publish --redis redis://h demo -5")
        else {
            panic!("a valid line");
        };
        assert_eq!(flags, [(Key::RedisUrl, vec!["redis://h".to_owned()])]);
        assert_eq!((channel.as_str(), payload), ("demo", PublishPayload::Argument(b"-5".to_vec())));
        for line in ["courier publish demo", "courier publish demo -"] {
            assert!(matches!(run(line), Ok(Invocation::Publish { payload: PublishPayload::Stdin, .. })));
        }
        let Ok(Invocation::Subscribe { url, channels }) = run("courier subscribe a b") else {
            panic!("a valid line");
        };
        assert_eq!((url.as_str(), channels), ("http://127.0.0.1:8080", vec!["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn mistakes_are_one_line_with_the_remedy() {
        for (line, expected) in [
            ("courier --lisen x", "--lisen: no such flag; did you mean --listen?"),
            (
                "courier --limits-head-byte x",
                "--limits-head-byte: no such flag; did you mean --limits-head-bytes?",
            ),
            ("courier --tls-certificate x", "--tls-certificate: no such flag; courier --help lists them"),
            ("courier --redis", "--redis: the value is missing"),
            ("courier --redis redis://a --redis redis://b", "--redis: takes one value, not several"),
            (
                "courier serve",
                "serve: no such subcommand; courier publish, subscribe, sign and disconnect are those there are",
            ),
            (
                "courier --redis redis://h publish a b",
                "--redis: flags stand after the subcommand: courier publish --redis ...",
            ),
            ("courier publish", "<CHANNEL> is missing; courier --help shows what to give"),
            ("courier subscribe", "<CHANNEL>... is missing; courier --help shows what to give"),
        ] {
            assert_eq!(run(line).unwrap_err(), expected, "{line}");
        }
    }

    #[test]
    fn help_is_short_and_fits_a_terminal() {
        for line in [
            "courier --help",
            "courier -h",
            "courier publish --help",
            "courier subscribe --help",
            "courier sign --help",
            "courier disconnect --help",
        ] {
            let Ok(Invocation::Print(help)) = run(line) else { panic!("{line}") };
            for row in help.lines() {
                assert!(row.chars().count() <= 80, "{row}");
            }
            assert!(help.lines().count() <= 90, "{line} is {} lines", help.lines().count());
            assert!(!help.contains("--limits-") && !help.contains("--jwt-"));
        }
    }

    #[test]
    fn the_version_names_the_commit() {
        let Ok(Invocation::Print(version)) = run("courier --version") else { panic!("a valid line") };
        assert_eq!(version, format!("courier {VERSION} ({REVISION})\n"));
    }
}
