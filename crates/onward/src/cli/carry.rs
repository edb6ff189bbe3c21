//! From a request to the end of its operation, shown to a person.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use onward_core::document::{Document, Ended, Failure, Phase};
use onward_core::engine::{Ask, Request};
use onward_core::model::{Generation, OperationNumber, ServerName};
use onward_core::order::Level;
use onward_core::outcome::Outcome;
use onward_core::ports::{DeliveryRefused, StateStore, StoreError};
use onward_core::report::Report;
use onward_core::runner::{End, Goal, Runner};
use serde_json::{Value, json};

use super::complaint::Complaint;
use super::context::Context;
use super::exit::Exit;
use super::fleet;
use super::hooks::Hooks;
use super::interrupt::Interrupts;
use super::known;
use super::lacking::Lacking;
use super::outcome;
use super::problem::Problem;
use super::progress::{Progress, Telling};
use super::screen::Screen;
use super::skew;
use crate::runner::{self, Links, Observer, Stop};

/// How many of the last generations are looked through for what an operation did: more than any
/// operation writes.
const GENERATIONS_OF_AN_OPERATION: usize = 32;

/// What a run came to.
#[derive(Debug)]
pub enum Came {
    /// The operation ended.
    Ended(Box<Document>, OperationNumber),
    /// What was asked for is so already.
    Unchanged,
    /// There has never been anything here.
    NothingHere,
}

/// How a request is to be recorded.
#[derive(Debug, Default)]
pub struct Terms {
    /// The generation that a plan was made from.
    pub planned_at: Option<Generation>,
    /// Servers to leave out.
    pub without: BTreeSet<ServerName>,
}

/// Records the request and carries it to its end.
pub fn submit(
    context: &Context,
    ask: Ask,
    terms: Terms,
    screen: &Screen,
    interrupts: &Interrupts,
) -> Result<Came, Complaint> {
    let hooks = Hooks::new(context, screen, interrupts);
    submit_with(context, ask, terms, screen, interrupts, &hooks)
}

/// The same, with the hooks of a command that runs more of them.
pub fn submit_with(
    context: &Context,
    ask: Ask,
    terms: Terms,
    screen: &Screen,
    interrupts: &Interrupts,
    hooks: &Hooks<'_>,
) -> Result<Came, Complaint> {
    if !matches!(ask, Ask::Down) {
        skew::renew(context, screen)?;
    }
    let stored = context.look()?;
    let document = stored.as_ref().map(|stored| &*stored.document);
    let joining = match &ask {
        Ask::Deploy { servers, .. } => servers.clone(),
        Ask::Join { server, machine } => [(server.clone(), (**machine).clone())].into(),
        _ => BTreeMap::new(),
    };
    let links = fleet::links(context, document, &joining)?;
    let Terms { planned_at, without } = terms;
    let request = Request { id: runner::request_id(), ask, by: person(), planned_at, without };
    let telling = Telling::Own(request.id.clone());
    let mut run = run(context, Goal::Submit(request));
    let mut progress = Progress::new(screen, interrupts, telling).with(hooks);
    let end = runner::drive(&mut run, &context.store(), &links, &mut progress);
    progress.clear();
    match end {
        Some(end) => came(context, &run, end),
        None if interrupts.count() == 0 => refused(context, &run, &links, hooks),
        None => interrupted(context, &run, &links, screen),
    }
}

/// Carries on what others left in flight; brings every server the order that it may have missed.
pub fn carry_on(
    context: &Context,
    screen: &Screen,
    interrupts: &Interrupts,
) -> Result<(), Complaint> {
    skew::renew(context, screen)?;
    let stored = context.look()?;
    let document = stored.as_ref().map(|stored| &*stored.document);
    let links = fleet::links(context, document, &BTreeMap::new())?;
    let mut run = run(context, Goal::Carry);
    let mut progress = Progress::new(screen, interrupts, Telling::Any);
    let end = runner::drive(&mut run, &context.store(), &links, &mut progress);
    progress.clear();
    match end {
        Some(End::Store(error)) => Err(error.into()),
        _ => Ok(()),
    }
}

fn run(context: &Context, goal: Goal) -> Runner {
    Runner::new(context.app().clone(), context.environment().clone(), goal)
}

fn came(context: &Context, run: &Runner, end: End) -> Result<Came, Complaint> {
    let document = || run.document().cloned().map(Box::new);
    match (end, document()) {
        (End::Finished(number), Some(document)) => Ok(Came::Ended(document, number)),
        (End::Unchanged | End::AtRest, Some(_)) => Ok(Came::Unchanged),
        (End::Refused(refusal), _) => Err(refusal.into()),
        (End::Store(error @ StoreError::Unavailable { .. }), _) if context.ways().is_some() => {
            Err(out_of_reach(run, &error))
        }
        (End::Store(error), _) => Err(error.into()),
        (_, _) => Ok(Came::NothingHere),
    }
}

/// The manager cannot be reached any more, which does not keep it from carrying on what it knows.
fn out_of_reach(run: &Runner, error: &StoreError) -> Complaint {
    let what = format!("the manager cannot be reached: {error}");
    match run.operation() {
        Some(number) => Complaint::new(Exit::Continues, what)
            .fact(format!(
                "Operation {number} is recorded, and the manager carries it on by itself"
            ))
            .hint("`onward status` shows how far it is"),
        None if run.is_unanswered() => Complaint::new(Exit::Failed, what)
            .fact(
                "Whether it has recorded what was asked for is not known; then it carries that on",
            )
            .hint("`onward status` shows what became of it; it is safe to repeat the command"),
        None => Complaint::new(Exit::Failed, what)
            .nothing_changed()
            .hint("`onward doctor` shows what is in the way; then repeat the command"),
    }
}

/// A hook said no: what was recorded is aborted, and its reason is ours.
fn refused(
    context: &Context,
    run: &Runner,
    links: &Links,
    hooks: &Hooks<'_>,
) -> Result<Came, Complaint> {
    let Some((point, complaint)) = hooks.refusal() else {
        return Err(Problem::Bug("nobody stopped the run").into());
    };
    let Some(number) = run.operation() else { return Err(complaint.nothing_changed()) };
    match abort(context, &format!("the hook `{}` of {}", point.key(), person()), links) {
        Ok(_) => Err(complaint.fact(format!("Operation {number} was aborted"))),
        Err(more) => Err(complaint.fact(format!("Operation {number}: {}", more.what))),
    }
}

/// After Ctrl-C: what is not decided is aborted, what is decided goes on.
fn interrupted(
    context: &Context,
    run: &Runner,
    links: &Links,
    screen: &Screen,
) -> Result<Came, Complaint> {
    let nothing = || Complaint::from(Problem::Interrupted { during: None });
    let Some(number) = run.operation() else { return Err(nothing()) };
    let in_flight = run.document().and_then(|document| document.operation.as_ref());
    let decided = in_flight.is_some_and(|operation| operation.phase.is_decided());
    if decided {
        let of = if context.is_carried_on() {
            Problem::InterruptedManaged
        } else {
            Problem::InterruptedDecided
        };
        return Err(of(number).into());
    }
    screen.note("  interrupted: aborting");
    abort(context, &format!("{} (Ctrl-C)", person()), links)
}

fn abort(context: &Context, by: &str, links: &Links) -> Result<Came, Complaint> {
    let request = Request {
        id: runner::request_id(),
        ask: Ask::Abort,
        by: by.to_owned(),
        planned_at: None,
        without: BTreeSet::new(),
    };
    let mut abort = self::run(context, Goal::Submit(request));
    match runner::drive(&mut abort, &context.store(), links, &mut Silent) {
        Some(end) => came(context, &abort, end),
        None => Err(Problem::Interrupted { during: None }.into()),
    }
}

/// Watches nothing.
struct Silent;

impl Observer for Silent {
    fn look(&mut self, _: &Runner) -> Stop {
        Stop::No
    }
}

/// Shows how an operation ended and returns how the command ends.
pub fn conclude(
    context: &Context,
    document: &Document,
    number: OperationNumber,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    conclude_with(context, document, number, screen, None, &Lacking::default())
}

/// The same, after the hooks were told; `lacking`: what the command was to reach beside it.
pub fn conclude_with(
    context: &Context,
    document: &Document,
    number: OperationNumber,
    screen: &Screen,
    hooks: Option<&Hooks<'_>>,
    lacking: &Lacking,
) -> Result<Exit, Complaint> {
    known::keep(context, document);
    let Some(finished) = document.finished(number) else {
        return Err(Problem::NoTrace(number).into());
    };
    if let Some(hooks) = hooks {
        hooks.ended(document, finished);
    }
    let url = url(context);
    let url = url.as_deref().filter(|_| document.serving.is_some());
    let fields = outcome::finished_json(document, finished, url);
    if finished.outcome != Ended::Done {
        let mut complaint = outcome::not_done(document, finished, url);
        if ran_release_command(context, number) {
            complaint = complaint
                .fact("The release command was run and is not undone; what it changed stays");
        }
        return complained(screen, fields, complaint);
    }
    let text = outcome::done_text(document, finished, url, screen.began().elapsed());
    screen.success(&text);
    for server in &finished.degraded {
        screen.warn(&format!("{server} could not be reached; it catches up by itself"));
    }
    lacked(document, lacking, (url, fields), !finished.degraded.is_empty(), screen)
}

/// Shows what a command has not reached beside its operation, and returns how it ends.
///
/// # Errors
/// When nobody goes on by itself.
pub fn lacked(
    document: &Document,
    lacking: &Lacking,
    (url, mut fields): (Option<&str>, Value),
    degraded: bool,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    let without = lacking.json();
    if without != json!([]) {
        fields["without_certificate"] = without;
    }
    let serves = outcome::capitalised(&outcome::serves(document, url));
    if let Some(complaint) = lacking.complaint(&serves) {
        return complained(screen, fields, complaint);
    }
    lacking.warn(screen);
    let exit = if degraded { Exit::Continues } else { lacking.exit() };
    screen.finished(exit == Exit::Done, fields);
    Ok(exit)
}

/// Ends with a complaint; for machines with the fields of what it is about.
fn complained(screen: &Screen, mut fields: Value, complaint: Complaint) -> Result<Exit, Complaint> {
    if !screen.is_json() {
        return Err(complaint);
    }
    if let (Some(all), Value::Object(own)) = (fields.as_object_mut(), complaint.json()) {
        all.extend(own);
    }
    screen.finished(false, fields);
    Ok(complaint.exit)
}

/// The address of the environment, when an agent runs that knows it.
pub fn url(context: &Context) -> Option<String> {
    fleet::url(context)
}

/// Who works here, for the history.
pub fn person() -> String {
    let of = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    of("USER").or_else(|| of("LOGNAME")).or_else(account).unwrap_or_else(|| "unknown".to_owned())
}

/// The name of the account, as the system lists it.
fn account() -> Option<String> {
    let own = rustix::process::getuid().as_raw().to_string();
    let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == own).then(|| name.to_owned())
    })
}

/// The time that a release has to serve again after a crash or a reboot.
const SERVES_WITHIN: Duration = Duration::from_secs(60);
/// The time that one of several servers has to answer at all.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
/// The pause before a server that did not answer is asked again.
const SILENCE_PAUSE: Duration = Duration::from_millis(50);

/// Waits until the release that shall serve does serve.
pub fn await_serving(
    context: &Context,
    document: &Document,
    interrupts: &Interrupts,
) -> Result<(), Complaint> {
    let links = fleet::links(context, Some(document), &BTreeMap::new())?;
    let await_one = |server: &ServerName| serves_again(document, server, &links, interrupts);
    let missing: Vec<(ServerName, Failure)> = std::thread::scope(|scope| {
        let servers = document.servers.keys();
        let each: Vec<_> =
            servers.map(|server| (server, scope.spawn(|| await_one(server)))).collect();
        let joined = each.into_iter().map(|(server, wait)| {
            (server.clone(), wait.join().expect("waiting for a server does not panic"))
        });
        joined.filter_map(|(server, missing)| Some((server, missing?))).collect()
    });
    let all = missing.len() == document.servers.len();
    match (document.serving, missing.into_iter().next()) {
        // Of several, those that serve are enough; `status` names the others.
        (Some(number), Some((_, failure))) if all => {
            Err(Problem::DoesNotServe { number, failure }.into())
        }
        _ => Ok(()),
    }
}

/// Waits until one server serves what shall serve; returns why it does not.
fn serves_again(
    document: &Document,
    server: &ServerName,
    links: &Links,
    interrupts: &Interrupts,
) -> Option<Failure> {
    let began = Instant::now();
    let link = links.get(server)?;
    let order = onward_core::engine::order(document, server)?;
    let mut seen: Option<Report> = None;
    let mut silent = None;
    while began.elapsed() < SERVES_WITHIN && interrupts.count() == 0 {
        let report = match link.deliver(&order, seen.as_ref()) {
            Outcome::Done(report) => report,
            Outcome::Refused(DeliveryRefused(reason)) | Outcome::Unknown(reason) => {
                let alone = document.servers.len() == 1;
                if !alone && began.elapsed() >= ANSWERS_WITHIN {
                    silent = Some(Failure { reason, ..Failure::default() });
                    break;
                }
                std::thread::sleep(SILENCE_PAUSE);
                continue;
            }
        };
        let level = document.serving.map(|number| report.level(number));
        if report.accepted > order.generation || level.is_none_or(|level| level == Level::Routed) {
            return None;
        }
        seen = Some(report);
    }
    let number = document.serving?;
    let seen = || seen.as_ref()?.releases.get(&number)?.failure.clone();
    Some(silent.or_else(seen).unwrap_or_default())
}

/// Carries out what a changed state demands, and tells how that ended; when the state demands
/// nothing new, `otherwise` tells how things are.
pub fn follow(
    context: &Context,
    screen: &Screen,
    interrupts: &Interrupts,
    otherwise: impl FnOnce(&Document) -> Result<Exit, Complaint>,
) -> Result<Exit, Complaint> {
    let before = context.look()?.map(|stored| stored.document.last_operation);
    carry_on(context, screen, interrupts)?;
    let Some(stored) = context.look()? else { return Err(Problem::StateRemoved.into()) };
    let document = &*stored.document;
    if let Some(operation) = document.operation.as_ref().filter(|_| interrupts.count() > 0) {
        let of = if context.is_carried_on() {
            Problem::InterruptedManaged
        } else {
            Problem::InterruptedCarrying
        };
        return Err(of(operation.number).into());
    }
    if Some(document.last_operation) != before {
        return conclude(context, document, document.last_operation, screen);
    }
    otherwise(document)
}

/// Whether the release command of an operation was ordered: then it may have changed something.
fn ran_release_command(context: &Context, number: OperationNumber) -> bool {
    let store = context.store();
    let generations = store.generations().unwrap_or_default();
    let of = |generation: &Generation| store.read_generation(*generation).ok().flatten();
    let mut documents = generations.iter().rev().filter_map(of);
    documents
        .by_ref()
        .take(GENERATIONS_OF_AN_OPERATION)
        .filter_map(|stored| stored.document.operation.clone())
        .any(|operation| operation.number == number && operation.phase == Phase::Command)
}
