//! The agent of one server tree.
//!
//! It keeps the last order of each app durably and makes it true, whoever is there to ask. Its loop
//! is a story: gather the facts, let [`onward_core::reconcile`] decide, begin what it says, publish
//! the report, wait until something happens.
//!
//! ```text
//!  clients ──► serve ──┐                        ┌──► files      (blocking threads)
//!  store ────► pull ───┤                        ├──► instances  (processes, probes)
//!  processes ──────────┼─► events ─► Agent ─────┼──► commands
//!  proxy ────► keeper ─┘     facts → reconcile  └──► proxy
//! ```
//!
//! It promises that an order is durable before it is followed, that a lower generation is never
//! followed after a higher one, also after a restart, and that its own end stops nothing: apps and
//! proxy go on, and the next agent finds them again. It decides nothing itself.

mod access;
mod act;
mod address;
mod admission;
mod adoption;
mod app;
mod arrivals;
mod attend;
mod carrying;
mod checkup;
mod commands;
mod context;
mod control;
mod copies;
mod documents;
mod door;
mod durable;
mod event;
mod files;
mod follow;
mod gather;
mod instances;
mod jobs;
mod last_words;
mod machine;
mod note;
mod one_off;
mod out_of_memory;
mod peers;
mod probe;
mod proxy;
mod proxy_units;
mod pull;
mod record;
mod rendering;
mod requests;
mod roll;
mod routes;
mod serve;
mod startup;
mod status_file;
mod stray_units;
mod succession;
mod sweeping;
mod unnamed;
mod vault;

use std::path::PathBuf;

use onward_core::model::{EnvironmentName, ServerName};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::build::Build;
use crate::layout::{Tree, proxy_socket};
use crate::process;
use address::Address;
use event::{EVENTS_MAX, Event};
use note::note;
use proxy::Keeper;
use proxy_units::UnitKeeper;
use roll::{Agent, Identity};

pub use durable::FileError;
pub use startup::Error;

/// How many threads do what blocks: files, logs, and speaking to the proxy.
const BLOCKING_THREADS_MAX: usize = 8;

/// The port of TLS where systemd holds the sockets.
const HTTPS_PORT: u16 = 443;

/// What an agent needs to run.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server tree.
    pub root: PathBuf,
    /// The directory of its sockets. It is made private to the user.
    pub runtime_dir: PathBuf,
    /// A directory store whose documents the agent follows by itself.
    pub store: Option<PathBuf>,
    /// The one environment whose documents are followed; all of the store when none is named.
    /// Servers of two environments may have the same name.
    pub environment: Option<EnvironmentName>,
    /// The bundles that releases are staged from.
    pub bundles: PathBuf,
    /// The program that is started as `proxy run` and `proxy files`.
    pub binary: PathBuf,
    /// The name of this server in documents.
    pub server: ServerName,
    /// Set where systemd looks after agent and proxy.
    pub systemd: Option<Served>,
}

/// What systemd does for an agent: it holds the sockets of its proxies, and starts what died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// The port of plain HTTP.
    pub http: u16,
}

impl Config {
    /// How agent and proxy were put into the care of systemd.
    fn installed(&self) -> Option<checkup::Installed> {
        let http = self.systemd?.http;
        let (runtime, server) = (self.runtime_dir.clone(), self.server.clone());
        Some(checkup::Installed { runtime, server, http })
    }

    /// Who keeps what apps run.
    fn supervisor(&self) -> process::Supervisor {
        match self.systemd {
            Some(_) => process::Supervisor::Systemd { runtime: self.runtime_dir.clone() },
            None => process::Supervisor::Own,
        }
    }

    /// The directory of the proxies' control sockets.
    fn proxy_dir(&self) -> PathBuf {
        match self.systemd {
            Some(_) => self.runtime_dir.join("proxy"),
            None => self.runtime_dir.clone(),
        }
    }

    /// The program, also when its file was replaced or removed since the agent was started.
    fn program(&self) -> PathBuf {
        if self.binary.exists() { self.binary.clone() } else { PathBuf::from("/proc/self/exe") }
    }
}

/// Why this onward cannot take a tree over: a file says what only a newer one knows. `None` when it
/// can, also when a file is damaged, which every agent leaves as it is.
pub fn unreadable(tree: &Tree) -> Option<String> {
    let newer = |error: Option<FileError>| match error {
        Some(error @ FileError::Newer { .. }) => Some(error.to_string()),
        _ => None,
    };
    let server = durable::read::<address::Server>(&tree.server_file()).err();
    newer(server).or_else(|| {
        tree.all_apps().into_iter().find_map(|app| {
            let kept = durable::read::<onward_core::reconcile::Kept>(&app.kept_file()).err();
            let what_runs = durable::read::<record::Record>(&app.instances_file()).err();
            newer(kept).or_else(|| newer(what_runs))
        })
    })
}

/// Runs the agent until it is asked to end. Apps and proxy outlive it, unless it is asked to shut
/// down.
///
/// Until its socket answers, errors are printed where the caller's are; from then on in
/// `agent.log`. When the tree has an agent already, this says so and returns without an error.
///
/// # Errors
/// When it cannot start; see [`enum@Error`].
pub fn run(config: Config) -> Result<(), Error> {
    let tree = Tree::new(&config.root);
    let lock = match startup::lock(&tree) {
        Err(error @ Error::AlreadyRunning { .. }) => {
            note(error);
            return Ok(());
        }
        other => other?,
    };
    startup::runtime_directory(&config)?;
    let build = startup::build(&config, &tree)?;
    let address = match config.systemd {
        Some(_) => None,
        None => Some(Address::take(&tree, &config.runtime_dir, &process::boot_id())?),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
        .map_err(startup::failed("start in", &config.root))?;
    runtime.block_on(live(config, &tree, address, build))?;
    runtime.shutdown_background();
    drop(lock);
    Ok(())
}

/// `address` is the agent's own where systemd does not hold it.
async fn live(
    config: Config,
    tree: &Tree,
    address: Option<Address>,
    build: Build,
) -> Result<(), Error> {
    let (events, received) = mpsc::channel(EVENTS_MAX);
    let socket = startup::socket(&config.runtime_dir)?;
    if config.systemd.is_none() {
        startup::detach(tree)?;
    }
    note(format_args!("agent {} starts, process {}", build.name(), std::process::id()));
    let control = control::Control::new(tree, &config.proxy_dir());
    let maskers = vault::Maskers::default();
    let carrying = config.systemd.map(|_| carry(&config));
    let desk = serve::Desk {
        events: events.clone(),
        tree: tree.clone(),
        control: control.clone(),
        maskers: maskers.clone(),
        supervisor: config.supervisor(),
        store: config.store.clone(),
        bundles: config.bundles.clone(),
        installed: config.installed(),
        runtime: config.runtime_dir.clone(),
        carrying,
    };
    if let Some(socket) = startup::managers_socket(&config.runtime_dir)? {
        tokio::spawn(serve::serve(socket, serve::Trust::WhoeverMay, desk.clone()));
    }
    tokio::spawn(serve::serve(socket, serve::Trust::OwnUser, desk));
    if config.systemd.is_some() {
        // Elsewhere the bundles are those of a project, which its command sweeps.
        let (store, bundles) = (config.store.clone(), config.bundles.clone());
        tokio::spawn(sweeping::sweep(tree.clone(), store, bundles));
    }
    if let Some(store) = config.store.clone() {
        let environment = config.environment.clone();
        tokio::spawn(pull::pull(store, environment, config.server.clone(), events.clone()));
    }
    hear_sigterm(tree, events.clone())?;
    let (stop, stopped) = watch::channel(false);
    let port = address.as_ref().map(|own| own.port);
    let port = port.or(config.systemd.map(|own| own.http)).unwrap_or_default();
    let https_port = match &address {
        Some(own) => own.https.as_ref().map(|(port, _)| *port),
        None => config.systemd.map(|_| HTTPS_PORT),
    };
    let renew = std::sync::Arc::new(tokio::sync::Notify::new());
    let keeper = keep_proxy(Keeping {
        tree: tree.clone(),
        config: config.clone(),
        events: events.clone(),
        address,
        control: control.clone(),
        build: build.clone(),
        renew: renew.clone(),
        stop: stopped,
    });
    let (runtime_dir, proxy_dir) = (config.runtime_dir.clone(), config.proxy_dir());
    let own = Identity { build, port, https_port, renew };
    let mut agent = Agent::new(config, events, control, maskers, own);
    agent.load();
    if let Err(error) = crate::systemd::ready() {
        note(format_args!("systemd is not told that the agent is ready: {error}"));
    }
    let shut_down = agent.run(received).await;
    if shut_down {
        let _ = stop.send(true);
        let _ = keeper.await;
        let _ = std::fs::remove_file(proxy_socket(&proxy_dir));
    }
    let _ = std::fs::remove_file(crate::layout::agent_socket(&runtime_dir));
    note("agent ends");
    Ok(())
}

/// Makes an event of SIGTERM.
fn hear_sigterm(tree: &Tree, events: event::Events) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate())
        .map_err(startup::failed("wait for SIGTERM in", tree.root()))?;
    tokio::spawn(async move {
        terminate.recv().await;
        let _ = events.send(Event::Terminated).await;
    });
    Ok(())
}

/// Begins to look after the documents that this server keeps. Those that are there may have been left
/// in the middle of something, by whoever was cut off when the server went down.
fn carry(config: &Config) -> carrying::Words {
    let place = carrying::Place {
        runner: "systemd-run".into(),
        program: config.program(),
        root: config.root.clone(),
        runtime: config.runtime_dir.clone(),
    };
    let found = config.store.as_deref().map(documents::all).unwrap_or_default();
    carrying::begin(place, found)
}

/// What looks after the proxy.
struct Keeping {
    tree: Tree,
    config: Config,
    events: event::Events,
    address: Option<Address>,
    control: control::Control,
    build: Build,
    renew: std::sync::Arc<tokio::sync::Notify>,
    stop: watch::Receiver<bool>,
}

/// Looks after the proxy: as a process of this agent on the address that it holds, else as a unit.
fn keep_proxy(own: Keeping) -> tokio::task::JoinHandle<()> {
    let Keeping { tree, config, events, address, control, build, renew, stop } = own;
    let Some(address) = address else {
        let sockets = config.proxy_dir();
        let keeper = UnitKeeper { sockets, events, control, build, renew, stop };
        return tokio::spawn(keeper.run());
    };
    let keeper = Keeper {
        tree,
        config,
        boot: process::boot_id(),
        events,
        address,
        control,
        build,
        renew,
        stop,
        answered: std::sync::atomic::AtomicBool::new(false),
    };
    tokio::spawn(keeper.run())
}
