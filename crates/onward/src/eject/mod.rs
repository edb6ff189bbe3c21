//! What is needed to run a release without onward: systemd units, timers, an nginx configuration, and
//! what to do with them.
//!
//! [`files`] is a function from what is known to the files; nothing is read or written here.

mod elsewhere;
mod nginx;
mod overview;
mod quote;
mod readme;
mod steps;
mod tls;
mod units;

pub use elsewhere::{Certificate, Elsewhere};
pub use overview::{Leaving, overview};

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use onward_core::model::{
    AppName, BundleRef, Config, EnvironmentName, Maintenance, ProcessName, ReleaseNumber,
    ServerName,
};
use onward_secret::Secret;

/// Everybody may read it.
const PUBLIC: u32 = 0o644;
/// Only its owner may read it.
const PRIVATE: u32 = 0o600;

/// What serves, and where what is made will be.
#[derive(Debug)]
pub struct Serving<'a> {
    /// The app.
    pub app: &'a AppName,
    /// The environment.
    pub environment: &'a EnvironmentName,
    /// The release that serves.
    pub release: ReleaseNumber,
    /// Its files.
    pub bundle: &'a BundleRef,
    /// How they are run.
    pub config: &'a Config,
    /// The page that visitors get now, if they do.
    pub maintenance: Option<&'a Maintenance>,
    /// What runs where; the schedules run on the first.
    pub servers: Vec<OnServer>,
    /// The secrets of the release, opened.
    pub secrets: BTreeMap<String, Secret>,
    /// The environment that every process starts from: `PATH`, `HOME` and so on.
    pub inherited: BTreeMap<String, OsString>,
    /// The user and the group that run the app.
    pub owner: (String, String),
    /// The directory in which the files will be, absolute.
    pub place: PathBuf,
    /// Whether the release's files are copied there too.
    pub copied: bool,
    /// The port that nginx listens on.
    pub listen: u16,
    /// The port of the first instance with traffic; each other has the next one.
    pub first_port: u16,
    /// The server that it is for, when that is not this machine.
    pub elsewhere: Option<Elsewhere>,
}

/// What runs on one server.
#[derive(Debug)]
pub struct OnServer {
    /// The server.
    pub name: ServerName,
    /// The directory of the release, absolute.
    pub directory: PathBuf,
    /// The directory of what survives releases, absolute.
    pub shared: PathBuf,
    /// How many instances run of each process.
    pub counts: BTreeMap<ProcessName, u32>,
}

impl OnServer {
    /// Whether something with traffic runs there.
    fn has_traffic(&self, config: &Config) -> bool {
        config.with_traffic().any(|(name, _)| self.counts.get(name).is_some_and(|count| *count > 0))
    }
}

/// A file to write.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Relative to the directory.
    pub path: String,
    /// Its content; may hold secrets.
    pub content: Vec<u8>,
    /// Its mode.
    pub mode: u32,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({:o}, {} bytes)", self.path, self.mode, self.content.len())
    }
}

impl File {
    fn public(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), content: text.into().into_bytes(), mode: PUBLIC }
    }
}

/// An instance with traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Upstream {
    port: u16,
}

/// The files, and what could not be taken along, one sentence each.
#[derive(Debug)]
pub struct Ejected {
    /// The files.
    pub files: Vec<File>,
    /// What a person has to know.
    pub notes: Vec<String>,
}

/// Makes the files.
pub fn files(serving: &Serving<'_>) -> Ejected {
    let mut notes = Vec::new();
    let units = units::all(serving, &mut notes);
    let mut files = units.files;
    files.extend(elsewhere::files(serving));
    if serving.has_nginx() {
        files.extend(nginx::files(serving, &units.upstreams));
    }
    files.push(match &serving.elsewhere {
        Some(own) => steps::file(serving, own, &units.names, &notes),
        None => readme::file(serving, &units.names, &notes),
    });
    Ejected { files, notes }
}

impl Serving<'_> {
    /// The beginning of every name: `shop-local`.
    fn prefix(&self) -> String {
        format!("{}-{}", self.app, self.environment)
    }

    /// The same on one server; its name is in it when there are several.
    fn prefix_on(&self, server: &OnServer) -> String {
        if self.servers.len() == 1 {
            self.prefix()
        } else {
            format!("{}-{}", self.prefix(), server.name)
        }
    }

    /// Whether requests come to it.
    fn has_nginx(&self) -> bool {
        let leads = |own: &Elsewhere| own.is_entry || own.inner.is_some();
        let has_traffic = self.config.with_traffic().next().is_some();
        has_traffic && self.elsewhere.as_ref().is_none_or(leads)
    }

    fn place_of(&self, path: &str) -> String {
        self.place.join(path).to_string_lossy().into_owned()
    }
}
