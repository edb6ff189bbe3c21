//! Rust: `Cargo.toml`, its programs, its workspace.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{CannotTell, Draft, Runs, text_of};

/// A `Cargo.toml`.
pub(super) struct Manifest {
    path: PathBuf,
    table: Table,
}

/// A program that Cargo would build.
struct Program {
    package: String,
    name: String,
    /// Whether it is chosen among several: because of `default-run`, or named as its package.
    preferred: bool,
}

/// Members of a workspace that are looked at. Larger workspaces have to say what they mean.
const MEMBERS_MAX: usize = 200;

/// Reads the `Cargo.toml` of `dir`, if there is one.
pub(super) fn read(dir: &Path) -> Result<Option<Manifest>, CannotTell> {
    let path = dir.join("Cargo.toml");
    let Some(text) = text_of(&path)? else { return Ok(None) };
    match text.parse::<Table>() {
        Ok(table) => Ok(Some(Manifest { path, table })),
        Err(error) => {
            let line =
                error.span().map_or(1, |span| super::super::diagnostic::place(&text, span.start).0);
            let why = format!("{} at line {line}", toml::de::Error::message(&error));
            Err(CannotTell::Malformed { path, why })
        }
    }
}

impl Manifest {
    /// Adds name, build and process.
    pub(super) fn describe(&self, dir: &Path, draft: &mut Draft) -> Result<(), CannotTell> {
        let programs = self.all_programs(dir)?;
        let program = choose(&programs)?;
        draft.found("Cargo.toml: a Rust program");
        draft.call(&program.package);
        draft.assume(format!("the program `{}` is what runs", program.name));
        if programs.len() > 1 {
            let others: Vec<&str> = programs
                .iter()
                .map(|other| other.name.as_str())
                .filter(|name| *name != program.name)
                .collect();
            draft.assume(format!("these are not run: {}", others.join(", ")));
        }
        draft.assume("it listens on 127.0.0.1 and the PORT that it is given");
        let mut command = build_command(dir);
        if self.table.get("package").is_none() || programs.len() > 1 {
            command.push_str(&format!(" --package {} --bin {}", program.package, program.name));
        }
        draft.build.push(command);
        draft.test = Some("cargo test --target-dir target");
        let path = format!("{}/{}", out_dir(dir), program.name);
        draft.include(path.clone());
        draft.web(Runs::Command(path));
        Ok(())
    }

    /// Adds the build of the programs that a `Procfile` names by their paths.
    pub(super) fn build_for_procfile(&self, dir: &Path, draft: &mut Draft) {
        draft.found("Cargo.toml: Rust programs");
        draft.build.push(build_command(dir));
        draft.test = Some("cargo test --target-dir target");
        let out = out_dir(dir);
        let commands = draft.processes.iter().filter_map(|(_, runs)| match runs {
            Runs::Command(command) => Some(command.as_str()),
            Runs::Static(_) => None,
        });
        let commands: Vec<String> =
            commands.chain(draft.release.as_deref()).map(str::to_owned).collect();
        let prefix = format!("{out}/");
        let words = commands.iter().flat_map(|command| command.split_whitespace());
        let programs: Vec<&str> = words
            .map(|word| word.trim_start_matches("./"))
            .filter(|word| word.starts_with(&prefix) && is_plain(word))
            .collect();
        if programs.is_empty() {
            draft.assume(format!(
                "the Procfile runs nothing from {out}/; if it does, name the program in \
                 `[bundle] include`"
            ));
        }
        for program in programs {
            draft.include(program);
        }
    }

    fn all_programs(&self, dir: &Path) -> Result<Vec<Program>, CannotTell> {
        let own = self.programs(dir);
        if !own.is_empty() {
            return Ok(own);
        }
        let mut programs = Vec::new();
        for member in self.members(dir) {
            if let Some(manifest) = read(&member)? {
                programs.extend(manifest.programs(&member));
            }
        }
        if programs.is_empty() {
            let why = format!("{} builds a library and no program", self.path.display());
            let help = "add a src/main.rs, or an index.html for a static site".to_owned();
            return Err(CannotTell::Unclear { why, help });
        }
        Ok(programs)
    }

    /// The programs of this package, as Cargo finds them.
    fn programs(&self, dir: &Path) -> Vec<Program> {
        let Some(package) = self.table.get("package").and_then(Value::as_table) else {
            return Vec::new();
        };
        let Some(package_name) = package.get("name").and_then(Value::as_str) else {
            return Vec::new();
        };
        let mut names: Vec<String> = Vec::new();
        for bin in self.table.get("bin").and_then(Value::as_array).into_iter().flatten() {
            names.extend(bin.get("name").and_then(Value::as_str).map(str::to_owned));
        }
        if package.get("autobins").and_then(Value::as_bool) != Some(false) {
            let listed_main = self.lists_path("src/main.rs");
            if dir.join("src/main.rs").is_file() && !listed_main {
                names.push(package_name.to_owned());
            }
            names.extend(programs_in(&dir.join("src/bin")));
        }
        names.sort();
        names.dedup();
        let default = package.get("default-run").and_then(Value::as_str).unwrap_or(package_name);
        names
            .into_iter()
            .filter(|name| is_plain(name) && is_plain(package_name))
            .map(|name| Program {
                preferred: name == default,
                package: package_name.to_owned(),
                name,
            })
            .collect()
    }

    fn lists_path(&self, path: &str) -> bool {
        let bins = self.table.get("bin").and_then(Value::as_array);
        bins.into_iter().flatten().any(|bin| bin.get("path").and_then(Value::as_str) == Some(path))
    }

    /// Directories of the workspace's members: those it builds by default, else all.
    fn members(&self, dir: &Path) -> Vec<PathBuf> {
        let workspace = self.table.get("workspace").and_then(Value::as_table);
        let listed =
            |key: &str| workspace.and_then(|table| table.get(key)).and_then(Value::as_array);
        let patterns = listed("default-members").or_else(|| listed("members"));
        let mut members = Vec::new();
        for pattern in patterns.into_iter().flatten().filter_map(Value::as_str) {
            match pattern.strip_suffix("/*") {
                Some(parent) => members.extend(directories(&dir.join(parent))),
                None => members.push(dir.join(pattern)),
            }
        }
        members.truncate(MEMBERS_MAX);
        members
    }
}

fn choose(programs: &[Program]) -> Result<&Program, CannotTell> {
    if let [only] = programs {
        return Ok(only);
    }
    let mut preferred = programs.iter().filter(|program| program.preferred);
    if let (Some(program), None) = (preferred.next(), preferred.next()) {
        return Ok(program);
    }
    let names: Vec<&str> = programs.iter().map(|program| program.name.as_str()).collect();
    Err(CannotTell::Unclear {
        why: format!("Cargo builds {} programs here: {}", names.len(), names.join(", ")),
        help: format!(
            "write a Procfile with one line for each that shall run, for example `web: \
             target/release/{}`, and run `onward init` again",
            names.first().unwrap_or(&"NAME")
        ),
    })
}

/// The explicit `--target-dir` wins over `CARGO_TARGET_DIR`: the program is always found in the
/// project.
fn build_command(dir: &Path) -> String {
    let locked = if dir.join("Cargo.lock").is_file() { " --locked" } else { "" };
    format!("cargo build --release{locked} --target-dir target")
}

/// Where Cargo puts the program, below the project.
fn out_dir(dir: &Path) -> String {
    let config = [".cargo/config.toml", ".cargo/config"]
        .iter()
        .find_map(|path| text_of(&dir.join(path)).ok().flatten())
        .and_then(|text| text.parse::<Table>().ok());
    let target = config
        .as_ref()
        .and_then(|config| config.get("build")?.get("target")?.as_str())
        .filter(|target| is_plain(target));
    match target {
        Some(target) => format!("target/{target}/release"),
        None => "target/release".to_owned(),
    }
}

/// Names of `src/bin/*.rs` and `src/bin/*/main.rs`.
fn programs_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let name = |path: PathBuf| {
        let program = if path.is_dir() {
            path.join("main.rs").is_file()
        } else {
            path.extension().is_some_and(|extension| extension == "rs")
        };
        let stem = if path.is_dir() { path.file_name() } else { path.file_stem() };
        stem.filter(|_| program).and_then(|stem| stem.to_str()).map(str::to_owned)
    };
    entries.filter_map(|entry| name(entry.path())).collect()
}

fn directories(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

/// Whether a name needs no quotes in a shell.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | '.');
    !name.is_empty() && !name.starts_with('-') && name.chars().all(plain)
}
