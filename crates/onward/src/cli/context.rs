//! What most commands begin with: the project, its environment, its place on this machine.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use onward_core::model::{AppName, EnvironmentName, ServerName};
use onward_core::ports::{StateStore, StoreError, Stored};
use onward_store::state::Documents;

use super::args::Global;
use super::complaint::{self, Complaint};
use super::exit::Exit;
use super::likeness;
use super::problem::Problem;
use super::stores;
use super::ways::Ways;
use crate::project::{self, Findings, Project, Provider, Resolved};
use crate::providers::Server;
use crate::providers::local::{AgentError, Local, LocalServer};

/// The project and the environment that a command works on.
#[derive(Debug)]
pub struct Context {
    /// What the file wishes for the environment.
    pub resolved: Resolved,
    /// Warnings about the file.
    pub warnings: Option<Findings>,
    /// Its place on this machine.
    pub local: Local,
    ways: Option<Ways>,
    store: RwLock<Documents>,
    looked: Mutex<Option<Looked>>,
    is_waiting: AtomicBool,
}

/// What the document was, and since when at the latest that is known.
type Looked = (Instant, Option<Stored>);

/// How long a look at the document holds. What only prepares a change need not know it better: the
/// change itself is written by compare-and-swap.
const LOOK_HOLDS: Duration = Duration::from_secs(1);

impl Context {
    /// Reads the project file that the arguments name.
    pub fn load(global: &Global) -> Result<Self, Complaint> {
        Self::load_like(global, None)
    }

    /// The same for an environment that may be made like another one.
    pub fn load_like(global: &Global, like: Option<&EnvironmentName>) -> Result<Self, Complaint> {
        let (resolved, warnings, local) = project(global, like)?;
        let ways = match resolved.provider {
            Provider::Local => None,
            Provider::Ssh | Provider::Nspawn => Some(Ways::of(&resolved, &local)?),
        };
        let store = stores::of(&resolved, &local, ways.as_ref())?;
        Ok(Self {
            resolved,
            warnings,
            local,
            ways,
            store: RwLock::new(store),
            looked: Mutex::default(),
            is_waiting: AtomicBool::new(false),
        })
    }

    /// The app.
    pub fn app(&self) -> &AppName {
        &self.resolved.app
    }

    /// The environment.
    pub fn environment(&self) -> &EnvironmentName {
        &self.resolved.environment
    }

    /// The first line of output: what is worked on.
    pub fn title(&self) -> String {
        format!("{} → {}", self.app(), self.environment())
    }

    /// The documents of the environment. Whoever takes them may write: the next look is a new one.
    pub fn store(&self) -> Documents {
        self.keep_look(None);
        self.documents()
    }

    /// The document as it is now.
    pub fn read(&self) -> Result<Option<Stored>, StoreError> {
        let asked = Instant::now();
        let stored = self.documents().read()?;
        self.keep_look(Some((asked, stored.clone())));
        Ok(stored)
    }

    /// The document as it was a moment ago, and never older than what this command wrote: for what
    /// prepares and tells. The machine that keeps it is not asked by each step of a command.
    pub fn look(&self) -> Result<Option<Stored>, StoreError> {
        let looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match looked.filter(|(asked, _)| asked.elapsed() < LOOK_HOLDS) {
            Some((_, stored)) => Ok(stored),
            None => self.read(),
        }
    }

    /// The documents, for who only reads.
    pub fn documents(&self) -> Documents {
        self.store.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The next look is a new one.
    pub fn looks_anew(&self) {
        self.keep_look(None);
    }

    fn keep_look(&self, looked: Option<Looked>) {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = looked;
    }

    /// The documents are with this server: everything that is asked from now on is asked of it.
    pub fn is_managed_by(&self, name: &ServerName) {
        let Some(ways) = &self.ways else { return };
        ways.is_managed_by(name);
        let store = stores::of_server(&self.resolved, &ways.manager());
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = store;
        self.keep_look(None);
    }

    /// Values of secrets wait on this machine: everything that is asked of the state from now on is
    /// asked of the document that has them.
    pub fn waits(&self) {
        let store = self.local.waiting(self.app(), self.environment());
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = Documents::Directory(store);
        self.is_waiting.store(true, Ordering::Relaxed);
        self.keep_look(None);
    }

    /// Whether it [waits](Self::waits).
    pub fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Relaxed)
    }

    /// Makes `.onward`.
    pub fn prepare(&self) -> Result<(), Complaint> {
        let prepared = self.local.prepare(self.app(), &self.resolved.default);
        prepared
            .and_then(|()| self.local.own(self.app(), self.environment()))
            .map_err(|error| complaint::system(self.local.root(), error))
    }

    /// A server of the environment.
    pub fn server(&self, name: &ServerName) -> Server {
        match &self.ways {
            Some(ways) => Server::Ssh(ways.server(name)),
            None => Server::Local(self.local_server(name)),
        }
    }

    /// A server of the environment as a tree of this machine.
    pub fn local_server(&self, name: &ServerName) -> LocalServer {
        self.local.server(self.app(), self.environment(), &self.resolved.default, name)
    }

    /// Whether the manager carries on what a command leaves: it does so for the states that it keeps.
    pub fn is_carried_on(&self) -> bool {
        self.ways.is_some() && self.resolved.store.is_none()
    }

    /// The servers, when they are behind SSH.
    pub fn ways(&self) -> Option<&Ways> {
        self.ways.as_ref()
    }
}

/// The complaint about an agent that does not start. Its own reason is its last line.
pub fn agent_complaint(whose: &str, log: Option<&Path>, error: &AgentError) -> Complaint {
    let what = match error {
        AgentError::Ssh(error) => format!("{whose} {error}"),
        error => format!("the agent of {whose} {error}"),
    };
    let (what, lines) = match error {
        AgentError::Version(said) => (said.clone(), Vec::new()),
        AgentError::Upgrade(why) => {
            (format!("agent and proxy of {whose} are not replaced: {why}"), Vec::new())
        }
        AgentError::Ended { lines } => {
            match lines.last().and_then(|l| l.strip_prefix("onward: ")) {
                Some(reason) => (format!("the agent of {whose} ended: {reason}"), Vec::new()),
                None => (what, lines.clone()),
            }
        }
        AgentError::Silent { .. } | AgentError::Start(_) | AgentError::Ssh(_) => (what, Vec::new()),
    };
    if let AgentError::Version(_) | AgentError::Upgrade(_) = error {
        return Complaint::new(Exit::Failed, what)
            .fact("What runs goes on, with the agent and the proxy that it has")
            .hint("install the version of onward that runs here, or a newer one");
    }
    let complaint = Complaint::new(Exit::Failed, what).fact("What runs goes on without it");
    let complaint = match error {
        AgentError::Silent { pid: Some(pid) } => complaint
            .hint(format!("`kill -CONT {pid}` wakes its process when somebody stopped it"))
            .hint(format!("`kill -9 {pid}` ends one that hangs: the next command starts another")),
        _ => complaint,
    };
    let complaint = complaint.printed(lines);
    match log {
        Some(log) => complaint.hint(format!("{} has all that it printed", log.display())),
        None if matches!(error, AgentError::Ssh(_)) => complaint,
        None => complaint.hint("`journalctl -u onward-agent` there has all that it printed"),
    }
}

/// What the project file wishes, warnings about it, and its place on this machine.
pub fn project(
    global: &Global,
    like: Option<&EnvironmentName>,
) -> Result<(Resolved, Option<Findings>, Local), Complaint> {
    let (mut project, text) = project::load(&global.directory)?;
    let warnings = warnings(global, &mut project, text);
    let local = match &global.home {
        Some(home) => Local::at_home(&global.directory, home)
            .map_err(|error| complaint::system(home, error))?,
        None => Local::of(&global.directory)
            .map_err(|error| complaint::system(&global.directory, error))?,
    };
    let resolved = likeness::resolve(&project, &local, global.environment.clone(), like)?;
    if let Some(owner) = local.other_owner(&resolved.app, &resolved.environment) {
        let (app, environment) = (resolved.app, resolved.environment);
        return Err(Problem::OtherOwner { app, environment, owner }.into());
    }
    Ok((resolved, warnings, local))
}

fn warnings(global: &Global, project: &mut Project, text: String) -> Option<Findings> {
    let diagnostics = std::mem::take(&mut project.warnings);
    let file: PathBuf = global.directory.join(project::FILE_NAME);
    let file = file.strip_prefix(".").unwrap_or(&file).display().to_string();
    (!diagnostics.is_empty()).then_some(Findings { file, text, diagnostics })
}
