//! What is measured. A scenario is one file: what it does in a round, and how its rounds become rows of a table.
//!
//! The frame is here: contenders take turns within a round, the first moves to the end in the next one, so that
//! neither the machine's mood nor the order favours one of them.

pub mod avalanche;
pub mod connect;
pub mod curve;
pub mod fanout;
pub mod firehose;
pub mod idle;
pub mod jitter;
pub mod slow;
pub mod spread;
pub mod trial;

use std::time::Duration;

use crate::arguments::Common;
use crate::contender::{Contender, Server, contenders};
use crate::machine::{Machine, Placement};
use crate::progress::Progress;
use crate::scenario::trial::{Outcome, Trial};
use crate::swarm::Swarm;
use crate::swarm::orders::{Connected, Look, Plan};
use crate::swarm::resume::Resume;
use crate::sys;
use crate::trouble::Trouble;
use crate::url::percent_encoded;
use crate::window::Window;

/// What every scenario needs.
#[derive(Debug)]
pub struct Bench {
    pub common: Common,
    pub machine: Machine,
    pub placement: Placement,
    pub progress: Progress,
    /// The channel of this run.
    pub channel: String,
}

/// Who subscribes to what.
#[derive(Debug, Clone)]
pub struct Audience {
    connections: usize,
    /// As it stands in a path.
    channel: String,
}

/// How subscribers connect, look for messages, and come back.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Connections that each process opens at a time.
    pub opening_max: usize,
    pub look: Look,
    pub resume: Option<Resume>,
}

impl Bench {
    /// Prepares a run of `steps` progress steps in each round of each contender.
    pub fn new(common: &Common, steps: u64) -> Result<(Self, Vec<Contender>), Trouble> {
        let machine = Machine::look();
        let contenders = contenders(common)?;
        let placement = Placement::choose(common, contenders.iter().any(Contender::starts_server))?;
        if !placement.clients.is_empty() {
            sys::run_on(&placement.clients).map_err(Trouble::doing("stay on the subscribers' CPUs"))?;
        }
        let channel = common.channel.clone().unwrap_or_else(|| format!("loadtest.{}", std::process::id()));
        let progress = Progress::new(u64::from(common.rounds) * contenders.len() as u64, steps);
        Ok((Self { common: common.clone(), machine, placement, progress, channel }, contenders))
    }

    /// Runs all rounds of all contenders in turn. A round that fails is reported and does not end the run.
    pub fn take_turns<R>(
        &self,
        contenders: &[Contender],
        mut round: impl FnMut(&Self, &Contender) -> Result<R, Trouble>,
        tell: impl Fn(&R) -> String,
    ) -> Vec<Trial<R>> {
        let trial = |contender: &Contender| Trial {
            contender: contender.name(),
            configuration: contender.configuration(&self.placement, self.common.connections),
            rounds: Vec::new(),
        };
        let mut trials: Vec<Trial<R>> = contenders.iter().map(trial).collect();
        for number in 0..usize::from(self.common.rounds) {
            for turn in 0..contenders.len() {
                let index = (number + turn) % contenders.len();
                let contender = &contenders[index];
                let label = format!("round {}/{} {}", number + 1, self.common.rounds, contender.name());
                self.progress.start(&label);
                let outcome = match round(self, contender) {
                    Ok(measured) => {
                        self.progress.tell(&format!("{label}: {}", tell(&measured)));
                        Outcome::Measured(measured)
                    }
                    Err(trouble) => {
                        self.progress.tell(&format!("{label}: failed: {trouble}"));
                        Outcome::Failed(trouble.to_string())
                    }
                };
                trials[index].rounds.push(outcome);
            }
        }
        self.progress.finish();
        trials
    }

    /// So many subscribers of the one channel of this run.
    pub fn shared_channel(&self, connections: usize) -> Audience {
        Audience { connections, channel: percent_encoded(&self.channel) }
    }

    /// So many subscribers, each with a channel of its own.
    pub fn own_channels(&self, connections: usize) -> Audience {
        Audience { connections, channel: format!("{}.{}", percent_encoded(&self.channel), Plan::NUMBER) }
    }

    /// Starts the subscribers' processes, without connections yet.
    pub fn swarm(&self, server: &Server, audience: Audience, owed_from: u64) -> Result<Swarm, Trouble> {
        self.swarm_in(server, audience, owed_from, self.usual())
    }

    /// How subscribers behave where the scenario does not decide it.
    pub fn usual(&self) -> Manner {
        let look = Look::WhenReported { rest_micros: micros(self.common.client_rest) };
        Manner { opening_max: OPENING_MAX, look, resume: None }
    }

    /// The same, for a scenario that decides how many connections each process opens at a time.
    pub fn swarm_opening(
        &self,
        server: &Server,
        audience: Audience,
        owed_from: u64,
        opening_max: usize,
    ) -> Result<Swarm, Trouble> {
        self.swarm_in(server, audience, owed_from, Manner { opening_max, ..self.usual() })
    }

    /// The same, for a scenario that decides how the subscribers look for what came.
    pub fn swarm_looking(
        &self,
        server: &Server,
        audience: Audience,
        owed_from: u64,
        look: Look,
    ) -> Result<Swarm, Trouble> {
        self.swarm_in(server, audience, owed_from, Manner { look, ..self.usual() })
    }

    /// The same, for a scenario that decides all of that.
    pub fn swarm_in(
        &self,
        server: &Server,
        audience: Audience,
        owed_from: u64,
        manner: Manner,
    ) -> Result<Swarm, Trouble> {
        let Manner { opening_max, look, resume } = manner;
        let common = &self.common;
        let per_process = usize::try_from(self.machine.open_files.saturating_sub(OPEN_FILES_SPARE));
        let needed = audience.connections.div_ceil(per_process.unwrap_or(usize::MAX).max(1));
        let processes = common.client_processes.unwrap_or(needed).max(needed);
        let plan = Plan {
            target: server.target,
            host: server.host.clone(),
            path: common.path.replace("{channel}", &audience.channel),
            payload_bytes: common.payload,
            owed_from,
            look: look.of_one_among(processes),
            opening_max,
            resume,
            beat_micros: u64::try_from(common.heartbeat.as_micros()).unwrap_or(u64::MAX),
            process: 0,
            processes: 1,
        };
        Swarm::start(&plan, processes, &self.placement.clients)
    }

    /// Opens a window around what happens between the server and the subscribers.
    pub fn window(&self, server: &Server, swarm: &Swarm) -> Result<Window, Trouble> {
        Window::open(&server.observer, server.is_crowded, swarm.processes(), &self.placement)
    }

    /// Connects `subscribers`; an error unless all are.
    pub fn connect(&self, swarm: &mut Swarm, server: &mut Server, subscribers: usize) -> Result<(), Trouble> {
        let on_progress = |live| self.progress.say(&format!("{live} of {subscribers} connected"));
        let connected = swarm.connect(subscribers, self.common.connect_patience, on_progress)?;
        let Connected { live, failed, reason } = connected;
        if live == subscribers {
            return Ok(());
        }
        server.check_after_failure()?;
        let reason = reason.unwrap_or_else(|| "nobody says why".to_owned());
        Err(Trouble::Swarm(format!(
            "{live} of {subscribers} connected, {failed} failed; the first: {reason}"
        )))
    }
}

/// Connections that one process opens at a time where the pace does not matter; every listener's queue holds so many.
pub const OPENING_MAX: usize = 64;
/// Descriptors of a swarm's process that are no subscribers.
const OPEN_FILES_SPARE: u64 = 100;

pub fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
