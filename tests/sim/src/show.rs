//! What a person sees of a run that broke an invariant.

use onward_testkit::sim::{Outcome, Plan, Run, Simulator, Trace, shrink};

use crate::levels;

/// How many of the last lines of a trace are shown.
const LINES_MAX: usize = 3000;

/// The trace of a run and its verdict. When it broke an invariant: of the run with the fewest
/// faults that still breaks it, and how to make that again.
pub fn story(simulator: &Simulator, run: &Run) -> String {
    let outcome = levels::run(simulator, run, true);
    let Some(violation) = &outcome.violation else {
        return format!("{}faults: {}\nno violation", trace(&outcome), outcome.plan);
    };
    let small = smallest(simulator, run, &outcome.plan, violation.id);
    let shown = levels::run(simulator, &small, true);
    let violation = shown.violation.as_ref().unwrap_or(violation);
    format!(
        "{}violation of {violation}\nas found: {} with {}\nsmallest: {}",
        trace(&shown),
        command_line(run),
        outcome.plan,
        command_line(&small)
    )
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
        Run::Plain(plan) => format!("--plan {plan}"),
        Run::Seed(seed) => format!("--seed {seed}"),
        Run::Replay(seed, plan) => format!("--seed {seed} --plan {plan}"),
    }
}
