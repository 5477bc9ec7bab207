//! A load balancer: asks `/readyz` without a rest, and remembers what it was told.

use std::net::SocketAddr;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::{courier, until};

#[derive(Debug)]
pub struct Watch {
    spans: Arc<Mutex<Vec<Span>>>,
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// Answers in a row that were the same.
#[derive(Debug, Clone, Copy)]
struct Span {
    is_green: bool,
    /// When the first of them had come.
    first: Instant,
    /// When the last of them was asked for.
    last: Instant,
}

impl Watch {
    pub fn start(admin: SocketAddr) -> Self {
        let spans = Arc::new(Mutex::new(Vec::<Span>::new()));
        let (stop, stopped) = channel();
        let noting = Arc::clone(&spans);
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
                let last = Instant::now();
                let is_green = courier::page(admin, "/readyz").status == 200;
                let mut spans = noting.lock().unwrap();
                match spans.last_mut() {
                    Some(span) if span.is_green == is_green => span.last = last,
                    _ => spans.push(Span { is_green, first: Instant::now(), last }),
                }
            }
        });
        Self { spans, stop, thread }
    }

    pub fn has_seen_red(&self) -> bool {
        self.spans.lock().unwrap().iter().any(|span| !span.is_green)
    }

    #[track_caller]
    pub fn until_red(&self) {
        until("/readyz is red", || self.spans.lock().unwrap().last().is_some_and(|span| !span.is_green));
    }

    #[track_caller]
    pub fn until_green(&self) {
        until("/readyz is green", || self.spans.lock().unwrap().last().is_some_and(|span| span.is_green));
    }

    /// Stops it: how long it saw red, at least.
    pub fn finish(self) -> Duration {
        // It ends only by this.
        self.stop.send(()).unwrap();
        self.thread.join().unwrap();
        let spans = self.spans.lock().unwrap();
        spans
            .iter()
            .filter(|span| !span.is_green)
            .map(|span| span.last.saturating_duration_since(span.first))
            .sum()
    }
}

/// What lies between an answer and the next question.
const PACE: Duration = Duration::from_millis(5);
