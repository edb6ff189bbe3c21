//! From the project to the wishes for one environment: the one place where defaults are applied.
//!
//! | wish | default |
//! |---|---|
//! | environment | the one with `default = true`, else `local` |
//! | probe of `web` | HTTP GET on `/`, any status below 500 |
//! | status of a probe with a `path` | 200 to 206, 301 to 303, 307, 308 |
//! | probe `within` · `interval` · `timeout` | 30 s · 1 s · 5 s |
//! | stop `signal` · `within` | `TERM` · 10 s |
//! | `watch` | 1 s on the provider `local`, 10 s elsewhere |
//! | `warm` | 10 min |
//! | `tls` | `acme` on the provider `ssh` when there is a name to ask for, else `off` |

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use onward_core::model::{
    AppName, EnvironmentName, Limits, ProcessName, RenderedFile, Role, Routing, Schedule, Strategy,
};
use onward_core::secrets::SecretName;
use onward_store::state::StoreUrl;

use super::commands::{Hooks, Task};
use super::machine::Machine;
use super::model::{
    Build, Environment, Probe as ProbeWish, ProbeKind, Process, Project, Provider, Servers, Serves,
    Stop,
};
use super::suggest;
use super::tls::Tls;
use super::words::{ProjectPath, ShellCommand, Signal, ValueName};

/// The environment that always exists.
pub const LOCAL: &str = "local";
/// How long a new instance may take until its probe succeeds.
pub const PROBE_WITHIN: Duration = Duration::from_secs(30);
/// The pause between two tries of a probe.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// How long one try of a probe may take.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// The statuses that mean ready when a probe has a `path` and no `status`: success, or a redirect.
pub const PROBE_STATUS: [u16; 12] = [200, 201, 202, 203, 204, 205, 206, 301, 302, 303, 307, 308];
/// The signal that asks a process to stop.
pub const STOP_SIGNAL: Signal = Signal::Term;
/// How long a process may take to stop before it is killed.
pub const STOP_WITHIN: Duration = Duration::from_secs(10);
/// The watch after a switch on this machine.
pub const WATCH_LOCAL: Duration = Duration::from_secs(1);
/// The watch after a switch elsewhere.
pub const WATCH_ELSEWHERE: Duration = Duration::from_secs(10);
/// How long an old version is kept running.
pub const WARM: Duration = Duration::from_secs(600);

/// What the file wishes for one environment: complete, nothing left to default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: EnvironmentName,
    /// The environment of the file that it is like, when it is not in the file itself.
    pub like: Option<EnvironmentName>,
    /// Who has its servers.
    pub provider: Provider,
    /// Where its state is kept, when that is not the provider's own place.
    pub store: Option<StoreUrl>,
    /// The environment that commands mean when they do not say.
    pub default: EnvironmentName,
    /// Its servers; at least one, the first one is the one that people reach.
    pub servers: Servers,
    /// What runs before anything leaves this machine.
    pub build: Build,
    /// Paths that are shipped although git ignores them.
    pub include: Vec<ProjectPath>,
    /// The processes in file order; at least one.
    pub processes: Vec<ResolvedProcess>,
    /// `[release]`.
    pub release: ResolvedRelease,
    /// Directories that survive releases.
    pub shared: Vec<ProjectPath>,
    /// Files that survive releases.
    pub shared_files: Vec<ProjectPath>,
    /// Versions of languages that win over what the project's other files pin.
    pub runtimes: BTreeMap<String, String>,
    /// Values for every process; the environment's own win.
    pub values: BTreeMap<ValueName, String>,
    /// Which requests are for it, and what is told about them.
    pub routing: Routing,
    /// What its servers' machines shall be.
    pub machine: Machine,
    /// By which certificate it is reached with TLS.
    pub tls: Tls,
    /// The secrets that every process gets, those of the environment among them.
    pub secrets: BTreeSet<SecretName>,
    /// The project's own commands.
    pub tasks: BTreeMap<ProcessName, Task>,
    /// Commands at times.
    pub schedules: BTreeMap<ProcessName, Schedule>,
    /// Files that each server renders, by path.
    pub files: BTreeMap<String, RenderedFile>,
    /// What runs here around an operation.
    pub hooks: Hooks,
}

/// One process of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedProcess {
    /// Its name; [`ProcessName::has_traffic`] says whether it gets `PORT` and traffic.
    pub name: ProcessName,
    /// What it runs.
    pub serves: Serves,
    /// How to see that it is ready. Always there for a command with traffic; a process without
    /// one is ready when it stays up.
    pub probe: Option<Probe>,
    /// The signal that asks it to stop.
    pub stop_signal: Signal,
    /// How long it may take to stop before it is killed.
    pub stop_within: Duration,
    /// Whether a new instance may run beside the old release's. Always so with traffic.
    pub overlap: bool,
    /// What one instance may use of its server.
    pub limits: Limits,
    /// The roles of the servers that run it; empty: the role of its own name.
    pub on: Vec<Role>,
    /// How many instances run in all; none: one on each server that runs it.
    pub count: Option<u32>,
}

/// How to see that a process is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is tried.
    pub how: Try,
    /// How long a new instance may take until a try succeeds.
    pub within: Duration,
    /// The pause between two tries.
    pub interval: Duration,
    /// How long one try may take.
    pub timeout: Duration,
}

/// What one try of a probe does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Try {
    /// An HTTP GET to `127.0.0.1:PORT`.
    Http {
        /// The request target; starts with `/`.
        path: String,
        /// Which statuses mean ready.
        status: Statuses,
        /// A text that the body has to contain.
        body: Option<String>,
    },
    /// A TCP connection to `127.0.0.1:PORT`.
    Tcp,
    /// A command that has to exit with 0; it gets the environment of the process.
    Command(ShellCommand),
}

/// Which HTTP statuses a probe accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statuses {
    /// Every final status below this one; only without a `path`, and then 500.
    Below(u16),
    /// These.
    Only(Vec<u16>),
}

impl Statuses {
    /// Whether `status` means ready.
    pub fn accept(&self, status: u16) -> bool {
        match self {
            Self::Below(limit) => (200..*limit).contains(&status),
            Self::Only(these) => these.contains(&status),
        }
    }
}

/// What surrounds the start of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedRelease {
    /// The release command (migrations).
    pub run: Option<ShellCommand>,
    /// Gets `URL` of the new version before it takes traffic.
    pub check: Option<ShellCommand>,
    /// How long the new version is observed after the switch.
    pub watch: Duration,
    /// How long the old version is kept running.
    pub warm: Duration,
    /// In which steps the servers take a release.
    pub strategy: Strategy,
}

impl Resolved {
    /// The same wishes for an environment that is not in the file. What only one can have stays with
    /// the other one: its names, its path, the address of its metrics.
    #[must_use]
    pub fn as_another(self, environment: EnvironmentName, like: EnvironmentName) -> Self {
        let routing = Routing {
            hosts: Vec::new(),
            aliases: Vec::new(),
            path: String::new(),
            metrics: None,
            https: None,
            ..self.routing
        };
        Self { environment, like: Some(like), routing, tls: Tls::Off, ..self }
    }
}

/// The project has no such environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no environment `{name}` in onward.toml")]
pub struct UnknownEnvironment {
    /// What was asked for.
    pub name: EnvironmentName,
    /// Those that exist, `local` among them.
    pub known: Vec<String>,
}

impl UnknownEnvironment {
    /// What to type instead.
    pub fn help(&self) -> String {
        let known: Vec<&str> = self.known.iter().map(String::as_str).collect();
        match suggest::nearest(self.name.as_str(), &known) {
            Some(meant) => format!("did you mean `-e {meant}`?"),
            None => format!(
                "it has {}; to make a new one, add `[environment.{name}]` to the file, or try it \
                 with `onward up -e {name} --like {}`",
                suggest::list(&known),
                known.first().unwrap_or(&LOCAL),
                name = self.name
            ),
        }
    }
}

/// The wishes for one environment: `wanted`, else the file's default, else `local`.
///
/// # Errors
/// [`UnknownEnvironment`] when `wanted` is neither in the file nor `local`.
pub fn resolve(
    project: &Project,
    wanted: Option<EnvironmentName>,
) -> Result<Resolved, UnknownEnvironment> {
    let environment = choose(project, wanted)?;
    let mut values = project.values.clone();
    values.extend(environment.values.clone());
    Ok(Resolved {
        app: project.app.clone(),
        provider: environment.provider,
        store: environment.store.clone(),
        default: default(project),
        servers: environment.servers,
        build: project.build.clone(),
        include: project.include.clone(),
        processes: project.processes.iter().map(process).collect(),
        release: ResolvedRelease {
            run: project.release.run.clone(),
            check: project.release.check.clone(),
            watch: project.release.watch.unwrap_or(match environment.provider {
                Provider::Local => WATCH_LOCAL,
                Provider::Ssh | Provider::Nspawn => WATCH_ELSEWHERE,
            }),
            warm: project.release.warm.unwrap_or(WARM),
            strategy: project.release.strategy,
        },
        shared: project.shared.clone(),
        shared_files: project.shared_files.clone(),
        runtimes: project.runtimes.clone(),
        values,
        secrets: project.secrets.union(&environment.secrets).cloned().collect(),
        routing: environment.routing,
        machine: environment.machine,
        tls: environment.tls,
        tasks: project.tasks.clone(),
        schedules: project.schedules.clone(),
        files: project.files.clone(),
        hooks: project.hooks.clone(),
        environment: environment.name,
        like: None,
    })
}

/// The environment that commands mean when they do not say.
fn default(project: &Project) -> EnvironmentName {
    let chosen = project.environments.iter().find(|environment| environment.default);
    let local = || LOCAL.parse().expect("`local` is a legal name");
    chosen.map_or_else(local, |environment| environment.name.clone())
}

fn choose(
    project: &Project,
    wanted: Option<EnvironmentName>,
) -> Result<Environment, UnknownEnvironment> {
    let name = wanted.unwrap_or_else(|| default(project));
    if let Some(found) = project.environments.iter().find(|environment| environment.name == name) {
        return Ok(found.clone());
    }
    if name.as_str() == LOCAL {
        let (provider, values) = (Provider::Local, BTreeMap::new());
        let servers = Servers::default();
        let (store, secrets, routing) = (None, BTreeSet::new(), Routing::default());
        let default = false;
        return Ok(Environment {
            name,
            default,
            provider,
            servers,
            store,
            values,
            secrets,
            routing,
            machine: Machine::default(),
            tls: Tls::Off,
        });
    }
    let mut known: Vec<String> =
        project.environments.iter().map(|environment| environment.name.to_string()).collect();
    if !known.iter().any(|name| name == LOCAL) {
        known.push(LOCAL.to_owned());
    }
    Err(UnknownEnvironment { name, known })
}

fn process(process: &Process) -> ResolvedProcess {
    let traffic = process.name.has_traffic();
    let Stop { signal, within } = process.stop;
    ResolvedProcess {
        name: process.name.clone(),
        serves: process.serves.clone(),
        probe: match process.serves {
            Serves::Static(..) => None,
            Serves::Command(_) => probe(process.probe.as_ref(), traffic),
        },
        stop_signal: signal.unwrap_or(STOP_SIGNAL),
        stop_within: within.unwrap_or(STOP_WITHIN),
        overlap: process.overlap || traffic,
        limits: process.limits,
        on: process.on.clone(),
        count: process.count,
    }
}

fn probe(wish: Option<&ProbeWish>, traffic: bool) -> Option<Probe> {
    if wish.is_none() && !traffic {
        return None;
    }
    let how = match wish.map_or(&ProbeKind::Default, |wish| &wish.how) {
        ProbeKind::Default => {
            Try::Http { path: "/".to_owned(), status: Statuses::Below(500), body: None }
        }
        ProbeKind::Http { path, status, body } => Try::Http {
            path: path.clone(),
            status: if status.is_empty() {
                Statuses::Only(PROBE_STATUS.to_vec())
            } else {
                Statuses::Only(status.clone())
            },
            body: body.clone(),
        },
        ProbeKind::Tcp => Try::Tcp,
        ProbeKind::Command(command) => Try::Command(command.clone()),
    };
    Some(Probe {
        how,
        within: wish.and_then(|wish| wish.within).unwrap_or(PROBE_WITHIN),
        interval: wish.and_then(|wish| wish.interval).unwrap_or(PROBE_INTERVAL),
        timeout: wish.and_then(|wish| wish.timeout).unwrap_or(PROBE_TIMEOUT),
    })
}
