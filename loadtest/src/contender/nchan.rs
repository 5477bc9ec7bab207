//! nginx with the nchan module, configured for this and nothing else: the fastest peer that a distribution has as a package.
//!
//! In memory it is fed by `POST`; on Redis by a plain `PUBLISH` of its own envelope, in the mode in which nothing is stored.
//! One worker is one thread, as one shard is; there is one for each CPU of the server, and more only where a worker's
//! limit of open files asks for them.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::contender::{Server, free_address, redis, wait_until_up};
use crate::machine::Placement;
use crate::observe::Observer;
use crate::process::{Ending, Process};
use crate::publisher::{Intake, RedisUrl, envelope};
use crate::sys;
use crate::trouble::Trouble;
use crate::url::HttpUrl;

/// The program and the module that it loads.
#[derive(Debug, Clone)]
pub struct Nginx {
    program: PathBuf,
    module: PathBuf,
}

/// Where its messages come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// `POST` to the server itself.
    Post,
    Redis(RedisUrl),
    /// A Redis that is started with it.
    OwnRedis,
}

/// A folder that goes away with its handle.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Nginx {
    /// None if the one or the other is not installed.
    pub fn find() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        // It lies in /usr/sbin, which is not on everybody's path.
        let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
        let program = folders.map(|folder| folder.join("nginx")).find(|program| program.is_file())?;
        let module = MODULE_FOLDERS.iter().map(|folder| Path::new(folder).join(MODULE));
        Some(Self { program, module: module.into_iter().find(|module| module.is_file())? })
    }
}

const MODULE: &str = "ngx_nchan_module.so";
const MODULE_FOLDERS: [&str; 3] =
    ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules"];

/// How many workers hold `connections`; not quite full, since the kernel does not deal them out evenly.
fn workers(connections: usize, cpus: usize, open_files: u64) -> usize {
    let open_files = usize::try_from(open_files).unwrap_or(usize::MAX);
    let fits_one = connections + OPEN_FILES_SPARE <= open_files;
    match cpus.max(1) {
        1 if fits_one => 1,
        cpus => connections.div_ceil((open_files / 10 * 9).max(1)).max(cpus),
    }
}

/// Descriptors of a worker that are no subscribers.
const OPEN_FILES_SPARE: usize = 100;

pub fn start(
    nginx: &Nginx,
    source: &Source,
    connections: usize,
    placement: &Placement,
) -> Result<Server, Trouble> {
    let (redis_process, redis_url) = match source {
        Source::Post => (None, None),
        Source::Redis(url) => (None, Some(url.clone())),
        Source::OwnRedis => redis::start(placement).map(|(process, url)| (Some(process), Some(url)))?,
    };
    let address = free_address()?;
    let folder = Folder::create()?;
    let file = folder.0.join("nginx.conf");
    let workers = workers(connections, placement.server.len(), sys::raise_open_file_limit());
    let text = configuration(nginx, redis_url.as_ref(), workers, &address.to_string(), &folder.0);
    std::fs::write(&file, text).map_err(Trouble::doing("write nginx's configuration"))?;
    let mut command = Command::new(&nginx.program);
    command.arg("-p").arg(&folder.0).arg("-c").arg(&file).arg("-e").arg("stderr");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    // Killed, it would leave its workers behind.
    let mut process = Process::start(command, &placement.server, Ending::Terminate)?;
    wait_until_up(&mut process, address)?;
    let mut processes = vec![process.id()];
    processes.extend(wait_for_workers(&mut process, workers)?);
    if redis_url.is_some() {
        wait_for_redis(&mut process, address, workers)?;
    }
    let intake = match redis_url {
        Some(url) => Intake::PublishEnvelope(url),
        None => Intake::Post(publish_url(address)),
    };
    let mut server = Server::started(process, address, intake);
    server.observer = Observer::Processes(processes);
    server.further.extend(redis_process);
    server.folder = Some(folder);
    Ok(server)
}

fn publish_url(address: SocketAddr) -> HttpUrl {
    let path = "/publish?channel={channel}".to_owned();
    HttpUrl { host: address.ip().to_string(), port: address.port(), path }
}

/// The configuration, with the names of what each round has its own of in capitals: for whoever reads a report.
pub fn specimen(nginx: &Nginx, source: &Source, connections: usize, placement: &Placement) -> String {
    let redis = match source {
        Source::Post => None,
        Source::Redis(_) | Source::OwnRedis => {
            Some(RedisUrl { host: "REDIS".to_owned(), port: 6_379, user: None, password: None })
        }
    };
    let workers = workers(connections, placement.server.len(), sys::raise_open_file_limit());
    configuration(nginx, redis.as_ref(), workers, "ADDRESS", Path::new("FOLDER"))
}

/// Why each line that is not obvious is there: see the README.
fn configuration(
    nginx: &Nginx,
    redis: Option<&RedisUrl>,
    workers: usize,
    address: &str,
    folder: &Path,
) -> String {
    let Nginx { module, .. } = nginx;
    let (module, folder) = (module.display(), folder.display());
    let open_files = sys::raise_open_file_limit();
    let group = envelope::GROUP;
    let share = if workers > 1 { " reuseport" } else { "" };
    let (upstream, pass) = match redis {
        None => (String::new(), ""),
        Some(url) => (
            format!(
                "    upstream redis {{\n        nchan_redis_server {url};\n        \
                 nchan_redis_storage_mode nostore;\n    }}\n"
            ),
            "\n            nchan_redis_pass redis;",
        ),
    };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("    {name}_temp_path {folder}/{name};\n"))
        .concat();
    format!(
        "load_module {module};
daemon off;
pid {folder}/nginx.pid;
error_log stderr error;
worker_processes {workers};
worker_rlimit_nofile {open_files};
events {{
    use epoll;
    multi_accept on;
    worker_connections {open_files};
}}
http {{
    access_log off;
    tcp_nodelay on;
    server_tokens off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_buffer_size 64k;
    client_max_body_size 32m;
{temporary}    nchan_shared_memory_size 1g;
{upstream}    server {{
        listen {address} backlog=4096{share};
        location = /events {{
            nchan_subscriber eventsource;
            nchan_channel_group {group};
            nchan_channel_id $arg_channel;
            nchan_subscriber_first_message newest;{pass}
        }}
        location = /publish {{
            nchan_publisher http;
            nchan_channel_group {group};
            nchan_channel_id $arg_channel;
            nchan_store_messages off;{pass}
        }}
    }}
}}
"
    )
}

fn wait_for_workers(master: &mut Process, workers: usize) -> Result<Vec<u32>, Trouble> {
    let deadline = Instant::now() + WORKERS_TIMEOUT;
    loop {
        let path = format!("/proc/{0}/task/{0}/children", master.id());
        let text = std::fs::read_to_string(path).map_err(Trouble::doing("find nginx's workers"))?;
        let found: Vec<u32> = text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        if found.len() >= workers {
            return Ok(found);
        }
        master.check()?;
        if Instant::now() >= deadline {
            let last_words = master.last_words();
            return Err(Trouble::Process(format!(
                "nginx has {} of {workers} workers: {last_words}",
                found.len()
            )));
        }
        std::thread::sleep(WORKERS_INTERVAL);
    }
}

/// Until a worker is connected to its Redis, it refuses subscribers with 503. Which worker answers is the kernel's
/// choice, so that all must have been asked a few times.
fn wait_for_redis(master: &mut Process, address: SocketAddr, workers: usize) -> Result<(), Trouble> {
    let deadline = Instant::now() + WORKERS_TIMEOUT;
    let asked = if workers > 1 { ASKED_PER_WORKER * workers } else { 1 };
    let mut ready = 0;
    while ready < asked {
        if is_connected(address).map_err(Trouble::doing("ask nginx for its Redis"))? {
            ready += 1;
            continue;
        }
        ready = 0;
        master.check()?;
        if Instant::now() >= deadline {
            let last_words = master.last_words();
            return Err(Trouble::Process(format!("nchan is not connected to Redis in time: {last_words}")));
        }
        std::thread::sleep(WORKERS_INTERVAL);
    }
    Ok(())
}

/// Asks for a channel that does not exist: 404 if all is well.
fn is_connected(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(WORKERS_TIMEOUT))?;
    stream.write_all(b"GET /publish?channel=nobody HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(!answer.starts_with("HTTP/1.1 503"))
}

const ASKED_PER_WORKER: usize = 8;
const WORKERS_TIMEOUT: Duration = Duration::from_secs(10);
const WORKERS_INTERVAL: Duration = Duration::from_millis(5);

impl Folder {
    fn create() -> Result<Self, Trouble> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("loadtest-nginx-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).map_err(Trouble::doing("make a folder for nginx"))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is a few kilobytes in a folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_a_cpu_unless_their_open_files_do_not_reach() {
        assert_eq!(workers(18_000, 1, 20_000), 1);
        assert_eq!(workers(18_000, 2, 20_000), 2);
        assert_eq!(workers(19_950, 1, 20_000), 2);
        assert_eq!(workers(100_000, 1, 20_000), 6);
        assert_eq!(workers(10, 0, 1_024), 1);
    }
}
