//! `onward.lock`: the exact runtimes of a project, so that tomorrow has what today had.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::pins::Language;

/// The name of the file, beside the project file.
pub const LOCK_NAME: &str = "onward.lock";

/// The version of its form.
const FORM: u32 = 1;

const HEAD: &str = "# Written by onward: the exact runtimes of this project. Commit it; \
                    `onward up --update-runtimes` chooses anew.\n";

/// What is recorded of the runtimes of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// The version of the form.
    #[serde(default)]
    form: u32,
    /// The runtimes by language.
    #[serde(default)]
    pub runtime: BTreeMap<String, Locked>,
}

/// One runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locked {
    /// What the project wanted when it was chosen.
    pub wanted: String,
    /// The exact version.
    pub version: String,
    /// Where it came from.
    pub from: Origin,
    /// The digest of each package that it was made of, as the registry writes it: `sha512-…`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub packages: BTreeMap<String, String>,
}

/// Where a runtime came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The machine had it.
    System,
    /// From npm's registry.
    Npm,
}

/// The lock file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It cannot be read or written.
    #[error("{} cannot be used: {source}", .path.display())]
    Io {
        /// It.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is not what onward writes.
    #[error("{} cannot be understood: {why}", .path.display())]
    Malformed {
        /// It.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl Lock {
    /// Reads the lock file of a project; an empty one when there is none.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn read(project: &Path) -> Result<Self, LockError> {
        let path = project.join(LOCK_NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(LockError::Io { path, source }),
        };
        let malformed = |why: String| LockError::Malformed { path: path.clone(), why };
        let lock: Self = toml::from_str(&text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
            malformed(format!("line {line}: {}", error.message()))
        })?;
        if lock.form > FORM {
            return Err(malformed(format!(
                "it has form {}, and this onward knows {FORM}",
                lock.form
            )));
        }
        Ok(lock)
    }

    /// Writes it, unless it is what is there. An empty one is not written.
    ///
    /// # Errors
    /// [`LockError::Io`]; the file is replaced as a whole or not at all.
    pub fn write(&self, project: &Path) -> Result<(), LockError> {
        let path = project.join(LOCK_NAME);
        let text = self.text();
        let there = fs::read_to_string(&path).ok();
        if there.as_deref() == Some(&text) || (there.is_none() && self.runtime.is_empty()) {
            return Ok(());
        }
        let new = project.join(format!(".{LOCK_NAME}.new"));
        let written = fs::write(&new, text)
            .and_then(|()| File::open(&new)?.sync_all())
            .and_then(|()| fs::rename(&new, &path));
        if written.is_err() {
            // It may not be there at all.
            let _ = fs::remove_file(&new);
        }
        written.map_err(|source| LockError::Io { path, source })
    }

    fn text(&self) -> String {
        let own = Self { form: FORM, runtime: self.runtime.clone() };
        let text = toml::to_string(&own).expect("texts and numbers can be written");
        format!("{HEAD}{text}")
    }

    /// What is recorded of a language.
    pub fn of(&self, language: Language) -> Option<&Locked> {
        self.runtime.get(language.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Lock::read(directory.path()).unwrap(), Lock::default());
        Lock::default().write(directory.path()).unwrap();
        assert!(!directory.path().join(LOCK_NAME).exists(), "nothing is pinned: no file");
        let locked = Locked {
            wanted: "22".to_owned(),
            version: "22.12.0".to_owned(),
            from: Origin::Npm,
            packages: BTreeMap::from([("npm@10.9.2".to_owned(), "sha512-abc".to_owned())]),
        };
        let lock = Lock { form: FORM, runtime: BTreeMap::from([("node".to_owned(), locked)]) };
        lock.write(directory.path()).unwrap();
        assert_eq!(Lock::read(directory.path()).unwrap(), lock);
        insta::assert_snapshot!(fs::read_to_string(directory.path().join(LOCK_NAME)).unwrap());
    }

    #[test]
    fn a_damaged_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["runtime = 5", "form = 99", "<<<<<<< HEAD"] {
            fs::write(directory.path().join(LOCK_NAME), text).unwrap();
            let error = Lock::read(directory.path()).unwrap_err();
            assert!(error.to_string().contains("onward.lock cannot be understood"), "{error}");
        }
    }
}
