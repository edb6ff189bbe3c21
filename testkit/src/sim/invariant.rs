//! The invariants, each a function with its statement.
//!
//! | id | when | where |
//! |---|---|---|
//! | I1 | every turn | [`routes_lead_somewhere`], [`route`] |
//! | I2, I6 | every write | [`every_write`] |
//! | I3 | every order | [`order_follows_from_the_document`] |
//! | I4, I11 | at rest | [`at_rest`], and [`start`] for two of one instance |
//! | I5 | every order, every action | [`fence_never_falls`], [`no_effect_below_the_fence`] |
//! | I7 | every write, the end | [`one_request_one_operation`], [`acknowledged_once`] |
//! | I8 | every start | [`start`] |
//! | I9 | every stop | [`stop`], [`nothing_runs_from_what_is_removed`] |
//! | I10 | after the last fault | the loop of a run counts turns and time |
//! | I12 | at rest | [`at_rest`] |
//! | I13 | the end | [`chain`]; every read is of the store's one current document |
//! | I14 | – | documents and orders have a type for what is sealed and none for what is not; the canary search of `tests/cli` stands for it |
//! | I15 | always | [`every_write`] for the length; a run catches panics and counts turns |
//! | I16 | the end of each run of a runner | [`end_is_true`] |
//! | EXCLUSIVE | every start | [`start`]: processes without traffic never run in two releases |
//! | COMMAND | every command | [`command`]: never two at a time; [`route`]: once before its release |
//! | DONE | every write that ends an operation | [`done_is_done`] |
//! | PEER, LEFT | every turn, order and write; at rest | [`super::fleet`] |
//! | STEP, PROBE, COUNT, SCALE | every write | [`super::fleet`] |
//! | WATCH | every verdict | [`watch_ends_well_when_all_is_ready`] |

use std::fmt;

use onward_core::document::{Document, Ended, Phase};
use onward_core::engine::{self, Advance, Ask, Refusal, Request, advance};
use onward_core::model::{Digest, Generation, OperationNumber, ReleaseNumber, ServerName};
use onward_core::order::{CommandKind, CommandOrder, Level, Order};
use onward_core::ports::Stored;
use onward_core::reconcile::{DRAIN_WITHIN_MS, RouteFact, SlotId, reconcile};
use onward_core::report::{Contact, Contacts};
use onward_core::runner::End;

use super::core::Ledger;
use super::machine::{Disk, Machine, Proc};
use super::scenario::WARM_MS;
use crate::fake::MemoryStore;

/// The longest document of a run, in bytes. Runs have few operations; what grows beyond that grows
/// without bound.
const DOCUMENT_BYTES_MAX: usize = 64 << 10;

/// What did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant.
    pub id: &'static str,
    /// How it was broken.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.id, self.what)
    }
}

pub(super) type Checked = Result<(), Violation>;

pub(super) fn hold(holds: bool, id: &'static str, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation { id, what: what() }) }
}

/// I2: each write raises the generation by exactly one and names what it replaced; no operation
/// vanishes. I6: an operation never goes backwards and never changes what it is; one that finished
/// stays so. I15: a document stays short.
pub fn every_write(before: Option<&Stored>, after: &Stored) -> Checked {
    let next = &*after.document;
    let generation = before.map(|stored| stored.document.generation).unwrap_or_default();
    hold(next.generation == generation.next(), "I2", || {
        format!("generation {} was replaced by {}", generation, next.generation)
    })?;
    hold(next.parent == before.map(|stored| stored.digest), "I2", || {
        format!("generation {} does not name what it replaced", next.generation)
    })?;
    hold(next.validate().is_ok(), "I2", || {
        format!("generation {} contradicts itself: {:?}", next.generation, next.validate())
    })?;
    let Some(before) = before.map(|stored| &*stored.document) else { return Ok(()) };
    no_operation_vanishes(before, next)?;
    let surplus = before.history.len().min(next.history.len());
    let prefix = before.history[..surplus] == next.history[..surplus];
    hold(prefix && next.history.len() >= before.history.len(), "I6", || {
        "an operation that had finished was changed".to_owned()
    })?;
    forward_only(before, next)
}

fn no_operation_vanishes(before: &Document, next: &Document) -> Checked {
    let Some(operation) = &before.operation else { return Ok(()) };
    let number = operation.number;
    let still = next.operation.as_ref().is_some_and(|own| own.number == number);
    let ended = next.history.iter().filter(|own| own.number == number).count();
    hold(usize::from(still) + ended == 1, "I2", || {
        format!("operation {number} is {ended} times in the history after it was in flight")
    })?;
    let last = next.operation.as_ref().map_or(number, |own| own.number);
    hold(next.last_operation >= before.last_operation && last >= number, "I2", || {
        "the numbers of operations went back".to_owned()
    })
}

fn forward_only(before: &Document, next: &Document) -> Checked {
    let (Some(old), Some(new)) = (&before.operation, &next.operation) else { return Ok(()) };
    if old.number != new.number {
        return Ok(());
    }
    let same = old.request == new.request
        && old.kind == new.kind
        && old.release == new.release
        && old.previous == new.previous
        && old.started == new.started
        && old.without == new.without
        && old.before == new.before;
    hold(same, "I6", || {
        format!(
            "operation {} was {:?} over {:?} and became {:?} over {:?}",
            old.number, old.release, old.previous, new.release, new.previous
        )
    })?;
    hold(may_follow(old.phase, new.phase), "I6", || {
        format!("operation {} went from {:?} to {:?}", old.number, old.phase, new.phase)
    })
}

fn may_follow(old: Phase, new: Phase) -> bool {
    match (old, new) {
        (Phase::Remove | Phase::Leave, new) => new == old,
        (Phase::TakeBack, new) => matches!(new, Phase::TakeBack | Phase::Leave),
        (old, Phase::TakeBack | Phase::Leave) => old.is_decided(),
        // The next step of a release that the servers take in several.
        (Phase::Watch, Phase::Switch) => true,
        (_, Phase::Remove) => false,
        (old, new) => new >= old,
    }
}

/// I7: one request becomes one operation, however often and under whatever name it is submitted.
pub fn one_request_one_operation(ledger: &mut Ledger, document: &Document) -> Checked {
    let Some(operation) = &document.operation else { return Ok(()) };
    if !operation.by.contains('#') {
        return Ok(());
    }
    let known = ledger.operations.entry(operation.by.clone()).or_insert(operation.number);
    hold(*known == operation.number, "I7", || {
        format!("{} became operations {known} and {}", operation.by, operation.number)
    })
}

/// I7: what a person was told was recorded is in the history exactly once.
pub fn acknowledged_once(ledger: &Ledger, document: &Document) -> Checked {
    for number in &ledger.acknowledged {
        let times = document.history.iter().filter(|own| own.number == *number).count();
        hold(times == 1, "I7", || format!("operation {number} is {times} times in the history"))?;
    }
    Ok(())
}

/// I3: an order that a server accepts follows from the document that is kept at its generation,
/// and from nothing else.
pub fn order_follows_from_the_document(order: &Order, store: &MemoryStore) -> Checked {
    let Some(stored) = store.at(order.generation) else {
        return Err(Violation {
            id: "I3",
            what: format!("an order of generation {} came before it was written", order.generation),
        });
    };
    let follows = engine::order(&stored.document, &order.server);
    hold(follows.as_ref() == Some(order), "I3", || {
        format!("an order of generation {} is not that of its document", order.generation)
    })
}

/// I5: a server never accepts an order below the highest that it ever accepted, whatever died.
pub fn fence_never_falls(order: &Order, accepted_max: Generation) -> Checked {
    hold(order.generation >= accepted_max, "I5", || {
        format!("{} accepted {} after {accepted_max}", order.server, order.generation)
    })
}

/// I5: nothing is done under an order below the highest that was ever accepted.
pub fn no_effect_below_the_fence(generation: Generation, accepted_max: Generation) -> Checked {
    hold(generation >= accepted_max, "I5", || {
        format!("an effect of generation {generation} after {accepted_max} was accepted")
    })
}

/// I1: each instance that the proxy of a server sends traffic to runs, unless it ended by itself
/// or with its server.
pub fn routes_lead_somewhere(machine: &Machine) -> Checked {
    let Some(route) = &machine.route else { return Ok(()) };
    for (slot, port) in &route.slots {
        let runs = machine.procs.iter().any(|proc| proc.slot == *slot && proc.port == *port);
        hold(runs || machine.excused.contains(port), "I1", || {
            format!("traffic of {} goes to {slot}, which was stopped", machine.name)
        })?;
    }
    Ok(())
}

/// I1: traffic is only sent to instances that were verified and are ready. COMMAND: not before
/// the release command has ended well once.
pub fn route(
    machine: &Machine,
    target: Option<&RouteFact>,
    ledger: &Ledger,
    now_ms: u64,
) -> Checked {
    let Some(target) = target else { return Ok(()) };
    let stays = |slot, port| {
        machine.route.as_ref().is_some_and(|route| route.slots.get(slot) == Some(port))
    };
    // What is routed already may have stopped to answer: nobody else is there.
    for (slot, port) in target.slots.iter().filter(|(slot, port)| !stays(slot, port)) {
        let proc = machine.procs.iter().find(|proc| proc.slot == *slot && proc.port == *port);
        let ready = proc.is_some_and(|proc| proc.is_ready(now_ms));
        hold(ready || machine.excused.contains(port), "I1", || {
            format!("{slot} on {} gets traffic and is not ready", machine.name)
        })?;
    }
    let order = machine.kept.order.as_ref().and_then(|o| o.releases.get(&target.release));
    let is_switch = machine.route.as_ref().is_none_or(|own| own.release != target.release);
    let all: u32 =
        order.iter().flat_map(|own| own.config.with_traffic()).map(|(_, own)| own.count).sum();
    hold(!is_switch || target.slots.len() == all as usize, "I1", || {
        format!("traffic of {} goes to {} of {all} instances", machine.name, target.slots.len())
    })?;
    let needs = order.is_some_and(|release| release.config.release_command.is_some());
    hold(!needs || ledger.commands_done.contains(&target.release), "COMMAND", || {
        format!("release {} gets traffic before its release command has run", target.release)
    })
}

/// I8: what starts was compared with its digest on this server. I4: an instance runs once.
/// EXCLUSIVE: processes without traffic never run in two releases at once.
pub fn start(machine: &Machine, id: &SlotId) -> Checked {
    let whole = matches!(machine.files.get(&id.release), Some(Disk::There { whole: true }));
    let verified = machine.agent.as_ref().and_then(|memory| memory.facts.files.get(&id.release))
        == Some(&onward_core::reconcile::Files::Verified);
    hold(whole && verified, "I8", || {
        format!("{id} starts on {} from files that were not verified", machine.name)
    })?;
    hold(machine.proc(id).is_none(), "I4", || {
        format!("{id} is started on {} although it runs", machine.name)
    })?;
    let order = machine.kept.order.as_ref().and_then(|own| own.releases.get(&id.release));
    let process = order.and_then(|own| own.config.processes.get(&id.process));
    let overlaps = process.is_some_and(|own| own.overlap);
    let other = machine.procs.iter().filter(|_| !overlaps).find(|proc| {
        !proc.slot.process.has_traffic()
            && !id.process.has_traffic()
            && proc.slot.release != id.release
    });
    hold(other.is_none(), "EXCLUSIVE", || {
        format!("{id} starts on {} beside an older one", machine.name)
    })
}

/// I9: an instance is stopped when no route names it and its requests have ended or had their
/// time. The last healthy instance is one that a route names.
pub fn stop(machine: &Machine, id: &SlotId, now_ms: u64) -> Checked {
    if !id.process.has_traffic() {
        return Ok(());
    }
    let port = machine.proc(id).map(|proc| proc.port);
    let routed = machine
        .route
        .as_ref()
        .is_some_and(|route| port.is_some() && route.slots.get(id).copied() == port);
    hold(!routed, "I9", || format!("{id} is stopped on {} while it has traffic", machine.name))?;
    let left = machine.left.get(id).or_else(|| machine.leaving.get(&id.release));
    let Some(leaving) = left else { return Ok(()) };
    let drained = leaving.requests_until_ms <= now_ms;
    let had_its_time = now_ms - leaving.since_ms >= DRAIN_WITHIN_MS;
    hold(drained || had_its_time, "I9", || {
        format!("{id} is stopped on {} with requests in flight", machine.name)
    })
}

/// I9: files go when nothing runs from them and no traffic goes to what did.
pub fn nothing_runs_from_what_is_removed(machine: &Machine, release: ReleaseNumber) -> Checked {
    let runs = machine.procs.iter().any(|proc| proc.slot.release == release);
    let commanded = machine.commands.iter().any(|command| command.release == release);
    let routed = machine.route.as_ref().is_some_and(|route| route.release == release);
    hold(!runs && !commanded && !routed, "I9", || {
        format!("the files of release {release} are removed on {} in use", machine.name)
    })
}

/// COMMAND: commands never run beside another on a server, release commands never on two servers.
pub fn command(machine: &Machine, order: &CommandOrder, ledger: &Ledger) -> Checked {
    hold(machine.commands.is_empty(), "COMMAND", || {
        format!("two commands at once on {}", machine.name)
    })?;
    let elsewhere = ledger.commands_running.iter().next();
    hold(order.kind != CommandKind::Release || elsewhere.is_none(), "COMMAND", || {
        format!("the release command starts on {} while {elsewhere:?} runs", machine.name)
    })
}

/// WATCH: a watch ends well only when every instance of the release is ready at that moment.
pub fn watch_ends_well_when_all_is_ready(machine: &Machine, now_ms: u64) -> Checked {
    let Some(order) = &machine.kept.order else { return Ok(()) };
    let Some(watch) = &order.watch else { return Ok(()) };
    let Some(release) = order.releases.get(&watch.release) else { return Ok(()) };
    let all = release.config.processes.iter();
    let indices = all.flat_map(|(name, process)| (1..=process.count).map(move |n| (name, n)));
    for (process, index) in indices {
        let id = SlotId { release: watch.release, process: process.clone(), index };
        let proc = machine.proc(&id);
        // What ended by itself since the agent looked last is seen at its next look.
        let seen = machine.agent.as_ref().and_then(|memory| memory.facts.slots.get(&id));
        let ready = proc.is_some_and(|proc| proc.is_ready(now_ms));
        hold(ready || seen.is_some_and(|slot| slot.was_ready), "WATCH", || {
            format!("the watch of {} ends well on {} without {id}", watch.release, machine.name)
        })?;
    }
    Ok(())
}

/// DONE: an operation is done when every server that it does not name as behind serves what it
/// brought, or when nothing runs there that it took away.
pub fn done_is_done(before: &Document, after: &Document, machines: &[Machine]) -> Checked {
    let Some(operation) = &before.operation else { return Ok(()) };
    let Some(ended) = after.finished(operation.number) else { return Ok(()) };
    if ended.outcome != Ended::Done {
        return Ok(());
    }
    let is_asked = |own: &&Machine| {
        after.servers.contains_key(&own.name) && !ended.degraded.contains(&own.name)
    };
    for machine in machines.iter().filter(is_asked) {
        let routed = machine.route.as_ref().map(|route| route.release);
        let is_empty = ended.release.is_some() || machine.procs.is_empty();
        hold(routed == ended.release && is_empty, "DONE", || {
            format!(
                "operation {} is done and {} serves {routed:?} with {} processes",
                ended.number,
                machine.name,
                machine.procs.len()
            )
        })?;
    }
    Ok(())
}

/// I4: what is on the servers is what the document says, no more and no less. I11: what runs is
/// the newest accepted intent. I12: nothing more is done or written.
pub fn at_rest(document: &Document, machines: &[Machine], now_ms: u64) -> Checked {
    newest_intent(document)?;
    let mut contacts = Contacts::new();
    for machine in machines.iter().filter(|own| document.servers.contains_key(&own.name)) {
        let routed = machine.route.as_ref().map(|route| route.release);
        hold(routed == document.serving, "I11", || {
            format!("{} serves {routed:?}, the document {:?}", machine.name, document.serving)
        })?;
        resources(machine)?;
        let Some(memory) = &machine.agent else { continue };
        let actions = reconcile(&machine.kept, &memory.facts).actions;
        hold(actions.is_empty(), "I12", || {
            format!("{} still wants to act: {actions:?}", machine.name)
        })?;
        let report = Box::new(machine.report(now_ms));
        contacts.insert(machine.name.clone(), Contact::Reached(report));
    }
    hold(document.behind.is_empty(), "I12", || format!("{:?} stay behind", document.behind))?;
    let further = advance(document, &contacts, document.written);
    hold(further == Advance::Rest, "I12", || "the engine still wants to write".to_owned())
}

fn newest_intent(document: &Document) -> Checked {
    hold(document.is_as_demanded(), "I11", || "it is not what is demanded".to_owned())?;
    hold(document.demand.release == document.serving, "I11", || {
        format!("{:?} serves, {:?} is demanded", document.serving, document.demand.release)
    })?;
    let Some(last) = document.history.iter().max_by_key(|own| own.number) else { return Ok(()) };
    let expected = if last.outcome == Ended::Done { last.release } else { last.previous };
    hold(document.serving == expected, "I11", || {
        format!("operation {} wants {expected:?}, {:?} serves", last.number, document.serving)
    })
}

fn resources(machine: &Machine) -> Checked {
    let Some(order) = &machine.kept.order else { return Ok(()) };
    for (number, release) in &order.releases {
        hold(machine.files.contains_key(number), "I4", || {
            format!("{} lacks the files of release {number}", machine.name)
        })?;
        let runs = release.level >= Level::Running && release.warm_ms.is_none();
        for (process, wish) in release.config.processes.iter().filter(|_| runs) {
            let is_wanted = process.has_traffic() || release.background;
            let expected = if is_wanted { wish.count as usize } else { 0 };
            let count =
                |proc: &&Proc| proc.slot.release == *number && proc.slot.process == *process;
            let found = machine.procs.iter().filter(count).count();
            hold(found == expected, "I4", || {
                format!("{found} of {expected} {process} of release {number} on {}", machine.name)
            })?;
        }
    }
    for proc in &machine.procs {
        let level = order.level(proc.slot.release);
        hold(level >= Level::Running, "I4", || {
            format!("{} runs on {} and nobody wants it", proc.slot, machine.name)
        })?;
    }
    for number in machine.files.keys() {
        hold(order.releases.contains_key(number), "I4", || {
            format!("files of release {number} are left on {}", machine.name)
        })?;
    }
    hold(machine.commands.is_empty(), "I4", || format!("a command runs on {}", machine.name))
}

/// I13: every generation is there, and names the digest of the bytes of the one before.
pub fn chain(store: &MemoryStore) -> Checked {
    let mut parent = None;
    for (index, stored) in store.all().iter().enumerate() {
        let document = &*stored.document;
        let bytes = document.encode();
        let whole = document.generation == Generation(index as u64 + 1)
            && document.parent == parent
            && stored.digest == Digest::of(&bytes)
            && bytes.len() <= DOCUMENT_BYTES_MAX;
        hold(whole, "I13", || format!("generation {} breaks the chain", document.generation))?;
        let read = Document::decode(&bytes);
        hold(read.as_ref() == Ok(document), "I13", || {
            format!("generation {} does not read as it was written", document.generation)
        })?;
        parent = Some(stored.digest);
    }
    Ok(())
}

/// I16: what a person is told at the end of a run is true of the document.
pub fn end_is_true(
    end: &End,
    accepted: Option<OperationNumber>,
    request: Option<&Request>,
    read: Option<&Document>,
    now: Option<&Document>,
) -> Checked {
    let untrue = |what: &str| Err(Violation { id: "I16", what: format!("{end:?}: {what}") });
    match end {
        End::Finished(number) => {
            let ended = now.is_some_and(|document| document.finished(*number).is_some());
            if !ended || accepted != Some(*number) {
                return untrue("it is not in the history");
            }
            let told = now.and_then(|document| document.finished(*number));
            let is_own = |request: &&Request| {
                request.ask == Ask::Abort || told.is_some_and(|own| own.request == request.id)
            };
            if request.as_ref().is_some_and(|request| !is_own(request)) {
                return untrue("it is what somebody else asked for");
            }
        }
        End::Unchanged => {
            let Some((request, document)) = request.zip(read) else {
                return untrue("nothing was asked or read");
            };
            if !is_so_already(&request.ask, document) {
                return untrue("it is not so");
            }
        }
        End::Refused(refusal) => {
            let asked = request.and_then(|request| match &request.ask {
                Ask::Deploy { servers, .. } => Some(servers),
                _ => None,
            });
            let names = |own: &ServerName| asked.is_some_and(|own_of| !own_of.contains_key(own));
            let refused = read.is_none_or(|document| match refusal {
                Refusal::UnknownServer(server) if names(server) => true,
                refusal => is_refusal_true(refusal, document),
            });
            if !refused || accepted.is_some() {
                return untrue("the reason is not true");
            }
        }
        End::NothingHere => {
            if read.is_some() {
                return untrue("there is a document");
            }
        }
        End::AtRest => {
            if read.is_none_or(|document| document.operation.is_some()) {
                return untrue("an operation is in flight");
            }
        }
        End::Store(_) => {}
    }
    Ok(())
}

fn is_so_already(ask: &Ask, document: &Document) -> bool {
    let serving = document.serving.and_then(|number| document.release(number));
    match ask {
        Ask::Deploy { bundle, config, .. } => {
            serving.is_some_and(|release| release.bundle == *bundle && release.config == *config)
        }
        Ask::Rollback { to } => to.is_none_or(|to| document.serving == Some(to)),
        Ask::Down => serving.is_none(),
        Ask::Scale { counts } => serving.is_some_and(|release| {
            counts.iter().all(|(name, count)| {
                let scaled = document.scaled.get(name).map(|scale| scale.count);
                let now = scaled.or(engine::count_of_file(document, &release.config, name));
                now == Some(*count)
            })
        }),
        Ask::Move { role, to, .. } => {
            document.servers.get(to).is_some_and(|own| own.roles.contains(role))
        }
        Ask::Replace { server } => {
            !document.servers.contains_key(server) && document.demand.replacing.contains_key(server)
        }
        Ask::Join { server, .. } => document.servers.contains_key(server),
        Ask::Abort => false,
        Ask::Maintenance(wanted) => document.demand.maintenance == *wanted,
    }
}

fn is_refusal_true(refusal: &Refusal, document: &Document) -> bool {
    match refusal {
        Refusal::NothingReleased => document.serving.is_none(),
        Refusal::NoPrevious => document
            .serving
            .is_none_or(|serving| document.releases.range(..serving).next().is_none()),
        Refusal::UnknownRelease(number) => !document.releases.contains_key(number),
        Refusal::NothingInFlight => document.operation.is_none(),
        Refusal::AlreadyDecided(number) => document
            .operation
            .as_ref()
            .is_some_and(|own| own.number == *number && own.phase.is_decided()),
        Refusal::StalePlan { planned, actual } => {
            document.generation == *actual && planned != actual
        }
        Refusal::UnknownServer(server) => !document.servers.contains_key(server),
        Refusal::NoValue(names) => {
            let secrets = document.secrets.as_ref();
            names.iter().all(|name| secrets.is_none_or(|own| !own.current.contains_key(name)))
        }
        Refusal::UnknownProcess { .. }
        | Refusal::CannotMove(_)
        | Refusal::CannotReplace(_)
        | Refusal::TooFew { .. }
        | Refusal::TooMany { .. } => true,
    }
}

/// The time after which nothing changes any more when nothing new happens: the longest drain.
pub const REST_WITHIN_MS: u64 = onward_core::reconcile::UPGRADED_WITHIN_MS + WARM_MS + 120_000;
