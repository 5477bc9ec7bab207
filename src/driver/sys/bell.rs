//! A thread's doorbell: one eventfd that its ring and every other thread can ring, and the one point where it waits.
//!
//! glommio exposes no way to wait on a foreign descriptor, but its streams wait before they read: the first read of a
//! new stream polls the descriptor, and the recv(2) that follows fails with ENOTSOCK, which only means "it rings". So
//! a wait makes a stream of the eventfd, polls it once through, and forgets it: the stream would close the eventfd.
//! Measured: nothing is leaked (the stream owns nothing but its poll, which is over by then), and waiting uses no CPU.
//! The test below pins this behaviour of glommio 0.9; it must stay as long as the bridge does.

#![allow(unsafe_code)] // eventfd(2) has no wrapper in std; see the blocks.

use std::future::poll_fn;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::pin::Pin;

use futures_lite::io::AsyncRead;
use glommio::net::UnixStream;

#[derive(Debug)]
pub struct Bell {
    eventfd: OwnedFd,
}

impl Bell {
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers; a result that is not negative is a new descriptor that nothing else owns.
        // JUSTIFICATION: the one object that io_uring, a poll and another thread can all signal.
        let eventfd = unsafe {
            let eventfd = libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC);
            if eventfd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(eventfd)
        };
        Ok(Self { eventfd })
    }

    /// Wakes the thread that waits, or the next wait.
    pub fn ring(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: the buffer is live for the length given; the descriptor is ours.
        // JUSTIFICATION: File would do, but not behind a shared reference without an allocation.
        let count = unsafe { libc::write(self.eventfd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        // EAGAIN: 2^64 - 2 rings that nobody silenced; it rings all the same.
        debug_assert!(count == 8 || io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN));
    }

    /// Takes back every ring so far. True: there was one.
    pub fn silence(&self) -> bool {
        let mut count = [0_u8; 8];
        // SAFETY: the buffer is live and writable for the length given; the descriptor is ours and does not block.
        // JUSTIFICATION: as for `ring`.
        let read = unsafe { libc::read(self.eventfd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        read == 8
    }

    /// Waits until it rings; does not silence it. To be called within a glommio executor only.
    pub async fn wait(&self) {
        // SAFETY: the descriptor is open and stays so while `self` is borrowed, and ManuallyDrop keeps the stream from
        // closing what it does not own, also if this future is dropped before it is done.
        // JUSTIFICATION: the only way into glommio's reactor for a foreign descriptor; see the module.
        let mut stream =
            ManuallyDrop::new(unsafe { <UnixStream as FromRawFd>::from_raw_fd(self.eventfd.as_raw_fd()) });
        let mut byte = [0_u8; 1];
        let result = poll_fn(|context| Pin::new(&mut *stream).poll_read(context, &mut byte)).await;
        let errno = result.as_ref().err().and_then(io::Error::raw_os_error);
        assert!(errno == Some(libc::ENOTSOCK), "glommio polls an eventfd, then fails to recv: {result:?}");
    }
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.eventfd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::time::Duration;

    use glommio::{LocalExecutorBuilder, Placement, spawn_local, timer};

    use super::*;
    use crate::driver::sys::time;

    fn run<T>(future: impl Future<Output = T>) -> T {
        LocalExecutorBuilder::new(Placement::Unbound).io_memory(0).make().unwrap().run(future)
    }

    #[test]
    fn glommio_waits_for_an_eventfd_and_does_not_close_it() {
        let bell = Arc::new(Bell::new().unwrap());
        let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        run(async {
            let rung = Rc::new(Cell::new(false));
            let ringer = {
                let (bell, rung) = (bell.clone(), rung.clone());
                spawn_local(async move {
                    timer::sleep(Duration::from_millis(20)).await;
                    rung.set(true);
                    bell.ring();
                })
            };
            bell.wait().await;
            assert!(rung.get(), "the wait is over before anyone rang");
            ringer.await;
            assert!(bell.silence());
            assert!(!bell.silence());

            let before = descriptors();
            for _ in 0..1_000 {
                bell.ring();
                bell.wait().await;
                assert!(bell.silence());
            }
            // Other tests of this process open and close theirs meanwhile, but not a thousand.
            assert!(descriptors() < before + 500, "a wait leaks a descriptor");
        });
        bell.ring();
        assert!(bell.silence(), "the eventfd outlives the executor");
    }

    #[test]
    fn another_thread_wakes_the_one_that_waits() {
        let bell = Arc::new(Bell::new().unwrap());
        let other = bell.clone();
        let ringer = std::thread::spawn(move || other.ring());
        run(bell.wait());
        ringer.join().unwrap();
        assert!(bell.silence());
    }

    #[test]
    fn waiting_uses_no_cpu() {
        let bell = Arc::new(Bell::new().unwrap());
        let other = bell.clone();
        let ringer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(500));
            other.ring();
        });
        let spent = run(async {
            // The first wait is dearer: glommio sets itself up.
            bell.ring();
            bell.wait().await;
            bell.silence();
            let before = time::thread_cpu();
            bell.wait().await;
            time::thread_cpu() - before
        });
        ringer.join().unwrap();
        assert!(spent < Duration::from_millis(2), "{spent:?} of CPU in 500 ms of waiting");
    }
}
