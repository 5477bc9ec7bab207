//! The table of commands: what Redis's `COMMAND` says of them, when they may be called, and who carries them out.

use crate::base::socket::SocketKey;
use crate::base::time::Time;
use crate::reader::broker::Broker;
use crate::wire::resp::answer::Answer;
use crate::wire::resp::request::Arguments;

#[derive(Debug)]
pub(super) struct Command {
    /// In lower case; of a subcommand, with its command: `client|list`.
    pub(super) name: &'static str,
    /// As Redis counts: the command's own words included; negative for "at least".
    pub(super) arity: i32,
    pub(super) flags: &'static [Flag],
    pub(super) keys: Keys,
    pub(super) group: &'static str,
    pub(super) since: &'static str,
    pub(super) summary: &'static str,
    pub(super) handler: Handler,
    pub(super) subcommands: &'static [Self],
}

/// One call of a command. Its client's row stays while it is carried out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) now: Time,
    pub(super) client: SocketKey,
    pub(super) command: &'static Command,
    pub(super) arguments: Arguments<'a>,
}

pub(super) type Handler = for<'a> fn(&mut Broker, &Call<'a>, &mut Answer);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flag {
    Write,
    ReadOnly,
    DenyOom,
    Fast,
    PubSub,
    /// May be called before the client has logged in.
    NoAuth,
    /// May be called by a RESP2 client that is subscribed. Redis has no word for it.
    WhileSubscribed,
    /// Is carried out at once between MULTI and EXEC. Redis has no word for it.
    NotQueued,
}

/// Which arguments are keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    None,
    /// The first.
    One,
    /// All.
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotFound {
    Command,
    /// The command exists and is this; its subcommand does not.
    Subcommand(&'static Command),
}

impl Command {
    pub(super) fn has(&self, flag: Flag) -> bool {
        self.flags.contains(&flag)
    }

    /// Whether it can be called with so many arguments, its name included.
    pub(super) fn takes(&self, count: usize) -> bool {
        let wanted = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { count >= wanted } else { count == wanted }
    }
}

impl PartialEq for Command {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Command {}

impl Flag {
    /// Redis's word for it.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::Write => Some("write"),
            Self::ReadOnly => Some("readonly"),
            Self::DenyOom => Some("denyoom"),
            Self::Fast => Some("fast"),
            Self::PubSub => Some("pubsub"),
            Self::NoAuth => Some("no_auth"),
            Self::WhileSubscribed | Self::NotQueued => None,
        }
    }
}

// Hot: once per command.
/// The command, or subcommand, that these arguments call.
pub(super) fn find(arguments: &Arguments<'_>) -> Result<&'static Command, NotFound> {
    let command = find_name(arguments.at(0)).ok_or(NotFound::Command)?;
    if command.subcommands.is_empty() || arguments.count() == 1 {
        return Ok(command);
    }
    find_subcommand(command, arguments.at(1)).ok_or(NotFound::Subcommand(command))
}

/// The command of this name, in any case.
pub(super) fn find_name(name: &[u8]) -> Option<&'static Command> {
    let mut lower = [0_u8; NAME_BYTES];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let index = COMMANDS.binary_search_by(|command| command.name.as_bytes().cmp(lower)).ok()?;
    Some(&COMMANDS[index])
}

fn find_subcommand(command: &'static Command, name: &[u8]) -> Option<&'static Command> {
    // "client|list" without "client|".
    let start = command.name.len() + 1;
    command
        .subcommands
        .iter()
        .find(|subcommand| subcommand.name.as_bytes()[start..].eq_ignore_ascii_case(name))
}

/// Longer than every name in the table.
const NAME_BYTES: usize = 16;

macro_rules! commands {
    ($($name:literal $arity:literal $keys:ident [$($flag:ident)*] $group:literal $since:literal $handler:ident
       $summary:literal $({ $($sub:tt)+ })?)+) => {
        &[$(Command {
            name: $name,
            arity: $arity,
            flags: &[$(Flag::$flag,)*],
            keys: Keys::$keys,
            group: $group,
            since: $since,
            summary: $summary,
            handler: Broker::$handler,
            subcommands: commands!(@sub $($($sub)+)?),
        },)+]
    };
    (@sub) => { &[] };
    (@sub $($sub:tt)+) => { commands!($($sub)+) };
}

/// Sorted by name.
pub(super) static COMMANDS: &[Command] = commands! {
    "auth" -2 None [Fast NoAuth] "connection" "1.0.0" auth
        "Authenticate to the server"
    "client" -2 None [] "connection" "2.4.0" help
        "A container for client connection commands" {
        "client|getname" 2 None [] "connection" "2.6.9" client_getname
            "Get the current connection name"
        "client|help" 2 None [] "connection" "5.0.0" help
            "Show helpful text about the different subcommands"
        "client|id" 2 None [] "connection" "5.0.0" client_id
            "Returns the client ID for the current connection"
        "client|info" 2 None [] "connection" "6.2.0" client_info
            "Returns information about the current client connection."
        "client|list" -2 None [] "connection" "2.4.0" client_list
            "Get the list of client connections"
        "client|no-evict" 3 None [] "connection" "7.0.0" client_no_evict
            "Set client eviction mode for the current connection"
        "client|no-touch" 3 None [] "connection" "7.2.0" client_no_touch
            "Controls whether commands sent by the client will alter the LRU/LFU of the keys they access."
        "client|setinfo" 4 None [] "connection" "7.2.0" client_setinfo
            "Set client or connection specific info"
        "client|setname" 3 None [] "connection" "2.6.9" client_setname
            "Set the current connection name"
    }
    "command" -1 None [] "server" "2.8.13" command
        "Get array of Redis command details" {
        "command|count" 2 None [] "server" "2.8.13" command_count
            "Get total number of Redis commands"
        "command|docs" -2 None [] "server" "7.0.0" command_docs
            "Get array of specific Redis command documentation"
        "command|help" 2 None [] "server" "5.0.0" help
            "Show helpful text about the different subcommands"
        "command|info" -2 None [] "server" "2.8.13" command
            "Get array of specific Redis command details, or all when no argument is given."
        "command|list" 2 None [] "server" "7.0.0" command_list
            "Get an array of Redis command names"
    }
    "dbsize" 1 None [ReadOnly Fast] "server" "1.0.0" dbsize
        "Return the number of keys in the selected database"
    "del" -2 All [Write] "generic" "1.0.0" del
        "Delete a key"
    "discard" 1 None [Fast NotQueued] "transactions" "2.0.0" discard
        "Discard all commands issued after MULTI"
    "echo" 2 None [Fast] "connection" "1.0.0" echo
        "Echo the given string"
    "exec" 1 None [NotQueued] "transactions" "1.2.0" exec
        "Execute all commands issued after MULTI"
    "exists" -2 All [ReadOnly Fast] "generic" "1.0.0" exists
        "Determine if a key exists"
    "expire" -3 One [Write Fast] "generic" "1.0.0" expire
        "Set a key's time to live in seconds"
    "flushall" -1 None [Write] "server" "1.0.0" flushall
        "Remove all keys from all databases"
    "flushdb" -1 None [Write] "server" "1.0.0" flushdb
        "Remove all keys from the current database"
    "get" 2 One [ReadOnly Fast] "string" "1.0.0" get
        "Get the value of a key"
    "hello" -1 None [Fast NoAuth] "connection" "6.0.0" hello
        "Handshake with Redis"
    "info" -1 None [] "server" "1.0.0" info
        "Get information and statistics about the server"
    "multi" 1 None [Fast NotQueued] "transactions" "1.2.0" multi
        "Mark the start of a transaction block"
    "persist" 2 One [Write Fast] "generic" "2.2.0" persist
        "Remove the expiration from a key"
    "pexpire" -3 One [Write Fast] "generic" "2.6.0" pexpire
        "Set a key's time to live in milliseconds"
    "ping" -1 None [Fast WhileSubscribed] "connection" "1.0.0" ping
        "Ping the server"
    "psetex" 4 One [Write DenyOom] "string" "2.6.0" psetex
        "Set the value and expiration in milliseconds of a key"
    "psubscribe" -2 None [PubSub WhileSubscribed] "pubsub" "2.0.0" psubscribe
        "Listen for messages published to channels matching the given patterns"
    "pttl" 2 One [ReadOnly Fast] "generic" "2.6.0" pttl
        "Get the time to live for a key in milliseconds"
    "publish" 3 None [PubSub Fast] "pubsub" "2.0.0" publish_command
        "Post a message to a channel"
    "pubsub" -2 None [] "pubsub" "2.8.0" help
        "A container for Pub/Sub commands" {
        "pubsub|channels" -2 None [PubSub] "pubsub" "2.8.0" pubsub_channels
            "List active channels"
        "pubsub|help" 2 None [] "pubsub" "6.2.0" help
            "Show helpful text about the different subcommands"
        "pubsub|numpat" 2 None [PubSub] "pubsub" "2.8.0" pubsub_numpat
            "Get the count of unique patterns pattern subscriptions"
        "pubsub|numsub" -2 None [PubSub] "pubsub" "2.8.0" pubsub_numsub
            "Get the count of subscribers for channels"
    }
    "punsubscribe" -1 None [PubSub WhileSubscribed] "pubsub" "2.0.0" punsubscribe
        "Stop listening for messages posted to channels matching the given patterns"
    "quit" -1 None [Fast NoAuth WhileSubscribed NotQueued] "connection" "1.0.0" quit
        "Close the connection"
    "reset" 1 None [Fast NoAuth WhileSubscribed NotQueued] "connection" "6.2.0" reset
        "Reset the connection"
    "select" 2 None [Fast] "connection" "1.0.0" select
        "Change the selected database for the current connection"
    "set" -3 One [Write DenyOom] "string" "1.0.0" set
        "Set the string value of a key"
    "setex" 4 One [Write DenyOom] "string" "2.0.0" setex
        "Set the value and expiration of a key"
    "setnx" 3 One [Write DenyOom Fast] "string" "1.0.0" setnx
        "Set the value of a key, only if the key does not exist"
    "subscribe" -2 None [PubSub WhileSubscribed] "pubsub" "2.0.0" subscribe
        "Listen for messages published to the given channels"
    "time" 1 None [Fast] "server" "2.6.0" time
        "Return the current server time"
    "ttl" 2 One [ReadOnly Fast] "generic" "1.0.0" ttl
        "Get the time to live for a key in seconds"
    "unlink" -2 All [Write Fast] "generic" "4.0.0" del
        "Delete a key asynchronously in another thread. Otherwise it is just as DEL, but non blocking."
    "unsubscribe" -1 None [PubSub WhileSubscribed] "pubsub" "2.0.0" unsubscribe
        "Stop listening for messages posted to the given channels"
    "unwatch" 1 None [Fast] "transactions" "2.2.0" unwatch
        "Forget about all watched keys"
    "watch" -2 All [Fast NotQueued] "transactions" "2.2.0" watch
        "Watch the given keys to determine execution of the MULTI/EXEC block"
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_sorted_by_name_and_found_in_any_case() {
        assert!(COMMANDS.is_sorted_by(|one, other| one.name < other.name));
        for command in COMMANDS {
            assert!(command.name.len() <= NAME_BYTES);
            assert_eq!(find_name(command.name.as_bytes()), Some(command));
            assert_eq!(find_name(command.name.to_ascii_uppercase().as_bytes()), Some(command));
            for subcommand in command.subcommands {
                assert!(subcommand.name.starts_with(&format!("{}|", command.name)), "{}", subcommand.name);
            }
        }
        for name in [b"".as_slice(), b"ge", b"gets", b"client|list", &[b'a'; 1_000]] {
            assert_eq!(find_name(name), None);
        }
    }
}
