//! The ring: what a driver asks of the kernel for its sockets, in bulk, through a safe interface.
//!
//! Sockets are direct descriptors: entries of the ring's own file table, whose index is the machine's slot. Nothing
//! enters the process table, and the kernel hands out free slots. One ring belongs to the thread that made it.
//!
//! Memory that the kernel reads or writes, and why it is never gone too early:
//! - the bytes of a send are borrowed for the call of [`Ring::volley`], which returns when no send is in flight. A
//!   send carries MSG_DONTWAIT | MSG_WAITALL, so when io_uring_enter has taken it, its bytes have been copied, or its
//!   failure or short count is in the completion queue; it never waits in the kernel (measured on 6.18);
//! - received bytes lie in buffers of the ring, which live until the ring has been torn down;
//! - the addresses of those who are accepted come to lie in the ring's inbox, which outlives its io_uring;
//! - everything else goes by value, or lies in a box of the ring or on the stack of a call that waits for it.
//!
//! Cost: a volley of 1,024 sends is one system call; a turn without anything to submit or reap is none.

#![allow(unsafe_code)] // The one ring file; see the blocks.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::io;
use std::mem::forget;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, CancelBuilder, DestinationSlot, Fd, Fixed, TimeoutFlags, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};

use crate::base::limits::FLUSH_CONNECTIONS;
use crate::base::number::small;
use crate::base::socket::{Slot, SocketKey};
use crate::base::time::Time;
use crate::driver::uring::accepts::{Accepts, Order, Single};
use crate::driver::uring::inbox::{Chunk, Completion, Event, Inbox};
use crate::driver::uring::options::{Bells, RingError, RingOptions};
use crate::driver::uring::token::{Kind, Token};
use crate::shard::input::Unsent;

pub struct Ring {
    pub(super) uring: IoUring,
    buffers: Buffers,
    pub(super) inbox: Inbox,
    pub(super) listeners: Vec<OwnedFd>,
    /// When paused accepts are armed again.
    pub(super) accept_at: Option<Time>,
    timer: Timer,
    /// The near bell, which the ring polls; its owner keeps it open.
    bell: Fd,
}

/// Which directions of a socket to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// FIN; the peer may still send.
    Write,
    /// Both: the receive completes with a hang-up.
    Both,
}

impl Ring {
    /// A ring of the calling thread. The bells must stay open as long as the ring.
    pub fn new(options: RingOptions, bells: Bells<'_>) -> Result<Self, RingError> {
        let uring = IoUring::builder()
            // Only this thread submits; the kernel spares the locks and holds us to it.
            .setup_single_issuer()
            // Completions are worked off when we ask, in bulk, and never in the middle of our own work ..
            .setup_defer_taskrun()
            // .. and a flag in the queue says whether there are any, so that asking is free when there are none.
            .setup_taskrun_flag()
            // A bad entry does not hold up those behind it.
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)
            .map_err(RingError::Setup)?;
        for (has, what) in [
            (uring.params().is_feature_nodrop(), "IORING_FEAT_NODROP"),
            (uring.params().is_feature_skip_cqe_on_success(), "IORING_FEAT_CQE_SKIP"),
        ] {
            if !has {
                return Err(RingError::Missing(what));
            }
        }
        let submitter = uring.submitter();
        submitter.register_files_sparse(options.slots).map_err(RingError::Files)?;
        submitter.register_eventfd(bells.far.as_raw_fd()).map_err(RingError::Bell)?;
        // Shutdowns are carried out by the kernel's worker threads: one is enough, and keeps them in order. A kernel
        // that cannot be told has its own bound.
        let _ = submitter.register_iowq_max_workers(&mut [1, 1]);
        let buffers =
            Buffers::new(&uring, options.buffers, options.buffer_bytes).map_err(RingError::Buffers)?;
        let mut ring = Self {
            uring,
            buffers,
            inbox: Inbox { accepts: Accepts::new(options.slots), ..Inbox::default() },
            listeners: Vec::new(),
            accept_at: None,
            timer: Timer::default(),
            bell: Fd(bells.near.as_raw_fd()),
        };
        // A thread that works, or rests in the ring, is not to be rung for.
        ring.is_up();
        ring.arm_bell();
        Ok(ring)
    }

    /// Arms a receive that stays armed until the socket hangs up.
    pub fn receive(&mut self, socket: SocketKey) {
        let entry = opcode::RecvMulti::new(Fixed(socket.slot.0), BUFFER_GROUP).build();
        self.push(entry, Token::of(Kind::Receive, socket));
    }

    /// Reports once when the socket takes bytes again.
    pub fn await_writable(&mut self, socket: SocketKey) {
        if self.inbox.poll(socket) {
            let entry = opcode::PollAdd::new(Fixed(socket.slot.0), POLL_OUT).build();
            self.push(entry, Token::of(Kind::Writable, socket));
        }
    }

    /// Ends one or both directions; bytes already taken by the kernel are still sent.
    pub fn shutdown(&mut self, socket: SocketKey, end: End) {
        let how = match end {
            End::Write => libc::SHUT_WR,
            End::Both => libc::SHUT_RDWR,
        };
        self.inbox.shutdown(socket.slot);
        self.push(
            opcode::Shutdown::new(Fixed(socket.slot.0), how).build(),
            Token::of(Kind::Shutdown, socket),
        );
    }

    /// Closes the socket, once the shutdowns that were asked for have been carried out: they would hit the slot's next
    /// owner. To be called after its hang-up only: an armed receive would keep it open and send no FIN.
    pub fn close(&mut self, socket: SocketKey) {
        if self.inbox.unpoll(socket) {
            // A poll holds the socket as well.
            self.cancel(Token::of(Kind::Writable, socket));
        }
        if self.inbox.may_close(socket.slot) {
            self.close_slot(socket.slot);
        }
    }

    fn close_slot(&mut self, slot: Slot) {
        // Whatever is armed from here on is submitted behind the close.
        self.inbox.accepts.freed_slot();
        self.push_quiet(opcode::Close::new(Fixed(slot.0)).build());
    }

    /// Moves an ordinary descriptor into the file table, into a slot of the kernel's choice.
    pub fn install(&mut self, descriptor: OwnedFd) -> io::Result<Slot> {
        let mut number = descriptor.as_raw_fd();
        let guard = AbortOnUnwind;
        self.make_room(1);
        let entry = opcode::FilesUpdate::new(&raw mut number, 1).offset(SLOT_BY_KERNEL).build();
        self.push(entry, Token::new(Kind::Install, 0));
        // The kernel writes the slot into `number` while it carries the request out, which ends with the completion.
        let count = self.installed();
        forget(guard);
        // The table's own reference keeps the socket; ours ends here.
        drop(descriptor);
        if count != 1 {
            return Err(io::Error::from_raw_os_error(-count.min(0)));
        }
        self.inbox.accepts.took_slot();
        // SAFETY: `number` is a live local; the kernel wrote it before it completed the request, behind the compiler's
        // back, hence the volatile read.
        // JUSTIFICATION: the only way to let the kernel choose the slot, as it does for accepts.
        let slot = unsafe { (&raw const number).read_volatile() };
        Ok(Slot(u32::try_from(slot).expect("the kernel says which slot it chose")))
    }

    /// An ordinary descriptor of the socket in a slot, beside that slot: for what the kernel tells by number only. One
    /// system call; needs Linux 6.8.
    pub fn export(&mut self, slot: Slot) -> io::Result<OwnedFd> {
        self.push(opcode::FixedFdInstall::new(Fixed(slot.0), 0).build(), Token::new(Kind::Install, 0));
        let descriptor = self.installed();
        if descriptor < 0 {
            return Err(io::Error::from_raw_os_error(-descriptor));
        }
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows its number.
        // JUSTIFICATION: a direct descriptor has no number that getpeername(2) would take.
        Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
    }

    /// Waits for the outcome of the one installation that has been pushed.
    fn installed(&mut self) -> i32 {
        loop {
            self.submit(EnterFlags::empty());
            self.collect();
            match self.inbox.installed.take() {
                None => self.run_deferred_work(),
                Some(outcome) => return outcome,
            }
        }
    }

    /// Sends all of these, and returns when the kernel has taken or refused each; no send is in flight then. Those
    /// that were not taken whole are put into `unsent`, in no particular order. At most one send for each socket.
    // Hot: once per flush. One system call; 64 bytes of queue a send.
    pub fn volley<'a>(
        &mut self,
        count: usize,
        send: impl Fn(usize) -> (Slot, &'a [u8]),
        unsent: &mut Vec<Unsent>,
    ) {
        assert!(count <= FLUSH_CONNECTIONS, "a volley has a bound");
        self.make_room(count);
        self.inbox.volley = (self.inbox.volley + 1) % SocketKey::GENERATIONS;
        let guard = AbortOnUnwind;
        let mut submissions = self.uring.submission();
        for position in 0..small(count) {
            let (slot, bytes) = send(position as usize);
            let token = Token { kind: Kind::Send, generation: self.inbox.volley, slot: position };
            let entry = opcode::Send::new(Fixed(slot.0), bytes.as_ptr(), small(bytes.len()))
                .flags(libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
                .build()
                .flags(squeue::Flags::SKIP_SUCCESS)
                .user_data(token.pack());
            // SAFETY: the bytes are borrowed for 'a, which outlives this call; `submit` below does not return before
            // the kernel has taken every entry, and with these flags a taken send is a finished one (see the module).
            // If this call unwinds between, the guard ends the process before the borrow ends.
            // JUSTIFICATION: 4.1 us of CPU a send against 4.3 us by send(2); see DESIGN, section 5.
            let pushed = unsafe { submissions.push(&entry) };
            assert!(pushed.is_ok(), "room was made for the volley");
        }
        drop(submissions);
        self.submit(EnterFlags::empty());
        self.collect();
        forget(guard);
        unsent.append(&mut self.inbox.unsent);
    }

    /// Submits what was asked for and sorts what has completed. A system call only if there is something to do.
    pub fn reap(&mut self, now: Time) {
        self.arm_again(now);
        let submissions = self.uring.submission();
        let is_due = !submissions.is_empty() || submissions.taskrun() || submissions.cq_overflow();
        drop(submissions);
        if is_due {
            self.submit(EnterFlags::GETEVENTS);
        }
        self.collect();
        // A storm of accepts or hang-ups comes in pieces; a turn takes as many as it can work off.
        while self.inbox.events.len() < EVENTS_PER_TURN && self.uring.submission().taskrun() {
            self.run_deferred_work();
            self.collect();
        }
    }

    /// The next event, in the order of completion.
    pub fn next_event(&mut self) -> Option<Event> {
        let event = self.inbox.events.pop_front();
        if matches!(event, Some(Event::Timer)) {
            self.timer.armed = None;
        }
        event
    }

    /// The bytes of a chunk.
    pub fn bytes(&self, chunk: &Chunk) -> &[u8] {
        self.buffers.bytes(chunk)
    }

    /// Lets the kernel use the chunk's buffer again.
    pub fn give_back(&mut self, chunk: Chunk) {
        self.buffers.give_back(chunk.buffer);
    }

    fn arm_bell(&mut self) {
        let poll = opcode::PollAdd::new(self.bell, POLL_IN).multi(true).build();
        self.push(poll, Token::new(Kind::Bell, 0));
    }

    pub(super) fn arm_again(&mut self, now: Time) {
        if std::mem::take(&mut self.inbox.bell_again) {
            self.arm_bell();
        }
        self.resume_accepts(now);
        for slot in std::mem::take(&mut self.inbox.closes) {
            self.close_slot(slot);
        }
        self.inbox.accepts.pass(now);
        while let Some(order) = self.inbox.accepts.next_order() {
            self.order_accept(order);
        }
        // The chunks of the previous round have been given back by now, so that this is no loop of ENOBUFS.
        for socket in std::mem::take(&mut self.inbox.receive_again) {
            self.receive(socket);
        }
    }

    fn order_accept(&mut self, order: Order) {
        let slot = DestinationSlot::auto_target();
        match order {
            Order::Multishot(listener) => {
                let entry =
                    opcode::AcceptMulti::new(self.listener(listener)).allocate_file_index(true).build();
                self.push(entry, Token::new(Kind::Accept, listener));
            }
            Order::Single(Single { listener, place }) => {
                let (address, length) = self.inbox.addresses.prepare(place);
                let accept = opcode::Accept::new(self.listener(listener), address, length);
                let token = Token { kind: Kind::Accept, generation: place, slot: listener };
                self.push(accept.file_index(Some(slot)).build(), token);
            }
            Order::Cancel(listener) => self.cancel_accepts(listener),
        }
    }

    fn listener(&self, listener: u32) -> Fd {
        Fd(self.listeners[listener as usize].as_raw_fd())
    }

    /// Ends every accept of a listener: nothing else is asked of its descriptor.
    pub(super) fn cancel_accepts(&mut self, listener: u32) {
        let accepts = CancelBuilder::fd(self.listener(listener)).all();
        self.push_quiet(opcode::AsyncCancel2::new(accepts).build());
    }

    pub(super) fn set_timer(&mut self, deadline: Option<Time>) {
        let deadlines = [deadline, self.accept_at, self.inbox.accepts.rest_until()];
        let Some(deadline) = deadlines.into_iter().flatten().min() else { return };
        // An earlier timer than needed is left alone: it fires, and the next wait asks again.
        if self.timer.armed.is_some_and(|armed| armed <= deadline) {
            return;
        }
        let token = Token::new(Kind::Timer, 0);
        let nanos = deadline.as_nanos();
        *self.timer.timespec = Timespec::new()
            .sec(nanos / 1_000_000_000)
            .nsec(u32::try_from(nanos % 1_000_000_000).expect("a remainder of 10^9 has 32 bits"));
        let timespec: *const Timespec = &raw const *self.timer.timespec;
        if self.timer.armed.replace(deadline).is_some() {
            // If the timer fires before this arrives, its event comes and the next wait asks again.
            self.push_quiet(
                opcode::TimeoutUpdate::new(token.pack(), timespec).flags(TimeoutFlags::ABS).build(),
            );
        } else {
            self.push(opcode::Timeout::new(timespec).flags(TimeoutFlags::ABS).build(), token);
        }
    }

    fn cancel(&mut self, token: Token) {
        self.push_quiet(opcode::AsyncCancel2::new(CancelBuilder::user_data(token.pack())).build());
    }

    /// Submits a request whose success says nothing and whose failure shows elsewhere.
    fn push_quiet(&mut self, entry: squeue::Entry) {
        self.push(entry.flags(squeue::Flags::SKIP_SUCCESS), Token::new(Kind::Quiet, 0));
    }

    fn push(&mut self, entry: squeue::Entry, token: Token) {
        let entry = entry.user_data(token.pack());
        self.make_room(1);
        // SAFETY: entries made by this file carry no pointers, but for four that see to it themselves: sends (pushed by
        // `volley`, not here); the timer's box (the ring's own; the kernel copies it when it takes the entry, which `is_awake` waits for);
        // the number that `install` keeps on its stack until the request has completed; and an accept's place for its
        // address, which lies in a box of the inbox that is made once, is nobody else's while the accept is armed (see
        // `accepts`), and is dropped after the io_uring, when the kernel carries nothing out for us any more.
        // JUSTIFICATION: the crate has no other way to submit.
        let pushed = unsafe { self.uring.submission().push(&entry) };
        assert!(pushed.is_ok(), "room was made for one entry");
    }

    /// Submits what is queued if so many entries would not fit behind it.
    fn make_room(&mut self, count: usize) {
        let submissions = self.uring.submission();
        if submissions.capacity() - submissions.len() < count {
            drop(submissions);
            self.submit(EnterFlags::empty());
        }
    }

    /// Returns when the kernel has taken every queued entry; with GETEVENTS also, at least once, when it has finished
    /// what it had put off for us.
    pub(super) fn submit(&mut self, flags: EnterFlags) {
        let mut is_due = flags.contains(EnterFlags::GETEVENTS);
        for _ in 0..SUBMIT_ATTEMPTS {
            let queued = self.uring.submission().len();
            if queued == 0 && !is_due {
                return;
            }
            match self.enter(small(queued), flags) {
                Ok(_) => is_due = false,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    // The completion queue is backed up, or the kernel is short of memory: make room, try again.
                    Some(libc::EBUSY | libc::EAGAIN) => self.collect(),
                    _ => panic!("io_uring_enter fails for a ring that was probed: {error}"),
                },
            }
        }
        panic!("the kernel does not take submissions: it is out of memory");
    }

    /// Lets the kernel finish what it has put off for us, and move what did not fit into the completion queue.
    pub(super) fn run_deferred_work(&self) {
        match self.enter(0, EnterFlags::GETEVENTS) {
            Ok(_) => {}
            // Interrupted, or still backed up: what is missing is flagged, and the caller asks again.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)) => {}
            Err(error) => panic!("io_uring_enter fails for a ring that was probed: {error}"),
        }
    }

    fn enter(&self, count: u32, flags: EnterFlags) -> io::Result<usize> {
        // SAFETY: no argument is passed besides numbers; what the queued entries point to is their pusher's promise.
        // JUSTIFICATION: `Submitter::submit` would ask for deferred work on its own whenever there is some; here the
        // volley submits without, so that nothing else is done between its sends.
        unsafe { self.uring.submitter().enter::<libc::sigset_t>(count, 0, flags.bits(), None) }
    }

    /// Sorts the completions that are there, until there are none and none wait outside the queue.
    pub(super) fn collect(&mut self) {
        loop {
            for entry in self.uring.completion() {
                self.inbox.sort(Completion {
                    token: Token::unpack(entry.user_data()),
                    result: entry.result(),
                    buffer: cqueue::buffer_select(entry.flags()),
                    more: cqueue::more(entry.flags()),
                });
            }
            for buffer in self.inbox.buffers.drain(..) {
                self.buffers.give_back(buffer);
            }
            if !self.uring.submission().cq_overflow() {
                break;
            }
            self.run_deferred_work();
        }
        // With IORING_FEAT_NODROP this counts only what the kernel had no memory to keep: a volley could not be settled.
        assert!(self.uring.completion().overflow() == 0, "the kernel lost a completion");
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Receives that are still armed find no buffers from here on; see `Buffers`.
        let _ = self.uring.submitter().unregister_buf_ring(BUFFER_GROUP);
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Ring").field("inbox", &self.inbox).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Timer {
    /// The time that the kernel's timer is set to.
    armed: Option<Time>,
    timespec: Box<Timespec>,
}

/// The receive buffers and the queue in which the kernel is told which are free.
///
/// Both live in allocations of their own that are touched through raw pointers only, since the kernel reads and writes
/// them too. Invariant: a buffer is either in the queue (the kernel's) or in exactly one chunk (ours).
struct Buffers {
    /// `count` entries; the first one's last field is the queue's tail.
    queue: NonNull<BufRingEntry>,
    /// `count` buffers of `bytes` each.
    memory: NonNull<u8>,
    count: u16,
    bytes: u32,
    tail: u16,
}

impl Buffers {
    fn new(uring: &IoUring, count: u16, bytes: u32) -> io::Result<Self> {
        assert!(count.is_power_of_two() && bytes > 0, "the kernel takes powers of two only");
        let (queue_layout, memory_layout) = Self::layouts(count, bytes);
        // SAFETY: neither layout is empty.
        // JUSTIFICATION: the queue must be aligned to a page, and neither may be aliased by a reference.
        let (queue, memory) = unsafe { (alloc_zeroed(queue_layout), alloc_zeroed(memory_layout)) };
        let Some(queue) = NonNull::new(queue.cast::<BufRingEntry>()) else {
            handle_alloc_error(queue_layout)
        };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(memory_layout) };
        // SAFETY: the range is the allocation just made and the rest of its last page; populating changes no byte.
        // JUSTIFICATION: the kernel goes through all buffers in turn, so all of it is needed anyway: at the start, and not
        // as page faults of the first connections. A kernel that refuses faults them in as they are used.
        unsafe {
            libc::madvise(memory.as_ptr().cast(), memory_layout.size(), libc::MADV_POPULATE_WRITE);
        }
        let mut buffers = Self { queue, memory, count, bytes, tail: 0 };
        // SAFETY: the queue is page-aligned, has `count` entries, and lives as long as the ring: `Ring` drops its
        // io_uring before its buffers, and unregisters the queue before that.
        // JUSTIFICATION: provided buffers make memory a matter of how many sockets speak, not of how many there are.
        unsafe {
            uring.submitter().register_buf_ring_with_flags(queue.as_ptr() as u64, count, BUFFER_GROUP, 0)?;
        }
        for buffer in 0..count {
            buffers.give_back(buffer);
        }
        Ok(buffers)
    }

    fn bytes(&self, chunk: &Chunk) -> &[u8] {
        assert!(chunk.buffer < self.count && chunk.length <= self.bytes, "a chunk lies in its buffer");
        let start = usize::from(chunk.buffer) * self.bytes as usize;
        // SAFETY: in bounds by the assertion; initialised (zeroed, then written by the kernel before the completion);
        // and not written while the chunk exists: a chunk is made only by a completion that took its buffer out of
        // the queue, and `give_back` consumes it, for which it cannot be borrowed.
        // JUSTIFICATION: received bytes are read where the kernel put them.
        unsafe { std::slice::from_raw_parts(self.memory.add(start).as_ptr(), chunk.length as usize) }
    }

    // Hot: once per receive.
    fn give_back(&mut self, buffer: u16) {
        assert!(buffer < self.count, "the kernel knows the buffers it was given");
        let place = usize::from(self.tail & (self.count - 1));
        let start = usize::from(buffer) * self.bytes as usize;
        // SAFETY: the place is in bounds; the kernel does not read it until the tail has moved past it, which the
        // release store does after the entry is written. The fields are set one by one since the first entry's last
        // field is the tail itself. The tail's address is aligned and lives as long as the queue.
        // JUSTIFICATION: this is how provided buffers are handed over without a system call.
        unsafe {
            let entry = &mut *self.queue.add(place).as_ptr();
            entry.set_addr(self.memory.add(start).as_ptr() as u64);
            entry.set_len(self.bytes);
            entry.set_bid(buffer);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(self.queue.as_ptr()).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }

    fn layouts(count: u16, bytes: u32) -> (Layout, Layout) {
        let queue = Layout::from_size_align(usize::from(count) * size_of::<BufRingEntry>(), PAGE);
        let memory = Layout::from_size_align(usize::from(count) * bytes as usize, PAGE);
        (queue.expect("a queue is below 512 KiB"), memory.expect("the options are our own and small"))
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        let (queue, memory) = Self::layouts(self.count, self.bytes);
        // SAFETY: allocated with these layouts in `new`, and freed once. The kernel writes into the buffers only from
        // this thread's own calls of io_uring_enter (deferred task work), of which there are no more: the io_uring,
        // declared before these in `Ring`, has been closed.
        // JUSTIFICATION: the counterpart of `new`.
        unsafe {
            dealloc(self.queue.as_ptr().cast(), queue);
            dealloc(self.memory.as_ptr(), memory);
        }
    }
}

/// Ends the process if it is dropped: while it lives, the kernel may hold pointers into the frames below.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// A volley, and as many other requests beside it.
const SUBMISSIONS: u32 = 2_048;
/// Several times the submissions: at an overflow a multishot receive ends and has to be armed again.
const COMPLETIONS: u32 = 8_192;
const SUBMIT_ATTEMPTS: u32 = 1_000;
/// How many events a turn reaps before it works them off, give or take one call's worth.
const EVENTS_PER_TURN: usize = FLUSH_CONNECTIONS;
const BUFFER_GROUP: u16 = 0;
/// IORING_FILE_INDEX_ALLOC as an offset of a file update.
const SLOT_BY_KERNEL: i32 = -1;
const PAGE: usize = 4_096;
const POLL_IN: u32 = 1;
const POLL_OUT: u32 = 4;
const _: () = assert!(SUBMISSIONS as usize >= 2 * FLUSH_CONNECTIONS);
const _: () = assert!(COMPLETIONS >= 4 * SUBMISSIONS);
const _: () = assert!(POLL_IN == libc::POLLIN as u32 && POLL_OUT == libc::POLLOUT as u32);
