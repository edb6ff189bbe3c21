//! What the proxy is told about an app: its route, made from its order.

use onward_core::model::{Maintenance, ReleaseNumber, Routing, Run};
use onward_core::order::{Level, Order, ReleaseOrder};
use onward_core::reconcile::RouteFact;
use onward_proxy::{Https, Instance, Limited, Route, Site, SiteRules};

use super::app::App;
use super::gather::instance_name;
use super::peers;
use super::unnamed::Unnamed;

/// How long the proxy holds a request while no instance can be reached, in milliseconds: longer
/// than most apps take to start again, shorter than people wait.
const HOLD_MS: u64 = 10_000;

/// The route of an app.
pub(super) fn in_proxy(
    app: &App,
    fact: &RouteFact,
    https_port: Option<u16>,
    unnamed: &Unnamed,
) -> Route {
    let name = app.route_name();
    let instances = fact.slots.iter().map(|(slot, port)| Instance {
        id: instance_name(slot, &name),
        addr: ([127, 0, 0, 1], *port).into(),
    });
    let order = app.order();
    let routing = routing_of(order, fact.release).cloned().unwrap_or_default();
    let is_unnamed = routing.hosts.is_empty();
    let any_host = is_unnamed && unnamed.holder(&routing.path) == Some(&name);
    // A name that leads to this machine everywhere, so that two apps can be told apart without
    // anything in a file.
    let own_name = || vec![format!("{}.{}.localhost", app.key.1, app.key.0)];
    Route {
        instances: instances.collect(),
        release: fact.release.0,
        hosts: if is_unnamed { own_name() } else { routing.hosts },
        any_host,
        aliases: routing.aliases,
        strip: !routing.keeps_path && !routing.path.is_empty(),
        path: routing.path,
        // A release without a process for traffic will never answer.
        hold_ms: if fact.slots.is_empty() && fact.peers.is_empty() { 0 } else { HOLD_MS },
        site: site(app, fact),
        maintenance: fact.maintenance.and_then(|_| order?.maintenance.as_ref()).map(page),
        access_log: routing.access_log,
        limits: Limited { body_bytes: routing.body_bytes, requests: routing.requests },
        fleet: peers::fleet(&name, fact),
        https: routing.https.zip(https_port).map(|(own, port)| Https {
            redirect: !own.plain_too,
            port,
            hsts_s: own.hsts_s,
        }),
        name,
    }
}

/// Where the app wants to be measured.
pub(super) fn metrics(app: &App, fact: &RouteFact) -> Option<std::net::SocketAddr> {
    routing_of(app.order(), fact.release)?.metrics.as_ref()?.parse().ok()
}

/// The mark of the maintenance page that a route has.
pub(super) fn mark(route: &Route) -> Option<onward_core::model::Digest> {
    let own = route.maintenance.as_ref()?;
    let (page, retry_after_s) = (own.page.clone(), own.retry_after_s);
    Some(Maintenance { page, retry_after_s }.mark())
}

fn page(wanted: &Maintenance) -> onward_proxy::Maintenance {
    let Maintenance { page, retry_after_s } = wanted.clone();
    onward_proxy::Maintenance { page, retry_after_s }
}

fn routing_of(order: Option<&Order>, release: ReleaseNumber) -> Option<&Routing> {
    order?.releases.get(&release).map(|own| &own.config.routing)
}

/// A site whose files are here is answered without asking its process, while that is ready.
fn site(app: &App, fact: &RouteFact) -> Option<Site> {
    let slot = fact.slots.keys().next()?;
    let release = app.order()?.releases.get(&fact.release)?;
    let Run::Static(directory) = &release.config.processes.get(&slot.process)?.run else {
        return None;
    };
    let rules = &release.config.routing.site;
    Some(Site {
        root: app.tree.release(fact.release).join(directory),
        identity: release.bundle.digest.to_string(),
        rules: SiteRules { spa: rules.spa, immutable: rules.immutable.clone() },
    })
}

/// Why an order cannot be followed on this server: another app has what it wants to answer to.
pub(super) fn claimed<'a>(
    order: &Order,
    others: impl IntoIterator<Item = &'a App>,
) -> Result<(), String> {
    let wanted: Vec<&Routing> = claims(order).collect();
    for other in others {
        for held in other.order().into_iter().flat_map(claims) {
            if let Some(what) = wanted.iter().find_map(|own| own.conflict(held)) {
                return Err(format!(
                    "{what} is taken by {} on this server; give one of the two another `domain` \
                     or `path`",
                    other.route_name()
                ));
            }
        }
    }
    Ok(())
}

/// The paths below which an app wants requests for names that nobody has, each with its route: as its
/// route is, and before it has one, as it is going to be. An app of workers alone answers nobody.
pub(super) fn without_a_name(app: &App, fact: Option<&RouteFact>) -> Vec<(String, String)> {
    let order = app.order();
    let releases: Vec<&ReleaseOrder> = match fact {
        Some(fact) => order.and_then(|own| own.releases.get(&fact.release)).into_iter().collect(),
        None => order.into_iter().flat_map(alive).collect(),
    };
    // A balancer may have nothing of the app but the servers that it leads to.
    let balances = order.is_some_and(|own| own.balance.is_some());
    let answers = |own: &&ReleaseOrder| balances || own.config.with_traffic().next().is_some();
    let routings = releases.into_iter().filter(answers).map(|own| &own.config.routing);
    let unnamed = routings.filter(|own| own.hosts.is_empty());
    unnamed.map(|own| (own.path.clone(), app.route_name())).collect()
}

/// What the releases of an order answer to that get traffic, or are about to.
fn claims(order: &Order) -> impl Iterator<Item = &Routing> {
    alive(order).map(|own| &own.config.routing)
}

/// The releases of an order that get traffic, or are about to.
fn alive(order: &Order) -> impl Iterator<Item = &ReleaseOrder> {
    let alive = order.releases.values().filter(|own| own.level >= Level::Running);
    alive.filter(|own| own.warm_ms.is_none())
}
