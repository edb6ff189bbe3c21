//! What all actors share: the clock, the store, the faults, and the ledger of what was true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use onward_core::document::{Document, Phase};
use onward_core::engine;
use onward_core::model::{Generation, OperationNumber, ReleaseNumber, ServerName, WriteId};
use onward_core::order::Order;
use onward_core::outcome::Outcome;
use onward_core::ports::{StateStore, Stored, WriteRefused};

use super::fault::{Fault, Plan, Point};
use super::fleet;
use super::invariant::{self, Violation};
use super::rng::Rng;
use super::trace::{Event, Trace};
use crate::fake::MemoryStore;

/// The most faults of one run.
pub const FAULTS_MAX: u32 = 12;

/// Where the faults of a run come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// From a plan that is written down.
    Plan,
    /// Drawn: a subset of the alphabet, a rate, a horizon.
    Swarm(Swarm),
}

/// The draw of one seed.
#[derive(Debug, Clone)]
pub struct Swarm {
    rng: Rng,
    mask: u32,
    per_1024: u64,
    horizon: u32,
    forced_at: u32,
    max: u32,
}

impl Swarm {
    /// The draw of a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed, 2);
        let mask = rng.bits() as u32 | Fault::CrashAfter.bit();
        let per_1024 = rng.pick(&[8, 20, 40, 80]);
        let horizon = rng.pick(&[150, 300, 600]);
        let forced_at = rng.below(100) as u32;
        let max = 1 + rng.below(u64::from(FAULTS_MAX)) as u32;
        Self { rng, mask, per_1024, horizon, forced_at, max }
    }

    /// Injects at the next occasion: the run ends, and nothing was injected yet.
    pub fn hurry(&mut self) {
        self.forced_at = 0;
    }

    fn draw(&mut self, decision: u32, injected: u32, point: Point) -> Option<Fault> {
        let legal = self.mask & point.faults();
        let is_due = injected == 0 && decision >= self.forced_at;
        let may = injected < self.max && decision < self.horizon;
        if legal == 0 || !(is_due || may && self.rng.below(1024) < self.per_1024) {
            return None;
        }
        let nth = self.rng.below(u64::from(legal.count_ones()));
        let mut left = legal;
        for _ in 0..nth {
            left &= left - 1;
        }
        Fault::ALL.get(left.trailing_zeros() as usize).copied()
    }
}

/// Something that happens later than it was asked for.
#[derive(Debug, Clone)]
pub struct Late {
    /// It happens when so many decisions were made.
    pub due: u32,
    /// What happens.
    pub what: LateThing,
}

/// What may be late.
#[derive(Debug, Clone)]
pub enum LateThing {
    /// A write of the document.
    Write {
        /// What it was to replace.
        expected: Option<Generation>,
        /// What it writes.
        next: Arc<Document>,
    },
    /// An order on its way.
    Order(Box<Order>),
}

/// What the world knows to be true, whatever any actor believes.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Release commands that run now, by server.
    pub commands_running: BTreeMap<ServerName, OperationNumber>,
    /// Releases whose release command ended well at least once.
    pub commands_done: BTreeSet<ReleaseNumber>,
    /// Which operation each intent became.
    pub operations: BTreeMap<String, OperationNumber>,
    /// The servers that ever sent traffic to a release.
    pub routed_on: BTreeMap<ReleaseNumber, BTreeSet<u8>>,
    /// Servers that were taken out without being reached.
    pub abandoned: BTreeSet<ServerName>,
    /// What persons were told was recorded.
    pub acknowledged: BTreeSet<OperationNumber>,
}

/// A fault and the moment at which it was injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Struck {
    /// What went wrong.
    pub fault: Fault,
    /// Where.
    pub point: Point,
    /// How far the operation was; none when none was in flight.
    pub phase: Option<Phase>,
    /// The time of the world, in milliseconds.
    pub at_ms: u64,
}

/// The shared part of the world.
#[derive(Debug, Clone)]
pub struct Core {
    /// The time of the world, in milliseconds.
    pub now_ms: u64,
    /// How many decision points were passed.
    pub decision: u32,
    /// How many faults were injected.
    pub injected: u32,
    /// The plan: what shall be injected, and after a swarm what was.
    pub plan: Plan,
    /// Where faults come from.
    pub source: Source,
    /// For everything but faults.
    pub rng: Rng,
    /// The record.
    pub trace: Trace,
    /// The first violation.
    pub violation: Option<Violation>,
    /// The store.
    pub store: MemoryStore,
    /// What is on its way.
    pub late: Vec<Late>,
    /// Servers that lose their power when the current turn is over.
    pub reboots: Vec<usize>,
    /// What is true.
    pub ledger: Ledger,
    /// Where the last fault struck.
    pub struck: Option<Struck>,
    /// The decision points that were passed, when somebody wants to know them.
    pub points: Option<Vec<Point>>,
    /// How many release commands were begun.
    pub commands_begun: u32,
    /// The servers.
    pub servers: Vec<ServerName>,
    /// What traces call those who give commands.
    pub commanders: &'static [&'static str],
    /// For process ids and ports.
    pub last_pid: u32,
    /// Whether some commands take seconds. The plain scenario has none: its boundaries are all
    /// tried, and waiting adds nothing to them.
    pub has_long_commands: bool,
    /// Whether many answers of servers come after the round of orders that they belong to.
    pub answers_late: bool,
    writes: u64,
}

/// The beginning of time in every run: 2026-01-01.
const EPOCH_SECONDS: i64 = 1_767_225_600;

impl Core {
    /// An empty world.
    pub fn new() -> Self {
        Self {
            now_ms: 0,
            decision: 0,
            injected: 0,
            plan: Plan::none(),
            source: Source::Plan,
            rng: Rng::new(0, 0),
            trace: Trace::default(),
            violation: None,
            store: MemoryStore::new(),
            late: Vec::new(),
            reboots: Vec::new(),
            ledger: Ledger::default(),
            struck: None,
            points: None,
            commands_begun: 0,
            servers: Vec::new(),
            commanders: &[],
            last_pid: 100,
            has_long_commands: false,
            answers_late: false,
            writes: 0,
        }
    }

    /// The time of day that a clock shows which is wrong by `skew_ms`.
    pub fn clock(&self, skew_ms: i64) -> Timestamp {
        let ms = EPOCH_SECONDS * 1_000 + self.now_ms as i64 + skew_ms;
        Timestamp::from_millisecond(ms).expect("the epoch and some minutes are in range")
    }

    /// A name for a write, unique in the run.
    pub fn write_id(&mut self) -> WriteId {
        self.writes += 1;
        WriteId::new(&format!("w{}", self.writes))
    }

    /// Passes a decision point: what goes wrong there.
    pub fn decide(&mut self, point: Point) -> Option<Fault> {
        let decision = self.decision;
        self.decision += 1;
        let fault = match &mut self.source {
            Source::Plan => {
                let planned = self.plan.faults.get(&decision).copied();
                planned.filter(|fault| fault.has_meaning_at(point))
            }
            Source::Swarm(swarm) => {
                let drawn = swarm.draw(decision, self.injected, point);
                if let Some(fault) = drawn {
                    self.plan.faults.insert(decision, fault);
                }
                drawn
            }
        };
        self.injected += u32::from(fault.is_some());
        if let Some(points) = &mut self.points {
            points.push(point);
        }
        if let Some(fault) = fault {
            let current = self.store.current();
            let phase = current.and_then(|stored| Some(stored.document.operation.as_ref()?.phase));
            self.struck = Some(Struck { fault, point, phase, at_ms: self.now_ms });
        }
        fault
    }

    /// The decision at which something that is late now happens.
    pub fn due(&self) -> u32 {
        self.decision + self.plan.gap
    }

    /// The time that an actor is away that pauses: as long as `gap` decisions take, and a minute.
    pub fn pause_ms(&self) -> u64 {
        60_000 + u64::from(self.plan.gap) * 5
    }

    /// How long something is down that was killed: short, long, or longer than others wait.
    pub fn downtime_ms(&mut self) -> u64 {
        let long = if self.plan.gap >= 120 { 25_000 } else { 3_000 };
        self.rng.pick(&[20, 200, 1_000, long])
    }

    /// Records the first violation.
    pub fn violate(&mut self, id: &'static str, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { id, what: what() });
        }
    }

    /// Records a violation unless something holds.
    pub fn hold(&mut self, holds: bool, id: &'static str, what: impl FnOnce() -> String) {
        if !holds {
            self.violate(id, what);
        }
    }

    /// Records what a check found.
    pub fn check(&mut self, checked: Result<(), Violation>) {
        if let Err(violation) = checked {
            self.violation.get_or_insert(violation);
        }
    }

    /// Adds a line to the record, for the decision that was made last.
    pub fn log(
        &mut self,
        actor: u8,
        generation: Generation,
        code: u64,
        fault: Option<Fault>,
        what: &dyn Fn() -> String,
        verdict: &dyn Fn() -> String,
    ) {
        let event = Event {
            decision: self.decision.saturating_sub(1),
            at_ms: self.now_ms,
            actor,
            generation: generation.0,
            code,
            what,
            fault,
            verdict,
        };
        let Self { trace, servers, commanders, .. } = self;
        trace.add(&|actor| super::actor_name(actor, servers, commanders), &event);
    }

    /// Writes the document in the store, and checks what every write must keep.
    pub fn write(
        &mut self,
        expected: Option<Generation>,
        next: &Arc<Document>,
    ) -> Outcome<Stored, WriteRefused> {
        let before = self.store.current();
        let outcome = self.store.write(expected, next);
        if let Outcome::Done(stored) = &outcome {
            let checked = invariant::every_write(before.as_ref(), stored);
            self.check(checked);
            if let Some(before) = &before {
                self.check(fleet::decision(&before.document, &stored.document));
            }
            self.check(fleet::counts_add_up(&stored.document));
            fleet::note_abandoned(&mut self.ledger, stored);
            let checked = invariant::one_request_one_operation(&mut self.ledger, &stored.document);
            self.check(checked);
        }
        outcome
    }

    /// Somebody else writes: the document as it is, as the generation that follows.
    pub fn touch(&mut self) {
        let Some(stored) = self.store.current() else { return };
        let next = self.successor(&stored, "touch");
        let _ = self.write(Some(stored.document.generation), &Arc::new(next));
    }

    /// The document that follows, as somebody makes it who edits it by hand.
    pub fn successor(&mut self, stored: &Stored, by: &str) -> Document {
        let mut next = Document::clone(&stored.document);
        next.generation = next.generation.next();
        next.parent = Some(stored.digest);
        next.write_id = WriteId::new(&format!("{by}-{}", next.generation));
        next.written = self.clock(0);
        next
    }

    /// The order that the document before the current one asked of a server.
    pub fn stale_order(&self, server: &ServerName) -> Option<Order> {
        let current = self.store.current()?.document.generation;
        let earlier = self.store.at(Generation(current.0.checked_sub(1)?))?;
        engine::order(&earlier.document, server)
    }
}
