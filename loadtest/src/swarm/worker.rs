//! One process of the swarm: thousands of subscribers on one thread and one epoll set.
//!
//! Few system calls: sockets are reported once per change, or not at all when all are looked at regularly; one read takes
//! all there is, the clock is read once per read. Invariant: `connections`, `trackers` and the tokens of the epoll set
//! have the same indexes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::payload::Payload;
use crate::swarm::check::{Account, Check};
use crate::swarm::connection::{Connection, Step, request};
use crate::swarm::orders::{Connected, Look, Order, Plan, Published, Report, Tally};
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
                Order::Beats => report(&Report::Beats(worker.account.beats))?,
                Order::Count => report(&Report::Counted { delivered: worker.account.tally.delivered })?,
                Order::ForgetLatencies => worker.account.forget_latencies(),
                Order::Cut { published } => report(&Report::Finished(worker.cut(&published)))?,
                Order::Finish { published } => return report(&Report::Finished(worker.cut(&published))),
            }
        }
        worker.connect_more();
        worker.report_progress()?;
        let patience = worker.next_look.map(|_| Duration::ZERO);
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
            Look::Regularly { every_micros } => worker.look_at_all(Duration::from_micros(every_micros)),
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
/// How often at most those who look regularly say how far they are.
const WORD_INTERVAL: Duration = Duration::from_millis(5);
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
            Requests::Same(request) => request.as_slice(),
            Requests::Own if matches!(connection, Connection::Connecting(_)) => {
                own = own_request(&self.plan, index);
                own.as_slice()
            }
            Requests::Own => &[],
        };
        let (account, tracker) = (&mut self.account, &mut self.trackers[index]);
        let mut check = Check { payload: &self.payload, account, tracker };
        match connection.advance(request, &mut self.buffer, &mut self.body, &mut check) {
            Step::Unchanged => {}
            Step::Opened => {
                self.opening -= 1;
                self.connected.live += 1;
                self.account.join();
                self.look_regularly_at(index);
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
        if let (Look::Regularly { .. }, Connection::Live(stream, ..)) =
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
            let source = source(self.plan.target, self.plan.process, index);
            let connection = sys::start_connection(self.plan.target, source).and_then(|stream| {
                self.epoll.add(&stream, index as u64, Interest::Changes)?;
                Ok(stream)
            });
            self.trackers.push(Tracker::default());
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
            matches!(connection, Connection::Live(..) | Connection::Ended).then_some((index, *tracker))
        });
        self.account.cut(published, opened)
    }
}

/// The request of the subscriber at `index`, for its own channel.
fn own_request(plan: &Plan, index: usize) -> Vec<u8> {
    let number = usize::from(plan.process) + index * usize::from(plan.processes);
    request(&plan.path.replace(Plan::NUMBER, &number.to_string()), &plan.host)
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
