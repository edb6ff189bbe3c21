//! The tasks of people who work on onward: `cargo xtask test | fleet | sim | bench`.

mod bench;
mod cloud;
mod deny;
mod fleet;
mod install;
mod reference;
mod release;
mod samples;
mod sim;
mod steps;
mod test;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask TASK

  test             everything that CI runs: format, lints, tests, simulation, gates
  cloud            what needs the feature `cloud`: stores in a bucket
  fleet [FILTER …] the long form of the tests on real servers, booted on this machine
  sim [OPTIONS]    the simulation; --seeds N, --seed K, --planted NAME, --plan PLAN
  docs [--check]   the pages of docs/reference that are made from the source
  release          the archives that people install, in target/release-archives
  samples          init and up, unedited, for public sample applications; --write: the page of the docs
  bench [NAME …]   the figures of docs/benchmarks.md, each with its yardstick
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((task, rest)) = arguments.split_first() else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    match task.as_str() {
        "test" => test::run(),
        "cloud" => cloud::run(),
        "fleet" => fleet::run(rest),
        "sim" => sim::run(rest),
        "bench" => bench::run(rest),
        "samples" => samples::run(rest),
        "docs" => reference::run(rest),
        "release" => release::run(rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        other => {
            eprintln!("there is no task `{other}`\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}
