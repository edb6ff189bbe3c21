//! A bounded part of the simulation, for every run of the tests. `cargo xtask sim` does it all.

use std::path::Path;

use onward_core::planted::Bug;
use onward_sim::levels::Tally;
use onward_sim::{hunt, levels, show};
use onward_testkit::sim::{Fault, Plan, Run, Simulator};

/// The seeds of the swarm that the tests run.
const SEEDS: u64 = 3_000;
/// The tests run every n-th single fault. It has no common factor with the numbers of faults and
/// delays, so that all of them take part.
const STRIDE: u64 = 13;

fn nothing_broke(tally: &Tally) {
    let story = tally.broken.first().map(|(run, _)| show::story(&Simulator::new(), run));
    assert!(story.is_none(), "{}", story.unwrap_or_default());
}

#[test]
fn l1_the_plan_itself_holds() {
    let outcome = levels::fault_free();
    assert_eq!(outcome.violation, None);
    assert_eq!(outcome.injected, 0);
    assert!(outcome.decisions > 200, "only {} decision points", outcome.decisions);
}

#[test]
fn l2_single_faults() {
    let tally = levels::single_faults(STRIDE, 2);
    nothing_broke(&tally);
    assert!(tally.runs > 800, "only {} runs", tally.runs);
}

#[test]
fn l4_the_swarm() {
    let tally = levels::swarm(1_000_000, SEEDS, 2);
    nothing_broke(&tally);
    assert_eq!((tally.runs, tally.idle), (SEEDS, 0), "every seed has at least one fault");
    assert!(tally.faults > 2 * SEEDS, "only {} faults", tally.faults);
}

#[test]
fn l5_crash_loops() {
    nothing_broke(&levels::crash_loops(2));
}

#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(levels::differing_seeds(0, 1_000), Vec::<u64>::new());
}

#[test]
fn a_replayed_plan_is_the_run_that_it_came_from() {
    let simulator = Simulator::new();
    for seed in 0..100 {
        let drawn = simulator.run(&Run::Seed(seed), false);
        let replayed = simulator.run(&Run::Replay(seed, drawn.plan.clone()), false);
        assert_eq!(replayed.trace.hash(), drawn.trace.hash(), "seed {seed}");
    }
}

#[test]
fn every_fault_of_the_alphabet_is_injected() {
    let simulator = Simulator::new();
    let injected: std::collections::BTreeSet<Fault> = (0..500)
        .flat_map(|seed| simulator.run(&Run::Seed(seed), false).plan.faults.into_values())
        .collect();
    let missing: Vec<&Fault> = Fault::ALL.iter().filter(|own| !injected.contains(own)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// What was once found stays fixed. Each file has lines `seed PLAN`, or `plain PLAN`.
#[test]
fn regressions() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let simulator = Simulator::new();
    let mut count = 0;
    for entry in std::fs::read_dir(&directory).expect("the directory is there") {
        let path = entry.expect("it can be listed").path();
        let text = std::fs::read_to_string(&path).expect("it can be read");
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let (scenario, plan) = line.split_once(' ').expect("a scenario and a plan");
            let plan: Plan = plan.parse().expect("a plan");
            let run = match scenario {
                "plain" => Run::Plain(plan),
                seed => Run::Replay(seed.parse().expect("a seed"), plan),
            };
            let outcome = levels::run(&simulator, &run, false);
            assert_eq!(outcome.violation, None, "{}: {line}", path.display());
            count += 1;
        }
    }
    assert!(count > 0, "no regression was run");
}

/// Without `--cfg planted` no bug is in the code, whatever is switched on.
#[test]
fn planted_bugs_are_caught_when_they_are_built_in() {
    for bug in Bug::ALL {
        if hunt::CAN_PLANT {
            assert!(hunt::hunt(bug).is_some(), "{} was not caught", bug.name());
        } else {
            let outcome = hunt::with(bug, || Simulator::new().run(&Run::Seed(0), false));
            assert_eq!(outcome.violation, None, "{} is in shipped code", bug.name());
        }
    }
}
