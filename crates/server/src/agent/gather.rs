//! The facts of one app, as the pure reconcile wants them, and when they will be others.

use std::collections::BTreeMap;
use std::time::Duration;

use onward_core::model::ReleaseNumber;
use onward_core::order::Level;
use onward_core::reconcile::{
    CommandFact, DRAIN_WITHIN_MS, Facts, Files, ReleaseTraffic, RouteFact, Slot, SlotId, SlotState,
    UPGRADED_WITHIN_MS, WatchFact, next_due,
};
use onward_core::traffic::Traffic;
use onward_proxy::{Counters, Status, Table};
use tokio::time::Instant;

use super::app::{App, FilesState, Instance, Moment, RouteChange, State, Watch};
use super::peers;
use crate::process;

/// How often the proxy is asked while requests of a release without a route are in flight.
const DRAIN_LOOK: Duration = Duration::from_millis(25);
/// The same, while only upgraded connections are open.
const UPGRADED_LOOK: Duration = Duration::from_secs(1);
/// How often the proxy is asked while a release is watched.
const WATCH_LOOK: Duration = Duration::from_millis(100);
/// How often free memory is looked at while a warm release runs.
pub(super) const MEMORY_LOOK: Duration = Duration::from_secs(5);

/// How often the time of day is looked at while a schedule is on.
const CLOCK_LOOK: Duration = Duration::from_secs(30);

/// What is true of the app now.
pub(super) fn facts(app: &App, status: Option<&Status>, moment: Moment) -> Facts {
    let now = moment.instant;
    Facts {
        files: app.files.iter().map(|(number, own)| (*number, files(own, now))).collect(),
        slots: app.instances.iter().map(|(id, own)| (id.clone(), slot(own, now))).collect(),
        route: app.route.clone(),
        route_pending: app.route_change != RouteChange::None,
        traffic: traffic(app, status, moment.unix_ms),
        leaving: leaving(app, status, moment.unix_ms),
        command: app.command.as_ref().map(|own| CommandFact {
            operation: own.operation,
            kind: own.kind,
            release: own.release,
            stopping: own.stop.is_none(),
        }),
        watch: app.watch.as_ref().map(|own| watch(app, own, status, now)),
        memory_short: app.memory_short,
        now: moment.timestamp(),
        jobs: app.job_facts(),
        runs: app.run_facts(),
    }
}

fn left_ms(until: Instant, now: Instant) -> u64 {
    // Rounded up: 0 means now.
    let left = until.saturating_duration_since(now);
    u64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}

fn files(own: &FilesState, now: Instant) -> Files {
    match own {
        FilesState::Staging { .. } => Files::Staging,
        FilesState::Staged => Files::Staged,
        FilesState::Verifying => Files::Verifying,
        FilesState::Verified => Files::Verified,
        FilesState::Removing => Files::Removing,
        FilesState::Failed { failure, retry_at, .. } => {
            Files::Failed { failure: failure.clone(), retry_in_ms: left_ms(*retry_at, now) }
        }
    }
}

fn slot(own: &Instance, now: Instant) -> Slot {
    Slot {
        state: match own.state {
            State::Starting { overdue_at } => {
                SlotState::Starting { overdue: overdue_at.is_some_and(|at| at <= now) }
            }
            State::Ready { .. } => SlotState::Ready,
            State::Failing => SlotState::Failing,
            State::Ended { retry_at } => SlotState::Ended { retry_in_ms: left_ms(retry_at, now) },
            State::Stopping { .. } => SlotState::Stopping,
        },
        pid: own.identity.map(|identity| identity.pid),
        port: own.port,
        was_ready: own.was_ready,
        early_exits: own.early_exits,
        restarts: own.restarts,
        failure: own.failure.clone(),
        adopted: own.adopted,
    }
}

/// What releases without a route still have of traffic.
fn traffic(
    app: &App,
    status: Option<&Status>,
    now: u64,
) -> BTreeMap<ReleaseNumber, ReleaseTraffic> {
    let route_name = app.route_name();
    let mut all: BTreeMap<ReleaseNumber, ReleaseTraffic> = app
        .unrouted
        .iter()
        .map(|(number, since)| {
            let unrouted_ms = now.saturating_sub(*since);
            (*number, ReleaseTraffic { unrouted_ms, ..ReleaseTraffic::default() })
        })
        .collect();
    for instance in status.into_iter().flat_map(|status| &status.instances) {
        if let Some(slot) = slot_of(&instance.id, &route_name) {
            let own = all.entry(slot.release).or_default();
            own.requests += instance.in_flight;
            own.upgraded += instance.upgraded;
        }
    }
    if let Some(route) = &app.route {
        all.remove(&route.release);
    }
    all
}

/// What instances that left the route of their release, which stays, still have of traffic.
fn leaving(app: &App, status: Option<&Status>, now: u64) -> BTreeMap<SlotId, ReleaseTraffic> {
    let route_name = app.route_name();
    let of = |(slot, since): (&SlotId, &u64)| {
        let name = instance_name(slot, &route_name);
        // Under one name there may be two: one that ended, and the one that was started in its place.
        let all = status.into_iter().flat_map(|status| &status.instances);
        let own = all.filter(|instance| instance.id == name);
        let left = own.fold(ReleaseTraffic::default(), |sum, own| ReleaseTraffic {
            requests: sum.requests + own.in_flight,
            upgraded: sum.upgraded + own.upgraded,
            ..sum
        });
        (slot.clone(), ReleaseTraffic { unrouted_ms: now.saturating_sub(*since), ..left })
    };
    app.left_route.iter().map(of).collect()
}

fn watch(app: &App, own: &Watch, status: Option<&Status>, now: Instant) -> WatchFact {
    let name = app.route_name();
    let counted = |release: ReleaseNumber| {
        status.map_or_else(Counters::default, |status| status.release(&name, release.0))
    };
    let mut since = counted(own.order.release);
    if status.is_some_and(|status| status.epoch == own.epoch) {
        since = since.since(&own.base);
    }
    let before = own.order.previous.map_or_else(Counters::default, counted);
    let elapsed = now.saturating_duration_since(own.began);
    WatchFact {
        operation: own.order.operation,
        elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        ended: own.ended.clone(),
        requests: since.own_requests,
        app_errors: since.own_app_errors,
        requests_before: before.own_requests,
        app_errors_before: before.own_app_errors,
        outcome: own.outcome.clone(),
    }
}

/// The name of an instance in the proxy.
pub(super) fn instance_name(slot: &SlotId, route_name: &str) -> String {
    format!("{route_name}/{slot}")
}

/// The instance that has the name, when it is one of the route.
fn slot_of(name: &str, route_name: &str) -> Option<SlotId> {
    let mut parts = name.strip_prefix(route_name)?.strip_prefix('/')?.split('.');
    let release = ReleaseNumber(parts.next()?.parse().ok()?);
    let process = parts.next()?.parse().ok()?;
    let index = parts.next()?.parse().ok()?;
    Some(SlotId { release, process, index })
}

/// Where a table sends the traffic of a route.
pub(super) fn route_of(table: &Table, route_name: &str) -> Option<RouteFact> {
    let route = table.routes.iter().find(|route| route.name == route_name)?;
    let instances = route.instances.iter();
    let slots = instances
        .filter_map(|own| Some((slot_of(&own.id, route_name)?, own.addr.port())))
        .collect();
    let maintenance = super::routes::mark(route);
    let (peers, key) = peers::of(route);
    let release = ReleaseNumber(route.release);
    Some(RouteFact { release, slots, peers, key, maintenance })
}

/// What the proxy counted for a route, over all releases.
pub(super) fn traffic_of(status: &Status, route_name: &str) -> Traffic {
    let mut sum = Counters::default();
    for own in status.releases.iter().filter(|own| own.route == route_name) {
        sum.add(&own.counters);
    }
    let digest = onward_core::model::Digest::of(status.epoch.as_bytes());
    let epoch = digest.as_bytes()[..8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    Traffic {
        epoch,
        requests: sum.requests,
        lost: sum.lost,
        app_errors: sum.app_errors,
        latency: sum.latency.bounds().collect(),
    }
}

/// How soon the proxy should be asked again; never while nothing drains and nothing is watched.
pub(super) fn look_in(app: &App, status: Option<&Status>, now: Moment) -> Option<Duration> {
    if app.route_change == RouteChange::Unknown {
        return Some(WATCH_LOOK);
    }
    let draining = traffic(app, status, now.unix_ms);
    let lives = |number: &ReleaseNumber| app.uses(*number);
    let mut soonest: Option<Duration> = None;
    let mut at_most = |pause: Duration| soonest = Some(soonest.map_or(pause, |own| own.min(pause)));
    let of_releases = draining.iter().filter(|(number, _)| lives(number)).map(|(_, own)| own);
    let of_instances = leaving(app, status, now.unix_ms);
    for own in of_releases.chain(of_instances.values()) {
        if own.requests > 0 {
            at_most(DRAIN_LOOK);
        } else if own.upgraded > 0 {
            at_most(UPGRADED_LOOK);
        }
    }
    if app.watch.as_ref().is_some_and(|watch| watch.outcome.is_none()) {
        at_most(WATCH_LOOK);
    }
    soonest
}

/// When the facts change without an event; never when only events change them.
pub(super) fn next_change(app: &App, moment: Moment) -> Option<Instant> {
    let now = moment.instant;
    let mut changes: Vec<Instant> = app.waiters.iter().map(|waiter| waiter.until).collect();
    changes.extend(app.files.values().filter_map(|files| match files {
        FilesState::Failed { retry_at, .. } => Some(*retry_at),
        _ => None,
    }));
    changes.extend(app.instances.values().filter_map(|own| match own.state {
        State::Starting { overdue_at } => overdue_at,
        State::Ended { retry_at } => Some(retry_at),
        _ => None,
    }));
    if let Some(watch) = app.watch.as_ref().filter(|watch| watch.outcome.is_none()) {
        changes.push(watch.began + Duration::from_millis(watch.order.for_ms));
    }
    changes.extend(app.problem.as_ref().map(|(_, at)| *at));
    if app.unrecorded.is_some() {
        changes.push(now + Duration::from_secs(1));
    }
    if has_warm(app) {
        changes.push(now + MEMORY_LOOK);
    }
    let drained = app
        .left_route
        .values()
        .flat_map(|since| [DRAIN_WITHIN_MS, UPGRADED_WITHIN_MS].map(|limit| since + limit));
    let left = drained.map(|at| at.saturating_sub(moment.unix_ms)).filter(|left| *left > 0);
    changes.extend(left.map(|left| now + Duration::from_millis(left)));
    for (number, since) in app.unrouted.iter().filter(|(number, _)| app.uses(**number)) {
        let warm_ms = app.order().and_then(|order| order.releases.get(number)?.warm_ms);
        let limits = [Some(DRAIN_WITHIN_MS), Some(UPGRADED_WITHIN_MS), warm_ms];
        let left = limits
            .into_iter()
            .flatten()
            .map(|limit| (since + limit).saturating_sub(moment.unix_ms));
        changes.extend(left.filter(|left| *left > 0).map(|left| now + Duration::from_millis(left)));
    }
    if let Some(due) = next_due(&app.kept, &facts(app, None, moment)) {
        let left = due.duration_since(moment.timestamp()).unsigned_abs();
        // Somebody may set the clock meanwhile.
        changes.push(now + left.min(CLOCK_LOOK));
    }
    // What is over already has been looked at; a waiting order for it would never end.
    changes.into_iter().filter(|at| *at > now).min()
}

/// Whether a release runs that is only kept warm.
pub(super) fn has_warm(app: &App) -> bool {
    app.order().is_some_and(|order| {
        let is_warm = |own: &onward_core::order::ReleaseOrder| {
            own.warm_ms.is_some() && own.level == Level::Running
        };
        order.releases.iter().any(|(number, own)| is_warm(own) && app.uses(*number))
    })
}

/// Whether free memory is less than what warm releases use.
pub(super) fn is_memory_short(app: &App) -> bool {
    let Some(available) = process::available_memory().filter(|_| has_warm(app)) else {
        return false;
    };
    let Some(order) = app.order() else { return false };
    let warm = order.releases.iter().filter(|(_, own)| own.warm_ms.is_some());
    let groups = warm.flat_map(|(number, _)| {
        app.instances
            .iter()
            .filter(|(id, _)| id.release == *number)
            .filter_map(|(id, own)| Some(app.group_of(id, own.identity?)))
    });
    let used: u64 = groups.map(|group| group.memory()).sum();
    available < used
}
