//! The project as its file says it: typed, nothing added. Defaults come in [`super::resolve`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use onward_core::model::{
    AppName, EnvironmentName, Limits, ProcessName, RenderedFile, Role, Routing, Schedule,
    ServerName, SiteRules, Strategy,
};
use onward_core::secrets::SecretName;
use onward_store::state::StoreUrl;

use super::commands::{Hooks, Task};
use super::diagnostic::Diagnostic;
use super::machine::Machine;
use super::reach::Reach;
use super::tls::Tls;
use super::words::{ProjectPath, ShellCommand, Signal, ValueName};

/// What `onward.toml` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// `app`: the name of the app.
    pub app: AppName,
    /// `[build]`.
    pub build: Build,
    /// `[bundle] include`: paths that are shipped although git ignores them.
    pub include: Vec<ProjectPath>,
    /// `[process.NAME]`, in file order; at least one.
    pub processes: Vec<Process>,
    /// `[release]`.
    pub release: Release,
    /// `[shared] dirs`: directories that survive releases. None contains another.
    pub shared: Vec<ProjectPath>,
    /// `[shared] files`: files that survive releases. None is in a shared directory.
    pub shared_files: Vec<ProjectPath>,
    /// `[runtime]`: versions of languages, which win over the project's other files.
    pub runtimes: BTreeMap<String, String>,
    /// `[values]`.
    pub values: BTreeMap<ValueName, String>,
    /// `[secrets] names`: what every environment needs. None of them is a value.
    pub secrets: BTreeSet<SecretName>,
    /// `[environment.NAME]`, in file order. `local` exists even when it is not here.
    pub environments: Vec<Environment>,
    /// `[task.NAME]`.
    pub tasks: BTreeMap<ProcessName, Task>,
    /// `[schedule.NAME]`, as a release keeps them.
    pub schedules: BTreeMap<ProcessName, Schedule>,
    /// `[file."PATH"]`, by path, as a release keeps them.
    pub files: BTreeMap<String, RenderedFile>,
    /// `[hooks]`.
    pub hooks: Hooks,
    /// What is legal but looks like a mistake.
    pub warnings: Vec<Diagnostic>,
}

/// Commands that run before anything leaves this machine, in the project's directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Build {
    /// Makes what is bundled.
    pub run: Option<ShellCommand>,
    /// Has to pass after the build, before anything else happens.
    pub test: Option<ShellCommand>,
}

/// One process of the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its name. `web` gets `PORT` and traffic.
    pub name: ProcessName,
    /// What it runs.
    pub serves: Serves,
    /// How to see that it is ready; [`Serves::Command`] only.
    pub probe: Option<Probe>,
    /// How it is stopped.
    pub stop: Stop,
    /// `overlap`: the old release's instance may run beside the new one. Only for processes
    /// without traffic.
    pub overlap: bool,
    /// `limits`: what one instance may use of its server.
    pub limits: Limits,
    /// `on`: the roles of the servers that run it; empty: the role of its own name.
    pub on: Vec<Role>,
    /// `count`: how many instances run in all; none: one on each server that runs it.
    pub count: Option<u32>,
}

impl Process {
    /// The roles of the servers that run it.
    pub fn roles(&self) -> Vec<String> {
        if self.on.is_empty() {
            vec![self.name.to_string()]
        } else {
            self.on.iter().map(ToString::to_string).collect()
        }
    }
}

/// What a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serves {
    /// `run`: a command line, run in the release directory.
    Command(ShellCommand),
    /// `static`: a directory that onward serves itself, and how.
    Static(ProjectPath, SiteRules),
}

/// How to see whether a process is ready, as far as the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is tried.
    pub how: ProbeKind,
    /// How long a new instance may take until a try succeeds.
    pub within: Option<Duration>,
    /// The pause between two tries.
    pub interval: Option<Duration>,
    /// How long one try may take.
    pub timeout: Option<Duration>,
}

/// What a probe tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeKind {
    /// The file does not say; only times were given.
    Default,
    /// An HTTP GET.
    Http {
        /// The request target; starts with `/`.
        path: String,
        /// Accepted status codes; empty when the file does not say.
        status: Vec<u16>,
        /// A text that the body has to contain.
        body: Option<String>,
    },
    /// A TCP connection to `PORT`.
    Tcp,
    /// A command that has to exit with 0; it gets the environment of the process.
    Command(ShellCommand),
}

/// How a process is stopped, as far as the file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stop {
    /// The signal that asks it to stop.
    pub signal: Option<Signal>,
    /// How long it may take before it is killed.
    pub within: Option<Duration>,
}

/// What surrounds the start of a release, as far as the file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Release {
    /// `run`: the release command (migrations), before the new version starts.
    pub run: Option<ShellCommand>,
    /// `check`: gets `URL` of the new version before it takes traffic.
    pub check: Option<ShellCommand>,
    /// `watch`: how long the new version is observed after the switch.
    pub watch: Option<Duration>,
    /// `warm`: how long the old version is kept running for a quick way back.
    pub warm: Option<Duration>,
    /// `strategy`, `batch`, `canary`: in which steps the servers take a release.
    pub strategy: Strategy,
}

/// A named place to run the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Its name.
    pub name: EnvironmentName,
    /// `default = true`: the one that commands mean when they don't say.
    pub default: bool,
    /// Where it runs.
    pub provider: Provider,
    /// Where its state is kept, when that is not the provider's own place.
    pub store: Option<StoreUrl>,
    /// Its servers.
    pub servers: Servers,
    /// Values of this environment; they win over `[values]`.
    pub values: BTreeMap<ValueName, String>,
    /// Secrets that only this environment needs.
    pub secrets: BTreeSet<SecretName>,
    /// Which requests are for it, and what is told about them.
    pub routing: Routing,
    /// What its servers' machines shall be.
    pub machine: Machine,
    /// By which certificate it is reached with TLS.
    pub tls: Tls,
}

/// The servers of an environment, as far as the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Servers {
    /// So many that are alike.
    Count(u32),
    /// These.
    Named(Vec<ServerWish>),
}

impl Default for Servers {
    fn default() -> Self {
        Self::Count(1)
    }
}

/// One server of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerWish {
    /// Its name.
    pub name: ServerName,
    /// What it is for; none: the file does not say.
    pub roles: Option<BTreeSet<Role>>,
    /// How it is reached; none where the provider makes it.
    pub reach: Option<Reach>,
}

/// Who has the servers of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Provider {
    /// The servers are on this machine.
    #[default]
    Local,
    /// Machines that somebody has, reached over SSH.
    Ssh,
    /// Debian servers that onward boots on this machine, reached over SSH.
    Nspawn,
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Ssh => f.write_str("ssh"),
            Self::Nspawn => f.write_str("nspawn"),
        }
    }
}
