//! The end of an operation: history, what serves, what is kept.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{replaces, scaling};
use crate::document::{
    Before, Document, Ended, Failure, Finished, HISTORY_MAX, Kind, Operation, Phase, RELEASES_KEPT,
};
use crate::model::{ReleaseNumber, ServerName};
use crate::traffic::Proof;

/// Moves the operation in flight into the history.
///
/// A release that was brought by it and never came to serve is forgotten with it: `releases` only
/// has what can run. The demand follows what serves, so that a failure is not tried again for ever.
pub(super) fn end(
    document: &mut Document,
    outcome: Ended,
    proof: Option<Proof>,
    degraded: BTreeSet<ServerName>,
    now: Timestamp,
) {
    let Some(operation) = document.operation.take() else { return };
    let done = matches!(outcome, Ended::Done);
    let release = operation.release.and_then(|number| document.release(number));
    document.history.push(Finished {
        number: operation.number,
        request: operation.request,
        kind: operation.kind,
        release: operation.release,
        label: release.map(|release| release.bundle.label.clone()),
        previous: operation.previous,
        outcome,
        degraded,
        abandoned: BTreeSet::new(),
        by: operation.by,
        started: operation.started,
        ended: now,
        proof,
    });
    match operation.before {
        Some(before) if done => document.keep_gone(&before.servers, now),
        Some(before) => {
            restore(document, before);
            replaces::take_back(document);
        }
        None => {}
    }
    document.are_back();
    if !done
        && operation.kind == Kind::Deploy
        && let Some(number) = operation.release
    {
        document.releases.remove(&number);
    }
    if done && !matches!(operation.kind, Kind::Scale | Kind::Maintenance) {
        document.warm = warm_after(document, operation.previous);
    }
    let edited_meanwhile = document.demand.release != operation.release;
    if !edited_meanwhile {
        document.demand.release = document.serving;
    }
    forget_old(document);
}

/// The second decision: the release is taken back from every server that has taken it.
pub(super) fn take_back(document: &mut Document, operation: Operation, failure: Failure) {
    document.serving = operation.previous;
    document.operation =
        Some(Operation { phase: Phase::TakeBack, failure: Some(failure), ..operation });
}

/// Servers and counts are again what they were. A server that was added stays, so that what it
/// has of the operation is taken away there; the balancers leave it out until it has caught up.
fn restore(document: &mut Document, before: Before) {
    let edited_meanwhile = !scaling::same_counts(&document.demand.scale, &document.scaled);
    if !edited_meanwhile {
        document.demand.scale.clone_from(&before.scaled);
    }
    document.scaled = before.scaled;
    let brought = std::mem::replace(&mut document.servers, before.servers);
    for (name, server) in brought {
        if !document.servers.contains_key(&name) {
            document.servers.insert(name.clone(), server);
            document.behind.insert(name);
        }
    }
    if !document.has_balancer() {
        document.behind.clear();
    }
}

fn warm_after(document: &Document, previous: Option<ReleaseNumber>) -> Option<ReleaseNumber> {
    let previous = previous.filter(|number| Some(*number) != document.serving)?;
    document.serving?;
    let release = document.release(previous)?;
    (release.config.warm_ms > 0).then_some(previous)
}

/// Keeps the last operations that were done and the last that were not, and the last releases.
fn forget_old(document: &mut Document) {
    let is_done = |finished: &Finished| matches!(finished.outcome, Ended::Done);
    for done in [true, false] {
        let of_kind = |finished: &&Finished| is_done(finished) == done;
        let count = document.history.iter().filter(of_kind).count();
        let mut surplus = count.saturating_sub(HISTORY_MAX);
        document.history.retain(|finished| {
            let goes = surplus > 0 && is_done(finished) == done;
            surplus -= usize::from(goes);
            !goes
        });
    }
    let in_use = [document.serving, document.warm, document.demand.release];
    let surplus = document.releases.len().saturating_sub(RELEASES_KEPT);
    let old: Vec<_> = document.releases.keys().copied().take(surplus).collect();
    for number in old.into_iter().filter(|number| !in_use.contains(&Some(*number))) {
        document.releases.remove(&number);
    }
    document.forget_secret_versions();
}
