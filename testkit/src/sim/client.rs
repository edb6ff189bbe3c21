//! Runners and persons: they drive the shipped [`Runner`] through the world, one port call a turn.

use std::collections::VecDeque;
use std::sync::Arc;

use onward_core::document::{Document, Scale};
use onward_core::model::{Generation, ServerName};
use onward_core::order::Order;
use onward_core::outcome::Outcome;
use onward_core::ports::{DeliveryRefused, StoreError, Stored, WriteRefused};
use onward_core::report::Report;
use onward_core::runner::{End, Goal, Got, Need, Runner, Tick};

use super::core::{Core, Late, LateThing};
use super::fault::{Fault, Point};
use super::invariant;
use super::machine::Machine;
use super::scenario::{Edit, Intent, Wish, app, environment};
use super::skew;

/// How often a person submits the same request again after a crash or an error.
const PATIENCE: u32 = 4;

/// How long a runner sleeps that found nothing to do, in milliseconds: first, and at most.
const REST_FIRST_MS: u64 = 300;
const REST_MAX_MS: u64 = 20_000;

/// After how long a server whose answer is awaited counts as silent, in milliseconds.
const SILENT_AFTER_MS: u64 = 3_000;

type Answer = (ServerName, Outcome<Report, DeliveryRefused>);

/// An answer on its way. As with the couriers of the command line, its server gets no other order
/// meanwhile, and the decisions are taken without it: with what it said before, if anything.
#[derive(Debug, Clone)]
struct Owed {
    answer: Answer,
    /// It is there when so many decisions were made.
    due: u32,
    since_ms: u64,
}

/// A runner process or a person's command.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its number among the actors.
    pub actor: u8,
    /// When it does something next.
    pub wake_ms: u64,
    /// What a person still wants; empty for runners.
    intents: VecDeque<Intent>,
    is_person: bool,
    runner: Option<Runner>,
    need: Option<Need>,
    orders: VecDeque<Order>,
    answers: Vec<Answer>,
    owed: Vec<Owed>,
    /// The need for which it was paused; its fault is over.
    resumes: bool,
    tries: u32,
    /// How often the same is submitted again after a crash or an error.
    patience: u32,
    /// How wrong its clock is, in milliseconds.
    skew_ms: i64,
    /// Whether it is of an older version.
    old: bool,
    busy: u32,
    /// How long a runner sleeps when it finds nothing to do: longer each time.
    rest_ms: u64,
    /// The generation at which it found nothing to do.
    rested_at: Generation,
}

impl Client {
    /// A process that carries on what is in flight, for ever.
    pub fn runner(actor: u8, skew_ms: i64) -> Self {
        Self::new(actor, VecDeque::new(), false, skew_ms, 50 * u64::from(actor))
    }

    /// A person who wants things, one after the other.
    pub fn person(actor: u8, intents: Vec<Intent>, skew_ms: i64) -> Self {
        let wake_ms = intents.first().map_or(u64::MAX, |intent| intent.after_ms);
        Self::new(actor, intents.into(), true, skew_ms, wake_ms)
    }

    fn new(
        actor: u8,
        intents: VecDeque<Intent>,
        is_person: bool,
        skew_ms: i64,
        wake_ms: u64,
    ) -> Self {
        Self {
            actor,
            wake_ms,
            intents,
            is_person,
            runner: None,
            need: None,
            orders: VecDeque::new(),
            answers: Vec::new(),
            owed: Vec::new(),
            resumes: false,
            tries: 0,
            patience: PATIENCE,
            skew_ms,
            old: false,
            busy: 0,
            rest_ms: REST_FIRST_MS,
            rested_at: Generation(0),
        }
    }

    /// The same person, who does not repeat a command that died.
    #[must_use]
    pub fn without_patience(mut self) -> Self {
        self.patience = 0;
        self
    }

    /// How many things a person still wants.
    pub fn wishes(&self) -> usize {
        self.intents.len()
    }

    fn tick(&self, core: &mut Core) -> Tick {
        Tick {
            now: core.clock(self.skew_ms),
            elapsed_ms: core.now_ms + u64::from(self.actor) * 1_000_003,
            write_id: core.write_id(),
        }
    }

    fn generation(&self) -> Generation {
        let document = self.runner.as_ref().and_then(Runner::document);
        document.map_or(Generation(0), |document| document.generation)
    }

    /// One turn: begin a run, or make one port call of it.
    pub fn turn(&mut self, core: &mut Core, machines: &mut [Machine]) {
        if self.runner.is_none() && !self.begin(core) {
            return;
        }
        if !self.orders.is_empty() {
            self.contact(core, machines);
            return;
        }
        if self.need.is_none() {
            let tick = self.tick(core);
            self.need = self.runner.as_mut().map(|runner| runner.next(&tick));
        }
        match self.need.take() {
            Some(Need::Read) => self.read(core),
            Some(Need::Write { expected, next }) => self.write(expected, next, core),
            Some(Need::Contact(orders)) => {
                self.orders = orders.into();
                self.answers.clear();
                self.collect_owed(core);
                self.contact(core, machines);
            }
            Some(Need::End(end)) => self.end(&end, core),
            None => {}
        }
    }

    /// Begins a run. False when there is nothing to begin, or it was only an edit.
    fn begin(&mut self, core: &mut Core) -> bool {
        let goal = match self.intents.front() {
            None if self.is_person => {
                self.wake_ms = u64::MAX;
                return false;
            }
            None => Goal::Carry,
            Some(Intent { wish: Wish::Ask(request), .. }) => Goal::Submit(request.clone()),
            Some(Intent { wish: Wish::Edit(edit), .. }) => {
                let edit = *edit;
                self.edit(edit, core);
                self.next_intent(core);
                return false;
            }
        };
        self.runner = Some(Runner::new(app(), environment(), goal));
        self.owed.clear();
        true
    }

    /// A person edits the demand by hand, as a compare-and-swap like everybody.
    fn edit(&self, edit: Edit, core: &mut Core) {
        let Some(stored) = core.store.current() else { return };
        let mut next = core.successor(&stored, "edit");
        let serving = next.serving;
        next.demand.release = match edit {
            Edit::Nothing => None,
            Edit::Earlier => {
                let in_flight = next.operation.as_ref().and_then(|own| own.release);
                let mut numbers = next.releases.keys().copied();
                let other = numbers.find(|number| Some(*number) != in_flight);
                other.or(serving)
            }
            Edit::Scale(count) => {
                let scale = Scale { count, by: "hand".to_owned(), at: core.clock(0) };
                next.demand.scale.insert("web".parse().expect("a legal name"), scale);
                next.demand.release
            }
        };
        core.log(self.actor, next.generation, 3, None, &|| "edit".to_owned(), &String::new);
        let _ = core.write(Some(stored.document.generation), &Arc::new(next));
    }

    fn next_intent(&mut self, core: &Core) {
        self.intents.pop_front();
        self.tries = 0;
        self.runner = None;
        self.need = None;
        let after = self.intents.front().map(|intent| intent.after_ms);
        self.wake_ms = after.map_or(u64::MAX, |after| core.now_ms + after);
    }

    fn got(&mut self, got: Got, core: &mut Core) {
        let tick = self.tick(core);
        if let Some(runner) = &mut self.runner {
            runner.got(got, &tick);
        }
    }

    /// The process dies. A runner begins again; a person does the same again, or gives up.
    fn crash(&mut self, core: &mut Core) {
        self.runner = None;
        self.need = None;
        self.orders.clear();
        self.resumes = false;
        self.busy = 0;
        self.wake_ms = core.now_ms + core.downtime_ms();
        if self.is_person {
            self.tries += 1;
            if self.tries > self.patience || core.rng.percent(25) {
                self.next_intent(core);
            }
        }
    }

    fn log(&self, core: &mut Core, code: u64, fault: Option<Fault>, what: &str, verdict: &str) {
        let generation = self.generation();
        let (what, verdict) = (|| what.to_owned(), || verdict.to_owned());
        core.log(self.actor, generation, code, fault, &what, &verdict);
    }

    /// Whether the actor is away first and makes its call later.
    fn pauses(&mut self, fault: Option<Fault>, need: impl FnOnce() -> Need, core: &Core) -> bool {
        let pauses = fault == Some(Fault::Pause) && !self.resumes;
        self.resumes = pauses;
        if pauses {
            self.need = Some(need());
            self.wake_ms = core.now_ms + core.pause_ms();
        }
        pauses
    }

    fn read(&mut self, core: &mut Core) {
        let fault = if self.resumes { None } else { core.decide(Point::Read) };
        if fault == Some(Fault::Busy) {
            self.busy = 1 + core.rng.below(3) as u32;
        }
        self.old |= fault == Some(Fault::OldBinary);
        self.log(core, 4, fault, "read", "");
        if self.pauses(fault, || Need::Read, core) {
            return;
        }
        let is_busy = self.busy > 0;
        self.busy = self.busy.saturating_sub(1);
        match fault {
            Some(Fault::CrashBefore | Fault::CrashAfter) => self.crash(core),
            Some(Fault::LostReq) => self.got(Got::Read(Err(unavailable("timed out"))), core),
            _ if is_busy => self.got(Got::Read(Err(unavailable("busy"))), core),
            fault => {
                if fault == Some(Fault::HostReboot) {
                    let victim = core.rng.below(core.servers.len() as u64) as usize;
                    core.reboots.push(victim);
                }
                let stored = core.store.current();
                self.got(Got::Read(Ok(stored)), core);
            }
        }
    }

    fn write(&mut self, expected: Option<Generation>, next: Arc<Document>, core: &mut Core) {
        let next = if self.old && !self.resumes {
            let known = self.runner.as_ref().and_then(Runner::document);
            let before = known.map_or(0, |document| document.history.len());
            skew::document_of_old_version(&next, next.history.len() > before)
        } else {
            next
        };
        let fault = if self.resumes { None } else { core.decide(Point::Write) };
        if self.pauses(fault, || Need::Write { expected, next: Arc::clone(&next) }, core) {
            self.log(core, 5, fault, "write", "paused");
            return;
        }
        let outcome = match fault {
            Some(Fault::CrashBefore) => None,
            Some(Fault::LostReq) => Some(Outcome::Unknown("timed out".to_owned())),
            Some(Fault::Delay) => {
                let what = LateThing::Write { expected, next: Arc::clone(&next) };
                core.late.push(Late { due: core.due(), what });
                Some(Outcome::Unknown("timed out".to_owned()))
            }
            Some(Fault::Busy | Fault::Refuse) => {
                Some(Outcome::Refused(WriteRefused::Store(unavailable("refused"))))
            }
            Some(Fault::NoSpace) => {
                let place = "store".to_owned();
                Some(Outcome::Refused(WriteRefused::Store(StoreError::NoSpace { place })))
            }
            fault => {
                if fault == Some(Fault::Conflict) {
                    core.touch();
                }
                let written = core.write(expected, &next);
                self.after_write(fault, expected, &next, written, core)
            }
        };
        let verdict = outcome.as_ref().map_or("died", verdict_of_write);
        let what = format!("write {} {}", next.generation, phase_of(&next));
        self.log(core, 5 | next.generation.0 << 8, fault, &what, verdict);
        match outcome {
            Some(outcome) => self.got(Got::Written(outcome), core),
            None => self.crash(core),
        }
    }

    /// What the caller sees of a write that was made.
    fn after_write(
        &self,
        fault: Option<Fault>,
        expected: Option<Generation>,
        next: &Arc<Document>,
        written: Outcome<Stored, WriteRefused>,
        core: &mut Core,
    ) -> Option<Outcome<Stored, WriteRefused>> {
        match fault {
            Some(Fault::CrashAfter) => None,
            Some(Fault::LostAck) => Some(Outcome::Unknown("timed out".to_owned())),
            Some(Fault::SdkRetry) => Some(core.write(expected, next)),
            Some(Fault::HostReboot) => {
                let victim = core.rng.below(core.servers.len() as u64) as usize;
                core.reboots.push(victim);
                Some(Outcome::Unknown("the connection was closed".to_owned()))
            }
            Some(Fault::DupLater) => {
                let what = LateThing::Write { expected, next: Arc::clone(next) };
                core.late.push(Late { due: core.due(), what });
                Some(written)
            }
            _ => Some(written),
        }
    }

    /// What has come of the answers that are owed; who owes one gets no order in this round.
    fn collect_owed(&mut self, core: &Core) {
        self.orders.retain(|order| self.owed.iter().all(|own| own.answer.0 != order.server));
        let (come, owed) =
            std::mem::take(&mut self.owed).into_iter().partition(|own| own.due <= core.decision);
        self.owed = owed;
        self.answers.extend(Vec::into_iter(come).map(|own: Owed| own.answer));
        let is_silent = |own: &&Owed| core.now_ms - own.since_ms >= SILENT_AFTER_MS;
        let silent = self.owed.iter().filter(is_silent).map(|own| own.answer.0.clone());
        self.answers.extend(silent.map(|server| (server, Outcome::Unknown("silent".to_owned()))));
    }

    /// One delivery of the contact; the last one hands the reports to the runner.
    fn contact(&mut self, core: &mut Core, machines: &mut [Machine]) {
        if let Some(order) = self.orders.pop_front() {
            let fault = if self.resumes { None } else { core.decide(Point::Deliver) };
            if fault == Some(Fault::Pause) {
                self.resumes = true;
                self.orders.push_front(order);
                self.wake_ms = core.now_ms + core.pause_ms();
                self.log(core, 6, fault, "deliver", "paused");
                return;
            }
            self.resumes = false;
            let Some(answer) = self.deliver(&order, fault, core, machines) else {
                self.crash(core);
                return;
            };
            let answer = (order.server, answer);
            match late_until(fault, core) {
                Some(due) => self.owed.push(Owed { answer, due, since_ms: core.now_ms }),
                None => self.answers.push(answer),
            }
        }
        if !self.orders.is_empty() {
            return;
        }
        let answers = std::mem::take(&mut self.answers);
        let silent = answers.iter().any(|(_, answer)| !matches!(answer, Outcome::Done(_)));
        self.got(Got::Reports(answers), core);
        let tick = self.tick(core);
        self.need = self.runner.as_mut().map(|runner| runner.next(&tick));
        if matches!(self.need, Some(Need::Read)) {
            self.wake_ms = core.now_ms + if silent { 700 } else { self.patience_ms(core) };
        }
    }

    /// How long it waits for news. A command looks often, a runner seldom.
    fn patience_ms(&self, core: &mut Core) -> u64 {
        if self.is_person { 60 + core.rng.below(60) } else { 150 + core.rng.below(200) }
    }

    /// Brings one order. `None`: the sender died.
    fn deliver(
        &mut self,
        order: &Order,
        fault: Option<Fault>,
        core: &mut Core,
        machines: &mut [Machine],
    ) -> Option<Outcome<Report, DeliveryRefused>> {
        let unknown = || Some(Outcome::Unknown("timed out".to_owned()));
        let machine = machines.iter_mut().find(|machine| machine.name == order.server)?;
        machine.old |= fault == Some(Fault::OldBinary);
        let answer = match fault {
            Some(Fault::CrashBefore) => None,
            Some(Fault::LostReq) => unknown(),
            Some(Fault::Busy | Fault::Refuse) => {
                Some(Outcome::Refused(DeliveryRefused("refused".to_owned())))
            }
            Some(Fault::Delay) => {
                let what = LateThing::Order(Box::new(order.clone()));
                core.late.push(Late { due: core.due(), what });
                unknown()
            }
            Some(Fault::Stale) => {
                let stale = core.stale_order(&order.server);
                Some(machine.receive(stale.as_ref().unwrap_or(order), fault, core))
            }
            fault => {
                if fault == Some(Fault::Conflict) {
                    core.touch();
                }
                let answer = machine.receive(order, fault, core);
                match fault {
                    Some(Fault::CrashAfter) => None,
                    Some(Fault::LostAck) => unknown(),
                    Some(Fault::SdkRetry) => Some(machine.receive(order, None, core)),
                    Some(Fault::HostReboot) => {
                        machine.reboot(core);
                        unknown()
                    }
                    Some(Fault::DupLater) => {
                        let what = LateThing::Order(Box::new(order.clone()));
                        core.late.push(Late { due: core.due(), what });
                        Some(answer)
                    }
                    _ => Some(answer),
                }
            }
        };
        let verdict = answer.as_ref().map_or_else(|| "died".to_owned(), verdict_of_delivery);
        let what = format!("order {} to {}", order.generation, order.server);
        self.log(core, 6 | order.generation.0 << 8, fault, &what, &verdict);
        answer
    }

    /// A run ended: what it says must be true.
    fn end(&mut self, end: &End, core: &mut Core) {
        self.log(core, 7, None, "end", &format!("{end:?}"));
        let now = core.store.current();
        let Some(runner) = self.runner.take() else { return };
        let request = self.intents.front().and_then(|intent| match &intent.wish {
            Wish::Ask(request) => Some(request),
            Wish::Edit(_) => None,
        });
        let checked = invariant::end_is_true(
            end,
            runner.operation(),
            request,
            runner.document(),
            now.as_ref().map(|stored| &*stored.document),
        );
        core.check(checked);
        core.ledger.acknowledged.extend(runner.operation());
        if !self.is_person {
            let generation = now.map_or(Generation(0), |stored| stored.document.generation);
            let is_news = self.rested_at != generation;
            self.rested_at = generation;
            self.rest_ms = if is_news { REST_FIRST_MS } else { REST_MAX_MS.min(self.rest_ms * 2) };
            self.wake_ms = core.now_ms + self.rest_ms + core.rng.below(REST_FIRST_MS);
        } else if matches!(end, End::Store(_)) && self.tries < PATIENCE {
            self.tries += 1;
            self.wake_ms = core.now_ms + 100 + core.rng.below(400);
        } else {
            self.next_intent(core);
        }
    }
}

/// The decision at which an answer is there that is not there at once.
fn late_until(fault: Option<Fault>, core: &mut Core) -> Option<u32> {
    match fault {
        Some(Fault::LateAck) => Some(core.due()),
        None if core.answers_late && core.rng.percent(40) => {
            Some(core.decision + 1 + core.rng.below(30) as u32)
        }
        _ => None,
    }
}

fn unavailable(reason: &str) -> StoreError {
    StoreError::Unavailable { place: "store".to_owned(), reason: reason.to_owned() }
}

fn phase_of(document: &Document) -> String {
    let operation = document.operation.as_ref();
    operation.map_or_else(
        || "at rest".to_owned(),
        |operation| format!("{} {:?} {:?}", operation.number, operation.kind, operation.phase),
    )
}

fn verdict_of_write(outcome: &Outcome<Stored, WriteRefused>) -> &'static str {
    match outcome {
        Outcome::Done(_) => "done",
        Outcome::Refused(WriteRefused::Conflict) => "conflict",
        Outcome::Refused(WriteRefused::Store(_)) => "store error",
        Outcome::Unknown(_) => "unknown",
    }
}

fn verdict_of_delivery(outcome: &Outcome<Report, DeliveryRefused>) -> String {
    match outcome {
        Outcome::Done(report) => {
            let routed = report.routed.map_or_else(|| "-".to_owned(), |n| n.to_string());
            let converged = if report.converged { "converged" } else { "" };
            let peers: Vec<_> = report.peers.iter().map(ToString::to_string).collect();
            format!("at {} routed {routed} {} {converged}", report.accepted, peers.join("+"))
        }
        Outcome::Refused(_) => "refused".to_owned(),
        Outcome::Unknown(_) => "unknown".to_owned(),
    }
}
