//! `cargo xtask test`: everything that CI runs.

use std::process::ExitCode;

use crate::steps::{cargo, has, step};
use crate::{bench, cloud, deny, install, reference, sim};

/// The seeds of the simulation in CI.
const SEEDS: &str = "100000";

/// The gates that CI runs in their short form, and the program that each needs.
const GATES: [(&str, &str); 3] = [("load", "wrk"), ("kill", "strace"), ("bad", "sh")];

/// Runs everything; the first failure ends it.
pub fn run() -> ExitCode {
    install::missing_programs();
    match steps() {
        Ok(()) => {
            println!("all steps passed");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

fn steps() -> Result<(), String> {
    step("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    let lints = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    step("lints", &mut cargo(&lints))?;
    reference::check()?;
    deny::check()?;
    step("the binary", &mut cargo(&["build", "--release", "--locked"]))?;
    if has("cargo-nextest") {
        let tests = ["nextest", "run", "--workspace", "--locked", "--no-fail-fast"];
        step("tests", &mut cargo(&tests))?;
    } else {
        step("tests", &mut cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]))?;
    }
    cloud::check()?;
    if sim::run(&["--seeds".to_owned(), SEEDS.to_owned()]) != ExitCode::SUCCESS {
        return Err("the simulation found a violation or missed a planted bug".to_owned());
    }
    let gates = GATES.iter().copied().filter(|(_, program)| {
        let there = has(program);
        if !there {
            println!("LEFT OUT: a gate that needs `{program}`");
        }
        there
    });
    let names: Vec<_> = gates.map(|(name, _)| name).collect();
    let short = bench::Mode { quick: true, control: false };
    if !names.is_empty() && !bench::selected(&names, &short) {
        return Err("a gate was missed".to_owned());
    }
    Ok(())
}
