//! Sample applications: `onward init && onward up`, unedited, and one request that must answer.
//!
//! The applications are those of `xtask/samples.toml`, each at its commit. Each is cloned into a
//! temporary directory and gets a home of its own there; both are gone afterwards, and so is
//! everything that still runs from them.

mod attempt;
mod document;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use toml::{Table, Value};

use crate::steps::{cargo, root, step};
use attempt::Outcome;

/// Where repositories are cloned from when nothing else is said.
const HUB: &str = "https://github.com";

/// The file with the applications.
const LIST: &str = "xtask/samples.toml";

/// An application, as the list has it.
pub struct Sample {
    /// `OWNER/NAME`.
    pub repository: String,
    /// The commit.
    pub commit: String,
    /// The directory of the application below the repository; empty for the repository itself.
    pub below: String,
    /// What is asked for.
    pub path: String,
    /// The status that it has to be answered with.
    pub status: u16,
    /// What it wants that not every machine has, for the table.
    pub needs: String,
    /// Why it may not work all the same, for the table.
    pub note: String,
}

/// What the command line says.
struct Wishes {
    from: String,
    only: Option<String>,
    writes: bool,
}

/// Tries the applications and prints the table; with `--write` it becomes the page of the docs.
pub fn run(arguments: &[String]) -> ExitCode {
    let Some(wishes) = wishes(arguments) else {
        eprintln!("usage: cargo xtask samples [--from URL-OR-DIRECTORY] [--only TEXT] [--write]");
        return ExitCode::from(2);
    };
    match all(&wishes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn wishes(arguments: &[String]) -> Option<Wishes> {
    let mut wishes = Wishes { from: HUB.to_owned(), only: None, writes: false };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--from" => wishes.from.clone_from(rest.next()?),
            "--only" => wishes.only = Some(rest.next()?.clone()),
            "--write" => wishes.writes = true,
            _ => return None,
        }
    }
    Some(wishes)
}

fn all(wishes: &Wishes) -> Result<(), String> {
    step("the binary", &mut cargo(&["build", "--quiet", "--package", "onward"]))?;
    let wanted = |sample: &Sample| {
        wishes.only.as_ref().is_none_or(|text| {
            sample.repository.contains(text.as_str()) || sample.below.contains(text.as_str())
        })
    };
    let samples: Vec<Sample> = listed()?.into_iter().filter(wanted).collect();
    let mut tried = Vec::new();
    println!("{}", document::HEAD);
    for sample in &samples {
        let outcome = one(sample, &wishes.from)?;
        println!("{}", document::row(sample, &outcome));
        tried.push((sample, outcome));
    }
    println!("\n{}", document::sum(&tried));
    if wishes.writes {
        let path = root().join(document::PAGE);
        fs::write(&path, document::page(&tried)).map_err(at(&path))?;
    }
    Ok(())
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}

/// The list, in its order.
fn listed() -> Result<Vec<Sample>, String> {
    let path = root().join(LIST);
    let text = fs::read_to_string(&path).map_err(at(&path))?;
    let table: Table = text.parse().map_err(|error| format!("{LIST}: {error}"))?;
    let samples = table.get("sample").and_then(Value::as_array);
    let samples = samples.ok_or_else(|| format!("{LIST} has no `[[sample]]`"))?;
    samples.iter().map(|one| read(one).ok_or_else(|| format!("{LIST}: {one}"))).collect()
}

fn read(one: &Value) -> Option<Sample> {
    let text = |key: &str| one.get(key).and_then(Value::as_str).map(str::to_owned);
    let status = one.get("status").and_then(Value::as_integer).unwrap_or(200);
    Some(Sample {
        repository: text("repository")?,
        commit: text("commit")?,
        below: text("below").unwrap_or_default(),
        path: text("path").unwrap_or_else(|| "/".to_owned()),
        status: status.try_into().ok()?,
        needs: text("needs").unwrap_or_default(),
        note: text("note").unwrap_or_default(),
    })
}

/// Clones an application, tries it, and takes everything away.
fn one(sample: &Sample, from: &str) -> Result<Outcome, String> {
    let place = std::env::temp_dir().join(format!("onward-sample-{}", std::process::id()));
    let project = cloned(sample, from, &place)?;
    let home = place.join("home");
    fs::create_dir_all(&home).map_err(at(&home))?;
    let outcome = attempt::attempt(sample, &project, &home);
    attempt::end(&project, &place);
    fs::remove_dir_all(&place).map_err(at(&place))?;
    outcome.map_err(|error| format!("{}: {error}", sample.repository))
}

fn cloned(sample: &Sample, from: &str, place: &Path) -> Result<PathBuf, String> {
    let name = sample.repository.rsplit('/').next().unwrap_or_default();
    let tree = place.join(name);
    fs::create_dir_all(place).map_err(at(place))?;
    let address = format!("{}/{}.git", from.trim_end_matches('/'), sample.repository);
    git(Command::new("git").args(["clone", "--quiet", "--no-checkout", &address]).arg(&tree))?;
    git(Command::new("git")
        .arg("-C")
        .arg(&tree)
        .args(["-c", "advice.detachedHead=false", "checkout", "--quiet"])
        .arg(&sample.commit))?;
    if sample.below.is_empty() {
        return Ok(tree);
    }
    // The application alone, as somebody has it who starts from this directory.
    let below = tree.join(&sample.below);
    let alone = place.join(below.file_name().unwrap_or_default()).with_extension("app");
    fs::rename(&below, &alone).map_err(at(&below))?;
    Ok(alone)
}

fn git(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("git: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}
