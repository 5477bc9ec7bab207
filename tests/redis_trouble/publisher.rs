//! An application that publishes without a rest, numbers what it says, and knows what Redis accepted.
//!
//! Numbers rise by one in each channel. What Redis answered is accepted; what was said into a connection that broke may
//! or may not have been, and nobody is owed it.

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use courier::wire::resp::reply::Reply;

use crate::support::redis::Access;
use crate::support::resp::Client;

#[derive(Debug)]
pub struct Publisher {
    pub record: Record,
    access: Arc<Mutex<Access>>,
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// By channel, whether each number was accepted.
#[derive(Debug, Clone, Default)]
pub struct Record(Arc<Mutex<BTreeMap<String, Vec<bool>>>>);

impl Publisher {
    /// Speaks to these channels in turn until it is stopped; it connects again when it has to.
    pub fn start(access: Access, channels: &'static [&'static str]) -> Self {
        let record = Record::default();
        let access = Arc::new(Mutex::new(access));
        let (stop, stopped) = channel();
        let (saying, target) = (record.clone(), Arc::clone(&access));
        let thread = std::thread::spawn(move || {
            let mut client = None;
            while stopped.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
                for name in channels {
                    let Some(mut talking) = client.take().or_else(|| target.lock().unwrap().client()) else {
                        continue;
                    };
                    if saying.say(&mut talking, name, "") {
                        client = Some(talking);
                    }
                }
            }
        });
        Self { record, access, stop, thread }
    }

    /// From its next connection on.
    pub fn turn_to(&self, access: Access) {
        *self.access.lock().unwrap() = access;
    }

    /// Stops it, and says one last thing in each of these channels.
    pub fn finish<'a>(self, channels: impl Iterator<Item = &'a str>) -> Record {
        // It ends only by this.
        self.stop.send(()).unwrap();
        self.thread.join().unwrap();
        let mut client = self.access.lock().unwrap().client().expect("Redis is back");
        for name in channels {
            assert!(self.record.say(&mut client, name, ""), "Redis takes the last message of {name}");
        }
        self.record
    }
}

impl Record {
    /// Publishes the channel's next number, and `padding`; whether Redis accepted it.
    pub fn say(&self, client: &mut Client, name: &str, padding: &str) -> bool {
        let number = {
            let mut record = self.0.lock().unwrap();
            let said = record.entry(name.to_owned()).or_default();
            said.push(false);
            said.len() - 1
        };
        let payload = format!("{name} {number} {padding}");
        let reply = client.attempt(&[b"PUBLISH", name.as_bytes(), payload.as_bytes()]);
        let is_accepted = matches!(reply, Ok(Reply::Integer(_)));
        self.0.lock().unwrap().get_mut(name).unwrap()[number] = is_accepted;
        is_accepted
    }

    pub fn is_accepted(&self, name: &str, number: usize) -> bool {
        self.0.lock().unwrap()[name][number]
    }

    /// How many numbers of the channel were accepted.
    pub fn accepted(&self, name: &str) -> usize {
        self.0.lock().unwrap()[name].iter().filter(|&&is_accepted| is_accepted).count()
    }

    /// The channel's last number.
    pub fn last(&self, name: &str) -> usize {
        self.0.lock().unwrap()[name].len() - 1
    }
}

/// What lies between two things it says in a channel.
const PACE: Duration = Duration::from_millis(5);
