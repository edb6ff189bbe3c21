//! What the agent knows of one app in one environment.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use onward_core::document::Failure;
use onward_core::model::{Limits, OperationNumber, ReleaseNumber, ServerName, Stop};
use onward_core::order::{CommandKind, Order, WatchOrder};
use onward_core::reconcile::{Kept, RouteFact, SlotId};
use onward_core::report::{Progress, Report};
use onward_proxy::Counters;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::context::Context;
use super::durable::{self, Survives};
use super::event::{AppKey, Life, Reply};
use super::jobs::{Job, JobName};
use super::note::note;
use super::one_off::OneOff;
use super::record::Record;
use super::vault::Vault;
use crate::layout::AppTree;
use crate::process::{Confine, End, Group, Identity, Supervisor};
use crate::systemd::{Account, Names};

/// The pause until it is tried again to keep what could not be kept.
const KEEP_AGAIN: Duration = Duration::from_secs(1);

/// One app in one environment.
pub(super) struct App {
    pub(super) key: AppKey,
    pub(super) tree: AppTree,
    /// Who keeps what it runs, and what that is called there.
    pub(super) supervisor: Supervisor,
    pub(super) names: Names,
    /// Its secrets.
    pub(super) vault: Vault,
    /// What is durably kept.
    pub(super) kept: Kept,
    /// Why `app.json` cannot be used. Then nothing is done and nothing is overwritten.
    pub(super) damaged: Option<String>,
    /// Why something could not be kept, and when it is tried again.
    pub(super) problem: Option<(String, Instant)>,
    /// Why what runs could not be recorded.
    pub(super) unrecorded: Option<String>,
    pub(super) files: BTreeMap<ReleaseNumber, FilesState>,
    pub(super) instances: BTreeMap<SlotId, Instance>,
    pub(super) route: Option<RouteFact>,
    pub(super) route_change: RouteChange,
    /// Why the proxy did not take the last change.
    pub(super) route_problem: Option<String>,
    /// Since when no route names a release, in milliseconds since 1970.
    pub(super) unrouted: BTreeMap<ReleaseNumber, u64>,
    /// Since when the route of their release, which stays, does not name instances: the same unit.
    pub(super) left_route: BTreeMap<SlotId, u64>,
    pub(super) command: Option<RunningCommand>,
    /// What goes on by itself besides the processes.
    pub(super) jobs: BTreeMap<JobName, Job>,
    /// What people run and stay with, by number.
    pub(super) one_offs: BTreeMap<u32, OneOff>,
    pub(super) watch: Option<Watch>,
    /// An instance of this release ended while no agent looked.
    pub(super) ended_unseen: BTreeMap<ReleaseNumber, Failure>,
    pub(super) memory_short: bool,
    pub(super) report: Report,
    pub(super) revision: u64,
    pub(super) waiters: Vec<Waiter>,
    /// What `instances.json` holds.
    pub(super) recorded: Record,
}

/// How the files of a release are.
#[derive(Debug)]
pub(super) enum FilesState {
    Staging { failures: u32 },
    Staged,
    Verifying,
    Verified,
    Removing,
    Failed { failure: Failure, failures: u32, retry_at: Instant },
}

/// Whether the proxy was told of a change and has not said that it follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RouteChange {
    /// What the proxy does is known.
    None,
    /// It is being told.
    Asked,
    /// It is not known what it does, until it is asked.
    Unknown,
}

/// One instance of a process.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) life: Life,
    pub(super) state: State,
    pub(super) identity: Option<Identity>,
    pub(super) port: Option<u16>,
    pub(super) was_ready: bool,
    pub(super) early_exits: u32,
    pub(super) restarts: u32,
    /// How often it ended without having been ready for long, which makes the pause longer.
    pub(super) crashes: u32,
    pub(super) failure: Option<Failure>,
    pub(super) adopted: bool,
    /// When it was started, in milliseconds since 1970.
    pub(super) started: u64,
    /// How many processes the system had killed for want of memory by then.
    pub(super) memory_kills: u64,
    pub(super) probe: Option<Task>,
    /// How it is asked to stop, also when no order names it any more.
    pub(super) stop: Option<Stop>,
}

/// What an instance is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Starting {
        overdue_at: Option<Instant>,
    },
    Ready {
        since: Instant,
    },
    Failing,
    Ended {
        retry_at: Instant,
    },
    /// `crashed`: it was not asked to, its group is only cleared away.
    Stopping {
        crashed: bool,
    },
}

/// A task that ends with its owner.
#[derive(Debug)]
pub(super) struct Task(pub(super) AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A command that runs.
#[derive(Debug)]
pub(super) struct RunningCommand {
    pub(super) operation: OperationNumber,
    pub(super) kind: CommandKind,
    pub(super) release: ReleaseNumber,
    pub(super) identity: Option<Identity>,
    /// Asks it to stop; gone when it was asked.
    pub(super) stop: Option<oneshot::Sender<()>>,
}

/// A release that is watched.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) order: WatchOrder,
    pub(super) began: Instant,
    pub(super) epoch: String,
    pub(super) base: Counters,
    pub(super) ended: Option<Failure>,
    pub(super) outcome: Option<Progress>,
}

/// Somebody who waits for news.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) until: Instant,
    pub(super) reply: oneshot::Sender<Reply>,
}

/// One moment by both clocks. What is decided and when it is looked at again are computed for the
/// same moment, so that nothing can become due unseen in between.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) instant: Instant,
    /// Milliseconds since 1970.
    pub(super) unix_ms: u64,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { instant: Instant::now(), unix_ms: unix_ms() }
    }

    /// The time of day.
    pub(super) fn timestamp(self) -> Timestamp {
        let since = i64::try_from(self.unix_ms).unwrap_or(i64::MAX);
        Timestamp::from_millisecond(since).unwrap_or(Timestamp::MAX)
    }
}

/// Milliseconds since 1970.
pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Instance {
    /// An instance that is about to be started.
    pub(super) fn new(life: Life) -> Self {
        Self {
            life,
            state: State::Starting { overdue_at: None },
            identity: None,
            port: None,
            was_ready: false,
            early_exits: 0,
            restarts: 0,
            crashes: 0,
            failure: None,
            adopted: false,
            started: unix_ms(),
            memory_kills: 0,
            probe: None,
            stop: None,
        }
    }

    /// Whether something of it may still run.
    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.state, State::Ended { .. })
    }
}

impl App {
    /// An app of which nothing is known yet.
    pub(super) fn new(key: AppKey, tree: AppTree, supervisor: Supervisor) -> Self {
        Self {
            names: Names::new(&key.0, &key.1),
            supervisor,
            key,
            vault: Vault::load(tree.clone()),
            tree,
            kept: Kept::default(),
            damaged: None,
            problem: None,
            unrecorded: None,
            files: BTreeMap::new(),
            instances: BTreeMap::new(),
            route: None,
            route_change: RouteChange::Unknown,
            route_problem: None,
            unrouted: BTreeMap::new(),
            left_route: BTreeMap::new(),
            command: None,
            jobs: BTreeMap::new(),
            one_offs: BTreeMap::new(),
            watch: None,
            ended_unseen: BTreeMap::new(),
            memory_short: false,
            report: Report::default(),
            // Above whatever an earlier life of the agent gave.
            revision: unix_ms() << 10,
            waiters: Vec::new(),
            recorded: Record::default(),
        }
    }

    /// The name of its route in the proxy.
    pub(super) fn route_name(&self) -> String {
        format!("{}/{}", self.key.0, self.key.1)
    }

    /// What is said of something that is started, to whoever keeps it.
    pub(super) fn confine(
        &self,
        unit: String,
        source: String,
        release: ReleaseNumber,
        end: End,
    ) -> Confine<'_> {
        Confine {
            names: &self.names,
            unit,
            source,
            release,
            tree: &self.tree,
            app: self.route_name(),
            end,
            limits: Limits::default(),
        }
    }

    /// The user that the app runs as, where that is not the agent's own.
    pub(super) fn account(&self) -> Option<Account> {
        let is_another = matches!(self.supervisor, Supervisor::Systemd { .. });
        is_another.then(|| Account::new(self.names.user(), self.tree.clone()))
    }

    /// An instance with all that it has started.
    pub(super) fn group_of(&self, slot: &SlotId, identity: Identity) -> Group {
        self.supervisor.group(identity, &self.names.instance(slot))
    }

    /// Reads what is kept. A damaged file is left as it is.
    pub(super) fn load_kept(&mut self) {
        match durable::read::<Kept>(&self.tree.kept_file()) {
            Ok(kept) => {
                self.kept = kept.unwrap_or_default().restored();
                self.damaged = None;
            }
            Err(error) => {
                let text = format!(
                    "{error}; nothing is changed and what runs goes on. Put a good copy in its \
                     place, or move it away and deploy"
                );
                if self.damaged.as_ref() != Some(&text) {
                    note(format_args!("{}: {text}", self.route_name()));
                }
                self.damaged = Some(text);
            }
        }
    }

    /// Keeps an order and the commands durably, before they are acted upon.
    pub(super) fn keep(&mut self, kept: Kept) -> Result<(), String> {
        let written = durable::write(&self.tree.kept_file(), &kept, Survives::PowerLoss);
        match written {
            Ok(()) => {
                self.kept = kept;
                self.problem = None;
                Ok(())
            }
            Err(error) => {
                let text = error.to_string();
                note(format_args!("{}: cannot keep its state: {text}", self.route_name()));
                self.problem = Some((text.clone(), Instant::now() + KEEP_AGAIN));
                Err(text)
            }
        }
    }

    /// Tries again to keep what could not be kept.
    pub(super) fn keep_again(&mut self, now: Instant) {
        if self.problem.as_ref().is_some_and(|(_, at)| *at <= now) {
            // When it fails again, that is told again.
            let _ = self.keep(self.kept.clone());
        }
    }

    /// The order, once there is one.
    pub(super) fn order(&self) -> Option<&Order> {
        self.kept.order.as_ref()
    }

    /// Whether anything is left that would go on without an agent.
    pub(super) fn is_there(&self) -> bool {
        let ordered = self.order().is_some_and(|order| !order.releases.is_empty());
        let runs = self.instances.values().any(Instance::is_alive)
            || self.command.is_some()
            || !self.jobs.is_empty();
        self.damaged.is_some() || ordered || runs || self.route.is_some()
    }

    /// The name of this server for the app: that of the order that is kept.
    pub(super) fn server<'a>(&'a self, context: &'a Context) -> &'a ServerName {
        let kept = self.kept.order.as_ref();
        kept.map_or(&context.config.server, |order| &order.server)
    }

    /// Whether something is here under a name that this server has for the app.
    pub(super) fn is_named(&self) -> bool {
        self.kept.order.as_ref().is_some_and(|order| !order.releases.is_empty())
    }

    /// Whether something runs from the files of a release.
    pub(super) fn uses(&self, release: ReleaseNumber) -> bool {
        let mut slots = self.instances.iter();
        slots.any(|(id, own)| id.release == release && own.is_alive())
            || self.command.as_ref().is_some_and(|command| command.release == release)
            || self.jobs.values().any(|job| job.release == release)
            || self.one_offs.values().any(|own| own.release == release)
    }

    /// Publishes a report. Those who wait for news get it when it says something new.
    pub(super) fn publish(&mut self, report: Report) -> bool {
        let is_news = essence(&report) != essence(&self.report);
        self.report = report;
        if is_news {
            self.revision += 1;
            for waiter in std::mem::take(&mut self.waiters) {
                self.answer(waiter.reply);
            }
        }
        is_news
    }

    /// Answers with the report as it is.
    pub(super) fn answer(&self, reply: oneshot::Sender<Reply>) {
        let report = Box::new(self.report.clone());
        // Whoever asked may be gone.
        let _ = reply.send(Reply::Report { revision: self.revision, report });
    }

    /// Answers those whose time to wait is over.
    pub(super) fn answer_overdue(&mut self, now: Instant) {
        let (over, waiting) =
            std::mem::take(&mut self.waiters).into_iter().partition(|waiter| waiter.until <= now);
        self.waiters = waiting;
        let over: Vec<Waiter> = over;
        over.into_iter().for_each(|waiter| self.answer(waiter.reply));
    }
}

/// A report without its counters and clocks.
fn essence(report: &Report) -> Report {
    let mut essence = Report { traffic: None, ..report.clone() };
    essence.waiting.iter_mut().for_each(|waiting| waiting.for_ms = None);
    essence
}
