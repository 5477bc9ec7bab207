//! An address held by this courier, so that a second one on the same address is told so.
//!
//! With SO_REUSEPORT the kernel would let a second courier of the same user listen beside the first and give it half
//! of the connections. So each process also binds an abstract Unix socket named after the address: the name is free
//! again the moment the process ends, however it ends, and it lives in the network namespace, as ports do.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// Held for as long as this lives.
#[derive(Debug)]
pub struct Claim {
    _name: UnixListener,
}

#[derive(Debug)]
pub enum ClaimError {
    /// Another courier holds it.
    Taken,
    Other(io::Error),
}

impl Claim {
    /// Claims an address, as written in messages: `127.0.0.1:8080`.
    pub fn new(address: &str) -> Result<Self, ClaimError> {
        let name = format!("courier/{address}");
        let name = SocketAddr::from_abstract_name(name).map_err(ClaimError::Other)?;
        match UnixListener::bind_addr(&name) {
            Ok(listener) => Ok(Self { _name: listener }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(ClaimError::Taken),
            Err(error) => Err(ClaimError::Other(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_claimed_once_until_it_is_let_go() {
        let name = format!("test-{}", std::process::id());
        let claim = Claim::new(&name).unwrap();
        assert!(matches!(Claim::new(&name), Err(ClaimError::Taken)));
        drop(claim);
        assert!(Claim::new(&name).is_ok());
    }
}
