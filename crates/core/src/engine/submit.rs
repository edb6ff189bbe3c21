//! From a request to an operation in the document.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::moves::{self, CannotMove};
use super::replaces::{self, CannotReplace};
use super::{finish, scaling};
use crate::document::{
    Before, Document, Ended, Failure, INSTANCES_MAX, Kind, Operation, Phase, REQUESTS_KEPT, Server,
};
use crate::model::{
    BundleRef, Config, Digest, Generation, Maintenance, OperationNumber, ProcessName, Release,
    ReleaseNumber, RequestId, Role, ServerName,
};
use crate::secrets::SecretName;

/// The length of a fleet's key: 128 bits in hexadecimal digits.
const FLEET_KEY_CHARS: usize = 32;

/// What a person or a program asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Names it, so that it becomes one operation however often it is submitted.
    pub id: RequestId,
    /// What is asked.
    pub ask: Ask,
    /// Who asks.
    pub by: String,
    /// The generation that a plan was made from; the request is refused at any other.
    pub planned_at: Option<Generation>,
    /// Servers to leave out.
    pub without: BTreeSet<ServerName>,
}

/// The kinds of requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A new release of this bundle with this configuration.
    Deploy {
        /// The files.
        bundle: BundleRef,
        /// How they are run.
        config: Arc<Config>,
        /// The servers of the environment, as the project file has them.
        servers: BTreeMap<ServerName, Server>,
        /// Whether a release is made although the same runs already.
        force: bool,
        /// Whether counts that were asked for past the file are given up.
        reset: bool,
    },
    /// Other counts of processes, with the release that serves.
    Scale {
        /// How many instances in all.
        counts: BTreeMap<ProcessName, u32>,
    },
    /// A role of one server goes to another one, with the release that serves.
    Move {
        /// The role.
        role: Role,
        /// The server that gets it.
        to: ServerName,
        /// The server that loses it; not needed when only one has it.
        from: Option<ServerName>,
    },
    /// A server leaves the environment until another machine takes its place.
    Replace {
        /// The server.
        server: ServerName,
    },
    /// The machine that takes the place of one that was given up, with the release that serves.
    Join {
        /// The server.
        server: ServerName,
        /// The new machine. It gets the roles of the old one.
        machine: Box<Server>,
    },
    /// Back to the previous release, or to the one that is named.
    Rollback {
        /// The release; the previous one when none is named.
        to: Option<ReleaseNumber>,
    },
    /// Stop the operation in flight, when it is not decided.
    Abort,
    /// Take everything away.
    Down,
    /// Put a page in front of the app, or take it away.
    Maintenance(Option<Maintenance>),
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// The next document, with the operation in it.
    Record(Box<Document>, OperationNumber),
    /// It was recorded before; nothing is to be written.
    Already(OperationNumber),
    /// What is asked for is so already; nothing is to be written.
    Unchanged,
    /// An operation that is decided runs; the request can be recorded when it has ended.
    Busy(OperationNumber),
    /// It cannot be.
    Refused(Refusal),
}

/// Why a request cannot be recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing has been released.
    #[error("nothing has been released here yet")]
    NothingReleased,
    /// There is no release to go back to.
    #[error("there is no earlier release to go back to")]
    NoPrevious,
    /// The release is not known any more, or never was.
    #[error("release {0} is not known")]
    UnknownRelease(ReleaseNumber),
    /// Nothing is in flight.
    #[error("no operation is in flight")]
    NothingInFlight,
    /// The operation in flight is decided and goes forward.
    #[error("operation {0} is decided and goes forward")]
    AlreadyDecided(OperationNumber),
    /// The document changed after the plan was made.
    #[error("the plan was made at generation {planned}, and the state is at {actual} now")]
    StalePlan {
        /// Generation of the plan.
        planned: Generation,
        /// Generation of the document.
        actual: Generation,
    },
    /// A server is named that the environment does not have.
    #[error("there is no server `{0}`")]
    UnknownServer(ServerName),
    /// Secrets that the app needs have no value in this environment.
    #[error("{} no value here: {}", if .0.len() == 1 { "a secret has" } else { "secrets have" }, listed(.0))]
    NoValue(BTreeSet<SecretName>),
    /// A role cannot be moved.
    #[error(transparent)]
    CannotMove(#[from] CannotMove),
    /// A machine cannot take the place of another one.
    #[error(transparent)]
    CannotReplace(#[from] CannotReplace),
    /// A process is to be scaled that the release that serves does not have.
    #[error("there is no process `{process}`; there is {}", known.join(", "))]
    UnknownProcess {
        /// The process.
        process: ProcessName,
        /// Those that there are.
        known: Vec<String>,
    },
    /// A process that gets traffic would not run where requests arrive.
    #[error("`{process}` cannot run {count} times: it gets traffic, and needs at least {least}")]
    TooFew {
        /// The process.
        process: ProcessName,
        /// How many instances were asked for.
        count: u32,
        /// One for each server that requests arrive at.
        least: u32,
    },
    /// More instances than one environment has of a process.
    #[error(
        "`{process}` cannot run {count} times: a process has at most {INSTANCES_MAX} instances"
    )]
    TooMany {
        /// The process.
        process: ProcessName,
        /// How many instances were asked for.
        count: u32,
    },
}

fn listed(names: &BTreeSet<SecretName>) -> String {
    names.iter().map(SecretName::as_str).collect::<Vec<_>>().join(", ")
}

/// Records a request as an operation.
///
/// A newer deploy or rollback supersedes one that is not decided, which is recorded as aborted.
pub fn submit(document: &Document, request: &Request, now: Timestamp) -> Submitted {
    if let Some(number) = document.operation_of(&request.id) {
        return Submitted::Already(number);
    }
    if let Some(planned) = request.planned_at.filter(|planned| *planned != document.generation) {
        let actual = document.generation;
        return Submitted::Refused(Refusal::StalePlan { planned, actual });
    }
    if let Ask::Abort = request.ask {
        return abort(document, request, now);
    }
    if let Some(first) = document.operation.as_ref().filter(|own| has_to_wait(own, &request.ask)) {
        return Submitted::Busy(first.number);
    }
    let mut next = document.clone();
    let number = next.last_operation.next();
    if next.operation.is_some() {
        let reason = format!("superseded by operation {number}");
        finish::end(&mut next, Ended::Aborted { reason }, None, BTreeSet::new(), now);
    }
    match begin(&mut next, request, now) {
        Ok(Some(operation)) => {
            next.last_operation = number;
            next.demand.release = operation.release;
            next.operation = Some(operation);
            remember(&mut next, &request.id, number);
            Submitted::Record(Box::new(next), number)
        }
        Ok(None) => Submitted::Unchanged,
        Err(refusal) => Submitted::Refused(refusal),
    }
}

/// What is decided goes to its end first. A change of counts neither supersedes nor is superseded,
/// except by `down`.
fn has_to_wait(in_flight: &Operation, ask: &Ask) -> bool {
    let scales = in_flight.kind == Kind::Scale && !matches!(ask, Ask::Down);
    // Neither is a reason to give up a release that is on its way.
    let beside = matches!(
        ask,
        Ask::Scale { .. }
            | Ask::Move { .. }
            | Ask::Replace { .. }
            | Ask::Join { .. }
            | Ask::Maintenance(_)
    );
    in_flight.phase.is_decided() || scales || beside
}

/// Records that the operation follows an edit of the demand, when a person made one.
pub(super) fn follow_edit(document: &Document, now: Timestamp) -> Option<Document> {
    if document.operation.is_some() || document.is_as_demanded() {
        return None;
    }
    let demand = &document.demand;
    let same_release = demand.release == document.serving;
    let mut next = document.clone();
    let number = next.last_operation.next();
    let id = scaling::edit_of(document);
    let down = demand.release.is_none();
    let before = scaling::in_force(document);
    if !down {
        next.scaled.clone_from(&demand.scale);
    }
    let (kind, phase) = match (down, same_release) {
        (true, _) => (Kind::Down, Phase::Remove),
        (false, true) => (Kind::Scale, Phase::Start),
        (false, false) => (Kind::Edit, Phase::Stage),
    };
    next.last_operation = number;
    next.operation = Some(Operation {
        number,
        request: id.clone(),
        kind,
        release: demand.release,
        previous: document.serving,
        phase,
        without: BTreeSet::new(),
        by: "an edit of the state".to_owned(),
        started: now,
        baseline: None,
        failure: None,
        before: scaling::changed(before, &next),
        rollout: None,
    });
    if down {
        next.serving = None;
        next.warm = None;
    }
    remember(&mut next, &id, number);
    Some(next)
}

fn begin(
    next: &mut Document,
    request: &Request,
    now: Timestamp,
) -> Result<Option<Operation>, Refusal> {
    let previous = next.serving;
    let before = scaling::in_force(next);
    let (kind, release, phase) = match &request.ask {
        Ask::Deploy { bundle, config, servers, force, reset } => {
            let had_balancer = next.has_balancer();
            next.servers = servers.clone();
            replaces::follow(next)?;
            if *reset {
                next.demand.moved.clear();
            }
            moves::follow(next);
            begin_accounts(next, had_balancer);
            if servers.len() > 1 && next.fleet_key.is_none() {
                next.fleet_key = Some(fleet_key(&request.id));
            }
            let config = next.with_secret_versions(config).map_err(Refusal::NoValue)?;
            let config = &Arc::new(config);
            if *reset {
                next.demand.scale.clear();
            }
            scaling::follow(next, config)?;
            if !force && serves_already(next, bundle, config) {
                return Ok(scale(next, request, before, now));
            }
            let number = next.last_release.next();
            next.last_release = number;
            let (bundle, config) = (bundle.clone(), Arc::clone(config));
            next.releases.insert(number, Release { number, bundle, config, created: now });
            (Kind::Deploy, Some(number), Phase::Stage)
        }
        Ask::Rollback { to } => {
            let target = rollback_target(next, *to)?;
            if Some(target) == previous {
                return Ok(None);
            }
            (Kind::Rollback, Some(target), Phase::Start)
        }
        Ask::Scale { .. } | Ask::Move { .. } | Ask::Replace { .. } | Ask::Join { .. } => {
            other_servers_or_counts(next, request, now)?;
            return Ok(scale(next, request, before, now));
        }
        Ask::Down => {
            if previous.is_none() {
                return Ok(None);
            }
            next.serving = None;
            next.warm = None;
            (Kind::Down, None, Phase::Remove)
        }
        Ask::Maintenance(wanted) => {
            let serving = previous.ok_or(Refusal::NothingReleased)?;
            if next.demand.maintenance == *wanted {
                return Ok(None);
            }
            next.demand.maintenance.clone_from(wanted);
            (Kind::Maintenance, Some(serving), Phase::Switch)
        }
        Ask::Abort => return Err(Refusal::NothingInFlight),
    };
    let is_known =
        |name: &ServerName| next.servers.contains_key(name) || before.servers.contains_key(name);
    if let Some(unknown) = request.without.iter().find(|name| !is_known(name)) {
        return Err(Refusal::UnknownServer(unknown.clone()));
    }
    let before = scaling::changed(before, next);
    Ok(Some(Operation { release, before, ..operation(next, request, kind, phase, previous, now) }))
}

/// Changes what runs where, and no release.
fn other_servers_or_counts(
    next: &mut Document,
    request: &Request,
    now: Timestamp,
) -> Result<(), Refusal> {
    match &request.ask {
        Ask::Scale { counts } => scaling::ask(next, counts, &request.by, now),
        Ask::Move { role, to, from } => move_role(next, request, (role, to), from.as_ref(), now),
        Ask::Replace { server } => replaces::leave(next, server, &request.by, now),
        Ask::Join { server, machine } => {
            let had_balancer = next.has_balancer();
            replaces::join(next, server, machine)?;
            begin_accounts(next, had_balancer);
            Ok(())
        }
        Ask::Deploy { .. }
        | Ask::Rollback { .. }
        | Ask::Abort
        | Ask::Down
        | Ask::Maintenance(_) => Ok(()),
    }
}

/// Where nobody sent requests on, nobody has kept account of who answers: each has to show it first.
fn begin_accounts(next: &mut Document, had_balancer: bool) {
    if next.has_balancer() && !had_balancer {
        next.behind = next.servers.keys().cloned().collect();
    }
}

fn move_role(
    next: &mut Document,
    request: &Request,
    (role, to): (&Role, &ServerName),
    from: Option<&ServerName>,
    now: Timestamp,
) -> Result<(), Refusal> {
    let serving = next.serving.ok_or(Refusal::NothingReleased)?;
    let release = next.release(serving).ok_or(Refusal::UnknownRelease(serving))?;
    let config = Arc::clone(&release.config);
    if let Some(unknown) =
        [Some(to), from].into_iter().flatten().find(|own| !next.servers.contains_key(*own))
    {
        return Err(Refusal::UnknownServer(unknown.clone()));
    }
    let had_balancer = next.has_balancer();
    moves::ask(next, (role, to), from, &request.by, now)?;
    begin_accounts(next, had_balancer);
    scaling::follow(next, &config)
}

/// The operation that brings other counts or servers and no other release; `None` when they are
/// so already.
fn scale(next: &Document, request: &Request, before: Before, now: Timestamp) -> Option<Operation> {
    let before = scaling::changed(before, next)?;
    let own = operation(next, request, Kind::Scale, Phase::Start, next.serving, now);
    Some(Operation { release: next.serving, before: Some(before), ..own })
}

fn operation(
    next: &Document,
    request: &Request,
    kind: Kind,
    phase: Phase,
    previous: Option<ReleaseNumber>,
    now: Timestamp,
) -> Operation {
    Operation {
        number: next.last_operation.next(),
        request: request.id.clone(),
        kind,
        release: None,
        previous,
        phase,
        without: request.without.clone(),
        by: request.by.clone(),
        started: now,
        baseline: None,
        failure: None,
        before: None,
        rollout: None,
    }
}

/// Nobody can guess the identity of a request, and it is not shown to clients.
fn fleet_key(request: &RequestId) -> String {
    let digest = Digest::of(format!("fleet {request}").as_bytes()).to_string();
    digest[..FLEET_KEY_CHARS].to_owned()
}

fn serves_already(document: &Document, bundle: &BundleRef, config: &Arc<Config>) -> bool {
    let serving = document.serving.and_then(|number| document.release(number));
    serving
        .is_some_and(|release| release.bundle.digest == bundle.digest && release.config == *config)
}

fn rollback_target(
    document: &Document,
    to: Option<ReleaseNumber>,
) -> Result<ReleaseNumber, Refusal> {
    let serving = document.serving.ok_or(Refusal::NothingReleased)?;
    match to {
        Some(number) if document.releases.contains_key(&number) => Ok(number),
        Some(number) => Err(Refusal::UnknownRelease(number)),
        None => {
            let mut earlier = document.releases.range(..serving);
            earlier.next_back().map(|(number, _)| *number).ok_or(Refusal::NoPrevious)
        }
    }
}

fn abort(document: &Document, request: &Request, now: Timestamp) -> Submitted {
    let Some(operation) = &document.operation else {
        return Submitted::Refused(Refusal::NothingInFlight);
    };
    let number = operation.number;
    let mut next = document.clone();
    let reason = format!("aborted by {}", request.by);
    if operation.is_decided_in_part(document.serving) {
        let failure = Failure { reason, ..Failure::default() };
        finish::take_back(&mut next, operation.clone(), failure);
        remember(&mut next, &request.id, number);
        return Submitted::Record(Box::new(next), number);
    }
    if operation.phase.is_decided() {
        return Submitted::Refused(Refusal::AlreadyDecided(number));
    }
    finish::end(&mut next, Ended::Aborted { reason }, None, BTreeSet::new(), now);
    remember(&mut next, &request.id, number);
    Submitted::Record(Box::new(next), number)
}

fn remember(document: &mut Document, request: &RequestId, number: OperationNumber) {
    document.requests.push((request.clone(), number));
    let surplus = document.requests.len().saturating_sub(REQUESTS_KEPT);
    document.requests.drain(..surplus);
}
