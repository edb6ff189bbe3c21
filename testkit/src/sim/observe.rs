//! How an agent of the simulation learns what is true on its server, and when it looks again.

use onward_core::model::ReleaseNumber;
use onward_core::order::CommandKind;
use onward_core::reconcile::{
    Facts, Files, ReleaseTraffic, Slot, SlotState, UPGRADED_WITHIN_MS, backoff_ms,
};
use onward_core::report::Progress;

use super::agent::{Memory, failure};
use super::core::Core;
use super::machine::{Disk, Leaving, Machine};
use super::scenario::{Behaviour, WARM_MS, WATCH_MS, WITHIN_MS};

impl Machine {
    /// Brings what the agent believes in line with what it can see.
    pub(super) fn observe(&mut self, core: &mut Core) {
        let Some(mut memory) = self.agent.take() else { return };
        self.observe_files(&mut memory, core.now_ms);
        self.observe_slots(&mut memory, core);
        self.observe_route(&mut memory, core);
        self.observe_command(&mut memory, core);
        let server_errors = self.server_errors(&memory);
        observe_watch(&mut memory, core.now_ms, server_errors);
        let broken: Vec<_> = memory
            .verifying
            .iter()
            .filter(|(_, until)| **until <= core.now_ms)
            .map(|(number, _)| *number)
            .collect();
        self.agent = Some(memory);
        for number in broken {
            self.verified(number, core);
        }
    }

    fn verified(&mut self, number: ReleaseNumber, core: &mut Core) {
        let whole = matches!(self.files.get(&number), Some(Disk::There { whole: true }));
        if let Some(memory) = &mut self.agent {
            memory.verifying.remove(&number);
            if whole {
                memory.failed.remove(&number);
                memory.facts.files.insert(number, Files::Verified);
            }
        }
        if !whole {
            self.files_failed(number, "the files are not what their digest says", core);
        }
    }

    fn observe_files(&mut self, memory: &mut Memory, now: u64) {
        let facts = &mut memory.facts;
        self.files.retain(|number, disk| match *disk {
            Disk::Bringing { until_ms, whole } if until_ms <= now => {
                *disk = Disk::There { whole };
                facts.files.insert(*number, Files::Staged);
                true
            }
            Disk::Removing { until_ms } if until_ms <= now => {
                facts.files.remove(number);
                false
            }
            _ => true,
        });
        for (number, (_, until)) in &memory.failed {
            if let Some(Files::Failed { retry_in_ms, .. }) = facts.files.get_mut(number) {
                *retry_in_ms = until.saturating_sub(now);
            }
        }
    }

    fn observe_slots(&self, memory: &mut Memory, core: &mut Core) {
        let now = core.now_ms;
        let Memory { facts, retry, .. } = memory;
        let Facts { slots, watch, .. } = facts;
        let ordered = self.kept.order.as_ref().and_then(|order| order.watch.as_ref());
        for (id, slot) in slots {
            if let SlotState::Ended { retry_in_ms } = &mut slot.state {
                *retry_in_ms = retry.get(id).map_or(0, |at| at.saturating_sub(now));
                continue;
            }
            let Some(proc) = self.procs.iter().find(|proc| Some(proc.pid) == slot.pid) else {
                ended(slot, "it ended with status 1", core.rng.bits());
                if let SlotState::Ended { retry_in_ms } = slot.state {
                    retry.insert(id.clone(), now + retry_in_ms);
                    let watched = ordered.filter(|order| order.release == id.release).is_some();
                    if let Some(watch) = watch.as_mut().filter(|watch| watch.outcome.is_none())
                        && watched
                        && retry_in_ms > 0
                    {
                        watch.ended.get_or_insert_with(|| failure("an instance ended"));
                    }
                }
                continue;
            };
            if slot.state == SlotState::Stopping {
                continue;
            }
            slot.state = if proc.is_ready(now) {
                (slot.was_ready, slot.early_exits) = (true, 0);
                SlotState::Ready
            } else if proc.is_failing(now) {
                SlotState::Failing
            } else {
                SlotState::Starting { overdue: now >= proc.started_ms + WITHIN_MS }
            };
        }
    }

    fn observe_route(&mut self, memory: &mut Memory, core: &mut Core) {
        let now = core.now_ms;
        if memory.route_job.as_ref().is_some_and(|job| job.until_ms <= now)
            && let Some(job) = memory.route_job.take()
        {
            if !job.lost && self.route != job.target {
                self.apply_route(job.target, core);
            }
            memory.facts.route = self.route.clone();
            memory.facts.route_pending = false;
        }
        let (files, procs) = (&self.files, &self.procs);
        self.leaving.retain(|number, _| {
            files.contains_key(number) || procs.iter().any(|proc| proc.slot.release == *number)
        });
        memory.facts.traffic.clear();
        let traffic = self.leaving.iter().map(|(number, leaving)| (*number, leaving.at(now)));
        memory.facts.traffic.extend(traffic);
        self.left.retain(|id, _| procs.iter().any(|proc| proc.slot == *id));
        memory.facts.leaving =
            self.left.iter().map(|(id, own)| (id.clone(), own.at(now))).collect();
    }

    fn observe_command(&mut self, memory: &mut Memory, core: &mut Core) {
        let now = core.now_ms;
        let mut still = Vec::new();
        for command in self.commands.drain(..) {
            if command.ends_ms > now {
                still.push(command);
                continue;
            }
            memory.facts.command = None;
            if command.kind == CommandKind::Release {
                core.ledger.commands_running.remove(&self.name);
                if command.succeeds {
                    core.ledger.commands_done.insert(command.release);
                }
            }
            if memory.is_parent {
                let outcome = if command.succeeds {
                    Progress::Done
                } else {
                    Progress::Failed(failure("it ended with status 1"))
                };
                self.kept.record(command.operation, command.kind, outcome);
            }
        }
        self.commands = still;
        if self.commands.is_empty() {
            memory.facts.command = None;
        }
    }

    fn server_errors(&self, memory: &Memory) -> bool {
        let routed = memory.facts.route.as_ref().and_then(|route| self.bundle(route.release));
        routed.map(Behaviour::of) == Some(Behaviour::ServerErrors)
    }

    /// When something happens next that the agent has to look at.
    pub(super) fn next_event(&self, now: u64) -> u64 {
        let Some(memory) = &self.agent else { return self.up_ms };
        let mut next = u64::MAX;
        let mut at = |time: u64| {
            if time > now {
                next = next.min(time);
            }
        };
        for disk in self.files.values() {
            match disk {
                Disk::Bringing { until_ms, .. } | Disk::Removing { until_ms } => at(*until_ms),
                Disk::There { .. } => {}
            }
        }
        memory.verifying.values().for_each(|until| at(*until));
        memory.failed.values().for_each(|(_, until)| at(*until));
        memory.retry.values().for_each(|until| at(*until));
        for proc in &self.procs {
            at(proc.started_ms + WITHIN_MS);
            [proc.ready_ms, proc.exits_ms, proc.stops_ms].into_iter().flatten().for_each(&mut at);
            if let Some((from, to)) = proc.fails_ms {
                at(from);
                at(to);
            }
        }
        self.commands.iter().for_each(|command| at(command.ends_ms));
        memory.route_job.iter().for_each(|job| at(job.until_ms));
        for leaving in self.leaving.values().chain(self.left.values()) {
            leaving.times().into_iter().for_each(&mut at);
        }
        if memory.facts.watch.as_ref().is_some_and(|watch| watch.outcome.is_none()) {
            at(memory.watch_since_ms + 50);
            at(memory.watch_since_ms + WATCH_MS);
        }
        if self.pulls {
            at(memory.pull_ms);
        }
        next
    }
}

impl Leaving {
    fn at(&self, now: u64) -> ReleaseTraffic {
        ReleaseTraffic {
            requests: u64::from(self.requests_until_ms > now),
            upgraded: u64::from(self.upgraded_until_ms > now),
            unrouted_ms: now - self.since_ms,
        }
    }

    fn times(&self) -> [u64; 4] {
        let upgraded_cut = self.since_ms + UPGRADED_WITHIN_MS;
        [
            self.requests_until_ms,
            self.upgraded_until_ms.min(upgraded_cut),
            self.since_ms + WARM_MS,
            upgraded_cut,
        ]
    }
}

/// An instance ended: at once free when it was asked to, else after a pause.
pub(super) fn ended(slot: &mut Slot, reason: &str, jitter: u64) {
    let was_asked = slot.state == SlotState::Stopping;
    (slot.pid, slot.port) = (None, None);
    if was_asked {
        slot.state = SlotState::Ended { retry_in_ms: 0 };
        return;
    }
    slot.early_exits += u32::from(!slot.was_ready);
    slot.failure = Some(failure(reason));
    slot.state = SlotState::Ended { retry_in_ms: backoff_ms(slot.early_exits.max(1), jitter) };
}

fn observe_watch(memory: &mut Memory, now: u64, server_errors: bool) {
    let since = memory.watch_since_ms;
    if let Some(watch) = memory.facts.watch.as_mut().filter(|watch| watch.outcome.is_none()) {
        watch.elapsed_ms = now - since;
        watch.requests = watch.elapsed_ms * 2;
        watch.app_errors = if server_errors { watch.elapsed_ms } else { 0 };
    }
}
