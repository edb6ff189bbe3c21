//! A first `onward.toml`: looks at a project and says what it assumed.
//!
//! | found | processes | build |
//! |---|---|---|
//! | `Procfile` | each line; `release:` is the release command | Node's or Cargo's, if one of them is there |
//! | `package.json` | its start script, `main` or `server.js` | install and build script, as far as needed |
//! | `Cargo.toml` | its program | `cargo build --release` |
//! | `index.html` | the directory it is in | none |
//!
//! Nothing is run and nothing is written by [`detect`]; [`write`] never replaces a file.

mod cargo;
mod draft;
mod node;
mod procfile;
mod site;

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
    /// A static site.
    Static,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Procfile => "Procfile",
            Self::Node => "Node.js",
            Self::Cargo => "Rust (Cargo)",
            Self::Static => "static site",
        })
    }
}

/// A project file that fits what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The text of the file. It passes [`super::parse`].
    pub text: String,
    /// What was assumed, one sentence each.
    pub assumptions: Vec<String>,
    /// What was recognised.
    pub kind: Kind,
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
        "cannot tell what runs in {}{}: looked for a Procfile, a package.json, a Cargo.toml, and \
         an index.html here and in public/, dist/, build/ and _site/",
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
const OTHERS: [(&str, &str, &str); 9] = [
    ("requirements.txt", "Python", "gunicorn app:app --bind 127.0.0.1:$PORT"),
    ("pyproject.toml", "Python", "gunicorn app:app --bind 127.0.0.1:$PORT"),
    ("manage.py", "Django", "gunicorn project.wsgi --bind 127.0.0.1:$PORT"),
    ("Gemfile", "Ruby", "bundle exec puma --port $PORT"),
    ("go.mod", "Go", "bin/server"),
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
    Ok(Proposal { text: draft.text(), assumptions: draft.assumptions, kind })
}

fn recognise(dir: &Path) -> Result<(Kind, Draft), CannotTell> {
    let mut draft = Draft::named_after(dir);
    let package = node::read(dir)?;
    let crates = cargo::read(dir)?;
    if let Some(lines) = procfile::read(dir)? {
        procfile::describe(lines, dir, &mut draft)?;
        match (&package, &crates) {
            (Some(package), _) => package.build(dir, &mut draft),
            (None, Some(manifest)) => manifest.build_for_procfile(dir, &mut draft),
            (None, None) => {}
        }
        return Ok((Kind::Procfile, draft));
    }
    match (package, crates) {
        (Some(package), crates) if crates.is_none() || package.runs(dir) => {
            let kind = package.describe(dir, &mut draft)?;
            Ok((kind, draft))
        }
        (_, Some(manifest)) => {
            manifest.describe(dir, &mut draft)?;
            Ok((Kind::Cargo, draft))
        }
        _ if site::describe(dir, &mut draft) => Ok((Kind::Static, draft)),
        _ => Err(nothing(dir)),
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
