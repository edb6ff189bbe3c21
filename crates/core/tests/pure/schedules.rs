//! Scheduled runs in a small world: an agent that dies at any point, releases that follow each
//! other, clocks that go on, runs that last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use onward_core::model::{
    BundleRef, Config, Digest, Generation, OperationNumber, ProcessName, ReleaseNumber, Schedule,
    Stop, When,
};
use onward_core::order::{Level, Order, ReleaseOrder};
use onward_core::reconcile::{
    Action, Facts, Files, JobFact, Kept, KeptSchedule, Slot, SlotId, SlotState, next_due, reconcile,
};
use onward_core::report::{BegunRun, EndedRun, LeftOut, LeftOutRun};
use proptest::prelude::*;

use crate::make::{NOW, config};

const LATE_MS: u64 = 600_000;

fn tick() -> ProcessName {
    "tick".parse().expect("a legal name")
}

fn with_schedule(background: bool) -> ReleaseOrder {
    let schedule = Schedule {
        run: "./tick".to_owned(),
        when: When::Every(300_000),
        zone: None,
        within_ms: 60_000,
        late_ms: LATE_MS,
        stop: Stop { signal: "TERM".to_owned(), within_ms: 10_000 },
        on: Vec::new(),
    };
    let schedules = BTreeMap::from([(tick(), schedule)]);
    ReleaseOrder {
        level: Level::Running,
        background,
        warm_ms: None,
        bundle: BundleRef { digest: Digest::of(b"x"), label: "x".to_owned() },
        config: Arc::new(Config { schedules, ..config(&[]) }),
    }
}

/// An order in which the background of exactly one release runs.
fn order(generation: u64, serving: u64) -> Order {
    let other = if serving == 1 { 2 } else { 1 };
    Order {
        app: "shop".parse().expect("a legal name"),
        environment: "local".parse().expect("a legal name"),
        server: "one".parse().expect("a legal name"),
        generation: Generation(generation),
        operation: OperationNumber(0),
        releases: BTreeMap::from([
            (ReleaseNumber(serving), with_schedule(true)),
            (ReleaseNumber(other), with_schedule(false)),
        ]),
        command: None,
        secrets: None,
        watch: None,
        fleet_key: None,
        https: None,
        balance: None,
        maintenance: None,
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Time goes on, in seconds, and the agent looks.
    Pass(i64),
    /// The agent is dead so long; its jobs go on.
    Down(i64),
    /// The agent keeps that a run begins and dies before it does.
    DieBeforeStart,
    /// The run that is on ends.
    JobEnds,
    /// Another release serves.
    Deploy,
    /// The clock is set back, in seconds, within what is waited for.
    SetBack(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1_i64..400).prop_map(Step::Pass),
        1 => (1_i64..3_000).prop_map(Step::Down),
        2 => Just(Step::DieBeforeStart),
        4 => Just(Step::JobEnds),
        1 => Just(Step::Deploy),
        1 => (1_i64..1_000).prop_map(Step::SetBack),
    ]
}

struct World {
    now: Timestamp,
    kept: Kept,
    serving: u64,
    /// What runs: it outlives the agent.
    job: Option<JobFact>,
    started: BTreeSet<Timestamp>,
    dies_before_start: bool,
}

impl World {
    fn new() -> Self {
        let kept = Kept { order: Some(order(1, 1)), ..Kept::default() };
        Self {
            now: NOW,
            kept,
            serving: 1,
            job: None,
            started: BTreeSet::new(),
            dies_before_start: false,
        }
    }

    fn facts(&self) -> Facts {
        Facts {
            files: [1, 2].map(|number| (ReleaseNumber(number), Files::Verified)).into(),
            now: self.now,
            jobs: self.job.clone().map(|job| (tick(), job)).into_iter().collect(),
            ..Facts::default()
        }
    }

    /// The agent looks until nothing is left to do.
    fn look(&mut self) {
        for _ in 0..8 {
            let actions = reconcile(&self.kept, &self.facts()).actions;
            if actions.is_empty() {
                return;
            }
            for action in actions {
                self.act(action);
            }
        }
        panic!("the agent does not come to rest: {:?}", reconcile(&self.kept, &self.facts()));
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Enrol(name) => {
                let schedule = &with_schedule(true).config.schedules[&name];
                let mut new = KeptSchedule::new(schedule, self.now);
                if let Some(old) = self.kept.schedules.remove(&name) {
                    // The clock was wrong by more than an hour: other times, other runs.
                    self.started.clear();
                    new.begun = old.begun;
                }
                self.kept.schedules.insert(name, new);
            }
            Action::LeaveOut { name, due, why } => {
                let own = self.kept.schedules.get_mut(&name).expect("it was enrolled");
                own.handled = due;
                own.left_out = Some(LeftOutRun { due, why });
                assert_ne!((why, self.job.is_some()), (LeftOut::StillRuns, false));
            }
            Action::BeginJob { name, release, due } => {
                assert_eq!(self.job, None, "two runs at once");
                assert_eq!(release.0, self.serving, "a run of a release that does not serve");
                let own = self.kept.schedules.get_mut(&name).expect("it was enrolled");
                own.handled = due;
                own.begun = Some(BegunRun { due, began: self.now, release });
                if std::mem::take(&mut self.dies_before_start) {
                    self.restart();
                    return;
                }
                assert!(self.started.insert(due), "the run of {due} began twice");
                self.job = Some(JobFact { release, stopping: false });
            }
            Action::StopJob(_) => {
                if let Some(job) = &mut self.job {
                    job.stopping = true;
                }
            }
            other => panic!("nothing else is to do: {other:?}"),
        }
    }

    /// What an agent does after its start: a run that never began is due again.
    fn restart(&mut self) {
        let Some(own) = self.kept.schedules.get_mut(&tick()) else { return };
        if self.job.is_none()
            && let Some(begun) = own.begun.take()
        {
            own.handled = begun.due - SignedDuration::from_millis(1);
        }
    }

    fn job_ends(&mut self) {
        let Some(job) = self.job.take() else { return };
        let own = self.kept.schedules.get_mut(&tick()).expect("it was enrolled");
        let BegunRun { due, began, .. } = own.begun.take().expect("it began");
        let release = job.release;
        own.last = Some(EndedRun { due, began, ended: self.now, release, failure: None });
    }

    fn step(&mut self, step: Step) {
        let seconds = SignedDuration::from_secs;
        match step {
            Step::Pass(count) => self.now += seconds(count),
            Step::Down(count) => {
                self.now += seconds(count);
                self.restart();
            }
            Step::DieBeforeStart => self.dies_before_start = true,
            Step::JobEnds => self.job_ends(),
            Step::Deploy => {
                self.serving = 3 - self.serving;
                let generation = self.kept.order.as_ref().map_or(1, |own| own.generation.0 + 1);
                self.kept.order = Some(order(generation, self.serving));
            }
            Step::SetBack(count) => self.now -= seconds(count),
        }
        self.look();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_run_is_lost_or_begins_twice(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        world.look();
        for step in steps {
            world.step(step);
        }
        // A quiet end: what is on ends, and the next run takes place when it is due.
        world.dies_before_start = false;
        world.job_ends();
        world.look();
        world.job_ends();
        let due = next_due(&world.kept, &world.facts()).expect("a schedule that is on");
        world.now = due;
        world.look();
        prop_assert!(world.started.contains(&due), "the run of {due} did not take place");
    }
}

#[test]
fn a_missed_run_is_made_up_unless_it_is_too_late() {
    let mut world = World::new();
    world.look();
    // Two were missed, the last of them a moment ago.
    world.step(Step::Down(650));
    assert_eq!(world.started.len(), 1);
    let first = *world.started.first().expect("it began");
    assert_eq!(first.as_second() % 300, 0);
    assert!(world.now.duration_since(first) < SignedDuration::from_secs(300));
    // While it runs, the next is left out and that is kept.
    world.step(Step::Pass(300));
    let own = &world.kept.schedules[&tick()];
    assert_eq!(own.left_out.as_ref().map(|own| own.why), Some(LeftOut::StillRuns));
    assert_eq!(world.started.len(), 1);
}

#[test]
fn a_run_of_the_old_release_ends_before_anything_of_the_new_one_begins() {
    let mut world = World::new();
    world.look();
    world.step(Step::Pass(300));
    assert!(world.job.is_some());
    world.step(Step::Deploy);
    assert_eq!(world.job.as_ref().map(|job| job.stopping), Some(true));
    let report = reconcile(&world.kept, &world.facts()).report;
    assert!(!report.releases[&ReleaseNumber(1)].background_idle, "the exchange waits for it");
    world.step(Step::Pass(300));
    assert_eq!(world.started.len(), 1, "nothing of the new release while the old one's runs");
    world.step(Step::JobEnds);
    assert_eq!(world.started.len(), 2);
}

/// The control of the test above: without background of two releases nothing waits.
#[test]
fn a_worker_of_another_release_keeps_a_run_waiting() {
    let mut world = World::new();
    world.look();
    world.now += SignedDuration::from_secs(300);
    let mut facts = world.facts();
    let slot = SlotId {
        release: ReleaseNumber(2),
        process: "worker".parse().expect("a legal name"),
        index: 1,
    };
    let alive = Slot {
        state: SlotState::Stopping,
        pid: Some(1),
        port: None,
        was_ready: true,
        early_exits: 0,
        restarts: 0,
        failure: None,
        adopted: false,
    };
    facts.slots.insert(slot, alive);
    let begins = |facts: &Facts| {
        let actions = reconcile(&world.kept, facts).actions;
        actions.iter().any(|action| matches!(action, Action::BeginJob { .. }))
    };
    assert!(!begins(&facts));
    facts.slots.clear();
    assert!(begins(&facts));
}
