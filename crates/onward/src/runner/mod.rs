//! The driver: does what the runner of `onward-core` needs, with a real store and real agents.

mod couriers;
mod edit;
mod identity;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use onward_core::document::Document;
use onward_core::model::{OperationNumber, ReleaseNumber, ServerName};
use onward_core::outcome::Outcome;
use onward_core::ports::{Link, StateStore};
use onward_core::runner::{End, Got, Need, Runner, Tick};

use couriers::Couriers;
pub use edit::{Unwritten, Write, edit};
pub use identity::{fresh, request_id};

/// The ways to the agents, by server.
pub type Links = BTreeMap<ServerName, Arc<dyn Link + Send + Sync>>;

/// The pause before a server that did not answer is tried again.
const SILENCE_PAUSE: Duration = Duration::from_millis(50);

/// Who watches a run: called after every answer, with the runner as it is then.
pub trait Observer {
    /// Something may have changed. `Stop::Leave` ends the run where it is; others carry it on.
    fn look(&mut self, runner: &Runner) -> Stop;

    /// This document is about to be written. `Stop::Leave` ends the run before it is.
    fn before_write(&mut self, _runner: &Runner, _next: &Document) -> Stop {
        Stop::No
    }
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Go on.
    No,
    /// Leave the operation as it is.
    Leave,
}

/// Drives a run to its end; `None` when the observer left.
pub fn drive(
    runner: &mut Runner,
    store: &dyn StateStore,
    links: &Links,
    observer: &mut dyn Observer,
) -> Option<End> {
    let began = Instant::now();
    let mut copies = Copies::default();
    let mut couriers = Couriers::of(links);
    loop {
        let tick = || Tick {
            now: Timestamp::now(),
            elapsed_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            write_id: identity::write_id(),
        };
        let got = match runner.next(&tick()) {
            Need::Read => Got::Read(store.read()),
            Need::Write { next, .. } if observer.before_write(runner, &next) == Stop::Leave => {
                return None;
            }
            Need::Write { expected, next } => Got::Written(store.write(expected, &next)),
            Need::Contact(orders) => {
                let answers = couriers.deliver(&orders, |server| runner.seen(server));
                if answers.iter().any(|(_, answer)| !matches!(answer, Outcome::Done(_))) {
                    thread::sleep(SILENCE_PAUSE);
                }
                Got::Reports(answers)
            }
            Need::End(end) => {
                // Of what others wrote, copies were left by them.
                if !matches!(end, End::Unchanged | End::Refused(_)) {
                    copies.leave(runner, &mut couriers);
                }
                if let Some(generation) = runner.settled() {
                    store.settled(generation);
                }
                couriers.finish();
                return Some(end);
            }
        };
        if matches!(got, Got::Reports(_)) {
            copies.leave(runner, &mut couriers);
        }
        runner.got(got, &tick());
        if observer.look(runner) == Stop::Leave {
            return None;
        }
    }
}

/// Copies of the document on the servers, for the day on which the store is lost: one after each
/// decision and one at rest. What a copy in between could tell, the next one tells as well.
#[derive(Default)]
struct Copies {
    left: Option<Decided>,
}

/// What a copy has to have, to be worth more than the one before.
type Decided = (Option<ReleaseNumber>, Option<OperationNumber>, bool);

impl Copies {
    fn leave(&mut self, runner: &Runner, couriers: &mut Couriers) {
        let Some(document) = runner.document() else { return };
        let operation = document.operation.as_ref();
        let decided = operation.is_none_or(|operation| operation.phase.is_decided());
        let number = operation.map(|operation| operation.number);
        let now = (document.serving, number, operation.is_none());
        if decided && self.left != Some(now) {
            self.left = Some(now);
            couriers.keep_copy(document);
        }
    }
}
