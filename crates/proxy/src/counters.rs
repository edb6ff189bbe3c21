//! What the proxy counts: each request exactly once, when its answer is complete.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fleet::Way;
use crate::histogram::{Histogram, Recorder};

/// How one request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The app's answer was passed on whole.
    Answered { status: u16 },
    /// The proxy answered itself, or the answer was cut on the side of the app or of the proxy.
    Lost,
    /// The client went away or broke its own request.
    AbortedByClient,
}

/// Counters of one release behind one route, shared by all workers.
pub(crate) struct ReleaseCounters {
    pub(crate) route: String,
    pub(crate) release: u64,
    requests: AtomicU64,
    lost: AtomicU64,
    app_errors: AtomicU64,
    aborted_by_client: AtomicU64,
    own_requests: AtomicU64,
    own_app_errors: AtomicU64,
    own: AtomicU64,
    /// Answers by the first digit of their status; the last is for none that has one.
    classes: [AtomicU64; CLASSES],
    latency: Recorder,
}

/// 1xx to 5xx.
const CLASSES: usize = 5;

impl ReleaseCounters {
    pub(crate) fn new(route: &str, release: u64) -> Self {
        Self {
            route: route.to_owned(),
            release,
            requests: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            app_errors: AtomicU64::new(0),
            aborted_by_client: AtomicU64::new(0),
            own_requests: AtomicU64::new(0),
            own_app_errors: AtomicU64::new(0),
            own: AtomicU64::new(0),
            classes: [const { AtomicU64::new(0) }; CLASSES],
            latency: Recorder::new(),
        }
    }

    pub(crate) fn count(&self, outcome: Outcome, way: Way, latency: Duration) {
        if way != Way::ToPeer {
            if matches!(outcome, Outcome::Answered { status: 500.. }) {
                self.own_app_errors.fetch_add(1, Relaxed);
            }
            self.own_requests.fetch_add(1, Relaxed);
        }
        if way == Way::FromPeer {
            return;
        }
        match outcome {
            Outcome::Answered { status } => {
                if status >= 500 {
                    self.app_errors.fetch_add(1, Relaxed);
                }
                let class = usize::from(status / 100).clamp(1, CLASSES) - 1;
                self.classes[class].fetch_add(1, Relaxed);
                self.latency.record(latency);
            }
            Outcome::Lost => {
                self.lost.fetch_add(1, Relaxed);
            }
            Outcome::AbortedByClient => {
                self.aborted_by_client.fetch_add(1, Relaxed);
            }
        }
        self.requests.fetch_add(1, Relaxed);
    }

    /// The proxy answered itself, on purpose.
    pub(crate) fn count_own(&self) {
        self.own.fetch_add(1, Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Counters {
        Counters {
            requests: self.requests.load(Relaxed),
            lost: self.lost.load(Relaxed),
            app_errors: self.app_errors.load(Relaxed),
            aborted_by_client: self.aborted_by_client.load(Relaxed),
            own_requests: self.own_requests.load(Relaxed),
            own_app_errors: self.own_app_errors.load(Relaxed),
            own: self.own.load(Relaxed),
            classes: self.classes.each_ref().map(|class| class.load(Relaxed)),
            latency: self.latency.snapshot(),
        }
    }
}

/// Counters of one release behind one route, since the proxy started. They only rise.
///
/// `requests` holds all that came from clients; `lost`, `app_errors` and `aborted_by_client` are
/// parts of it and don't overlap. What a peer passed on counts there: so the sums over the proxies
/// of several servers have each request once. `own_requests` and `own_app_errors` are about the
/// instances of this server, whoever passed the request on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Requests that ended, in whatever way. A connection that was upgraded counts when it was.
    pub requests: u64,
    /// Answers that the proxy made itself because no instance gave one (502, 503, 504), and answers
    /// cut half-way by the instance or by `cut`.
    pub lost: u64,
    /// Answers of the app with a status of 500 or more, passed on as they were.
    pub app_errors: u64,
    /// Requests whose client went away, stalled or broke its own body before the answer was over.
    pub aborted_by_client: u64,
    /// Requests that were for the instances of this server.
    #[serde(default)]
    pub own_requests: u64,
    /// Answers of the instances of this server with a status of 500 or more.
    #[serde(default)]
    pub own_app_errors: u64,
    /// Requests that the proxy answered itself on purpose, and not as part of `requests`: under
    /// another name of the host, in maintenance, or beyond a limit of the route.
    #[serde(default)]
    pub own: u64,
    /// Answers of the app by the first digit of their status, 1xx to 5xx.
    #[serde(default)]
    pub classes: [u64; 5],
    /// From the end of the request head to the end of the answer, for whole answers of the app.
    pub latency: Histogram,
}

impl Counters {
    /// What was counted after `earlier`, an older snapshot of the same proxy process (compare
    /// [`crate::Status::epoch`]).
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            lost: self.lost.saturating_sub(earlier.lost),
            app_errors: self.app_errors.saturating_sub(earlier.app_errors),
            aborted_by_client: self.aborted_by_client.saturating_sub(earlier.aborted_by_client),
            own_requests: self.own_requests.saturating_sub(earlier.own_requests),
            own_app_errors: self.own_app_errors.saturating_sub(earlier.own_app_errors),
            own: self.own.saturating_sub(earlier.own),
            classes: std::array::from_fn(|at| self.classes[at].saturating_sub(earlier.classes[at])),
            latency: self.latency.since(&earlier.latency),
        }
    }

    /// Adds the counters of another release or proxy.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.lost += other.lost;
        self.app_errors += other.app_errors;
        self.aborted_by_client += other.aborted_by_client;
        self.own_requests += other.own_requests;
        self.own_app_errors += other.own_app_errors;
        self.own += other.own;
        for (own, more) in self.classes.iter_mut().zip(other.classes) {
            *own += more;
        }
        self.latency.add(&other.latency);
    }
}
