//! The subscribers: one or more processes that hold the connections and check what arrives, and the run's handle on
//! them.
//!
//! Processes, not threads, because the limit of open files counts per process. The counts of all processes are added
//! and their latency distributions merged.

pub mod check;
pub mod chunked;
pub mod connection;
pub mod events;
pub mod frontier;
pub mod orders;
pub mod reference;
pub mod resume;
pub mod sequence;
pub mod worker;

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crate::process::{Ending, Process, this_program};
use crate::statistics::Latencies;
use crate::trouble::Trouble;

use orders::{Beats, Connected, Order, Plan, Published, Report, Tally};
use resume::Returns;

/// The subscribers of one contender in one round; they go away when this is dropped.
#[derive(Debug)]
pub struct Swarm {
    workers: Vec<Worker>,
    reports: Receiver<(usize, Said)>,
}

#[derive(Debug)]
struct Worker {
    process: Process,
    orders: ChildStdin,
    connected: Connected,
    /// Every subscriber of this process has every message before this one.
    frontier: u64,
    /// Messages that have arrived, as it was last asked; none while the answer is awaited.
    counted: Option<u64>,
    /// The answer to the last question for it.
    beats: Option<Beats>,
    returns: Option<Returns>,
    /// What it said at the end of a count; none while that is awaited.
    tally: Option<Tally>,
    is_finishing: bool,
}

/// What a process's output brought.
#[derive(Debug)]
enum Said {
    Report(Report),
    Nonsense(String),
    /// The output ended: the process is gone.
    End,
}

impl Swarm {
    /// Starts `processes` processes, without connections yet.
    pub fn start(plan: &Plan, processes: usize, cpus: &[usize]) -> Result<Self, Trouble> {
        let (sender, reports) = channel();
        let mut workers = Vec::new();
        let too_many = |_| Trouble::Usage("at most 256 processes".to_owned());
        let processes = u16::try_from(processes.max(1)).map_err(too_many)?;
        for index in 0..usize::from(processes) {
            let plan = Plan { process: u8::try_from(index).map_err(too_many)?, processes, ..plan.clone() };
            workers.push(Worker::start(index, &plan, cpus, sender.clone())?);
        }
        Ok(Self { workers, reports })
    }

    pub fn processes(&self) -> Vec<u32> {
        self.workers.iter().map(|worker| worker.process.id()).collect()
    }

    /// Brings the swarm to `subscribers` in all, and waits until each is connected or has failed.
    pub fn connect(
        &mut self,
        subscribers: usize,
        patience: Duration,
        mut on_progress: impl FnMut(usize),
    ) -> Result<Connected, Trouble> {
        let deadline = Instant::now() + patience;
        let count = self.workers.len();
        let share = |index: usize| subscribers / count + usize::from(index < subscribers % count);
        for (index, worker) in self.workers.iter_mut().enumerate() {
            worker.order(Order::Connect { subscribers: share(index) })?;
        }
        loop {
            let total = self.connected();
            on_progress(total.live);
            let is_settled = |(index, worker): (usize, &Worker)| {
                worker.connected.live + worker.connected.failed == share(index)
            };
            if self.workers.iter().enumerate().all(is_settled) {
                return Ok(total);
            }
            if !self.hear(deadline)? {
                return Ok(Connected {
                    reason: total.reason.or_else(|| Some("no answer in time".to_owned())),
                    ..total
                });
            }
        }
    }

    /// Waits until all subscribers have every message before `next`; false if they do not within `patience`.
    pub fn wait_for(&mut self, next: u64, patience: Duration) -> Result<bool, Trouble> {
        let deadline = Instant::now() + patience;
        while self.workers.iter().any(|worker| worker.connected.live > 0 && worker.frontier < next) {
            if !self.hear(deadline)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until `count` messages have arrived in all, or no more come within `patience`; how many have.
    pub fn wait_for_count(&mut self, count: u64, patience: Duration) -> Result<u64, Trouble> {
        let (mut last, mut deadline) = (0, Instant::now() + patience);
        loop {
            let arrived = self.count()?;
            if arrived > last {
                (last, deadline) = (arrived, Instant::now() + patience);
            }
            if arrived >= count || Instant::now() >= deadline {
                return Ok(arrived);
            }
            std::thread::sleep(COUNT_INTERVAL);
        }
    }

    /// Every subscriber has every message before this one, as far as is known without waiting.
    pub fn frontier(&mut self) -> Result<u64, Trouble> {
        while self.hear(Instant::now())? {}
        let live = self.workers.iter().filter(|worker| worker.connected.live > 0);
        Ok(live.map(|worker| worker.frontier).min().unwrap_or(u64::MAX))
    }

    /// Latencies count from here on.
    pub fn forget_latencies(&mut self) -> Result<(), Trouble> {
        self.workers.iter_mut().try_for_each(|worker| worker.order(Order::ForgetLatencies))
    }

    /// Ends the count at the message `published` of the one channel, before which all must have come, and begins a new one
    /// there: what all subscribers had since the last.
    pub fn cut(&mut self, published: u64) -> Result<(Tally, Latencies), Trouble> {
        self.tally(&Published::ToAll(published), |published| Order::Cut { published })
    }

    /// The heartbeats that have come so far.
    pub fn beats(&mut self) -> Result<Beats, Trouble> {
        let deadline = Instant::now() + FINISH_TIMEOUT;
        for worker in &mut self.workers {
            worker.beats = None;
            worker.order(Order::Beats)?;
        }
        while self.workers.iter().any(|worker| worker.beats.is_none()) {
            if !self.hear(deadline)? {
                return Err(Trouble::Swarm("a process of the swarm does not answer".to_owned()));
            }
        }
        let mut sum = Beats::default();
        self.workers.iter().filter_map(|worker| worker.beats.as_ref()).for_each(|beats| sum.add(beats));
        Ok(sum)
    }

    /// Who has left and who has come back, so far.
    pub fn returns(&mut self) -> Result<Returns, Trouble> {
        let deadline = Instant::now() + FINISH_TIMEOUT;
        for worker in &mut self.workers {
            worker.returns = None;
            worker.order(Order::Returns)?;
        }
        while self.workers.iter().any(|worker| worker.returns.is_none()) {
            if !self.hear(deadline)? {
                return Err(Trouble::Swarm("a process of the swarm does not answer".to_owned()));
            }
        }
        let mut sum = Returns::default();
        self.workers.iter().filter_map(|worker| worker.returns.as_ref()).for_each(|returns| sum.add(returns));
        Ok(sum)
    }

    /// Waits until everybody is there and has caught up, and `returned` of them have come back since the mark, or
    /// `patience` ends; how it stands then. Who has not noticed yet that its stream is over seems to be there.
    pub fn wait_for_returns(
        &mut self,
        returned: u64,
        patience: Duration,
        mut on_progress: impl FnMut(&Returns),
    ) -> Result<Returns, Trouble> {
        let deadline = Instant::now() + patience;
        loop {
            let returns = self.returns()?;
            on_progress(&returns);
            let is_all = returns.missing == 0 && returns.returned >= returned;
            if is_all || Instant::now() >= deadline {
                return Ok(returns);
            }
            std::thread::sleep(RETURNS_INTERVAL);
        }
    }

    /// Times of those who come back count from `nanos` of the monotonic clock.
    pub fn mark(&mut self, nanos: u64) -> Result<(), Trouble> {
        self.workers.iter_mut().try_for_each(|worker| worker.order(Order::Mark { nanos }))
    }

    /// Subscribers begin to cut their streams, or do so no more.
    pub fn set_cutting(&mut self, is_on: bool) -> Result<(), Trouble> {
        self.workers.iter_mut().try_for_each(|worker| worker.order(Order::Cutting { is_on }))
    }

    /// Who was slow on purpose reads what there is from now on.
    pub fn hurry(&mut self) -> Result<(), Trouble> {
        self.workers.iter_mut().try_for_each(|worker| worker.order(Order::Hurry))
    }

    /// Ends the swarm: what all subscribers had of the `published` messages. Those to each subscriber's own channel are
    /// given by the subscriber's number.
    pub fn finish(mut self, published: &Published) -> Result<(Tally, Latencies), Trouble> {
        self.workers.iter_mut().for_each(|worker| worker.is_finishing = true);
        self.tally(published, |published| Order::Finish { published })
    }

    fn tally(
        &mut self,
        published: &Published,
        order: impl Fn(Published) -> Order,
    ) -> Result<(Tally, Latencies), Trouble> {
        let deadline = Instant::now() + FINISH_TIMEOUT;
        let count = self.workers.len();
        for (index, worker) in self.workers.iter_mut().enumerate() {
            let published = match published {
                Published::ToAll(messages) => Published::ToAll(*messages),
                Published::ToEach(messages) => {
                    Published::ToEach(messages.iter().copied().skip(index).step_by(count).collect())
                }
            };
            worker.tally = None;
            worker.order(order(published))?;
        }
        while self.workers.iter().any(|worker| worker.tally.is_none()) {
            if !self.hear(deadline)? {
                return Err(Trouble::Swarm("a process of the swarm did not report".to_owned()));
            }
        }
        let (mut sum, mut latencies) = (Tally::default(), Latencies::default());
        for tally in self.workers.iter().filter_map(|worker| worker.tally.as_ref()) {
            sum.add(tally);
            latencies.merge(&tally.latencies);
        }
        sum.latencies = latencies.buckets();
        Ok((sum, latencies))
    }

    /// How many messages have arrived by now.
    fn count(&mut self) -> Result<u64, Trouble> {
        let deadline = Instant::now() + FINISH_TIMEOUT;
        for worker in &mut self.workers {
            worker.counted = None;
            worker.order(Order::Count)?;
        }
        while self.workers.iter().any(|worker| worker.counted.is_none()) {
            if !self.hear(deadline)? {
                return Err(Trouble::Swarm("a process of the swarm did not count".to_owned()));
            }
        }
        Ok(self.workers.iter().filter_map(|worker| worker.counted).sum())
    }

    /// How many are connected, as far as was heard.
    pub fn connected(&self) -> Connected {
        let mut sum = Connected::default();
        for Worker { connected, .. } in &self.workers {
            sum.live += connected.live;
            sum.failed += connected.failed;
            sum.reason = sum.reason.or_else(|| connected.reason.clone());
        }
        sum
    }

    /// Takes one report; false if none comes before the deadline.
    fn hear(&mut self, deadline: Instant) -> Result<bool, Trouble> {
        let (index, said) =
            match self.reports.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(heard) => heard,
                Err(RecvTimeoutError::Timeout) => return Ok(false),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Trouble::Swarm("every process of the swarm has ended".to_owned()));
                }
            };
        let worker = &mut self.workers[index];
        match said {
            Said::Report(Report::Connected(connected)) => worker.connected = connected,
            Said::Report(Report::Frontier { next }) => worker.frontier = next,
            Said::Report(Report::Counted { delivered }) => worker.counted = Some(delivered),
            Said::Report(Report::Beats(beats)) => worker.beats = Some(beats),
            Said::Report(Report::Returns(returns)) => worker.returns = Some(returns),
            Said::Report(Report::Finished(tally)) => worker.tally = Some(tally),
            Said::Nonsense(line) => {
                return Err(Trouble::Swarm(format!("a process of the swarm said {line:?}")));
            }
            Said::End if worker.is_finishing && worker.tally.is_some() => {}
            Said::End => {
                let last_words = worker.process.last_words();
                return Err(Trouble::Swarm(format!("a process of the swarm ended early: {last_words}")));
            }
        }
        Ok(true)
    }
}

impl Worker {
    fn start(
        index: usize,
        plan: &Plan,
        cpus: &[usize],
        sender: Sender<(usize, Said)>,
    ) -> Result<Self, Trouble> {
        let mut command = this_program();
        command.arg("swarm-process").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(command, cpus, Ending::Kill)?;
        let (Some(mut orders), Some(output)) = (process.input(), process.output()) else {
            return Err(Trouble::Process("the swarm's process has no pipes".to_owned()));
        };
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let said = serde_json::from_str(&line).map_or(Said::Nonsense(line), Said::Report);
                if sender.send((index, said)).is_err() {
                    return; // Nobody listens any more: the round is over.
                }
            }
            let _ = sender.send((index, Said::End)); // The same.
        });
        write_line(&mut orders, plan)?;
        Ok(Self {
            process,
            orders,
            connected: Connected::default(),
            frontier: 0,
            counted: None,
            beats: None,
            returns: None,
            tally: None,
            is_finishing: false,
        })
    }

    fn order(&mut self, order: Order) -> Result<(), Trouble> {
        write_line(&mut self.orders, &order)
    }
}

const FINISH_TIMEOUT: Duration = Duration::from_secs(30);
const COUNT_INTERVAL: Duration = Duration::from_millis(20);
/// Long against the work of answering: every subscriber is looked at.
const RETURNS_INTERVAL: Duration = Duration::from_millis(100);

fn write_line(output: &mut ChildStdin, value: &impl serde::Serialize) -> Result<(), Trouble> {
    let mut line = serde_json::to_vec(value).map_err(|error| Trouble::Swarm(error.to_string()))?;
    line.push(b'\n');
    output.write_all(&line).map_err(Trouble::doing("order the swarm"))
}
