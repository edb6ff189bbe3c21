//! What a server runs before and after a change of servers or counts, and who sends it requests.
//!
//! An operation leads from one side to the other. Nothing that a balancer may still send requests
//! to stops answering: a server that loses its last instance with traffic keeps it until the
//! balancers have dropped it, and a new one gets requests when it answers.
//!
//! ```text
//!                    before the decision   Switch   Exchange, Watch   Leave
//! balancers send to         from            from         to             to
//! who only serves `from`   serves          serves      serves         stops
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::steps;
use crate::document::{Document, Kind, Operation, Phase, Scale, Server};
use crate::model::{Config, Process, ProcessName, ReleaseNumber, ServerName};
use crate::planted::planted;

/// The servers and counts on one side of a change.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    servers: &'a BTreeMap<ServerName, Server>,
    scaled: &'a BTreeMap<ProcessName, Scale>,
}

impl<'a> Side<'a> {
    /// What the operation in flight brings; at rest what is in force.
    pub(super) fn to(document: &'a Document) -> Self {
        Self { servers: &document.servers, scaled: &document.scaled }
    }

    /// What was in force when the operation in flight was recorded.
    pub(super) fn from(document: &'a Document) -> Self {
        let operation = document.operation.as_ref();
        operation.and_then(|operation| operation.before.as_ref()).map_or(
            Self::to(document),
            |before| Self { servers: &before.servers, scaled: &before.scaled },
        )
    }

    /// How many instances of a process run on a server. A number in all is spread evenly; the
    /// servers that come first by name get what is left over.
    fn count(self, name: &ProcessName, process: &Process, server: &ServerName) -> u32 {
        let runs = |own: &Server| process.runs_on(name, &own.roles);
        if !self.servers.get(server).is_some_and(runs) {
            return 0;
        }
        let Some(total) = self.total(name, process) else { return process.count };
        let mut on = self.servers.iter().filter(|(_, own)| runs(own)).map(|(name, _)| name);
        let servers = on.clone().count().try_into().unwrap_or(u32::MAX);
        let index = on.position(|name| name == server).and_then(|index| index.try_into().ok());
        total / servers + u32::from(index.unwrap_or(u32::MAX) < total % servers)
    }

    /// How many instances of a process run in all, when somebody said so.
    fn total(self, name: &ProcessName, process: &Process) -> Option<u32> {
        self.scaled.get(name).map(|scale| scale.count).or(process.total)
    }

    /// The servers that run a process.
    pub(super) fn servers_of(self, name: &ProcessName, process: &Process) -> usize {
        self.servers.values().filter(|own| process.runs_on(name, &own.roles)).count()
    }

    /// The configuration of a release as one server runs it: `count` is the server's own, and
    /// what does not run there is left out.
    pub(super) fn config(self, config: &Arc<Config>, server: &ServerName) -> Arc<Config> {
        let counts = config.processes.iter();
        let counts: BTreeMap<_, _> =
            counts.map(|(name, own)| (name, self.count(name, own, server))).collect();
        narrowed(config, &counts)
    }

    /// Whether a server runs something of a release that gets traffic.
    fn has_traffic(self, config: &Config, server: &ServerName) -> bool {
        config.with_traffic().any(|(name, own)| self.count(name, own, server) > 0)
    }
}

/// The configuration with these counts, without the processes that have none.
fn narrowed(config: &Arc<Config>, counts: &BTreeMap<&ProcessName, u32>) -> Arc<Config> {
    let is_so = |(name, own): (&ProcessName, &Process)| {
        counts.get(name) == Some(&own.count) && own.total.is_none() && own.on.is_empty()
    };
    if config.processes.iter().all(is_so) {
        return Arc::clone(config);
    }
    let mut own = Config::clone(config);
    own.processes.retain(|name, process| {
        process.count = counts.get(name).copied().unwrap_or_default();
        (process.total, process.on) = (None, BTreeSet::new());
        process.count > 0
    });
    Arc::new(own)
}

/// One server in the operation in flight.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    document: &'a Document,
    name: &'a ServerName,
}

impl<'a> Place<'a> {
    pub(super) fn of(document: &'a Document, name: &'a ServerName) -> Self {
        Self { document, name }
    }

    /// The document that it is a place of, and its server.
    pub(super) fn parts(self) -> (&'a Document, &'a ServerName) {
        (self.document, self.name)
    }

    /// Whether it is being taken out of the environment.
    pub(super) fn is_leaving(self) -> bool {
        !self.document.servers.contains_key(self.name)
    }

    /// Whether the present step of the operation is about it.
    pub(super) fn takes_part(self, operation: &Operation) -> bool {
        let in_step = operation.rollout.as_ref().is_none_or(|own| {
            // A server that is taken out goes with the last step.
            let is_last = || !steps::are_left(self.document, operation);
            own.step.contains(self.name) || self.is_leaving() && is_last()
        });
        let in_steps = matches!(operation.phase, Phase::Switch | Phase::Exchange | Phase::Watch);
        !in_steps || in_step
    }

    /// The phase that the operation has for it: where a step is not about it, it stays as it was
    /// after its own step, or before it.
    pub(super) fn phase(self, operation: &Operation) -> Phase {
        match &operation.rollout {
            Some(rollout)
                if planted!(TakeBackForgetsSteps)
                    && operation.phase == Phase::TakeBack
                    && rollout.taken.contains(self.name) =>
            {
                Phase::Watch
            }
            Some(_) if self.takes_part(operation) => operation.phase,
            Some(rollout) if rollout.taken.contains(self.name) => Phase::Watch,
            Some(_) => Phase::Start,
            None => operation.phase,
        }
    }

    /// Whether it serves on one side, and must go on until no balancer sends it requests any
    /// more: the release that it keeps in the route.
    pub(super) fn holds(self, operation: &Operation) -> Option<ReleaseNumber> {
        if planted!(PeerStopsFirst) {
            return None;
        }
        let (serves_from, serves_to) = (self.serves_from(operation), self.serves_to(operation));
        let held = match operation.phase {
            Phase::Switch | Phase::Exchange | Phase::Watch
                if serves_from && !serves_to && self.phase(operation) != Phase::Start =>
            {
                operation.previous
            }
            Phase::TakeBack if serves_to && !serves_from && self.was_decided(operation) => {
                operation.release
            }
            _ => None,
        };
        held.filter(|_| self.document.has_balancer())
    }

    fn was_decided(self, operation: &Operation) -> bool {
        operation.rollout.as_ref().is_none_or(|rollout| rollout.includes(self.name))
    }

    /// Whether the operation has to wait for it after the balancers have dropped it.
    pub(super) fn has_to_leave(self, operation: &Operation) -> bool {
        let (from, to) = (self.serves_from(operation), self.serves_to(operation));
        let is_left = if operation.failure.is_some() { to && !from } else { from && !to };
        let failed = operation.failure.is_some();
        (self.is_leaving() && !failed) || (is_left && self.document.has_balancer())
    }

    /// Whether it is on the side that the operation leads to, for those who send it requests:
    /// what it was asked to run there answers. `None` while everything is taken away.
    fn is_on_new_side(self, operation: &Operation) -> Option<bool> {
        match self.phase(operation) {
            Phase::Stage | Phase::Command | Phase::Start | Phase::Check | Phase::TakeBack => {
                Some(false)
            }
            Phase::Switch => Some(operation.kind == Kind::Scale),
            Phase::Exchange | Phase::Watch => Some(true),
            Phase::Leave => Some(operation.failure.is_none()),
            Phase::Remove => None,
        }
    }

    /// Whether balancers send it requests now.
    fn is_served(self) -> bool {
        let document = self.document;
        let Some(operation) = &document.operation else {
            return self.serves(Side::to(document), document.serving);
        };
        match self.is_on_new_side(operation) {
            Some(true) => self.serves_to(operation),
            Some(false) => self.serves_from(operation),
            None => false,
        }
    }

    /// Whether it sends requests on to others now.
    fn balances(self) -> bool {
        let operation = self.document.operation.as_ref();
        let is_new = operation.is_none_or(|own| self.is_on_new_side(own).unwrap_or(true));
        let side = if is_new { Side::to(self.document) } else { Side::from(self.document) };
        side.servers.get(self.name).is_some_and(Server::is_balancer)
    }

    /// Whether visitors come here for an app that only other servers run, also while none of them
    /// can be sent requests.
    pub(super) fn leads_elsewhere(self) -> bool {
        let document = self.document;
        let Some(serving) = document.serving.and_then(|number| document.release(number)) else {
            return false;
        };
        let has_visitors = serving.config.with_traffic().next().is_some();
        has_visitors && self.balances() && !self.serves(Side::to(document), document.serving)
    }

    fn serves_from(self, operation: &Operation) -> bool {
        self.serves(Side::from(self.document), operation.previous)
    }

    fn serves_to(self, operation: &Operation) -> bool {
        self.serves(Side::to(self.document), operation.release)
    }

    fn serves(self, side: Side<'_>, release: Option<ReleaseNumber>) -> bool {
        let release = release.and_then(|number| self.document.release(number));
        release.is_some_and(|release| side.has_traffic(&release.config, self.name))
    }

    /// The configuration of a release as it runs here now.
    pub(super) fn config(self, number: ReleaseNumber, config: &Arc<Config>) -> Arc<Config> {
        let (from, to) = (Side::from(self.document), Side::to(self.document));
        let Some(operation) = &self.document.operation else {
            return to.config(config, self.name);
        };
        let is_old = operation.previous == Some(number);
        if operation.kind != Kind::Scale || !is_old {
            let side = if is_old && operation.release != Some(number) { from } else { to };
            return side.config(config, self.name);
        }
        let (old, new) = (from.config(config, self.name), to.config(config, self.name));
        if !operation.phase.is_decided() {
            return with_most(config, &old, &new);
        }
        if self.holds(operation).is_some() || operation.phase != Phase::Leave && self.is_leaving() {
            old
        } else {
            new
        }
    }
}

/// The configuration with the higher count of each process.
fn with_most(config: &Arc<Config>, one: &Config, other: &Config) -> Arc<Config> {
    let count =
        |of: &Config, name| of.processes.get(name).map_or(0, |process: &Process| process.count);
    let counts = config.processes.keys();
    let counts = counts.map(|name| (name, count(one, name).max(count(other, name)))).collect();
    narrowed(config, &counts)
}

/// The other servers that a balancer sends requests to. None of them is a balancer: a request
/// passes at most two proxies.
pub(super) fn peers(document: &Document, name: &ServerName) -> BTreeMap<ServerName, String> {
    if !Place::of(document, name).balances() {
        return BTreeMap::new();
    }
    let others = document.everywhere().filter(|other| *other != name);
    let peers = others.filter_map(|other| Some((other, document.server(other)?)));
    peers
        .filter(|(other, _)| !Place::of(document, other).balances())
        .filter(|(other, _)| !document.behind.contains(*other) || planted!(PeerStaysBehind))
        .filter(|(other, _)| Place::of(document, other).is_served())
        .map(|(other, server)| (other.clone(), server.address.clone()))
        .collect()
}
