//! Files that are replaced whole: after a crash there is the old content or the new one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::build::VERSION;

/// A file of the tree could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The disk is full; the old content is kept.
    #[error("{0}: no space is left on the device")]
    NoSpace(String),
    /// The system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The reason.
        source: io::Error,
    },
    /// A newer onward wrote it, and what it says is not known here.
    #[error("{path} says `{field}`, which onward {version} does not know; a newer one wrote it")]
    Newer {
        /// The file.
        path: String,
        /// The path of the first such field.
        field: String,
        /// The version of this onward.
        version: &'static str,
    },
    /// What is there is not what was written.
    #[error("{path} is damaged (line {line}, column {column}: {reason})")]
    Damaged {
        /// The file.
        path: String,
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// What was expected.
        reason: String,
    },
}

impl FileError {
    /// Gives an error of the system its file.
    pub fn new(path: &Path, source: io::Error) -> Self {
        let path = path.display().to_string();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace(path),
            _ => Self::Io { path, source },
        }
    }
}

/// Whether a write must survive the loss of power, or only the end of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survives {
    /// The loss of power: synchronised before and after the rename.
    PowerLoss,
    /// The end of this process.
    Exit,
}

/// Replaces the content of a file by a value as JSON.
///
/// # Errors
/// The old content is then still there.
pub fn write<T: Serialize>(path: &Path, value: &T, survives: Survives) -> Result<(), FileError> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("what the agent keeps has text keys");
    bytes.push(b'\n');
    let temporary = path.with_extension("json.new");
    let write = || -> io::Result<()> {
        let parent = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent)?;
        let mut file = File::create(&temporary)?;
        file.write_all(&bytes)?;
        if survives == Survives::PowerLoss {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)?;
        if survives == Survives::PowerLoss {
            File::open(parent)?.sync_all()?;
        }
        Ok(())
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&temporary);
        FileError::new(path, error)
    })
}

/// Reads what [`write`] wrote; `None` when there is no file.
///
/// # Errors
/// When it cannot be read, is not such a value, or says more than this onward knows.
pub fn read<T: Serialize + DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::new(path, error)),
    };
    let damaged = |error: serde_json::Error| {
        let reason = error.to_string();
        let reason = reason.rsplit_once(" at line ").map_or(&*reason, |(text, _)| text).to_owned();
        let path = path.display().to_string();
        FileError::Damaged { path, line: error.line(), column: error.column(), reason }
    };
    let given: serde_json::Value = serde_json::from_slice(&bytes).map_err(damaged)?;
    let value: T = serde_json::from_slice(&bytes).map_err(damaged)?;
    if let Some(field) = onward_core::unknown::field(&given, &value) {
        let (path, version) = (path.display().to_string(), VERSION);
        return Err(FileError::Newer { path, field, version });
    }
    Ok(Some(value))
}
