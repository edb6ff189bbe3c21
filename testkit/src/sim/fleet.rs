//! The invariants of several servers: balancers and those behind them, steps, counts, and servers
//! that leave.

use onward_core::document::{Document, Ended, Kind, Operation, Phase};
use onward_core::engine;
use onward_core::model::ServerName;
use onward_core::order::Order;
use onward_core::ports::Stored;
use onward_core::reconcile::{Slot, SlotId, SlotState};

use super::core::Ledger;
use super::invariant::{Checked, hold};
use super::machine::Machine;
use super::scenario::Behaviour;
use crate::fake::MemoryStore;

/// The time that a server has after a reboot until everything runs again, in milliseconds.
const RECOVERS_WITHIN_MS: u64 = 60_000;

/// PEER: each server that a balancer sends requests to routes them to an instance. Excused are
/// balancers that a decision was made without, until they do what the newest document wants, those
/// that were taken out while nobody reached them, and
/// `down`, which takes all away.
pub fn peers_answer(machines: &[Machine], store: &MemoryStore) -> Checked {
    let spreads =
        |machine: &&Machine| machine.route.as_ref().is_some_and(|route| !route.peers.is_empty());
    let mut balancers = machines.iter().filter(spreads).peekable();
    if balancers.peek().is_none() {
        return Ok(());
    }
    let Some(stored) = store.current() else { return Ok(()) };
    let document = &*stored.document;
    if document.serving.is_none() {
        return Ok(());
    }
    for balancer in balancers.filter(|own| !was_left(document, own)) {
        let peers = balancer.route.iter().flat_map(|route| route.peers.keys());
        for peer in peers {
            let answers = machines
                .iter()
                .filter(|own| own.name == *peer)
                .any(|own| own.route.as_ref().is_some_and(|route| !route.slots.is_empty()));
            hold(answers, "PEER", || {
                format!("{} sends requests to {peer}, which has nobody to answer", balancer.name)
            })?;
        }
    }
    Ok(())
}

/// Whether a decision was made without a balancer that has not followed yet. Nobody can tell it
/// whom it shall spare, so the document names it, and the person is told. Where there are no
/// balancers any more, only the operation that took the last of them keeps its name.
fn was_left(document: &Document, balancer: &Machine) -> bool {
    let name = &balancer.name;
    let last = document.history.last().filter(|_| !document.has_balancer());
    // One that was taken out while nobody reached it is named by the operation that did so.
    let is_out = document.server(name).is_none();
    let was_abandoned = || document.history.iter().any(|own| own.abandoned.contains(name));
    let is_named = document.behind.contains(name)
        || is_out && was_abandoned()
        || last.is_some_and(|own| own.degraded.contains(name));
    is_named && !spreads_as_ordered(document, balancer)
}

/// Whether a balancer has the newest order, and sends requests to whom that names.
fn spreads_as_ordered(document: &Document, balancer: &Machine) -> bool {
    let has_order =
        balancer.kept.order.as_ref().filter(|own| own.generation == document.generation);
    let wanted = has_order.and_then(|own| own.balance.as_ref());
    wanted
        .zip(balancer.route.as_ref())
        .is_some_and(|(wanted, route)| wanted.peers.keys().eq(route.peers.keys()))
}

/// PEER: no order sends requests to a server that a decision has left behind, to the balancer
/// itself, or to another balancer: a request passes at most two proxies.
pub fn peers_are_not_behind(order: &Order, store: &MemoryStore) -> Checked {
    let Some(balance) = &order.balance else { return Ok(()) };
    let Some(stored) = store.at(order.generation) else { return Ok(()) };
    for peer in balance.peers.keys() {
        let behind = stored.document.behind.contains(peer);
        hold(!behind, "PEER", || format!("{peer} is behind and gets requests"))?;
        let onward = engine::order(&stored.document, peer).and_then(|own| own.balance);
        hold(onward.is_none(), "PEER", || {
            format!("{peer} sends requests on and gets some of another balancer")
        })?;
    }
    Ok(())
}

/// STEP: a step is decided when its servers have not taken the release before, and what was left
/// out is left behind. PROBE: a release that never answers is decided for nobody.
pub fn decision(before: &Document, after: &Document) -> Checked {
    let Some(operation) = after.operation.as_ref().filter(|own| own.phase == Phase::Switch) else {
        return Ok(());
    };
    let same = before.operation.as_ref().filter(|own| own.number == operation.number);
    let Some(old) = same.filter(|own| own.phase != Phase::Switch) else { return Ok(()) };
    if let (Some(earlier), Some(now)) = (&old.rollout, &operation.rollout) {
        let taken = earlier.taken.union(&earlier.step).cloned().collect();
        hold(now.taken == taken && now.step.is_disjoint(&taken), "STEP", || {
            format!("operation {} forgets who has taken it", operation.number)
        })?;
        hold(!now.step.is_empty(), "STEP", || "a step of nobody".to_owned())?;
    }
    if after.has_balancer() {
        let left_out = operation.without.iter().find(|name| !after.behind.contains(*name));
        hold(left_out.is_none(), "PEER", || format!("{left_out:?} is left out and not behind"))?;
    }
    answers(after, operation)
}

fn answers(document: &Document, operation: &Operation) -> Checked {
    let release = operation.release.and_then(|number| document.release(number));
    let behaviour = release.map_or(Behaviour::Good, |own| Behaviour::of(&own.bundle));
    let never = [Behaviour::NeverReady, Behaviour::ExitsAtOnce, Behaviour::BadDigest];
    let runs = |name: &ServerName| {
        let order = engine::order(document, name);
        order.zip(operation.release).is_some_and(|(order, number)| {
            let own = order.releases.get(&number);
            own.is_some_and(|own| own.config.with_traffic().next().is_some())
        })
    };
    let mut asked = document.servers.keys().filter(|name| !operation.without.contains(*name));
    let bad = operation.kind == Kind::Deploy && never.contains(&behaviour);
    hold(!bad || !asked.any(runs), "PROBE", || {
        format!("release {:?}, which is {behaviour:?}, is decided", operation.release)
    })
}

/// SCALE: a change of counts is done when each instance that is wanted was ready, and gets traffic
/// that shall, on every server that is not named as behind.
pub fn scaled_is_scaled(
    before: &Document,
    after: &Document,
    machines: &[Machine],
    now_ms: u64,
) -> Checked {
    let Some(operation) = before.operation.as_ref().filter(|own| own.kind == Kind::Scale) else {
        return Ok(());
    };
    let Some(ended) = after.finished(operation.number) else { return Ok(()) };
    let Some(number) = ended.release.filter(|_| ended.outcome == Ended::Done) else {
        return Ok(());
    };
    let is_asked = |own: &&Machine| {
        // What was ready when it was decided may have lost its power since.
        let lives = own.rebooted_ms.is_none_or(|at| now_ms - at > RECOVERS_WITHIN_MS);
        lives && !ended.degraded.contains(&own.name) && !operation.without.contains(&own.name)
    };
    for machine in machines.iter().filter(is_asked) {
        let Some(order) = engine::order(after, &machine.name) else { continue };
        let Some(release) = order.releases.get(&number) else { continue };
        let Some(memory) = &machine.agent else { continue };
        for (process, wish) in &release.config.processes {
            let seen = memory.facts.slots.iter().filter(|(id, slot)| {
                id.release == number && id.process == *process && (slot.was_ready || slot.adopted)
            });
            let ready = seen.count();
            hold(ready >= wish.count as usize, "SCALE", || {
                let count = wish.count;
                format!("{ready} of {count} {process} on {} when it is done", machine.name)
            })?;
            let unrouted = memory.facts.slots.iter().find(|(id, slot)| {
                let is_wanted = id.process == *process && id.index <= wish.count;
                id.release == number && is_wanted && is_left_out(machine, id, slot)
            });
            hold(unrouted.is_none(), "SCALE", || {
                format!("{unrouted:?} on {} gets no traffic when it is done", machine.name)
            })?;
        }
    }
    Ok(())
}

/// Whether an instance is well and never was in the route. One that ended or stopped to answer
/// since has left it for that, and an older agent does not tell who is in the route.
fn is_left_out(machine: &Machine, id: &SlotId, slot: &Slot) -> bool {
    let is_first_life = slot.state == SlotState::Ready && slot.restarts == 0 && !slot.adopted;
    let was_well = machine.proc(id).is_some_and(|proc| proc.fails_ms.is_none());
    let routed = machine.route.as_ref().is_some_and(|route| route.slots.contains_key(id));
    id.process.has_traffic() && is_first_life && was_well && !routed && !machine.old
}

/// COUNT: a number in all is spread over the servers that run the process, to the last instance,
/// and evenly.
pub fn counts_add_up(document: &Document) -> Checked {
    let release = document.serving.and_then(|number| document.release(number));
    let Some(release) = release.filter(|_| document.operation.is_none()) else { return Ok(()) };
    for (name, process) in &release.config.processes {
        let scaled = document.scaled.get(name).map(|scale| scale.count);
        let Some(wanted) = scaled.or(process.total) else { continue };
        let runs = document.servers.iter().filter(|(_, own)| process.runs_on(name, &own.roles));
        let counts: Vec<u32> = runs
            .filter_map(|(server, _)| {
                let order = engine::order(document, server)?;
                let own = order.releases.get(&release.number)?.config.processes.get(name).cloned();
                Some(own.map_or(0, |own| own.count))
            })
            .collect();
        let (most, least) = (counts.iter().max(), counts.iter().min());
        let even = most.zip(least).is_none_or(|(most, least)| most - least <= 1);
        let sum: u32 = counts.iter().sum();
        hold(counts.is_empty() || sum == wanted && even, "COUNT", || {
            format!("{wanted} {name} are spread as {counts:?}")
        })?;
    }
    Ok(())
}

/// LEFT: nothing runs on a server that was taken out, unless it could not be reached.
pub fn nothing_is_left(document: &Document, machines: &[Machine], ledger: &Ledger) -> Checked {
    let out = machines.iter().filter(|own| document.server(&own.name).is_none());
    for machine in out.filter(|own| !ledger.abandoned.contains(&own.name)) {
        let empty = machine.procs.is_empty() && machine.route.is_none() && machine.files.is_empty();
        hold(empty, "LEFT", || format!("{} was taken out and is not empty", machine.name))?;
    }
    Ok(())
}

/// Keeps who was taken out without being reached.
pub fn note_abandoned(ledger: &mut Ledger, stored: &Stored) {
    let document = &*stored.document;
    if let Some(last) = document.history.last() {
        ledger.abandoned.extend(last.abandoned.iter().cloned());
    }
    ledger.abandoned.retain(|name| document.server(name).is_none());
}
