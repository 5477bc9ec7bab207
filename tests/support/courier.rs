//! The courier that cargo built, started with flags and asked by its pages.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitStatus};

use super::http::{Answer, Peer};
use super::process::Process;
use super::resp::Client;
use super::until;

#[derive(Debug)]
pub struct Courier {
    pub process: Process,
    pub web: SocketAddr,
    pub admin: SocketAddr,
    /// Of the embedded broker.
    pub broker: Option<SocketAddr>,
}

/// The command, with nothing of the environment that would configure it.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_courier"));
    for (name, _) in std::env::vars() {
        if name.starts_with("COURIER_") || name == "REDIS_URL" {
            command.env_remove(name);
        }
    }
    command
}

/// Ports of the kernel's choice for the sides that `flags` do not place.
pub fn server(flags: &[&str]) -> Command {
    let mut command = command();
    command.args(flags);
    for side in ["--listen", "--admin"] {
        if !flags.contains(&side) {
            command.args([side, "127.0.0.1:0"]);
        }
    }
    command
}

/// Starts it with flags that it refuses, itself or because of what Redis says: its one line.
#[track_caller]
pub fn refused(flags: &[&str]) -> String {
    let (code, output, errors) = Process::run(&mut server(flags));
    assert_eq!((code, output.as_str()), (2, ""), "{errors}");
    // The log may have warned of something else before.
    let lines: Vec<&str> = errors.lines().filter(|line| !line.contains(" WARN ")).collect();
    assert_eq!(lines.len(), 1, "{errors}");
    lines[0].strip_prefix("courier: ").unwrap_or_else(|| panic!("{errors}")).to_owned()
}

impl Courier {
    /// Starts it and waits until it listens; Redis may be absent.
    #[track_caller]
    pub fn listening(flags: &[&str]) -> Self {
        Self::of(&mut server(flags))
    }

    /// The same of a command that `server` made, or that becomes it.
    #[track_caller]
    pub fn of(command: &mut Command) -> Self {
        let has_redis = command.get_args().any(|word| word == "--redis");
        let process = Process::start(command);
        let address = |row: &str| -> Option<SocketAddr> {
            let line = process.output.with(row);
            line.split([' ', '/', ',']).find_map(|word| word.parse().ok())
        };
        let [web, admin, broker] = ["  clients ", "  admin ", "  messages "].map(address);
        // Behind Unix sockets there is no address to ask.
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let broker = broker.filter(|_| !has_redis);
        Self { process, web: web.unwrap_or(nowhere), admin: admin.unwrap_or(nowhere), broker }
    }

    /// Starts it and waits until it may get clients.
    #[track_caller]
    pub fn start(flags: &[&str]) -> Self {
        let courier = Self::listening(flags);
        courier.until_ready();
        courier
    }

    /// A courier without Redis in which every channel is open.
    #[track_caller]
    pub fn with_broker(flags: &[&str]) -> Self {
        Self::start(&[&["--broker", "127.0.0.1:0", "--public", "*"], flags].concat())
    }

    /// The same with the broker behind a socket file.
    #[track_caller]
    pub fn with_unix_broker(path: &str, flags: &[&str]) -> Self {
        Self::start(&[&["--broker", &format!("unix:{path}"), "--public", "*"], flags].concat())
    }

    /// A client of the embedded broker.
    pub fn client(&self) -> Client {
        Client::tcp(self.broker.expect("it was started with a broker"))
    }

    #[track_caller]
    pub fn until_ready(&self) {
        until("/readyz is green", || self.is_ready());
    }

    #[track_caller]
    pub fn until_not_ready(&self) {
        until("/readyz is red", || !self.is_ready());
    }

    pub fn is_ready(&self) -> bool {
        let answer = self.page("/readyz");
        assert!([200, 503].contains(&answer.status), "{answer:?}");
        answer.status == 200
    }

    /// A page of the admin side.
    pub fn page(&self, path: &str) -> Answer {
        page(self.admin, path)
    }

    /// The sum of a metric's samples; of those with this label if there is one, as in `name{reason="drain"}`.
    pub fn metric(&self, name: &str) -> f64 {
        let page = self.page("/metrics");
        let (name, label) = name.split_once('{').map_or((name, None), |(name, label)| (name, Some(label)));
        let label = label.map(|label| label.trim_end_matches('}'));
        let mut samples = Vec::new();
        for line in page.body.lines().filter(|line| !line.starts_with('#')) {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let (sample, labels) = sample.split_once('{').unwrap_or((sample, ""));
            if sample == name && label.is_none_or(|label| labels.contains(label)) {
                samples.push(value.parse::<f64>().unwrap());
            }
        }
        assert!(!samples.is_empty(), "there is a metric {name}");
        samples.iter().sum()
    }

    #[track_caller]
    pub fn until_metric(&self, name: &str, holds: impl Fn(f64) -> bool) {
        until(name, || holds(self.metric(name)));
    }

    /// Asks it to stop, and waits until it has.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.process.signal("TERM");
        self.process.wait()
    }
}

/// A page of the admin side that listens here.
pub fn page(admin: SocketAddr, path: &str) -> Answer {
    let mut peer = Peer::connect(admin);
    peer.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    peer.answer()
}

/// How often each thread of a process was put on a CPU, and for how long; by its name. Without the kernel's own: once a
/// ring has shut a socket down, the kernel keeps one worker thread for it, which looks for work every five seconds
/// (WORKER_IDLE_TIMEOUT of io-wq), and there is no other way to shut a direct descriptor down.
pub fn runs(process: &Process) -> Vec<(String, String)> {
    let threads = Path::new("/proc").join(process.id().to_string()).join("task");
    let of_thread = |thread: std::fs::DirEntry| {
        let read = |file| std::fs::read_to_string(thread.path().join(file)).unwrap();
        let schedstat = read("schedstat");
        let (run, rest) = schedstat.trim().split_once(' ').unwrap();
        (format!("{} {}", thread.file_name().display(), read("comm").trim()), format!("{run} ns, {rest}"))
    };
    let mut runs: Vec<_> =
        std::fs::read_dir(threads).unwrap().map(|thread| of_thread(thread.unwrap())).collect();
    runs.retain(|(name, _)| !name.contains(" iou-wrk-"));
    runs.sort();
    runs
}
