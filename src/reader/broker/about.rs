//! Commands about the server: INFO, COMMAND, TIME, and the HELP of commands that have subcommands.

use std::fmt::Write as _;

use crate::base::time::Time;
use crate::reader::broker::command::{self, COMMANDS, Call, Command, Flag, Keys};
use crate::reader::broker::keyspace::DATABASES;
use crate::reader::broker::{Broker, REDIS_VERSION};
use crate::wire::resp::answer::Answer;

impl Broker {
    pub(super) fn info(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let mut text = String::new();
        for (section, write) in SECTIONS {
            let is_asked_for = |word: &[u8]| {
                let word = word.to_ascii_lowercase();
                word == section.to_ascii_lowercase().as_bytes()
                    || [b"default".as_slice(), b"all", b"everything"].contains(&word.as_slice())
            };
            if call.arguments.count() > 1 && !call.arguments.from(1).any(is_asked_for) {
                continue;
            }
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            // Writing to a string cannot fail.
            let _ = write!(text, "# {section}\r\n");
            write(self, call.now, &mut text);
        }
        answer.verbatim(text.as_bytes());
    }

    pub(super) fn time(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let time = self.wall_time(call.now);
        answer.array(2);
        answer.bulk(time.as_secs().to_string().as_bytes());
        answer.bulk(time.subsec_micros().to_string().as_bytes());
    }

    /// COMMAND, and COMMAND INFO with or without names.
    pub(super) fn command(&mut self, call: &Call<'_>, answer: &mut Answer) {
        if call.arguments.count() <= 2 {
            answer.array(COMMANDS.len());
            COMMANDS.iter().for_each(|command| describe(command, answer));
            return;
        }
        answer.array(call.arguments.count() - 2);
        for name in call.arguments.from(2) {
            match command::find_name(name) {
                Some(command) => describe(command, answer),
                None => answer.null_array(),
            }
        }
    }

    pub(super) fn command_count(&mut self, _: &Call<'_>, answer: &mut Answer) {
        answer.count(COMMANDS.len());
    }

    pub(super) fn command_list(&mut self, _: &Call<'_>, answer: &mut Answer) {
        answer.array(COMMANDS.len());
        for command in COMMANDS {
            answer.bulk(command.name.as_bytes());
        }
    }

    pub(super) fn command_docs(&mut self, call: &Call<'_>, answer: &mut Answer) {
        if call.arguments.count() == 2 {
            answer.map(COMMANDS.len());
            COMMANDS.iter().for_each(|command| document(command, answer));
            return;
        }
        let known: Vec<&Command> = call.arguments.from(2).filter_map(command::find_name).collect();
        answer.map(known.len());
        known.into_iter().for_each(|command| document(command, answer));
    }

    /// The HELP of a command that has subcommands.
    pub(super) fn help(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let name = call.arguments.at(0);
        let Some(command) = command::find_name(name) else { return answer.array(0) };
        let name = command.name.to_ascii_uppercase();
        answer.array(1 + 2 * command.subcommands.len());
        answer.simple(&format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
        for subcommand in command.subcommands {
            let word = subcommand.name.rsplit('|').next().unwrap_or_default();
            answer.simple(&word.to_ascii_uppercase());
            answer.simple(&format!("    {}", subcommand.summary));
        }
    }

    fn write_server(&self, now: Time, text: &mut String) {
        let uptime = now.since(self.started_at).as_secs();
        let _ = write!(
            text,
            "redis_version:{REDIS_VERSION}\r\nredis_mode:standalone\r\nserver_name:courier\r\n\
             courier_version:{}\r\nos:Linux\r\narch_bits:64\r\nmultiplexing_api:io_uring\r\n\
             uptime_in_seconds:{uptime}\r\nuptime_in_days:{}\r\n",
            self.options.version,
            uptime / 86_400
        );
    }

    fn write_clients(&self, _: Time, text: &mut String) {
        let subscribers = self.clients.iter().filter(|client| client.subscription_count() > 0).count();
        let _ = write!(
            text,
            "connected_clients:{}\r\nmaxclients:{}\r\npubsub_clients:{subscribers}\r\nblocked_clients:0\r\n",
            self.clients.count(),
            self.options.clients_max
        );
    }

    fn write_memory(&self, _: Time, text: &mut String) {
        let _ = write!(
            text,
            "used_memory:{}\r\nmaxmemory:{}\r\nmaxmemory_policy:noeviction\r\n",
            self.memory.used(),
            self.memory.max()
        );
    }

    fn write_persistence(&self, _: Time, text: &mut String) {
        text.push_str("loading:0\r\nrdb_changes_since_last_save:0\r\naof_enabled:0\r\n");
    }

    fn write_stats(&self, _: Time, text: &mut String) {
        let _ = write!(
            text,
            "total_commands_processed:{}\r\npubsub_channels:{}\r\npubsub_patterns:{}\r\n",
            self.options.counters.cells.broker_commands.get(),
            self.subscriptions.channel_count(),
            self.subscriptions.pattern_count()
        );
    }

    fn write_replication(&self, _: Time, text: &mut String) {
        text.push_str("role:master\r\nconnected_slaves:0\r\n");
    }

    fn write_cluster(&self, _: Time, text: &mut String) {
        text.push_str("cluster_enabled:0\r\n");
    }

    fn write_keyspace(&self, _: Time, text: &mut String) {
        for database in (0..DATABASES).filter(|&database| self.keyspace.count(database) > 0) {
            let keys = self.keyspace.count(database);
            let expires = self.keyspace.expiry_count(database);
            let _ = write!(text, "db{database}:keys={keys},expires={expires},avg_ttl=0\r\n");
        }
    }
}

type WriteSection = fn(&Broker, Time, &mut String);

const SECTIONS: [(&str, WriteSection); 8] = [
    ("Server", Broker::write_server),
    ("Clients", Broker::write_clients),
    ("Memory", Broker::write_memory),
    ("Persistence", Broker::write_persistence),
    ("Stats", Broker::write_stats),
    ("Replication", Broker::write_replication),
    ("Cluster", Broker::write_cluster),
    ("Keyspace", Broker::write_keyspace),
];

/// One entry of COMMAND: ten fields, as in Redis 7.
fn describe(command: &Command, answer: &mut Answer) {
    answer.array(10);
    answer.bulk(command.name.as_bytes());
    answer.integer(i64::from(command.arity));
    let flags: Vec<&str> = command.flags.iter().copied().filter_map(Flag::name).collect();
    answer.set(flags.len());
    flags.into_iter().for_each(|flag| answer.simple(flag));
    let (first, last, step) = match command.keys {
        Keys::None => (0, 0, 0),
        Keys::One => (1, 1, 1),
        Keys::All => (1, -1, 1),
    };
    for number in [first, last, step] {
        answer.integer(number);
    }
    // Access categories, tips and key specifications: there are none.
    answer.set(0);
    answer.array(0);
    answer.array(0);
    answer.array(command.subcommands.len());
    command.subcommands.iter().for_each(|subcommand| describe(subcommand, answer));
}

/// One entry of COMMAND DOCS.
fn document(command: &Command, answer: &mut Answer) {
    answer.bulk(command.name.as_bytes());
    let fields = [("summary", command.summary), ("since", command.since), ("group", command.group)];
    answer.map(fields.len() + usize::from(!command.subcommands.is_empty()));
    for (key, value) in fields {
        answer.bulk(key.as_bytes());
        answer.bulk(value.as_bytes());
    }
    if !command.subcommands.is_empty() {
        answer.bulk(b"subcommands");
        answer.map(command.subcommands.len());
        command.subcommands.iter().for_each(|subcommand| document(subcommand, answer));
    }
}
