//! The floor with io_uring: SENDs, 1,024 to a submission.
//!
//! The fastest that is known to be safe: one issuer, task work deferred, sockets in the ring's own file table, success
//! not reported. Every send carries MSG_DONTWAIT and MSG_WAITALL, so that when `submit` returns the kernel has copied
//! the bytes or reported that it took fewer: no send is in flight afterwards.
#![allow(unsafe_code)] // JUSTIFICATION: a submission holds raw pointers; that is what io_uring is.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, opcode, squeue, types};

/// One ring and the sockets that are known to it.
pub struct Ring {
    ring: IoUring,
    /// How many sockets are in the ring's file table.
    sockets: usize,
}

/// A send that did not go out whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short {
    pub socket: usize,
    /// Bytes that went out, or the error's number negated.
    pub result: i32,
}

const ENTRIES: u32 = 1_024;

impl Ring {
    /// A ring for at most `sockets_max` sockets.
    pub fn new(sockets_max: u32) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(4 * ENTRIES)
            .build(ENTRIES)?;
        ring.submitter().register_files_sparse(sockets_max)?;
        Ok(Self { ring, sockets: 0 })
    }

    /// Makes a socket known; it has the next index. The ring keeps it open by itself.
    pub fn add(&mut self, stream: &TcpStream) -> io::Result<()> {
        let index = u32::try_from(self.sockets).map_err(io::Error::other)?;
        self.ring.submitter().register_files_update(index, &[stream.as_raw_fd()])?;
        self.sockets += 1;
        Ok(())
    }

    /// Sends `bytes` to every socket; adds those that did not take them whole to `shorts`.
    // Hot: once per message; one submission per 1,024 sockets.
    pub fn send_to_all(&mut self, bytes: &[u8], shorts: &mut Vec<Short>) -> io::Result<()> {
        self.send(self.sockets, |index| (index, bytes), shorts)
    }

    /// Makes `count` sends in their order, each of these bytes to this socket; adds those that were not taken whole to
    /// `shorts`.
    // Hot: once per message, or per read of messages; one submission per 1,024 sends.
    pub fn send<'a>(
        &mut self,
        count: usize,
        send: impl Fn(usize) -> (usize, &'a [u8]),
        shorts: &mut Vec<Short>,
    ) -> io::Result<()> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let mut next = 0;
        while next < count {
            let mut queue = self.ring.submission();
            while next < count && !queue.is_full() {
                let (socket, bytes) = send(next);
                let index = u32::try_from(socket).map_err(io::Error::other)?;
                let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
                let send = opcode::Send::new(types::Fixed(index), bytes.as_ptr(), length)
                    .flags(flags)
                    .build()
                    .flags(squeue::Flags::SKIP_SUCCESS)
                    .user_data(u64::from(index));
                // SAFETY: the bytes are borrowed for 'a, which outlives the submission below, and by MSG_DONTWAIT with
                // MSG_WAITALL the kernel has finished with them when that returns.
                unsafe { queue.push(&send) }.map_err(io::Error::other)?;
                next += 1;
            }
            drop(queue);
            self.submit()?;
            self.reap(shorts);
        }
        Ok(())
    }

    fn submit(&self) -> io::Result<()> {
        // By reference, so that the submission is whole even if a signal interrupts it: what was not taken stays.
        loop {
            match self.ring.submit() {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn reap(&mut self, shorts: &mut Vec<Short>) {
        for entry in self.ring.completion() {
            if let Ok(socket) = usize::try_from(entry.user_data()) {
                shorts.push(Short { socket, result: entry.result() });
            }
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Ring({} sockets)", self.sockets)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn everybody_gets_the_bytes_and_a_full_socket_is_reported() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pairs: Vec<_> = (0..3)
            .map(|_| {
                let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                (client, listener.accept().unwrap().0)
            })
            .collect();
        let mut ring = Ring::new(8).unwrap();
        pairs.iter().for_each(|(_, server)| ring.add(server).unwrap());
        let mut shorts = Vec::new();
        ring.send_to_all(b"data: hi\n\n", &mut shorts).unwrap();
        assert_eq!(shorts, []);
        for (client, _) in &pairs {
            let mut client = client;
            let mut bytes = [0; 10];
            client.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, b"data: hi\n\n");
        }
        let large = vec![b'x'; 1 << 20];
        while shorts.is_empty() {
            ring.send_to_all(&large, &mut shorts).unwrap();
        }
        assert!(shorts[0].result < 1 << 20, "{shorts:?}");
    }
}
