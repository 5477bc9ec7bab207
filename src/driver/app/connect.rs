//! Begins to connect, and does not wait: what is sent meanwhile finds the socket full, and a refusal is a hang-up.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

/// To the first of these that does not fail at once.
pub(super) fn first(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<OwnedFd> {
    let mut last = io::ErrorKind::NotFound.into();
    for address in addresses {
        match tcp(address) {
            Ok(descriptor) => return Ok(descriptor),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
    socket.set_nodelay(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        Ok(()) | Err(_) => Ok(TcpStream::from(socket).into()),
    }
}

/// A Unix socket connects at once, or not at all: if the application has more in its backlog than it takes, that is EAGAIN.
pub(super) fn unix(path: &Path) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(UnixStream::from(socket).into())
}
