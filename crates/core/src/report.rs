//! The report: what a server is.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::document::Failure;
use crate::model::{Digest, Generation, OperationNumber, ProcessName, ReleaseNumber, ServerName};
use crate::order::{CommandKind, Level};
use crate::traffic::Traffic;

/// What one server is for one app and environment. Written by that server alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The highest generation whose order was accepted and durably kept; 0 before the first.
    pub accepted: Generation,
    /// Whether that order is wholly true.
    pub converged: bool,
    /// The releases that are there at all.
    pub releases: BTreeMap<ReleaseNumber, ReleaseReport>,
    /// The release that traffic goes to.
    pub routed: Option<ReleaseNumber>,
    /// The command that was last ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandReport>,
    /// The watch that was last ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<WatchReport>,
    /// Which maintenance page stands in front of the app, by its mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Digest>,
    /// What is being waited for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Waiting>,
    /// What the proxy counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// The other servers that the proxy spreads requests over.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub peers: BTreeSet<ServerName>,
    /// The schedules that are on, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub schedules: BTreeMap<ProcessName, ScheduleReport>,
    /// How the server is reached with TLS; none when nothing is ordered about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https: Option<HttpsReport>,
    /// What people run here now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<RunReport>,
}

impl Report {
    /// The level of a release.
    pub fn level(&self, release: ReleaseNumber) -> Level {
        self.releases.get(&release).map_or(Level::Gone, |report| report.level)
    }
}

/// What those who come with TLS, and authorities, find on a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpsReport {
    /// Whether all certificates of the order are shown.
    pub certificates: bool,
    /// The tokens of the order that are answered.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub challenges: BTreeSet<String>,
    /// The port where clients with TLS are accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// What one release is on one server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseReport {
    /// The level that it has reached.
    pub level: Level,
    /// Whether all of its processes without traffic run.
    pub background: bool,
    /// Whether none of its processes without traffic run.
    pub background_idle: bool,
    /// Why it cannot reach the level that was ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Its instances.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<InstanceReport>,
}

/// One running process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceReport {
    /// The process.
    pub process: ProcessName,
    /// Which of its instances, counted from 1.
    pub index: u32,
    /// Process id; none while it waits to be started again.
    pub pid: Option<u32>,
    /// The port that it was given.
    pub port: Option<u16>,
    /// What it is doing.
    pub state: InstanceState,
    /// How often it was started again after it had been ready.
    pub restarts: u32,
    /// Whether it is an instance of the release that is routed, gets traffic by its name, and is
    /// not in the route: it is not ready yet, or is about to stop.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unrouted: bool,
}

/// What an instance is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// It runs and has not answered its probe yet.
    Starting,
    /// It runs and answers.
    Ready,
    /// It runs and has stopped answering its probe.
    Failing,
    /// It ended and is started again after a pause.
    Waiting,
    /// It was asked to stop.
    Stopping,
}

impl InstanceState {
    /// The word for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Failing => "failing",
            Self::Waiting => "waiting to restart",
            Self::Stopping => "stopping",
        }
    }
}

/// How a schedule is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleReport {
    /// When it runs next.
    pub next: Option<Timestamp>,
    /// The run that is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<BegunRun>,
    /// The last run that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<EndedRun>,
    /// The last run that was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<LeftOutRun>,
}

/// A scheduled run that began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BegunRun {
    /// When it was due.
    pub due: Timestamp,
    /// When it began.
    pub began: Timestamp,
    /// The release in which it runs.
    pub release: ReleaseNumber,
}

/// A scheduled run that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedRun {
    /// When it was due.
    pub due: Timestamp,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// The release in which it ran.
    pub release: ReleaseNumber,
    /// Why it failed, when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// A scheduled run that did not take place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOutRun {
    /// When it was due.
    pub due: Timestamp,
    /// Why.
    pub why: LeftOut,
}

/// Why a scheduled run did not take place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOut {
    /// The run before it was still on.
    StillRuns,
    /// Nothing could run then, and later it was too late.
    Missed,
}

impl LeftOut {
    /// The words for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::StillRuns => "the run before it was still on",
            Self::Missed => "nothing could run then, and later it was too late",
        }
    }
}

/// A command that a person runs in a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReport {
    /// Its name, as `run.3`.
    pub name: String,
    /// The release in which it runs.
    pub release: ReleaseNumber,
    /// What runs.
    pub command: String,
    /// When it began, in milliseconds since 1970.
    pub started_ms: u64,
    /// Whether somebody stays with it.
    pub attached: bool,
}

/// How the command of an operation goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandReport {
    /// The operation.
    pub operation: OperationNumber,
    /// Which command.
    pub kind: CommandKind,
    /// How it goes.
    pub outcome: Progress,
}

/// How a watch goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchReport {
    /// The operation.
    pub operation: OperationNumber,
    /// How it goes.
    pub outcome: Progress,
}

/// How something that takes time goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// It has not ended.
    Running,
    /// It ended well.
    Done,
    /// It ended badly.
    Failed(Failure),
}

/// Something that a server waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// What waits.
    pub what: String,
    /// Why.
    pub why: String,
    /// For how long still, in milliseconds, when that is known.
    pub for_ms: Option<u64>,
}

/// What a runner knows of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contact {
    /// It answered.
    Reached(Box<Report>),
    /// It did not, for so many milliseconds now.
    Unreachable {
        /// Since the first attempt that failed.
        for_ms: u64,
        /// What was tried and what came back.
        cause: String,
    },
}

/// What a runner knows of all servers.
pub type Contacts = BTreeMap<ServerName, Contact>;
