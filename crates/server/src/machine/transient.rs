//! Running a set-up in a unit of its own, from an agent that is confined.

use std::ffi::OsString;
use std::path::Path;

use onward_core::machine::Token;

/// What a process of a set-up does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Makes the changes of the set-up on its standard input.
    Apply,
    /// Says what the machine is.
    Facts,
    /// Keeps what is on trial.
    Confirm(Token),
}

/// The command line that does it as root, with the whole machine before it, and ends with it. What
/// is written to its standard input and read from its outputs goes through.
///
/// The unit belongs to systemd: it goes on when the agent or the connection ends.
pub fn in_unit(program: &Path, mode: &Mode) -> Vec<OsString> {
    let run = ["systemd-run", "--quiet", "--collect", "--pipe", "--wait", "--service-type=exec"];
    let mut line: Vec<OsString> = run.iter().map(OsString::from).collect();
    line.push(program.into());
    line.extend(["agent", "set-up"].map(OsString::from));
    match mode {
        Mode::Apply => {}
        Mode::Facts => line.push("--facts".into()),
        Mode::Confirm(token) => line.extend(["--confirm", token.as_str()].map(OsString::from)),
    }
    line
}
