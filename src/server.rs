//! Starts reader and shards, handles signals, stops in order.
//!
//! Order of a start: signals blocked -> log -> probe -> limits -> placement -> listeners -> threads -> a first try to
//! reach Redis -> what is printed. Whatever is the operator's to mend ends it with one line and exit code 2. Order of a
//! stop: the shards take nobody new and end their streams, then the reader ends; a second signal, or the drain timeout,
//! ends the process as it is. A thread that panics or returns without an order ends the process with exit code 70.

mod machines;
mod threads;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::config::banner::banner;
use crate::config::budget::{self, Size};
use crate::config::{self, Command, Config};
use crate::driver::log;
use crate::driver::memory;
use crate::driver::orders::{Order, Report};
use crate::driver::probe;
use crate::driver::sys::signals::{Signal, Signals};
use crate::server::threads::Threads;
use crate::tools;

/// The `courier` command.
pub fn main() -> ExitCode {
    match config::load(std::env::args_os(), std::env::vars_os()) {
        Ok(Command::Serve(config)) => serve(*config),
        Ok(Command::Publish(command)) => tools::publish::run(&command),
        Ok(Command::Disconnect(command)) => tools::disconnect::run(&command),
        Ok(Command::Subscribe(command)) => tools::subscribe::run(&command),
        Ok(Command::Explain(command)) => tools::explain::run(&command),
        Ok(Command::Sign(command)) => tools::sign::run(&command),
        Ok(Command::Print(text)) => print(&text),
        Err(error) => refuse(error),
    }
}

/// Serves until it is told to stop.
fn serve(config: Config) -> ExitCode {
    // Before the first other thread, which would take the signals.
    let signals = match Signals::block() {
        Ok(signals) => signals,
        Err(error) => return refuse(format_args!("signals cannot be blocked: {error}")),
    };
    end_on_panic();
    let log = log::start(config.log_level, config.log_format);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if let Err(unfit) = probe::probe() {
        return refuse(unfit);
    }
    let (sender, reports) = mpsc::channel();
    if let Err(error) = threads::receive_signals(signals, sender.clone()) {
        return refuse(format_args!("a thread cannot be started: {error}"));
    }
    match Threads::start(&config, &sender, log.dropped()) {
        Ok(threads) => {
            warn_of_bounds(&config, &threads);
            Server { config, threads, reports }.run()
        }
        Err(error) => refuse(error),
    }
}

struct Server {
    config: Config,
    threads: Threads,
    reports: Receiver<Report>,
}

/// Why the process ends.
#[derive(Debug)]
enum End {
    /// As ordered.
    Stopped,
    /// By a second signal, or one before everything stood.
    AtOnce,
    /// The operator's to mend: one line.
    Unfit(String),
    /// Ours: a thread returned that had no order to.
    Returned(String),
}

impl Server {
    fn run(self) -> ExitCode {
        let end = match self.wait_until_ready() {
            Err(end) => end,
            Ok(()) => {
                print(&banner(&self.threads.listening_as(&self.config), &called_as()));
                tracing::info!(placement = %self.threads.placement, "started");
                match self.wait_for_stop() {
                    Err(end) => end,
                    Ok(()) => self.drain(),
                }
            }
        };
        self.threads.remove_socket_files();
        match end {
            End::Stopped | End::AtOnce => {
                tracing::info!("stopped");
                ExitCode::SUCCESS
            }
            End::Unfit(line) => refuse(line),
            End::Returned(thread) => {
                let line = format_args!(
                    "the thread {thread} has ended, so the process does: this is a fault of courier"
                );
                last_line(line, EXIT_FAULT)
            }
        }
    }

    fn wait_until_ready(&self) -> Result<(), End> {
        let mut waiting = self.threads.count();
        let mut is_tried = matches!(self.config.upstream, config::Upstream::Broker(_));
        while waiting > 0 || !is_tried {
            // A Redis that takes its time shall not keep the operator waiting for a word.
            let report = match waiting {
                0 => match self.reports.recv_timeout(REDIS_PATIENCE) {
                    Err(RecvTimeoutError::Timeout) => return Ok(()),
                    report => report.map_err(|_| no_reports())?,
                },
                _ => self.report()?,
            };
            match report {
                Report::Ready => waiting -= 1,
                Report::Tried => is_tried = true,
                Report::Signal(Signal::Stop) => return Err(End::AtOnce),
                Report::Signal(Signal::HangUp) | Report::Drained(_) => {}
                Report::Failed { thread, reason } => return Err(End::Unfit(format!("{thread}: {reason}"))),
                Report::Refused { reason } => return Err(End::Unfit(reason)),
                Report::Returned { thread } => return Err(End::Returned(thread)),
            }
        }
        Ok(())
    }

    fn wait_for_stop(&self) -> Result<(), End> {
        loop {
            match self.report()? {
                Report::Signal(Signal::Stop) => return Ok(()),
                Report::Signal(Signal::HangUp) => {
                    tracing::info!("SIGHUP: courier reads its configuration at start only; restart it");
                }
                Report::Refused { reason } => return Err(End::Unfit(reason)),
                Report::Returned { thread } => return Err(End::Returned(thread)),
                Report::Failed { thread, reason } => {
                    return Err(End::Returned(format!("{thread} ({reason})")));
                }
                Report::Tried => {}
                Report::Ready | Report::Drained(_) => {
                    unreachable!("a thread is ready once, and drains when told")
                }
            }
        }
    }

    /// Ends the streams, then the reader.
    fn drain(&self) -> End {
        let timeout = self.config.drain_timeout;
        tracing::info!(timeout_seconds = timeout.as_secs_f64(), "stopping");
        let deadline = Instant::now() + timeout;
        self.threads.order(Order::Drain);
        let mut draining = self.threads.shards();
        let mut running = self.threads.count();
        while running > 0 {
            match self.reports.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Report::Signal(Signal::Stop)) => {
                    tracing::warn!("a second signal: stopping at once");
                    return End::AtOnce;
                }
                Ok(Report::Drained(_)) => {
                    draining -= 1;
                    if draining == 0 {
                        self.threads.order(Order::Stop);
                    }
                }
                Ok(Report::Returned { .. }) => running -= 1,
                Ok(
                    Report::Signal(Signal::HangUp)
                    | Report::Ready
                    | Report::Tried
                    | Report::Refused { .. }
                    | Report::Failed { .. },
                ) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let connections = self.threads.connections();
                    tracing::warn!(connections, "the drain timeout has passed: what is left is cut");
                    return End::Stopped;
                }
            }
        }
        End::Stopped
    }

    fn report(&self) -> Result<Report, End> {
        self.reports.recv().map_err(|_| no_reports())
    }
}

/// Says so if the bounds together allow more than there is.
fn warn_of_bounds(config: &Config, threads: &Threads) {
    let Some(memory) = memory::available() else { return };
    let size = Size {
        shards: threads.shards(),
        connections: threads.connections_per_shard,
        socket_bytes: memory::socket_bytes().unwrap_or(u64::MAX),
    };
    let shares = budget::shares(config, size);
    if let Some(warning) = budget::warning(&shares, memory.bytes, &memory.bound.to_string()) {
        tracing::warn!("{warning}");
    }
}

fn no_reports() -> End {
    End::Returned("of the signals".into())
}

/// The operator's fault at start: one line, exit code 2.
fn refuse(line: impl fmt::Display) -> ExitCode {
    last_line(line, EXIT_REFUSED)
}

/// The process says this and ends.
fn last_line(line: impl fmt::Display, exit_code: u8) -> ExitCode {
    end_soon(exit_code);
    eprintln!("courier: {line}");
    ExitCode::from(exit_code)
}

/// How this program was called, for lines to copy: a path as it was typed, else its name.
fn called_as() -> String {
    let called = std::env::args().next().filter(|name| name.contains('/'));
    called.unwrap_or_else(|| "courier".into())
}

/// To stdout; whoever closed it does not want the text.
fn print(text: &str) -> ExitCode {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
    ExitCode::SUCCESS
}

/// A panic in any thread ends the process, with its message if stderr takes it.
fn end_on_panic() {
    let describe = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        end_soon(EXIT_FAULT);
        describe(panic);
        std::process::exit(EXIT_FAULT.into());
    }));
}

/// Ends the process in a while, however long its last words take: a stderr that nobody reads may be full.
fn end_soon(exit_code: u8) {
    // Without a thread for it the words are still said, and the end waits for their reader.
    let _ = std::thread::Builder::new().name("courier-end".into()).spawn(move || {
        std::thread::sleep(MESSAGE_PATIENCE);
        std::process::exit(exit_code.into());
    });
}

/// How long the first word on Redis is waited for before courier says that it has started.
const REDIS_PATIENCE: Duration = Duration::from_secs(1);
const EXIT_REFUSED: u8 = 2;
/// EX_SOFTWARE of sysexits.h.
const EXIT_FAULT: u8 = 70;
/// How long a stderr that nobody reads may hold up the end.
const MESSAGE_PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
