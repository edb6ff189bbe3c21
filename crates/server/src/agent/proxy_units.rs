//! The proxy where systemd looks after it: units, of which one serves and a second one takes over.
//!
//! systemd holds the listening sockets and starts a proxy that died again, also while no agent is
//! there. What is left to do here: to start the first one, to put one of the agent's own build in the
//! place of another, and to notice what happens.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use onward_proxy::{Client, Stage, Status};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use super::control::Control;
use super::event::{Event, Events};
use super::note::note;
use super::succession;
use crate::build::{Build, Skew};
use crate::layout::{next_proxy_socket, old_proxy_socket, proxy_socket};
use crate::process::{self, Identity};
use crate::protocol::ProxyState;
use crate::systemd::{Manager, unit_of, units};

/// Every proxy.
pub(super) const ALL: &str = "onward-proxy@*.service";
/// The time that a proxy has to answer after its start.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// How often a starting proxy is tried.
const TRY_EVERY: Duration = Duration::from_millis(5);
/// The time that systemd has to start a proxy again that died, before it is told to.
const RESTARTS_WITHIN: Duration = Duration::from_millis(200);
/// The pause before a proxy is started that could not be.
const PAUSE: Duration = Duration::from_secs(2);
/// How many proxies there may be at a time: each that was replaced finishes what it has, for up to a
/// day.
const PROXIES_MAX: u32 = 64;

/// Keeps a proxy running, with the help of systemd.
pub(super) struct UnitKeeper {
    /// The directory of the proxies' control sockets.
    pub(super) sockets: std::path::PathBuf,
    pub(super) events: Events,
    pub(super) control: Control,
    /// The build of this agent.
    pub(super) build: Build,
    /// Rung when a proxy of another build shall be replaced, although that failed before.
    pub(super) renew: Arc<Notify>,
    /// Becomes true when the proxy shall end.
    pub(super) stop: watch::Receiver<bool>,
}

impl UnitKeeper {
    /// Runs until it is told to stop; then every proxy has ended.
    pub(super) async fn run(self) {
        let mut stop = self.stop.clone();
        let is_asked = tokio::select! {
            () = self.keep() => false,
            // Without a sender the agent has ended, and this with it.
            asked = async { stop.wait_for(|stop| *stop).await.is_ok() } => asked,
        };
        if is_asked {
            let end = || Manager.systemctl(&["stop", ALL]);
            if let Err(error) = blocking(end).await {
                note(format_args!("the proxy does not end: {error}"));
            }
        }
    }

    async fn keep(&self) {
        loop {
            match self.serving().await {
                Ok(status) => self.accompany(status).await,
                Err(why) => {
                    note(format_args!("there is no proxy: {why}"));
                    self.tell(Event::ProxyLost { why }).await;
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Stays with a proxy until it has ended.
    async fn accompany(&self, mut status: Status) {
        loop {
            self.tell_state(&status, false, None).await;
            self.greet().await;
            if let Some(next) = self.renewed(&status).await {
                status = next;
                continue;
            }
            let Some(identity) = Identity::of(status.pid) else { break };
            tokio::select! {
                _ = process::wait_for_exit(identity) => break,
                () = self.renew.notified() => {}
            }
        }
        note(format_args!("the proxy {} ended", status.pid));
        self.tell(Event::ProxyLost { why: "ended".to_owned() }).await;
    }

    /// The proxy that serves. One that systemd does not bring back by itself is started.
    async fn serving(&self) -> Result<Status, String> {
        let began = Instant::now();
        let mut started = false;
        while began.elapsed() < ANSWERS_WITHIN {
            let sockets = self.sockets.clone();
            if let Some(status) = blocking(move || adopt(&sockets)).await {
                return Ok(status);
            }
            let has_waited = began.elapsed() >= RESTARTS_WITHIN;
            if !started && (has_waited || blocking(|| !is_one_alive()).await) {
                let first = units::proxy(1);
                blocking(move || Manager.systemctl(&["start", &first]))
                    .await
                    .map_err(|error| error.to_string())?;
                started = true;
            }
            sleep(TRY_EVERY).await;
        }
        // One that runs and says nothing is in the way of every other.
        let kill = || Manager.systemctl(&["kill", "--signal=KILL", ALL]);
        let _ = blocking(kill).await;
        Err(format!("none answered within {} s", ANSWERS_WITHIN.as_secs()))
    }

    /// Replaces a proxy of another build; `None` when it goes on.
    async fn renewed(&self, old: &Status) -> Option<Status> {
        let running = build_of(old)?;
        if self.build.skew(&running) == Skew::Same {
            return None;
        }
        note(format_args!("the proxy {} is of {running}, and is replaced", old.pid));
        self.tell_state(old, true, None).await;
        match self.succeed(old).await {
            Ok(status) => {
                note(format_args!("the proxy {} is in its place", status.pid));
                Some(status)
            }
            Err(why) => {
                note(format_args!("the proxy {} goes on: {why}", old.pid));
                self.tell_state(old, false, Some(why)).await;
                None
            }
        }
    }

    /// Starts a proxy beside the one that runs, and puts it in its place once it answers.
    async fn succeed(&self, old: &Status) -> Result<Status, String> {
        let unit = blocking(free_unit).await?;
        let name = unit.clone();
        let start = move || Manager.systemctl(&["start", &name]);
        blocking(start).await.map_err(|error| format!("a new one cannot be started: {error}"))?;
        let promoted = async {
            let until = Instant::now() + ANSWERS_WITHIN;
            while self.control.next_answers().await.is_none() {
                if Instant::now() >= until {
                    let limit = ANSWERS_WITHIN.as_secs();
                    return Err(format!("the new one did not answer within {limit} s"));
                }
                sleep(TRY_EVERY).await;
            }
            self.control.promote(old.pid).await
        };
        if let Err(why) = promoted.await {
            // It has accepted nobody.
            let _ = blocking(move || Manager.systemctl(&["stop", &unit])).await;
            return Err(why);
        }
        self.control.status().await
    }

    async fn greet(&self) {
        if let Ok(seen) = self.control.look().await {
            self.tell(Event::ProxySeen(Box::new(seen))).await;
        }
    }

    async fn tell_state(&self, status: &Status, replacing: bool, problem: Option<String>) {
        let state = ProxyState { pid: status.pid, build: build_of(status), replacing, problem };
        self.tell(Event::ProxyIs(state)).await;
    }

    async fn tell(&self, event: Event) {
        let _ = self.events.send(event).await;
    }
}

async fn blocking<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(what).await.expect("asking systemd does not panic")
}

/// The build that a proxy says it was started from. The agent may not look at the processes of other
/// users.
fn build_of(status: &Status) -> Option<Build> {
    let name = status.program.as_ref()?.file_name()?.to_str()?;
    let name = name.strip_suffix(" (deleted)").unwrap_or(name);
    Some(Build::of_name(name).unwrap_or_default())
}

fn is_one_alive() -> bool {
    Manager.live(ALL).is_ok_and(|units| !units.is_empty())
}

/// The first unit that no proxy has.
fn free_unit() -> Result<String, String> {
    let live = Manager.live(ALL).map_err(|error| error.to_string())?;
    let mut all = (1..=PROXIES_MAX).map(units::proxy);
    all.find(|unit| !live.contains(unit))
        .ok_or_else(|| format!("{PROXIES_MAX} proxies still finish what they have"))
}

/// The proxy that serves, when one answers. What an agent that died has begun is finished first.
fn adopt(sockets: &Path) -> Option<Status> {
    clear_passing(sockets);
    let mut client = Client::connect(&proxy_socket(sockets)).ok()?;
    let mut status = client.status().ok().filter(|status| !status.stage.is_closing())?;
    if status.stage == Stage::Waiting {
        client.accept().ok()?;
        status = client.status().ok()?;
    }
    succession::settle(sockets, &status);
    Some(status)
}

/// A proxy at the passing socket is one that never accepted anybody, which ends, or the old one of an
/// exchange that was cut short, which gets the name of one that was replaced.
fn clear_passing(sockets: &Path) {
    let passing = next_proxy_socket(sockets);
    let Ok(status) = Client::connect(&passing).and_then(|mut client| client.status()) else {
        return;
    };
    if status.stage != Stage::Waiting {
        let _ = fs::rename(&passing, old_proxy_socket(sockets, status.pid));
    } else if let Some(unit) = unit_of(status.pid) {
        let _ = Manager.systemctl(&["stop", &unit]);
    }
}
