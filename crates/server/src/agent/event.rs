//! What happens to an agent. Everything that takes time ends in one of these.

use onward_core::document::Failure;
use onward_core::model::{AppName, EnvironmentName, OperationNumber, ReleaseNumber};
use onward_core::order::{CommandKind, Order};
use onward_core::reconcile::SlotId;
use onward_core::report::Report;
use tokio::sync::{mpsc, oneshot};

use super::control::Seen;
use super::jobs::JobName;
use super::one_off::Launch;
use super::probe::Verdict;
use crate::process::Exit;
use crate::protocol::{ProxyState, Request};

/// How many events may wait for the agent. Senders wait when there are more.
pub(super) const EVENTS_MAX: usize = 1024;

/// Where events are sent.
pub(super) type Events = mpsc::Sender<Event>;

/// One app in one environment.
pub(super) type AppKey = (AppName, EnvironmentName);

/// Something that happened.
#[derive(Debug)]
pub(super) enum Event {
    /// Somebody asked over the socket.
    Asked { request: Request, reply: oneshot::Sender<Reply> },
    /// The document of the directory store asks for this.
    Pulled(Box<Order>),
    /// The store has changed in a way that cannot be followed.
    PullFailed { app: AppKey, why: String },
    /// Something of one app.
    App(AppKey, News),
    /// The proxy answers: it was started or found, or was only asked how it is.
    ProxySeen(Box<Seen>),
    /// The proxy was told what it shows and answers besides routes.
    Secured(Result<Box<Seen>, String>),
    /// The proxy was asked how it is and did not answer.
    ProxySilent { why: String },
    /// The proxy is not there, or cannot be.
    ProxyLost { why: String },
    /// Which process the proxy is, and whether it is being replaced.
    ProxyIs(ProxyState),
    /// The system asks the agent to end.
    Terminated,
}

/// Something that happened to one app.
#[derive(Debug)]
pub(super) enum News {
    /// Files were brought, or could not be.
    Staged(ReleaseNumber, Result<(), Failure>),
    /// Files were compared with their digest.
    Verified(ReleaseNumber, Result<(), super::files::Unfit>),
    /// Files were removed, or could not be.
    Removed(ReleaseNumber, Result<(), Failure>),
    /// The leader of an instance's group ended.
    Exited(SlotId, Life, Exit),
    /// It was not asked to: with the last lines that it printed.
    Failed(SlotId, Life, Exit, Vec<String>),
    /// The whole group of an instance ended.
    GroupGone(SlotId, Life),
    /// An instance was probed.
    Probed(SlotId, Life, Verdict),
    /// A command ended, with its whole group. The last lines are those of one that failed.
    CommandEnded {
        operation: OperationNumber,
        kind: CommandKind,
        ended: CommandEnd,
        lines: Vec<String>,
    },
    /// A scheduled run, or what a person left running, ended with all that it started. The last lines
    /// are those of a scheduled run that failed.
    JobEnded(JobName, CommandEnd, Vec<String>),
    /// The command that a person stayed with is gone.
    RunLeft(u32),
    /// The proxy was told where traffic goes.
    Routed(Result<Box<Seen>, String>),
}

/// How a command ended.
#[derive(Debug)]
pub(super) enum CommandEnd {
    /// By itself; unknown when it was adopted and left no status.
    Exited(Exit),
    /// Its time was over.
    TookTooLong,
    /// It could not be started.
    NotStarted(String),
}

/// Tells one start of an instance from the next.
pub(super) type Life = u64;

/// What the agent answers to a request.
#[derive(Debug)]
pub(super) enum Reply {
    /// This, as it is.
    Answer(crate::protocol::Answer),
    /// A command that the connection shall run.
    Launch(Box<Launch>),
    /// This report, once the counters of the proxy are added.
    Report { revision: u64, report: Box<Report> },
}
