//! What all workers share: the table in force, the instances, the counters.
//!
//! The hot path takes no lock: a worker compares one atomic number with the one it cached and only
//! after a switch fetches the new snapshot.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{
    AtomicU8, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use tokio::sync::{Notify, Semaphore};

use crate::access::AccessLog;
use crate::counters::{Counters, ReleaseCounters};
use crate::crowd::Crowd;
use crate::files::Root;
use crate::heritage::{self, Entry, Heritage, Ledger};
use crate::limits::Limits;
use crate::matching::Order;
use crate::protocol::{InstanceStatus, ReleaseStatus, Status};
use crate::stage::Stage;
use crate::table::{Instance, Route, Table};
use crate::tls::Door;

/// Releases of one route whose counters are kept apart: as many as a day of busy deploying. Those of
/// older ones are summed up.
const RELEASES_KEPT: usize = 20;
/// Cuts that a worker has not yet carried out; it does so within microseconds.
const CUTS_KEPT: usize = 256;

/// One instance: the numbers that decide whether it may be stopped.
pub(crate) struct InstanceState {
    pub(crate) instance: Instance,
    /// It is the proxy of another server.
    pub(crate) peer: bool,
    pub(crate) in_flight: AtomicU64,
    pub(crate) upgraded: AtomicU64,
    /// Requests in the queues of all workers for a connection.
    pub(crate) waiting: AtomicUsize,
}

impl InstanceState {
    fn is_quiet(&self) -> bool {
        self.in_flight.load(SeqCst) == 0 && self.upgraded.load(SeqCst) == 0
    }
}

/// A route of the table with its live parts.
pub(crate) struct RouteState {
    pub(crate) route: Route,
    /// Those of this server, then its peers.
    pub(crate) instances: Vec<Arc<InstanceState>>,
    /// How many of them are of this server.
    pub(crate) own: usize,
    /// What its peers say, and are told.
    pub(crate) key: Option<HeaderValue>,
    pub(crate) counters: Arc<ReleaseCounters>,
    /// Files that the proxy answers with itself.
    pub(crate) site: Option<Arc<Root>>,
    /// What is added to answers that go out with TLS.
    pub(crate) hsts: Option<HeaderValue>,
    /// Requests under way, over all workers and releases.
    pub(crate) at_once: Arc<AtomicUsize>,
}

/// The table in force. Immutable.
#[derive(Default)]
pub(crate) struct Snapshot {
    pub(crate) generation: u64,
    pub(crate) table: Option<Table>,
    pub(crate) routes: Vec<Arc<RouteState>>,
    pub(crate) order: Arc<Order>,
}

/// One worker as the control socket sees it.
#[derive(Default)]
pub(crate) struct Mailbox {
    /// Rung after a switch, a cut, and when the proxy shall stop.
    pub(crate) bell: Notify,
    cuts: Mutex<VecDeque<Arc<InstanceState>>>,
}

impl Mailbox {
    pub(crate) fn take_cuts(&self) -> Vec<Arc<InstanceState>> {
        lock(&self.cuts).drain(..).collect()
    }
}

pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) workers: Vec<Mailbox>,
    pub(crate) connections: AtomicUsize,
    pub(crate) held: AtomicUsize,
    pub(crate) crowd: Arc<Crowd>,
    /// Connections closed because their client has too many.
    pub(crate) turned_away: AtomicU64,
    /// What is left of [`Limits::answers_bytes`].
    pub(crate) answers_room: Arc<Semaphore>,
    pub(crate) refused: AtomicU64,
    pub(crate) unrouted: AtomicU64,
    pub(crate) access: AccessLog,
    /// Sessions that clients began and that came to nothing.
    pub(crate) handshakes_failed: AtomicU64,
    pub(crate) door: Arc<Door>,
    stage: AtomicU8,
    generation: AtomicU64,
    current: Mutex<Arc<Snapshot>>,
    instances: Mutex<Vec<Arc<InstanceState>>>,
    releases: Mutex<Vec<Arc<ReleaseCounters>>>,
    /// The sums of releases that are not kept apart any more, so that a route's counters only rise.
    /// Locked while `releases` is.
    older: Mutex<Vec<ReleaseStatus>>,
    /// What earlier proxies of this address counted.
    ledger: Mutex<Ledger>,
    id: String,
    epoch: String,
    started_unix_ms: u64,
}

/// A poisoned lock means that a worker panicked; the data under these locks is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(
        limits: Limits,
        workers: usize,
        table: Option<Table>,
        access: AccessLog,
    ) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = format!("{:x}-{:x}", since_epoch.as_nanos(), std::process::id());
        let shared = Self {
            handshakes_failed: AtomicU64::new(0),
            door: Arc::default(),
            answers_room: Arc::new(Semaphore::new(limits.answers_bytes)),
            limits,
            workers: (0..workers).map(|_| Mailbox::default()).collect(),
            connections: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            crowd: Arc::default(),
            turned_away: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            unrouted: AtomicU64::new(0),
            access,
            stage: AtomicU8::new(Stage::Serving.number()),
            generation: AtomicU64::new(0),
            current: Mutex::default(),
            instances: Mutex::default(),
            releases: Mutex::default(),
            older: Mutex::default(),
            ledger: Mutex::default(),
            epoch: id.clone(),
            id,
            started_unix_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
        };
        if let Some(table) = table {
            shared.switch(table);
        }
        shared
    }

    /// Number of the snapshot in force. A request that was counted into an instance's `in_flight`
    /// and then still sees its own generation is seen by everybody who asks after a later switch.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(SeqCst)
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        lock(&self.current).clone()
    }

    /// Makes this the successor of a proxy: it waits, and continues what that one counted.
    pub(crate) fn succeed(mut self, heritage: Option<Heritage>) -> Self {
        self.stage = AtomicU8::new(Stage::Waiting.number());
        if let Some(heritage) = heritage {
            self.epoch.clone_from(&heritage.epoch);
            self.ledger = Mutex::new(heritage.into_ledger());
        }
        self
    }

    pub(crate) fn stage(&self) -> Stage {
        Stage::of_number(self.stage.load(SeqCst))
    }

    /// Goes forward to a stage and tells every worker.
    pub(crate) fn advance(&self, stage: Stage) {
        self.stage.fetch_max(stage.number(), SeqCst);
        self.ring();
    }

    /// Ends when this proxy leaves.
    pub(crate) async fn left(&self) {
        loop {
            let rung = self.workers[0].bell.notified();
            if self.stage().is_closing() {
                return;
            }
            rung.await;
        }
    }

    /// What this proxy itself counted.
    pub(crate) fn own_entry(&self) -> Entry {
        Entry {
            id: self.id.clone(),
            releases: self.own_releases(),
            refused: self.refused.load(Relaxed),
            unrouted: self.unrouted.load(Relaxed),
        }
    }

    /// Everything that a successor continues.
    pub(crate) fn heritage(&self) -> Heritage {
        let ledger = lock(&self.ledger).clone();
        Heritage { epoch: self.epoch.clone(), own: self.own_entry(), ledger }
    }

    /// Takes over what an earlier proxy counted, when its counters are continued here.
    pub(crate) fn inherit(&self, epoch: &str, entry: Entry) {
        if epoch == self.epoch && entry.id != self.id {
            lock(&self.ledger).enter(entry);
        }
    }

    /// Puts a table in force. The caller has made it durable.
    pub(crate) fn switch(&self, table: Table) {
        let mut current = lock(&self.current);
        let generation = current.generation + 1;
        let old = &current.routes;
        let routes = table.routes.iter().map(|route| Arc::new(self.route_state(route, old)));
        let (routes, order) = (routes.collect(), Arc::new(Order::of(&table.routes)));
        *current = Arc::new(Snapshot { generation, table: Some(table), routes, order });
        self.generation.store(generation, SeqCst);
        drop(current);
        self.ring();
    }

    fn route_state(&self, route: &Route, before: &[Arc<RouteState>]) -> RouteState {
        let before = before.iter().find(|before| before.route.name == route.name);
        let fleet = route.fleet.as_ref();
        let own = route.instances.iter().map(|instance| self.instance_state(instance, false));
        let peers = fleet.into_iter().flat_map(|fleet| &fleet.peers);
        let peers = peers.map(|peer| self.instance_state(peer, true));
        RouteState {
            route: route.clone(),
            instances: own.chain(peers).collect(),
            own: route.instances.len(),
            key: fleet.and_then(|fleet| HeaderValue::from_str(&fleet.key).ok()),
            counters: self.release_counters(&route.name, route.release),
            site: site(route, before),
            hsts: route.https.and_then(|own| hsts(own.hsts_s?)),
            at_once: before.map(|before| before.at_once.clone()).unwrap_or_default(),
        }
    }

    fn instance_state(&self, instance: &Instance, peer: bool) -> Arc<InstanceState> {
        let mut known = lock(&self.instances);
        if let Some(state) =
            known.iter().find(|state| state.instance == *instance && state.peer == peer)
        {
            return state.clone();
        }
        let state = Arc::new(InstanceState {
            instance: instance.clone(),
            peer,
            in_flight: AtomicU64::new(0),
            upgraded: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
        });
        known.push(state.clone());
        state
    }

    fn release_counters(&self, route: &str, release: u64) -> Arc<ReleaseCounters> {
        let mut kept = lock(&self.releases);
        let same = |counters: &Arc<ReleaseCounters>| {
            counters.route == route && counters.release == release
        };
        if let Some(at) = kept.iter().position(same) {
            // Served again: moves to the end, where it is forgotten last.
            let counters = kept.remove(at);
            kept.push(counters.clone());
            return counters;
        }
        if kept.iter().filter(|counters| counters.route == route).count() >= RELEASES_KEPT
            // Nothing in flight counts into one that is held here alone.
            && let Some(oldest) = kept
                .iter()
                .position(|own| own.route == route && Arc::strong_count(own) == 1)
        {
            self.sum_up(&kept.remove(oldest));
        }
        let counters = Arc::new(ReleaseCounters::new(route, release));
        kept.push(counters.clone());
        counters
    }

    fn sum_up(&self, counters: &ReleaseCounters) {
        let mut older = lock(&self.older);
        let known = older.iter().position(|sum| sum.route == counters.route);
        let at = known.unwrap_or_else(|| {
            let route = counters.route.clone();
            older.push(ReleaseStatus { route, release: 0, counters: Counters::default() });
            older.len() - 1
        });
        older[at].counters.add(&counters.snapshot());
    }

    /// Tells every worker to close what it has open to the instances with this id. `false` when
    /// there is none.
    pub(crate) fn cut(&self, id: &str) -> bool {
        let known = lock(&self.instances);
        let found: Vec<_> = known.iter().filter(|state| state.instance.id == id).cloned().collect();
        drop(known);
        for worker in &self.workers {
            let mut cuts = lock(&worker.cuts);
            cuts.extend(found.iter().cloned());
            let surplus = cuts.len().saturating_sub(CUTS_KEPT);
            cuts.drain(..surplus);
        }
        self.ring();
        !found.is_empty()
    }

    /// Tells every worker to look again: table, cuts, draining.
    pub(crate) fn ring(&self) {
        for worker in &self.workers {
            worker.bell.notify_waiters();
        }
    }

    pub(crate) fn status(&self) -> Status {
        let snapshot = self.snapshot();
        let earlier = lock(&self.ledger).sum();
        let mut releases = earlier.releases;
        heritage::add(&mut releases, &self.own_releases());
        let stage = self.stage();
        Status {
            version: snapshot.table.as_ref().map(|table| table.version),
            epoch: self.epoch.clone(),
            id: self.id.clone(),
            stage,
            started_unix_ms: self.started_unix_ms,
            pid: std::process::id(),
            program: std::fs::read_link("/proc/self/exe").ok(),
            draining: stage == Stage::Draining,
            connections: self.connections.load(Relaxed) as u64,
            held: self.held.load(Relaxed) as u64,
            refused: self.refused.load(Relaxed) + earlier.refused,
            unrouted: self.unrouted.load(Relaxed) + earlier.unrouted,
            access_dropped: self.access.dropped(),
            handshakes_failed: self.handshakes_failed.load(Relaxed),
            turned_away: self.turned_away.load(Relaxed),
            certificates: self.door.keyring().identity.clone(),
            instances: self.instance_status(&snapshot),
            releases,
        }
    }

    fn instance_status(&self, snapshot: &Snapshot) -> Vec<InstanceStatus> {
        let in_table = |state: &Arc<InstanceState>| {
            let mut routes = snapshot.routes.iter();
            routes.any(|route| route.instances.iter().any(|other| Arc::ptr_eq(other, state)))
        };
        let mut known = lock(&self.instances);
        known.retain(|state| in_table(state) || !state.is_quiet());
        let status = known.iter().map(|state| InstanceStatus {
            id: state.instance.id.clone(),
            addr: state.instance.addr,
            in_table: in_table(state),
            in_flight: state.in_flight.load(SeqCst),
            upgraded: state.upgraded.load(SeqCst),
        });
        status.collect()
    }

    fn own_releases(&self) -> Vec<ReleaseStatus> {
        let kept = lock(&self.releases);
        let status = kept.iter().map(|counters| ReleaseStatus {
            route: counters.route.clone(),
            release: counters.release,
            counters: counters.snapshot(),
        });
        lock(&self.older).iter().cloned().chain(status).collect()
    }
}

fn hsts(seconds: u64) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("max-age={seconds}")).ok()
}

/// The files of a route. A directory that can't be opened leaves the requests to the instances.
fn site(route: &Route, before: Option<&Arc<RouteState>>) -> Option<Arc<Root>> {
    let site = route.site.as_ref()?;
    if let Some(before) = before
        && before.route.site.as_ref() == Some(site)
        && let Some(root) = &before.site
    {
        return Some(root.clone());
    }
    match Root::of_release(site) {
        Ok(root) => Some(Arc::new(root)),
        Err(error) => {
            let directory = site.root.display();
            eprintln!("the files of {} in {directory} can't be opened: {error}", route.name);
            None
        }
    }
}

/// Address of an instance and its id, for messages.
impl std::fmt::Display for InstanceState {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let addr: SocketAddr = self.instance.addr;
        write!(out, "{} at {addr}", self.instance.id)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::counters::Outcome;

    #[test]
    fn the_counters_of_a_route_only_rise_however_many_releases_it_has() {
        let shared = Shared::new(Limits::default(), 1, None, AccessLog::default());
        for release in 1..=3 * RELEASES_KEPT as u64 {
            let counters = shared.release_counters("shop", release);
            let answered = Outcome::Answered { status: 200 };
            counters.count(answered, crate::fleet::Way::Own, Duration::from_millis(1));
            let status = shared.own_releases();
            let sum: u64 = status.iter().map(|own| own.counters.requests).sum();
            assert_eq!(sum, release);
            assert!(status.len() <= RELEASES_KEPT + 1);
        }
    }
}
