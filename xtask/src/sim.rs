//! `cargo xtask sim`: the deterministic simulation, on the code as it is shipped and on the same
//! code with bugs that can be planted.
//!
//! | arguments | what is done |
//! |---|---|
//! | `--seeds N` | every single fault, N seeds of the swarm, then a hunt for each planted bug |
//! | `--planted NAME` | one planted bug is hunted, and shown being caught |
//! | `--seed K` | one seed is run again, with its trace |
//! | `--plan PLAN` | one plan is run again; with `--seed` in the scenario of that seed |
//! | `--pairs STRIDE`, `--crash-loops` | the long forms: every n-th pair of faults, crash loops |

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use crate::steps::{cargo, step, target};

/// The seeds of the swarm when no number is given.
const SEEDS: &str = "100000";
/// The seeds that are run twice, to see that both runs are the same.
const SEEDS_TWICE: &str = "1000";

/// Runs the simulation.
pub fn run(arguments: &[String]) -> ExitCode {
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let outcome = if has("--planted") {
        pass(Build::Planted, arguments)
    } else if has("--seed") || has("--plan") {
        pass(Build::Shipped, arguments)
    } else {
        search(arguments)
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

#[derive(Clone, Copy)]
enum Build {
    /// The code as it is shipped.
    Shipped,
    /// The same with `--cfg planted`.
    Planted,
}

impl Build {
    /// Builds the simulation, each kind in a directory of its own, and gives the command.
    fn command(self) -> Result<Command, String> {
        let (title, directory, flags) = match self {
            Self::Shipped => ("the simulation of the shipped code", "shipped", ""),
            Self::Planted => ("the simulation with planted bugs", "planted", "--cfg planted"),
        };
        let directory = target().join("sim").join(directory);
        let mut build = cargo(&["build", "--quiet", "--locked", "--profile", "sim"]);
        build.args(["--package", "onward-sim", "--target-dir"]).arg(&directory);
        build.env("RUSTFLAGS", flags);
        step(title, &mut build)?;
        Ok(Command::new(directory.join("sim").join("onward-sim")))
    }
}

/// Hands the arguments on; what is printed is shown as it is.
fn pass(build: Build, arguments: &[String]) -> Result<bool, String> {
    let mut command = build.command()?;
    let status = command.args(arguments).status();
    status.map(|status| status.success()).map_err(|error| format!("the simulation: {error}"))
}

/// The whole search, which ends with one line of figures.
fn search(arguments: &[String]) -> Result<bool, String> {
    let mut shipped = Build::Shipped.command()?;
    let mut planted = Build::Planted.command()?;
    shipped.args(["--single", "--same", SEEDS_TWICE]).args(arguments);
    if !arguments.iter().any(|argument| argument == "--seeds") {
        shipped.args(["--seeds", SEEDS]);
    }
    let (held, runs) = last_line(&mut shipped)?;
    let (caught, bugs) = last_line(planted.arg("--hunt"))?;
    println!("{runs}, {bugs}");
    Ok(held && caught)
}

/// Runs a command, shows all that it prints but the last line, and gives that.
fn last_line(command: &mut Command) -> Result<(bool, String), String> {
    let failed = |error: std::io::Error| format!("the simulation: {error}");
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut last: Option<String> = None;
    for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
        if let Some(earlier) = last.replace(line.map_err(failed)?) {
            println!("{earlier}");
        }
    }
    let status = child.wait().map_err(failed)?;
    let last = last.ok_or_else(|| format!("the simulation said nothing: {status}"))?;
    Ok((status.success(), last))
}
