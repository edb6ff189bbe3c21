//! The verdict of a watch.

use super::{
    Facts, Slot, SlotState, WATCH_ERRORS_PERCENT, WATCH_ERRORS_TIMES, WATCH_REQUESTS_MIN,
    WatchFact, wanted,
};
use crate::document::Failure;
use crate::order::{Order, WatchOrder};
use crate::report::Progress;

/// How the watch goes: failed as soon as there is a reason, done when its time is over and every
/// instance answers.
pub(super) fn verdict(
    order: &Order,
    watched: &WatchOrder,
    watch: &WatchFact,
    facts: &Facts,
) -> Progress {
    if let Some(outcome) = &watch.outcome {
        return outcome.clone();
    }
    if let Some(failure) = &watch.ended {
        return Progress::Failed(failure.clone());
    }
    let wanted = wanted::slots(order, facts);
    let mut all_ready = true;
    for id in wanted.keys().filter(|id| id.release == watched.release) {
        match facts.slots.get(id) {
            Some(Slot { state: SlotState::Failing, failure, .. }) => {
                return Progress::Failed(failing(id, failure.clone()));
            }
            Some(Slot { state: SlotState::Ready, .. }) => {}
            _ => all_ready = false,
        }
    }
    if let Some(failure) = too_many_errors(watch) {
        return Progress::Failed(failure);
    }
    if all_ready && watch.elapsed_ms >= watched.for_ms { Progress::Done } else { Progress::Running }
}

fn failing(id: &super::SlotId, seen: Option<Failure>) -> Failure {
    let seen = seen.unwrap_or_default();
    Failure { reason: format!("{} failed its probe twice after the switch", id.process), ..seen }
}

/// More than 5 % of at least 50 requests, and three times the share before, ended in 5xx.
fn too_many_errors(watch: &WatchFact) -> Option<Failure> {
    let &WatchFact { requests, app_errors, requests_before, app_errors_before, .. } = watch;
    if requests < WATCH_REQUESTS_MIN || app_errors * 100 <= requests * WATCH_ERRORS_PERCENT {
        return None;
    }
    let times_before = app_errors * requests_before.max(1);
    if times_before <= WATCH_ERRORS_TIMES * app_errors_before * requests {
        return None;
    }
    Some(Failure {
        reason: format!("{app_errors} of {requests} answers after the switch were server errors"),
        ..Failure::default()
    })
}
