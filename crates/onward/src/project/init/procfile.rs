//! `Procfile`: `NAME: COMMAND` lines, as on Heroku.

use std::path::Path;

use onward_core::model::ProcessName;

use super::{CannotTell, Draft, Runs, text_of};

/// The file that is looked for.
const FILE: &str = "Procfile";

/// The line that is the release command and no process.
const RELEASE: &str = "release";

/// A line: its number, name and command.
pub(super) type Line = (usize, String, String);

/// The lines of the `Procfile`, if there is one.
pub(super) fn read(dir: &Path) -> Result<Option<Vec<Line>>, CannotTell> {
    let path = dir.join(FILE);
    let Some(text) = text_of(&path)? else { return Ok(None) };
    let mut lines: Vec<Line> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let malformed = |why: String| CannotTell::Malformed { path: path.clone(), why };
        let (name, command) = line
            .split_once(':')
            .map(|(name, command)| (name.trim(), command.trim()))
            .filter(|(name, command)| !name.is_empty() && !command.is_empty())
            .ok_or_else(|| malformed(format!("line {} is not `NAME: COMMAND`", i + 1)))?;
        if let Some((first, ..)) = lines.iter().find(|(_, known, _)| known == name) {
            return Err(malformed(format!("`{name}` is on line {first} and on line {}", i + 1)));
        }
        lines.push((i + 1, name.to_owned(), command.to_owned()));
    }
    Ok(Some(lines))
}

/// Adds the processes and the release command.
pub(super) fn describe(lines: Vec<Line>, dir: &Path, draft: &mut Draft) -> Result<(), CannotTell> {
    let names: Vec<&str> = lines.iter().map(|(_, name, _)| name.as_str()).collect();
    draft.found(format!("{FILE}: {}", names.join(", ")));
    for (number, name, command) in lines {
        if name == RELEASE {
            draft.assume("the line `release:` of the Procfile is the release command");
            draft.release = Some(command);
            continue;
        }
        let legal: Option<ProcessName> =
            super::super::legal_name(&name).and_then(|legal| legal.parse().ok());
        let taken = |legal: &ProcessName| draft.processes.iter().any(|(name, _)| name == legal);
        let Some(legal) = legal.filter(|legal| !taken(legal)) else {
            let why = format!("`{name}` on line {number} cannot be the name of a process");
            return Err(CannotTell::Malformed { path: dir.join(FILE), why });
        };
        if legal.as_str() != name {
            draft.assume(format!("the process `{name}` is called `{legal}`"));
        }
        draft.processes.push((legal, Runs::Command(command)));
    }
    if draft.processes.is_empty() {
        return Err(CannotTell::Unclear {
            why: "the Procfile names no process".to_owned(),
            help: "add the line `web: COMMAND` to it and run `onward init` again".to_owned(),
        });
    }
    if draft.processes.iter().any(|(name, _)| name.has_traffic()) {
        draft.assume("the process `web` gets traffic, on the PORT that it is given");
    } else {
        draft.assume("no process gets traffic, because none is called `web`");
    }
    Ok(())
}
