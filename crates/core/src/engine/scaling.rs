//! Counts and servers that change without a release: what is asked for, and what it may be.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::sides::Side;
use super::submit::Refusal;
use crate::document::{Before, Document, INSTANCES_MAX, Scale};
use crate::model::{Config, Process, ProcessName, RequestId};

/// What is in force, as an operation keeps it that may change it.
pub(super) fn in_force(document: &Document) -> Before {
    Before { servers: document.servers.clone(), scaled: document.scaled.clone() }
}

/// What an operation keeps: nothing when nothing was changed.
pub(super) fn changed(before: Before, next: &Document) -> Option<Before> {
    let servers = before.servers != next.servers && !before.servers.is_empty();
    (servers || !same_counts(&before.scaled, &next.scaled)).then_some(before)
}

/// Whether two sets of overrides ask for the same, whoever asked.
pub(super) fn same_counts(
    one: &BTreeMap<ProcessName, Scale>,
    other: &BTreeMap<ProcessName, Scale>,
) -> bool {
    let counts = |of: &BTreeMap<ProcessName, Scale>| -> Vec<_> {
        of.iter().map(|(name, scale)| (name.clone(), scale.count)).collect()
    };
    counts(one) == counts(other)
}

/// Puts counts into the demand. One that the file says too is no override.
pub(super) fn ask(
    next: &mut Document,
    counts: &BTreeMap<ProcessName, u32>,
    by: &str,
    now: Timestamp,
) -> Result<(), Refusal> {
    let serving = next.serving.ok_or(Refusal::NothingReleased)?;
    let Some(release) = next.release(serving) else {
        return Err(Refusal::UnknownRelease(serving));
    };
    let config = release.config.clone();
    for (name, &count) in counts {
        if !config.processes.contains_key(name) {
            let known = config.processes.keys().map(ToString::to_string).collect();
            return Err(Refusal::UnknownProcess { process: name.clone(), known });
        }
        let scale = Scale { count, by: by.to_owned(), at: now };
        next.demand.scale.insert(name.clone(), scale);
    }
    follow(next, &config)
}

/// Takes the counts of the demand over, for a release of this configuration: those that the file
/// says too, and those of processes that are no more, are dropped.
pub(super) fn follow(next: &mut Document, config: &Config) -> Result<(), Refusal> {
    let servers = next.servers.clone();
    next.demand.scale.retain(|name, scale| {
        let says = |process: &Process| {
            file_count(config, name, &servers_on(process, name, &servers)) != Some(scale.count)
        };
        config.processes.get(name).is_some_and(says)
    });
    next.scaled.clone_from(&next.demand.scale);
    may_be(next, config)
}

type Servers = BTreeMap<crate::model::ServerName, crate::document::Server>;

fn servers_on(process: &Process, name: &ProcessName, servers: &Servers) -> u32 {
    let on = servers.values().filter(|own| process.runs_on(name, &own.roles));
    on.count().try_into().unwrap_or(u32::MAX)
}

/// How many instances of a process run in all when nobody has scaled it.
fn file_count(config: &Config, name: &ProcessName, servers: &u32) -> Option<u32> {
    let process = config.processes.get(name)?;
    Some(process.total.unwrap_or_else(|| process.count.saturating_mul(*servers)))
}

/// How many instances of a process the project file asks for in all, on the servers of the
/// document.
pub fn count_of_file(document: &Document, config: &Config, name: &ProcessName) -> Option<u32> {
    let process = config.processes.get(name)?;
    file_count(config, name, &servers_on(process, name, &document.servers))
}

/// Whether the counts can be. Where there is no balancer, each server takes requests of its own,
/// and needs an instance.
fn may_be(next: &Document, config: &Config) -> Result<(), Refusal> {
    let side = Side::to(next);
    for (name, process) in &config.processes {
        let scaled = next.scaled.get(name).map(|scale| scale.count);
        let Some(count) = scaled.or(process.total) else { continue };
        let servers = side.servers_of(name, process);
        let least = match (name.has_traffic(), next.has_balancer()) {
            (false, _) => 0,
            (true, true) => 1,
            (true, false) => servers.max(1).try_into().unwrap_or(u32::MAX),
        };
        if count < least {
            return Err(Refusal::TooFew { process: name.clone(), count, least });
        }
        if count > INSTANCES_MAX {
            return Err(Refusal::TooMany { process: name.clone(), count });
        }
    }
    Ok(())
}

/// The request that an edit of the demand stands for.
pub(super) fn edit_of(document: &Document) -> RequestId {
    RequestId::new(&format!("edit-{}", document.generation))
}
