//! Setting a machine up, from the facts to the last line.

use std::time::Instant;

use onward_core::machine::{
    Change, Effect, Event, Facts, Guest, Plan, Record, Setup, Stage, Stay, plan,
};
use onward_core::model::Digest;

use super::effects;
use super::error::MachineError;
use super::gather::{self, facts};
use super::guard::{self, Verdict};
use super::place::Place;

/// What would change.
///
/// # Errors
/// Those of [`facts`].
pub fn planned(place: &Place, setup: &Setup) -> Result<Plan, MachineError> {
    Ok(demand(setup, &facts(place)?)?.plan)
}

/// What a set-up comes to on a machine.
struct Demand {
    plan: Plan,
    /// What is in force then: the owner's, also when a guest asks.
    setup: Setup,
    guests: Vec<Guest>,
}

/// A machine that another environment sets up opens its ports, and takes nothing else.
fn demand(setup: &Setup, facts: &Facts) -> Result<Demand, MachineError> {
    if let Some(Stay { plan, record }) = Stay::of(setup, facts) {
        return Ok(Demand { plan, setup: record.setup, guests: record.guests });
    }
    let guests = facts.record.as_ref().map(|record| record.guests.clone()).unwrap_or_default();
    Ok(Demand { plan: plan(setup, facts)?, setup: setup.clone(), guests })
}

/// Makes the machine what `setup` says, and tells each step. Whether it is so now is in the last
/// event; the others say what is not, and why.
///
/// Another one waits for nobody: there is only one at a time. One that was killed is taken up from
/// where the machine is now.
///
/// # Errors
/// Those of [`planned`], [`MachineError::Busy`], [`MachineError::NotRoot`]; then nothing was changed.
pub fn set_up(
    place: &Place,
    setup: &Setup,
    emit: &mut dyn FnMut(&Event),
) -> Result<bool, MachineError> {
    if !rustix::process::geteuid().is_root() {
        return Err(MachineError::NotRoot);
    }
    let begun = Instant::now();
    let _lock = guard::try_lock(place, "set-up.lock")?;
    // What another one left on trial has nobody who waits for it any more.
    guard::undo(place, None)?;
    let facts = facts(place)?;
    let Demand { plan, setup, guests } = demand(setup, &facts)?;
    if !plan.questions.is_empty() {
        emit(&Event::Asks { questions: plan.questions });
        return Ok(finish(false, 0, begun, emit));
    }
    emit(&Event::Planned { changes: plan.changes.clone(), notes: plan.notes });
    let known = facts.record.is_some_and(|own| own.setup == setup && own.guests == guests);
    if plan.changes.is_empty() && known {
        return Ok(finish(true, 0, begun, emit));
    }
    let mut course = Course { place, changes: &plan.changes, changed: 0, emit };
    let ok = course.run(&setup, guests)?;
    let changed = course.changed;
    Ok(finish(ok, changed, begun, emit))
}

fn finish(ok: bool, changed: usize, begun: Instant, emit: &mut dyn FnMut(&Event)) -> bool {
    let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    emit(&Event::Finished { ok, changed, took_ms });
    ok
}

/// Remembers that `setup` is in force.
pub(super) fn remember(
    place: &Place,
    setup: Setup,
    guests: Vec<Guest>,
) -> Result<(), MachineError> {
    let rules = gather::loaded_rules().map(|rules| Digest::of(rules.as_bytes()));
    gather::remember(place, &Record { setup, guests, rules })
}

/// The changes of one set-up being made.
struct Course<'a> {
    place: &'a Place,
    changes: &'a [Change],
    changed: usize,
    emit: &'a mut dyn FnMut(&Event),
}

impl Course<'_> {
    fn run(&mut self, setup: &Setup, guests: Vec<Guest>) -> Result<bool, MachineError> {
        if !self.make(Stage::First) {
            return Ok(false);
        }
        let effects: Vec<Effect> =
            self.of(Stage::Guarded).flat_map(|(_, change)| change.effects.clone()).collect();
        if effects.is_empty() {
            let ok = self.make(Stage::Last);
            remember(self.place, setup.clone(), guests)?;
            return Ok(ok);
        }
        let token = guard::arm(self.place, setup, &guests, &effects)?;
        let before = self.changed;
        if !self.make(Stage::Guarded) {
            guard::undo(self.place, None)?;
            self.changed = before;
            let text = "one of these changes failed, so all of them were taken back";
            (self.emit)(&Event::Undone { text: text.to_owned() });
            return Ok(false);
        }
        let within_s = setup.confirm_within_s;
        (self.emit)(&Event::Confirm { token, within_s });
        // They are made while the operator comes back.
        let last = self.make(Stage::Last);
        match guard::wait(self.place, within_s)? {
            Verdict::Kept => {
                (self.emit)(&Event::Confirmed);
                Ok(last)
            }
            Verdict::Undone => {
                self.changed -= self.of(Stage::Guarded).count();
                let text = format!("nobody confirmed it over a new connection within {within_s} s");
                (self.emit)(&Event::Undone { text });
                Ok(false)
            }
        }
    }

    fn of(&self, stage: Stage) -> impl Iterator<Item = (usize, &Change)> {
        self.changes.iter().enumerate().filter(move |(_, change)| change.stage == stage)
    }

    /// Makes the changes of a stage, and says whether all are made. Only in the last one those after
    /// one that fails are made too.
    fn make(&mut self, stage: Stage) -> bool {
        let mut all = true;
        for (number, change) in self.changes.iter().enumerate() {
            if change.stage != stage {
                continue;
            }
            (self.emit)(&Event::Begun { change: number });
            let made = self.make_one(change);
            match made {
                Ok(()) => {
                    self.changed += 1;
                    (self.emit)(&Event::Made { change: number });
                }
                Err(error) => {
                    all = false;
                    (self.emit)(&Event::Failed { change: number, text: error.to_string() });
                    if stage != Stage::Last {
                        return false;
                    }
                }
            }
        }
        all
    }

    fn make_one(&mut self, change: &Change) -> Result<(), MachineError> {
        for effect in &change.effects {
            let emit = &mut *self.emit;
            let mut tell = |line: &str| emit(&Event::Says { line: line.to_owned() });
            effects::make(self.place, effect, &mut tell)?;
        }
        Ok(())
    }
}
