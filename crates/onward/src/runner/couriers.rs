//! Couriers bring orders to the servers: one for each, so that a server that is slow to answer, or
//! never does, holds up no other.
//!
//! # Guarantees
//! - One server gets its orders one after the other, in the order in which they were given.
//! - [`Couriers::deliver`] returns within [`PATIENCE`], whatever the servers do.
//! - A server whose answer is awaited for longer than [`SILENT_AFTER`] counts as silent; its answer
//!   still counts when it comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use onward_core::document::Document;
use onward_core::model::ServerName;
use onward_core::order::Order;
use onward_core::outcome::Outcome;
use onward_core::ports::{DeliveryRefused, Link};
use onward_core::report::Report;

use super::Links;

/// The longest that one round of deliveries takes: more than a server waits for news.
const PATIENCE: Duration = Duration::from_secs(2);
/// After the first news, the time for that of the others who have some at the same moment.
const GATHERS_FOR: Duration = Duration::from_millis(10);
/// The time in which a server that is well has answered.
const SILENT_AFTER: Duration = Duration::from_secs(3);
/// The longest that a run waits at its end for copies of the document to arrive.
const COPIES_WITHIN: Duration = Duration::from_secs(2);
/// How much one courier carries at most: an order and some copies. What is more is not sent.
const JOBS_MAX: usize = 4;

/// What a server answered to an order.
pub(super) type Answer = (ServerName, Outcome<Report, DeliveryRefused>);

enum Job {
    Deliver(Box<Order>, Option<Box<Report>>),
    KeepCopy(Arc<Document>),
}

/// A job that is done: the answer to an order, nothing to a copy.
struct Done {
    server: ServerName,
    answer: Option<Outcome<Report, DeliveryRefused>>,
}

struct Courier {
    jobs: SyncSender<Job>,
    /// Since when the answer to an order is awaited.
    delivers_since: Option<Instant>,
    /// How many jobs are not done.
    busy_with: usize,
}

/// The couriers of one run. They end with it; one that waits for an answer ends when it has it.
pub(super) struct Couriers {
    by_server: BTreeMap<ServerName, Courier>,
    done: Receiver<Done>,
}

impl Couriers {
    pub(super) fn of(links: &Links) -> Self {
        let (sender, done) = channel();
        let courier = |(server, link): (&ServerName, &Arc<dyn Link + Send + Sync>)| {
            (server.clone(), hire(server.clone(), Arc::clone(link), sender.clone()))
        };
        Self { by_server: links.iter().map(courier).collect(), done }
    }

    /// Brings each order to its server, except to those that still owe an answer. Returns the first
    /// answers and those that come with them; the others come with a later call.
    pub(super) fn deliver<'a>(
        &mut self,
        orders: &[Order],
        seen: impl Fn(&ServerName) -> Option<&'a Report>,
    ) -> Vec<Answer> {
        let mut answers = Vec::new();
        for order in orders {
            match self.by_server.get_mut(&order.server) {
                Some(courier) => courier.deliver(order, seen(&order.server)),
                None => {
                    let unknown = DeliveryRefused("it has no address".to_owned());
                    answers.push((order.server.clone(), Outcome::Refused(unknown)));
                }
            }
        }
        self.collect(&mut answers);
        let silent = self.by_server.iter().filter(|(_, courier)| courier.is_silent());
        answers.extend(silent.map(|(server, _)| {
            let text = format!("it has not answered for {} s", SILENT_AFTER.as_secs());
            (server.clone(), Outcome::Unknown(text))
        }));
        answers
    }

    fn collect(&mut self, answers: &mut Vec<Answer>) {
        let mut until = Instant::now() + PATIENCE;
        while self.by_server.values().any(Courier::may_answer) {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(done) = self.done.recv_timeout(left) else { return };
            if let Some(answer) = self.note(&done.server, done.answer) {
                answers.push((done.server, answer));
                until = until.min(Instant::now() + GATHERS_FOR);
            }
        }
        // Nobody is waited for; who was silent may have answered all the same.
        while let Ok(done) = self.done.try_recv() {
            if let Some(answer) = self.note(&done.server, done.answer) {
                answers.push((done.server, answer));
            }
        }
    }

    fn note(
        &mut self,
        server: &ServerName,
        answer: Option<Outcome<Report, DeliveryRefused>>,
    ) -> Option<Outcome<Report, DeliveryRefused>> {
        if let Some(courier) = self.by_server.get_mut(server) {
            courier.busy_with = courier.busy_with.saturating_sub(1);
            if answer.is_some() {
                courier.delivers_since = None;
            }
        }
        answer
    }

    /// Leaves a copy of the document with every server that has time for it.
    pub(super) fn keep_copy(&mut self, document: &Document) {
        let document = Arc::new(document.clone());
        for server in document.servers.keys() {
            if let Some(courier) = self.by_server.get_mut(server) {
                courier.take(Job::KeepCopy(Arc::clone(&document)));
            }
        }
    }

    /// Waits a little for what is still on its way.
    pub(super) fn finish(mut self) {
        let until = Instant::now() + COPIES_WITHIN;
        while self.by_server.values().any(|courier| courier.busy_with > 0 && !courier.is_silent()) {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(done) = self.done.recv_timeout(left) else { return };
            self.note(&done.server, done.answer);
        }
    }
}

impl Courier {
    fn deliver(&mut self, order: &Order, seen: Option<&Report>) {
        if self.delivers_since.is_some() {
            return;
        }
        if self.take(Job::Deliver(Box::new(order.clone()), seen.cloned().map(Box::new))) {
            self.delivers_since = Some(Instant::now());
        }
    }

    fn take(&mut self, job: Job) -> bool {
        let taken = match self.jobs.try_send(job) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        };
        self.busy_with += usize::from(taken);
        taken
    }

    /// Whether an answer is worth waiting for.
    fn may_answer(&self) -> bool {
        self.delivers_since.is_some() && !self.is_silent()
    }

    fn is_silent(&self) -> bool {
        self.delivers_since.is_some_and(|since| since.elapsed() >= SILENT_AFTER)
    }
}

fn hire(server: ServerName, link: Arc<dyn Link + Send + Sync>, done: Sender<Done>) -> Courier {
    let (jobs, todo) = sync_channel::<Job>(JOBS_MAX);
    thread::spawn(move || {
        while let Ok(job) = todo.recv() {
            let answer = match job {
                Job::Deliver(order, seen) => Some(link.deliver(&order, seen.as_deref())),
                Job::KeepCopy(document) => {
                    link.keep_copy(&document);
                    None
                }
            };
            if done.send(Done { server: server.clone(), answer }).is_err() {
                return;
            }
        }
    });
    Courier { jobs, delivers_since: None, busy_with: 0 }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use onward_core::document::Document;
    use onward_core::model::WriteId;

    use super::*;

    /// Answers when it is let, with the order's generation.
    struct Held(Mutex<Receiver<()>>);

    impl Link for Held {
        fn deliver(&self, _: &Order, _: Option<&Report>) -> Outcome<Report, DeliveryRefused> {
            match self.0.lock().expect("one courier").recv() {
                Ok(()) => Outcome::Refused(DeliveryRefused("answered".to_owned())),
                Err(_) => Outcome::Refused(DeliveryRefused("gone".to_owned())),
            }
        }
    }

    fn order(server: &str) -> Order {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let (app, environment) = ("shop".parse().unwrap(), "local".parse().unwrap());
        let document = Document::first(app, environment, WriteId::new("w"), now);
        Order::nothing(&document, &server.parse().unwrap())
    }

    #[test]
    fn a_server_that_does_not_answer_holds_up_no_other_and_counts_as_silent_later() {
        let (let_one, one) = channel();
        let (_let_two, two) = channel();
        let names = ["one", "two"].map(|name| name.parse::<ServerName>().unwrap());
        let held = |receiver| Arc::new(Held(Mutex::new(receiver))) as Arc<dyn Link + Send + Sync>;
        let links = Links::from([(names[0].clone(), held(one)), (names[1].clone(), held(two))]);
        let mut couriers = Couriers::of(&links);
        let orders = [order("one"), order("two")];

        let_one.send(()).unwrap();
        let first = couriers.deliver(&orders, |_| None);
        assert_eq!(first.iter().map(|(name, _)| name).collect::<Vec<_>>(), [&names[0]]);

        let began = Instant::now();
        let mut silent = None;
        while silent.is_none() && began.elapsed() < SILENT_AFTER * 3 {
            let_one.send(()).unwrap();
            let answers = couriers.deliver(&orders, |_| None);
            silent = answers.into_iter().find(|(name, _)| *name == names[1]);
        }
        let (_, answer) = silent.expect("the second server is told to be silent");
        assert!(matches!(answer, Outcome::Unknown(_)), "{answer:?}");
    }
}
