//! What the proxies counted: the proof that a deploy prints.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counters of one proxy process since its start. They only rise while `epoch` stays the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Identifies the proxy process that counted.
    pub epoch: u64,
    /// Requests that were answered or lost.
    pub requests: u64,
    /// Requests that onward lost: answers of its own instead of the app's, and answers cut short.
    pub lost: u64,
    /// Answers of the app with a status of 500 or above.
    pub app_errors: u64,
    /// Number of answers by the upper bound of their latency in microseconds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub latency: BTreeMap<u64, u64>,
}

impl Traffic {
    /// What was counted after `earlier`; `None` when the proxy was restarted in between.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        if self.epoch != earlier.epoch {
            return None;
        }
        let mut latency = self.latency.clone();
        for (bound, count) in &earlier.latency {
            if let Some(now) = latency.get_mut(bound) {
                *now = now.saturating_sub(*count);
            }
        }
        latency.retain(|_, count| *count > 0);
        Some(Self {
            epoch: self.epoch,
            requests: self.requests.saturating_sub(earlier.requests),
            lost: self.lost.saturating_sub(earlier.lost),
            app_errors: self.app_errors.saturating_sub(earlier.app_errors),
            latency,
        })
    }

    /// Adds the counters of another proxy, whatever its epoch.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.lost += other.lost;
        self.app_errors += other.app_errors;
        for (bound, count) in &other.latency {
            *self.latency.entry(*bound).or_default() += count;
        }
    }

    /// The latency in microseconds that 99 % of the answers did not pass; `None` without answers.
    pub fn p99_us(&self) -> Option<u64> {
        let total: u64 = self.latency.values().sum();
        let rank = total - total / 100;
        let mut seen = 0;
        for (bound, count) in &self.latency {
            seen += count;
            if seen >= rank && total > 0 {
                return Some(*bound);
            }
        }
        None
    }
}

/// What the proxies counted while one operation ran, kept in its history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Requests that were answered or lost.
    pub requests: u64,
    /// Requests that onward lost.
    pub lost: u64,
    /// Answers of the app with a status of 500 or above.
    pub app_errors: u64,
    /// 99th percentile of the latency before the operation, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_before_us: Option<u64>,
    /// 99th percentile of the latency during the operation, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<u64>,
    /// Whether a proxy was restarted meanwhile, so that the counts are not complete.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(epoch: u64, pairs: &[(u64, u64)]) -> Traffic {
        let latency: BTreeMap<_, _> = pairs.iter().copied().collect();
        Traffic { epoch, requests: latency.values().sum(), lost: 0, app_errors: 0, latency }
    }

    #[test]
    fn differences_are_of_one_proxy_only() {
        let before = traffic(1, &[(100, 5)]);
        let after = traffic(1, &[(100, 7), (200, 1)]);
        assert_eq!(after.since(&before), Some(traffic(1, &[(100, 2), (200, 1)])));
        assert_eq!(traffic(2, &[(100, 7)]).since(&before), None);
    }

    #[test]
    fn the_quantile_counts_from_below() {
        assert_eq!(traffic(1, &[]).p99_us(), None);
        assert_eq!(traffic(1, &[(100, 99), (900, 1)]).p99_us(), Some(100));
        assert_eq!(traffic(1, &[(100, 98), (900, 2)]).p99_us(), Some(900));
    }
}
