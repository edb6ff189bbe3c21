//! From the document to the order of each server.

use std::collections::BTreeMap;

use super::schedules::schedules_of;
use super::sides::{Place, peers};
use crate::document::{Document, Kind, Operation, Phase};
use crate::model::{OperationNumber, Release, ReleaseNumber, ServerName};
use crate::order::{Balance, CommandKind, CommandOrder, Level, Order, ReleaseOrder, WatchOrder};

/// How many releases keep their files on the servers, besides those that run.
pub const STAGED_KEPT: usize = 5;

/// What a server shall be at the generation of the document; `None` when it is not one of its
/// servers.
pub fn order(document: &Document, name: &ServerName) -> Option<Order> {
    document.server(name)?;
    let operation = document.operation.as_ref();
    let place = Place::of(document, name);
    let releases = wanted(document, place)
        .into_iter()
        .filter_map(|(number, wish)| Some((number, wish.of(document.release(number)?, place))))
        .collect();
    let peers = peers(document, name);
    let https = document.https_of(name);
    Some(Order {
        app: document.app.clone(),
        environment: document.environment.clone(),
        server: name.clone(),
        generation: document.generation,
        operation: operation.map_or(OperationNumber(0), |operation| operation.number),
        releases,
        command: operation.and_then(|operation| command(document, operation, name)),
        secrets: document.secrets.as_ref().map(|own| own.for_servers(https.as_ref())),
        watch: operation.and_then(|operation| watch(document, operation, place)),
        fleet_key: document.fleet_key.clone(),
        balance: (!peers.is_empty() || place.leads_elsewhere()).then_some(Balance { peers }),
        maintenance: document.demand.maintenance.clone(),
        https,
    })
}

/// The orders of all servers, those that are being taken out of the environment among them.
pub fn orders(document: &Document) -> Vec<Order> {
    document.everywhere().filter_map(|server| order(document, server)).collect()
}

/// The server on which the commands of an operation run: one and the same until it ends.
pub(super) fn command_server<'a>(
    document: &'a Document,
    operation: &Operation,
) -> Option<&'a ServerName> {
    let mut taking_part =
        document.servers.iter().filter(|(name, _)| !operation.without.contains(*name));
    let first = taking_part.clone().next();
    taking_part
        .find(|(_, server)| server.roles.iter().any(|role| role.as_str() == "web"))
        .or(first)
        .map(|(name, _)| name)
}

#[derive(Clone, Copy)]
struct Wish {
    level: Level,
    background: bool,
    warm: bool,
}

impl Wish {
    const STAGED: Self = Self { level: Level::Staged, background: false, warm: false };
    const WARM: Self = Self { level: Level::Running, background: false, warm: true };

    const fn running(background: bool) -> Self {
        Self { level: Level::Running, background, warm: false }
    }

    const fn routed(background: bool) -> Self {
        Self { level: Level::Routed, background, warm: false }
    }

    fn of(self, release: &Release, place: Place<'_>) -> ReleaseOrder {
        ReleaseOrder {
            level: self.level,
            background: self.background,
            warm_ms: self.warm.then_some(release.config.warm_ms),
            bundle: release.bundle.clone(),
            config: schedules_of(place.config(release.number, &release.config), place),
        }
    }
}

type Wishes = BTreeMap<ReleaseNumber, Wish>;

fn wanted(document: &Document, place: Place<'_>) -> Wishes {
    let mut wishes = Wishes::new();
    let operation = document.operation.as_ref();
    if operation.is_some_and(|operation| operation.phase == Phase::Remove) {
        return wishes;
    }
    if document.serving.is_none() && operation.is_none() {
        return wishes;
    }
    if place.is_leaving() {
        return operation.map(wanted_of_leaving).unwrap_or_default();
    }
    let brought = operation.and_then(|operation| operation.release);
    let recent = document.releases.keys().rev().filter(|number| Some(**number) != brought);
    wishes.extend(recent.take(STAGED_KEPT).map(|number| (*number, Wish::STAGED)));
    if let Some(warm) = document.warm {
        wishes.insert(warm, Wish::WARM);
    }
    if let Some(serving) = document.serving {
        wishes.insert(serving, Wish::routed(true));
    }
    if let Some(operation) =
        operation.filter(|operation| !matches!(operation.kind, Kind::Scale | Kind::Maintenance))
    {
        wish_of_operation(operation, place, &mut wishes);
    }
    wishes
}

/// A server that is being taken out goes on as it was, until no balancer sends it requests.
fn wanted_of_leaving(operation: &Operation) -> Wishes {
    let is_over = operation.phase == Phase::Leave && operation.failure.is_none();
    let serves = operation.previous.filter(|_| !is_over);
    serves.map(|serves| (serves, Wish::routed(true))).into_iter().collect()
}

fn wish_of_operation(operation: &Operation, place: Place<'_>, wishes: &mut Wishes) {
    let Some(new) = operation.release else { return };
    let old = operation.previous.filter(|old| *old != new);
    let held = place.holds(operation);
    let beside = |is_background: bool| match held {
        Some(_) => (Wish::routed(!is_background), Wish::running(is_background)),
        None => (Wish::running(!is_background), Wish::routed(is_background)),
    };
    match place.phase(operation) {
        Phase::Stage | Phase::Command => {
            wishes.entry(new).or_insert(Wish::STAGED);
        }
        Phase::Start | Phase::Check => {
            wishes.insert(new, Wish::running(false));
        }
        Phase::Switch => {
            let (of_old, of_new) = beside(false);
            wishes.extend(old.map(|old| (old, of_old)));
            wishes.insert(new, of_new);
        }
        Phase::Exchange | Phase::Watch => {
            let (of_old, of_new) = beside(true);
            wishes.extend(old.map(|old| (old, of_old)));
            wishes.insert(new, of_new);
        }
        Phase::Leave if operation.failure.is_none() => {
            wishes.extend(old.map(|old| (old, Wish::running(false))));
            wishes.insert(new, Wish::routed(true));
        }
        Phase::TakeBack | Phase::Leave => {
            wishes.extend(old.map(|old| (old, Wish::routed(true))));
            if held.is_some() {
                wishes.extend(old.map(|old| (old, Wish::running(true))));
                wishes.insert(new, Wish::routed(false));
            } else if operation.kind == Kind::Deploy {
                wishes.remove(&new);
            } else {
                wishes.insert(new, Wish::STAGED);
            }
        }
        Phase::Remove => {}
    }
}

fn command(
    document: &Document,
    operation: &Operation,
    server: &ServerName,
) -> Option<CommandOrder> {
    let kind = match operation.phase {
        Phase::Command => CommandKind::Release,
        Phase::Check => CommandKind::Check,
        _ => return None,
    };
    let here = command_server(document, operation) == Some(server);
    let may_run = document.command.as_ref().is_none_or(|other| other.operation == operation.number);
    (here && may_run).then_some(CommandOrder {
        operation: operation.number,
        kind,
        release: operation.release?,
    })
}

fn watch(document: &Document, operation: &Operation, place: Place<'_>) -> Option<WatchOrder> {
    let is_watched = operation.phase == Phase::Watch
        && place.takes_part(operation)
        && place.holds(operation).is_none()
        && !place.is_leaving();
    let release = operation.release.filter(|_| is_watched)?;
    Some(WatchOrder {
        operation: operation.number,
        release,
        previous: operation.previous,
        for_ms: document.release(release)?.config.watch_ms,
    })
}
