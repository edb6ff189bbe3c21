//! What a Python project depends on, and how that is installed.

use std::collections::BTreeSet;
use std::path::Path;

use toml::{Table, Value};

use super::super::{CannotTell, Draft, text_of};

/// The virtual environment of the release, apart from the one that a developer works in.
pub(super) const VENV: &str = ".venv-onward";

/// Files that requirements files include, one inside the other.
const INCLUDES_MAX: usize = 8;

/// The packages that a project asks for, and where it says so.
#[derive(Debug)]
pub(in super::super) struct Packages {
    names: BTreeSet<String>,
    /// What `pip install` is given; nothing when there are no dependencies.
    install: Option<Install>,
}

/// How the packages are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Install {
    /// `requirements.txt`.
    Requirements,
    /// The project itself is a package.
    Project,
    /// `uv.lock`.
    Uv,
    /// `Pipfile.lock`.
    Pipenv,
    /// `poetry.lock`.
    Poetry,
}

/// Reads what the project says about its packages.
pub(super) fn read(dir: &Path) -> Result<Packages, CannotTell> {
    let mut names = BTreeSet::new();
    requirements(dir, "requirements.txt", 0, &mut names)?;
    let project = table(dir, "pyproject.toml")?;
    if let Some(table) = &project {
        of_pyproject(table, &mut names);
    }
    if let Some(table) = table(dir, "Pipfile")? {
        names.extend(keys(table.get("packages")));
    }
    let there = |name: &str| dir.join(name).is_file();
    let is_package = there("setup.py")
        || project.as_ref().is_some_and(|table| table.contains_key("build-system"));
    let install = if there("requirements.txt") {
        Some(Install::Requirements)
    } else if there("uv.lock") {
        Some(Install::Uv)
    } else if there("Pipfile.lock") {
        Some(Install::Pipenv)
    } else if there("poetry.lock") {
        Some(Install::Poetry)
    } else if is_package || project.as_ref().is_some_and(|table| table.contains_key("project")) {
        Some(Install::Project)
    } else {
        None
    };
    Ok(Packages { names, install })
}

impl Packages {
    /// Whether the project asks for this package.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Whether anything is installed.
    pub(super) fn any(&self) -> bool {
        self.install.is_some()
    }

    /// Adds the build of the virtual environment, with `server` besides when the project has none.
    pub(super) fn build(&self, server: Option<&str>, draft: &mut Draft) {
        super::super::data::servers(|package| self.has(package), draft);
        // Compiled files then carry the digest of their source instead of its time, which is
        // another one in each release's directory.
        draft.build.push("export SOURCE_DATE_EPOCH=315532800".to_owned());
        draft.build.push(format!("python3 -m venv --copies {VENV}"));
        let pip = format!("{VENV}/bin/python -m pip install -q --disable-pip-version-check");
        let extra = server.map(|server| format!(" {server}")).unwrap_or_default();
        match self.install {
            Some(install) => install.build(&pip, &extra, draft),
            None => draft.build.extend(server.map(|server| format!("{pip} {server}"))),
        }
        // Otherwise the tree would differ from its commit, and the label of a bundle would say so.
        draft.build.push(format!("echo '*' > {VENV}/.gitignore"));
        draft.include(VENV);
        draft.value("PYTHONUNBUFFERED", "1");
        draft.value("PYTHONDONTWRITEBYTECODE", "1");
    }
}

impl Install {
    /// Adds the commands that install, with `extra` packages besides.
    fn build(self, pip: &str, extra: &str, draft: &mut Draft) {
        let python = format!("{VENV}/bin/python -m");
        let listed = format!("{pip} -r {VENV}/requirements.txt{extra}");
        let (commands, found) = match self {
            Self::Requirements => (
                vec![format!("{pip} -r requirements.txt{extra}")],
                "requirements.txt: what is installed",
            ),
            Self::Project => (
                vec![format!("{pip} .{extra}")],
                "pyproject.toml or setup.py: the project is installed as a package",
            ),
            Self::Uv => (
                vec![
                    format!("{pip} uv"),
                    format!(
                        "{python} uv export -q --frozen --no-dev --no-emit-project --no-hashes -o \
                         {VENV}/requirements.txt"
                    ),
                    listed,
                ],
                "uv.lock: what is installed",
            ),
            Self::Pipenv => (
                vec![
                    format!("{pip} pipenv"),
                    format!("{python} pipenv requirements > {VENV}/requirements.txt"),
                    listed,
                ],
                "Pipfile.lock: what is installed",
            ),
            // Poetry brings packages that the app may want in other versions.
            Self::Poetry => (
                vec![
                    format!("python3 -m venv {VENV}/poetry"),
                    format!(
                        "{VENV}/poetry/bin/python -m pip install -q --disable-pip-version-check \
                         poetry poetry-plugin-export"
                    ),
                    format!(
                        "{VENV}/poetry/bin/python -m poetry export -q --without-hashes -o \
                         {VENV}/requirements.txt"
                    ),
                    format!("rm -rf {VENV}/poetry"),
                    listed,
                ],
                "poetry.lock: what is installed",
            ),
        };
        draft.build.extend(commands);
        draft.found(found);
    }
}

/// The names in a requirements file and in those that it includes.
fn requirements(
    dir: &Path,
    file: &str,
    depth: usize,
    names: &mut BTreeSet<String>,
) -> Result<(), CannotTell> {
    let Some(text) = text_of(&dir.join(file))? else { return Ok(()) };
    for line in text.lines().map(str::trim) {
        let include = line.strip_prefix("-r").or_else(|| line.strip_prefix("--requirement"));
        if let Some(other) = include.map(|other| other.trim_start_matches(['=', ' '])) {
            if depth < INCLUDES_MAX {
                let below = Path::new(file).parent().unwrap_or(Path::new("")).join(other);
                requirements(dir, &below.to_string_lossy(), depth + 1, names)?;
            }
            continue;
        }
        names.extend(requirement(line));
    }
    Ok(())
}

/// The names that one requirement asks for: the package, and servers that its extras bring.
fn requirement(line: &str) -> Vec<String> {
    let end = line
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
        .unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    if name.is_empty() || name.starts_with('-') {
        return Vec::new();
    }
    let mut names = vec![name.to_ascii_lowercase().replace(['_', '.'], "-")];
    let extras = rest.strip_prefix('[').and_then(|rest| rest.split(']').next());
    let brings = extras.is_some_and(|extras| extras.contains("all") || extras.contains("standard"));
    if names[0] == "fastapi" && brings {
        names.push("uvicorn".to_owned());
    }
    names
}

fn of_pyproject(table: &Table, names: &mut BTreeSet<String>) {
    let listed = table.get("project").and_then(|project| project.get("dependencies"));
    for line in listed.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        names.extend(requirement(line));
    }
    let poetry = table.get("tool").and_then(|tool| tool.get("poetry"));
    names.extend(keys(poetry.and_then(|poetry| poetry.get("dependencies"))));
}

fn keys(table: Option<&Value>) -> Vec<String> {
    let table = table.and_then(Value::as_table);
    table.into_iter().flat_map(Table::keys).flat_map(|key| requirement(key)).collect()
}

fn table(dir: &Path, file: &str) -> Result<Option<Table>, CannotTell> {
    let path = dir.join(file);
    let Some(text) = text_of(&path)? else { return Ok(None) };
    let parsed = text.parse::<Table>();
    parsed
        .map(Some)
        .map_err(|error| CannotTell::Malformed { path, why: error.message().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_requirements_are_normalised() {
        for (line, expected) in [
            ("Django==5.1", vec!["django"]),
            ("fastapi[all]", vec!["fastapi", "uvicorn"]),
            ("Flask_SQLAlchemy>=3 ; python_version > '3'", vec!["flask-sqlalchemy"]),
            ("# comment", vec![]),
            ("--index-url https://x", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(requirement(line), expected, "{line}");
        }
    }
}
