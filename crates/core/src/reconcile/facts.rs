//! What is true on a server, as its agent knows it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::document::Failure;
use crate::model::{
    Digest, OperationNumber, ProcessName, ReleaseNumber, Schedule, ServerName, When,
};
use crate::order::{Admission, CommandKind, Order, admit};
use crate::planted::planted;
use crate::report::{BegunRun, EndedRun, LeftOutRun, Progress};

/// What an agent keeps durably for one app and environment, before it acts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The last order that was accepted.
    pub order: Option<Order>,
    /// The commands that were begun, oldest first.
    pub commands: Vec<KeptCommand>,
    /// How far schedules are, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub schedules: BTreeMap<ProcessName, KeptSchedule>,
}

/// How far a schedule is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptSchedule {
    /// When it runs. A schedule that comes to say something else begins anew.
    pub when: When,
    /// Its zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Runs up to this moment were begun or left out; the next is after it.
    pub handled: Timestamp,
    /// The run that was begun and of which no end is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<BegunRun>,
    /// The last run that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<EndedRun>,
    /// The last run that was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<LeftOutRun>,
}

impl KeptSchedule {
    /// A schedule that nothing was run of: it counts from now on.
    pub fn new(schedule: &Schedule, now: Timestamp) -> Self {
        Self {
            when: schedule.when.clone(),
            zone: schedule.zone.clone(),
            handled: now,
            begun: None,
            last: None,
            left_out: None,
        }
    }

    /// Whether this is about what the schedule says now.
    pub fn is_of(&self, schedule: &Schedule) -> bool {
        self.when == schedule.when && self.zone == schedule.zone
    }
}

/// One command that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCommand {
    /// Its operation.
    pub operation: OperationNumber,
    /// Which command.
    pub kind: CommandKind,
    /// How it goes. `Running` after a restart of the server means that it was interrupted, and
    /// runs again.
    pub outcome: Progress,
}

impl Kept {
    /// How many commands are remembered.
    pub const COMMANDS_MAX: usize = 20;

    /// Decides about an incoming order.
    pub fn admit(&self, incoming: &Order) -> Admission {
        admit(self.order.as_ref(), incoming)
    }

    /// What an agent starts with after a restart.
    #[must_use]
    pub fn restored(mut self) -> Self {
        if planted!(FenceInMemory) {
            self.order = None;
        }
        self
    }

    /// The record of a command.
    pub fn command(&self, operation: OperationNumber, kind: CommandKind) -> Option<&KeptCommand> {
        self.commands.iter().find(|own| own.operation == operation && own.kind == kind)
    }

    /// Records how a command goes.
    pub fn record(&mut self, operation: OperationNumber, kind: CommandKind, outcome: Progress) {
        self.commands.retain(|own| own.operation != operation || own.kind != kind);
        self.commands.push(KeptCommand { operation, kind, outcome });
        let surplus = self.commands.len().saturating_sub(Self::COMMANDS_MAX);
        self.commands.drain(..surplus);
    }
}

/// What is true now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The files of each release; a release that is not named has none.
    pub files: BTreeMap<ReleaseNumber, Files>,
    /// The instances that run, are being stopped, or wait to be started again.
    pub slots: BTreeMap<SlotId, Slot>,
    /// What the proxy has acknowledged; `None` when no traffic goes anywhere.
    pub route: Option<RouteFact>,
    /// Whether a change of the route is under way.
    pub route_pending: bool,
    /// What each release still has of traffic.
    pub traffic: BTreeMap<ReleaseNumber, ReleaseTraffic>,
    /// What instances that left the route of their release, which stays, still have of traffic.
    pub leaving: BTreeMap<SlotId, ReleaseTraffic>,
    /// The command that runs now.
    pub command: Option<CommandFact>,
    /// The watch that was begun last.
    pub watch: Option<WatchFact>,
    /// Whether free memory is less than what warm releases use.
    pub memory_short: bool,
    /// The time of day; only schedules look at it.
    pub now: Timestamp,
    /// The scheduled runs that are on, by schedule.
    pub jobs: BTreeMap<ProcessName, JobFact>,
    /// The releases in which commands of people run, and whether these were asked to end.
    pub runs: BTreeMap<ReleaseNumber, bool>,
}

/// A scheduled run that is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFact {
    /// The release in whose directory it runs.
    pub release: ReleaseNumber,
    /// Whether it was asked to stop.
    pub stopping: bool,
}

/// How the files of a release are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Files {
    /// They are being brought.
    Staging,
    /// They are there, unverified since the agent's start.
    Staged,
    /// They are being compared with their digest.
    Verifying,
    /// They are there and are what the digest says.
    Verified,
    /// They are being removed.
    Removing,
    /// They could not be brought.
    Failed {
        /// Why.
        failure: Failure,
        /// The time until it is tried again, in milliseconds.
        retry_in_ms: u64,
    },
}

/// Names one instance of one process of one release on this server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlotId {
    /// The release.
    pub release: ReleaseNumber,
    /// The process.
    pub process: ProcessName,
    /// Which of its instances, counted from 1.
    pub index: u32,
}

impl std::fmt::Display for SlotId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.release, self.process, self.index)
    }
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// What it is doing.
    pub state: SlotState,
    /// Process id, while it runs.
    pub pid: Option<u32>,
    /// The port that it was given.
    pub port: Option<u16>,
    /// Whether it was ever ready.
    pub was_ready: bool,
    /// How often in a row it ended before it was ready.
    pub early_exits: u32,
    /// How often it was started again after it had been ready.
    pub restarts: u32,
    /// What was last wrong with it.
    pub failure: Option<Failure>,
    /// Whether it was started by an earlier life of this agent.
    pub adopted: bool,
}

/// What an instance is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotState {
    /// It runs and has not answered its probe yet.
    Starting {
        /// Whether the time for its first answer is over.
        overdue: bool,
    },
    /// It runs and answers.
    Ready,
    /// It runs and failed its probe twice in a row.
    Failing,
    /// It ended; the time until it may be started again, in milliseconds.
    Ended {
        /// Milliseconds, 0 when it may be started now.
        retry_in_ms: u64,
    },
    /// It was asked to stop.
    Stopping,
}

/// Where traffic goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteFact {
    /// The release.
    pub release: ReleaseNumber,
    /// Its instances that get traffic, with their ports: an instance that was started again has
    /// another one.
    pub slots: BTreeMap<SlotId, u16>,
    /// The proxies of other servers that get traffic too, as the order names them.
    pub peers: BTreeMap<ServerName, String>,
    /// The maintenance page that stands in front of them, by its mark.
    pub maintenance: Option<Digest>,
    /// What proxies of other servers have to say to be believed.
    pub key: Option<String>,
}

/// What a release, or an instance, that has no route still has of traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReleaseTraffic {
    /// Requests in flight.
    pub requests: u64,
    /// Upgraded connections that are open.
    pub upgraded: u64,
    /// How long no route has named it, in milliseconds.
    pub unrouted_ms: u64,
}

/// A command that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandFact {
    /// Its operation.
    pub operation: OperationNumber,
    /// Which command.
    pub kind: CommandKind,
    /// The release in whose directory it runs.
    pub release: ReleaseNumber,
    /// Whether it was asked to stop.
    pub stopping: bool,
}

/// What was seen since a watch began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchFact {
    /// Its operation.
    pub operation: OperationNumber,
    /// The time since it began, in milliseconds.
    pub elapsed_ms: u64,
    /// What an instance did that ended since then.
    pub ended: Option<Failure>,
    /// Requests since then.
    pub requests: u64,
    /// Answers with a status of 500 or above since then.
    pub app_errors: u64,
    /// Requests of the previous release, over its life.
    pub requests_before: u64,
    /// Answers of the previous release with a status of 500 or above.
    pub app_errors_before: u64,
    /// How it ended; it stays so.
    pub outcome: Option<Progress>,
}
