//! `onward agent set-up`: the process that sets up the machine that it runs on.

use std::io::{self, Write};
use std::process::ExitCode;

use onward_core::machine::{Event, Setup};
use onward_server::machine::{self, MachineError, Place};
use serde::Serialize;

use super::args_set_up::SetUpArgs;

/// Why it ended without having done what it shall.
enum Failed {
    /// The machine.
    Machine(MachineError),
    /// The text on standard input is no set-up.
    Input(serde_json::Error),
    /// The machine is not what it shall be; the events said why.
    Told,
}

impl From<MachineError> for Failed {
    fn from(error: MachineError) -> Self {
        Self::Machine(error)
    }
}

/// Does what the arguments say. What it has to say goes to standard output as JSON.
pub fn run(args: &SetUpArgs) -> ExitCode {
    let text = match act(args) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failed::Told) => return ExitCode::FAILURE,
        Err(Failed::Machine(error)) => error.to_string(),
        Err(Failed::Input(error)) => format!("what was given is no set-up: {error}"),
    };
    let _ = writeln!(io::stderr(), "{text}");
    ExitCode::FAILURE
}

fn act(args: &SetUpArgs) -> Result<(), Failed> {
    let place = Place::default();
    if args.facts {
        print(&machine::facts(&place)?);
    } else if let Some(only) = &args.undo {
        machine::undo(&place, only.as_ref())?;
    } else if let Some(token) = &args.confirm {
        machine::confirm(&place, token)?;
    } else if args.plan {
        print(&machine::planned(&place, &setup()?)?);
    } else {
        let is_good = machine::set_up(&place, &setup()?, &mut |event: &Event| print(event))?;
        return if is_good { Ok(()) } else { Err(Failed::Told) };
    }
    Ok(())
}

fn setup() -> Result<Setup, Failed> {
    serde_json::from_reader(io::stdin().lock()).map_err(Failed::Input)
}

/// One line. That nobody reads it any more ends nothing: the connection may be what a change cut.
fn print(value: &impl Serialize) {
    let text = serde_json::to_string(value).expect("these values are always written");
    let mut output = io::stdout().lock();
    let _ = writeln!(output, "{text}").and_then(|()| output.flush());
}
