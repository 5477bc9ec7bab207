//! Listening sockets: one place, one socket for each thread that accepts there.
//!
//! TCP: a socket a thread with SO_REUSEPORT, so that the kernel spreads connections and no thread wakes for another's.
//! Unix: one socket, a descriptor of it for each thread; the ring's accepts wait exclusively, so one thread wakes.
//! What every connection shall have is set on the listener, which its connections inherit: no call per connection.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};

use crate::base::limits::USER_TIMEOUT;
use crate::driver::sys::claim::{Claim, ClaimError};

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Port 0: any free port, see [`Listening::place`].
    Tcp(SocketAddr),
    /// `mode`: the socket file's permissions; without one, those that the umask leaves.
    Unix { path: PathBuf, mode: Option<u32> },
}

/// One listening place of this process.
#[derive(Debug)]
pub struct Listening {
    /// With the port that was really taken.
    pub place: Place,
    /// One for each thread that accepts.
    pub sockets: Vec<OwnedFd>,
    /// What keeps a second courier away; to be held until the process ends.
    pub claim: Claim,
}

/// The place, and why it cannot be listened on. One line with the cause, and the remedy where there is one.
#[derive(Debug)]
pub struct ListenError {
    pub place: Place,
    pub cause: ListenCause,
}

#[derive(Debug)]
pub enum ListenCause {
    ServedByCourier,
    /// Another program listens there.
    InUse,
    /// The file at the socket's path is something else.
    NotASocket,
    Other(io::Error),
}

impl Listening {
    /// Listens with so many sockets. `send_buffer_bytes` becomes SO_SNDBUF of every connection.
    pub fn open(place: &Place, sockets: usize, send_buffer_bytes: usize) -> Result<Self, ListenError> {
        assert!(sockets > 0, "a place that nobody accepts on");
        let opened = match place {
            Place::Tcp(address) => open_tcp(*address, sockets, send_buffer_bytes),
            Place::Unix { path, mode } => open_unix(path, *mode, sockets, send_buffer_bytes),
        };
        opened.map_err(|cause| ListenError { place: place.clone(), cause })
    }
}

fn open_tcp(address: SocketAddr, count: usize, send_buffer_bytes: usize) -> Result<Listening, ListenCause> {
    let mut claim = if address.port() == 0 { None } else { Some(Claim::new(&address.to_string())?) };
    let mut address = address;
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = tcp_socket(address, send_buffer_bytes)?;
        // Port 0 asked for any: the sockets after the first take the one that it got.
        address = socket.local_addr()?.as_socket().unwrap_or(address);
        if claim.is_none() {
            claim = Some(Claim::new(&address.to_string())?);
        }
        sockets.push(TcpListener::from(socket).into());
    }
    let claim = claim.expect("a place that nobody accepts on was refused above");
    Ok(Listening { place: Place::Tcp(address), sockets, claim })
}

fn tcp_socket(address: SocketAddr, send_buffer_bytes: usize) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `[::]:8080` serves IPv4 too, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nodelay(true)?;
    socket.set_send_buffer_size(send_buffer_bytes)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(USER_TIMEOUT).with_interval(KEEP_ALIVE_INTERVAL).with_retries(3),
    )?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn open_unix(
    path: &Path,
    mode: Option<u32>,
    count: usize,
    send_buffer_bytes: usize,
) -> Result<Listening, ListenCause> {
    let claim = Claim::new(&format!("unix:{}", path.display()))?;
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_send_buffer_size(send_buffer_bytes)?;
    socket.bind(&SockAddr::unix(path)?)?;
    if let Some(mode) = mode {
        // Before listen: until then nobody can connect, so there is no moment with other permissions.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    socket.listen(BACKLOG)?;
    let listener = UnixListener::from(socket);
    let mut sockets = Vec::with_capacity(count);
    for _ in 1..count {
        sockets.push(listener.try_clone()?.into());
    }
    sockets.push(listener.into());
    Ok(Listening { place: Place::Unix { path: path.to_owned(), mode }, sockets, claim })
}

/// Removes the socket file of a process that is gone. If anybody answers there, or if it is no socket, it stays.
fn remove_stale(path: &Path) -> Result<(), ListenCause> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(ListenCause::Other(error)),
        Ok(file) if !file.file_type().is_socket() => return Err(ListenCause::NotASocket),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(std::fs::remove_file(path)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(ListenCause::Other(error)),
        Ok(_) => Err(ListenCause::InUse),
    }
}

impl From<io::Error> for ListenCause {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::AddrInUse { Self::InUse } else { Self::Other(error) }
    }
}

impl From<ClaimError> for ListenCause {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::Taken => Self::ServedByCourier,
            ClaimError::Other(error) => Self::Other(error),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(formatter, "{address}"),
            Self::Unix { path, .. } => write!(formatter, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.place;
        match &self.cause {
            ListenCause::ServedByCourier => write!(formatter, "{place} is already served by another courier"),
            ListenCause::InUse => write!(
                formatter,
                "{place} is in use by another program: stop it, or listen elsewhere (see who it is with ss -lptn)"
            ),
            ListenCause::NotASocket => {
                write!(
                    formatter,
                    "{place}: there is a file that is no socket; move it away, or listen elsewhere"
                )
            }
            ListenCause::Other(error) if error.kind() == io::ErrorKind::PermissionDenied => write!(
                formatter,
                "{place}: permission denied; ports below 1024 need CAP_NET_BIND_SERVICE, a socket needs a directory \
                 that courier may write to"
            ),
            ListenCause::Other(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                write!(
                    formatter,
                    "{place}: this machine has no such address; `ip address` lists those it has"
                )
            }
            ListenCause::Other(error) => write!(formatter, "{place} cannot be listened on: {error}"),
        }
    }
}

impl std::error::Error for ListenError {}

/// Connections that wait for an accept, for each socket; the kernel caps it at net.core.somaxconn (4,096 by default).
const BACKLOG: i32 = 4_096;
/// After USER_TIMEOUT of silence, a probe every this often; with TCP_USER_TIMEOUT the first unanswered one ends it.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn open(place: &Place) -> Result<Listening, ListenError> {
        Listening::open(place, 2, 65_536)
    }

    fn loopback() -> Place {
        Place::Tcp("127.0.0.1:0".parse().unwrap())
    }

    fn error(place: &Place) -> String {
        open(place).unwrap_err().to_string()
    }

    #[test]
    fn all_sockets_of_a_place_share_one_port_and_pass_their_options_on() {
        let listening = open(&loopback()).unwrap();
        let Place::Tcp(address) = listening.place else { panic!("a TCP place became another") };
        assert_ne!(address.port(), 0);
        assert_eq!(listening.sockets.len(), 2);
        let client = std::net::TcpStream::connect(address).unwrap();
        for socket in listening.sockets {
            let socket = Socket::from(TcpListener::from(socket));
            socket.set_nonblocking(true).unwrap();
            if let Ok((connection, _)) = socket.accept() {
                assert!(connection.nodelay().unwrap());
                assert!(connection.keepalive().unwrap());
                assert_eq!(connection.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
                assert_eq!(connection.send_buffer_size().unwrap(), 2 * 65_536, "the kernel doubles it");
                return drop(client);
            }
        }
        panic!("neither socket has the connection");
    }

    #[test]
    fn a_second_courier_is_told_apart_from_another_program() {
        let listening = open(&loopback()).unwrap();
        let place = &listening.place;
        assert_eq!(error(place), format!("{place} is already served by another courier"));

        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = Place::Tcp(other.local_addr().unwrap());
        assert!(error(&taken).starts_with(&format!("{taken} is in use by another program")));
    }

    #[test]
    fn the_wildcard_of_ipv6_serves_ipv4_too() {
        let listening = open(&Place::Tcp("[::]:0".parse().unwrap())).unwrap();
        let Place::Tcp(address) = listening.place else { panic!("a TCP place became another") };
        std::net::TcpStream::connect(("127.0.0.1", address.port())).unwrap();
    }

    #[test]
    fn an_address_of_another_machine_is_named_as_such() {
        let message = error(&Place::Tcp("192.0.2.1:8080".parse().unwrap()));
        assert!(message.contains("this machine has no such address"), "{message}");
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
        let directory = std::env::temp_dir().join(format!("courier-listen-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let place = |name: &str| Place::Unix { path: directory.join(name), mode: Some(0o600) };

        drop(UnixListener::bind(directory.join("stale")).unwrap());
        let listening = open(&place("stale")).unwrap();
        assert_eq!(listening.sockets.len(), 2);
        let mode = std::fs::metadata(directory.join("stale")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        UnixStream::connect(directory.join("stale")).unwrap();
        assert!(error(&place("stale")).ends_with("is already served by another courier"));

        let _live = UnixListener::bind(directory.join("live")).unwrap();
        assert!(error(&place("live")).contains("in use by another program"));
        UnixStream::connect(directory.join("live")).unwrap();

        std::fs::write(directory.join("file"), "precious").unwrap();
        assert!(error(&place("file")).contains("no socket"));
        assert_eq!(std::fs::read(directory.join("file")).unwrap(), b"precious");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
