//! Commands on keys: GET, SET and its kin, DEL, EXISTS, expiries.

use crate::base::time::Time;
use crate::reader::broker::Broker;
use crate::reader::broker::command::Call;
use crate::reader::broker::keyspace::{DATABASES, Milliseconds, OutOfMemory};
use crate::reader::broker::text;
use crate::wire::resp::answer::Answer;
use crate::wire::resp::parse_integer;

/// The options of SET.
#[derive(Debug, Clone, Copy, Default)]
struct SetOptions<'a> {
    condition: Condition,
    expiry: SetExpiry<'a>,
    returns_old: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Condition {
    #[default]
    Always,
    /// NX
    IfAbsent,
    /// XX
    IfPresent,
}

#[derive(Debug, Clone, Copy, Default)]
enum SetExpiry<'a> {
    #[default]
    None,
    /// KEEPTTL
    Keep,
    /// EX, PX, EXAT, PXAT
    At(Unit, Origin, &'a [u8]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Milliseconds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Now,
    Epoch,
}

/// The options of EXPIRE.
#[derive(Debug, Clone, Copy, Default)]
struct ExpireOptions {
    if_none: bool,
    if_any: bool,
    if_later: bool,
    if_earlier: bool,
}

impl Broker {
    pub(super) fn get(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let database = self.client(call.client).database;
        let now = self.wall_milliseconds(call.now);
        match self.keyspace.find(&mut self.memory, database, call.arguments.at(1), now) {
            Some(entry) => answer.bulk(&entry.value),
            None => answer.null(),
        }
    }

    pub(super) fn set(&mut self, call: &Call<'_>, answer: &mut Answer) {
        match SetOptions::parse(call.arguments.from(3)) {
            Some(options) => self.set_key(call, call.arguments.at(2), options, answer),
            None => answer.error(text::SYNTAX),
        }
    }

    pub(super) fn setex(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let expiry = SetExpiry::At(Unit::Seconds, Origin::Now, call.arguments.at(2));
        let options = SetOptions { expiry, ..SetOptions::default() };
        self.set_key(call, call.arguments.at(3), options, answer);
    }

    pub(super) fn psetex(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let expiry = SetExpiry::At(Unit::Milliseconds, Origin::Now, call.arguments.at(2));
        let options = SetOptions { expiry, ..SetOptions::default() };
        self.set_key(call, call.arguments.at(3), options, answer);
    }

    pub(super) fn setnx(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let database = self.client(call.client).database;
        let now = self.wall_milliseconds(call.now);
        let (key, value) = (call.arguments.at(1), call.arguments.at(2));
        if self.keyspace.find(&mut self.memory, database, key, now).is_some() {
            return answer.integer(0);
        }
        match self.keyspace.set(&mut self.memory, database, key, value, None) {
            Ok(_) => answer.integer(1),
            Err(OutOfMemory) => answer.error(text::OUT_OF_MEMORY),
        }
    }

    /// DEL and UNLINK.
    pub(super) fn del(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let database = self.client(call.client).database;
        let now = self.wall_milliseconds(call.now);
        let mut count = 0;
        for key in call.arguments.from(1) {
            if self.keyspace.find(&mut self.memory, database, key, now).is_some() {
                self.keyspace.remove(&mut self.memory, database, key);
                count += 1;
            }
        }
        answer.integer(count);
    }

    pub(super) fn exists(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let database = self.client(call.client).database;
        let now = self.wall_milliseconds(call.now);
        let mut count = 0;
        for key in call.arguments.from(1) {
            count += i64::from(self.keyspace.find(&mut self.memory, database, key, now).is_some());
        }
        answer.integer(count);
    }

    pub(super) fn expire(&mut self, call: &Call<'_>, answer: &mut Answer) {
        self.expire_in(call, Unit::Seconds, answer);
    }

    pub(super) fn pexpire(&mut self, call: &Call<'_>, answer: &mut Answer) {
        self.expire_in(call, Unit::Milliseconds, answer);
    }

    pub(super) fn persist(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let database = self.client(call.client).database;
        let now = self.wall_milliseconds(call.now);
        let key = call.arguments.at(1);
        let entry = self.keyspace.find(&mut self.memory, database, key, now);
        let has_expiry = entry.is_some_and(|entry| entry.expires_at.is_some());
        if has_expiry {
            self.keyspace.set_expiry(database, key, None);
        }
        answer.integer(i64::from(has_expiry));
    }

    pub(super) fn ttl(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let left = self.time_to_live(call);
        answer.integer(left.map_or_else(|code| code, |left| (left + 500) / 1_000));
    }

    pub(super) fn pttl(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let left = self.time_to_live(call);
        answer.integer(left.unwrap_or_else(|code| code));
    }

    pub(super) fn dbsize(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let database = self.client(call.client).database;
        answer.count(self.keyspace.count(database));
    }

    pub(super) fn flushdb(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let database = self.client(call.client).database;
        self.flush(call, database..database + 1, answer);
    }

    pub(super) fn flushall(&mut self, call: &Call<'_>, answer: &mut Answer) {
        self.flush(call, 0..DATABASES, answer);
    }

    fn flush(&mut self, call: &Call<'_>, databases: std::ops::Range<usize>, answer: &mut Answer) {
        let mut options = call.arguments.from(1);
        let is_known =
            |option: &[u8]| option.eq_ignore_ascii_case(b"async") || option.eq_ignore_ascii_case(b"sync");
        if options.next().is_some_and(|option| !is_known(option)) || options.next().is_some() {
            return answer.error(text::SYNTAX);
        }
        for database in databases {
            self.keyspace.clear(&mut self.memory, database);
        }
        answer.ok();
    }

    fn set_key(&mut self, call: &Call<'_>, value: &[u8], options: SetOptions<'_>, answer: &mut Answer) {
        let database = self.client(call.client).database;
        let now = self.wall_milliseconds(call.now);
        let key = call.arguments.at(1);
        let new_expiry = match options.expiry {
            SetExpiry::None | SetExpiry::Keep => None,
            SetExpiry::At(unit, origin, number) => {
                let Some(number) = parse_integer(number) else { return answer.error(text::NOT_AN_INTEGER) };
                let expires_at = if number > 0 { moment(number, unit, origin, now) } else { None };
                if expires_at.is_none() {
                    return answer.error(&text::invalid_expire(call.command.name));
                }
                expires_at
            }
        };
        let existing = self.keyspace.find(&mut self.memory, database, key, now);
        let is_wanted = match options.condition {
            Condition::Always => true,
            Condition::IfAbsent => existing.is_none(),
            Condition::IfPresent => existing.is_some(),
        };
        if !is_wanted {
            return match existing.filter(|_| options.returns_old) {
                Some(entry) => answer.bulk(&entry.value),
                None => answer.null(),
            };
        }
        let expires_at = match options.expiry {
            SetExpiry::Keep => existing.and_then(|entry| entry.expires_at),
            SetExpiry::None | SetExpiry::At(..) => new_expiry,
        };
        match self.keyspace.set(&mut self.memory, database, key, value, expires_at) {
            Ok(old) if options.returns_old => match old {
                Some(old) => answer.bulk(&old),
                None => answer.null(),
            },
            Ok(_) => answer.ok(),
            Err(OutOfMemory) => answer.error(text::OUT_OF_MEMORY),
        }
    }

    fn expire_in(&mut self, call: &Call<'_>, unit: Unit, answer: &mut Answer) {
        let options = match ExpireOptions::parse(call.arguments.from(3)) {
            Ok(options) => options,
            Err(text) => return answer.error(&text),
        };
        let now = self.wall_milliseconds(call.now);
        let Some(number) = parse_integer(call.arguments.at(2)) else {
            return answer.error(text::NOT_AN_INTEGER);
        };
        let Some(expires_at) = moment(number, unit, Origin::Now, now) else {
            return answer.error(&text::invalid_expire(call.command.name));
        };
        let database = self.client(call.client).database;
        let key = call.arguments.at(1);
        let is_wanted = match self.keyspace.find(&mut self.memory, database, key, now) {
            Some(entry) => options.allow(entry.expires_at, expires_at),
            None => false,
        };
        if !is_wanted {
            return answer.integer(0);
        }
        if expires_at <= now {
            self.keyspace.remove(&mut self.memory, database, key);
        } else {
            self.keyspace.set_expiry(database, key, Some(expires_at));
        }
        answer.integer(1);
    }

    /// Milliseconds that the key has left, or Redis's code: -2 there is no such key, -1 it does not expire.
    fn time_to_live(&mut self, call: &Call<'_>) -> Result<Milliseconds, i64> {
        let database = self.client(call.client).database;
        let now = self.wall_milliseconds(call.now);
        match self.keyspace.find(&mut self.memory, database, call.arguments.at(1), now) {
            Some(entry) => entry.expires_at.map(|expires_at| (expires_at - now).max(0)).ok_or(-1),
            None => Err(-2),
        }
    }

    pub(super) fn wall_milliseconds(&self, now: Time) -> Milliseconds {
        Milliseconds::try_from(self.wall_time(now).as_millis()).unwrap_or(Milliseconds::MAX)
    }
}

/// When `number` units from the origin is, if that can be said.
fn moment(number: i64, unit: Unit, origin: Origin, now: Milliseconds) -> Option<Milliseconds> {
    let milliseconds = match unit {
        Unit::Seconds => number.checked_mul(1_000)?,
        Unit::Milliseconds => number,
    };
    match origin {
        Origin::Now => milliseconds.checked_add(now),
        Origin::Epoch => Some(milliseconds),
    }
}

impl<'a> SetOptions<'a> {
    fn parse(mut words: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let mut options = Self::default();
        while let Some(word) = words.next() {
            match word.to_ascii_lowercase().as_slice() {
                b"nx" if options.condition != Condition::IfPresent => options.condition = Condition::IfAbsent,
                b"xx" if options.condition != Condition::IfAbsent => options.condition = Condition::IfPresent,
                b"get" => options.returns_old = true,
                b"keepttl" if !matches!(options.expiry, SetExpiry::At(..)) => {
                    options.expiry = SetExpiry::Keep
                }
                word => {
                    let (unit, origin) = match word {
                        b"ex" => (Unit::Seconds, Origin::Now),
                        b"px" => (Unit::Milliseconds, Origin::Now),
                        b"exat" => (Unit::Seconds, Origin::Epoch),
                        b"pxat" => (Unit::Milliseconds, Origin::Epoch),
                        _ => return None,
                    };
                    // The same one may be given twice, as in Redis; the last counts.
                    match options.expiry {
                        SetExpiry::None => {}
                        SetExpiry::At(same_unit, same_origin, _)
                            if (same_unit, same_origin) == (unit, origin) => {}
                        SetExpiry::Keep | SetExpiry::At(..) => return None,
                    }
                    options.expiry = SetExpiry::At(unit, origin, words.next()?);
                }
            }
        }
        Some(options)
    }
}

impl ExpireOptions {
    fn parse<'a>(words: impl Iterator<Item = &'a [u8]>) -> Result<Self, Vec<u8>> {
        let mut options = Self::default();
        for word in words {
            match word.to_ascii_lowercase().as_slice() {
                b"nx" => options.if_none = true,
                b"xx" => options.if_any = true,
                b"gt" => options.if_later = true,
                b"lt" => options.if_earlier = true,
                _ => return Err(text::unsupported_option(word)),
            }
        }
        if options.if_none && (options.if_any || options.if_later || options.if_earlier) {
            return Err(text::EXPIRE_NX_AND_OTHERS.to_vec());
        }
        if options.if_later && options.if_earlier {
            return Err(text::EXPIRE_GT_AND_LT.to_vec());
        }
        Ok(options)
    }

    /// Whether an expiry may be replaced. A key without one expires last of all.
    fn allow(self, old: Option<Milliseconds>, new: Milliseconds) -> bool {
        match old {
            Some(old) => !self.if_none && (!self.if_later || new > old) && (!self.if_earlier || new < old),
            None => !self.if_any && !self.if_later,
        }
    }
}
