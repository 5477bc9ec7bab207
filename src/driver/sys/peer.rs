//! Who is at the other end of a socket.

use std::os::fd::OwnedFd;

use socket2::SockRef;

/// Its address and port, or `unix`; none if the kernel does not say, as of a connection that has gone.
pub fn name(socket: &OwnedFd) -> Option<String> {
    let address = SockRef::from(socket).peer_addr().ok()?;
    Some(address.as_socket().map_or_else(|| "unix".to_owned(), |address| address.to_string()))
}
