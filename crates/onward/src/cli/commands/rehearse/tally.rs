//! What came of many stories, counted.

use std::collections::BTreeMap;

use onward_testkit::sim::Violation;
use onward_testkit::sim::rehearse::{Act, Story, Then, Told};

use super::cause::{Cause, When};

/// What came of the stories of one kind.
#[derive(Debug, Clone, Default)]
pub struct Count {
    /// How many there were.
    pub runs: u64,
    /// The operation was done.
    pub done: u64,
    /// It was taken back, or failed.
    pub taken_back: u64,
    /// It was never recorded, or left before it was decided.
    pub nothing_changed: u64,
    /// No server could answer for a while.
    pub dark: u64,
}

impl Count {
    /// Adds what was counted of another kind.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.done += other.done;
        self.taken_back += other.taken_back;
        self.nothing_changed += other.nothing_changed;
        self.dark += other.dark;
    }
}

/// What came of all stories.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many were told.
    pub runs: u64,
    /// By what people did, what went wrong, and when. Stories of several faults count as their last.
    pub counts: BTreeMap<(Act, Cause, When), Count>,
    /// The release command was begun more than once for one release.
    pub commands_again: u64,
    /// The release command was begun, and the version before serves.
    pub commands_taken_back: u64,
    /// The story after which it took longest until all was at rest.
    pub longest: Option<(u64, Story)>,
    /// A story in which no server could answer, with for how long: the longest.
    pub darkest: Option<(u64, Story)>,
    /// Stories that broke an invariant.
    pub broken: Vec<(Story, Violation)>,
}

impl Tally {
    /// Counts a story.
    pub fn add(&mut self, story: &Story, told: Told) {
        self.runs += 1;
        if let Some(struck) = &told.struck {
            let key = (story.act, Cause::of(struck.fault, struck.point), When::of(struck));
            let count = self.counts.entry(key).or_default();
            count.runs += 1;
            count.dark += u64::from(told.dark_ms > 0);
            match told.then {
                Then::Done => count.done += 1,
                Then::TakenBack => count.taken_back += 1,
                Then::NothingChanged => count.nothing_changed += 1,
            }
        }
        self.commands_again += u64::from(told.commands > 1);
        self.commands_taken_back += u64::from(told.commands > 0 && told.then != Then::Done);
        raise(&mut self.longest, told.rest_ms, story);
        raise(&mut self.darkest, told.dark_ms, story);
        if let Some(violation) = told.violation {
            self.broken.push((story.clone(), violation));
        }
    }

    /// Adds what another thread counted.
    pub fn merge(&mut self, other: Self) {
        self.runs += other.runs;
        for (key, count) in other.counts {
            self.counts.entry(key).or_default().add(&count);
        }
        self.commands_again += other.commands_again;
        self.commands_taken_back += other.commands_taken_back;
        for (own, other) in [(&mut self.longest, other.longest), (&mut self.darkest, other.darkest)]
        {
            if let Some((ms, story)) = other {
                raise(own, ms, &story);
            }
        }
        self.broken.extend(other.broken);
    }
}

fn raise(most: &mut Option<(u64, Story)>, ms: u64, story: &Story) {
    if ms > most.as_ref().map_or(0, |(most, _)| *most) {
        *most = Some((ms, story.clone()));
    }
}
