//! One run: the world of a seed or a plan, turn by turn, until it is at rest.

use onward_core::document::{Document, Kind};
use onward_core::model::ServerName;
use onward_core::ports::Stored;

use super::client::Client;
use super::core::{Core, LateThing, Source, Swarm};
use super::fault::Plan;
use super::fleet;
use super::invariant::{self, REST_WITHIN_MS, Violation};
use super::machine::Machine;
use super::rng::Rng;
use super::scenario::Shared;
use super::trace::Trace;
use super::{ACTORS_MAX, WORLD};

/// The time between two turns, in milliseconds.
const TURN_MS: u64 = 5;
/// I10: the turns within which a world is at rest after the last fault and the last wish. Turns are
/// not counted in which all is as it shall be but for connections that may still last, see
/// [`World::is_given_time`].
const CONVERGED_WITHIN_TURNS: u64 = 1_500;
/// Some of the seeds are of a kind of their own, by what is left of them after a division by this.
const KINDS: u64 = 8;
/// In these balancers come, go and move.
const MOVES: u64 = 1;
/// In these servers often answer when the decision is taken already, as real ones do.
const ANSWERS_LATE: u64 = 3;
/// The turns for which a world at rest awaits a planned fault.
const AWAIT_FAULT_TURNS: u64 = 500;
/// I15: the turns that no run passes.
const TURNS_MAX: u64 = 40_000;

/// What is to be run. Everything in a run follows from this.
#[derive(Debug, Clone)]
pub enum Run {
    /// The plain scenario, round robin, with these faults: levels L1 to L3.
    Plain(Plan),
    /// The scenario and the schedule of a seed, with the faults of the seed: level L4.
    Seed(u64),
    /// The scenario and the schedule of a seed, with these faults instead.
    Replay(u64, Plan),
}

/// How a run went.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What did not hold.
    pub violation: Option<Violation>,
    /// The faults that were injected.
    pub plan: Plan,
    /// How many they were.
    pub injected: u32,
    /// How many decision points were passed.
    pub decisions: u32,
    /// How many turns were taken.
    pub turns: u64,
    /// How many of them after the last fault and the last wish.
    pub quiet: u64,
    /// What happened.
    pub trace: Trace,
}

/// Makes runs. Holds what all of them share.
#[derive(Debug)]
pub struct Simulator {
    shared: Shared,
    served: World,
}

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) core: Core,
    pub(super) machines: Vec<Machine>,
    pub(super) clients: Vec<Client>,
    pub(super) turns: u64,
    /// The turn of the last fault or wish, later by the turns that are not counted since.
    pub(super) eventful: u64,
    /// How long no server could have answered a request, in milliseconds.
    pub(super) dark_ms: u64,
    schedule: Schedule,
}

#[derive(Debug, Clone)]
pub(super) enum Schedule {
    RoundRobin {
        last: usize,
    },
    Random,
    /// The ready actor with the highest priority; now and then one loses all of it.
    Priorities([u8; ACTORS_MAX]),
}

impl Default for Simulator {
    fn default() -> Self {
        let shared = Shared::default();
        let mut served =
            World::new(shared.server_names(), Core::new(), Schedule::RoundRobin { last: 0 });
        let mut plain = shared.plain();
        plain.people[0].truncate(1);
        plain.people[1].clear();
        served.people(plain.people);
        served.live();
        Self { shared, served }
    }
}

impl Simulator {
    /// What all runs share: the world in which a first release serves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs. With `lines` the trace can be read.
    pub fn run(&self, run: &Run, lines: bool) -> Outcome {
        let mut world = match run {
            Run::Plain(plan) => self.plain(plan),
            Run::Seed(seed) => self.seeded(*seed, None),
            Run::Replay(seed, plan) => self.seeded(*seed, Some(plan)),
        };
        if lines {
            world.core.trace = Trace::with_lines();
        }
        world.live();
        Outcome {
            violation: world.core.violation,
            plan: world.core.plan,
            injected: world.core.injected,
            decisions: world.core.decision,
            turns: world.turns,
            quiet: world.turns - world.eventful,
            trace: world.core.trace,
        }
    }

    fn plain(&self, plan: &Plan) -> World {
        let mut core = Core::new();
        core.plan = plan.clone();
        let scenario = self.shared.plain();
        let mut world =
            World::new(self.shared.server_names(), core, Schedule::RoundRobin { last: 0 });
        world.people(scenario.people);
        world
    }

    fn seeded(&self, seed: u64, plan: Option<&Plan>) -> World {
        let mut rng = Rng::new(seed, 1);
        let schedule = match rng.below(4) {
            0 => Schedule::Priorities(std::array::from_fn(|_| rng.below(200) as u8)),
            1 => Schedule::RoundRobin { last: 0 },
            _ => Schedule::Random,
        };
        let scenario = self.shared.draw(&mut rng, seed % KINDS == MOVES);
        let mut world = if rng.percent(60) {
            let mut world = self.served.clone();
            world.schedule = schedule;
            world.turns = 0;
            world.core.decision = 0;
            world.core.trace = Trace::default();
            world
        } else {
            World::new(self.shared.server_names(), Core::new(), schedule)
        };
        world.people(scenario.people);
        for machine in &mut world.machines {
            machine.pulls = scenario.pull;
        }
        world.eventful = 0;
        world.core.plan.gap = rng.pick(&[3, 12, 40, 120]);
        match plan {
            Some(plan) => world.core.plan = plan.clone(),
            None => world.core.source = Source::Swarm(Swarm::new(seed)),
        }
        world.core.has_long_commands = true;
        world.core.answers_late = seed % KINDS == ANSWERS_LATE;
        world.core.rng = rng;
        world
    }
}

impl World {
    pub(super) fn new(
        names: impl IntoIterator<Item = ServerName>,
        mut core: Core,
        schedule: Schedule,
    ) -> Self {
        core.servers = names.into_iter().collect();
        let names = core.servers.iter().cloned().zip(0..);
        let machines: Vec<_> = names.map(|(name, actor)| Machine::new(name, actor)).collect();
        Self { core, machines, clients: Vec::new(), turns: 0, eventful: 0, dark_ms: 0, schedule }
    }

    /// Two runners and the people; their clocks are wrong by minutes.
    fn people(&mut self, people: Vec<Vec<super::scenario::Intent>>) {
        let now = self.core.now_ms;
        let first = self.machines.len() as u8;
        self.core.commanders = &["runner-1", "runner-2", "ana", "bob"];
        self.clients = vec![Client::runner(first, 600_000), Client::runner(first + 1, -600_000)];
        for (intents, actor) in people.into_iter().zip(first + 2..) {
            self.clients.push(Client::person(actor, intents, i64::from(actor) * 1_000));
        }
        for client in &mut self.clients {
            client.wake_ms = client.wake_ms.saturating_add(now);
        }
    }

    pub(super) fn live(&mut self) {
        let began_ms = self.core.now_ms;
        let mut before_ms = began_ms;
        while self.core.violation.is_none() {
            self.turns += 1;
            self.core.now_ms += TURN_MS;
            for machine in &mut self.machines {
                machine.pass(&mut self.core);
            }
            let before = self.core.store.current();
            self.turn();
            self.check_ended(before.as_ref());
            if !self.machines.iter().any(|machine| machine.answers(self.core.now_ms)) {
                self.dark_ms += self.core.now_ms - before_ms;
            }
            before_ms = self.core.now_ms;
            for machine in &self.machines {
                let checked = invariant::routes_lead_somewhere(machine);
                self.core.check(checked);
            }
            let checked = fleet::peers_answer(&self.machines, &self.core.store);
            self.core.check(checked);
            if self.is_at_rest() {
                self.check_at_rest();
                return;
            }
            if self.is_given_time() {
                self.eventful = self.turns.min(self.eventful + 1);
            }
            let quiet = self.turns - self.eventful;
            let ended = self.core.now_ms - began_ms > REST_WITHIN_MS + 600_000;
            if quiet > CONVERGED_WITHIN_TURNS || ended {
                let state = self.describe();
                self.core.violate("I10", || format!("not at rest after {quiet} turns: {state}"));
            }
            if self.turns > TURNS_MAX {
                let state = self.describe();
                self.core.violate("I15", || format!("the run does not end: {state}"));
            }
        }
    }

    /// One turn: what is late and due arrives, then one actor acts.
    fn turn(&mut self) {
        self.deliver_late(false);
        let Some(actor) = self.pick() else {
            if !self.deliver_late(true) {
                self.core.now_ms = self.core.now_ms.max(self.earliest());
            }
            return;
        };
        let injected = self.core.injected;
        if let Some(machine) = self.machines.get_mut(actor) {
            machine.turn(&mut self.core);
        } else {
            let client = &mut self.clients[actor - self.machines.len()];
            let wishes = client.wishes();
            client.turn(&mut self.core, &mut self.machines);
            if client.wishes() != wishes {
                self.eventful = self.turns;
            }
        }
        for victim in std::mem::take(&mut self.core.reboots) {
            self.machines[victim].reboot(&mut self.core);
        }
        if self.core.injected != injected {
            self.eventful = self.turns;
        }
    }

    /// What a write of this turn says to be done must be so at this moment.
    fn check_ended(&mut self, before: Option<&Stored>) {
        let (Some(before), Some(after)) = (before, self.core.store.current()) else { return };
        if before.document.generation != after.document.generation {
            let checked =
                invariant::done_is_done(&before.document, &after.document, &self.machines);
            self.core.check(checked);
            let now_ms = self.core.now_ms;
            let checked =
                fleet::scaled_is_scaled(&before.document, &after.document, &self.machines, now_ms);
            self.core.check(checked);
        }
    }

    fn wake_ms(&self, actor: usize) -> u64 {
        match self.machines.get(actor) {
            Some(machine) if machine.agent.is_none() => machine.up_ms,
            Some(machine) => machine.wake_ms.max(machine.paused_ms),
            None => self.clients[actor - self.machines.len()].wake_ms,
        }
    }

    fn earliest(&self) -> u64 {
        let actors = 0..self.machines.len() + self.clients.len();
        actors.map(|actor| self.wake_ms(actor)).min().unwrap_or_default()
    }

    /// The actor whose turn it is, among those that have something to do.
    fn pick(&mut self) -> Option<usize> {
        let actors = self.machines.len() + self.clients.len();
        let mut ready = [0; ACTORS_MAX];
        let mut count = 0;
        for actor in 0..actors {
            if self.wake_ms(actor) <= self.core.now_ms {
                ready[count] = actor;
                count += 1;
            }
        }
        let ready = &ready[..count];
        if ready.is_empty() {
            return None;
        }
        match &mut self.schedule {
            Schedule::RoundRobin { last } => {
                let next = ready.iter().find(|actor| **actor > *last).unwrap_or(&ready[0]);
                *last = *next;
                Some(*next)
            }
            Schedule::Random => Some(self.core.rng.pick(ready)),
            Schedule::Priorities(priorities) => {
                let first = ready.iter().copied().max_by_key(|actor| priorities[*actor])?;
                if self.core.rng.percent(15) {
                    priorities[first] = 0;
                    priorities.iter_mut().for_each(|own| *own = own.saturating_add(8));
                }
                Some(first)
            }
        }
    }

    /// Delivers what is due, or, when nobody has anything to do, what is due first.
    fn deliver_late(&mut self, at_once: bool) -> bool {
        let decision = self.core.decision;
        let due = |late: &super::core::Late| at_once || late.due <= decision;
        let Some(index) = self.core.late.iter().position(due) else { return false };
        let late = self.core.late.remove(index);
        self.eventful = self.turns;
        match late.what {
            LateThing::Write { expected, next } => {
                let _ = self.core.write(expected, &next);
                let what = || format!("late write {}", next.generation);
                self.core.log(WORLD, next.generation, 8, None, &what, &String::new);
            }
            LateThing::Order(order) => {
                let what = || format!("late order to {}", order.server);
                self.core.log(WORLD, order.generation, 9, None, &what, &String::new);
                let receiver = self.machines.iter_mut().find(|own| own.name == order.server);
                if let Some(machine) = receiver {
                    let _ = machine.receive(&order, None, &mut self.core);
                }
            }
        }
        true
    }

    /// Whether nothing is left to be done: every wish was asked, everything arrived, and every
    /// server says that it is what the newest document wants.
    fn is_at_rest(&mut self) -> bool {
        if !self.core.late.is_empty() || !self.clients.iter().all(|client| client.wishes() == 0) {
            return false;
        }
        if self.core.injected == 0 && self.awaits_a_fault() {
            return false;
        }
        let Some(stored) = self.core.store.current() else {
            return self.clients.iter().all(|client| client.wake_ms > self.core.now_ms);
        };
        let now = self.core.now_ms;
        let is_quiet = |machine: &Machine| {
            machine.agent.is_some() && machine.wake_ms > now && machine.paused_ms <= now
        };
        is_decided(&stored.document)
            && self.machines.iter().all(|own| {
                is_quiet(own) && (is_out(own, &stored.document) || follows(own, &stored, now))
            })
    }

    /// Whether nothing is left to be done but to wait for connections that may still last: nothing
    /// is in flight, nobody is behind, and every server is what the newest document wants, or keeps
    /// an instance for such a connection. Nobody can and nobody shall end that sooner, and how many
    /// turns it takes is only a matter of how often the others look meanwhile.
    ///
    /// An instance that stays when its connection has ended or had its time is not given more, and
    /// an operation is given none: it must not wait for connections. A change of counts may, on a
    /// server whose agent is too old to say that an instance has left the route; it still ends.
    fn is_given_time(&self) -> bool {
        let Some(stored) = self.core.store.current() else { return false };
        let now = self.core.now_ms;
        self.machines.iter().any(|own| own.keeps_connections(now))
            && self.core.late.is_empty()
            && (is_decided(&stored.document) || is_scaling(&stored.document))
            && self.machines.iter().all(|own| {
                let may_wait = own.old || is_decided(&stored.document);
                is_out(own, &stored.document)
                    || follows(own, &stored, now)
                    || may_wait && accepted(own, &stored) && own.keeps_connections(now)
            })
    }

    /// Whether the first fault is still to come: every seed has one, and a replay has its own.
    fn awaits_a_fault(&mut self) -> bool {
        let (decision, quiet) = (self.core.decision, self.turns - self.eventful);
        match &mut self.core.source {
            Source::Swarm(swarm) => {
                swarm.hurry();
                true
            }
            Source::Plan => {
                let last = self.core.plan.faults.keys().next_back();
                last.is_some_and(|last| *last >= decision) && quiet < AWAIT_FAULT_TURNS
            }
        }
    }

    fn check_at_rest(&mut self) {
        let Some(stored) = self.core.store.current() else { return };
        let document = &*stored.document;
        let checks = [
            invariant::at_rest(document, &self.machines, self.core.now_ms),
            invariant::acknowledged_once(&self.core.ledger, document),
            fleet::nothing_is_left(document, &self.machines, &self.core.ledger),
        ];
        checks.into_iter().for_each(|checked| self.core.check(checked));
        if self.core.trace.hash().is_multiple_of(32) {
            let checked = invariant::chain(&self.core.store);
            self.core.check(checked);
        }
    }

    fn describe(&self) -> String {
        let document = self.core.store.current().map(|stored| stored.document);
        let operation = document.as_ref().and_then(|document| {
            let own = document.operation.as_ref()?;
            Some(format!("operation {} in {:?}", own.number, own.phase))
        });
        let now = self.core.now_ms;
        let servers: Vec<String> = self
            .machines
            .iter()
            .map(|machine| {
                let report = machine.report(now);
                let slots: Vec<String> = machine
                    .agent
                    .iter()
                    .flat_map(|memory| {
                        memory.facts.slots.iter().map(|(id, slot)| format!("{id} {:?}", slot.state))
                    })
                    .collect();
                format!(
                    "{} at {} converged {} routed {:?} {slots:?}",
                    machine.name, report.accepted, report.converged, report.routed
                ) + &format!(
                    "{:?} {:?}",
                    machine.files,
                    machine.agent.as_ref().map(|m| &m.facts.files)
                )
            })
            .collect();
        format!(
            "{}; {}",
            operation.unwrap_or_else(|| "no operation".to_owned()),
            servers.join(", ")
        )
    }
}

/// Whether nothing is in flight, demanded or behind.
fn is_decided(document: &Document) -> bool {
    document.operation.is_none() && document.is_as_demanded() && document.behind.is_empty()
}

/// Whether all that is left of a change of counts is that the servers follow it.
fn is_scaling(document: &Document) -> bool {
    let operation = document.operation.as_ref();
    operation.is_some_and(|own| own.kind == Kind::Scale && own.phase.is_decided())
}

fn is_out(machine: &Machine, document: &Document) -> bool {
    !document.servers.contains_key(&machine.name)
}

fn accepted(machine: &Machine, stored: &Stored) -> bool {
    let order = machine.kept.order.as_ref();
    order.is_some_and(|order| order.generation == stored.document.generation)
}

/// Whether a server says that it is what the document wants.
fn follows(machine: &Machine, stored: &Stored, now_ms: u64) -> bool {
    accepted(machine, stored) && machine.report(now_ms).converged
}
