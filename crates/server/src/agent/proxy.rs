//! The proxy's process: found or started, watched, started again at once when it ends.
//!
//! The agent holds the listening socket. While no proxy is there, connections wait in its queue and
//! nobody is refused. The proxy outlives the agent, which then gets the socket back from it.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use onward_proxy::{Client, Status};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::Config;
use super::control::Control;
use super::durable::{self, Survives};
use super::event::{Event, Events};
use super::note::note;
use super::startup::Error;
use crate::layout::{Tree, proxy_socket};
use crate::process::{self, End, Exit, Identity, Program, Spawn};

/// The shape of `server.json`.
const SCHEMA: u32 = 1;
/// The time that a proxy has to answer after its start.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// The time that a proxy of an earlier agent has to answer before it is given up.
const STARTS_WITHIN: Duration = Duration::from_secs(2);
/// How often a starting proxy is tried.
const TRY_EVERY: Duration = Duration::from_millis(2);
/// A proxy that ended by itself sooner than this had a short life.
const LIVES_AT_LEAST: Duration = Duration::from_secs(1);
/// How many short lives in a row are followed by a new start at once.
const SHORT_LIVES_MAX: u32 = 5;
/// How many lives in a row without an answer are followed by a new start at once.
const SILENT_LIVES_MAX: u32 = 1;
/// The pause before a proxy is started that answers and does not live long: whoever waits in the
/// queue of the socket shall not notice it.
const SHORT_PAUSE: Duration = Duration::from_millis(200);
/// The pause before a proxy is started that has not answered.
const SILENT_PAUSE: Duration = Duration::from_secs(2);
/// The time that a proxy has to end when the tree is taken down: nothing is routed any more.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// What is kept of the server: `server.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Server {
    schema: u32,
    /// The proxy's port.
    port: u16,
    /// The proxy's process when it was last started, and the system's start that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proxy: Option<(String, Identity)>,
}

/// The address of a tree: its listening socket and who accepts on it.
pub(super) struct Address {
    pub(super) port: u16,
    listener: Arc<TcpListener>,
    /// A proxy that runs already.
    found: Option<Status>,
}

impl Address {
    /// Takes the address over from the proxy that runs, or opens it. The port is chosen once.
    pub(super) fn take(tree: &Tree, runtime: &Path, boot: &str) -> Result<Self, Error> {
        let file = tree.server_file();
        let server: Option<Server> = durable::read(&file)?;
        let recorded = server.as_ref().and_then(|own| own.proxy.clone());
        let recorded = recorded.filter(|own| own.0 == boot).map(|own| own.1);
        if let Some((listener, found)) = adopt_patiently(&proxy_socket(runtime), recorded) {
            let port = listener.local_addr().map_or(0, |address| address.port());
            if server.is_none() {
                let server = Server { schema: SCHEMA, port, proxy: None };
                durable::write(&file, &server, Survives::PowerLoss)?;
            }
            return Ok(Self { port, listener: Arc::new(listener), found: Some(found) });
        }
        if let Some(silent) = recorded {
            // It does not answer, so nothing but a new one can.
            process::kill_group(silent);
        }
        if let Some(server) = server {
            let listener = bind(server.port).map_err(|error| taken(server.port, &file, &error))?;
            return Ok(Self { port: server.port, listener: Arc::new(listener), found: None });
        }
        let port = process::free_port(&BTreeSet::new())
            .ok_or_else(|| Error::Address("no port of this machine is free".to_owned()))?;
        let listener = bind(port).map_err(|error| taken(port, &file, &error))?;
        let server = Server { schema: SCHEMA, port, proxy: None };
        durable::write(&file, &server, Survives::PowerLoss)?;
        Ok(Self { port, listener: Arc::new(listener), found: None })
    }
}

/// A proxy that is known to run may only just have been started: connections wait in the queue of
/// its socket, which would be lost with it.
fn adopt_patiently(control: &Path, known: Option<Identity>) -> Option<(TcpListener, Status)> {
    let until = std::time::Instant::now() + STARTS_WITHIN;
    loop {
        let adopted = adopt(control);
        let is_starting = known.is_some_and(process::is_running);
        if adopted.is_some() || !is_starting || std::time::Instant::now() >= until {
            return adopted;
        }
        std::thread::sleep(TRY_EVERY);
    }
}

/// The listening socket and the state of a proxy that runs.
fn adopt(control: &Path) -> Option<(TcpListener, Status)> {
    let mut client = Client::connect(control).ok()?;
    let status = client.status().ok().filter(|status| !status.draining)?;
    let listener: OwnedFd = client.listener().ok()?;
    Some((TcpListener::from(listener), status))
}

/// The port may be about to be left by a proxy that was just killed.
fn bind(port: u16) -> std::io::Result<TcpListener> {
    let mut tries = 0;
    loop {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && tries < 50 => {
                tries += 1;
                std::thread::sleep(TRY_EVERY);
            }
            other => return other,
        }
    }
}

fn taken(port: u16, file: &Path, error: &std::io::Error) -> Error {
    let owner = process::owner_of_port(port).map_or_else(String::new, |owner| {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", owner.pid)).unwrap_or_default();
        format!(" by process {} ({})", owner.pid, name.trim())
    });
    Error::Address(format!(
        "port {port}, the address of this project, is used{owner} ({error}); end that process, or \
         remove {} to get another port",
        file.display()
    ))
}

/// Keeps a proxy running on an address.
pub(super) struct Keeper {
    pub(super) tree: Tree,
    pub(super) config: Config,
    pub(super) boot: String,
    pub(super) events: Events,
    pub(super) address: Address,
    /// Becomes true when the proxy shall end.
    pub(super) stop: watch::Receiver<bool>,
    /// Whether the proxy has answered in its present life.
    pub(super) answered: AtomicBool,
}

impl Keeper {
    /// Runs until it is told to stop; then the proxy has ended.
    pub(super) async fn run(mut self) {
        let (mut short_lives, mut silent_lives) = (0, 0);
        let mut found = self.address.found.take();
        if let Some(found) = &found {
            note(format_args!(
                "found the proxy, process {}, on port {}",
                found.pid, self.address.port
            ));
        }
        loop {
            let began = Instant::now();
            self.answered.store(found.is_some(), Ordering::Relaxed);
            let (why, was_killed) = match self.one_life(found.take()).await {
                Life::Stopped => return,
                Life::Ended(exit) => (exit.words(), exit.signal() == Some(Signal::KILL.as_raw())),
                Life::NotBegun(why) => (why, false),
            };
            note(format_args!("the proxy {why}"));
            let is_short = began.elapsed() < LIVES_AT_LEAST && !was_killed;
            short_lives = if is_short { short_lives + 1 } else { 0 };
            silent_lives = if self.answered.load(Ordering::Relaxed) { 0 } else { silent_lives + 1 };
            let _ = self.events.send(Event::ProxyLost { why }).await;
            if silent_lives > 0 {
                self.set_damaged_table_aside();
            }
            let pause = if silent_lives > SILENT_LIVES_MAX {
                SILENT_PAUSE
            } else if short_lives > SHORT_LIVES_MAX {
                SHORT_PAUSE
            } else {
                continue;
            };
            let mut stop = self.stop.clone();
            tokio::select! {
                () = sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn one_life(&mut self, found: Option<Status>) -> Life {
        let (identity, mut child) = match found {
            Some(status) => {
                let Some(identity) = Identity::of(status.pid) else {
                    return Life::Ended(Exit::Unknown);
                };
                (identity, None)
            }
            None => match self.spawn() {
                Ok(started) => (started.identity, Some(started.child)),
                Err(error) => return Life::NotBegun(format!("cannot be started: {error}")),
            },
        };
        let ended = async {
            match &mut child {
                Some(child) => child.wait().await.map_or(Exit::Unknown, Exit::Status),
                None => {
                    let _ = process::wait_for_exit(identity).await;
                    Exit::Unknown
                }
            }
        };
        let mut stop = self.stop.clone();
        let greet = async {
            self.greet().await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            exit = ended => return Life::Ended(exit),
            () = greet => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        let end = End { signal: Signal::TERM, within: ENDS_WITHIN };
        let reap = async {
            if let Some(child) = &mut child {
                let _ = child.wait().await;
            }
        };
        tokio::join!(process::end_group(identity.pid, end), reap);
        Life::Stopped
    }

    fn spawn(&self) -> std::io::Result<process::Spawned> {
        let table = self.tree.proxy_table();
        if let Some(parent) = table.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let control = proxy_socket(&self.config.runtime_dir);
        let arguments = vec![
            "proxy".into(),
            "run".into(),
            "--table".into(),
            table.into(),
            "--control".into(),
            control.into(),
        ];
        let spawn = Spawn {
            program: &Program::Direct(self.config.program(), arguments),
            directory: self.tree.root(),
            environment: &process::inherited_environment(),
            log: &self.tree.proxy_log(),
            stdin: Some(Stdio::from(OwnedFd::from(self.address.listener.try_clone()?))),
        };
        let started = spawn.start()?;
        let proxy = Some((self.boot.clone(), started.identity));
        let server = Server { schema: SCHEMA, port: self.address.port, proxy };
        if let Err(error) = durable::write(&self.tree.server_file(), &server, Survives::Exit) {
            note(format_args!("the proxy's process is not recorded: {error}"));
        }
        Ok(started)
    }

    /// Waits until the proxy answers.
    async fn greet(&self) {
        let control = Control::new(&self.tree, &self.config.runtime_dir);
        let began = Instant::now();
        while began.elapsed() < ANSWERS_WITHIN {
            if let Ok(seen) = control.look().await {
                self.answered.store(true, Ordering::Relaxed);
                let _ = self.events.send(Event::ProxySeen(Box::new(seen))).await;
                return;
            }
            sleep(TRY_EVERY).await;
        }
        let why = "does not answer".to_owned();
        let _ = self.events.send(Event::ProxyLost { why }).await;
    }

    /// A proxy cannot start from a damaged table. Without it, the agent tells it anew.
    fn set_damaged_table_aside(&self) {
        let table = self.tree.proxy_table();
        if onward_proxy::load_table(&table).is_err() {
            let aside = table.with_extension("json.damaged");
            note(format_args!("the proxy's table is damaged and kept as {}", aside.display()));
            let _ = std::fs::rename(&table, &aside);
        }
    }
}

enum Life {
    Ended(Exit),
    NotBegun(String),
    Stopped,
}
