//! Operations: the one in flight, the phase that it is in, and what became of those that ended.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Scale, Server};
use crate::model::{OperationNumber, ProcessName, ReleaseNumber, RequestId, ServerName};
use crate::traffic::{Proof, Traffic};

/// One recorded request in flight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// Its number.
    pub number: OperationNumber,
    /// The request that it came from.
    pub request: RequestId,
    /// What it does.
    pub kind: Kind,
    /// The release that it brings; none takes everything away.
    pub release: Option<ReleaseNumber>,
    /// What served when it was recorded. Read here after a crash, never asked of the servers.
    pub previous: Option<ReleaseNumber>,
    /// How far it is. Each phase is ordered from all servers at once.
    pub phase: Phase,
    /// Servers that are left out, because the person said so.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub without: BTreeSet<ServerName>,
    /// Who asked.
    pub by: String,
    /// When it was recorded.
    pub started: Timestamp,
    /// What the proxies had counted when it was first carried on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<BTreeMap<ServerName, Traffic>>,
    /// Why it is being taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What else was in force when it was recorded, when it changes servers or counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
    /// How far the servers have taken the release, when they do so in several steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
}

impl Operation {
    /// Whether some servers have taken the release and others wait for their turn: what serves is
    /// still the previous one, and the operation may be aborted, which takes the release back.
    pub fn is_decided_in_part(&self, serving: Option<ReleaseNumber>) -> bool {
        let in_steps = matches!(self.phase, Phase::Switch | Phase::Exchange | Phase::Watch);
        in_steps && self.rollout.is_some() && self.release != serving
    }
}

/// The servers and counts that were in force before an operation that changes them. The document
/// itself has what the operation brings; when it fails, these come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// The servers.
    pub servers: BTreeMap<ServerName, Server>,
    /// The counts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scaled: BTreeMap<ProcessName, Scale>,
}

/// The servers for which a release is decided, while it is not decided for all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// Those that took it in earlier steps, and held their watch.
    pub taken: BTreeSet<ServerName>,
    /// Those of the present step.
    pub step: BTreeSet<ServerName>,
}

impl Rollout {
    /// Whether the release is decided for a server.
    pub fn includes(&self, server: &ServerName) -> bool {
        self.taken.contains(server) || self.step.contains(server)
    }
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Brings a new release.
    Deploy,
    /// Goes back to a release that ran before.
    Rollback,
    /// Takes everything away.
    Down,
    /// Follows an edit of the demand.
    Edit,
    /// Brings other counts or servers, and no other release.
    Scale,
    /// Puts the maintenance page in front of the app, or takes it away.
    Maintenance,
}

impl Kind {
    /// The word for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::Down => "down",
            Self::Edit => "edit",
            Self::Scale => "scale",
            Self::Maintenance => "maintenance",
        }
    }
}

/// How far an operation is. Phases before `Switch` can go back; from `Switch` on the release is
/// decided and everything goes forward, except by the second decision `TakeBack`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The files are brought to all servers.
    Stage,
    /// The release command runs on one server.
    Command,
    /// The new version starts beside the old one, and is probed.
    Start,
    /// The check runs against the new version.
    Check,
    /// Decided: traffic goes to the new version.
    Switch,
    /// Processes without traffic are exchanged.
    Exchange,
    /// The new version is watched.
    Watch,
    /// Decided again: traffic goes back to the previous version.
    TakeBack,
    /// Servers that no balancer sends requests to any more stop what they need not run.
    Leave,
    /// Everything is stopped and taken away.
    Remove,
}

impl Phase {
    /// Whether the operation can no longer be superseded or aborted.
    pub const fn is_decided(self) -> bool {
        match self {
            Self::Stage | Self::Command | Self::Start | Self::Check => false,
            Self::Switch
            | Self::Exchange
            | Self::Watch
            | Self::TakeBack
            | Self::Leave
            | Self::Remove => true,
        }
    }

    /// What people read while it lasts.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Stage => "staging files",
            Self::Command => "running the release command",
            Self::Start => "starting and probing the new version",
            Self::Check => "running the check",
            Self::Switch => "switching traffic",
            Self::Exchange => "exchanging background processes",
            Self::Watch => "watching the new version",
            Self::TakeBack => "taking the release back",
            Self::Leave => "emptying servers that are not needed",
            Self::Remove => "stopping everything",
        }
    }
}

/// A release command that was ordered and of which no server has reported the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandInFlight {
    /// Where it runs.
    pub server: ServerName,
    /// The operation that ordered it.
    pub operation: OperationNumber,
}

/// Why something failed, for people: a sentence, and what was last seen and printed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The server where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerName>,
    /// What failed and how, as a sentence without its full stop.
    pub reason: String,
    /// The last answer of the probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// The last lines that the process printed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
}

/// An operation that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finished {
    /// Its number.
    pub number: OperationNumber,
    /// The request that it came from.
    pub request: RequestId,
    /// What it did.
    pub kind: Kind,
    /// The release that it brought.
    pub release: Option<ReleaseNumber>,
    /// The label of that release, which may be forgotten sooner than this line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What served before.
    pub previous: Option<ReleaseNumber>,
    /// How it ended.
    pub outcome: Ended,
    /// Servers that had not followed when it ended, and catch up by themselves.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub degraded: BTreeSet<ServerName>,
    /// Servers that were taken out of the environment and could not be reached: what ran there
    /// may still run.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub abandoned: BTreeSet<ServerName>,
    /// Who asked.
    pub by: String,
    /// When it was recorded.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What the proxies counted meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// It did what was asked.
    Done,
    /// It did not; what served before serves.
    Failed(Failure),
    /// It was stopped before it was decided.
    Aborted {
        /// By whom or by what.
        reason: String,
    },
}
