//! Latencies, counted in log-linear buckets: exact below 16 µs, within 1/16 above.
//!
//! A bucket is an index; the same index always means the same range, in every process and version,
//! so two snapshots can be subtracted and snapshots of several proxies added.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Buckets per power of two, as a power of two itself.
const BITS: u32 = 4;
const LINEAR: u64 = 1 << BITS;
/// The last bucket starts at about 71 minutes and takes everything longer.
const BUCKETS: usize = bucket_of(u32::MAX as u64) + 1;

/// The bucket that `micros` falls into, before the last one takes the rest.
const fn bucket_of(micros: u64) -> usize {
    if micros < LINEAR {
        return micros as usize;
    }
    let shift = micros.ilog2() - BITS;
    (((shift as u64 + 1) << BITS) + ((micros >> shift) - LINEAR)) as usize
}

/// The largest number of microseconds that falls into `bucket`.
fn upper_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < LINEAR {
        return bucket;
    }
    let shift = (bucket >> BITS) - 1;
    let start = (LINEAR + (bucket & (LINEAR - 1))) << shift;
    start + (1 << shift) - 1
}

/// Counts latencies from many threads at once.
pub(crate) struct Recorder {
    buckets: Box<[AtomicU64; BUCKETS]>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self { buckets: Box::new([const { AtomicU64::new(0) }; BUCKETS]) }
    }

    pub(crate) fn record(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(micros).min(BUCKETS - 1)].fetch_add(1, Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Histogram {
        let counts = self.buckets.iter().map(|bucket| bucket.load(Relaxed));
        let used = counts.enumerate().filter(|(_, count)| *count > 0);
        Histogram { buckets: used.map(|(bucket, count)| (bucket as u32, count)).collect() }
    }
}

/// A snapshot of latencies: how many fell into each bucket. In JSON a list of `[bucket, count]`, only
/// of the buckets in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(u32, u64)>", into = "Vec<(u32, u64)>")]
pub struct Histogram {
    buckets: BTreeMap<u32, u64>,
}

impl From<Vec<(u32, u64)>> for Histogram {
    fn from(pairs: Vec<(u32, u64)>) -> Self {
        Self { buckets: pairs.into_iter().collect() }
    }
}

impl From<Histogram> for Vec<(u32, u64)> {
    fn from(histogram: Histogram) -> Self {
        histogram.buckets.into_iter().collect()
    }
}

impl Histogram {
    /// How many latencies were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.values().sum()
    }

    /// What was recorded after `earlier`, an older snapshot of the same recorder.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let left = self.buckets.iter().filter_map(|(bucket, count)| {
            let before = earlier.buckets.get(bucket).copied().unwrap_or(0);
            let left = count.saturating_sub(before);
            (left > 0).then_some((*bucket, left))
        });
        Self { buckets: left.collect() }
    }

    /// Adds what another recorder saw.
    pub fn add(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            *self.buckets.entry(*bucket).or_default() += count;
        }
    }

    /// The latency that the share `q` (0.0 to 1.0) of all requests stayed within, as the upper end
    /// of its bucket: never too small, at most 1/16 too large. `None` when nothing was recorded.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in &self.buckets {
            seen += count;
            if seen >= rank {
                return Some(Duration::from_micros(upper_bound(*bucket as usize)));
            }
        }
        None
    }

    /// The buckets in use, shortest first: the upper bound of each in microseconds, and how many
    /// latencies fell into it.
    pub fn bounds(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.buckets.iter().map(|(bucket, count)| (upper_bound(*bucket as usize), *count))
    }

    /// [`Histogram::quantile`] of 0.99.
    #[must_use]
    pub fn p99(&self) -> Option<Duration> {
        self.quantile(0.99)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_gap() {
        let mut last = 0;
        for micros in 1..200_000 {
            let bucket = bucket_of(micros);
            assert!(
                bucket == last || bucket == last + 1,
                "{micros} falls into {bucket} after {last}"
            );
            assert!(upper_bound(bucket) >= micros);
            assert!(upper_bound(bucket) - micros <= micros / 16);
            last = bucket;
        }
    }

    #[test]
    fn quantiles_and_differences() {
        let recorder = Recorder::new();
        for micros in 1..=1000 {
            recorder.record(Duration::from_micros(micros));
        }
        let first = recorder.snapshot();
        assert_eq!(first.count(), 1000);
        let p99 = first.p99().unwrap().as_micros();
        assert!((990..=1055).contains(&p99), "{p99}");
        recorder.record(Duration::from_secs(100_000));
        let second = recorder.snapshot().since(&first);
        assert_eq!(second.count(), 1);
        assert!(second.p99().unwrap() > Duration::from_secs(4000));
        assert_eq!(Histogram::default().p99(), None);
        let text = serde_json::to_string(&first).unwrap();
        assert_eq!(serde_json::from_str::<Histogram>(&text).unwrap(), first);
    }
}
