//! Holding a request while no instance can be reached, instead of answering 502.
//!
//! A single instance that restarts, or one that the supervisor brings up again, is away for a
//! second; a person who waits that second longer notices nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::routing::Routed;
use crate::shared::Shared;
use crate::worker::Worker;

/// First wait between two attempts: about what a process needs to open its socket again.
const FIRST_WAIT: Duration = Duration::from_millis(20);
/// Longest wait between two attempts; what a request loses at most.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// How long one request was held and may be.
pub(crate) struct Hold {
    since: Instant,
    wait: Duration,
    place: Option<HeldPlace>,
}

impl Hold {
    pub(crate) fn new(since: Instant) -> Self {
        Self { since, wait: FIRST_WAIT, place: None }
    }

    /// Waits until it is worth trying again: a moment, or until the table isn't that of
    /// `generation` any more. `false` when the request was held long enough or too many are.
    pub(crate) async fn wait(&mut self, worker: &Worker, routed: &Routed, generation: u64) -> bool {
        let limit = Duration::from_millis(routed.hold_ms());
        let Some(left) = limit.checked_sub(self.since.elapsed()).filter(|left| !left.is_zero())
        else {
            return false;
        };
        if self.place.is_none() {
            self.place = HeldPlace::take(&worker.shared);
        }
        if self.place.is_none() {
            return false;
        }
        let changed = worker.table_change();
        if worker.shared.generation() == generation {
            tokio::select! {
                () = tokio::time::sleep(self.wait.min(left)) => {}
                () = changed => {}
            }
        }
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        true
    }
}

/// One of the places for held requests.
struct HeldPlace(Arc<Shared>);

impl HeldPlace {
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let before = shared.held.fetch_add(1, Relaxed);
        let place = Self(shared.clone());
        (before < shared.limits.held).then_some(place)
    }
}

impl Drop for HeldPlace {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Relaxed);
    }
}
