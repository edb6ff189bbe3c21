//! What an order wants, once warmth, memory and expiry are taken into account.

use std::collections::BTreeMap;

use super::{Facts, SlotId};
use crate::model::{Process, ReleaseNumber};
use crate::order::{Level, Order, ReleaseOrder};

/// The level that is wanted of a release now: a warm release whose time or memory is over is only
/// wanted as files.
pub(super) fn level(facts: &Facts, number: ReleaseNumber, order: &ReleaseOrder) -> Level {
    let Some(warm_ms) = order.warm_ms else { return order.level };
    let unrouted = facts.traffic.get(&number).map_or(0, |traffic| traffic.unrouted_ms);
    if facts.memory_short || unrouted >= warm_ms { Level::Staged } else { order.level }
}

/// One instance that is wanted.
pub(super) struct Wanted<'a> {
    pub process: &'a Process,
    pub has_traffic: bool,
    /// A warm release keeps what it has and is never started again.
    pub may_start: bool,
}

/// The instances that are wanted of all releases.
pub(super) fn slots<'a>(order: &'a Order, facts: &Facts) -> BTreeMap<SlotId, Wanted<'a>> {
    let mut slots = BTreeMap::new();
    for (number, release) in &order.releases {
        if level(facts, *number, release) < Level::Running {
            continue;
        }
        for (name, process) in &release.config.processes {
            let has_traffic = name.has_traffic();
            if !has_traffic && !release.background {
                continue;
            }
            for index in 1..=process.count {
                let id = SlotId { release: *number, process: name.clone(), index };
                let may_start = release.warm_ms.is_none();
                slots.insert(id, Wanted { process, has_traffic, may_start });
            }
        }
    }
    slots
}
