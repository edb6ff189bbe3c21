//! The agent of a simulated server: it admits orders, asks the shipped [`reconcile`] what to do,
//! and does it to the [`Machine`].

use std::collections::BTreeMap;

use onward_core::document::Failure;
use onward_core::engine;
use onward_core::model::{Generation, ReleaseNumber};
use onward_core::order::{Admission, CommandKind, CommandOrder, Order};
use onward_core::outcome::Outcome;
use onward_core::ports::DeliveryRefused;
use onward_core::reconcile::{
    Action, CommandFact, Facts, Files, RouteFact, Slot, SlotId, SlotState, WatchFact, backoff_ms,
    reconcile,
};
use onward_core::report::{Progress, Report};
use onward_core::traffic::Traffic;

use super::core::{Core, Late, LateThing};
use super::fault::{Fault, Point};
use super::fleet;
use super::invariant;
use super::machine::{Command, Disk, Machine, Proc};
use super::observe::ended;
use super::scenario::Behaviour;
use super::skew;

/// What an agent knows while it lives.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// What it believes of its server.
    pub facts: Facts,
    /// Verifications that run, and when they end.
    pub verifying: BTreeMap<ReleaseNumber, u64>,
    /// How often files failed in a row, and when they are tried again.
    pub failed: BTreeMap<ReleaseNumber, (u32, u64)>,
    /// When instances that ended may be started again.
    pub retry: BTreeMap<SlotId, u64>,
    /// The route that was sent to the proxy.
    pub route_job: Option<RouteJob>,
    /// Whether the command that runs is a child of this life of the agent.
    pub is_parent: bool,
    /// When the watch began.
    pub watch_since_ms: u64,
    /// When it asks the store next.
    pub pull_ms: u64,
    /// How long it waits then: longer each time that nothing is new.
    pull_every_ms: u64,
}

/// A route on its way to the proxy.
#[derive(Debug, Clone)]
pub struct RouteJob {
    /// Where traffic shall go.
    pub target: Option<RouteFact>,
    /// When the proxy has it and has answered.
    pub until_ms: u64,
    /// Whether it never arrives; the agent then finds the old table.
    pub lost: bool,
}

/// How long an agent waits until it asks the store again, in milliseconds: first, and at most.
const PULL_FIRST_MS: u64 = 700;
const PULL_MAX_MS: u64 = 20_000;

pub(super) fn failure(reason: &str) -> Failure {
    Failure { reason: reason.to_owned(), ..Failure::default() }
}

impl Machine {
    /// One turn of the agent: look, fetch, decide, act.
    pub fn turn(&mut self, core: &mut Core) {
        if self.agent.is_none() {
            if self.up_ms <= core.now_ms {
                self.restart(core);
            }
            return;
        }
        self.observe(core);
        if self.pulls {
            self.pull(core);
        }
        let Some(memory) = &self.agent else { return };
        let reconciled = reconcile(&self.kept, &memory.facts);
        let has_acted = !reconciled.actions.is_empty();
        for action in reconciled.actions {
            if self.agent.is_none() || self.paused_ms > core.now_ms {
                return;
            }
            self.step(&action, core);
        }
        if self.agent.is_some() {
            self.wake_ms = if has_acted { core.now_ms } else { self.next_event(core.now_ms) };
        }
    }

    fn restart(&mut self, core: &mut Core) {
        let now = core.now_ms;
        let kept = std::mem::take(&mut self.kept);
        self.kept = if self.old { skew::kept_of_old_version(&kept) } else { kept }.restored();
        let mut facts = Facts { route: self.route.clone(), ..Facts::default() };
        facts.files.extend(self.files.keys().map(|number| (*number, Files::Staged)));
        for proc in &self.procs {
            let ready = proc.is_ready(now);
            facts.slots.insert(
                proc.slot.clone(),
                Slot {
                    state: if ready {
                        SlotState::Ready
                    } else {
                        SlotState::Starting { overdue: false }
                    },
                    pid: Some(proc.pid),
                    port: Some(proc.port),
                    was_ready: ready,
                    early_exits: 0,
                    restarts: 0,
                    failure: None,
                    adopted: true,
                },
            );
        }
        facts.command = self.commands.first().map(|command| CommandFact {
            operation: command.operation,
            kind: command.kind,
            release: command.release,
            stopping: false,
        });
        self.agent = Some(Memory { facts, pull_ms: now, ..Memory::default() });
        self.wake_ms = now;
        core.log(self.actor, self.accepted_max, 1, None, &|| "restart".to_owned(), &String::new);
    }

    /// An order arrives.
    pub fn receive(
        &mut self,
        order: &Order,
        fault: Option<Fault>,
        core: &mut Core,
    ) -> Outcome<Report, DeliveryRefused> {
        if self.agent.is_none() || self.paused_ms > core.now_ms {
            return Outcome::Unknown("no answer".to_owned());
        }
        match self.kept.admit(order) {
            Admission::Accept => {
                match fault {
                    Some(Fault::Torn) => {
                        self.crash(core);
                        return Outcome::Unknown("the connection was closed".to_owned());
                    }
                    Some(Fault::NoSpace) => {
                        return Outcome::Refused(DeliveryRefused("no space is left".to_owned()));
                    }
                    _ => {}
                }
                let checked = invariant::order_follows_from_the_document(order, &core.store);
                core.check(checked);
                let checked = fleet::peers_are_not_behind(order, &core.store);
                core.check(checked);
                let checked = invariant::fence_never_falls(order, self.accepted_max);
                core.check(checked);
                self.accepted_max = self.accepted_max.max(order.generation);
                self.kept.order = Some(order.clone());
                self.wake_ms = core.now_ms;
            }
            Admission::Same | Admission::Stale { .. } => {}
            Admission::Contradiction => {
                core.violate("I3", || {
                    format!("two orders of generation {} for {}", order.generation, self.name)
                });
                return Outcome::Refused(DeliveryRefused("contradiction".to_owned()));
            }
        }
        self.observe(core);
        Outcome::Done(self.report(core.now_ms))
    }

    /// What the agent says of its server.
    pub fn report(&self, now_ms: u64) -> Report {
        let Some(memory) = &self.agent else { return Report::default() };
        let mut report = reconcile(&self.kept, &memory.facts).report;
        if self.old {
            skew::report_of_old_version(&mut report);
        } else {
            report.traffic =
                Some(Traffic { epoch: 1, requests: now_ms / 10, ..Traffic::default() });
        }
        report
    }

    /// Fetches the document when it is time, and takes the order from it.
    fn pull(&mut self, core: &mut Core) {
        let Some(memory) = &mut self.agent else { return };
        if memory.pull_ms > core.now_ms {
            return;
        }
        memory.pull_every_ms = (memory.pull_every_ms * 2).clamp(PULL_FIRST_MS, PULL_MAX_MS);
        memory.pull_ms = core.now_ms + memory.pull_every_ms;
        let Some(stored) = core.store.current() else { return };
        let known = self.kept.order.as_ref().map(|order| order.generation);
        if known.is_some_and(|known| known >= stored.document.generation) {
            return;
        }
        memory.pull_every_ms = 0;
        let fault = core.decide(Point::Pull);
        let fresh = engine::order(&stored.document, &self.name);
        let order = if fault == Some(Fault::Stale) { core.stale_order(&self.name) } else { fresh };
        let Some(order) = order else { return };
        core.log(self.actor, order.generation, 2, fault, &|| "pull".to_owned(), &String::new);
        match fault {
            Some(Fault::CrashBefore) => self.crash(core),
            Some(Fault::LostReq) => {}
            Some(Fault::Delay) => {
                let what = LateThing::Order(Box::new(order));
                core.late.push(Late { due: core.due(), what });
            }
            Some(Fault::Pause) => self.pause(core),
            fault => {
                let _ = self.receive(&order, fault, core);
                match fault {
                    Some(Fault::CrashAfter) => self.crash(core),
                    Some(Fault::HostReboot) => self.reboot(core),
                    _ => {}
                }
            }
        }
    }

    fn pause(&mut self, core: &Core) {
        self.paused_ms = core.now_ms + core.pause_ms();
        self.wake_ms = self.paused_ms;
    }

    /// One action, as a decision point.
    fn step(&mut self, action: &Action, core: &mut Core) {
        let point = match action {
            Action::Stage(_) => Point::Stage,
            Action::Start(_) => Point::Start,
            Action::Route(_) => Point::Route,
            _ => Point::Act,
        };
        let fault = core.decide(point);
        let generation = self.kept.order.as_ref().map_or(Generation(0), |order| order.generation);
        let code = 16 + action_code(action);
        core.log(self.actor, generation, code, fault, &|| describe(action), &String::new);
        let checked = invariant::no_effect_below_the_fence(generation, self.accepted_max);
        core.check(checked);
        match fault {
            Some(Fault::CrashBefore) => self.crash(core),
            Some(Fault::Pause) => {
                self.act(action, fault, core);
                self.pause(core);
            }
            fault => {
                self.act(action, fault, core);
                match fault {
                    Some(Fault::CrashAfter) => self.crash(core),
                    Some(Fault::HostReboot) => self.reboot(core),
                    Some(Fault::Torn) => {
                        self.reboot(core);
                        if let Action::Stage(number) = action {
                            self.files.insert(*number, Disk::There { whole: false });
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn act(&mut self, action: &Action, fault: Option<Fault>, core: &mut Core) {
        let now = core.now_ms;
        let slower = if fault == Some(Fault::Delay) { u64::from(core.plan.gap) * 5 } else { 0 };
        match action {
            Action::Stage(number) => self.stage(*number, fault, slower, core),
            Action::Verify(number) => {
                let Some(memory) = &mut self.agent else { return };
                memory.verifying.insert(*number, now + 8 + slower);
                memory.facts.files.insert(*number, Files::Verifying);
            }
            Action::Start(id) => self.start(id, fault, slower, core),
            Action::Stop(id) => self.stop(id, slower, core),
            Action::Forget(id) => {
                let Some(memory) = &mut self.agent else { return };
                memory.facts.slots.remove(id);
                memory.retry.remove(id);
            }
            Action::Route(target) => self.send_route(target.as_ref(), fault, slower, core),
            Action::Cut(id) => {
                let left = self.left.get_mut(id);
                for leaving in left.into_iter().chain(self.leaving.get_mut(&id.release)) {
                    leaving.requests_until_ms = leaving.requests_until_ms.min(now);
                    leaving.upgraded_until_ms = leaving.upgraded_until_ms.min(now);
                }
            }
            Action::Run(order) => self.run(order, slower, core),
            Action::StopCommand => self.stop_command(now + 15 + slower),
            Action::BeginWatch(order) => {
                let Some(memory) = &mut self.agent else { return };
                memory.watch_since_ms = now;
                memory.facts.watch = Some(WatchFact {
                    operation: order.operation,
                    elapsed_ms: 0,
                    ended: None,
                    requests: 0,
                    app_errors: 0,
                    requests_before: 1_000,
                    app_errors_before: 1,
                    outcome: None,
                });
            }
            Action::EndWatch(operation, verdict) => {
                if *verdict == Progress::Done {
                    let checked = invariant::watch_ends_well_when_all_is_ready(self, now);
                    core.check(checked);
                }
                let Some(memory) = &mut self.agent else { return };
                if let Some(watch) = &mut memory.facts.watch
                    && watch.operation == *operation
                {
                    watch.outcome = Some(verdict.clone());
                }
            }
            // No simulated release has a schedule, and nobody runs commands in one: the world of
            // schedules is in the tests of the reconcile.
            Action::Enrol(_)
            | Action::BeginJob { .. }
            | Action::LeaveOut { .. }
            | Action::StopJob(_)
            | Action::EndRuns(_) => {}
            Action::Remove(number) => {
                let checked = invariant::nothing_runs_from_what_is_removed(self, *number);
                core.check(checked);
                self.files.insert(*number, Disk::Removing { until_ms: now + 6 + slower });
                let Some(memory) = &mut self.agent else { return };
                memory.facts.files.insert(*number, Files::Removing);
            }
        }
    }

    fn stop_command(&mut self, ends_ms: u64) {
        for command in &mut self.commands {
            command.ends_ms = command.ends_ms.min(ends_ms);
            command.succeeds = false;
        }
        let Some(memory) = &mut self.agent else { return };
        memory.is_parent = false;
        if let Some(command) = &mut memory.facts.command {
            command.stopping = true;
        }
    }

    fn stage(&mut self, number: ReleaseNumber, fault: Option<Fault>, slower: u64, core: &mut Core) {
        let whole = fault != Some(Fault::Partial)
            && self.bundle(number).map(Behaviour::of) != Some(Behaviour::BadDigest);
        if matches!(fault, Some(Fault::NoSpace | Fault::Refuse)) {
            self.files_failed(number, "no space is left on the device", core);
            return;
        }
        self.files.insert(number, Disk::Bringing { until_ms: core.now_ms + 25 + slower, whole });
        let Some(memory) = &mut self.agent else { return };
        memory.facts.files.insert(number, Files::Staging);
    }

    pub(super) fn files_failed(&mut self, number: ReleaseNumber, reason: &str, core: &mut Core) {
        self.files.remove(&number);
        let Some(memory) = &mut self.agent else { return };
        let (times, until) = memory.failed.entry(number).or_default();
        *times += 1;
        let retry_in_ms = backoff_ms(*times, core.rng.bits());
        *until = core.now_ms + retry_in_ms;
        memory.facts.files.insert(number, Files::Failed { failure: failure(reason), retry_in_ms });
    }

    fn start(&mut self, id: &SlotId, fault: Option<Fault>, slower: u64, core: &mut Core) {
        let checked = invariant::start(self, id);
        core.check(checked);
        let now = core.now_ms;
        if fault == Some(Fault::NoSpace) {
            self.ended_early(id, "it cannot be started: no space is left", core);
            return;
        }
        core.last_pid += 1;
        let pid = core.last_pid;
        let port = (pid % 60_000) as u16 + 1_024;
        let behaviour = self.bundle(id.release).map_or(Behaviour::Good, Behaviour::of);
        let takes =
            slower + core.rng.below(20) + if behaviour == Behaviour::SlowStart { 250 } else { 30 };
        let mut proc = Proc {
            slot: id.clone(),
            pid,
            port,
            started_ms: now,
            ready_ms: Some(now + takes),
            exits_ms: None,
            fails_ms: None,
            stops_ms: None,
        };
        match behaviour {
            Behaviour::NeverReady => proc.ready_ms = None,
            Behaviour::ExitsAtOnce => (proc.ready_ms, proc.exits_ms) = (None, Some(now + 10)),
            Behaviour::WorkerDies if !id.process.has_traffic() => {
                let deaths = self.deaths.entry(id.release).or_default();
                *deaths += 1;
                proc.exits_ms = (*deaths <= 2).then_some(now + takes + 60);
            }
            _ => {}
        }
        if fault == Some(Fault::Unhealthy) {
            let polls = 1 + core.rng.below(6);
            proc.exits_ms = Some(now + takes + polls * 50);
        }
        self.procs.push(proc);
        let Some(memory) = &mut self.agent else { return };
        let slot = slot_of(&mut memory.facts, id);
        slot.restarts += u32::from(slot.was_ready);
        slot.state = SlotState::Starting { overdue: false };
        (slot.pid, slot.port, slot.adopted) = (Some(pid), Some(port), false);
    }

    fn ended_early(&mut self, id: &SlotId, reason: &str, core: &mut Core) {
        let Some(memory) = &mut self.agent else { return };
        let slot = slot_of(&mut memory.facts, id);
        ended(slot, reason, core.rng.bits());
        if let SlotState::Ended { retry_in_ms } = slot.state {
            memory.retry.insert(id.clone(), core.now_ms + retry_in_ms);
        }
    }

    fn stop(&mut self, id: &SlotId, slower: u64, core: &mut Core) {
        let now = core.now_ms;
        let checked = invariant::stop(self, id, now);
        core.check(checked);
        for proc in self.procs.iter_mut().filter(|proc| proc.slot == *id) {
            let at = now + 12 + slower;
            proc.stops_ms = Some(proc.stops_ms.map_or(at, |earlier| earlier.min(at)));
        }
        let Some(memory) = &mut self.agent else { return };
        if let Some(slot) = memory.facts.slots.get_mut(id) {
            slot.state = SlotState::Stopping;
        }
    }

    fn send_route(
        &mut self,
        target: Option<&RouteFact>,
        fault: Option<Fault>,
        slower: u64,
        core: &mut Core,
    ) {
        let checked = invariant::route(self, target, &core.ledger, core.now_ms);
        core.check(checked);
        let Some(memory) = &mut self.agent else { return };
        memory.facts.route_pending = true;
        let lost = fault == Some(Fault::LostReq);
        let waits = if matches!(fault, Some(Fault::LostReq | Fault::LostAck)) { 200 } else { 6 };
        let until_ms = core.now_ms + waits + slower;
        memory.route_job = Some(RouteJob { target: target.cloned(), until_ms, lost });
        if fault == Some(Fault::LostAck) {
            self.apply_route(target.cloned(), core);
        }
    }

    fn run(&mut self, order: &CommandOrder, slower: u64, core: &mut Core) {
        let checked = invariant::command(self, order, &core.ledger);
        core.check(checked);
        let behaviour = self.bundle(order.release).map_or(Behaviour::Good, Behaviour::of);
        let fails = match order.kind {
            CommandKind::Release => {
                core.commands_begun += 1;
                core.ledger.commands_running.insert(self.name.clone(), order.operation);
                behaviour == Behaviour::CommandFails
            }
            CommandKind::Check => behaviour == Behaviour::CheckFails,
        };
        self.kept.record(order.operation, order.kind, Progress::Running);
        let long = if core.has_long_commands && core.rng.percent(15) { 5_000 } else { 60 };
        let takes = core.rng.below(long);
        self.commands.push(Command {
            operation: order.operation,
            kind: order.kind,
            release: order.release,
            ends_ms: core.now_ms + 30 + takes + slower,
            succeeds: !fails,
        });
        let Some(memory) = &mut self.agent else { return };
        memory.is_parent = true;
        memory.facts.command = Some(CommandFact {
            operation: order.operation,
            kind: order.kind,
            release: order.release,
            stopping: false,
        });
    }
}

fn slot_of<'a>(facts: &'a mut Facts, id: &SlotId) -> &'a mut Slot {
    facts.slots.entry(id.clone()).or_insert(Slot {
        state: SlotState::Ended { retry_in_ms: 0 },
        pid: None,
        port: None,
        was_ready: false,
        early_exits: 0,
        restarts: 0,
        failure: None,
        adopted: false,
    })
}

fn action_code(action: &Action) -> u64 {
    match action {
        Action::Stage(n) => n.0 << 8,
        Action::Verify(n) => 1 | n.0 << 8,
        Action::Start(id) => 2 | id.release.0 << 8 | (id.process.as_str().len() as u64) << 16,
        Action::Stop(id) => 3 | id.release.0 << 8 | (id.process.as_str().len() as u64) << 16,
        Action::Forget(id) => 4 | id.release.0 << 8,
        Action::Route(route) => 5 | route.as_ref().map_or(0, |route| route.release.0 << 8),
        Action::Cut(id) => 6 | id.release.0 << 8,
        Action::Run(order) => 7 | order.operation.0 << 8,
        Action::StopCommand => 8,
        Action::BeginWatch(order) => 9 | order.operation.0 << 8,
        Action::EndWatch(operation, _) => 10 | operation.0 << 8,
        Action::Remove(n) => 11 | n.0 << 8,
        Action::Enrol(_) => 12,
        Action::BeginJob { release, .. } => 13 | release.0 << 8,
        Action::LeaveOut { .. } => 14,
        Action::StopJob(_) => 15,
        Action::EndRuns(release) => 16 | release.0 << 8,
    }
}

fn describe(action: &Action) -> String {
    match action {
        Action::Stage(n) => format!("stage release {n}"),
        Action::Verify(n) => format!("verify release {n}"),
        Action::Start(id) => format!("start {id}"),
        Action::Stop(id) => format!("stop {id}"),
        Action::Forget(id) => format!("forget {id}"),
        Action::Route(None) => "route nowhere".to_owned(),
        Action::Route(Some(route)) => {
            let peers = if route.peers.is_empty() { "" } else { ", and peers" };
            format!("route to {} ({} instances{peers})", route.release, route.slots.len())
        }
        Action::Cut(id) => format!("cut {id}"),
        Action::Run(order) => format!("run {} of {}", order.kind.title(), order.operation),
        Action::StopCommand => "stop the command".to_owned(),
        Action::BeginWatch(order) => format!("watch release {}", order.release),
        Action::EndWatch(operation, Progress::Done) => format!("watch of {operation} ended well"),
        Action::EndWatch(operation, _) => format!("watch of {operation} failed"),
        Action::Remove(n) => format!("remove release {n}"),
        Action::Enrol(name) => format!("schedule {name} counts"),
        Action::BeginJob { name, release, due } => format!("run {name} of {due} in {release}"),
        Action::LeaveOut { name, due, why } => {
            format!("leave {name} of {due} out: {}", why.words())
        }
        Action::StopJob(name) => format!("stop {name}"),
        Action::EndRuns(release) => format!("end what people run in release {release}"),
    }
}
