//! A way to Redis that can break: real bytes pass, up to a mark in what Redis says, and from there on none.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::redis::Redis;
use crate::support::until;

#[derive(Debug)]
pub struct Proxy {
    socket: PathBuf,
    breaks: Arc<Mutex<Breaks>>,
}

/// What is to break.
#[derive(Debug, Default)]
struct Breaks {
    /// The connection on which Redis says this next gets half of it, and meets the fate.
    at: Option<(Vec<u8>, Fate)>,
    /// True exactly while new connections are ended at once.
    is_closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stays open, and nothing comes and goes any more.
    Silence,
    /// It ends, and so does every new one until `reopen`.
    End,
}

impl Proxy {
    pub fn before(redis: &Redis) -> Self {
        let socket = redis.socket().with_extension("proxy");
        let listener = UnixListener::bind(&socket).unwrap();
        let breaks = Arc::new(Mutex::new(Breaks::default()));
        let (behind, shared) = (redis.socket(), Arc::clone(&breaks));
        // It waits for clients until the test's process ends.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                if !shared.lock().unwrap().is_closed
                    && let Ok(server) = UnixStream::connect(&behind)
                {
                    pass(client, server, &shared);
                }
            }
        });
        Self { socket, breaks }
    }

    /// What `--redis` takes.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// The next connection on which Redis says `mark` gets half of it and meets its fate.
    pub fn break_at(&self, mark: &str, fate: Fate) {
        self.breaks.lock().unwrap().at = Some((mark.as_bytes().to_vec(), fate));
    }

    #[track_caller]
    pub fn until_broken(&self) {
        until("the mark has come", || self.breaks.lock().unwrap().at.is_none());
    }

    pub fn reopen(&self) {
        self.breaks.lock().unwrap().is_closed = false;
    }
}

impl Breaks {
    /// If the mark ends in these bytes, which follow `before`: how many of them pass, and what comes then.
    fn cut(&mut self, before: &mut Vec<u8>, bytes: &[u8]) -> Option<(usize, Fate)> {
        let (mark, fate) = self.at.as_ref()?;
        let begin = before.len();
        before.extend_from_slice(bytes);
        let Some(at) = before.windows(mark.len()).position(|window| window == mark) else {
            before.drain(..before.len().saturating_sub(mark.len()));
            return None;
        };
        let cut = ((at + mark.len() / 2).saturating_sub(begin), *fate);
        self.is_closed = *fate == Fate::End;
        self.at = None;
        Some(cut)
    }
}

/// Carries bytes both ways, on threads that end with the connection.
fn pass(client: UnixStream, server: UnixStream, breaks: &Arc<Mutex<Breaks>>) {
    let is_silent = Arc::new(AtomicBool::new(false));
    let up = (client.try_clone().unwrap(), server.try_clone().unwrap(), Arc::clone(&is_silent));
    std::thread::spawn(move || carry_up(up.0, up.1, &up.2));
    let breaks = Arc::clone(breaks);
    std::thread::spawn(move || carry_down(server, client, &breaks, &is_silent));
}

fn carry_up(mut client: UnixStream, mut server: UnixStream, is_silent: &AtomicBool) {
    let mut chunk = [0; 16 * 1_024];
    while let Ok(length @ 1..) = client.read(&mut chunk) {
        if !is_silent.load(Ordering::SeqCst) && server.write_all(&chunk[..length]).is_err() {
            break;
        }
    }
    // Where the other end has gone there is nothing to end.
    server.shutdown(Shutdown::Both).ok();
}

fn carry_down(
    mut server: UnixStream,
    mut client: UnixStream,
    breaks: &Mutex<Breaks>,
    is_silent: &AtomicBool,
) {
    let (mut chunk, mut before) = ([0; 16 * 1_024], Vec::new());
    while let Ok(length @ 1..) = server.read(&mut chunk) {
        if is_silent.load(Ordering::SeqCst) {
            continue;
        }
        let cut = breaks.lock().unwrap().cut(&mut before, &chunk[..length]);
        let (passing, fate) = cut.map_or((length, None), |(passing, fate)| (passing, Some(fate)));
        if client.write_all(&chunk[..passing]).is_err() || fate == Some(Fate::End) {
            break;
        }
        is_silent.store(fate == Some(Fate::Silence), Ordering::SeqCst);
    }
    client.shutdown(Shutdown::Both).ok();
}
