//! Asking an instance whether it is ready, on its own port, never through the proxy.
//!
//! A new instance is asked often, until it answers for the first time; then at its interval. Two
//! failures in a row make it failing, one success makes it ready again.

mod http;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use onward_core::document::Failure;
use onward_core::model::{Limits, Probe, ProbeKind};
use onward_core::reconcile::SlotId;
use onward_secret::Masker;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::layout::AppTree;
use crate::process::{self, Confine, End, Identity, Program, Spawn, Supervisor};
use crate::systemd::Names;

/// When a new instance is asked for the first time.
const FIRST: Duration = Duration::from_millis(10);
/// The pause between two questions to a new instance, in its first second.
const EAGER: Duration = Duration::from_millis(25);
/// The same, later.
const PATIENT: Duration = Duration::from_millis(50);
/// How long a new instance is asked eagerly.
const EAGER_FOR: Duration = Duration::from_secs(1);
/// How long a new instance may be silent before that is told: reading what it said last costs more
/// than most take to begin.
const SILENT_FOR: Duration = Duration::from_millis(400);
/// When it is found out for the first time on which port an instance listens that does not answer.
/// The pause until it is found out again doubles: it may cost a unit.
const LOOK_FIRST: Duration = Duration::from_millis(500);
/// How many failures in a row make an instance failing.
const FAILURES_MAX: u32 = 2;
/// How long a process without a probe must stay up until it counts as ready.
const STAYS_UP: Duration = Duration::from_millis(200);
/// The time in which the processes of a probe are cleared away that did not end.
const CLEARED_WITHIN: Duration = Duration::from_secs(1);
/// How a probe is ended that has not ended by itself.
const KILL: End = End { signal: rustix::process::Signal::KILL, within: Duration::ZERO };
/// The probe of a process with traffic that has none of its own.
const DEFAULT: Probe =
    Probe { kind: ProbeKind::Tcp, within_ms: 30_000, interval_ms: 5_000, timeout_ms: 2_000 };

/// What a probe found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has not answered yet.
    NotYet(Failure),
    /// It answers.
    Ready,
    /// It has stopped answering.
    Failing(Failure),
}

/// Whom to ask.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) identity: Identity,
    pub(super) port: Option<u16>,
    pub(super) directory: PathBuf,
    pub(super) environment: BTreeMap<String, OsString>,
    pub(super) log: PathBuf,
    /// Takes secrets out of what it answers.
    pub(super) masker: Arc<Masker>,
    /// Who keeps a command that asks.
    pub(super) keeper: Keeper,
}

/// Who keeps a command that asks, and what it is told.
#[derive(Debug, Clone)]
pub(super) struct Keeper {
    pub(super) supervisor: Supervisor,
    pub(super) names: Names,
    pub(super) slot: SlotId,
    pub(super) tree: AppTree,
    pub(super) app: String,
}

impl Keeper {
    fn confine(&self) -> Confine<'_> {
        Confine {
            names: &self.names,
            unit: self.names.probe(&self.slot),
            source: format!("{}.{}", self.slot.process, self.slot.index),
            release: self.slot.release,
            tree: &self.tree,
            app: self.app.clone(),
            end: KILL,
            limits: Limits::default(),
        }
    }
}

/// The probe that is used for a process; none when staying up is all that is asked of it.
pub(super) fn effective(own: Option<&Probe>, has_traffic: bool) -> Option<Probe> {
    own.cloned().or(has_traffic.then_some(DEFAULT))
}

/// Asks until it is dropped, and tells what changes.
pub(super) async fn run(
    probe: Option<Probe>,
    target: Target,
    is_ready: bool,
    tell: impl AsyncFn(Verdict),
) {
    let Some(probe) = probe else {
        if !is_ready {
            sleep(STAYS_UP).await;
            tell(Verdict::Ready).await;
        }
        return;
    };
    if !is_ready {
        until_ready(&probe, &target, &tell).await;
        tell(Verdict::Ready).await;
    }
    let mut failures = 0;
    loop {
        sleep(Duration::from_millis(probe.interval_ms)).await;
        match ask(&probe, &target).await {
            Ok(()) if failures >= FAILURES_MAX => {
                failures = 0;
                tell(Verdict::Ready).await;
            }
            Ok(()) => failures = 0,
            Err(failure) => {
                failures += 1;
                if failures == FAILURES_MAX {
                    tell(Verdict::Failing(failure)).await;
                }
            }
        }
    }
}

async fn until_ready(probe: &Probe, target: &Target, tell: &impl AsyncFn(Verdict)) {
    let began = Instant::now();
    let mut look_at = began + LOOK_FIRST;
    let mut told = None;
    // Whoever has less time is told in that time.
    let silent_for = SILENT_FOR.min(Duration::from_millis(probe.within_ms / 2));
    sleep(FIRST).await;
    loop {
        let mut failure = match ask(probe, target).await {
            Ok(()) => match stranger(target) {
                None => return,
                Some(stranger) => stranger,
            },
            Err(failure) => failure,
        };
        if failure.answer.is_none() && look_at <= Instant::now() {
            look_at = began + 2 * began.elapsed();
            if let Some(reason) = elsewhere(target).await {
                failure.reason = reason;
                told = Some(failure.clone());
                tell(Verdict::NotYet(failure)).await;
            }
        } else if is_news(told.as_ref(), &failure, began.elapsed() >= silent_for) {
            told = Some(failure.clone());
            tell(Verdict::NotYet(failure)).await;
        }
        sleep(if began.elapsed() < EAGER_FOR { EAGER } else { PATIENT }).await;
    }
}

/// An answer is news; silence is when it is long and nothing else was told.
fn is_news(told: Option<&Failure>, failure: &Failure, is_long: bool) -> bool {
    match told {
        None => failure.answer.is_some() || is_long,
        Some(told) => failure.answer.is_some() && told.answer != failure.answer,
    }
}

/// Whether the port is answered by a process that was there before the instance was started.
///
/// A listener that we may not see, or that is younger than the instance, is taken for its own:
/// that is how containers listen.
fn stranger(target: &Target) -> Option<Failure> {
    let port = target.port?;
    if !process::is_running(target.identity) {
        return Some(says("it has ended".to_owned()));
    }
    if process::listening_ports(target.identity.pid).contains(&port) {
        return None;
    }
    let owner = process::owner_of_port(port)?;
    let is_older = owner.started < target.identity.started;
    is_older
        .then(|| says(format!("port {port} is answered by another program, process {}", owner.pid)))
}

/// What to say when the instance listens on other ports than the one that it was given.
async fn elsewhere(target: &Target) -> Option<String> {
    let (port, group) = (target.port?, target.identity.pid);
    let supervisor = target.keeper.supervisor.clone();
    let looked = tokio::task::spawn_blocking(move || supervisor.listening_ports(group));
    let ports = looked.await.ok()?;
    if ports.is_empty() || ports.contains(&port) {
        return None;
    }
    let list: Vec<String> = ports.iter().map(u16::to_string).collect();
    let word = if list.len() == 1 { "port" } else { "ports" };
    let list = list.join(", ");
    Some(format!("it listens on {word} {list}, not on the PORT {port} that it was given"))
}

fn says(reason: String) -> Failure {
    Failure { reason, ..Failure::default() }
}

/// Asks once.
async fn ask(probe: &Probe, target: &Target) -> Result<(), Failure> {
    let within = Duration::from_millis(probe.timeout_ms);
    let asked = async {
        match (&probe.kind, target.port) {
            (ProbeKind::Command(line), _) => command(line, target, within).await,
            (ProbeKind::Tcp, Some(port)) => connect(port).await.map(drop),
            (ProbeKind::Http { path, statuses, body }, Some(port)) => {
                let wanted = http::Wanted { statuses, text: body.as_deref() };
                http::ask(port, path, wanted, &target.masker).await
            }
            (ProbeKind::Tcp | ProbeKind::Http { .. }, None) => {
                Err(says("it has no port that could be asked".to_owned()))
            }
        }
    };
    let limit = match probe.kind {
        // It has its own end of time, after which its processes are cleared away.
        ProbeKind::Command(_) => within + CLEARED_WITHIN,
        _ => within,
    };
    timeout(limit, asked)
        .await
        .unwrap_or_else(|_| Err(says(format!("it did not answer within {} ms", probe.timeout_ms))))
}

async fn connect(port: u16) -> Result<TcpStream, Failure> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => says(format!("nothing listens on port {port}")),
        _ => says(format!("port {port} cannot be connected: {error}")),
    })
}

async fn command(line: &str, target: &Target, within: Duration) -> Result<(), Failure> {
    let program = Program::Line(line.to_owned());
    let spawn = Spawn {
        program: &program,
        directory: &target.directory,
        environment: &target.environment,
        log: &target.log,
        stdin: None,
        stdout: None,
    };
    let started = target.keeper.supervisor.start(spawn, &target.keeper.confine());
    let started = started.map_err(|e| says(format!("its probe cannot be started: {e}")))?;
    let (mut exit, group) = (started.exit, started.group);
    let Ok(ended) = timeout(within, &mut exit).await else {
        group.kill();
        let (_, ()) = tokio::join!(exit, group.end(KILL));
        return Err(says(format!("its probe did not end within {} ms", within.as_millis())));
    };
    if group.unit.is_some() {
        group.end(KILL).await;
    }
    match ended {
        ended if ended.is_success() => Ok(()),
        ended => Err(says(format!("its probe {}", ended.words()))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::TcpListener;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    use super::*;

    struct Sleeper(Child);

    impl Sleeper {
        /// A process that was started later than this one, as the system's clock sees it.
        fn younger_than(other: Identity) -> (Self, Identity) {
            loop {
                let sleeper = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
                let own = Self(sleeper);
                let identity = Identity::of(own.0.id()).unwrap();
                if identity.started > other.started {
                    return (own, identity);
                }
            }
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn who_was_on_the_port_before_the_instance_is_a_stranger() {
        let us = Identity::of(std::process::id()).unwrap();
        let (_sleeper, sleeper) = Sleeper::younger_than(us);
        let port = process::free_port(&BTreeSet::new()).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let mut target = Target {
            identity: sleeper,
            port: Some(port),
            directory: PathBuf::new(),
            environment: BTreeMap::new(),
            log: PathBuf::new(),
            masker: Arc::default(),
            keeper: Keeper {
                supervisor: Supervisor::Own,
                names: Names::new(&"shop".parse().unwrap(), &"local".parse().unwrap()),
                slot: SlotId {
                    release: onward_core::model::ReleaseNumber(1),
                    process: "web".parse().unwrap(),
                    index: 1,
                },
                tree: crate::layout::Tree::new("/nowhere")
                    .app(&"shop".parse().unwrap(), &"local".parse().unwrap()),
                app: "shop/local".to_owned(),
            },
        };
        let reason = stranger(&target).unwrap().reason;
        assert_eq!(
            reason,
            format!("port {port} is answered by another program, process {}", us.pid)
        );
        // Control: a listener that was started after the instance is how containers listen.
        target.identity = Identity::of(1).unwrap();
        assert_eq!(stranger(&target), None);
        drop(listener);
    }
}
