//! The table as one worker has it: each route with the worker's own connections and files.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use http::request::Parts;
use http::{HeaderValue, Response};

use crate::counters::ReleaseCounters;
use crate::files::{FileBody, Root, Site};
use crate::matching::Order;
use crate::pool::Pool;
use crate::shared::{RouteState, Snapshot};
use crate::table::Route;

/// A route with one worker's connections to its instances.
struct WorkerRoute {
    state: Arc<RouteState>,
    pools: Vec<Rc<Pool>>,
    turn: Cell<usize>,
    site: Option<Rc<Site>>,
}

/// The table as one worker cached it.
#[derive(Default)]
pub(crate) struct Routing {
    generation: u64,
    routes: Vec<Rc<WorkerRoute>>,
    order: Arc<Order>,
    snapshot: Arc<Snapshot>,
}

impl Routing {
    /// What follows another: it keeps the connections to instances that stay, and the files.
    pub(crate) fn after(before: &Self, snapshot: Arc<Snapshot>) -> Self {
        let mut known: Vec<Rc<Pool>> = before.pools().cloned().collect();
        let mut pool_of = |instance| {
            let found = known.iter().find(|pool| Arc::ptr_eq(&pool.instance, instance)).cloned();
            found.unwrap_or_else(|| {
                known.push(Rc::new(Pool::new(Arc::clone(instance))));
                known[known.len() - 1].clone()
            })
        };
        let site_of = |root: &Arc<Root>| {
            let mut sites = before.routes.iter().filter_map(|route| route.site.as_ref());
            let found = sites.find(|site| Arc::ptr_eq(&site.root, root)).cloned();
            found.unwrap_or_else(|| Rc::new(Site::new(root.clone())))
        };
        let routes = snapshot.routes.iter().map(|state| {
            let pools = state.instances.iter().map(&mut pool_of).collect();
            let (site, turn) = (state.site.as_ref().map(site_of), Cell::new(0));
            Rc::new(WorkerRoute { state: state.clone(), pools, turn, site })
        });
        let (generation, order) = (snapshot.generation, snapshot.order.clone());
        Self { generation, routes: routes.collect(), order, snapshot }
    }

    /// Keeps nothing for instances that have left.
    pub(crate) fn retire_all_but(&self, next: &Self) {
        let left = self.pools().filter(|pool| !next.pools().any(|other| Rc::ptr_eq(other, pool)));
        left.for_each(|pool| pool.retire());
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    pub(crate) fn pools(&self) -> impl Iterator<Item = &Rc<Pool>> {
        self.routes.iter().flat_map(|route| &route.pools)
    }

    /// The route that takes requests for `host` and `path`, and whether the host is only another
    /// name of its own.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<(Routed, bool)> {
        let found = self.order.find(host, path)?;
        Some((Routed(self.routes.get(found.route)?.clone()), found.alias))
    }

    /// The route of the fleet whose key this is.
    pub(crate) fn of_fleet(&self, key: &HeaderValue) -> Option<Routed> {
        let found = self.routes.iter().find(|route| route.state.key.as_ref() == Some(key))?;
        Some(Routed(found.clone()))
    }

    /// The answer to a challenge.
    pub(crate) fn challenge(&self, token: &str) -> Option<String> {
        let mut all = self.snapshot.table.iter().flat_map(|table| &table.challenges);
        all.find(|own| own.token == token).map(|own| own.answer.clone())
    }
}

/// Where a request goes.
pub(crate) struct Routed(Rc<WorkerRoute>);

impl Routed {
    pub(crate) fn counters(&self) -> &Arc<ReleaseCounters> {
        &self.0.state.counters
    }

    pub(crate) fn hold_ms(&self) -> u64 {
        self.0.state.route.hold_ms
    }

    pub(crate) fn route(&self) -> &Route {
        &self.0.state.route
    }

    /// How many requests of this route are under way, over all workers.
    pub(crate) fn at_once(&self) -> &Arc<AtomicUsize> {
        &self.0.state.at_once
    }

    /// Bytes of the path that are not for the app to see.
    pub(crate) fn skip(&self) -> usize {
        let route = self.route();
        if route.strip { route.path.len() } else { 0 }
    }

    /// What is added to answers that go out with TLS.
    pub(crate) fn hsts(&self) -> Option<&HeaderValue> {
        self.0.state.hsts.as_ref()
    }

    pub(crate) fn has_site(&self) -> bool {
        self.0.site.is_some()
    }

    /// The answer of the route's files.
    pub(crate) async fn files(&self, parts: &Parts, path: &str) -> Option<Response<FileBody>> {
        match &self.0.site {
            Some(site) => Some(site.answer(parts, path).await),
            None => None,
        }
    }

    /// What peers are told; none for a server that is alone.
    pub(crate) fn key(&self) -> Option<&HeaderValue> {
        self.0.state.key.as_ref()
    }

    /// Who may get a request: what a peer passed on stays on this server.
    fn pools(&self, of_peer: bool) -> &[Rc<Pool>] {
        if of_peer { &self.0.pools[..self.0.state.own] } else { &self.0.pools }
    }

    pub(crate) fn is_empty(&self, of_peer: bool) -> bool {
        self.pools(of_peer).is_empty()
    }

    /// Whether some instance hasn't just refused a connection.
    pub(crate) fn has_another(&self, of_peer: bool) -> bool {
        self.pools(of_peer).iter().any(|pool| !pool.is_suspect())
    }

    /// The instance with the fewest requests in flight; those with equally many take turns, and
    /// one that just refused a connection comes last.
    pub(crate) fn least_busy(&self, of_peer: bool) -> Option<Rc<Pool>> {
        let pools = self.pools(of_peer);
        if let [only] = pools {
            return Some(only.clone());
        }
        let turn = self.0.turn.get();
        self.0.turn.set(turn.wrapping_add(1));
        let rotated = (0..pools.len()).map(|at| &pools[(at + turn) % pools.len()]);
        let load = |pool: &&Rc<Pool>| (pool.is_suspect(), pool.instance.in_flight.load(Relaxed));
        rotated.min_by_key(load).cloned()
    }
}
