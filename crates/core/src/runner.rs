//! The runner carries the engine's decisions through the ports, without doing anything itself.
//!
//! A [`Runner`] says what it [`Need`]s; a driver does that and hands back what it [`Got`]. The
//! command line drives it with a real store and real agents, the simulation with simulated ones.
//!
//! ```text
//! Read → submit → Write → Contact → advance ─┬→ Write → Contact …
//!   ↑                                        ├→ wait: Read, Contact …
//!   └── conflict, or an answer that was lost └→ End
//! ```
//!
//! # Guarantees
//! - A decision is written before any order that follows from it leaves.
//! - After an answer that was lost the document is read again, and a write of our own is recognised
//!   by its `write_id`.
//! - A request becomes one operation, however often its submission meets a conflict.
//! - Several runners at once are safe. None of them holds a lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::document::Document;
use crate::engine::{Advance, Refusal, Request, Submitted, advance, orders, submit};
use crate::model::{
    AppName, EnvironmentName, Generation, OperationNumber, RequestId, ServerName, WriteId,
};
use crate::order::Order;
use crate::outcome::Outcome;
use crate::planted::planted;
use crate::ports::{DeliveryRefused, StoreError, Stored, WriteRefused};
use crate::report::{Contact, Contacts, Report};

/// What a runner is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// Record a request and carry it to its end.
    Submit(Request),
    /// Carry on what is in flight, until nothing is.
    Carry,
}

/// What the runner needs next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// Read the document.
    Read,
    /// Replace the document of generation `expected`.
    Write {
        /// The generation that is replaced; none for the first document.
        expected: Option<Generation>,
        /// What replaces it.
        next: Arc<Document>,
    },
    /// Bring each order to its server, all at once, and collect the reports.
    Contact(Vec<Order>),
    /// Nothing any more.
    End(End),
}

/// What the driver got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Got {
    /// The document.
    Read(Result<Option<Stored>, StoreError>),
    /// The answer to a write.
    Written(Outcome<Stored, WriteRefused>),
    /// The answers of the servers.
    Reports(Vec<(ServerName, Outcome<Report, DeliveryRefused>)>),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The operation ended; the history of the document says how.
    Finished(OperationNumber),
    /// What was asked for is so already.
    Unchanged,
    /// The request cannot be.
    Refused(Refusal),
    /// There is no document, so there is nothing to carry on.
    NothingHere,
    /// Nothing is in flight and every server that can be reached has its order.
    AtRest,
    /// The store cannot be used.
    Store(StoreError),
}

/// Time and identity for one step, from the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tick {
    /// The time of day, for people.
    pub now: Timestamp,
    /// Monotonic time in milliseconds, from any beginning.
    pub elapsed_ms: u64,
    /// A fresh identity, should this step write.
    pub write_id: WriteId,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Doing {
    Reading,
    Submitting,
    Writing { expected: Option<Generation>, next: Arc<Document> },
    Contacting,
    Deciding,
    Ending(End),
}

/// One run. It holds nothing that must survive: after a crash another one begins anew.
#[derive(Debug, Clone)]
pub struct Runner {
    app: AppName,
    environment: EnvironmentName,
    goal: Goal,
    doing: Doing,
    stored: Option<Stored>,
    /// A write whose answer was lost.
    unanswered: Option<WriteId>,
    /// The operation that the request became.
    accepted: Option<OperationNumber>,
    contacts: Contacts,
    silent_since: BTreeMap<ServerName, u64>,
    wrote: Option<Generation>,
}

impl Runner {
    /// A run for one app and environment.
    pub fn new(app: AppName, environment: EnvironmentName, goal: Goal) -> Self {
        Self {
            app,
            environment,
            goal,
            doing: Doing::Reading,
            stored: None,
            unanswered: None,
            accepted: None,
            contacts: Contacts::new(),
            silent_since: BTreeMap::new(),
            wrote: None,
        }
    }

    /// The document as last read or written.
    pub fn document(&self) -> Option<&Document> {
        self.stored.as_ref().map(|stored| &*stored.document)
    }

    /// What the servers last said.
    pub fn contacts(&self) -> &Contacts {
        &self.contacts
    }

    /// The operation that the request became, once it is recorded.
    pub fn operation(&self) -> Option<OperationNumber> {
        self.accepted
    }

    /// Whether a write was sent of which nobody knows whether it arrived.
    pub fn is_unanswered(&self) -> bool {
        self.unanswered.is_some()
    }

    /// The last report of a server.
    pub fn seen(&self, server: &ServerName) -> Option<&Report> {
        match self.contacts.get(server) {
            Some(Contact::Reached(report)) => Some(report),
            _ => None,
        }
    }

    /// The generation of the document, when nothing is in flight, every server has accepted what
    /// follows from it and none is behind.
    pub fn settled(&self) -> Option<Generation> {
        let document = self.document().filter(|document| document.operation.is_none())?;
        if !document.behind.is_empty() {
            return None;
        }
        let follows = |server| self.seen(server).is_some_and(|r| r.accepted >= document.generation);
        let all = document.everywhere().all(follows);
        all.then_some(document.generation)
    }

    /// The servers that could not be reached when they were tried last.
    pub fn unreached(&self) -> impl Iterator<Item = &ServerName> {
        let lost = |contact: &Contact| matches!(contact, Contact::Unreachable { .. });
        self.contacts.iter().filter(move |(_, contact)| lost(contact)).map(|(server, _)| server)
    }

    /// What is needed next. Decides whatever can be decided without asking.
    pub fn next(&mut self, tick: &Tick) -> Need {
        loop {
            match &self.doing {
                Doing::Reading => return Need::Read,
                Doing::Submitting => self.submit(tick),
                Doing::Writing { expected, next } => {
                    let (expected, next) = (*expected, Arc::clone(next));
                    if planted!(EffectBeforeIntent) && self.wrote != Some(next.generation) {
                        self.wrote = Some(next.generation);
                        return Need::Contact(orders(&next));
                    }
                    return Need::Write { expected, next };
                }
                Doing::Contacting => return Need::Contact(self.orders()),
                Doing::Deciding => self.decide(tick),
                Doing::Ending(end) => return Need::End(end.clone()),
            }
        }
    }

    /// Takes what the driver got for the last [`Need`].
    pub fn got(&mut self, got: Got, tick: &Tick) {
        match got {
            Got::Read(Ok(stored)) => self.has_read(stored),
            Got::Read(Err(error)) => self.doing = Doing::Ending(End::Store(error)),
            Got::Written(outcome) => self.has_written(outcome),
            Got::Reports(reports) => self.has_contacted(reports, tick.elapsed_ms),
        }
    }

    fn has_read(&mut self, stored: Option<Stored>) {
        if let (Some(lost), Some(stored)) = (self.unanswered.take(), &stored)
            && stored.document.write_id == lost
        {
            self.wrote = Some(stored.document.generation);
        }
        self.stored = stored;
        self.doing = Doing::Submitting;
    }

    fn has_written(&mut self, outcome: Outcome<Stored, WriteRefused>) {
        let Doing::Writing { next, .. } = &self.doing else { return };
        let next = Arc::clone(next);
        match outcome {
            Outcome::Done(stored) => self.replaced_by(stored),
            Outcome::Unknown(_) if planted!(TimeoutIsSuccess) => {
                let digest = crate::model::Digest::of(&next.encode());
                self.replaced_by(Stored { document: next, digest });
            }
            Outcome::Unknown(_) => {
                self.unanswered = Some(next.write_id.clone());
                self.try_again();
            }
            Outcome::Refused(WriteRefused::Conflict) => self.try_again(),
            Outcome::Refused(WriteRefused::Store(error)) => {
                self.doing = Doing::Ending(End::Store(error));
            }
        }
    }

    fn replaced_by(&mut self, stored: Stored) {
        self.wrote = Some(stored.document.generation);
        self.stored = Some(stored);
        self.doing = Doing::Submitting;
    }

    fn try_again(&mut self) {
        if planted!(ConflictIsFailure)
            && self.accepted.is_none()
            && let Goal::Submit(request) = &mut self.goal
        {
            request.id = RequestId::new(&format!("{}-again", request.id));
        }
        self.doing = Doing::Reading;
    }

    fn has_contacted(
        &mut self,
        reports: Vec<(ServerName, Outcome<Report, DeliveryRefused>)>,
        elapsed_ms: u64,
    ) {
        for (server, outcome) in reports {
            let cause = match outcome {
                Outcome::Done(report) => {
                    self.silent_since.remove(&server);
                    self.contacts.insert(server, Contact::Reached(Box::new(report)));
                    continue;
                }
                Outcome::Refused(DeliveryRefused(cause)) | Outcome::Unknown(cause) => cause,
            };
            let since = *self.silent_since.entry(server.clone()).or_insert(elapsed_ms);
            let for_ms = elapsed_ms.saturating_sub(since);
            self.contacts.insert(server, Contact::Unreachable { for_ms, cause });
        }
        let is_writing = matches!(self.doing, Doing::Writing { .. });
        if !is_writing {
            self.doing = Doing::Deciding;
        }
    }

    /// Records the request, unless that has happened.
    fn submit(&mut self, tick: &Tick) {
        let Goal::Submit(request) = &self.goal else {
            self.doing = match self.stored {
                Some(_) => Doing::Contacting,
                None => Doing::Ending(End::NothingHere),
            };
            return;
        };
        if self.accepted.is_some() {
            self.doing = match self.stored {
                Some(_) => Doing::Contacting,
                // Somebody took the whole state away meanwhile.
                None => Doing::Ending(End::NothingHere),
            };
            return;
        }
        let submitted = match &self.stored {
            Some(stored) => submit(&stored.document, request, tick.now),
            None => submit(&self.first(tick), request, tick.now),
        };
        self.doing = match submitted {
            Submitted::Record(next, _) => self.writing(*next, tick),
            Submitted::Already(number) => {
                self.accepted = Some(number);
                Doing::Contacting
            }
            Submitted::Busy(_) => Doing::Contacting,
            Submitted::Unchanged if self.stored.is_none() => Doing::Ending(End::NothingHere),
            Submitted::Unchanged => Doing::Ending(End::Unchanged),
            Submitted::Refused(refusal) => Doing::Ending(End::Refused(refusal)),
        };
    }

    fn first(&self, tick: &Tick) -> Document {
        Document::first(self.app.clone(), self.environment.clone(), tick.write_id.clone(), tick.now)
    }

    /// Stamps a document as the one that follows what was read.
    fn writing(&self, mut next: Document, tick: &Tick) -> Doing {
        let expected = next.follow(self.stored.as_ref(), tick.write_id.clone(), tick.now);
        Doing::Writing { expected, next: Arc::new(next) }
    }

    fn orders(&self) -> Vec<Order> {
        let Some(document) = self.document() else { return Vec::new() };
        if planted!(NoReorderAfterRecovery) && self.wrote != Some(document.generation) {
            return Vec::new();
        }
        orders(document)
    }

    fn decide(&mut self, tick: &Tick) {
        let Some(stored) = &self.stored else {
            self.doing = Doing::Reading;
            return;
        };
        let document = Arc::clone(&stored.document);
        if let Some(number) = self.accepted
            && document.operation.as_ref().is_some_and(|operation| operation.number > number)
        {
            self.doing = Doing::Ending(End::Finished(number));
            return;
        }
        self.doing = match advance(&document, &self.contacts, tick.now) {
            Advance::Write(next) => self.writing(*next, tick),
            Advance::Wait => Doing::Reading,
            Advance::Rest => match (&self.goal, self.accepted) {
                (Goal::Carry, _) => Doing::Ending(End::AtRest),
                (Goal::Submit(_), Some(number)) => Doing::Ending(End::Finished(number)),
                (Goal::Submit(_), None) => Doing::Reading,
            },
        };
    }
}
