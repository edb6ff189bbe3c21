//! Who starts what apps run, and ends it: this process itself, or systemd.
//!
//! Both keep one contract: what was started has a known end ([`Started::exit`]); it is found again by
//! an agent that starts ([`Group`]); ending it ends everything that it started; and nothing of it
//! ends because the agent does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use onward_core::model::{Limits, ReleaseNumber};
use onward_secret::Masker;
use tokio::time::{Instant, sleep, timeout};

use super::group::{self, End};
use super::procfs::{self, Identity};
use super::spawn::Spawn;
use super::{Exit, journal, logs, ports, wait_for_exit};
use crate::layout::AppTree;
use crate::systemd::transient::Unit;
use crate::systemd::{Manager, Names};

/// The time that systemd has to notice that a program ended.
const NOTICED_WITHIN: Duration = Duration::from_secs(5);
/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_millis(2);

/// Who keeps what apps run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Supervisor {
    /// The agent itself: processes of its own user, without a sandbox and without limits.
    Own,
    /// systemd: units with a user for each app, a sandbox and limits.
    Systemd {
        /// The runtime directory of the agent.
        runtime: PathBuf,
    },
}

/// What systemd is told of something that is started; the supervisor of one's own needs none of it.
#[derive(Debug)]
pub struct Confine<'a> {
    /// The names of its app.
    pub names: &'a Names,
    /// The name of its unit.
    pub unit: String,
    /// What it is, for people: `web.1`.
    pub source: String,
    /// The release that it is of.
    pub release: ReleaseNumber,
    /// The tree of its app.
    pub tree: &'a AppTree,
    /// The name of its app and environment, as `shop/production`.
    pub app: String,
    /// How it is ended.
    pub end: End,
    /// What it may use.
    pub limits: Limits,
}

/// Something that was started.
pub struct Started {
    /// It, with all that it starts.
    pub group: Group,
    /// Ends when its leader does.
    pub exit: Pin<Box<dyn Future<Output = Exit> + Send>>,
}

impl std::fmt::Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Started").field("group", &self.group).finish_non_exhaustive()
    }
}

impl Supervisor {
    /// Starts something. With systemd this waits until its program runs, some ten milliseconds.
    ///
    /// # Errors
    /// When it does not run.
    pub fn start(&self, spawn: Spawn<'_>, confine: &Confine<'_>) -> std::io::Result<Started> {
        let Self::Systemd { runtime } = self else {
            let mut started = spawn.start()?;
            let exit =
                async move { started.child.wait().await.map_or(Exit::Unknown, Exit::Status) };
            let group = Group { identity: started.identity, unit: None };
            return Ok(Started { group, exit: Box::pin(exit) });
        };
        spawn.touch_log()?;
        let identity = with_unit(&spawn, confine, |unit| unit.start(runtime))?;
        let group = self.group(identity, &confine.unit);
        let exit = Box::pin(group.clone().exit());
        Ok(Started { group, exit })
    }

    /// The last lines of a log without secrets, oldest first.
    pub fn tail(&self, log: &Path, lines: usize, masker: &Masker) -> Vec<String> {
        match self {
            Self::Own => logs::tail(log, lines, masker),
            Self::Systemd { .. } => journal::tail(log, lines, masker),
        }
    }

    /// The TCP ports on which a group listens.
    pub fn listening_ports(&self, group: u32) -> BTreeSet<u16> {
        match self {
            Self::Own => ports::listening_ports(group),
            Self::Systemd { .. } => ports::listening_ports_of_another(group),
        }
    }

    /// What runs as this process, or as this unit.
    pub fn group(&self, identity: Identity, unit: &str) -> Group {
        let unit = matches!(self, Self::Systemd { .. }).then(|| unit.into());
        Group { identity, unit }
    }
}

/// Makes the unit of something that is started.
pub(crate) fn with_unit<T>(
    spawn: &Spawn<'_>,
    confine: &Confine<'_>,
    what: impl FnOnce(&Unit<'_>) -> T,
) -> T {
    let Confine { names, source, release, app, .. } = confine;
    let description = format!("onward: {app} {source} of release {release}");
    let log = [
        (APP_FIELD, app.clone()),
        (LOG_FIELD, log_name(spawn.log)),
        (RELEASE_FIELD, release.to_string()),
        (SOURCE_FIELD, source.clone()),
    ];
    what(&Unit {
        name: &confine.unit,
        description: &description,
        slice: &names.slice(),
        user: &names.user(),
        program: spawn.program,
        directory: spawn.directory,
        environment: spawn.environment,
        tree: confine.tree.directory(),
        writable: &[confine.tree.shared(), confine.tree.commands()],
        end: confine.end,
        limits: &confine.limits,
        identifier: &format!("{app}/{source}"),
        log: &log,
    })
}

/// The field of the journal that says of which app and environment a line is.
pub const APP_FIELD: &str = "ONWARD_APP";
/// The field of the journal that says of which log a line is; see [`log_name`].
pub const LOG_FIELD: &str = "ONWARD_LOG";
/// The field of the journal that says of which release a line is.
pub const RELEASE_FIELD: &str = "ONWARD_RELEASE";
/// The field of the journal that says which process a line is of, as `web.1`.
pub const SOURCE_FIELD: &str = "ONWARD_SOURCE";

/// What a log is called in the journal: where its file would be.
pub fn log_name(path: &Path) -> String {
    path.display().to_string()
}

/// A process with all that it has started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The process that leads it.
    pub identity: Identity,
    /// The unit that it is, where systemd keeps it.
    pub unit: Option<Arc<str>>,
}

impl Group {
    /// Whether its leader still runs.
    pub fn is_running(&self) -> bool {
        procfs::is_running(self.identity)
    }

    /// Whether something of it may be left once its leader has ended. A unit is, until it was stopped.
    pub fn has_left(&self) -> bool {
        self.unit.is_some() || !procfs::members(self.identity.pid).is_empty()
    }

    /// Kills what leads it at once. The rest is for [`Group::end`].
    pub fn kill(&self) {
        if self.unit.is_none() {
            group::kill_group(self.identity);
        }
    }

    /// The memory that it uses, in bytes.
    pub fn memory(&self) -> u64 {
        procfs::members(self.identity.pid).into_iter().map(procfs::resident_memory).sum()
    }

    /// Waits for the end of its leader, which is not a child of this process. Without systemd it is
    /// not known how that ended.
    pub async fn exit(self) -> Exit {
        let watched = wait_for_exit(self.identity).await;
        let Some(unit) = self.unit else { return Exit::Unknown };
        if watched.is_err() {
            // It cannot be watched, so it is asked about.
            while blocking(&unit, |unit| Manager.show(unit))
                .await
                .is_ok_and(|own| own.exit().is_none())
            {
                sleep(NOTICED_WITHIN).await;
            }
        }
        let until = Instant::now() + NOTICED_WITHIN;
        while Instant::now() < until {
            let shown = blocking(&unit, |unit| Manager.show(unit)).await;
            let Ok(shown) = shown else { return Exit::Unknown };
            if let Some(exit) = shown.exit() {
                return exit;
            }
            if !shown.is_live() {
                return Exit::Unknown;
            }
            sleep(ASK_EVERY).await;
        }
        Exit::Unknown
    }

    /// How its leader ended, which is known to have.
    pub fn ended(&self) -> Exit {
        let shown = self.unit.as_ref().and_then(|unit| Manager.show(unit).ok());
        shown.and_then(|shown| shown.exit()).unwrap_or(Exit::Unknown)
    }

    /// Ends all of it; returns when nothing is left.
    pub async fn end(self, end: End) {
        let Some(unit) = self.unit else { return group::end_group(self.identity.pid, end).await };
        let stop = blocking(&unit, |unit| Manager.systemctl(&["stop", unit]));
        tokio::pin!(stop);
        if timeout(end.within, &mut stop).await.is_err() {
            let kill = |unit: &str| Manager.systemctl(&["kill", "--signal=KILL", unit]);
            // What has ended meanwhile cannot be killed.
            let _ = blocking(&unit, kill).await;
            let _ = stop.await;
        }
        blocking(&unit, |unit| Manager.forget(unit)).await;
    }
}

async fn blocking<T: Send + 'static>(
    unit: &Arc<str>,
    ask: impl FnOnce(&str) -> T + Send + 'static,
) -> T {
    let unit = Arc::clone(unit);
    let asked = tokio::task::spawn_blocking(move || ask(&unit));
    asked.await.expect("asking systemd does not panic")
}
