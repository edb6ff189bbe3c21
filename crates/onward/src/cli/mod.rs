//! What a person types and reads.

mod address;
mod args;
mod args_certificate;
mod args_eject;
mod args_move;
mod args_replace;
mod args_run;
mod args_scale;
mod args_secret;
mod args_set_up;
mod args_ssh;
mod args_where;
mod attached;
mod away;
mod beginning;
mod build;
mod bundling;
mod caret;
mod carry;
mod certified;
mod chosen;
mod commands;
mod complaint;
mod context;
mod drift;
mod edits;
mod enrol;
mod exit;
mod fleet;
mod following;
mod hooks;
mod https;
mod interrupt;
mod issuing;
mod key_problem;
mod known;
mod lab;
mod lacking;
mod left;
mod likeness;
mod live;
mod lost;
mod machines;
mod managers;
mod merged;
mod moved;
mod numbers;
pub(crate) mod operator;
mod outcome;
mod place;
mod place_problem;
mod problem;
mod processes;
mod progress;
mod question;
mod reading;
mod replaced;
mod retention;
mod retire;
mod runs;
mod runtimes;
mod scaled;
mod screen;
mod secret_problem;
mod secrets;
mod sending;
mod set_up;
mod skew;
mod stores;
mod table;
mod templates;
#[cfg(test)]
mod tests;
mod waiting;
mod ways;
mod whereabouts;

use std::process::ExitCode;

use clap::Parser;

pub use args::Cli;
pub use complaint::Complaint;
pub use exit::Exit;

/// Reads the arguments, does what they say, tells how it went.
pub fn main() -> ExitCode {
    #[cfg(planted)]
    plant();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return args::explain(&error).into(),
    };
    if let Some(code) = processes::run(&cli.verb) {
        return code;
    }
    let screen = screen::Screen::new(&cli.global);
    let exit = match commands::run(&cli, &screen) {
        Ok(exit) => exit,
        Err(complaint) => screen.complain(&complaint),
    };
    exit.into()
}

/// Plants the bug that the environment names: controls of the load tests run so.
#[cfg(planted)]
fn plant() {
    use onward_core::planted::{Bug, plant};
    let name = std::env::var("ONWARD_PLANTED").unwrap_or_default();
    plant(Bug::ALL.into_iter().find(|bug| bug.name() == name));
}
