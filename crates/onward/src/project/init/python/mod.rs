//! Python: Django, Flask, FastAPI, other frameworks, and programs without one.
//!
//! Dependencies are installed at build time into a virtual environment that is shipped with the
//! release. Its interpreter is a copy, and everything is started as `…/bin/python -m …`: the scripts
//! beside it would start the environment of the directory that they were made in.

mod django;
mod framework;
mod packages;

use std::path::Path;

use super::{CannotTell, Draft, Kind, Runs};
use packages::{Packages, VENV};

/// Files that only Python projects have.
const MARKS: [&str; 7] = [
    "requirements.txt",
    "pyproject.toml",
    "Pipfile",
    "setup.py",
    "manage.py",
    "uv.lock",
    "poetry.lock",
];

/// Scripts that packages install, and the module that does the same.
const SCRIPTS: [(&str, &str); 14] = [
    ("gunicorn", "gunicorn"),
    ("uvicorn", "uvicorn"),
    ("hypercorn", "hypercorn"),
    ("daphne", "daphne"),
    ("waitress-serve", "waitress"),
    ("flask", "flask"),
    ("fastapi", "fastapi"),
    ("celery", "celery"),
    ("alembic", "alembic"),
    ("django-admin", "django"),
    ("streamlit", "streamlit"),
    ("huey_consumer.py", "huey.bin.huey_consumer"),
    ("rq", "rq"),
    ("dramatiq", "dramatiq"),
];

/// A Python project.
#[derive(Debug)]
pub(super) struct Python {
    packages: Packages,
}

/// Looks whether this is a Python project.
pub(super) fn read(dir: &Path) -> Result<Option<Python>, CannotTell> {
    let marked = MARKS.iter().any(|mark| dir.join(mark).is_file());
    if !marked && django::find(dir)?.is_none() && !framework::has_program(dir) {
        return Ok(None);
    }
    Ok(Some(Python { packages: packages::read(dir)? }))
}

impl Python {
    /// Whether it shows what runs.
    pub(super) fn runs(&self, dir: &Path) -> bool {
        framework::find(dir).is_some()
            || framework::has_program(dir)
            || matches!(django::find(dir), Ok(Some(_)))
    }

    /// Adds build, processes and all that belongs to the framework.
    pub(super) fn describe(&self, dir: &Path, draft: &mut Draft) -> Result<Kind, CannotTell> {
        if let Some(project) = django::find(dir)? {
            let server = project.serve(&self.packages, draft);
            self.packages.build(server, draft);
            project.surroundings(&self.packages, draft);
            return Ok(Kind::Django);
        }
        if let Some(app) = framework::find(dir) {
            return Ok(app.describe(&self.packages, draft));
        }
        let Some(program) = framework::program(dir) else {
            return Err(CannotTell::Unclear {
                why: "no Python file here makes a Flask, FastAPI or other app, and there is no \
                      server.py, main.py or app.py"
                    .to_owned(),
                help: "write a Procfile with the line `web: python FILE.py` (the program listens \
                       on 127.0.0.1:$PORT), and run `onward init` again"
                    .to_owned(),
            });
        };
        draft.found(format!("{}: a program", program.path));
        let python = if self.packages.any() {
            self.packages.build(None, draft);
            format!("{VENV}/bin/python")
        } else {
            draft.value("PYTHONUNBUFFERED", "1");
            draft.value("PYTHONDONTWRITEBYTECODE", "1");
            "python3".to_owned()
        };
        if !program.text.contains("PORT") {
            draft.caution(format!(
                "{} does not read the variable PORT: let it listen on 127.0.0.1 and that port",
                program.path
            ));
        }
        super::data::describe(dir, "py", draft);
        draft.health = super::source::health_route(&program.text).map(str::to_owned);
        draft.assume(format!("`{}` is what runs, on the PORT that it is given", program.path));
        draft.web(Runs::Command(format!("{python} {}", program.path)));
        Ok(Kind::Python)
    }

    /// Adds what a `Procfile` leaves out: the build, and what the framework needs besides.
    pub(super) fn complete(&self, dir: &Path, draft: &mut Draft) -> Result<(), CannotTell> {
        self.packages.build(None, draft);
        for (name, runs) in &mut draft.processes {
            if let Runs::Command(command) = runs {
                *command = in_environment(command);
                if name.has_traffic() && binds_nowhere(command, dir) {
                    command.push_str(" --bind 127.0.0.1:$PORT");
                }
            }
        }
        draft.release = draft.release.take().map(|command| in_environment(&command));
        draft.assume(format!("python, gunicorn and the like are those of {VENV}"));
        match django::find(dir)? {
            Some(project) => project.surroundings(&self.packages, draft),
            None => {
                if let Some(app) = framework::find(dir) {
                    app.surroundings(&self.packages, draft);
                }
            }
        }
        Ok(())
    }
}

/// Whether a command starts gunicorn and leaves out where it listens, or has that in a file without
/// the port that it is given: then it listens everywhere, or where nobody looks for it.
fn binds_nowhere(command: &str, dir: &Path) -> bool {
    if !command.contains("-m gunicorn ") || command.contains(['|', ';']) {
        return false;
    }
    let words: Vec<&str> = command.split_whitespace().collect();
    let value = |short: &str, long: &str| {
        words.iter().enumerate().find_map(|(i, word)| {
            let rest = word.strip_prefix(long).and_then(|rest| rest.strip_prefix('='));
            let next = || words.get(i + 1).copied().filter(|_| *word == long || *word == short);
            rest.or_else(next)
        })
    };
    if value("-b", "--bind").is_some() {
        return false;
    }
    let file = value("-c", "--config").unwrap_or("gunicorn.conf.py");
    let text = super::text_of(&dir.join(file.trim_start_matches("./"))).ok().flatten();
    text.is_none_or(|text| !text.contains("PORT"))
}

/// A command line with the programs of the release's environment instead of those on `PATH`.
fn in_environment(line: &str) -> String {
    let mut out = String::new();
    let mut at_start = true;
    for word in line.split_inclusive([' ', '\t']) {
        let bare = word.trim_end();
        let space = &word[bare.len()..];
        if at_start && !bare.is_empty() && !bare.contains('=') && bare != "exec" {
            out.push_str(&program_of_environment(bare));
            at_start = false;
        } else {
            out.push_str(bare);
        }
        out.push_str(space);
        if matches!(bare, "&&" | "||" | ";" | "|") || bare.ends_with(';') {
            at_start = true;
        }
    }
    out
}

fn program_of_environment(word: &str) -> String {
    let python = format!("{VENV}/bin/python");
    match word {
        "python" | "python3" => python,
        "pip" | "pip3" => format!("{python} -m pip"),
        "./manage.py" | "manage.py" => format!("{python} manage.py"),
        _ => match SCRIPTS.iter().find(|(script, _)| *script == word) {
            Some((_, module)) => format!("{python} -m {module}"),
            None => word.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_use_the_environment_of_the_release() {
        for (line, expected) in [
            ("gunicorn app:app", ".venv-onward/bin/python -m gunicorn app:app"),
            ("A=1 exec python x.py", "A=1 exec .venv-onward/bin/python x.py"),
            (
                "python manage.py migrate && gunicorn a.wsgi",
                ".venv-onward/bin/python manage.py migrate && .venv-onward/bin/python -m gunicorn a.wsgi",
            ),
            (
                "./manage.py migrate --no-input",
                ".venv-onward/bin/python manage.py migrate --no-input",
            ),
            ("bin/start python", "bin/start python"),
        ] {
            assert_eq!(in_environment(line), expected);
        }
    }
}
