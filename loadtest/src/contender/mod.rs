//! Who is measured, and how each of them is started.
//!
//! A contender is started anew for each round, so that a round tells about the program and not about one run of it;
//! the running server of `--target` is left alone.

pub mod bare;
pub mod commands;
pub mod courier;
pub mod nchan;
pub mod own;
pub mod redis;
pub mod ring;

use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::arguments::{BareVolley, Common, ContenderName};
use crate::machine::Placement;
use crate::observe::{self, Observer};
use crate::process::Process;
use crate::publisher::{Intake, RedisUrl};
use crate::sys;
use crate::trouble::Trouble;
use crate::url::HttpUrl;

#[derive(Debug, Clone)]
pub enum Contender {
    Courier { program: PathBuf, source: courier::Source, heartbeat: Duration },
    Nchan { nginx: nchan::Nginx, source: nchan::Source },
    Bare(BareVolley),
    Target { url: HttpUrl, redis: RedisUrl, observer: Observer },
}

/// A server that is up.
#[derive(Debug)]
pub struct Server {
    pub target: SocketAddr,
    /// The `Host` header.
    pub host: String,
    /// How it is given messages.
    pub intake: Intake,
    pub observer: Observer,
    /// True if its own threads share CPUs by design: that they wait for each other says nothing then.
    pub is_crowded: bool,
    /// None for one that was running already.
    process: Option<Process>,
    /// How it is started again; none for those that are not.
    launch: Option<courier::Launch>,
    /// Processes that it needs, and its folder; they go after it, in this order.
    further: Vec<Process>,
    folder: Option<nchan::Folder>,
}

/// The contenders that the command line asks for.
pub fn contenders(common: &Common) -> Result<Vec<Contender>, Trouble> {
    let names = match (&common.contenders[..], &common.target) {
        ([], None) if nchan::Nginx::find().is_none() => &DEFAULT_WITHOUT_NCHAN[..],
        ([], None) => &DEFAULT[..],
        ([], Some(_)) => &[ContenderName::Target][..],
        (names, _) => names,
    };
    if common.target.is_some() && !names.contains(&ContenderName::Target) {
        return Err(Trouble::Usage("--target is given, but --contenders leaves `target` out".to_owned()));
    }
    names
        .iter()
        .map(|name| match name {
            ContenderName::Courier => {
                let source = common.redis.clone().map_or(courier::Source::Broker, courier::Source::Redis);
                Ok(Contender::Courier {
                    program: courier::find(common)?,
                    source,
                    heartbeat: common.heartbeat,
                })
            }
            ContenderName::CourierRedis => {
                let source = common.redis.clone().map_or(courier::Source::OwnRedis, courier::Source::Redis);
                Ok(Contender::Courier {
                    program: courier::find(common)?,
                    source,
                    heartbeat: common.heartbeat,
                })
            }
            ContenderName::Nchan => nchan(nchan::Source::Post),
            ContenderName::NchanRedis => {
                nchan(common.redis.clone().map_or(nchan::Source::OwnRedis, nchan::Source::Redis))
            }
            ContenderName::SendLoop => Ok(Contender::Bare(BareVolley::SendLoop)),
            ContenderName::RingLoop => Ok(Contender::Bare(BareVolley::RingLoop)),
            ContenderName::Target => target(common),
        })
        .collect()
}

impl Contender {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Courier { source: courier::Source::OwnRedis, .. } => "courier-redis",
            Self::Courier { .. } => "courier",
            Self::Nchan { source: nchan::Source::Post, .. } => NCHAN,
            Self::Nchan { .. } => "nchan-redis",
            Self::Bare(BareVolley::SendLoop) => "send(2) loop",
            Self::Bare(BareVolley::RingLoop | BareVolley::RingEach) => RING_LOOP,
            Self::Target { .. } => "target",
        }
    }

    /// How it is configured, where that is more than its name says.
    pub fn configuration(&self, placement: &Placement, connections: usize) -> Option<String> {
        match self {
            Self::Nchan { nginx, source } => Some(nchan::specimen(nginx, source, connections, placement)),
            Self::Courier { .. } | Self::Bare(_) | Self::Target { .. } => None,
        }
    }

    /// The same for a scenario in which each subscriber has a channel of its own.
    pub fn with_own_channels(self) -> Result<Self, Trouble> {
        match self {
            Self::Bare(BareVolley::SendLoop) => Err(Trouble::Usage(
                "the bare send(2) loop knows one channel: it cannot take part here; ring-loop can".to_owned(),
            )),
            Self::Bare(BareVolley::RingLoop | BareVolley::RingEach) => Ok(Self::Bare(BareVolley::RingEach)),
            Self::Courier { .. } | Self::Nchan { .. } | Self::Target { .. } => Ok(self),
        }
    }

    pub fn starts_server(&self) -> bool {
        !matches!(self, Self::Target { .. })
    }

    /// Starts it for so many connections.
    pub fn start(&self, placement: &Placement, connections: usize) -> Result<Server, Trouble> {
        match self {
            Self::Courier { program, source, heartbeat } => {
                courier::start(program, source, *heartbeat, placement, connections)
            }
            Self::Nchan { nginx, source } => nchan::start(nginx, source, connections, placement),
            Self::Bare(volley) => bare::start(*volley, placement),
            Self::Target { url, redis, observer } => Ok(Server {
                target: resolve(url)?,
                host: url.authority(),
                intake: Intake::Publish(redis.clone()),
                observer: observer.clone(),
                is_crowded: false,
                process: None,
                launch: None,
                further: Vec::new(),
                folder: None,
            }),
        }
    }
}

impl Server {
    /// A server that was started here.
    fn started(process: Process, target: SocketAddr, intake: Intake) -> Self {
        let observer = Observer::Process(process.id());
        let (process, launch, further, folder) = (Some(process), None, Vec::new(), None);
        let (host, is_crowded) = (target.to_string(), false);
        Self { target, host, intake, observer, is_crowded, process, launch, further, folder }
    }

    /// An error if it has ended.
    pub fn check(&mut self) -> Result<(), Trouble> {
        self.process.iter_mut().chain(&mut self.further).try_for_each(Process::check)
    }

    /// Ends it by `signal`, and starts it again at the same addresses as soon as it is gone. Told are the moments, of the
    /// monotonic clock, at which it was gone and at which it listened again.
    pub fn restart(&mut self, signal: i32, patience: Duration) -> Result<(u64, u64), Trouble> {
        let (Some(launch), Some(process)) = (&self.launch, &mut self.process) else {
            return Err(Trouble::Usage("only a courier that was started here can be restarted".to_owned()));
        };
        process.end(signal, patience)?;
        let gone = sys::monotonic_nanos();
        let again = launch.start()?;
        self.observer = Observer::Process(again.id());
        self.process = Some(again);
        Ok((gone, sys::monotonic_nanos()))
    }

    /// What it counts itself: the value of a metric with these labels. None where it is not known to have metrics.
    pub fn metric(&self, name: &str) -> Result<Option<f64>, Trouble> {
        self.launch.as_ref().map_or(Ok(None), |launch| observe::metric_of(&launch.metrics()?, name))
    }

    /// An error if it has ended, or is about to: its connections broke.
    pub fn check_after_failure(&mut self) -> Result<(), Trouble> {
        self.process.as_mut().map_or(Ok(()), |process| process.check_within(END_TIMEOUT))
    }
}

/// What others are compared with.
pub const RING_LOOP: &str = "io_uring loop";
pub const NCHAN: &str = "nchan";

const DEFAULT: [ContenderName; 4] =
    [ContenderName::Courier, ContenderName::SendLoop, ContenderName::RingLoop, ContenderName::Nchan];
const DEFAULT_WITHOUT_NCHAN: [ContenderName; 3] =
    [ContenderName::Courier, ContenderName::SendLoop, ContenderName::RingLoop];

fn nchan(source: nchan::Source) -> Result<Contender, Trouble> {
    let nginx = nchan::Nginx::find().ok_or_else(|| {
        Trouble::Usage(
            "nginx with the nchan module is not installed (Debian's packages nginx and libnginx-mod-nchan)"
                .to_owned(),
        )
    })?;
    Ok(Contender::Nchan { nginx, source })
}

fn target(common: &Common) -> Result<Contender, Trouble> {
    let missing = |what: &str| Trouble::Usage(format!("to measure a running server, give {what}"));
    let url = common.target.clone().ok_or_else(|| missing("--target URL"))?;
    let redis =
        common.redis.clone().ok_or_else(|| missing("--redis URL: where its messages are published"))?;
    let observer = match (common.pid, &common.target_metrics) {
        (Some(pid), _) => Observer::Process(pid),
        (None, Some(url)) => Observer::Metrics(url.clone()),
        (None, None) => Observer::Blind,
    };
    Ok(Contender::Target { url, redis, observer })
}

fn resolve(url: &HttpUrl) -> Result<SocketAddr, Trouble> {
    let failed = |reason: &dyn std::fmt::Display| Trouble::Usage(format!("{url}: {reason}"));
    let mut addresses = (url.host.as_str(), url.port).to_socket_addrs().map_err(|error| failed(&error))?;
    addresses.next().ok_or_else(|| failed(&"no such host"))
}

/// An address of this machine that nobody listens on at present.
fn free_address() -> Result<SocketAddr, Trouble> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(Trouble::doing("find a free port"))?;
    listener.local_addr().map_err(Trouble::doing("find a free port"))
}

/// Waits until something listens on `address`.
fn wait_until_up(process: &mut Process, address: SocketAddr) -> Result<(), Trouble> {
    let deadline = Instant::now() + START_TIMEOUT;
    while TcpStream::connect_timeout(&address, PROBE_INTERVAL).is_err() {
        process.check()?;
        if Instant::now() >= deadline {
            let last_words = process.last_words();
            return Err(Trouble::Process(format!("nothing listens on {address} in time: {last_words}")));
        }
        std::thread::sleep(PROBE_INTERVAL);
    }
    Ok(())
}

const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a process may take to die once its sockets are gone.
const END_TIMEOUT: Duration = Duration::from_secs(2);
const PROBE_INTERVAL: Duration = Duration::from_millis(20);
