//! Many runs: the plain one, every single fault, and the swarm.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use onward_testkit::sim::{Fault, Outcome, Plan, Run, Simulator, Violation};

/// The delays of single faults, in decisions. Some bugs need the long ones.
pub const GAPS: [u32; 4] = [3, 12, 40, 120];

/// What came of many runs.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many runs were made.
    pub runs: u64,
    /// How many faults were injected in them.
    pub faults: u64,
    /// Runs in which nothing was injected although something should have been.
    pub idle: u64,
    /// How many decision points were passed.
    pub decisions: u64,
    /// How many turns were taken.
    pub turns: u64,
    /// The most turns that a run took to come to rest after its last fault and wish.
    pub quiet_max: u64,
    /// The runs that broke an invariant.
    pub broken: Vec<(Run, Violation)>,
}

impl Tally {
    /// Counts a run.
    pub fn add(&mut self, run: &Run, outcome: &Outcome) {
        self.runs += 1;
        self.faults += u64::from(outcome.injected);
        self.idle += u64::from(outcome.injected == 0);
        self.decisions += u64::from(outcome.decisions);
        self.turns += outcome.turns;
        self.quiet_max = self.quiet_max.max(outcome.quiet);
        if let Some(violation) = &outcome.violation {
            self.broken.push((run.clone(), violation.clone()));
        }
    }

    /// Adds what another thread counted.
    pub fn merge(&mut self, other: Self) {
        self.runs += other.runs;
        self.faults += other.faults;
        self.idle += other.idle;
        self.decisions += other.decisions;
        self.turns += other.turns;
        self.quiet_max = self.quiet_max.max(other.quiet_max);
        self.broken.extend(other.broken);
    }
}

/// One run; a panic in it is a violation of I15.
pub fn run(simulator: &Simulator, run: &Run, lines: bool) -> Outcome {
    let caught = catch_unwind(AssertUnwindSafe(|| simulator.run(run, lines)));
    caught.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Outcome {
            violation: Some(Violation { id: "I15", what: text.unwrap_or_default() }),
            plan: Plan::none(),
            injected: 1,
            decisions: 0,
            turns: 0,
            quiet: 0,
            trace: onward_testkit::sim::Trace::default(),
        }
    })
}

/// How many broken runs are enough.
const BROKEN_MAX: usize = 20;

/// Runs of the numbers below `count` on `threads` threads, until enough are broken.
fn on_threads(count: u64, threads: usize, make: &(dyn Fn(u64) -> Run + Sync)) -> Tally {
    let next = AtomicU64::new(0);
    let enough = AtomicBool::new(false);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let simulator = Simulator::new();
                let mut own = Tally::default();
                while !enough.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    let made = make(number);
                    own.add(&made, &run(&simulator, &made, false));
                    if own.broken.len() >= BROKEN_MAX {
                        enough.store(true, Ordering::Relaxed);
                    }
                }
                tally.lock().unwrap_or_else(PoisonError::into_inner).merge(own);
            });
        }
    });
    tally.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// L1: the plain scenario without a fault. Says how many decision points it passes.
pub fn fault_free() -> Outcome {
    run(&Simulator::new(), &Run::Plain(Plan::none()), false)
}

/// L2: every boundary of the plain scenario with every fault and every delay; `stride` leaves out
/// all but every n-th run. A fault that has no meaning at a boundary makes no run.
pub fn single_faults(stride: u64, threads: usize) -> Tally {
    let boundaries = u64::from(fault_free().decisions);
    let faults = Fault::ALL.len() as u64;
    let gaps = GAPS.len() as u64;
    let made = |number: u64| {
        let number = number * stride;
        let gap = GAPS[(number % gaps) as usize];
        let fault = Fault::ALL[(number / gaps % faults) as usize];
        Run::Plain(Plan::at((number / gaps / faults) as u32, fault, gap))
    };
    only_injected(on_threads(boundaries * faults * gaps / stride, threads, &made))
}

/// L3: two faults, the second some boundaries after the first: every n-th pair.
pub fn fault_pairs(stride: u64, threads: usize) -> Tally {
    let boundaries = u64::from(fault_free().decisions);
    let faults = Fault::ALL.len() as u64;
    let made = |number: u64| {
        let mut number = number * stride;
        let mut take = |bound: u64| {
            let taken = number % bound;
            number /= bound;
            taken
        };
        let gap = GAPS[take(GAPS.len() as u64) as usize];
        let (first, second) = (take(faults) as usize, take(faults) as usize);
        let distance = 1 + take(40) as u32;
        let at = number as u32;
        let mut plan = Plan::at(at, Fault::ALL[first], gap);
        plan.faults.insert(at + distance, Fault::ALL[second]);
        Run::Plain(plan)
    };
    let pairs = boundaries * 40 * faults * faults * GAPS.len() as u64;
    only_injected(on_threads(pairs / stride, threads, &made))
}

/// L5: a crash at every boundary, and again and again after it: depth 4.
pub fn crash_loops(threads: usize) -> Tally {
    let boundaries = u64::from(fault_free().decisions);
    let made = |number: u64| {
        let (at, distance) = ((number / 8) as u32, 1 + (number % 8) as u32);
        let crashes = (0..4).map(|n| (at + n * distance, Fault::CrashAfter));
        Run::Plain(Plan { faults: crashes.collect(), gap: 12 })
    };
    on_threads(boundaries * 8, threads, &made)
}

/// L4 and L7: the swarm, from a seed on.
pub fn swarm(first: u64, count: u64, threads: usize) -> Tally {
    on_threads(count, threads, &|number| Run::Seed(first + number))
}

/// Leaves out of the count the runs whose faults have no meaning where they were planned.
fn only_injected(mut tally: Tally) -> Tally {
    tally.runs -= tally.idle;
    tally.idle = 0;
    tally
}

/// Determinism: the seeds of which a second run differs from the first.
pub fn differing_seeds(first: u64, count: u64) -> Vec<u64> {
    let (one, two) = (Simulator::new(), Simulator::new());
    let differs = |seed: &u64| {
        let seed = Run::Seed(*seed);
        let (a, b) = (run(&one, &seed, false), run(&two, &seed, false));
        a.trace.hash() != b.trace.hash() || a.plan != b.plan
    };
    (first..first + count).filter(differs).collect()
}
