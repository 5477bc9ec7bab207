//! Commands about the connection itself: HELLO, AUTH, SELECT, CLIENT, PING, ECHO, RESET, QUIT.

use crate::reader::broker::Broker;
use crate::reader::broker::REDIS_VERSION;
use crate::reader::broker::clients::Client;
use crate::reader::broker::command::Call;
use crate::reader::broker::keyspace::DATABASES;
use crate::reader::broker::text;
use crate::reader::broker::transaction::Transaction;
use crate::wire::resp::answer::Answer;
use crate::wire::resp::{Protocol, parse_integer};

/// What a HELLO asks for.
#[derive(Debug, Clone, Copy, Default)]
struct Hello<'a> {
    protocol: Option<Protocol>,
    login: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a [u8]>,
}

impl Broker {
    pub(super) fn hello(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let hello = match Hello::parse(call) {
            Ok(hello) => hello,
            Err(text) => return answer.error(&text),
        };
        if let Some((user, password)) = hello.login {
            if !self.is_right_password(user, password) {
                return answer.error(text::WRONG_PASSWORD);
            }
            self.client(call.client).is_logged_in = true;
        }
        let client = self.client(call.client);
        if !client.is_logged_in {
            return answer.error(text::LOGIN_REQUIRED_BY_HELLO);
        }
        if let Some(name) = hello.name {
            client.name = name.into();
        }
        if let Some(protocol) = hello.protocol {
            client.protocol = protocol;
            answer.speak(protocol);
        }
        let id = client.id;
        answer.map(7);
        for (key, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
            answer.bulk(key.as_bytes());
            answer.bulk(value.as_bytes());
        }
        answer.bulk(b"proto");
        answer.integer(match answer.protocol() {
            Protocol::Resp2 => 2,
            Protocol::Resp3 => 3,
        });
        answer.bulk(b"id");
        answer.integer(i64::try_from(id).unwrap_or(i64::MAX));
        for (key, value) in [("mode", "standalone"), ("role", "master")] {
            answer.bulk(key.as_bytes());
            answer.bulk(value.as_bytes());
        }
        answer.bulk(b"modules");
        answer.array(0);
    }

    pub(super) fn auth(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let (user, password) = match call.arguments.count() {
            2 if self.options.password.is_none() => return answer.error(text::NO_PASSWORD_SET),
            2 => (USER, call.arguments.at(1)),
            3 => (call.arguments.at(1), call.arguments.at(2)),
            _ => return answer.error(text::SYNTAX),
        };
        if !self.is_right_password(user, password) {
            return answer.error(text::WRONG_PASSWORD);
        }
        self.client(call.client).is_logged_in = true;
        answer.ok();
    }

    pub(super) fn select(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let Some(number) = parse_integer(call.arguments.at(1)) else {
            return answer.error(text::NOT_AN_INTEGER);
        };
        if i32::try_from(number).is_err() {
            return answer.error(text::NOT_AN_INT);
        }
        match usize::try_from(number) {
            Ok(database) if database < DATABASES => {
                self.client(call.client).database = database;
                answer.ok();
            }
            Ok(_) | Err(_) => answer.error(text::DATABASE_OUT_OF_RANGE),
        }
    }

    pub(super) fn ping(&mut self, call: &Call<'_>, answer: &mut Answer) {
        if call.arguments.count() > 2 {
            return answer.error(&text::wrong_arity(call.command.name));
        }
        let client = self.client(call.client);
        if client.protocol == Protocol::Resp2 && client.subscription_count() > 0 {
            answer.array(2);
            answer.bulk(b"pong");
            return answer.bulk(call.arguments.from(1).next().unwrap_or_default());
        }
        match call.arguments.from(1).next() {
            Some(text) => answer.bulk(text),
            None => answer.simple("PONG"),
        }
    }

    pub(super) fn echo(&mut self, call: &Call<'_>, answer: &mut Answer) {
        answer.bulk(call.arguments.at(1));
    }

    pub(super) fn quit(&mut self, call: &Call<'_>, answer: &mut Answer) {
        answer.ok();
        self.clients.append(call.client, answer.bytes());
        answer.clear();
        self.clients.end(call.client);
    }

    pub(super) fn reset(&mut self, call: &Call<'_>, answer: &mut Answer) {
        self.forget(call.client);
        let is_logged_in = self.options.password.is_none();
        let client = self.client(call.client);
        client.database = 0;
        client.name = Box::default();
        client.is_no_evict = false;
        client.is_no_touch = false;
        client.is_logged_in = is_logged_in;
        client.protocol = Protocol::Resp2;
        answer.speak(Protocol::Resp2);
        answer.simple("RESET");
    }

    pub(super) fn client_id(&mut self, call: &Call<'_>, answer: &mut Answer) {
        answer.integer(i64::try_from(self.client(call.client).id).unwrap_or(i64::MAX));
    }

    pub(super) fn client_getname(&mut self, call: &Call<'_>, answer: &mut Answer) {
        match &*self.client(call.client).name {
            [] => answer.null(),
            name => answer.bulk(name),
        }
    }

    pub(super) fn client_setname(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let name = call.arguments.at(2);
        if !is_name(name) {
            return answer.error(text::BAD_CLIENT_NAME);
        }
        self.client(call.client).name = name.into();
        answer.ok();
    }

    /// Of Redis 7.2; client libraries send it unasked.
    pub(super) fn client_setinfo(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let (attribute, value) = (call.arguments.at(2), call.arguments.at(3));
        let client = self.client(call.client);
        let (field, name) = if attribute.eq_ignore_ascii_case(b"lib-name") {
            (&mut client.library_name, "lib-name")
        } else if attribute.eq_ignore_ascii_case(b"lib-ver") {
            (&mut client.library_version, "lib-ver")
        } else {
            return answer.error(&text::unrecognized_option(attribute));
        };
        if !is_name(value) {
            return answer.error(&text::bad_client_attribute(name));
        }
        *field = value.into();
        answer.ok();
    }

    pub(super) fn client_no_evict(&mut self, call: &Call<'_>, answer: &mut Answer) {
        match parse_switch(call.arguments.at(2)) {
            Some(is_on) => {
                self.client(call.client).is_no_evict = is_on;
                answer.ok();
            }
            None => answer.error(text::SYNTAX),
        }
    }

    pub(super) fn client_no_touch(&mut self, call: &Call<'_>, answer: &mut Answer) {
        match parse_switch(call.arguments.at(2)) {
            Some(is_on) => {
                self.client(call.client).is_no_touch = is_on;
                answer.ok();
            }
            None => answer.error(text::SYNTAX),
        }
    }

    pub(super) fn client_info(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let mut line = Vec::new();
        describe(self.client(call.client), call, &mut line);
        answer.verbatim(&line);
    }

    pub(super) fn client_list(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let words: Vec<&[u8]> = call.arguments.from(2).collect();
        let mut lines = Vec::new();
        match words.as_slice() {
            [] => self.clients.iter().for_each(|client| describe(client, call, &mut lines)),
            [word, name] if word.eq_ignore_ascii_case(b"type") => {
                let Some(is_pubsub) = parse_client_type(name) else {
                    return answer.error(&text::unknown_client_type(name));
                };
                let of_type = |client: &&Client| is_pubsub == Some(client.subscription_count() > 0);
                self.clients.iter().filter(of_type).for_each(|client| describe(client, call, &mut lines));
            }
            [word, ids @ ..] if word.eq_ignore_ascii_case(b"id") && !ids.is_empty() => {
                for id in ids {
                    let Some(id) = parse_integer(id) else { return answer.error(text::BAD_CLIENT_ID) };
                    let found = self.clients.iter().find(|client| i64::try_from(client.id) == Ok(id));
                    found.into_iter().for_each(|client| describe(client, call, &mut lines));
                }
            }
            _ => return answer.error(text::SYNTAX),
        }
        answer.verbatim(&lines);
    }

    /// A password that is not set admits everyone, as Redis's `nopass`.
    fn is_right_password(&self, user: &[u8], password: &[u8]) -> bool {
        let is_right = self.options.password.as_deref().is_none_or(|right| is_equal(password, right));
        user == USER && is_right
    }
}

impl<'a> Hello<'a> {
    fn parse(call: &Call<'a>) -> Result<Self, Vec<u8>> {
        let mut hello = Self::default();
        let mut words = call.arguments.from(1);
        if let Some(version) = words.next() {
            hello.protocol = Some(match parse_integer(version) {
                Some(2) => Protocol::Resp2,
                Some(3) => Protocol::Resp3,
                Some(_) => return Err(text::PROTOCOL_UNSUPPORTED.to_vec()),
                None => return Err(text::PROTOCOL_NOT_AN_INTEGER.to_vec()),
            });
        }
        while let Some(word) = words.next() {
            if word.eq_ignore_ascii_case(b"auth") {
                let login = words.next().zip(words.next());
                hello.login = Some(login.ok_or_else(|| text::hello_option(word))?);
            } else if word.eq_ignore_ascii_case(b"setname") {
                let name = words.next().ok_or_else(|| text::hello_option(word))?;
                if !is_name(name) {
                    return Err(text::BAD_CLIENT_NAME.to_vec());
                }
                hello.name = Some(name);
            } else {
                return Err(text::hello_option(word));
            }
        }
        Ok(hello)
    }
}

/// One line of CLIENT LIST.
fn describe(client: &Client, call: &Call<'_>, out: &mut Vec<u8>) {
    let number = |value: usize| value.to_string().into_bytes();
    let (multi, multi_bytes) = match &client.transaction {
        Transaction::None => (b"-1".to_vec(), 0),
        Transaction::Queuing { commands, .. } => {
            (number(commands.len()), commands.iter().map(|command| command.memory_bytes()).sum())
        }
    };
    let flags: &[u8] = if client.subscription_count() > 0 { b"P" } else { b"N" };
    let protocol: &[u8] = match client.protocol {
        Protocol::Resp2 => b"2",
        Protocol::Resp3 => b"3",
    };
    let seconds = |since| call.now.since(since).as_secs().to_string().into_bytes();
    // All of Redis 7.0's fields, in its order, since client libraries look for them; then two of 7.2.
    let fields: [(&str, &[u8]); 30] = [
        ("id", &client.id.to_string().into_bytes()),
        // The machine is not told who is at the other end of a socket.
        ("addr", b"?:0"),
        ("laddr", b"?:0"),
        ("fd", &number(client.socket.slot.index())),
        ("name", &client.name),
        ("age", &seconds(client.accepted_at)),
        ("idle", &seconds(client.heard_at)),
        ("flags", flags),
        ("db", &number(client.database)),
        ("sub", &number(client.channels.len())),
        ("psub", &number(client.patterns.len())),
        ("ssub", b"0"),
        ("multi", &multi),
        ("qbuf", &number(client.request_bytes())),
        ("qbuf-free", b"0"),
        ("argv-mem", b"0"),
        ("multi-mem", &number(multi_bytes)),
        ("rbs", b"0"),
        ("rbp", b"0"),
        ("obl", &number(client.outgoing_bytes())),
        ("oll", b"0"),
        ("omem", b"0"),
        ("tot-mem", &number(client.buffered_bytes() + multi_bytes)),
        ("events", b"r"),
        ("cmd", client.last_command.as_bytes()),
        ("user", USER),
        ("redir", b"-1"),
        ("resp", protocol),
        ("lib-name", &client.library_name),
        ("lib-ver", &client.library_version),
    ];
    for (index, (key, value)) in fields.iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(key.as_bytes());
        out.push(b'=');
        out.extend_from_slice(value);
    }
    out.push(b'\n');
}

/// `Some(Some(true))` for subscribers, `Some(Some(false))` for the others, `Some(None)` for what does not exist here.
fn parse_client_type(name: &[u8]) -> Option<Option<bool>> {
    match name.to_ascii_lowercase().as_slice() {
        b"normal" => Some(Some(false)),
        b"pubsub" => Some(Some(true)),
        b"master" | b"replica" | b"slave" => Some(None),
        _ => None,
    }
}

fn parse_switch(word: &[u8]) -> Option<bool> {
    if word.eq_ignore_ascii_case(b"on") {
        return Some(true);
    }
    word.eq_ignore_ascii_case(b"off").then_some(false)
}

/// Whether it can stand in a line of CLIENT LIST: printable ASCII without spaces, and not endless.
fn is_name(name: &[u8]) -> bool {
    name.len() <= CLIENT_NAME_BYTES && name.iter().all(|byte| matches!(byte, b'!'..=b'~'))
}

/// Compares in a time that says nothing of where the two differ.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let difference = one.iter().zip(other).fold(0, |difference, (one, other)| difference | (one ^ other));
    one.len() == other.len() && std::hint::black_box(difference) == 0
}

/// The one user there is.
const USER: &[u8] = b"default";
const CLIENT_NAME_BYTES: usize = 1_024;
