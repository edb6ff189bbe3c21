//! The cloud state document: what is demanded, what is in flight, what failed and why.
//!
//! # Guarantees
//! A document is a value. The engine makes the next one from it; a store keeps each generation,
//! chained to the one before by the digest of its bytes.

mod moved;
mod next;
mod replaced;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::https::Https;
use crate::model::{
    AppName, Digest, EnvironmentName, Generation, Maintenance, OperationNumber, ProcessName,
    Release, ReleaseNumber, RequestId, Role, ServerName, WriteId,
};
use crate::secrets::Secrets;
use crate::traffic::{Proof, Traffic};

pub use moved::Moved;
pub use replaced::{Gone, Replacing};

/// The shape that this version writes. A document with a higher number is refused.
pub const SCHEMA: u32 = 1;
/// The longest document, in bytes: far above any real one, far below what hurts.
pub const DOCUMENT_BYTES_MAX: usize = 4 << 20;
/// How many failed and aborted operations are kept, and as many that were done.
pub const HISTORY_MAX: usize = 100;
/// How many releases are kept at least, besides those in use.
pub const RELEASES_KEPT: usize = 10;
/// How many request ids are remembered, so that a late second submission is recognised.
pub const REQUESTS_KEPT: usize = 200;

/// The most instances of one process in an environment: one proxy routes to at most 256.
pub const INSTANCES_MAX: u32 = 200;

/// The state of one app in one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Version of this shape.
    pub schema: u32,
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: EnvironmentName,
    /// Number of this document, one above that of the document it replaced.
    pub generation: Generation,
    /// Digest of the bytes of the document that it replaced; none for the first.
    pub parent: Option<Digest>,
    /// The attempt that wrote it.
    pub write_id: WriteId,
    /// When it was written.
    pub written: Timestamp,
    /// What is wanted.
    pub demand: Demand,
    /// The release that was decided to serve; none before the first and after `down`.
    pub serving: Option<ReleaseNumber>,
    /// The release that is kept running beside it, for a quick way back.
    pub warm: Option<ReleaseNumber>,
    /// The servers.
    pub servers: BTreeMap<ServerName, Server>,
    /// What the proxies of the servers say to each other, so that they believe what a balancer says
    /// about a client. Made when there are several servers for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet_key: Option<String>,
    /// The counts of processes that are in force instead of those of their releases: what
    /// `demand.scale` was when it was last followed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scaled: BTreeMap<ProcessName, Scale>,
    /// Servers that were left behind by a decision. No balancer sends them requests until their
    /// report shows that they have caught up. Only kept where there are balancers.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub behind: BTreeSet<ServerName>,
    /// Machines that have left the environment and still have onward.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<Gone>,
    /// The operation in flight.
    pub operation: Option<Operation>,
    /// A release command that may still run somewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandInFlight>,
    /// The secrets, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Secrets>,
    /// Certificates, and who issues them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https: Option<Https>,
    /// Releases that can run, by number.
    pub releases: BTreeMap<ReleaseNumber, Release>,
    /// The highest release number that was given.
    pub last_release: ReleaseNumber,
    /// The highest operation number that was given.
    pub last_operation: OperationNumber,
    /// The operations that ended, oldest first.
    pub history: Vec<Finished>,
    /// Request ids that were accepted lately, with their operations, oldest first.
    pub requests: Vec<(RequestId, OperationNumber)>,
}

/// What is wanted of the environment. A person may edit it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Demand {
    /// The release that shall serve; none: nothing shall run.
    pub release: Option<ReleaseNumber>,
    /// Counts that win over those of the release, until the file says the same.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scale: BTreeMap<ProcessName, Scale>,
    /// Roles that are on other servers than the project file says, until it says the same.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub moved: BTreeMap<Role, Moved>,
    /// Servers that are out of the environment until another machine takes the place of theirs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub replacing: BTreeMap<ServerName, Replacing>,
    /// Visitors get a page instead of the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
}

/// A count of a process that somebody asked for past the project file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// How many instances shall run in all, spread evenly over the servers that run the process.
    pub count: u32,
    /// Who asked.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Where it is reached by people and balancers.
    pub address: String,
    /// What it is for.
    pub roles: BTreeSet<Role>,
    /// How its agent is reached, when that is over SSH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<Reach>,
}

/// How a server is reached over SSH.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reach {
    /// The host.
    pub host: String,
    /// Who logs in; none: what the configuration of `ssh` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The port; none: what the configuration of `ssh` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The key that it has to show, `KIND BASE64`.
    pub host_key: String,
}

impl Server {
    /// Whether it sends requests on to other servers.
    pub fn is_balancer(&self) -> bool {
        self.roles.iter().any(|role| role.as_str() == "balancer")
    }
}

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

impl Document {
    /// The first document of an environment, without servers or releases.
    pub fn first(app: AppName, environment: EnvironmentName, by: WriteId, now: Timestamp) -> Self {
        Self {
            schema: SCHEMA,
            app,
            environment,
            generation: Generation(1),
            parent: None,
            write_id: by,
            written: now,
            demand: Demand::default(),
            serving: None,
            warm: None,
            servers: BTreeMap::new(),
            fleet_key: None,
            scaled: BTreeMap::new(),
            behind: BTreeSet::new(),
            gone: Vec::new(),
            operation: None,
            command: None,
            secrets: None,
            https: None,
            releases: BTreeMap::new(),
            last_release: ReleaseNumber(0),
            last_operation: OperationNumber(0),
            history: Vec::new(),
            requests: Vec::new(),
        }
    }

    /// The release of this number, when it is still known.
    pub fn release(&self, number: ReleaseNumber) -> Option<&Release> {
        self.releases.get(&number)
    }

    /// A server of the environment, or one that is being taken out of it.
    pub fn server(&self, name: &ServerName) -> Option<&Server> {
        let before = self.operation.as_ref().and_then(|own| own.before.as_ref());
        self.servers.get(name).or_else(|| before?.servers.get(name))
    }

    /// The servers that are ordered something: those of the environment, and those that are being
    /// taken out of it.
    pub fn everywhere(&self) -> impl Iterator<Item = &ServerName> {
        let before = self.operation.as_ref().and_then(|own| own.before.as_ref());
        let leaving = before.into_iter().flat_map(|before| before.servers.keys());
        let leaving = leaving.filter(|name| !self.servers.contains_key(*name));
        self.servers.keys().chain(leaving)
    }

    /// Whether what serves, and how often, is what is demanded. When it is not and nothing is in
    /// flight, somebody has edited the demand.
    pub fn is_as_demanded(&self) -> bool {
        let counts = |of: &BTreeMap<ProcessName, Scale>| -> Vec<(ProcessName, u32)> {
            of.iter().map(|(name, scale)| (name.clone(), scale.count)).collect()
        };
        let none = self.demand.release.is_none();
        let same_counts = none || counts(&self.demand.scale) == counts(&self.scaled);
        self.demand.release == self.serving && same_counts
    }

    /// Whether some server sends requests on to others, or did until the operation in flight.
    pub fn has_balancer(&self) -> bool {
        let before = self.operation.as_ref().and_then(|own| own.before.as_ref());
        let before = before.into_iter().flat_map(|before| before.servers.values());
        let balances = self.servers.values().chain(before).any(Server::is_balancer);
        balances && self.everywhere().nth(1).is_some()
    }

    /// The operation that a request became, when it was accepted lately.
    pub fn operation_of(&self, request: &RequestId) -> Option<OperationNumber> {
        self.requests.iter().rev().find(|(id, _)| id == request).map(|(_, number)| *number)
    }

    /// The operation of this number, when it ended and is still remembered.
    pub fn finished(&self, number: OperationNumber) -> Option<&Finished> {
        self.history.iter().rev().find(|finished| finished.number == number)
    }

    /// What is wrong with a document that parses, in the words of the person who edited it.
    pub fn validate(&self) -> Result<(), String> {
        if self.schema > SCHEMA {
            return Err(format!(
                "it has schema {}, and this onward reads up to schema {SCHEMA}",
                self.schema
            ));
        }
        let operation = self.operation.as_ref();
        let named = [
            ("demand.release", self.demand.release),
            ("serving", self.serving),
            ("warm", self.warm),
            ("operation.release", operation.and_then(|o| o.release)),
            ("operation.previous", operation.and_then(|o| o.previous)),
        ];
        for (field, release) in named {
            if let Some(number) = release.filter(|number| !self.releases.contains_key(number)) {
                return Err(format!("{field} is release {number}, which is not in releases"));
            }
        }
        for (number, release) in &self.releases {
            if *number != release.number {
                return Err(format!("releases.{number} has the number {}", release.number));
            }
            if *number > self.last_release {
                return Err(format!("release {number} is above last_release"));
            }
        }
        for (process, scale) in &self.demand.scale {
            if scale.count > INSTANCES_MAX {
                return Err(format!(
                    "demand.scale.{process} is {}, and a process has at most {INSTANCES_MAX} \
                     instances",
                    scale.count
                ));
            }
        }
        if let Some(maintenance) = &self.demand.maintenance {
            maintenance.validate().map_err(|why| format!("demand.maintenance: {why}"))?;
        }
        if operation.is_some_and(|operation| operation.number > self.last_operation) {
            return Err("operation.number is above last_operation".to_owned());
        }
        self.validate_https()?;
        self.validate_secrets()
    }

    /// The bytes that are stored: indented JSON, fields in the order of this type.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a document has only text keys");
        bytes.push(b'\n');
        bytes
    }

    /// Reads what [`Document::encode`] wrote, or what a person made of it.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidDocument> {
        if bytes.len() > DOCUMENT_BYTES_MAX {
            return Err(InvalidDocument::TooLong { bytes: bytes.len() });
        }
        let document: Self =
            serde_json::from_slice(bytes).map_err(|error| InvalidDocument::Syntax {
                line: error.line(),
                column: error.column(),
                reason: strip_place(&error.to_string()),
            })?;
        document.validate().map_err(InvalidDocument::Meaning)?;
        Ok(document)
    }
}

/// `serde_json` ends its messages with the place, which is shown apart.
fn strip_place(message: &str) -> String {
    message.rsplit_once(" at line ").map_or(message, |(text, _)| text).to_owned()
}

/// Why bytes are not a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvalidDocument {
    /// It is longer than any document.
    #[error("it has {bytes} bytes; a state document has at most {DOCUMENT_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It is not JSON of the right shape.
    #[error("line {line}, column {column}: {reason}")]
    Syntax {
        /// Line, counted from 1.
        line: usize,
        /// Column, counted from 1.
        column: usize,
        /// What was expected.
        reason: String,
    },
    /// It has the right shape and contradicts itself.
    #[error("{0}")]
    Meaning(String),
}
