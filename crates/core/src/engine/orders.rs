//! From the document to the order of each server.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::document::{Document, Kind, Operation, Phase, Server};
use crate::model::{Config, OperationNumber, Release, ReleaseNumber, ServerName};
use crate::order::{CommandKind, CommandOrder, Level, Order, ReleaseOrder, WatchOrder};
use crate::secrets::Secrets;

/// How many releases keep their files on the servers, besides those that run.
pub const STAGED_KEPT: usize = 5;

/// What a server shall be at the generation of the document; `None` when it is not one of its
/// servers.
pub fn order(document: &Document, name: &ServerName) -> Option<Order> {
    let server = document.servers.get(name)?;
    let operation = document.operation.as_ref();
    let releases = wanted(document)
        .into_iter()
        .filter_map(|(number, wish)| Some((number, wish.of(document.release(number)?, server))))
        .collect();
    Some(Order {
        app: document.app.clone(),
        environment: document.environment.clone(),
        server: name.clone(),
        generation: document.generation,
        operation: operation.map_or(OperationNumber(0), |operation| operation.number),
        releases,
        command: operation.and_then(|operation| command(document, operation, name)),
        watch: operation.and_then(|operation| watch(document, operation)),
        secrets: document.secrets.as_ref().map(Secrets::for_servers),
    })
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

    fn of(self, release: &Release, server: &Server) -> ReleaseOrder {
        ReleaseOrder {
            level: self.level,
            background: self.background,
            warm_ms: self.warm.then_some(release.config.warm_ms),
            bundle: release.bundle.clone(),
            config: processes_of(&release.config, server),
        }
    }
}

/// A process runs on the servers that carry the role of its own name.
fn processes_of(config: &Arc<Config>, server: &Server) -> Arc<Config> {
    let runs_here = |name: &str| server.roles.iter().any(|role| role.as_str() == name);
    if config.processes.keys().all(|name| runs_here(name.as_str())) {
        return Arc::clone(config);
    }
    let mut own = Config::clone(config);
    own.processes.retain(|name, _| runs_here(name.as_str()));
    Arc::new(own)
}

fn wanted(document: &Document) -> BTreeMap<ReleaseNumber, Wish> {
    let mut wishes = BTreeMap::new();
    let operation = document.operation.as_ref();
    if operation.is_some_and(|operation| operation.phase == Phase::Remove) {
        return wishes;
    }
    if document.serving.is_none() && operation.is_none() {
        return wishes;
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
    if let Some(operation) = operation {
        wish_of_operation(operation, &mut wishes);
    }
    wishes
}

fn wish_of_operation(operation: &Operation, wishes: &mut BTreeMap<ReleaseNumber, Wish>) {
    let Some(new) = operation.release else { return };
    let old = operation.previous.filter(|old| *old != new);
    match operation.phase {
        Phase::Stage | Phase::Command => {
            wishes.entry(new).or_insert(Wish::STAGED);
        }
        Phase::Start | Phase::Check => {
            wishes.insert(new, Wish::running(false));
        }
        Phase::Switch => {
            wishes.extend(old.map(|old| (old, Wish::running(true))));
            wishes.insert(new, Wish::routed(false));
        }
        Phase::Exchange | Phase::Watch => {
            wishes.extend(old.map(|old| (old, Wish::running(false))));
            wishes.insert(new, Wish::routed(true));
        }
        Phase::TakeBack => {
            if operation.kind == Kind::Deploy {
                wishes.remove(&new);
            } else {
                wishes.insert(new, Wish::STAGED);
            }
            wishes.extend(old.map(|old| (old, Wish::routed(true))));
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

fn watch(document: &Document, operation: &Operation) -> Option<WatchOrder> {
    let release = operation.release.filter(|_| operation.phase == Phase::Watch)?;
    Some(WatchOrder {
        operation: operation.number,
        release,
        previous: operation.previous,
        for_ms: document.release(release)?.config.watch_ms,
    })
}
