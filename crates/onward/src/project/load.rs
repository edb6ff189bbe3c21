//! Finding and reading `onward.toml`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::diagnostic::{Findings, place};
use super::model::Project;

/// The name of the project file.
pub const FILE_NAME: &str = "onward.toml";

/// The largest project file. A hundred times what a large project needs; whatever is above is
/// another file by mistake.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// How many parent directories are looked at for a hint.
const PARENTS_MAX: usize = 16;

/// Why there is no project.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The directory itself is not there, or is none.
    #[error("{} is not a directory", .dir.display())]
    NoDirectory {
        /// The directory that was asked for.
        dir: PathBuf,
    },
    /// There is no project file.
    #[error("there is no {FILE_NAME} in {}", .dir.display())]
    NotFound {
        /// Where it was looked for, as a full path.
        dir: PathBuf,
        /// The nearest directory above that has one, as it can be given to `-C`.
        parent: Option<PathBuf>,
    },
    /// The project file is a directory or another thing that is not a file.
    #[error("{} is not a file", .path.display())]
    NotAFile {
        /// The thing.
        path: PathBuf,
    },
    /// The project file is larger than [`FILE_BYTES_MAX`].
    #[error("{} is larger than 1 MiB, which no project file is", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The project file is not text.
    #[error("{} is not UTF-8 text: line {line}, column {column}", .path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Line of the first wrong byte, from 1.
        line: usize,
        /// Column of the first wrong byte, in characters from 1.
        column: usize,
    },
    /// The project file cannot be read.
    #[error("{} cannot be read: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The project file was read and has errors.
    #[error("{}", .0.summary())]
    Invalid(Findings),
}

impl LoadError {
    /// What to type next.
    pub fn help(&self) -> String {
        match self {
            Self::NoDirectory { .. } => "give the project's directory with `-C DIR`".to_owned(),
            Self::NotFound { parent: Some(parent), .. } => format!(
                "there is one in a directory above: use `onward -C {}`, or make one here with \
                 `onward init`",
                parent.display()
            ),
            Self::NotFound { parent: None, .. } => {
                "make one with `onward init`, or name the project's directory with `-C DIR`"
                    .to_owned()
            }
            Self::NotAFile { path } => {
                format!("move {} away and run `onward init`", path.display())
            }
            Self::TooLarge { .. } => "is it another file by mistake?".to_owned(),
            Self::NotUtf8 { .. } => "save it as UTF-8 in your editor".to_owned(),
            Self::Unreadable { path, .. } => {
                format!("look at its owner and mode: `ls -l {}`", path.display())
            }
            Self::Invalid(_) => {
                "correct the file; `onward check` looks again without doing anything".to_owned()
            }
        }
    }
}

/// Reads the project file of `dir`: the project and the file's text.
///
/// # Errors
/// [`LoadError`]; nothing is written.
pub fn load(dir: &Path) -> Result<(Project, String), LoadError> {
    let path = dir.join(FILE_NAME);
    let text = read(dir, &path)?;
    match super::parse(&text) {
        Ok(project) => Ok((project, text)),
        Err(diagnostics) => {
            let file = shown(&path);
            Err(LoadError::Invalid(Findings { file, text, diagnostics }))
        }
    }
}

/// The path as a user of the directory `.` would write it.
fn shown(path: &Path) -> String {
    path.strip_prefix(".").unwrap_or(path).display().to_string()
}

fn read(dir: &Path, path: &Path) -> Result<String, LoadError> {
    let unreadable = |source| LoadError::Unreadable { path: path.to_owned(), source };
    if !dir.is_dir() {
        return Err(LoadError::NoDirectory { dir: dir.to_owned() });
    }
    // Looked at before it is opened: opening a FIFO would wait for ever.
    let metadata = std::fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => {
            let full = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
            LoadError::NotFound { parent: parent_with_file(dir, &full), dir: full }
        }
        _ => unreadable(source),
    })?;
    if !metadata.is_file() {
        return Err(LoadError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(LoadError::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
        let (line, column) = place(&before, before.len());
        LoadError::NotUtf8 { path: path.to_owned(), line, column }
    })
}

/// The nearest directory above `full` that has a project file: as `..`, `../..` when it was
/// asked for as `.`, else as it is.
fn parent_with_file(dir: &Path, full: &Path) -> Option<PathBuf> {
    let mut parents = full.ancestors().skip(1).take(PARENTS_MAX).enumerate();
    let (above, parent) = parents.find(|(_, parent)| parent.join(FILE_NAME).is_file())?;
    let way = std::iter::repeat_n("..", above + 1).collect::<PathBuf>();
    Some(if dir == Path::new(".") { way } else { parent.to_owned() })
}
