//! Whether a server is where a phase wants it, by its report.

use crate::document::{CommandInFlight, Failure, Operation};
use crate::model::{Config, ReleaseNumber, ServerName};
use crate::order::{CommandKind, Level};
use crate::planted::planted;
use crate::report::{InstanceState, Progress, ReleaseReport, Report};

/// Whether all servers are where a phase wants them.
pub(super) enum Reached {
    All,
    NotYet,
    Failed(Failure),
}

pub(super) fn at_level(report: &Report, release: ReleaseNumber, level: Level) -> Reached {
    let Some(own) = report.releases.get(&release) else { return Reached::NotYet };
    match &own.failure {
        _ if own.level >= level => Reached::All,
        Some(failure) => Reached::Failed(failure.clone()),
        None => Reached::NotYet,
    }
}

/// A command that has not begun never will when the files that it runs from cannot be brought.
pub(super) fn cannot_run(report: &Report, release: Option<ReleaseNumber>) -> Reached {
    let own = release.and_then(|number| report.releases.get(&number));
    match own.and_then(|own| own.failure.clone()) {
        Some(failure) => Reached::Failed(failure),
        None => Reached::NotYet,
    }
}

/// What fails between its probe and its switch is taken back like what fails its watch.
pub(super) fn is_routed(report: &Report, release: ReleaseNumber) -> Reached {
    if report.routed == Some(release) {
        return Reached::All;
    }
    match report.releases.get(&release).and_then(|own| own.failure.clone()) {
        Some(failure) => Reached::Failed(failure),
        None => Reached::NotYet,
    }
}

pub(super) fn has_exchanged(
    report: &Report,
    new: ReleaseNumber,
    old: Option<ReleaseNumber>,
) -> Reached {
    let idle = |number| report.releases.get(&number).is_none_or(|own| own.background_idle);
    let Some(own) = report.releases.get(&new) else { return Reached::NotYet };
    match &own.failure {
        Some(failure) => Reached::Failed(failure.clone()),
        None if own.background && old.filter(|old| *old != new).is_none_or(idle) => Reached::All,
        None => Reached::NotYet,
    }
}

pub(super) fn watched(report: &Report, operation: &Operation) -> Reached {
    let ours = report.watch.as_ref().filter(|watch| watch.operation == operation.number);
    ours.map_or(Reached::NotYet, |watch| progress(&watch.outcome))
}

/// The previous version serves again, or cannot, which is no reason to keep the bad one.
pub(super) fn taken_back(
    report: &Report,
    new: ReleaseNumber,
    old: Option<ReleaseNumber>,
) -> Reached {
    let old_failed =
        old.and_then(|old| report.releases.get(&old)).is_some_and(|own| own.failure.is_some());
    let left = report.routed != Some(new);
    if left && (report.routed == old || old_failed) { Reached::All } else { Reached::NotYet }
}

pub(super) fn progress(outcome: &Progress) -> Reached {
    match outcome {
        Progress::Running => Reached::NotYet,
        Progress::Done => Reached::All,
        Progress::Failed(failure) => Reached::Failed(failure.clone()),
    }
}

/// Every instance that this server shall run is ready, and in the route when it gets traffic.
pub(super) fn is_up(report: &Report, release: ReleaseNumber, config: &Config) -> Reached {
    if planted!(ScaleWithoutProbe) {
        return Reached::All;
    }
    let Some(own) = report.releases.get(&release) else { return Reached::NotYet };
    if let Some(failure) = &own.failure {
        return Reached::Failed(failure.clone());
    }
    let mut processes = config.processes.iter();
    let up = processes.all(|(name, process)| {
        let ready = own.instances.iter().filter(|instance| {
            let in_place = instance.process == *name && instance.index <= process.count;
            in_place && instance.state == InstanceState::Ready && !instance.unrouted
        });
        ready.count() >= process.count as usize
    });
    if up && report.routed == Some(release) { Reached::All } else { Reached::NotYet }
}

/// No instance beyond those that this server shall run gets traffic any more.
pub(super) fn is_scaled(report: &Report, release: ReleaseNumber, config: &Config) -> Reached {
    let has_left = |own: &ReleaseReport| {
        own.instances.iter().all(|instance| {
            let count = config.processes.get(&instance.process).map_or(0, |own| own.count);
            let stops = matches!(instance.state, InstanceState::Stopping | InstanceState::Waiting);
            instance.index <= count || instance.unrouted || stops
        })
    };
    let routed = report.routed == Some(release);
    if routed && report.releases.get(&release).is_none_or(has_left) {
        Reached::All
    } else {
        Reached::NotYet
    }
}

/// The server no longer has an order to run the command, and does not run it.
pub(super) fn command_ended(report: &Report, command: &CommandInFlight) -> bool {
    let running = report
        .command
        .as_ref()
        .is_some_and(|own| own.operation == command.operation && own.outcome == Progress::Running);
    !running
}

/// The server has reported how the command ended: it does not run it again.
pub(super) fn has_outcome(report: &Report, command: &CommandInFlight) -> bool {
    report.command.as_ref().is_some_and(|own| {
        own.operation == command.operation
            && own.kind == CommandKind::Release
            && own.outcome != Progress::Running
    })
}

/// The failure, with its server.
pub(super) fn at(server: &ServerName, mut failure: Failure) -> Failure {
    failure.server.get_or_insert_with(|| server.clone());
    failure
}

pub(super) fn unreachable(server: &ServerName, cause: &str) -> Failure {
    Failure {
        server: Some(server.clone()),
        reason: format!("the server cannot be reached: {cause}"),
        ..Failure::default()
    }
}
