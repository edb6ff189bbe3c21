//! What earlier proxies counted, so that the counters of an address only rise while its proxies are
//! exchanged.
//!
//! Each proxy counts under its own id. A successor takes what its predecessor knows when it starts,
//! and is told what that one counts from then on, as often as anybody likes: an entry is replaced by
//! a later one of the same proxy, never added to it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::counters::Counters;
use crate::protocol::ReleaseStatus;

/// How many earlier proxies are kept apart: only those that still finish their connections change,
/// and those are few. Older ones are summed up.
const ENTRIES_MAX: usize = 16;
/// How many ids of summed up proxies are remembered, so that none is counted twice.
const FOLDED_IDS_MAX: usize = 1024;

/// What one proxy counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The proxy: [`crate::Status::id`].
    pub id: String,
    /// Its counters by route and release.
    pub releases: Vec<ReleaseStatus>,
    /// Requests that it refused for their form.
    pub refused: u64,
    /// Requests that matched no route.
    pub unrouted: u64,
}

impl Entry {
    fn requests(&self) -> u64 {
        let routed: u64 = self.releases.iter().map(|own| own.counters.requests).sum();
        routed + self.refused + self.unrouted
    }
}

/// Everything that a proxy hands on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heritage {
    /// The epoch that the successor continues.
    pub epoch: String,
    /// What the proxy itself counted.
    pub own: Entry,
    /// What it was handed.
    pub ledger: Ledger,
}

impl Heritage {
    /// What a successor starts with.
    pub(crate) fn into_ledger(self) -> Ledger {
        let mut ledger = self.ledger;
        ledger.enter(self.own);
        ledger
    }
}

/// What earlier proxies counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    entries: Vec<Entry>,
    /// The sum of those that are not kept apart any more.
    folded: Entry,
    folded_ids: BTreeSet<String>,
}

impl Ledger {
    /// Takes over what a proxy counted; what is known already and older is left.
    pub(crate) fn enter(&mut self, entry: Entry) {
        if self.folded_ids.contains(&entry.id) {
            return;
        }
        match self.entries.iter_mut().find(|known| known.id == entry.id) {
            Some(known) if known.requests() <= entry.requests() => *known = entry,
            Some(_) => {}
            None => self.entries.push(entry),
        }
        if self.entries.len() > ENTRIES_MAX {
            let oldest = self.entries.remove(0);
            if self.folded_ids.len() >= FOLDED_IDS_MAX {
                self.folded_ids.pop_first();
            }
            self.folded_ids.insert(oldest.id.clone());
            add(&mut self.folded.releases, &oldest.releases);
            self.folded.refused += oldest.refused;
            self.folded.unrouted += oldest.unrouted;
        }
    }

    /// The sum of all.
    pub(crate) fn sum(&self) -> Entry {
        let mut sum = self.folded.clone();
        for entry in &self.entries {
            add(&mut sum.releases, &entry.releases);
            sum.refused += entry.refused;
            sum.unrouted += entry.unrouted;
        }
        sum
    }
}

/// Adds counters to those of the same route and release.
pub(crate) fn add(to: &mut Vec<ReleaseStatus>, more: &[ReleaseStatus]) {
    for own in more {
        match to.iter_mut().find(|sum| sum.route == own.route && sum.release == own.release) {
            Some(sum) => sum.counters.add(&own.counters),
            None => {
                let mut counters = Counters::default();
                counters.add(&own.counters);
                to.push(ReleaseStatus { counters, ..own.clone() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u64, requests: u64) -> Entry {
        let counters = Counters { requests, ..Counters::default() };
        let releases = vec![ReleaseStatus { route: "shop".into(), release: 1, counters }];
        Entry { id: id.to_string(), releases, refused: 1, unrouted: 0 }
    }

    #[test]
    fn what_a_proxy_says_again_is_counted_once() {
        let mut ledger = Ledger::default();
        ledger.enter(entry(1, 10));
        ledger.enter(entry(1, 12));
        // An older word that was delayed.
        ledger.enter(entry(1, 11));
        ledger.enter(entry(2, 5));
        assert_eq!(ledger.sum().releases[0].counters.requests, 17);
        assert_eq!(ledger.sum().refused, 2);
    }

    #[test]
    fn many_proxies_are_summed_up_and_none_is_counted_twice() {
        let mut ledger = Ledger::default();
        (0..100).for_each(|id| ledger.enter(entry(id, 10)));
        (0..100).for_each(|id| ledger.enter(entry(id, 10)));
        assert_eq!(ledger.sum().releases[0].counters.requests, 1000);
        assert_eq!(ledger.entries.len(), ENTRIES_MAX);
    }
}
