//! A first `onward.toml`: looks at a project and says what it assumed.
//!
//! | found | processes | build |
//! |---|---|---|
//! | `Procfile` | each line; `release:` is the release command | that of the language that is there |
//! | `package.json` | its start script, `main` or `server.js` | install and build script, as far as needed |
//! | `Cargo.toml` | its program | `cargo build --release` |
//! | `manage.py`, a Flask or FastAPI app, a Python program | a server for it | a virtual environment |
//! | `Gemfile` | Rails or Rack | gems and assets |
//! | `go.mod` | its program | `go build` |
//! | `index.html` | the directory it is in | none |
//! | `Dockerfile` | what it starts | none: images come later |
//!
//! `.env` gives values to this machine's environment; what looks secret in it is named, never copied.
//!
//! Nothing is run and nothing is written by [`detect`]; [`write`] never replaces a file.

mod cargo;
mod data;
mod dockerfile;
mod dotenv;
mod draft;
mod go;
mod node;
mod procfile;
mod python;
mod ruby;
mod site;
mod source;

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::load::FILE_NAME;
use draft::{Draft, Runs};

/// Larger files of a project are not looked into.
const LOOKED_INTO_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What was recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A `Procfile`.
    Procfile,
    /// A Node.js program.
    Node,
    /// A Rust program.
    Cargo,
    /// A Django project.
    Django,
    /// A Flask app.
    Flask,
    /// A FastAPI app.
    FastApi,
    /// Another Python program.
    Python,
    /// A Rails app.
    Rails,
    /// Another Ruby program.
    Ruby,
    /// A Go program.
    Go,
    /// What a `Dockerfile` starts.
    Dockerfile,
    /// A static site.
    Static,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Procfile => "Procfile",
            Self::Node => "Node.js",
            Self::Cargo => "Rust (Cargo)",
            Self::Django => "Django",
            Self::Flask => "Flask",
            Self::FastApi => "FastAPI",
            Self::Python => "Python",
            Self::Rails => "Rails",
            Self::Ruby => "Ruby",
            Self::Go => "Go",
            Self::Dockerfile => "Dockerfile",
            Self::Static => "static site",
        })
    }
}

/// A project file that fits what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The text of the file. It passes [`super::parse`].
    pub text: String,
    /// What was looked at and what it says, one sentence each.
    pub found: Vec<String>,
    /// What was assumed, one sentence each.
    pub assumptions: Vec<String>,
    /// What a person has to look at before others see the app, one sentence each.
    pub cautions: Vec<String>,
    /// Names of secrets that have to be given before the first `onward up`.
    pub secrets: Vec<String>,
    /// What was recognised.
    pub kind: Kind,
}

impl Proposal {
    /// Adds a version of a language that wins over what `file` pins.
    pub fn pin(&mut self, language: &str, version: &str, file: &str) {
        if !self.text.contains("\n[runtime]\n") {
            self.text.push_str(&format!("\n# Wins over {file}.\n[runtime]\n"));
        }
        self.text.push_str(&format!("{language} = {}\n", draft::quoted(version)));
    }
}

/// Why no project file is proposed.
#[derive(Debug, thiserror::Error)]
pub enum CannotTell {
    /// There is a project file already.
    #[error("{} is there already", .path.display())]
    AlreadyThere {
        /// It.
        path: PathBuf,
    },
    /// The directory is none.
    #[error("{} is not a directory", .dir.display())]
    NoDirectory {
        /// It.
        dir: PathBuf,
    },
    /// Nothing was recognised.
    #[error(
        "cannot tell what runs in {}{}: looked for a Procfile, a package.json, a Cargo.toml, a \
         go.mod, a Gemfile, a manage.py, Python files, a Dockerfile, and an index.html here and in \
         public/, dist/, build/ and _site/",
        .dir.display(),
        .seen.map(|seen| format!(" (it looks like {seen})")).unwrap_or_default()
    )]
    Nothing {
        /// The directory.
        dir: PathBuf,
        /// What it looks like, when it is something without rules of its own.
        seen: Option<&'static str>,
        /// A command that often fits, for the help.
        example: &'static str,
    },
    /// Something was recognised, but not what to run.
    #[error("cannot tell what runs: {why}")]
    Unclear {
        /// What is missing or ambiguous, as the rest of the sentence.
        why: String,
        /// What to type or change.
        help: String,
    },
    /// A file is not what its name says.
    #[error("{} cannot be understood: {why}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl CannotTell {
    /// What to type next.
    pub fn help(&self) -> String {
        match self {
            Self::AlreadyThere { .. } => {
                "`onward check` says whether it is right, `onward up` runs it".to_owned()
            }
            Self::NoDirectory { .. } => "give the project's directory with `-C DIR`".to_owned(),
            Self::Nothing { example, .. } => format!(
                "write a Procfile with the line `web: {example}` (the program listens on \
                 127.0.0.1:$PORT), and run `onward init` again"
            ),
            Self::Unclear { help, .. } => help.clone(),
            Self::Malformed { .. } => "correct it and run `onward init` again".to_owned(),
            Self::Unreadable { path, .. } => {
                format!("look at its owner and mode: `ls -l {}`", path.display())
            }
        }
    }
}

/// What other projects look like, and a command that often fits.
const OTHERS: [(&str, &str, &str); 4] = [
    ("composer.json", "PHP", "php -S 127.0.0.1:$PORT -t public"),
    ("mix.exs", "Elixir", "mix phx.server"),
    ("pom.xml", "Java", "java -jar target/app.jar --server.port=$PORT"),
    ("build.gradle", "Java", "java -jar build/libs/app.jar --server.port=$PORT"),
];

/// Looks at the project in `dir` and proposes its file.
///
/// # Errors
/// [`CannotTell`] says what was looked for and what to do.
pub fn detect(dir: &Path) -> Result<Proposal, CannotTell> {
    if !dir.is_dir() {
        return Err(CannotTell::NoDirectory { dir: dir.to_owned() });
    }
    let path = dir.join(FILE_NAME);
    if path.symlink_metadata().is_ok() {
        return Err(CannotTell::AlreadyThere { path });
    }
    let (kind, draft) = recognise(dir)?;
    let text = draft.text();
    if let Err(found) = super::parse(&text) {
        let first = found.first().map(|found| found.message.clone()).unwrap_or_default();
        return Err(CannotTell::Unclear {
            why: format!("what the project says cannot be written down: {first}"),
            help: "write onward.toml by hand: docs/reference/project-file.md has every key"
                .to_owned(),
        });
    }
    let Draft { found, assumptions, cautions, secrets, .. } = draft;
    Ok(Proposal { text, found, assumptions, cautions, secrets, kind })
}

fn recognise(dir: &Path) -> Result<(Kind, Draft), CannotTell> {
    let mut draft = Draft::named_after(dir);
    let dockerfile = dockerfile::read(dir)?;
    let mut recognised = match procfile::read(dir)? {
        Some(lines) => Some(of_procfile(lines, dir, &mut draft)?),
        None => of_language(dir, &mut draft)?,
    };
    match (&dockerfile, recognised) {
        (Some(dockerfile), Some(_)) => dockerfile.set_aside(&mut draft),
        (Some(dockerfile), None) => {
            dockerfile.describe(&mut draft)?;
            recognised = Some(Kind::Dockerfile);
        }
        (None, _) => {}
    }
    let Some(kind) = recognised else { return Err(nothing(dir)) };
    dotenv::describe(dir, &mut draft)?;
    let secrets = std::mem::take(&mut draft.secrets);
    let is_value = |name: &String| {
        draft.values.iter().chain(&draft.local_values).any(|(known, _)| known == name)
    };
    draft.secrets = secrets.into_iter().filter(|name| !is_value(name)).collect();
    for name in draft.secrets.clone() {
        draft.caution(format!(
            "{name} is a secret that the app needs: `onward secret set {name}` before `onward up`"
        ));
    }
    Ok((kind, draft))
}

/// The processes of a `Procfile`, built as the language that is there demands.
fn of_procfile(
    lines: Vec<procfile::Line>,
    dir: &Path,
    draft: &mut Draft,
) -> Result<Kind, CannotTell> {
    procfile::describe(lines, dir, draft)?;
    let python = python::read(dir)?;
    let ruby = ruby::read(dir)?;
    if let Some(python) = &python {
        python.complete(dir, draft)?;
    }
    if let Some(package) = node::read(dir)? {
        package.build(dir, draft);
    }
    // After Node's packages: assets of Rails may be made with them.
    if let Some(ruby) = &ruby {
        ruby.complete(dir, draft)?;
    }
    if python.is_some() || ruby.is_some() {
        return Ok(Kind::Procfile);
    }
    if let Some(module) = go::read(dir)? {
        module.build_for_procfile(draft);
    } else if let Some(manifest) = cargo::read(dir)? {
        manifest.build_for_procfile(dir, draft);
    }
    Ok(Kind::Procfile)
}

/// What the files of a language show; the language whose program is certain comes first.
fn of_language(dir: &Path, draft: &mut Draft) -> Result<Option<Kind>, CannotTell> {
    let package = node::read(dir)?;
    let python = python::read(dir)?;
    if let Some(ruby) = ruby::read(dir)? {
        if let Some(package) = &package {
            package.build(dir, draft);
        }
        return ruby.describe(dir, draft).map(Some);
    }
    if let Some(python) = python.as_ref().filter(|python| python.runs(dir)) {
        if let Some(package) = &package {
            package.build(dir, draft);
            draft.include.retain(|path| path != "node_modules");
        }
        return python.describe(dir, draft).map(Some);
    }
    if let Some(module) = go::read(dir)? {
        module.describe(dir, draft)?;
        return Ok(Some(Kind::Go));
    }
    let crates = cargo::read(dir)?;
    if let Some(package) = package.filter(|package| crates.is_none() || package.runs(dir)) {
        return package.describe(dir, draft).map(Some);
    }
    if let Some(manifest) = crates {
        manifest.describe(dir, draft)?;
        return Ok(Some(Kind::Cargo));
    }
    if site::describe(dir, draft) {
        return Ok(Some(Kind::Static));
    }
    match python {
        Some(python) => python.describe(dir, draft).map(Some),
        None => Ok(None),
    }
}

fn nothing(dir: &Path) -> CannotTell {
    let other = OTHERS.iter().find(|(file, ..)| dir.join(file).is_file());
    CannotTell::Nothing {
        dir: dir.canonicalize().unwrap_or_else(|_| dir.to_owned()),
        seen: other.map(|(_, seen, _)| *seen),
        example: other.map_or("COMMAND", |(.., example)| example),
    }
}

/// Writes the proposal as the project file of `dir`; returns its path.
///
/// # Errors
/// [`CannotTell::AlreadyThere`] when there is one by now: it is never replaced. Else what the
/// system says; nothing half-written stays.
pub fn write(dir: &Path, proposal: &Proposal) -> Result<PathBuf, CannotTell> {
    let path = dir.join(FILE_NAME);
    let mut file = File::create_new(&path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => CannotTell::AlreadyThere { path: path.clone() },
        _ => CannotTell::Unreadable { path: path.clone(), source },
    })?;
    if let Err(source) = file.write_all(proposal.text.as_bytes()).and_then(|()| file.sync_all()) {
        // The file is ours and incomplete; that it cannot be removed either adds nothing.
        let _ = std::fs::remove_file(&path);
        return Err(CannotTell::Unreadable { path, source });
    }
    Ok(path)
}

/// The text of a file of the project; `None` when it is not there.
fn text_of(path: &Path) -> Result<Option<String>, CannotTell> {
    let unreadable = |source| CannotTell::Unreadable { path: path.to_owned(), source };
    if !path.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(LOOKED_INTO_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let malformed =
        |why: &str| CannotTell::Malformed { path: path.to_owned(), why: why.to_owned() };
    if bytes.len() as u64 > LOOKED_INTO_BYTES_MAX {
        return Err(malformed("it is larger than 4 MiB"));
    }
    let text = String::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8 text"))?;
    Ok(Some(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)))
}
