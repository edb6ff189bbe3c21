//! Where things lie below the root of a server tree and its runtime directory.
//!
//! ```text
//! ROOT/server.json                      the proxy's port
//!      agent.lock  agent.log  proxy.log
//!      proxy/table.json                 the proxy's durable table
//!      unnamed.json                     who answers to names that nobody has
//!      apps/APP/ENV/app.json            the last order and the commands that were begun
//!                   state-copy.json      the state document, for a store that is lost
//!                   instances.json      what runs, so that it is found again
//!                   releases/N/         the files of a release
//!                   current             -> releases/N, the release that serves
//!                   shared/DIR          survives releases
//!                   commands/           how commands ended
//!                   secrets.key         opens the secrets of the environment
//!                   secrets/N/          the secrets of a release that runs, one a file
//!                   logs/N/PROCESS.INDEX.log
//!      manager.key                      with which a manager comes to other servers
//!      onward-manager/                  the managers that are let in
//!      bin/onward-VERSION-DIGEST        the onward that agent and proxy run; `current` leads to it
//! RUNTIME/agent.sock  proxy.sock
//!         managers/agent.sock           for the managers of other servers
//!         proxy.next.sock               a proxy that is about to take over
//!         proxy.PID.sock                one that was replaced and finishes what it has
//! ```

use std::fmt::Display;
use std::path::{Path, PathBuf};

use onward_core::model::{AppName, EnvironmentName, OperationNumber, ReleaseNumber};
use onward_core::order::CommandKind;
use onward_core::reconcile::SlotId;

/// The agent's socket below the runtime directory.
pub fn agent_socket(runtime: &Path) -> PathBuf {
    runtime.join("agent.sock")
}

/// The directory of the agent's socket for the managers of other servers, below the runtime
/// directory. Its group may come by, and nobody else.
pub fn managers_runtime(runtime: &Path) -> PathBuf {
    runtime.join("managers")
}

/// The proxy's control socket below the runtime directory.
pub fn proxy_socket(runtime: &Path) -> PathBuf {
    runtime.join("proxy.sock")
}

/// The control socket of a proxy that is about to take over.
pub fn next_proxy_socket(runtime: &Path) -> PathBuf {
    runtime.join("proxy.next.sock")
}

/// The control socket of a proxy that was replaced and finishes what it has.
pub fn old_proxy_socket(runtime: &Path, pid: u32) -> PathBuf {
    runtime.join(format!("proxy.{pid}.sock"))
}

/// The process id in the name of [`old_proxy_socket`]; `None` for other files.
pub fn old_proxy_pid(name: &std::ffi::OsStr) -> Option<u32> {
    name.to_str()?.strip_prefix("proxy.")?.strip_suffix(".sock")?.parse().ok()
}

/// The paths of one server tree.
#[derive(Debug, Clone)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// The tree below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What belongs to the server: the proxy's port.
    pub fn server_file(&self) -> PathBuf {
        self.root.join("server.json")
    }

    /// Who answers to names that nobody has.
    pub fn unnamed_file(&self) -> PathBuf {
        self.root.join("unnamed.json")
    }

    /// Locked by the one agent of the tree.
    pub fn lock_file(&self) -> PathBuf {
        self.root.join("agent.lock")
    }

    /// What the agent prints.
    pub fn agent_log(&self) -> PathBuf {
        self.root.join("agent.log")
    }

    /// What the proxy prints.
    pub fn proxy_log(&self) -> PathBuf {
        self.root.join("proxy.log")
    }

    /// The proxy's durable table.
    pub fn proxy_table(&self) -> PathBuf {
        self.root.join("proxy").join("table.json")
    }

    /// The copies of onward that agent and proxy run.
    pub fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// The directory of all apps.
    pub fn apps(&self) -> PathBuf {
        self.root.join("apps")
    }

    /// Every app in every environment that is there.
    pub fn all_apps(&self) -> Vec<AppTree> {
        let directories = |parent: PathBuf| {
            let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).filter(|path| path.is_dir())
        };
        directories(self.apps())
            .flat_map(directories)
            .map(|directory| AppTree { directory })
            .collect()
    }

    /// One app in one environment.
    pub fn app(&self, app: &AppName, environment: &EnvironmentName) -> AppTree {
        AppTree { directory: self.apps().join(app.as_str()).join(environment.as_str()) }
    }
}

/// The paths of one app in one environment.
#[derive(Debug, Clone)]
pub struct AppTree {
    directory: PathBuf,
}

impl AppTree {
    /// The directory of all this.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The last order and the commands that were begun.
    pub fn kept_file(&self) -> PathBuf {
        self.directory.join("app.json")
    }

    /// A copy of the state document.
    pub fn copy_file(&self) -> PathBuf {
        self.directory.join("state-copy.json")
    }

    /// What runs.
    pub fn instances_file(&self) -> PathBuf {
        self.directory.join("instances.json")
    }

    /// The private keys of the environment.
    pub fn key_file(&self) -> PathBuf {
        self.directory.join("secrets.key")
    }

    /// The directory of the secrets of all releases that run.
    pub fn secrets(&self) -> PathBuf {
        self.directory.join("secrets")
    }

    /// The secrets of one release.
    pub fn secrets_of(&self, release: ReleaseNumber) -> PathBuf {
        self.secrets().join(release.to_string())
    }

    /// The directory of all releases.
    pub fn releases(&self) -> PathBuf {
        self.directory.join("releases")
    }

    /// The files of one release.
    pub fn release(&self, release: ReleaseNumber) -> PathBuf {
        self.releases().join(release.to_string())
    }

    /// The link to the release that serves.
    pub fn current(&self) -> PathBuf {
        self.directory.join("current")
    }

    /// What survives releases.
    pub fn shared(&self) -> PathBuf {
        self.directory.join("shared")
    }

    /// The directory of all logs.
    pub fn logs(&self) -> PathBuf {
        self.directory.join("logs")
    }

    /// The logs of one release.
    pub fn logs_of(&self, release: ReleaseNumber) -> PathBuf {
        self.logs().join(release.to_string())
    }

    /// What one instance prints.
    pub fn log(&self, slot: &SlotId) -> PathBuf {
        self.logs_of(slot.release).join(format!("{}.{}.log", slot.process, slot.index))
    }

    /// What a command prints.
    pub fn command_log(&self, release: ReleaseNumber, kind: CommandKind) -> PathBuf {
        self.logs_of(release).join(format!("{}.log", command_word(kind)))
    }

    /// What a command prints that goes on by itself: `nightly`, `run.3`.
    pub fn job_log(&self, release: ReleaseNumber, name: &impl Display) -> PathBuf {
        self.logs_of(release).join(format!("{name}.log"))
    }

    /// Holds the exit status of such a command, once it ended.
    pub fn job_status(&self, name: &impl Display) -> PathBuf {
        self.commands().join(format!("job.{name}"))
    }

    /// The numbers of the commands `run.N` that left a log.
    pub fn logged_runs(&self) -> Vec<u32> {
        let names = |directory: PathBuf| {
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            entries.filter_map(|entry| entry.file_name().into_string().ok())
        };
        let logs = names(self.logs()).flat_map(|release| names(self.logs().join(release)));
        logs.filter_map(|log| log.strip_prefix("run.")?.strip_suffix(".log")?.parse().ok())
            .collect()
    }

    /// How commands ended.
    pub fn commands(&self) -> PathBuf {
        self.directory.join("commands")
    }

    /// Holds the exit status of a command, once it ended.
    pub fn command_status(&self, operation: OperationNumber, kind: CommandKind) -> PathBuf {
        self.commands().join(format!("{operation}.{}", command_word(kind)))
    }
}

/// The word for a command in file names and logs.
pub const fn command_word(kind: CommandKind) -> &'static str {
    match kind {
        CommandKind::Release => "release-command",
        CommandKind::Check => "check",
    }
}
