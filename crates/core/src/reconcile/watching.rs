//! The verdict of a watch.

use super::{
    Facts, SlotState, WATCH_ERRORS_PERCENT, WATCH_ERRORS_TIMES, WATCH_REQUESTS_MIN, WatchFact,
};
use crate::document::Failure;
use crate::order::WatchOrder;
use crate::report::Progress;

/// How the watch goes: failed as soon as there is a reason, done when its time is over and every
/// instance answers.
pub(super) fn verdict(order: &WatchOrder, watch: &WatchFact, facts: &Facts) -> Progress {
    if let Some(outcome) = &watch.outcome {
        return outcome.clone();
    }
    if let Some(failure) = &watch.ended {
        return Progress::Failed(failure.clone());
    }
    let own = facts.slots.iter().filter(|(id, _)| id.release == order.release);
    let mut all_ready = true;
    for (id, slot) in own {
        match slot.state {
            SlotState::Failing => return Progress::Failed(failing(id, slot.failure.clone())),
            SlotState::Ready => {}
            _ => all_ready = false,
        }
    }
    if let Some(failure) = too_many_errors(watch) {
        return Progress::Failed(failure);
    }
    if all_ready && watch.elapsed_ms >= order.for_ms { Progress::Done } else { Progress::Running }
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
