//! Go: `go.mod` and its programs.

use std::path::Path;

use super::source::{self, is_plain};
use super::{CannotTell, Draft, Runs, text_of};

/// A Go module.
pub(super) struct Module {
    /// The last part of its path.
    name: String,
    /// Directories with a `package main`; empty for the module's own.
    programs: Vec<String>,
    reads_port: bool,
    health: Option<&'static str>,
}

/// Reads `go.mod`, if there is one.
pub(super) fn read(dir: &Path) -> Result<Option<Module>, CannotTell> {
    let path = dir.join("go.mod");
    let Some(text) = text_of(&path)? else { return Ok(None) };
    let module = text.lines().find_map(|line| line.trim().strip_prefix("module "));
    let Some(module) = module.map(|module| module.trim().trim_matches('"')) else {
        return Err(CannotTell::Malformed { path, why: "it has no line `module PATH`".to_owned() });
    };
    let mut parts: Vec<&str> = module.rsplit('/').collect();
    // The version of a module is part of its path from v2 on.
    if parts.len() > 1 && parts[0].strip_prefix('v').is_some_and(|v| v.parse::<u32>().is_ok()) {
        parts.remove(0);
    }
    let name = parts.first().filter(|name| is_plain(name)).map_or("server", |name| *name);
    let sources = source::files(dir, "go");
    let mut programs: Vec<String> = Vec::new();
    for source in sources.iter().filter(|source| !source.path.ends_with("_test.go")) {
        let is_main = source.text.lines().any(|line| line.trim() == "package main");
        let place = source.path.rsplit_once('/').map_or("", |(place, _)| place).to_owned();
        if is_main && is_plain_place(&place) && !programs.contains(&place) {
            programs.push(place);
        }
    }
    Ok(Some(Module {
        name: name.to_owned(),
        programs,
        reads_port: sources.iter().any(|source| source.text.contains("\"PORT\"")),
        health: sources.iter().find_map(|source| source::health_route(&source.text)),
    }))
}

fn is_plain_place(place: &str) -> bool {
    place.is_empty() || is_plain(place)
}

impl Module {
    /// Adds name, build and process.
    pub(super) fn describe(&self, dir: &Path, draft: &mut Draft) -> Result<(), CannotTell> {
        draft.found(format!("go.mod: the module {}", self.name));
        let place = match self.programs.as_slice() {
            [] => {
                let why = "go.mod is there, and no file says `package main`".to_owned();
                let help = "write a main.go, and run `onward init` again".to_owned();
                return Err(CannotTell::Unclear { why, help });
            }
            [only] => only,
            several => match several.iter().find(|place| place.is_empty()) {
                Some(own) => own,
                None => return Err(ambiguous(several)),
            },
        };
        let program = self.build(place, draft);
        if !self.reads_port {
            draft.caution(
                "no Go file reads the variable PORT: let the program listen on 127.0.0.1 and \
                 that port",
            );
        }
        super::data::describe(dir, "go", draft);
        draft.call(&self.name);
        draft.health = self.health.map(str::to_owned);
        draft.assume(format!("{program} is what runs, on the PORT that it is given"));
        draft.web(Runs::Command(program));
        Ok(())
    }

    /// Adds the build of the programs that a `Procfile` names, as Heroku makes them.
    pub(super) fn build_for_procfile(&self, draft: &mut Draft) {
        for place in &self.programs {
            self.build(place, draft);
        }
        for (_, runs) in &mut draft.processes {
            let Runs::Command(command) = runs else { continue };
            let first = command.split_whitespace().next().unwrap_or_default().to_owned();
            let own = self.programs.iter().any(|place| self.program(place) == first);
            if own {
                *command = format!("bin/{command}");
            }
        }
        draft.assume("the programs of the Procfile are those that Go builds into bin/");
    }

    fn build(&self, place: &str, draft: &mut Draft) -> String {
        let program = format!("bin/{}", self.program(place));
        let package = if place.is_empty() { ".".to_owned() } else { format!("./{place}") };
        draft.build.push(format!("go build -trimpath -o {program} {package}"));
        draft.test = Some("go test ./...");
        draft.include(program.clone());
        program
    }

    fn program<'a>(&'a self, place: &'a str) -> &'a str {
        if place.is_empty() { &self.name } else { place.rsplit('/').next().unwrap_or(place) }
    }
}

fn ambiguous(places: &[String]) -> CannotTell {
    let first = places.first().map_or("server", |place| place.rsplit('/').next().unwrap_or(place));
    CannotTell::Unclear {
        why: format!("Go builds {} programs here: {}", places.len(), places.join(", ")),
        help: format!(
            "write a Procfile with one line for each that shall run, for example `web: \
             bin/{first}`, and run `onward init` again"
        ),
    }
}
