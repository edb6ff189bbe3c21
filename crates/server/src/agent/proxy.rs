//! The proxy's process: found or started, watched, started again at once when it ends.
//!
//! One of another build is replaced by one of the agent's own, which starts beside it; when that does
//! not become ready, the old one goes on. The agent holds the listening socket. While no proxy is there, connections wait in its queue and
//! nobody is refused. The proxy outlives the agent, which then gets the socket back from it.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use onward_proxy::Status;
use onward_secret::Masker;
use rustix::process::Signal;
use tokio::process::Child;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::Config;
use super::address::{Address, SCHEMA, Server};
use super::control::Control;
use super::durable::{self, Survives};
use super::event::{Event, Events};
use super::note::note;
use crate::build::{Build, Skew};
use crate::layout::{Tree, next_proxy_socket, proxy_socket};
use crate::process::{self, End, Exit, Identity, Program, Spawn, logs};
use crate::protocol::ProxyState;

/// The time that a proxy has to answer after its start.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// How often a starting proxy is tried.
const TRY_EVERY: Duration = Duration::from_millis(2);
/// A proxy that ended by itself sooner than this had a short life.
const LIVES_AT_LEAST: Duration = Duration::from_secs(1);
/// How many short lives in a row are followed by a new start at once.
const SHORT_LIVES_MAX: u32 = 5;
/// How many lives in a row without an answer are followed by a new start at once.
const SILENT_LIVES_MAX: u32 = 1;
/// How many proxies that killed agents have begun may be in the way of a new one.
const STRAYS_MAX: u32 = 5;
/// The pause before a proxy is started that answers and does not live long: whoever waits in the
/// queue of the socket shall not notice it.
const SHORT_PAUSE: Duration = Duration::from_millis(200);
/// The pause before a proxy is started that has not answered.
const SILENT_PAUSE: Duration = Duration::from_secs(2);
/// The time that a proxy has to end when the tree is taken down: nothing is routed any more.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// Keeps a proxy running on an address.
pub(super) struct Keeper {
    pub(super) tree: Tree,
    pub(super) config: Config,
    pub(super) boot: String,
    pub(super) events: Events,
    pub(super) address: Address,
    pub(super) control: Control,
    /// The build of this agent.
    pub(super) build: Build,
    /// Rung when a proxy of another build shall be replaced, although that failed before.
    pub(super) renew: Arc<Notify>,
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
        let is_found = found.is_some();
        let mut own = match found {
            Some(status) => {
                let Some(identity) = Identity::of(status.pid) else {
                    return Life::Ended(Exit::Unknown);
                };
                Running { identity, child: None }
            }
            None => match self.spawn(&proxy_socket(&self.config.runtime_dir), None) {
                Ok(started) => {
                    self.record(started.identity);
                    Running { identity: started.identity, child: Some(started.child) }
                }
                Err(error) => return Life::NotBegun(format!("cannot be started: {error}")),
            },
        };
        if !is_found {
            self.tell_state(own.identity, false, None).await;
        }
        let first = async {
            self.greet().await;
            Happened::Renew
        };
        let mut happened = tokio::select! {
            exit = own.ended() => Happened::Ended(exit),
            happened = first => happened,
            () = until(self.stop.clone()) => Happened::Stop,
        };
        loop {
            match happened {
                Happened::Ended(exit) => return Life::Ended(exit),
                Happened::Stop => return self.end(own).await,
                Happened::Renew => {}
            }
            let renewed = tokio::select! {
                renewed = self.renewed(own.identity) => Some(renewed),
                () = until(self.stop.clone()) => None,
            };
            happened = match renewed {
                None => Happened::Stop,
                Some(Some(next)) => {
                    own = next;
                    tokio::select! {
                        () = self.greet() => {}
                        () = until(self.stop.clone()) => {}
                    }
                    self.next(&mut own).await
                }
                Some(None) => self.next(&mut own).await,
            };
        }
    }

    /// Waits for what happens next to a proxy that serves.
    async fn next(&self, own: &mut Running) -> Happened {
        tokio::select! {
            exit = own.ended() => Happened::Ended(exit),
            () = self.renew.notified() => Happened::Renew,
            () = until(self.stop.clone()) => Happened::Stop,
        }
    }

    /// Replaces a proxy of another build; `None` when it goes on.
    async fn renewed(&self, old: Identity) -> Option<Running> {
        let running = Build::of_process(old.pid)?;
        if self.build.skew(&running) == Skew::Same {
            self.tell_state(old, false, None).await;
            return None;
        }
        note(format_args!("the proxy {} is of {running}, and is replaced", old.pid));
        self.tell_state(old, true, None).await;
        let began = Instant::now();
        match self.succeed(old).await {
            Ok(next) => {
                let took = began.elapsed().as_millis();
                note(format_args!(
                    "the proxy {} is in its place, {took} ms later",
                    next.identity.pid
                ));
                self.tell_state(next.identity, false, None).await;
                Some(next)
            }
            Err(why) => {
                note(format_args!("the proxy {} goes on: {why}", old.pid));
                self.tell_state(old, false, Some(why)).await;
                None
            }
        }
    }

    /// Starts a proxy beside the one that runs and puts it in its place. What killed agents have begun
    /// may be in its way a few times.
    async fn succeed(&self, old: Identity) -> Result<Running, String> {
        for _ in 0..STRAYS_MAX {
            if let Some(running) = self.try_succeed(old).await? {
                return Ok(running);
            }
        }
        Err(format!("{STRAYS_MAX} others were in its way"))
    }

    /// The same once.
    /// `None` when another one was in its way, which is ended.
    async fn try_succeed(&self, old: Identity) -> Result<Option<Running>, String> {
        let next = next_proxy_socket(&self.config.runtime_dir);
        let said = std::fs::metadata(self.tree.proxy_log()).map_or(0, |log| log.len());
        let started = self.spawn(&next, Some(&proxy_socket(&self.config.runtime_dir)));
        let started = started.map_err(|error| format!("a new one cannot be started: {error}"))?;
        let mut own = Unclaimed { running: Some(Running::of(started)), socket: &next };
        let child = own.running.as_mut().expect("it was just put there");
        let pid = child.identity.pid;
        let ready = async {
            loop {
                match self.control.next_answers().await {
                    Some(answers) if answers == pid => return Ok(()),
                    // One that an agent began that was killed has only now come to its socket.
                    Some(stray) => return Err(stray),
                    None => sleep(TRY_EVERY).await,
                }
            }
        };
        let ready = tokio::select! {
            exit = child.ended() => {
                // The proxy knows no secret of an app.
                let lines = logs::tail(&self.tree.proxy_log(), 1, &Masker::default());
                let grew = std::fs::metadata(self.tree.proxy_log()).map_or(0, |log| log.len()) > said;
                let line = lines.first().filter(|_| grew).map_or_else(String::new, |l| format!(": {l}"));
                return Err(format!("the new one {}{line}", exit.words()));
            }
            ready = timeout(ANSWERS_WITHIN, ready) => ready,
        };
        if let Ok(Err(stray)) = ready {
            drop(own);
            if let Some(stray) = Identity::of(stray) {
                process::kill_group(stray);
            }
            return Ok(None);
        }
        if ready.is_err() {
            return Err(format!(
                "the new one did not answer within {} s",
                ANSWERS_WITHIN.as_secs()
            ));
        }
        self.control.promote(old.pid).await?;
        let running = own.running.take().expect("it is only taken here");
        self.record(running.identity);
        Ok(Some(running))
    }

    /// Ends the proxy and those that it replaced: nothing is routed any more.
    async fn end(&self, mut own: Running) -> Life {
        let end = End::term(ENDS_WITHIN);
        let old = async {
            for pid in self.control.leaving().await {
                process::end_group(pid, end).await;
            }
        };
        let reap = async {
            if let Some(child) = &mut own.child {
                let _ = child.wait().await;
            }
        };
        tokio::join!(process::end_group(own.identity.pid, end), reap, old);
        Life::Stopped
    }

    async fn tell_state(&self, identity: Identity, replacing: bool, problem: Option<String>) {
        let build = Build::of_process(identity.pid);
        let state = ProxyState { pid: identity.pid, build, replacing, problem };
        let _ = self.events.send(Event::ProxyIs(state)).await;
    }

    fn spawn(&self, control: &Path, after: Option<&Path>) -> std::io::Result<process::Spawned> {
        let table = self.tree.proxy_table();
        if let Some(parent) = table.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut arguments = vec![
            "proxy".into(),
            "run".into(),
            "--table".into(),
            table.into(),
            "--control".into(),
            control.into(),
        ];
        arguments.extend(after.into_iter().flat_map(|after| ["--after".into(), after.into()]));
        let spawn = Spawn {
            program: &Program::Direct(self.config.program(), arguments),
            directory: self.tree.root(),
            environment: &process::inherited_environment(),
            log: &self.tree.proxy_log(),
            stdin: Some(Stdio::from(OwnedFd::from(self.address.listener.try_clone()?))),
            stdout: match &self.address.https {
                Some((_, listener)) => Some(Stdio::from(OwnedFd::from(listener.try_clone()?))),
                None => None,
            },
        };
        spawn.start()
    }

    fn record(&self, identity: Identity) {
        let proxy = Some((self.boot.clone(), identity));
        let server = Server {
            schema: SCHEMA,
            port: self.address.port,
            https_port: self.address.https_port,
            proxy,
        };
        if let Err(error) = durable::write(&self.tree.server_file(), &server, Survives::Exit) {
            note(format_args!("the proxy's process is not recorded: {error}"));
        }
    }

    /// Waits until the proxy answers.
    async fn greet(&self) {
        let began = Instant::now();
        while began.elapsed() < ANSWERS_WITHIN {
            if let Ok(seen) = self.control.look().await {
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

/// What happens to a proxy that runs.
enum Happened {
    Ended(Exit),
    Renew,
    Stop,
}

async fn until(mut stop: watch::Receiver<bool>) {
    // Without a sender the agent has ended, and this with it.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A proxy's process.
struct Running {
    identity: Identity,
    /// None when an earlier agent started it.
    child: Option<Child>,
}

impl Running {
    fn of(started: process::Spawned) -> Self {
        Self { identity: started.identity, child: Some(started.child) }
    }

    async fn ended(&mut self) -> Exit {
        match &mut self.child {
            Some(child) => child.wait().await.map_or(Exit::Unknown, Exit::Status),
            None => {
                let _ = process::wait_for_exit(self.identity).await;
                Exit::Unknown
            }
        }
    }
}

/// A proxy that is not in its place yet, and ends when it does not come there: it has accepted
/// nobody.
struct Unclaimed<'a> {
    running: Option<Running>,
    socket: &'a Path,
}

impl Drop for Unclaimed<'_> {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            process::kill_group(running.identity);
            let _ = std::fs::remove_file(self.socket);
        }
    }
}

enum Life {
    Ended(Exit),
    NotBegun(String),
    Stopped,
}
