//! One process of the swarm: thousands of subscribers on one thread and one epoll set.
//!
//! Few system calls: sockets are reported once per change, or not at all when all are looked at regularly; one read takes
//! all there is, the clock is read once per read. Invariant: `connections`, `trackers` and the tokens of the epoll set
//! have the same indexes, and so have the memories of those who come back.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::payload::Payload;
use crate::swarm::check::{Account, Check};
use crate::swarm::connection::{Connection, Scratch, Step, request, request_from};
use crate::swarm::orders::{Connected, Look, Order, Plan, Published, Report, Tally};
use crate::swarm::resume::{Returning, Returns, Turn};
use crate::swarm::sequence::Tracker;
use crate::sys::{self, Epoll, Interest, Ready};
use crate::trouble::Trouble;

/// Follows the plan and the orders on standard input until the last one, or until the input ends.
pub fn run() -> Result<(), Trouble> {
    sys::raise_open_file_limit();
    let mut orders = Orders::open()?;
    let plan = loop {
        if let Some(plan) = orders.take::<Plan>()? {
            break plan;
        }
        if !orders.fill()? {
            return Ok(());
        }
    };
    let mut worker = Worker::new(plan).map_err(Trouble::doing("epoll"))?;
    worker.epoll.add(&orders.input, ORDERS, Interest::Readable).map_err(Trouble::doing("epoll"))?;
    let mut ready = Ready::with_capacity(EVENTS_MAX);
    loop {
        while let Some(order) = orders.take()? {
            match order {
                Order::Connect { subscribers } => worker.wanted = subscribers,
                Order::Hurry => worker.hurry(),
                Order::Mark { nanos } => worker.mark(nanos),
                Order::Cutting { is_on } => worker.set_cutting(is_on),
                Order::Returns => report(&Report::Returns(worker.returns()))?,
                Order::Beats => report(&Report::Beats(worker.account.beats))?,
                Order::Count => report(&Report::Counted { delivered: worker.account.tally.delivered })?,
                Order::ForgetLatencies => worker.account.forget_latencies(),
                Order::Cut { published } => report(&Report::Finished(worker.cut(&published)))?,
                Order::Finish { published } => return report(&Report::Finished(worker.cut(&published))),
            }
        }
        worker.connect_more();
        worker.take_turns();
        worker.report_progress()?;
        let patience = worker.patience();
        let count = worker.epoll.wait(&mut ready, patience).map_err(Trouble::doing("epoll_wait"))?;
        for index in 0..count {
            match ready.token(index) {
                ORDERS if !orders.fill()? => return Ok(()),
                ORDERS => {}
                token => worker.advance(usize::try_from(token).expect("tokens are indexes")),
            }
        }
        match worker.plan.look {
            Look::WhenReported { rest_micros } => worker.rest_after(count, rest_micros),
            Look::Regularly { every_micros } | Look::Slowly { every_micros, .. } => {
                worker.look_at_all(Duration::from_micros(every_micros));
            }
        }
    }
}

const ORDERS: u64 = u64::MAX;
/// Sockets taken from one wait.
const EVENTS_MAX: usize = 1_024;
/// So many at once, and the subscribers have no time to rest.
const EVENTS_WORTH_A_LOOK: usize = 256;
/// Subscribers that share one source address; one has about 28,000 ports for each destination.
const PER_SOURCE: usize = 10_000;
/// Bytes of one read.
const READ_BYTES: usize = 256 * 1_024;
/// Subscribers that leave or dial before those are looked at who have something to read.
const TURNS_MAX: usize = 256;
/// How often at most those who look regularly say how far they are.
const WORD_INTERVAL: Duration = Duration::from_millis(5);
/// How often those are looked at who were slow.
const HURRY_MICROS: u64 = 1_000;
/// How many newly opened connections are worth a word.
const CONNECTED_STEP: usize = 500;

struct Worker {
    plan: Plan,
    payload: Payload,
    requests: Requests,
    epoll: Epoll,
    /// How many subscribers there are to be.
    wanted: usize,
    connections: Vec<Connection>,
    trackers: Vec<Tracker>,
    opening: usize,
    connected: Connected,
    /// `connected` as it was last reported, and for how many wanted.
    reported: (Connected, usize),
    /// What had arrived when it was last asked whether to rest.
    rested_at: u64,
    /// When all sockets are looked at next, where that is done regularly and some are open.
    next_look: Option<Instant>,
    /// How far all subscribers have come, if nobody was told yet; and when somebody was told last.
    unsaid: Option<u64>,
    said_at: Option<Instant>,
    account: Account,
    /// Those who come back, if an end is not the end.
    returning: Option<Returning>,
    buffer: Vec<u8>,
    body: Vec<u8>,
}

/// What the subscribers send to be subscribed.
enum Requests {
    Same(Vec<u8>),
    /// Each is made when it is needed: twenty thousand of them would lie about for nothing.
    Own,
}

impl Worker {
    fn new(plan: Plan) -> io::Result<Self> {
        Ok(Self {
            payload: Payload::new(plan.payload_bytes),
            requests: match plan.path.contains(Plan::NUMBER) {
                true => Requests::Own,
                false => Requests::Same(request(&plan.path, &plan.host)),
            },
            epoll: Epoll::new()?,
            wanted: 0,
            connections: Vec::new(),
            trackers: Vec::new(),
            opening: 0,
            connected: Connected::default(),
            reported: (Connected::default(), 0),
            rested_at: 0,
            next_look: None,
            unsaid: None,
            said_at: None,
            account: Account::new(plan.owed_from, !plan.path.contains(Plan::NUMBER), plan.beat_micros),
            returning: plan.resume.map(|resume| Returning::new(resume, plan.process.into())),
            buffer: vec![0; READ_BYTES],
            body: Vec::new(),
            plan,
        })
    }

    // Hot: once per reported socket, or per socket and look.
    fn advance(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let was_live = matches!(connection, Connection::Live(..));
        let own;
        let request = match &self.requests {
            Requests::Same(_)
                if self.returning.is_some() && matches!(connection, Connection::Connecting(_)) =>
            {
                own = request_again(&self.plan, self.returning.as_mut(), index);
                own.as_slice()
            }
            Requests::Same(request) => request.as_slice(),
            Requests::Own if matches!(connection, Connection::Connecting(_)) => {
                own = own_request(&self.plan, index);
                own.as_slice()
            }
            Requests::Own => &[],
        };
        let (account, tracker) = (&mut self.account, &mut self.trackers[index]);
        let memory = self.returning.as_mut().map(|returning| returning.memory(index));
        let mut check = Check { payload: &self.payload, account, tracker, memory };
        let (bytes, is_drained) = match self.plan.look {
            Look::Slowly { bytes, .. } if was_live => (bytes, false),
            Look::Slowly { .. } => (READ_BYTES, false),
            Look::WhenReported { .. } | Look::Regularly { .. } => (READ_BYTES, true),
        };
        let scratch = Scratch { buffer: &mut self.buffer[..bytes], body: &mut self.body, is_drained };
        match connection.advance(request, scratch, &mut check) {
            Step::Unchanged => {}
            Step::Opened => {
                self.opening -= 1;
                self.connected.live += 1;
                self.open(index);
                self.look_regularly_at(index);
            }
            Step::Ended(_) if self.comes_back(index) => self.end_for_now(index, was_live),
            Step::Rejected(reason) => {
                self.opening -= 1;
                self.fail(reason);
            }
            Step::Ended(reason) => {
                match (was_live, &self.connections[index]) {
                    (true, _) => self.connected.live -= 1,
                    (false, Connection::Ended) => {
                        // Opened and ended in one step.
                        self.opening -= 1;
                        self.account.join();
                    }
                    (false, _) => self.opening -= 1,
                }
                if matches!(self.connections[index], Connection::Ended) {
                    self.account.tally.disconnected += 1;
                    self.account.depart(self.trackers[index].next());
                }
                self.fail(reason);
            }
        }
    }

    /// Rests if there were messages or heartbeats, but so few that the subscribers are quicker than the server. A send
    /// that finds them waiting has to wake them, and on loopback it is the sender who pays for that.
    fn rest_after(&mut self, events: usize, rest_micros: u64) {
        let Account { tally, beats, .. } = &self.account;
        let arrived = tally.delivered + tally.repeated + beats.count();
        let is_fed = std::mem::replace(&mut self.rested_at, arrived) != arrived;
        if is_fed && events < EVENTS_WORTH_A_LOOK && rest_micros > 0 {
            std::thread::sleep(Duration::from_micros(rest_micros));
        }
    }

    /// The subscriber at `index` is open: from now on it is looked at with all the others, if that is the way.
    fn look_regularly_at(&mut self, index: usize) {
        if let (Look::Regularly { .. } | Look::Slowly { .. }, Connection::Live(stream, ..)) =
            (self.plan.look, &self.connections[index])
        {
            // A socket that was added and is open can be removed; were it not, it would be reported in vain.
            let _ = self.epoll.remove(stream);
            self.next_look.get_or_insert_with(Instant::now);
        }
    }

    /// Waits until it is time, then looks at every subscriber.
    fn look_at_all(&mut self, every: Duration) {
        let Some(due) = self.next_look else { return };
        let now = Instant::now();
        std::thread::sleep(due.saturating_duration_since(now));
        // A look that came late does not make the next one come sooner.
        self.next_look = Some(due.max(now) + every);
        for index in 0..self.connections.len() {
            if matches!(self.connections[index], Connection::Live(..)) {
                self.advance(index);
            }
        }
    }

    fn connect_more(&mut self) {
        while self.connections.len() < self.wanted && self.opening < self.plan.opening_max {
            let index = self.connections.len();
            let connection = self.dial(index);
            self.trackers.push(Tracker::default());
            self.returning.iter_mut().for_each(Returning::join);
            match connection {
                Ok(stream) => {
                    self.opening += 1;
                    self.connections.push(Connection::Connecting(stream));
                }
                Err(error) => {
                    self.connections.push(Connection::Refused);
                    self.fail(format!("cannot connect: {error}"));
                }
            }
        }
    }

    fn dial(&self, index: usize) -> io::Result<TcpStream> {
        let source = source(self.plan.target, self.plan.process, index);
        let stream = sys::start_connection(self.plan.target, source)?;
        self.epoll.add(&stream, index as u64, Interest::Changes)?;
        Ok(stream)
    }

    /// The subscriber at `index` has its stream, for the first time or again.
    fn open(&mut self, index: usize) {
        let Some(returning) = &mut self.returning else { return self.account.join() };
        if !returning.has_joined(index) {
            self.account.join();
        }
        returning.open(index, sys::monotonic_nanos());
    }

    /// Whether an end is not the end: who never had a stream does not try again, as a wrong address is no storm.
    fn comes_back(&self, index: usize) -> bool {
        let is_over = matches!(self.connections[index], Connection::Ended);
        self.returning.as_ref().is_some_and(|returning| is_over || returning.has_joined(index))
    }

    fn end_for_now(&mut self, index: usize, was_live: bool) {
        if was_live {
            self.connected.live -= 1;
        } else {
            self.opening -= 1;
            if matches!(self.connections[index], Connection::Ended) {
                self.open(index); // Opened and ended in one step.
            }
        }
        let had_stream = matches!(self.connections[index], Connection::Ended);
        if let Some(returning) = &mut self.returning {
            returning.end(index, had_stream, sys::monotonic_nanos(), &mut self.account.returns);
        }
    }

    /// Those leave and dial whose time has come.
    fn take_turns(&mut self) {
        for _ in 0..TURNS_MAX {
            let now = sys::monotonic_nanos();
            let Some(returning) = &mut self.returning else { return };
            match returning.take_due(now) {
                None => return,
                Some(Turn::Cut(index)) => {
                    if matches!(self.connections[index], Connection::Live(..)) {
                        self.connections[index] = Connection::Ended;
                        self.connected.live -= 1;
                        returning.cut(index, now, &mut self.account.returns);
                    }
                }
                Some(Turn::Dial(index)) => {
                    returning.dial(index, now, &self.account.returns);
                    match self.dial(index) {
                        Ok(stream) => {
                            self.opening += 1;
                            self.connections[index] = Connection::Connecting(stream);
                        }
                        Err(_) => {
                            let returning = self.returning.as_mut().expect("looked at above");
                            returning.end(index, false, now, &mut self.account.returns);
                        }
                    }
                }
            }
        }
    }

    /// How long to wait for something to read: not at all before a regular look, which waits itself; else until somebody
    /// leaves or dials.
    fn patience(&self) -> Option<Duration> {
        if self.next_look.is_some() {
            return Some(Duration::ZERO);
        }
        let due = self.returning.as_ref()?.next_due()?;
        // Up to the next millisecond, of which epoll has whole ones.
        Some(Duration::from_nanos(due.saturating_sub(sys::monotonic_nanos())) + Duration::from_millis(1))
    }

    fn mark(&mut self, nanos: u64) {
        self.account.returns.mark(nanos);
        self.returning.iter_mut().for_each(Returning::mark);
    }

    fn set_cutting(&mut self, is_on: bool) {
        let now = sys::monotonic_nanos();
        self.returning.iter_mut().for_each(|returning| returning.set_cutting(is_on, now));
    }

    fn returns(&self) -> Returns {
        self.returning.as_ref().map(|returning| returning.returns(&self.account.returns)).unwrap_or_default()
    }

    fn hurry(&mut self) {
        if let Look::Slowly { every_micros, .. } = self.plan.look {
            self.plan.look = Look::Slowly { every_micros: every_micros.min(HURRY_MICROS), bytes: READ_BYTES };
            self.next_look = self.next_look.map(|_| Instant::now());
        }
    }

    fn fail(&mut self, reason: String) {
        self.connected.failed += 1;
        self.connected.reason.get_or_insert(reason);
    }

    fn report_progress(&mut self) -> Result<(), Trouble> {
        let (last, wanted) = &self.reported;
        let settled = self.connected.live + self.connected.failed;
        let is_all = settled == self.wanted && (self.connected != *last || self.wanted != *wanted);
        if is_all || self.connected.live >= last.live + CONNECTED_STEP {
            self.reported = (self.connected.clone(), self.wanted);
            report(&Report::Connected(self.connected.clone()))?;
        }
        self.unsaid = self.account.advance().or(self.unsaid);
        // Who looks regularly comes by here all the time.
        let is_early = matches!(self.plan.look, Look::Regularly { .. })
            && self.said_at.is_some_and(|said| said.elapsed() < WORD_INTERVAL);
        match self.unsaid {
            Some(next) if !is_early => {
                (self.unsaid, self.said_at) = (None, Some(Instant::now()));
                report(&Report::Frontier { next })
            }
            _ => Ok(()),
        }
    }

    /// Ends the count here; what came to pass since the last.
    fn cut(&mut self, published: &Published) -> Tally {
        let subscribers = self.trackers.iter().zip(&self.connections).enumerate();
        // Those that never opened are counted as not connected, not as a loss of each message.
        let opened = subscribers.filter_map(|(index, (tracker, connection))| {
            let has_joined = self.returning.as_ref().is_some_and(|returning| returning.has_joined(index));
            let had_stream = has_joined || matches!(connection, Connection::Live(..) | Connection::Ended);
            had_stream.then_some((index, *tracker))
        });
        self.account.cut(published, opened)
    }
}

/// The request of the subscriber at `index`, for its own channel.
fn own_request(plan: &Plan, index: usize) -> Vec<u8> {
    let number = usize::from(plan.process) + index * usize::from(plan.processes);
    request(&plan.path.replace(Plan::NUMBER, &number.to_string()), &plan.host)
}

/// The request of the subscriber at `index`, with what it was given last.
fn request_again(plan: &Plan, returning: Option<&mut Returning>, index: usize) -> Vec<u8> {
    let last_id = returning.map(|returning| returning.memory(index).last_id()).unwrap_or_default();
    request_from(&plan.path, &plan.host, last_id)
}

/// 127.x.y.1 for a target on this machine, so that many more connections than one address has ports can be open.
fn source(target: SocketAddr, process: u8, index: usize) -> Option<Ipv4Addr> {
    let SocketAddr::V4(target) = target else { return None };
    let group = u8::try_from(index / PER_SOURCE).unwrap_or(u8::MAX - 1) + 1;
    target.ip().is_loopback().then(|| Ipv4Addr::new(127, process.saturating_add(1), group, 1))
}

fn report(report: &Report) -> Result<(), Trouble> {
    let mut line = serde_json::to_vec(report).map_err(|error| Trouble::Swarm(error.to_string()))?;
    line.push(b'\n');
    io::stdout().write_all(&line).and_then(|()| io::stdout().flush()).map_err(Trouble::doing("report"))
}

/// Lines from standard input, read so that no line hides in a buffer while the epoll set is asked for more.
struct Orders {
    input: File,
    pending: Vec<u8>,
}

impl Orders {
    fn open() -> Result<Self, Trouble> {
        let input = io::stdin().as_fd().try_clone_to_owned().map_err(Trouble::doing("standard input"))?;
        Ok(Self { input: File::from(input), pending: Vec::new() })
    }

    /// Waits for bytes and takes them; false at the end of the input.
    fn fill(&mut self) -> Result<bool, Trouble> {
        let mut bytes = [0; 65_536];
        let count = self.input.read(&mut bytes).map_err(Trouble::doing("read orders"))?;
        self.pending.extend_from_slice(&bytes[..count]);
        Ok(count > 0)
    }

    /// The next whole line, if it is there.
    fn take<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<T>, Trouble> {
        let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
        let line: Vec<u8> = self.pending.drain(..=end).collect();
        serde_json::from_slice(&line).map(Some).map_err(|error| Trouble::Swarm(format!("order: {error}")))
    }
}
