//! The cloud state document: what is demanded, what is in flight, what failed and why.
//!
//! # Guarantees
//! A document is a value. The engine makes the next one from it; a store keeps each generation,
//! chained to the one before by the digest of its bytes.

mod moved;
mod next;
mod operation;
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

pub use moved::Moved;
pub use operation::{
    Before, CommandInFlight, Ended, Failure, Finished, Kind, Operation, Phase, Rollout,
};
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

    /// Whether nothing serves, and nothing is on its way to.
    pub fn is_down(&self) -> bool {
        self.serving.is_none() && self.operation.is_none()
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
