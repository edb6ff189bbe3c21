//! The actions that can be taken now.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    CommandFact, DRAIN_WITHIN_MS, Facts, Files, Kept, RouteFact, Slot, SlotId, SlotState,
    UPGRADED_WITHIN_MS, reporting, wanted, watching,
};
use crate::model::{Maintenance, OperationNumber, ProcessName, ReleaseNumber};
use crate::order::{CommandOrder, Level, Order, WatchOrder};
use crate::planted::planted;
use crate::report::{LeftOut, Progress, Report};

/// Something that the agent shall do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Bring the files of a release.
    Stage(ReleaseNumber),
    /// Compare the files of a release with their digest.
    Verify(ReleaseNumber),
    /// Start an instance, or start it again.
    Start(SlotId),
    /// Ask an instance to stop, and kill it when its time is over.
    Stop(SlotId),
    /// Forget an instance that ended and is not wanted any more.
    Forget(SlotId),
    /// Tell the proxy where traffic goes.
    Route(Option<RouteFact>),
    /// Close the connections that an instance still has.
    Cut(SlotId),
    /// Run a command.
    Run(CommandOrder),
    /// Ask the running command to stop.
    StopCommand,
    /// Begin to watch a release.
    BeginWatch(WatchOrder),
    /// Keep the verdict of the watch.
    EndWatch(OperationNumber, Progress),
    /// Keep that a schedule begins to count now.
    Enrol(ProcessName),
    /// Keep that a scheduled run begins, and begin it.
    BeginJob {
        /// The schedule.
        name: ProcessName,
        /// The release in which it runs.
        release: ReleaseNumber,
        /// When it was due.
        due: Timestamp,
    },
    /// Keep that a scheduled run does not take place.
    LeaveOut {
        /// The schedule.
        name: ProcessName,
        /// When it was due.
        due: Timestamp,
        /// Why.
        why: LeftOut,
    },
    /// Ask a scheduled run to stop.
    StopJob(ProcessName),
    /// Ask the commands of people to end that run in a release.
    EndRuns(ReleaseNumber),
    /// Remove the files of a release.
    Remove(ReleaseNumber),
}

/// What follows from an order and the facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciled {
    /// What to do now, in this order.
    pub actions: Vec<Action>,
    /// What the server is.
    pub report: Report,
}

/// Decides what an agent does next, and what it reports.
///
/// Without an order nothing is touched: an agent that knows no demand guesses none.
pub fn reconcile(kept: &Kept, facts: &Facts) -> Reconciled {
    let Some(order) = &kept.order else {
        return Reconciled { actions: Vec::new(), report: reporting::without_order(facts) };
    };
    let mut plan = Plan { order, kept, facts, actions: Vec::new() };
    plan.files();
    plan.command();
    plan.route();
    plan.stop();
    plan.start();
    plan.schedules();
    plan.watch();
    plan.remove();
    let report = reporting::report(order, kept, facts, plan.actions.is_empty());
    Reconciled { actions: plan.actions, report }
}

pub(super) struct Plan<'a> {
    pub(super) order: &'a Order,
    pub(super) kept: &'a Kept,
    pub(super) facts: &'a Facts,
    pub(super) actions: Vec<Action>,
}

impl Plan<'_> {
    fn files(&mut self) {
        for (number, release) in &self.order.releases {
            match self.facts.files.get(number) {
                None | Some(Files::Failed { retry_in_ms: 0, .. }) => {
                    self.actions.push(Action::Stage(*number));
                }
                Some(Files::Staged) => {
                    let runs = wanted::level(self.facts, *number, release) >= Level::Running;
                    let commands = self.order.command.as_ref();
                    if runs || commands.is_some_and(|command| command.release == *number) {
                        self.actions.push(Action::Verify(*number));
                    }
                }
                Some(_) => {}
            }
        }
    }

    pub(super) fn verified(&self, release: ReleaseNumber) -> bool {
        let files = self.facts.files.get(&release);
        if planted!(NoDigestCheck) {
            return matches!(files, Some(Files::Staged | Files::Verifying | Files::Verified));
        }
        matches!(files, Some(Files::Verified))
    }

    fn command(&mut self) {
        let ordered = self.order.command.as_ref();
        if let Some(running) = &self.facts.command {
            let is_ordered = ordered.is_some_and(|order| is_same(order, running));
            if !is_ordered && !running.stopping {
                self.actions.push(Action::StopCommand);
            }
            return;
        }
        let Some(order) = ordered else { return };
        let record = self.kept.command(order.operation, order.kind);
        let ended = record.is_some_and(|own| own.outcome != Progress::Running);
        if !ended && self.verified(order.release) {
            self.actions.push(Action::Run(order.clone()));
        }
    }

    fn route(&mut self) {
        if self.facts.route_pending {
            return;
        }
        let Some(release) = self.order.routed() else {
            if self.facts.route.is_some() {
                self.actions.push(Action::Route(None));
            }
            return;
        };
        let all = self.traffic_slots(release);
        let ready: BTreeMap<_, _> =
            all.iter().filter_map(|id| Some((id.clone(), self.ready_port(id)?))).collect();
        let (peers, key) = (self.order.peers(), self.order.fleet_key.clone());
        let maintenance = self.order.maintenance.as_ref().map(Maintenance::mark);
        let wanted = match &self.facts.route {
            // A server that has lost its role sends the release no traffic any more.
            Some(route) if route.release == release && (!ready.is_empty() || all.is_empty()) => {
                RouteFact { release, slots: ready, peers, key, maintenance }
            }
            _ if ready.len() == all.len() => {
                RouteFact { release, slots: ready, peers, key, maintenance }
            }
            // What is routed stays; the other servers and the page are another matter.
            Some(route) => RouteFact { peers, key, maintenance, ..route.clone() },
            None => return,
        };
        if self.facts.route.as_ref() != Some(&wanted) {
            self.actions.push(Action::Route(Some(wanted)));
        }
    }

    /// The instances that traffic goes to when the release is routed.
    fn traffic_slots(&self, release: ReleaseNumber) -> Vec<SlotId> {
        wanted::slots(self.order, self.facts)
            .into_iter()
            .filter(|(id, wanted)| id.release == release && wanted.has_traffic)
            .map(|(id, _)| id)
            .collect()
    }

    fn ready_port(&self, id: &SlotId) -> Option<u16> {
        self.facts.slots.get(id).filter(|slot| slot.state == SlotState::Ready)?.port
    }

    fn stop(&mut self) {
        let wanted = wanted::slots(self.order, self.facts);
        for (id, slot) in &self.facts.slots {
            if wanted.contains_key(id) {
                continue;
            }
            match slot.state {
                SlotState::Stopping => {}
                SlotState::Ended { .. } => self.actions.push(Action::Forget(id.clone())),
                _ if !id.process.has_traffic() => self.actions.push(Action::Stop(id.clone())),
                _ => self.drain(id),
            }
        }
    }

    /// Stops an instance when no route names it and its connections have ended or had their time.
    fn drain(&mut self, id: &SlotId) {
        let route = self.facts.route.as_ref();
        let routed = route.is_some_and(|route| route.slots.contains_key(id));
        let leaving = self.facts.route_pending;
        if (routed || leaving) && !planted!(StopBeforeRoute) && !self.stops_surplus_first(id) {
            return;
        }
        let left = self.facts.leaving.get(id).or_else(|| self.facts.traffic.get(&id.release));
        let left = left.copied().unwrap_or_default();
        let is_gone = self.order.level(id.release) == Level::Gone;
        let upgraded_have_time = !is_gone && left.unrouted_ms < UPGRADED_WITHIN_MS;
        if left.requests > 0 && left.unrouted_ms < DRAIN_WITHIN_MS {
            return;
        }
        if left.upgraded > 0 && upgraded_have_time {
            return;
        }
        if left.requests + left.upgraded > 0 {
            self.actions.push(Action::Cut(id.clone()));
        }
        self.actions.push(Action::Stop(id.clone()));
    }

    fn stops_surplus_first(&self, id: &SlotId) -> bool {
        planted!(ScaleStopsBeforeRoute) && self.order.level(id.release) == Level::Routed
    }

    fn start(&mut self) {
        for (id, wanted) in wanted::slots(self.order, self.facts) {
            let may_now = match self.facts.slots.get(&id) {
                None => true,
                Some(Slot { adopted: true, .. }) if planted!(NoIdempotencyKey) => true,
                Some(Slot { state: SlotState::Ended { retry_in_ms: 0 }, .. }) => true,
                Some(_) => false,
            };
            let overlaps = wanted.has_traffic || wanted.process.overlap;
            let alone = overlaps || self.is_alone(id.release);
            if may_now && wanted.may_start && alone && self.verified(id.release) {
                self.actions.push(Action::Start(id));
            }
        }
    }

    /// Whether nothing without traffic of another release runs.
    pub(super) fn is_alone(&self, release: ReleaseNumber) -> bool {
        self.others_in_background(release).is_empty()
            && self.facts.jobs.values().all(|job| job.release == release)
    }

    /// Processes without traffic of other releases that have not ended.
    fn others_in_background(&self, release: ReleaseNumber) -> Vec<&SlotId> {
        let alive = |slot: &Slot| !matches!(slot.state, SlotState::Ended { .. });
        let slots = self.facts.slots.iter();
        slots
            .filter(|(id, slot)| id.release != release && !id.process.has_traffic() && alive(slot))
            .map(|(id, _)| id)
            .collect()
    }

    fn watch(&mut self) {
        let Some(order) = &self.order.watch else { return };
        let begun = self.facts.watch.as_ref().filter(|watch| watch.operation == order.operation);
        let routed = self.facts.route.as_ref().is_some_and(|r| r.release == order.release);
        match begun {
            None if routed => self.actions.push(Action::BeginWatch(order.clone())),
            None => {}
            Some(watch) if watch.outcome.is_some() => {}
            Some(watch) => match watching::verdict(self.order, order, watch, self.facts) {
                Progress::Running => {}
                verdict => self.actions.push(Action::EndWatch(order.operation, verdict)),
            },
        }
    }

    /// Files go last, when nothing runs from them.
    fn remove(&mut self) {
        for (number, files) in &self.facts.files {
            let wanted = self.order.releases.contains_key(number);
            let used = self.facts.slots.keys().any(|id| id.release == *number)
                || self.facts.route.as_ref().is_some_and(|route| route.release == *number)
                || self.facts.command.as_ref().is_some_and(|c| c.release == *number)
                || self.facts.runs.contains_key(number)
                || self.facts.jobs.values().any(|job| job.release == *number);
            let settled = matches!(files, Files::Staged | Files::Verified | Files::Failed { .. });
            if !wanted && !used && settled {
                self.actions.push(Action::Remove(*number));
            }
        }
    }
}

fn is_same(order: &CommandOrder, running: &CommandFact) -> bool {
    order.operation == running.operation && order.kind == running.kind
}
