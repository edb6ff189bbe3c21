//! The next decision, from the document and what is known of the servers.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{FOLLOW_WITHIN_MS, REACH_WITHIN_MS, finish, orders, submit};
use crate::document::{CommandInFlight, Document, Ended, Failure, Kind, Operation, Phase};
use crate::model::{Config, ReleaseNumber, ServerName};
use crate::order::{CommandKind, Level};
use crate::planted::planted;
use crate::report::{Contact, Contacts, Progress, Report};
use crate::traffic::{Proof, Traffic};

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advance {
    /// Write this document; it is not stamped with a generation yet.
    Write(Box<Document>),
    /// Bring the orders to the servers and look at their reports again.
    Wait,
    /// Nothing is in flight, and every server that can be reached has accepted its order.
    Rest,
}

/// Takes the next decision.
///
/// Only reports at the generation of the document count: what a server said before it accepted
/// the current order says nothing about it.
pub fn advance(document: &Document, contacts: &Contacts, now: Timestamp) -> Advance {
    let view = View { document, contacts };
    let Some(operation) = &document.operation else {
        return match submit::follow_edit(document, now) {
            Some(next) => Advance::Write(Box::new(next)),
            None if view.all_accepted() => Advance::Rest,
            None => Advance::Wait,
        };
    };
    match view.step(operation) {
        Step::Wait => Advance::Wait,
        Step::To(phase) => Advance::Write(Box::new(enter(&view, operation, phase))),
        Step::Fail(failure) => Advance::Write(Box::new(fail(&view, operation, failure, now))),
        Step::End => Advance::Write(Box::new(end(&view, operation, now))),
    }
}

/// What follows from one look at the servers.
enum Step {
    Wait,
    To(Phase),
    Fail(Failure),
    End,
}

/// Whether all servers are where a phase wants them.
enum Reached {
    All,
    NotYet,
    Failed(Failure),
}

struct View<'a> {
    document: &'a Document,
    contacts: &'a Contacts,
}

impl View<'_> {
    fn config(&self, release: Option<ReleaseNumber>) -> Option<&Config> {
        release.and_then(|number| self.document.release(number)).map(|release| &*release.config)
    }

    /// The report of a server that has accepted the order of this generation.
    fn fresh(&self, server: &ServerName) -> Option<&Report> {
        match self.contacts.get(server) {
            Some(Contact::Reached(report)) if report.accepted >= self.document.generation => {
                Some(report)
            }
            _ => None,
        }
    }

    fn given_up(&self, server: &ServerName, within_ms: u64) -> Option<&str> {
        match self.contacts.get(server) {
            Some(Contact::Unreachable { for_ms, cause }) if *for_ms >= within_ms => Some(cause),
            _ => None,
        }
    }

    fn all_accepted(&self) -> bool {
        self.document.servers.keys().all(|server| {
            self.fresh(server).is_some() || self.given_up(server, FOLLOW_WITHIN_MS).is_some()
        })
    }

    fn step(&self, operation: &Operation) -> Step {
        let Some(new) = operation.release else { return self.step_remove(operation) };
        match operation.phase {
            Phase::Stage => {
                self.before(operation, self.next_after_stage(operation), |_, report| {
                    at_level(report, new, Level::Staged)
                })
            }
            Phase::Command => self.step_command(operation, CommandKind::Release, Phase::Start),
            Phase::Start => {
                let checked = self.config(operation.release).is_some_and(has_check);
                let next = if checked && operation.kind == Kind::Deploy {
                    Phase::Check
                } else {
                    Phase::Switch
                };
                self.before(operation, next, |_, report| at_level(report, new, Level::Running))
            }
            Phase::Check => self.step_command(operation, CommandKind::Check, Phase::Switch),
            Phase::Switch => {
                let next = if self.exchanges(operation) { Phase::Exchange } else { Phase::Watch };
                self.after(operation, Step::To(next), |report| is_routed(report, new))
            }
            Phase::Exchange => self.after(operation, Step::To(Phase::Watch), |report| {
                has_exchanged(report, new, operation.previous)
            }),
            Phase::Watch => self.after(operation, Step::End, |report| watched(report, operation)),
            Phase::TakeBack => self
                .after(operation, Step::End, |report| taken_back(report, new, operation.previous)),
            Phase::Remove => self.step_remove(operation),
        }
    }

    fn step_remove(&self, operation: &Operation) -> Step {
        self.after(operation, Step::End, |report| {
            if report.converged { Reached::All } else { Reached::NotYet }
        })
    }

    fn next_after_stage(&self, operation: &Operation) -> Phase {
        let command = self.config(operation.release).and_then(|c| c.release_command.as_ref());
        if command.is_some() && operation.kind == Kind::Deploy {
            Phase::Command
        } else {
            Phase::Start
        }
    }

    fn exchanges(&self, operation: &Operation) -> bool {
        [operation.release, operation.previous]
            .into_iter()
            .any(|release| self.config(release).is_some_and(|c| c.in_background().next().is_some()))
    }

    /// A phase before the decision: every server must get there, and any failure goes back.
    fn before(
        &self,
        operation: &Operation,
        next: Phase,
        reached: impl Fn(&ServerName, &Report) -> Reached,
    ) -> Step {
        let mut all = true;
        for server in self.document.servers.keys().filter(|s| !operation.without.contains(*s)) {
            if let Some(cause) = self.given_up(server, REACH_WITHIN_MS) {
                return Step::Fail(unreachable(server, cause));
            }
            match self.fresh(server).map(|report| reached(server, report)) {
                Some(Reached::All) => {}
                Some(Reached::NotYet) | None => all = false,
                Some(Reached::Failed(failure)) => return Step::Fail(at(server, failure)),
            }
        }
        if all { Step::To(next) } else { Step::Wait }
    }

    /// A phase after the decision: servers that cannot be reached follow later.
    fn after(
        &self,
        operation: &Operation,
        then: Step,
        reached: impl Fn(&Report) -> Reached,
    ) -> Step {
        let mut all = true;
        for server in self.document.servers.keys() {
            let left = operation.without.contains(server)
                || self.given_up(server, FOLLOW_WITHIN_MS).is_some();
            match self.fresh(server).map(&reached) {
                Some(Reached::All) => {}
                Some(Reached::Failed(failure)) if !left => return Step::Fail(at(server, failure)),
                Some(_) | None => all &= left,
            }
        }
        if all { then } else { Step::Wait }
    }

    /// The command of another operation may still run; ours waits for its end.
    fn step_command(&self, operation: &Operation, kind: CommandKind, next: Phase) -> Step {
        let other = self.other_command(operation).filter(|_| kind == CommandKind::Release);
        if let Some(other) = other {
            // A server that was taken out of the environment is not asked any more.
            let is_out = !self.document.servers.contains_key(&other.server);
            let fresh = self.fresh(&other.server);
            if is_out || fresh.is_some_and(|report| command_ended(report, other)) {
                return Step::To(operation.phase);
            }
            return match self.given_up(&other.server, REACH_WITHIN_MS) {
                Some(cause) => Step::Fail(Failure {
                    reason: format!(
                        "the release command of operation {} may still run there ({cause})",
                        other.operation
                    ),
                    server: Some(other.server.clone()),
                    ..Failure::default()
                }),
                None => Step::Wait,
            };
        }
        let runs_on = orders::command_server(self.document, operation).cloned();
        self.before(operation, next, |server, report| {
            if Some(server) != runs_on.as_ref() {
                return Reached::All;
            }
            let ours = report
                .command
                .as_ref()
                .filter(|c| c.operation == operation.number && c.kind == kind);
            match ours {
                Some(command) => progress(&command.outcome),
                None => cannot_run(report, operation.release),
            }
        })
    }

    fn other_command(&self, operation: &Operation) -> Option<&CommandInFlight> {
        self.document.command.as_ref().filter(|c| c.operation != operation.number)
    }

    fn traffic(&self) -> BTreeMap<ServerName, Traffic> {
        let of = |(name, contact): (&ServerName, &Contact)| match contact {
            Contact::Reached(report) => Some((name.clone(), report.traffic.clone()?)),
            Contact::Unreachable { .. } => None,
        };
        self.contacts.iter().filter_map(of).collect()
    }
}

fn has_check(config: &Config) -> bool {
    config.check_command.is_some()
}

fn at(server: &ServerName, mut failure: Failure) -> Failure {
    failure.server.get_or_insert_with(|| server.clone());
    failure
}

fn unreachable(server: &ServerName, cause: &str) -> Failure {
    Failure {
        server: Some(server.clone()),
        reason: format!("the server cannot be reached: {cause}"),
        ..Failure::default()
    }
}

fn at_level(report: &Report, release: ReleaseNumber, level: Level) -> Reached {
    let Some(own) = report.releases.get(&release) else { return Reached::NotYet };
    match &own.failure {
        _ if own.level >= level => Reached::All,
        Some(failure) => Reached::Failed(failure.clone()),
        None => Reached::NotYet,
    }
}

/// A command that has not begun never will when the files that it runs from cannot be brought.
fn cannot_run(report: &Report, release: Option<ReleaseNumber>) -> Reached {
    let own = release.and_then(|number| report.releases.get(&number));
    match own.and_then(|own| own.failure.clone()) {
        Some(failure) => Reached::Failed(failure),
        None => Reached::NotYet,
    }
}

/// What fails between its probe and its switch is taken back like what fails its watch.
fn is_routed(report: &Report, release: ReleaseNumber) -> Reached {
    if report.routed == Some(release) {
        return Reached::All;
    }
    match report.releases.get(&release).and_then(|own| own.failure.clone()) {
        Some(failure) => Reached::Failed(failure),
        None => Reached::NotYet,
    }
}

fn has_exchanged(report: &Report, new: ReleaseNumber, old: Option<ReleaseNumber>) -> Reached {
    let idle = |number| report.releases.get(&number).is_none_or(|own| own.background_idle);
    let Some(own) = report.releases.get(&new) else { return Reached::NotYet };
    match &own.failure {
        Some(failure) => Reached::Failed(failure.clone()),
        None if own.background && old.filter(|old| *old != new).is_none_or(idle) => Reached::All,
        None => Reached::NotYet,
    }
}

fn watched(report: &Report, operation: &Operation) -> Reached {
    let ours = report.watch.as_ref().filter(|watch| watch.operation == operation.number);
    ours.map_or(Reached::NotYet, |watch| progress(&watch.outcome))
}

/// The previous version serves again, or cannot, which is no reason to keep the bad one.
fn taken_back(report: &Report, new: ReleaseNumber, old: Option<ReleaseNumber>) -> Reached {
    let old_failed =
        old.and_then(|old| report.releases.get(&old)).is_some_and(|own| own.failure.is_some());
    let left = report.routed != Some(new);
    if left && (report.routed == old || old_failed) { Reached::All } else { Reached::NotYet }
}

fn progress(outcome: &Progress) -> Reached {
    match outcome {
        Progress::Running => Reached::NotYet,
        Progress::Done => Reached::All,
        Progress::Failed(failure) => Reached::Failed(failure.clone()),
    }
}

/// The server no longer has an order to run the command, and does not run it.
fn command_ended(report: &Report, command: &CommandInFlight) -> bool {
    let running = report
        .command
        .as_ref()
        .is_some_and(|own| own.operation == command.operation && own.outcome == Progress::Running);
    !running
}

/// The server has reported how the command ended: it does not run it again.
fn has_outcome(report: &Report, command: &CommandInFlight) -> bool {
    report.command.as_ref().is_some_and(|own| {
        own.operation == command.operation
            && own.kind == CommandKind::Release
            && own.outcome != Progress::Running
    })
}

/// The document in which the operation has entered a phase.
fn enter(view: &View<'_>, operation: &Operation, phase: Phase) -> Document {
    let mut next = view.document.clone();
    let mut entered = operation.clone();
    if entered.baseline.is_none() {
        entered.baseline = Some(view.traffic()).filter(|traffic| !traffic.is_empty());
    }
    if planted!(PreviousReobserved) && operation.phase.is_decided() {
        let seen = view.contacts.values().find_map(|contact| match contact {
            Contact::Reached(report) => report.routed,
            Contact::Unreachable { .. } => None,
        });
        entered.previous = seen;
    }
    entered.phase = phase;
    match phase {
        Phase::Command => {
            let has_ended = operation.phase == Phase::Command;
            if has_ended || view.other_command(operation).is_none() {
                next.command = orders::command_server(view.document, operation).map(|server| {
                    CommandInFlight { server: server.clone(), operation: operation.number }
                });
            }
        }
        Phase::Start if operation.phase == Phase::Command => next.command = None,
        Phase::Switch => {
            next.serving = operation.release;
            next.warm = None;
        }
        _ => {}
    }
    next.operation = Some(entered);
    next
}

/// The document in which the operation has failed: at once before the decision, by a second
/// decision after it.
fn fail(view: &View<'_>, operation: &Operation, failure: Failure, now: Timestamp) -> Document {
    let mut next = view.document.clone();
    if operation.phase.is_decided() {
        next.serving = operation.previous;
        next.operation =
            Some(Operation { phase: Phase::TakeBack, failure: Some(failure), ..operation.clone() });
        return next;
    }
    // A server that has not reported the end of the command may still begin it under this order.
    let reported = next.command.as_ref().is_some_and(|command| {
        view.fresh(&command.server).is_some_and(|report| has_outcome(report, command))
    });
    if reported {
        next.command = None;
    }
    let proof = proof(view, operation);
    finish::end(&mut next, Ended::Failed(failure), proof, BTreeSet::new(), now);
    next
}

fn end(view: &View<'_>, operation: &Operation, now: Timestamp) -> Document {
    let mut next = view.document.clone();
    let servers = view.document.servers.keys();
    let follows = |report: &Report| match operation.release {
        Some(_) => report.routed == next.serving,
        None => report.converged,
    };
    let behind = servers.filter(|server| !view.fresh(server).is_some_and(follows));
    let behind = behind.cloned().collect();
    let outcome = operation.failure.clone().map_or(Ended::Done, Ended::Failed);
    finish::end(&mut next, outcome, proof(view, operation), behind, now);
    next
}

/// What the proxies counted since the baseline, over all servers.
fn proof(view: &View<'_>, operation: &Operation) -> Option<Proof> {
    let baseline = operation.baseline.as_ref()?;
    let (mut before, mut during, mut incomplete) = (Traffic::default(), Traffic::default(), false);
    let now = view.traffic();
    for (server, earlier) in baseline {
        before.add(earlier);
        match now.get(server).and_then(|traffic| traffic.since(earlier)) {
            Some(counted) => during.add(&counted),
            None => {
                incomplete = true;
                during.add(now.get(server).unwrap_or(&Traffic::default()));
            }
        }
    }
    Some(Proof {
        requests: during.requests,
        lost: during.lost,
        app_errors: during.app_errors,
        p99_before_us: before.p99_us(),
        p99_us: during.p99_us(),
        incomplete,
    })
}
