//! `cargo xtask bench fleet`: releases to four servers, with other tools on the same servers in the
//! same run.
//!
//! A figure of a release is the time from the start of the command until every server has answered
//! with the new version. A client that never retries asks meanwhile, and what it lost is counted for
//! everybody alike.

mod app;
mod balanced;
mod crash;
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
use ours::{COMBINED, Ours};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How many servers the figures are about.
const SERVERS: usize = 4;
/// How often each tool releases one changed line.
const ROUNDS: usize = 5;

/// Measures one part, quickly or not.
type Part = fn(&mut Figures, bool) -> Outcome<()>;

/// What is measured: all of it, or the parts that are named.
const PARTS: [(&str, Part); 5] = [
    // First: the memory is that of the whole process so far.
    ("thousand", |figures, _| thousand::measure(figures)),
    ("tools", beside_others),
    ("growth", |figures, is_quick| if is_quick { Ok(()) } else { growth::measure(figures) }),
    ("crash", |figures, is_quick| if is_quick { Ok(()) } else { crash::measure(figures) }),
    ("balanced", |figures, is_quick| if is_quick { Ok(()) } else { balanced::measure(figures) }),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (flags, parts): (Vec<_>, Vec<_>) =
        arguments.into_iter().partition(|argument| argument.starts_with("--"));
    match run(&parts, flags.iter().any(|flag| flag == "--quick")) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench fleet: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(parts: &[String], is_quick: bool) -> Outcome<bool> {
    let mut figures = Figures::default();
    for (name, measure) in PARTS {
        if parts.is_empty() || parts.iter().any(|part| part == name) {
            measure(&mut figures, is_quick)?;
            println!();
        }
    }
    Ok(figures.kept())
}

fn beside_others(figures: &mut Figures, is_quick: bool) -> Outcome<()> {
    let Some(fleet) = Fleet::boot(SERVERS) else { return Ok(()) };
    let rounds = if is_quick { 1 } else { ROUNDS };
    let app = App::make(fleet.directory())?;
    let ours = Ours::new(&fleet, &app, COMBINED)?;
    println!("onward, {SERVERS} servers, an app of {} files, {} KiB", app.files(), app.kib());
    let line = ours.measure(&fleet, &app, rounds, figures)?;
    println!("\nthe others, on the same servers");
    others::prepare(&fleet)?;
    for other in &OTHERS {
        let took = other.measure(&fleet, &app, rounds, figures)?;
        compare(other, line, took, figures);
    }
    Ok(())
}

/// How much faster than another tool the issue of a line has to be.
fn compare(other: &Other, ours: f64, theirs: f64, figures: &mut Figures) {
    let name = format!("times faster than {}", other.name);
    figures.at_least(&name, theirs / ours, other.factor);
}
