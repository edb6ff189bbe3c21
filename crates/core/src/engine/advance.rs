//! The next decision, from the document and what is known of the servers.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::reached::{self, Reached};
use super::sides::{Place, peers};
use super::{FOLLOW_WITHIN_MS, REACH_WITHIN_MS, finish, orders, steps, submit};
use crate::document::{CommandInFlight, Document, Ended, Failure, Kind, Operation, Phase};
use crate::model::{Config, Maintenance, ReleaseNumber, ServerName};
use crate::order::{CommandKind, Level};
use crate::planted::planted;
use crate::report::{Contact, Contacts, Report};
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
        if let Some(next) = submit::follow_edit(document, now) {
            return Advance::Write(Box::new(next));
        }
        let behind = view.behind(None);
        return match behind != document.behind {
            true => Advance::Write(Box::new(Document { behind, ..document.clone() })),
            false if view.all_accepted() => Advance::Rest,
            false => Advance::Wait,
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
            Some(Contact::Reached(report))
                if report.accepted >= self.document.generation || planted!(OldReportCounts) =>
            {
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

    /// Whether every server has the order of this generation that can be had now. One that is known
    /// to be behind and does not answer is not waited for: it has its order when it is back.
    fn all_accepted(&self) -> bool {
        self.document.servers.keys().all(|server| {
            let patience = if self.document.behind.contains(server) { 0 } else { FOLLOW_WITHIN_MS };
            self.fresh(server).is_some() || self.given_up(server, patience).is_some()
        })
    }

    fn step(&self, operation: &Operation) -> Step {
        let Some(new) = operation.release else { return self.step_remove(operation) };
        if operation.kind == Kind::Maintenance {
            return self.step_maintenance(operation);
        }
        match operation.phase {
            Phase::Stage => {
                self.before(operation, self.next_after_stage(operation), |_, report| {
                    reached::at_level(report, new, Level::Staged)
                })
            }
            Phase::Command => self.step_command(operation, CommandKind::Release, Phase::Start),
            Phase::Start => self.step_start(operation, new),
            Phase::Check => self.step_command(operation, CommandKind::Check, Phase::Switch),
            Phase::Switch if operation.kind == Kind::Scale => {
                self.after(operation, self.leave_or_end(operation), |server, report| {
                    self.with_config(server, new, |config| reached::is_scaled(report, new, config))
                })
            }
            Phase::Switch => {
                let next = if self.exchanges(operation) { Phase::Exchange } else { Phase::Watch };
                self.after(operation, Step::To(next), |_, report| reached::is_routed(report, new))
            }
            Phase::Exchange => self.after(operation, Step::To(Phase::Watch), |_, report| {
                reached::has_exchanged(report, new, operation.previous)
            }),
            Phase::Watch => {
                let next = if steps::are_left(self.document, operation) {
                    Step::To(Phase::Switch)
                } else {
                    self.leave_or_end(operation)
                };
                self.after(operation, next, |_, report| reached::watched(report, operation))
            }
            Phase::TakeBack => self.after(operation, self.leave_or_end(operation), |_, report| {
                reached::taken_back(report, new, operation.previous)
            }),
            Phase::Leave => self.step_leave(operation),
            Phase::Remove => self.step_remove(operation),
        }
    }

    fn step_start(&self, operation: &Operation, new: ReleaseNumber) -> Step {
        if operation.kind == Kind::Scale {
            return self.before(operation, Phase::Switch, |server, report| {
                self.with_config(server, new, |config| reached::is_up(report, new, config))
            });
        }
        let config = self.config(operation.release);
        if planted!(BatchBeforeProbe) && config.is_some_and(|own| !own.strategy.is_all()) {
            return Step::To(Phase::Switch);
        }
        let checked = config.is_some_and(has_check) && operation.kind == Kind::Deploy;
        let next = if checked { Phase::Check } else { Phase::Switch };
        self.before(operation, next, |_, report| reached::at_level(report, new, Level::Running))
    }

    /// Servers that no balancer sends requests to any more stop what they kept for that.
    fn step_leave(&self, operation: &Operation) -> Step {
        self.after(operation, Step::End, |server, report| {
            let place = Place::of(self.document, server);
            let emptied = place.is_leaving() && operation.failure.is_none();
            let is_there = !place.has_to_leave(operation)
                || emptied && report.converged
                || !emptied && report.routed == self.document.serving;
            if is_there { Reached::All } else { Reached::NotYet }
        })
    }

    fn leave_or_end(&self, operation: &Operation) -> Step {
        let mut servers = self.document.everywhere();
        let leave = servers.any(|name| Place::of(self.document, name).has_to_leave(operation));
        if leave { Step::To(Phase::Leave) } else { Step::End }
    }

    /// What a server runs of a release now.
    fn with_config(
        &self,
        server: &ServerName,
        release: ReleaseNumber,
        what: impl FnOnce(&Config) -> Reached,
    ) -> Reached {
        let Some(release) = self.document.release(release) else { return Reached::NotYet };
        what(&Place::of(self.document, server).config(release.number, &release.config))
    }

    fn step_maintenance(&self, operation: &Operation) -> Step {
        let wanted = self.document.demand.maintenance.as_ref().map(Maintenance::mark);
        self.after(operation, Step::End, |_, report| {
            if report.maintenance == wanted { Reached::All } else { Reached::NotYet }
        })
    }

    fn step_remove(&self, operation: &Operation) -> Step {
        self.after(operation, Step::End, |_, report| {
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
                return Step::Fail(reached::unreachable(server, cause));
            }
            match self.fresh(server).map(|report| reached(server, report)) {
                Some(Reached::All) => {}
                Some(Reached::NotYet) | None => all = false,
                Some(Reached::Failed(failure)) => return Step::Fail(reached::at(server, failure)),
            }
        }
        if all { Step::To(next) } else { Step::Wait }
    }

    /// A phase after the decision: servers that cannot be reached follow later. Balancers must
    /// send requests where they shall, whatever the phase.
    fn after(
        &self,
        operation: &Operation,
        then: Step,
        reached: impl Fn(&ServerName, &Report) -> Reached,
    ) -> Step {
        let mut all = true;
        for server in self.document.everywhere() {
            let left = operation.without.contains(server)
                || self.given_up(server, FOLLOW_WITHIN_MS).is_some();
            let own = |report: &Report| {
                if self.is_asked(operation, server) {
                    reached(server, report)
                } else {
                    Reached::All
                }
            };
            match self.fresh(server).map(|report| (own(report), self.spreads(server, report))) {
                Some((Reached::All, true)) => {}
                Some((Reached::Failed(failure), _)) if !left => {
                    return Step::Fail(reached::at(server, failure));
                }
                Some(_) | None => all &= left,
            }
        }
        if all { then } else { Step::Wait }
    }

    /// Whether a phase after the decision is about a server: neither about one that waits for its
    /// step, nor about one that goes on as it was until it leaves.
    fn is_asked(&self, operation: &Operation, server: &ServerName) -> bool {
        let place = Place::of(self.document, server);
        match operation.phase {
            Phase::Leave | Phase::Remove => true,
            Phase::TakeBack => !place.is_leaving() && place.holds(operation).is_none(),
            _ => {
                let stays = !place.is_leaving() && place.holds(operation).is_none();
                stays && place.takes_part(operation)
            }
        }
    }

    /// Whether a balancer sends requests to the servers that it shall, and to no other.
    fn spreads(&self, server: &ServerName, report: &Report) -> bool {
        peers(self.document, server).keys().eq(report.peers.iter())
    }

    /// Whether a server answers requests as it shall.
    fn has_caught_up(&self, server: &ServerName, report: &Report) -> bool {
        let order = orders::order(self.document, server);
        let Some((number, order)) = order.as_ref().and_then(|own| {
            let number = own.routed()?;
            Some((number, own.releases.get(&number)?))
        }) else {
            return report.routed.is_none();
        };
        let mut traffic = Config::clone(&order.config);
        traffic.processes.retain(|name, _| name.has_traffic());
        let is_up = matches!(reached::is_up(report, number, &traffic), Reached::All);
        is_up && self.spreads(server, report)
    }

    /// Who is left behind by what is decided now, and who has caught up since.
    fn behind(&self, operation: Option<&Operation>) -> BTreeSet<ServerName> {
        let mut behind = self.document.behind.clone();
        if !self.document.has_balancer() {
            return BTreeSet::new();
        }
        let decided = operation.filter(|own| own.phase.is_decided());
        for server in self.document.servers.keys() {
            let left_out = decided.is_some_and(|own| own.without.contains(server));
            let given_up = self.given_up(server, FOLLOW_WITHIN_MS).is_some();
            let follows = self.fresh(server).map(|report| self.has_caught_up(server, report));
            match follows {
                Some(true) => drop(behind.remove(server)),
                Some(false) if left_out => drop(behind.insert(server.clone())),
                None if decided.is_some() && (left_out || given_up) => {
                    behind.insert(server.clone());
                }
                Some(false) | None => {}
            }
        }
        // One that is being taken out gets no requests for that either, until it is gone.
        behind.retain(|server| self.document.server(server).is_some());
        behind
    }

    /// The command of another operation may still run; ours waits for its end.
    fn step_command(&self, operation: &Operation, kind: CommandKind, next: Phase) -> Step {
        let other = self.other_command(operation).filter(|_| kind == CommandKind::Release);
        if let Some(other) = other {
            // A server that was taken out of the environment is not asked any more; one that is
            // being taken out is, unless the person said to go on without it.
            let is_leaving = !self.document.servers.contains_key(&other.server);
            let is_out = self.document.server(&other.server).is_none()
                || is_leaving && operation.without.contains(&other.server);
            let fresh = self.fresh(&other.server);
            if is_out || fresh.is_some_and(|report| reached::command_ended(report, other)) {
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
                Some(command) => reached::progress(&command.outcome),
                None => reached::cannot_run(report, operation.release),
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
        Phase::Switch if operation.kind != Kind::Scale => {
            entered.rollout = steps::next(view.document, operation);
            let is_last = !steps::are_left(view.document, &entered);
            next.serving = if is_last { operation.release } else { next.serving };
            next.warm = None;
        }
        _ => {}
    }
    next.behind = view.behind(Some(&entered));
    if phase == Phase::Switch && next.has_balancer() {
        next.behind.extend(operation.without.iter().cloned());
    }
    next.operation = Some(entered);
    next
}

/// The document in which the operation has failed: at once before the decision, by a second
/// decision after it.
fn fail(view: &View<'_>, operation: &Operation, failure: Failure, now: Timestamp) -> Document {
    let mut next = view.document.clone();
    if operation.phase.is_decided() {
        next.behind = view.behind(Some(operation));
        finish::take_back(&mut next, operation.clone(), failure);
        return next;
    }
    // A server that has not reported the end of the command may still begin it under this order.
    let reported = next.command.as_ref().is_some_and(|command| {
        view.fresh(&command.server).is_some_and(|report| reached::has_outcome(report, command))
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
    let behind: BTreeSet<ServerName> = behind.cloned().collect();
    if next.has_balancer() {
        next.behind = view.behind(Some(operation)).union(&behind).cloned().collect();
    }
    let left: BTreeSet<ServerName> = view
        .document
        .everywhere()
        .filter(|server| Place::of(view.document, server).is_leaving())
        .filter(|server| !view.fresh(server).is_some_and(|report| report.converged))
        .cloned()
        .collect();
    let outcome = operation.failure.clone().map_or(Ended::Done, Ended::Failed);
    let is_done = outcome == Ended::Done;
    finish::end(&mut next, outcome, proof(view, operation), behind, now);
    let Document { behind, servers, .. } = &mut next;
    behind.retain(|server| servers.contains_key(server));
    if let Some(finished) = next.history.last_mut().filter(|_| is_done) {
        finished.abandoned = left;
    }
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
