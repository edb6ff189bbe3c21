//! This machine as one server, or as several: trees below the project's `.onward`.
//!
//! ```text
//! .onward/state/    documents           .onward/apps/     releases, shared directories, logs
//!         bundles/  bundles             .onward/agent.log what the agent prints
//!         home      the environment whose server `local` has this tree
//!         servers/NAME/                 the tree of another server of that environment
//!         servers/ENVIRONMENT.NAME/     the tree of a server of another environment
//! ```
//!
//! A home that several projects share has the same, without `home`: all of them have their servers
//! in the same trees.
//!
//! Each server has its own agent, proxy and port, kept for life. All share documents and bundles.
//!
//! Sockets do not live there: the path of a socket has at most 108 bytes. They are in
//! `$XDG_RUNTIME_DIR/onward/HASH`, else `/tmp/onward-UID/HASH`. `runtime` in a tree says where, for
//! commands whose environment is another: a cron job finds the agent of a terminal.

mod agent;
mod home;
mod owner;
mod runtime_dir;
mod server;
mod silence;
mod upgrade;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use onward_core::model::{AppName, EnvironmentName, ServerName};
use onward_store::bundle;
use onward_store::state::DirectoryStore;

pub use agent::{AgentError, Contact, LocalLink, reason};
pub use server::LocalServer;
pub use upgrade::{Renewal, Replaced};

/// The directory of onward below a project.
pub const DIRECTORY: &str = ".onward";
/// The directory of the trees of other servers below it.
const SERVERS: &str = "servers";
/// Where values of secrets wait for an environment that is not up yet, in the directory of the project.
const WAITING: &str = "waiting";

/// The name of the first server of an environment that does not name its servers.
pub fn server_name() -> ServerName {
    "local".parse().expect("`local` is a legal name")
}

/// The place of one project on this machine.
#[derive(Debug, Clone)]
pub struct Local {
    project: PathBuf,
    root: PathBuf,
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
        Ok(Self { root: project.join(DIRECTORY), project, shared: false })
    }

    /// The place of the project in a home that it may share with others.
    ///
    /// # Errors
    /// When one of the two directories cannot be had.
    pub fn at_home(directory: &Path, home: &Path) -> io::Result<Self> {
        let project = fs::canonicalize(directory)?;
        fs::create_dir_all(home)?;
        Ok(Self { root: fs::canonicalize(home)?, project, shared: true })
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

    /// A server of an environment. `default` is the environment that commands mean when they do not
    /// say: unless another one has it, its server `local` has the tree of the project itself.
    pub fn server(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        default: &EnvironmentName,
        name: &ServerName,
    ) -> LocalServer {
        let is_home = self.is_home(app, environment, default);
        let (root, hashed) = if is_home && *name == server_name() {
            let hashed = if self.shared { &self.root } else { &self.project };
            (self.root.clone(), hashed.clone())
        } else {
            let directory =
                if is_home { name.to_string() } else { format!("{environment}.{name}") };
            let root = self.root.join(SERVERS).join(directory);
            (root.clone(), root)
        };
        let (name, environment) = (name.clone(), environment.clone());
        let runtime = runtime_dir::of(&hashed);
        LocalServer::new(name, environment, self.root.clone(), root, runtime, self.shared)
    }

    /// Whether the environment's servers have the trees without its name. In a home that is shared
    /// a server is one machine for all.
    fn is_home(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        default: &EnvironmentName,
    ) -> bool {
        self.shared || home::environment(&self.root, app, default) == *environment
    }

    /// The names of the servers of an environment that have a tree.
    pub fn trees(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        default: &EnvironmentName,
    ) -> Vec<ServerName> {
        let is_home = self.is_home(app, environment, default);
        let entries = fs::read_dir(self.root.join(SERVERS)).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let own = names.filter_map(|name| match name.split_once('.') {
            Some((of, name)) => (!is_home && of == environment.as_str()).then(|| name.to_owned()),
            None => is_home.then_some(name),
        });
        let mut names: Vec<ServerName> = own.filter_map(|name| name.parse().ok()).collect();
        if is_home && self.root.join("server.json").exists() {
            names.push(server_name());
        }
        names.sort();
        names
    }

    /// Makes `.onward`, with a file in it that keeps it out of Git, and settles which environment
    /// has its tree.
    ///
    /// # Errors
    /// What the system says.
    pub fn prepare(&self, app: &AppName, default: &EnvironmentName) -> io::Result<()> {
        fs::create_dir_all(&self.root)?;
        let ignore = self.root.join(".gitignore");
        if !ignore.exists() {
            fs::write(ignore, "*\n")?;
        }
        if self.shared { Ok(()) } else { home::settle(&self.root, app, default) }
    }

    /// The documents of one app and environment.
    pub fn store(&self, app: &AppName, environment: &EnvironmentName) -> DirectoryStore {
        DirectoryStore::new(&self.root.join("state"), app, environment)
    }

    /// The document in which values of secrets wait for the state of an environment that is not up yet.
    pub fn waiting(&self, app: &AppName, environment: &EnvironmentName) -> DirectoryStore {
        DirectoryStore::new(&self.root.join(WAITING), app, environment)
    }

    /// Removes that document.
    ///
    /// # Errors
    /// What the system says.
    pub fn nothing_waits(&self, app: &AppName, environment: &EnvironmentName) -> io::Result<()> {
        let place = self.root.join(WAITING).join(app.as_str()).join(environment.as_str());
        fs::remove_dir_all(place)
    }

    /// The bundles of the project.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn bundles(&self) -> Result<bundle::Store, bundle::Error> {
        bundle::Store::open(self.root.join("bundles"))
    }
}
