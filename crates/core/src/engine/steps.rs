//! The steps in which the servers take a release.
//!
//! Everything before the decision is for all servers at once: a release that fails its probe or
//! its check takes traffic on no server. Then each step is switched, exchanged and watched before
//! the next is decided; a failure takes the release back from all that have taken it.

use crate::document::{Document, Kind, Operation, Rollout};
use crate::model::{ServerName, Strategy};

/// The servers of the next step; `None` when all take the release at once.
///
/// Servers with traffic come first: only they show whether the release holds. Servers that are
/// left out belong to the last step, which they take when they are reached.
pub(super) fn next(document: &Document, operation: &Operation) -> Option<Rollout> {
    let strategy = strategy(document, operation);
    if strategy.is_all() {
        return None;
    }
    let before = operation.rollout.clone().unwrap_or_default();
    let taken: std::collections::BTreeSet<_> = before.taken.union(&before.step).cloned().collect();
    let all = in_turn(document, operation);
    let left = || all.iter().filter(|name| !taken.contains(*name));
    let size = strategy.next(all.len(), all.len() - left().count());
    if size >= all.len() {
        return None;
    }
    let mut step: std::collections::BTreeSet<_> = left().take(size).cloned().collect();
    if left().count() <= size {
        step.extend(document.servers.keys().filter(|name| !taken.contains(*name)).cloned());
    }
    Some(Rollout { taken, step })
}

/// Whether servers wait for a later step.
pub(super) fn are_left(document: &Document, operation: &Operation) -> bool {
    let included =
        |rollout: &Rollout| document.servers.keys().all(|server| rollout.includes(server));
    operation.rollout.as_ref().is_some_and(|rollout| !included(rollout))
}

/// Only a deploy takes its time: the way back is always for all at once.
fn strategy(document: &Document, operation: &Operation) -> Strategy {
    let release = operation.release.and_then(|number| document.release(number));
    let brings = release.filter(|_| operation.kind == Kind::Deploy);
    // With nothing to go back to, there is nothing to be careful with.
    let brings = brings.filter(|_| operation.previous.is_some());
    brings.map(|release| release.config.strategy).unwrap_or_default()
}

fn in_turn(document: &Document, operation: &Operation) -> Vec<ServerName> {
    let takes_part = document.servers.keys().filter(|name| !operation.without.contains(*name));
    let mut all: Vec<ServerName> = takes_part.cloned().collect();
    let release = operation.release.and_then(|number| document.release(number));
    let serves = |name: &ServerName| {
        let roles = &document.servers[name].roles;
        release.is_some_and(|release| {
            release.config.with_traffic().any(|(process, own)| own.runs_on(process, roles))
        })
    };
    all.sort_by_key(|name| !serves(name));
    all
}
