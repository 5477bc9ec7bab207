//! Orders to all couriers at once: a signed message on a channel of its own, which any language can write.
//!
//! The message is the signature (HMAC-SHA256 with `control.secret`, as 64 hexadecimal digits), a space, and a JSON object; what is
//! signed is `courier:control`, a space, and that object as it stands. The object has what to do (`"do": "disconnect"`), `"user"` or
//! `"channel"`, `"for"` in seconds if they shall stay away, `"time"` in seconds since 1970, and a `"nonce"` that was not used
//! before. Orders that are older or newer than [`CONTROL_WINDOW`] are refused, and so is one that was obeyed.
//!
//! Pure: the calendar is passed in. Invariant: an order that was obeyed is remembered for as long as it would be taken.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::access::SigningKey;
use crate::base::channel::ChannelName;
use crate::base::dismissal::{Dismissal, Whom};
use crate::base::limits::{CONTROL_NONCE_BYTES, CONTROL_ORDERS, CONTROL_WINDOW, DISMISSAL_TIME};
use crate::base::time::UnixTime;

/// The channel that orders are published in.
pub const CONTROL_CHANNEL: &str = "courier:control";

/// What takes orders.
#[derive(Debug)]
pub struct Control {
    key: SigningKey,
    /// The orders that were obeyed, by their time.
    obeyed: BTreeSet<(UnixTime, Box<str>)>,
}

/// Why an order is not obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadOrder {
    /// It is not signed with our secret.
    Signature,
    /// It is of another time, or was obeyed before.
    Stale,
    /// It is signed and not understood.
    Malformed,
    /// More orders came than are remembered.
    TooMany,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    r#do: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    r#for: u64,
    time: u64,
    nonce: String,
}

impl Control {
    pub fn new(key: SigningKey) -> Self {
        Self { key, obeyed: BTreeSet::new() }
    }

    /// Reads an order, and remembers it if it is to be obeyed.
    pub fn read(&mut self, message: &[u8], now: UnixTime) -> Result<Dismissal, BadOrder> {
        let members = verify(&self.key, message)?;
        let time = UnixTime::from_secs(members.time);
        if now.since(time) > CONTROL_WINDOW || time.since(now) > CONTROL_WINDOW {
            return Err(BadOrder::Stale);
        }
        while self.obeyed.first().is_some_and(|(time, _)| now.since(*time) > CONTROL_WINDOW) {
            self.obeyed.pop_first();
        }
        let order = (time, Box::from(members.nonce.as_str()));
        if self.obeyed.contains(&order) {
            return Err(BadOrder::Stale);
        }
        let dismissal = dismissal(&members, time)?;
        if self.obeyed.len() >= CONTROL_ORDERS {
            return Err(BadOrder::TooMany);
        }
        self.obeyed.insert(order);
        Ok(dismissal)
    }
}

/// The message that orders this; the nonce must not have been used in the same second.
pub fn write(key: &SigningKey, whom: &Whom, keep_away: Duration, now: UnixTime, nonce: &str) -> String {
    let (user, channel) = match whom {
        Whom::User(user) => (Some(user.to_string()), None),
        Whom::Channel(channel) => (None, Some(channel.as_str().to_owned())),
    };
    let (nonce, time) = (nonce.to_owned(), now.as_secs());
    let members = Members { r#do: DISCONNECT.into(), user, channel, r#for: keep_away.as_secs(), time, nonce };
    let object = serde_json::to_string(&members).expect("strings and numbers are JSON");
    format!("{} {object}", key.sign(signed(object.as_bytes()).as_slice()))
}

fn verify(key: &SigningKey, message: &[u8]) -> Result<Members, BadOrder> {
    let (signature, object) = message.split_at_checked(SIGNATURE_BYTES).ok_or(BadOrder::Signature)?;
    let object = object.strip_prefix(b" ").ok_or(BadOrder::Signature)?;
    if !key.is_signature(&signed(object), signature) {
        return Err(BadOrder::Signature);
    }
    serde_json::from_slice(object).map_err(|_| BadOrder::Malformed)
}

fn dismissal(members: &Members, time: UnixTime) -> Result<Dismissal, BadOrder> {
    let is_nonce = (1..=CONTROL_NONCE_BYTES).contains(&members.nonce.len());
    let keep_away = Duration::from_secs(members.r#for);
    if members.r#do != DISCONNECT || !is_nonce || keep_away > DISMISSAL_TIME {
        return Err(BadOrder::Malformed);
    }
    let whom = match (&members.user, &members.channel) {
        (Some(user), None) if !user.is_empty() => Whom::User(Arc::from(user.as_str())),
        (None, Some(channel)) => {
            Whom::Channel(ChannelName::parse(channel.as_bytes()).map_err(|_| BadOrder::Malformed)?)
        }
        _ => return Err(BadOrder::Malformed),
    };
    Ok(Dismissal { whom, until: time.after(keep_away) })
}

/// What is signed says what it is for, so that no other signature with the same secret is an order.
fn signed(object: &[u8]) -> Vec<u8> {
    [CONTROL_CHANNEL.as_bytes(), b" ", object].concat()
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As serde calls it.
fn is_zero(seconds: &u64) -> bool {
    *seconds == 0
}

const DISCONNECT: &str = "disconnect";
const SIGNATURE_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);

    fn key() -> SigningKey {
        SigningKey::new(b"0123456789abcdef")
    }

    fn control() -> Control {
        Control::new(key())
    }

    fn order(nonce: &str, now: UnixTime) -> String {
        write(&key(), &Whom::User(Arc::from("7")), Duration::from_secs(600), now, nonce)
    }

    fn hand_written(object: &str) -> String {
        format!("{} {object}", key().sign(format!("courier:control {object}").as_bytes()))
    }

    #[test]
    fn an_order_is_obeyed_once() {
        let (mut control, message) = (control(), order("a", NOW));
        assert!(
            message.ends_with(r#" {"do":"disconnect","user":"7","for":600,"time":1700000000,"nonce":"a"}"#)
        );
        let expected =
            Dismissal { whom: Whom::User(Arc::from("7")), until: NOW.after(Duration::from_secs(600)) };
        assert_eq!(control.read(message.as_bytes(), NOW), Ok(expected.clone()));
        assert_eq!(control.read(message.as_bytes(), NOW), Err(BadOrder::Stale));
        assert_eq!(control.read(order("b", NOW).as_bytes(), NOW), Ok(expected));
        let channel = Whom::Channel(ChannelName::parse(b"news").unwrap());
        let message = write(&key(), &channel, Duration::ZERO, NOW, "c");
        assert_eq!(control.read(message.as_bytes(), NOW), Ok(Dismissal { whom: channel, until: NOW }));
    }

    #[test]
    fn an_order_of_another_time_is_none() {
        let late = NOW.after(CONTROL_WINDOW).after(Duration::from_secs(1));
        for (written, read, is_obeyed) in [
            (NOW, NOW.after(CONTROL_WINDOW), true),
            (NOW.after(CONTROL_WINDOW), NOW, true),
            (NOW, late, false),
            (late, NOW, false),
        ] {
            assert_eq!(control().read(order("a", written).as_bytes(), read).is_ok(), is_obeyed);
        }
        // It is remembered for as long as it would be taken, and no longer.
        let mut control = control();
        assert!(control.read(order("a", NOW).as_bytes(), NOW).is_ok());
        assert_eq!(control.read(order("a", NOW).as_bytes(), NOW.after(CONTROL_WINDOW)), Err(BadOrder::Stale));
        assert!(control.read(order("b", late).as_bytes(), late).is_ok());
        assert_eq!(control.obeyed.len(), 1);
    }

    #[test]
    fn what_is_not_signed_is_no_order() {
        let message = order("a", NOW);
        let (signature, object) = message.split_once(' ').unwrap();
        let other = SigningKey::new(b"0123456789abcdeg");
        for forged in [
            String::new(),
            object.to_owned(),
            signature.to_owned(),
            message.replace("\"7\"", "\"8\""),
            message.replace("600", "601"),
            message.replacen(' ', "  ", 1),
            format!("{message} "),
            format!("{} {object}", key().sign(object.as_bytes())),
            write(&other, &Whom::User(Arc::from("7")), Duration::ZERO, NOW, "a"),
        ] {
            assert_eq!(control().read(forged.as_bytes(), NOW), Err(BadOrder::Signature), "{forged}");
        }
    }

    #[test]
    fn what_is_signed_and_not_understood_is_no_order_either() {
        let rest = r#""time": 1700000000, "nonce": "a""#;
        let long = "n".repeat(CONTROL_NONCE_BYTES + 1);
        assert!(
            control()
                .read(
                    hand_written(&format!(r#"{{"do": "disconnect", "user": "7", {rest}}}"#)).as_bytes(),
                    NOW
                )
                .is_ok()
        );
        for object in [
            "{}".to_owned(),
            format!(r#"{{"do": "reload", "user": "7", {rest}}}"#),
            format!(r#"{{"do": "disconnect", {rest}}}"#),
            format!(r#"{{"do": "disconnect", "user": "", {rest}}}"#),
            format!(r#"{{"do": "disconnect", "user": "7", "channel": "a", {rest}}}"#),
            format!(r#"{{"do": "disconnect", "channel": "", {rest}}}"#),
            format!(r#"{{"do": "disconnect", "user": "7", "for": -1, {rest}}}"#),
            format!(r#"{{"do": "disconnect", "user": "7", "for": 99999999999, {rest}}}"#),
            format!(r#"{{"do": "disconnect", "user": "7", "more": 1, {rest}}}"#),
            r#"{"do": "disconnect", "user": "7", "time": 1700000000, "nonce": ""}"#.to_owned(),
            format!(r#"{{"do": "disconnect", "user": "7", "time": 1700000000, "nonce": "{long}"}}"#),
        ] {
            assert_eq!(
                control().read(hand_written(&object).as_bytes(), NOW),
                Err(BadOrder::Malformed),
                "{object}"
            );
        }
    }

    #[test]
    fn more_orders_than_are_remembered_wait_for_the_window_to_pass() {
        let mut control = control();
        for number in 0..CONTROL_ORDERS {
            assert!(control.read(order(&number.to_string(), NOW).as_bytes(), NOW).is_ok());
        }
        assert_eq!(control.read(order("more", NOW).as_bytes(), NOW), Err(BadOrder::TooMany));
        let later = NOW.after(CONTROL_WINDOW + Duration::from_secs(1));
        assert!(control.read(order("more", later).as_bytes(), later).is_ok());
    }
}
