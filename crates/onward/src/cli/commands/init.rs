//! `onward init`: a first project file.

use std::fs::File;
use std::io::{ErrorKind, Write};

use serde_json::json;

use crate::cli::args::Global;
use crate::cli::complaint::{self, Complaint};
use crate::cli::exit::Exit;
use crate::cli::screen::Screen;
use crate::project::{FILE_NAME, init};

/// Looks at the directory, writes `onward.toml`, says what it assumed. Never overwrites one.
pub fn run(global: &Global, screen: &Screen) -> Result<Exit, Complaint> {
    let path = global.directory.join(FILE_NAME);
    if path.exists() {
        let what = format!("{} exists already", path.display());
        return Err(Complaint::new(Exit::Refused, what)
            .hint("`onward check` looks at it, `onward up` runs it"));
    }
    let proposal = init::detect(&global.directory)
        .map_err(|error| Complaint::new(Exit::Refused, error.to_string()).hint(error.help()))?;
    let mut file = File::create_new(&path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Complaint::new(Exit::Refused, format!("{} exists already", path.display()))
        }
        _ => complaint::system(&path, &error),
    })?;
    file.write_all(proposal.text.as_bytes()).map_err(|error| complaint::system(&path, &error))?;
    screen.success(&format!("Wrote {}", path.display()));
    for assumption in &proposal.assumptions {
        screen.line(&format!("  assumed: {assumption}"));
    }
    screen.line("Next: `onward up`");
    screen.finished(
        true,
        json!({"file": path.display().to_string(), "assumptions": proposal.assumptions}),
    );
    Ok(Exit::Done)
}
