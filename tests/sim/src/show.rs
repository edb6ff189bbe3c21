//! What a person sees of a run that broke an invariant.

use onward_testkit::sim::{Outcome, Plan, Run, Simulator, Trace, shrink};

use crate::levels;

/// How many of the last lines of a trace are shown.
const LINES_MAX: usize = 120;

/// The trace of a run, its verdict, and the smallest plan that breaks the same invariant.
pub fn story(simulator: &Simulator, run: &Run) -> String {
    let outcome = levels::run(simulator, run, true);
    let mut text = trace(&outcome);
    match &outcome.violation {
        None => text += "no violation\n",
        Some(violation) => {
            text += &format!("violation of {violation}\n");
            let small = smallest(simulator, run, &outcome.plan, violation.id);
            text += &format!("replay: {}\n", command_line(&small));
        }
    }
    text
}

/// The last lines of a trace under their heads.
pub fn trace(outcome: &Outcome) -> String {
    let lines = outcome.trace.lines();
    let left_out = lines.len().saturating_sub(LINES_MAX);
    let mut text = format!("{}\n", Trace::HEAD);
    if left_out > 0 {
        text += &format!("… {left_out} lines …\n");
    }
    for line in &lines[left_out..] {
        text += &format!("{line}\n");
    }
    text
}

/// The run with the fewest faults that still breaks the invariant.
pub fn smallest(simulator: &Simulator, run: &Run, injected: &Plan, id: &str) -> Run {
    let with = |plan: &Plan| match run {
        Run::Plain(_) => Run::Plain(plan.clone()),
        Run::Seed(seed) | Run::Replay(seed, _) => Run::Replay(*seed, plan.clone()),
    };
    let breaks = |plan: &Plan| {
        let outcome = levels::run(simulator, &with(plan), false);
        outcome.violation.is_some_and(|violation| violation.id == id)
    };
    with(&shrink(injected, breaks))
}

/// The arguments that make a run again.
pub fn command_line(run: &Run) -> String {
    match run {
        Run::Plain(plan) => format!("--plan \"{plan}\""),
        Run::Seed(seed) => format!("--seed {seed}"),
        Run::Replay(seed, plan) => format!("--seed {seed} --plan \"{plan}\""),
    }
}
