//! This machine as the one server: everything below the project's `.onward`.
//!
//! ```text
//! .onward/state/    documents           .onward/apps/     releases, shared directories, logs
//!         bundles/  bundles             .onward/agent.log what the agent prints
//! ```
//!
//! Sockets do not live there: the path of a socket has at most 108 bytes. They are in
//! `$XDG_RUNTIME_DIR/onward/HASH`, else `/tmp/onward-UID/HASH`. `.onward/runtime` says where, for
//! commands whose environment is another: a cron job finds the agent of a terminal.

mod agent;
mod owner;
mod runtime_dir;
mod upgrade;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use onward_core::model::{AppName, EnvironmentName, ServerName};
use onward_store::bundle;
use onward_store::state::DirectoryStore;

pub use agent::{AgentError, LocalLink};
pub use upgrade::{Renewal, Replaced};

/// The directory of onward below a project.
pub const DIRECTORY: &str = ".onward";

/// The one server of the environment `local`.
pub fn server_name() -> ServerName {
    "local".parse().expect("`local` is a legal name")
}

/// The place of one project on this machine.
#[derive(Debug, Clone)]
pub struct Local {
    project: PathBuf,
    root: PathBuf,
    runtime: PathBuf,
    /// The root is not the project's own.
    shared: bool,
}

impl Local {
    /// The place of the project in `directory`. Makes nothing.
    ///
    /// # Errors
    /// When the directory does not exist or cannot be entered.
    pub fn of(directory: &Path) -> io::Result<Self> {
        let project = fs::canonicalize(directory)?;
        let root = project.join(DIRECTORY);
        let runtime = runtime_dir::recorded(&root).unwrap_or_else(|| runtime_dir::of(&project));
        Ok(Self { root, project, runtime, shared: false })
    }

    /// The place of the project in a home that it may share with others.
    ///
    /// # Errors
    /// When one of the two directories cannot be had.
    pub fn at_home(directory: &Path, home: &Path) -> io::Result<Self> {
        let project = fs::canonicalize(directory)?;
        fs::create_dir_all(home)?;
        let root = fs::canonicalize(home)?;
        let runtime = runtime_dir::recorded(&root).unwrap_or_else(|| runtime_dir::of(&root));
        Ok(Self { root, project, runtime, shared: true })
    }

    /// Whether other projects may be here too.
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// The directory of another project that has this app and environment here.
    pub fn other_owner(&self, app: &AppName, environment: &EnvironmentName) -> Option<PathBuf> {
        let file = owner::file(&self.root, app, environment);
        self.shared.then(|| owner::other(&file, &self.project)).flatten()
    }

    /// Makes this project the owner of an app and environment in a shared home.
    ///
    /// # Errors
    /// What the system says.
    pub fn own(&self, app: &AppName, environment: &EnvironmentName) -> io::Result<()> {
        if !self.shared {
            return Ok(());
        }
        owner::claim(&owner::file(&self.root, app, environment), &self.project)
    }

    /// Where the proxy is spoken to.
    pub fn proxy_socket(&self) -> PathBuf {
        onward_server::layout::proxy_socket(&self.runtime)
    }

    /// The documents of every app and environment that is here.
    pub fn documents(&self) -> Vec<DirectoryStore> {
        let names = |directory: &Path| -> Vec<String> {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
        };
        let state = self.root.join("state");
        let mut all = Vec::new();
        for app in names(&state) {
            for environment in names(&state.join(&app)) {
                if let (Ok(app), Ok(environment)) = (app.parse(), environment.parse()) {
                    all.push(DirectoryStore::new(&state, &app, &environment));
                }
            }
        }
        all
    }

    /// The project's directory.
    pub fn project(&self) -> &Path {
        &self.project
    }

    /// `.onward` of the project.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the logs of an app are.
    pub fn logs(&self, app: &AppName, environment: &EnvironmentName) -> PathBuf {
        self.root.join("apps").join(app.as_str()).join(environment.as_str()).join("logs")
    }

    /// Makes `.onward`, with a file in it that keeps it out of Git.
    ///
    /// # Errors
    /// What the system says.
    pub fn prepare(&self) -> io::Result<()> {
        fs::create_dir_all(&self.root)?;
        let ignore = self.root.join(".gitignore");
        if ignore.exists() { Ok(()) } else { fs::write(ignore, "*\n") }
    }

    /// The documents of one app and environment.
    pub fn store(&self, app: &AppName, environment: &EnvironmentName) -> DirectoryStore {
        DirectoryStore::new(&self.root.join("state"), app, environment)
    }

    /// The bundles of the project.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn bundles(&self) -> Result<bundle::Store, bundle::Error> {
        bundle::Store::open(self.root.join("bundles"))
    }
}
