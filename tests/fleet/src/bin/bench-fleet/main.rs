//! `cargo xtask bench fleet`: releases to four servers, with other tools on the same servers in the
//! same run.
//!
//! A figure of a release is the time from the start of the command until every server has answered
//! with the new version. A client that never retries asks meanwhile, and what it lost is counted for
//! everybody alike.

mod app;
mod figures;
mod growth;
mod others;
mod ours;
mod probe;
mod thousand;

use std::error::Error;
use std::process::ExitCode;

use onward_fleet_tests::Fleet;

use app::App;
use figures::Figures;
use others::{OTHERS, Other};
use ours::Ours;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How many servers the figures are about.
const SERVERS: usize = 4;
/// How often each tool releases one changed line.
const ROUNDS: usize = 5;

fn main() -> ExitCode {
    let quick = std::env::args().any(|argument| argument == "--quick");
    match run(quick) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench fleet: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(quick: bool) -> Outcome<bool> {
    let mut figures = Figures::default();
    // First: the memory is that of the whole process so far.
    thousand::measure(&mut figures)?;
    println!();
    let Some(fleet) = Fleet::boot(SERVERS) else { return Ok(true) };
    let rounds = if quick { 1 } else { ROUNDS };
    let app = App::make(fleet.directory())?;
    let ours = Ours::new(&fleet, &app)?;
    println!("onward, {SERVERS} servers, an app of {} files, {} KiB", app.files(), app.kib());
    let line = ours.measure(&fleet, &app, rounds, &mut figures)?;
    println!("\nthe others, on the same servers");
    others::prepare(&fleet)?;
    for other in &OTHERS {
        let took = other.measure(&fleet, &app, rounds, &mut figures)?;
        compare(other, line, took, &mut figures);
    }
    if !quick {
        drop(ours);
        drop(fleet);
        println!();
        growth::measure(&mut figures)?;
    }
    Ok(figures.kept())
}

/// How much faster than another tool the issue of a line has to be.
fn compare(other: &Other, ours: f64, theirs: f64, figures: &mut Figures) {
    let name = format!("times faster than {}", other.name);
    figures.at_least(&name, theirs / ours, other.factor);
}
