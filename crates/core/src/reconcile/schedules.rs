//! Which scheduled run begins now, which is left out, which has to end.
//!
//! # Guarantees
//! - A run begins only after it was kept that it does, so no run begins twice.
//! - Two runs of one schedule are never on at once, and never runs of two releases.
//! - A run that was missed (the server was off, a deploy was on) is made up once, when it is not
//!   later than the schedule allows; of several, the last.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::plan::Plan;
use super::{Action, Facts, Kept, KeptSchedule, wanted};
use crate::model::{ProcessName, ReleaseNumber, Schedule};
use crate::order::Order;
use crate::report::{LeftOut, ScheduleReport};
use crate::schedule::Timing;

/// A clock that is set back by no more than this waits until it is where it was, so that no run
/// begins twice. One that is set back by more was wrong before: the schedule counts anew.
const SET_BACK_MAX: SignedDuration = SignedDuration::from_hours(1);

/// The schedules that are on: those of the release whose background processes run.
fn wanted_schedules<'a>(
    order: &'a Order,
    facts: &Facts,
) -> impl Iterator<Item = (ReleaseNumber, &'a ProcessName, &'a Schedule)> {
    let runs = |number: ReleaseNumber, own: &crate::order::ReleaseOrder| {
        own.background && wanted::level(facts, number, own) >= crate::order::Level::Running
    };
    let releases: Vec<_> =
        order.releases.iter().filter(|(number, own)| runs(**number, own)).collect();
    releases.into_iter().flat_map(|(number, own)| {
        own.config.schedules.iter().map(|(name, schedule)| (*number, name, schedule))
    })
}

/// Whether what is kept is about what the schedule says, and about a time that may have been.
fn counts(own: &KeptSchedule, schedule: &Schedule, now: Timestamp) -> bool {
    own.is_of(schedule) && own.handled.duration_since(now) <= SET_BACK_MAX
}

impl Plan<'_> {
    /// Begins, leaves out and stops scheduled runs; ends commands of people in releases that shall
    /// be gone.
    pub(super) fn schedules(&mut self) {
        let now = self.facts.now;
        for (release, name, schedule) in wanted_schedules(self.order, self.facts) {
            let own = self.kept.schedules.get(name).filter(|own| counts(own, schedule, now));
            let Some(own) = own else {
                self.actions.push(Action::Enrol(name.clone()));
                continue;
            };
            let Some(due) = due(own, schedule, now) else { continue };
            let (name, runs) = (name.clone(), self.facts.jobs.contains_key(name));
            let alone = self.is_alone(release) && own.begun.is_none();
            match due {
                Due::Missed(due) => {
                    self.actions.push(Action::LeaveOut { name, due, why: LeftOut::Missed });
                }
                Due::Now(due) if runs && self.is_alone(release) => {
                    self.actions.push(Action::LeaveOut { name, due, why: LeftOut::StillRuns });
                }
                Due::Now(due) if alone && !runs && self.verified(release) => {
                    self.actions.push(Action::BeginJob { name, release, due });
                }
                Due::Now(_) => {}
            }
        }
        for (name, job) in &self.facts.jobs {
            let mut on = wanted_schedules(self.order, self.facts);
            let wanted = on.any(|(release, own, _)| own == name && release == job.release);
            if !wanted && !job.stopping {
                self.actions.push(Action::StopJob(name.clone()));
            }
        }
        for (release, stopping) in &self.facts.runs {
            if !stopping && !self.order.releases.contains_key(release) {
                self.actions.push(Action::EndRuns(*release));
            }
        }
    }
}

enum Due {
    Now(Timestamp),
    Missed(Timestamp),
}

/// The run that is due, when one is.
fn due(own: &KeptSchedule, schedule: &Schedule, now: Timestamp) -> Option<Due> {
    // What a newer version wrote is left to it.
    let timing = Timing::of(schedule).ok()?;
    let handled = own.handled;
    timing.next(handled).filter(|next| *next <= now)?;
    let late = SignedDuration::from_millis(i64::try_from(schedule.late_ms).unwrap_or(i64::MAX));
    let earliest = now.checked_sub(late).unwrap_or(Timestamp::UNIX_EPOCH);
    // A run that is exactly as late as allowed is not too late.
    let earliest = earliest.checked_sub(SignedDuration::from_millis(1)).unwrap_or(earliest);
    match timing.last_between(handled.max(earliest), now) {
        Some(due) => Some(Due::Now(due)),
        None => timing.last_between(handled, now).map(Due::Missed),
    }
}

/// How schedules are, for the report.
pub(super) fn reports(
    order: &Order,
    kept: &Kept,
    facts: &Facts,
) -> BTreeMap<ProcessName, ScheduleReport> {
    let of = |name: &ProcessName, schedule: &Schedule| {
        let own = kept.schedules.get(name).filter(|own| own.is_of(schedule));
        let from = own.map_or(facts.now, |own| own.handled.max(facts.now));
        ScheduleReport {
            next: Timing::of(schedule).ok().and_then(|timing| timing.next(from)),
            running: own
                .and_then(|own| own.begun.clone())
                .filter(|_| facts.jobs.contains_key(name)),
            last: own.and_then(|own| own.last.clone()),
            left_out: own.and_then(|own| own.left_out.clone()),
        }
    };
    wanted_schedules(order, facts)
        .map(|(_, name, schedule)| (name.clone(), of(name, schedule)))
        .collect()
}

/// When the next run is due; none when there is no schedule.
pub fn next_due(kept: &Kept, facts: &Facts) -> Option<Timestamp> {
    let order = kept.order.as_ref()?;
    let next = |name: &ProcessName, schedule: &Schedule| {
        let own = kept.schedules.get(name)?;
        Timing::of(schedule).ok()?.next(own.handled.max(facts.now))
    };
    wanted_schedules(order, facts).filter_map(|(_, name, schedule)| next(name, schedule)).min()
}
