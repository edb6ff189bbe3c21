//! From the facts to the report.

use std::collections::BTreeMap;

use super::{Facts, Files, Kept, START_ATTEMPTS_MAX, Slot, SlotId, SlotState, schedules, wanted};
use crate::document::Failure;
use crate::model::{Generation, ReleaseNumber};
use crate::order::{Level, Order, ReleaseOrder};
use crate::report::{
    CommandReport, InstanceReport, InstanceState, Progress, ReleaseReport, Report, Waiting,
    WatchReport,
};

/// The report of a server that has no order.
pub(super) fn without_order(facts: &Facts) -> Report {
    Report {
        accepted: Generation(0),
        converged: false,
        releases: releases(None, facts),
        routed: facts.route.as_ref().map(|route| route.release),
        ..Report::default()
    }
}

/// The report of a server under its order. `idle`: nothing is left to be begun.
pub(super) fn report(order: &Order, kept: &Kept, facts: &Facts, idle: bool) -> Report {
    let releases = releases(Some(order), facts);
    let settled = idle && !facts.route_pending && is_settled(order, facts, &releases);
    Report {
        accepted: order.generation,
        converged: settled,
        routed: facts.route.as_ref().map(|route| route.release),
        peers: facts.route.iter().flat_map(|route| route.peers.keys().cloned()).collect(),
        command: command(order, kept, facts),
        watch: watch(order, facts),
        waiting: waiting(facts),
        maintenance: facts.route.as_ref().and_then(|route| route.maintenance),
        traffic: None,
        schedules: schedules::reports(order, kept, facts),
        https: None,
        runs: Vec::new(),
        releases,
    }
}

/// Whether every release is what the order wants and nothing else is left.
fn is_settled(
    order: &Order,
    facts: &Facts,
    reports: &BTreeMap<ReleaseNumber, ReleaseReport>,
) -> bool {
    let as_ordered = order.releases.iter().all(|(number, wish)| {
        let wanted = wanted::level(facts, *number, wish);
        let warm = wish.warm_ms.is_some();
        reports.get(number).is_some_and(|own| {
            let level = if warm { own.level >= Level::Staged } else { own.level >= wanted };
            level && (own.background || !wish.background)
        })
    });
    let only_wanted = {
        let slots = wanted::slots(order, facts);
        facts.slots.keys().all(|id| slots.contains_key(id))
            && facts.files.keys().all(|number| order.releases.contains_key(number))
    };
    as_ordered && only_wanted && facts.command.is_none()
}

fn releases(order: Option<&Order>, facts: &Facts) -> BTreeMap<ReleaseNumber, ReleaseReport> {
    let numbers = facts.files.keys().chain(facts.slots.keys().map(|id| &id.release));
    let mut reports: BTreeMap<ReleaseNumber, ReleaseReport> =
        numbers.map(|number| (*number, ReleaseReport::default())).collect();
    for (number, report) in &mut reports {
        let wish = order.and_then(|order| order.releases.get(number));
        *report = release(*number, wish, facts);
    }
    reports
}

fn release(number: ReleaseNumber, wish: Option<&ReleaseOrder>, facts: &Facts) -> ReleaseReport {
    let own: Vec<(&SlotId, &Slot)> =
        facts.slots.iter().filter(|(id, _)| id.release == number).collect();
    let count = |background: bool, test: &dyn Fn(&Slot) -> bool| {
        own.iter().filter(|(id, slot)| id.process.has_traffic() != background && test(slot)).count()
    };
    let expected = |background: bool| {
        wish.map_or(0, |wish| {
            let processes = wish.config.processes.iter();
            let of_kind = processes.filter(|(name, _)| name.has_traffic() != background);
            of_kind.map(|(_, process)| process.count as usize).sum()
        })
    };
    let ready = |slot: &Slot| slot.state == SlotState::Ready;
    let alive = |slot: &Slot| !matches!(slot.state, SlotState::Ended { .. });
    let files = facts.files.get(&number);
    let routed = facts.route.as_ref().is_some_and(|route| route.release == number);
    let runs = matches!(files, Some(Files::Verified)) || !own.is_empty();
    let level = if routed && count(false, &alive) >= expected(false) {
        Level::Routed
    } else if wish.is_some() && runs && count(false, &ready) >= expected(false) {
        Level::Running
    } else if matches!(files, Some(Files::Staged | Files::Verifying | Files::Verified)) {
        Level::Staged
    } else {
        Level::Gone
    };
    ReleaseReport {
        level,
        background: count(true, &ready) >= expected(true),
        background_idle: count(true, &alive) == 0
            && facts.jobs.values().all(|job| job.release != number),
        failure: failure(files, &own),
        instances: own.into_iter().map(|one| instance(one, facts)).collect(),
    }
}

fn failure(files: Option<&Files>, own: &[(&SlotId, &Slot)]) -> Option<Failure> {
    if let Some(Files::Failed { failure, .. }) = files {
        return Some(failure.clone());
    }
    own.iter().find_map(|(id, slot)| {
        let overdue = matches!(slot.state, SlotState::Starting { overdue: true });
        let gave_up = !slot.was_ready && slot.early_exits >= START_ATTEMPTS_MAX;
        let seen = || slot.failure.clone().unwrap_or_default();
        if gave_up {
            Some(seen())
        } else if overdue {
            let seen = seen();
            let why = if seen.reason.is_empty() { "" } else { ": " };
            let reason =
                format!("{} did not answer its probe in time{why}{}", id.process, seen.reason);
            Some(Failure { reason, ..seen })
        } else {
            None
        }
    })
}

fn instance((id, slot): (&SlotId, &Slot), facts: &Facts) -> InstanceReport {
    let route = facts.route.as_ref().filter(|route| route.release == id.release);
    let unrouted = id.process.has_traffic()
        && route.is_some_and(|route| !route.slots.contains_key(id))
        && !matches!(slot.state, SlotState::Ended { .. });
    InstanceReport {
        process: id.process.clone(),
        index: id.index,
        pid: slot.pid,
        port: slot.port,
        state: match slot.state {
            SlotState::Starting { .. } => InstanceState::Starting,
            SlotState::Ready => InstanceState::Ready,
            SlotState::Failing => InstanceState::Failing,
            SlotState::Ended { .. } => InstanceState::Waiting,
            SlotState::Stopping => InstanceState::Stopping,
        },
        restarts: slot.restarts,
        unrouted,
    }
}

/// The command that is ordered, else the one that still runs.
fn command(order: &Order, kept: &Kept, facts: &Facts) -> Option<CommandReport> {
    if let Some(running) = &facts.command {
        let (operation, kind) = (running.operation, running.kind);
        return Some(CommandReport { operation, kind, outcome: Progress::Running });
    }
    let ordered = order.command.as_ref()?;
    let own = kept.command(ordered.operation, ordered.kind)?;
    Some(CommandReport { operation: own.operation, kind: own.kind, outcome: own.outcome.clone() })
}

fn watch(order: &Order, facts: &Facts) -> Option<WatchReport> {
    let ordered = order.watch.as_ref()?;
    let own = facts.watch.as_ref().filter(|watch| watch.operation == ordered.operation)?;
    let outcome = own.outcome.clone().unwrap_or(Progress::Running);
    Some(WatchReport { operation: own.operation, outcome })
}

fn waiting(facts: &Facts) -> Vec<Waiting> {
    let files = facts.files.iter().filter_map(|(number, files)| match files {
        Files::Failed { failure, retry_in_ms } => Some(Waiting {
            what: format!("files of release {number}"),
            why: failure.reason.clone(),
            for_ms: Some(*retry_in_ms),
        }),
        _ => None,
    });
    let slots = facts.slots.iter().filter_map(|(id, slot)| match slot.state {
        SlotState::Ended { retry_in_ms } => Some(Waiting {
            what: format!("{} {} of release {}", id.process, id.index, id.release),
            why: slot.failure.as_ref().map_or_else(String::new, |failure| failure.reason.clone()),
            for_ms: Some(retry_in_ms),
        }),
        _ => None,
    });
    files.chain(slots).collect()
}
