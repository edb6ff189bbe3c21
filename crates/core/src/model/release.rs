//! What a release is: a bundle, the configuration it runs with, and a number.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Digest, Limits, ProcessName, ReleaseNumber, Role, Routing, Runtime, Schedule, Strategy,
};
use crate::secrets::{SecretName, SecretVersion};

/// Release number n of an environment. It never changes once it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its number, the same on every server.
    pub number: ReleaseNumber,
    /// The files that it runs.
    pub bundle: BundleRef,
    /// How they are run.
    pub config: Arc<Config>,
    /// When it was recorded.
    pub created: Timestamp,
}

/// A bundle by its identity, with what people want to see of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleRef {
    /// Digest of the manifest.
    pub digest: Digest,
    /// The human label: a version, or a commit.
    pub label: String,
}

/// How the files of a release are run: all that changes a release besides its bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The processes by name.
    pub processes: BTreeMap<ProcessName, Process>,
    /// Environment variables of every process and command.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, String>,
    /// The secrets that every process and command gets, each in this version.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<SecretName, SecretVersion>,
    /// Runs once before the new version starts, at least once and never two at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_command: Option<String>,
    /// Runs against the new version before it takes traffic; gets `URL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_command: Option<String>,
    /// How long the new version is watched after the switch, in milliseconds.
    pub watch_ms: u64,
    /// How long the previous version is kept running after the watch, in milliseconds.
    pub warm_ms: u64,
    /// Directories that survive releases, relative to the release directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_dirs: Vec<String>,
    /// Files that survive releases, relative to the release directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_files: Vec<String>,
    /// The language runtimes that everything of the release runs with, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub runtimes: BTreeMap<String, Runtime>,
    /// In which steps the servers take it.
    #[serde(default, skip_serializing_if = "Strategy::is_all")]
    pub strategy: Strategy,
    /// How requests come to it.
    #[serde(default, skip_serializing_if = "Routing::is_default")]
    pub routing: Routing,
    /// The project's own commands by name: shell command lines.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<ProcessName, String>,
    /// Commands at times by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub schedules: BTreeMap<ProcessName, Schedule>,
    /// Files that each server renders, by their path in the release directory.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, RenderedFile>,
}

/// A file that is made on the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderedFile {
    /// The file of the bundle that it is made from, relative to the release directory.
    pub template: String,
}

impl Config {
    /// Processes that get traffic.
    pub fn with_traffic(&self) -> impl Iterator<Item = (&ProcessName, &Process)> {
        self.processes.iter().filter(|(name, _)| name.has_traffic())
    }

    /// Processes that never run in two releases at once.
    pub fn in_background(&self) -> impl Iterator<Item = (&ProcessName, &Process)> {
        self.processes.iter().filter(|(name, _)| !name.has_traffic())
    }
}

/// One named long-running command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// What runs.
    pub run: Run,
    /// How it is known to be ready. A process without a probe is ready when it has stayed up for
    /// a moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// How it is asked to stop.
    pub stop: Stop,
    /// Whether it may run in two releases at once although it has no traffic.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overlap: bool,
    /// What one instance may use of its server.
    #[serde(default, skip_serializing_if = "Limits::is_none")]
    pub limits: Limits,
    /// How many instances run on each server. In the order of a server: how many run there.
    pub count: u32,
    /// How many instances run in all, spread evenly over the servers that run it. When it is
    /// given, `count` says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u32>,
    /// The roles of the servers that run it; empty: those that carry the role of its own name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub on: BTreeSet<Role>,
}

impl Process {
    /// Whether it runs on a server with these roles.
    pub fn runs_on(&self, name: &ProcessName, roles: &BTreeSet<Role>) -> bool {
        if self.on.is_empty() {
            roles.iter().any(|role| role.as_str() == name.as_str())
        } else {
            !self.on.is_disjoint(roles)
        }
    }
}

/// What a process runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Run {
    /// A shell command line, run in the release directory.
    Command(String),
    /// A directory of the release, served by onward itself.
    Static(String),
}

/// How a process is known to be ready, and to stay so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What is asked.
    pub kind: ProbeKind,
    /// The time that a new instance has until its first success, in milliseconds.
    pub within_ms: u64,
    /// The time between two probes of an instance that is ready, in milliseconds.
    pub interval_ms: u64,
    /// The time that one probe has, in milliseconds.
    pub timeout_ms: u64,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// `GET path` is answered with one of the statuses (any from 200 to 499 when none is given)
    /// and, when given, a body that contains the text.
    Http {
        /// Path and query, starting with `/`.
        path: String,
        /// The statuses that count as success.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        statuses: Vec<u16>,
        /// Text that the body contains.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<String>,
    },
    /// The port accepts a connection.
    Tcp,
    /// The command, run in the release directory with the environment of the process, exits 0.
    Command(String),
}

/// How a process is asked to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Name of the signal, without `SIG`.
    pub signal: String,
    /// The time until it is killed, in milliseconds.
    pub within_ms: u64,
}
