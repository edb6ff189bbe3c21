//! The table on disk: what a restarted proxy serves before anybody has spoken to it.
//!
//! Written beside and renamed, never in place: whoever dies in between leaves the old file whole.
//! A checksum tells a damaged file from a good one, because a wrong port is still valid JSON.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sockets;
use crate::table::{Invalid, Table};

/// Version of the file's shape.
const FORMAT: u32 = 1;
/// Largest table file that is read: 1,000 routes of 256 instances stay below it.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Why the table file can't be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableFileError {
    /// The file exists and isn't a whole table of ours. It is left as it is.
    #[error(
        "the table file {path} is damaged ({reason}); the proxy doesn't guess what it said: remove it, then set the table again"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system refused; the old file, if there was one, is in force.
    #[error("can't {what} the table file {path}: {source}")]
    Io {
        /// Which step failed.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The table breaks a rule of [`Table::validate`].
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    format: u32,
    checksum: String,
    table: Table,
}

/// Reads the table, `None` when there is no file yet.
///
/// # Errors
/// [`TableFileError::Damaged`] when there is a file that isn't a whole, valid table;
/// [`TableFileError::Io`] when it can't be read.
pub fn load(path: &Path) -> Result<Option<Table>, TableFileError> {
    let damaged = |reason: String| TableFileError::Damaged { path: path.to_owned(), reason };
    let failed = |source| TableFileError::Io { what: "read", path: path.to_owned(), source };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(meta) if meta.len() > MAX_BYTES => return Err(damaged("it is too large".into())),
        Ok(_) => {}
    }
    let text = fs::read(path).map_err(failed)?;
    let envelope: Envelope =
        serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    if envelope.format != FORMAT {
        return Err(damaged(format!("its format is {}, not {FORMAT}", envelope.format)));
    }
    if envelope.checksum != checksum(&envelope.table) {
        return Err(damaged("its checksum doesn't match".into()));
    }
    envelope.table.validate().map_err(|error| damaged(error.to_string()))?;
    Ok(Some(envelope.table))
}

/// Writes the table so that it survives a power cut once this returns: temporary file, fsync,
/// rename, fsync of the directory. On an error the old file is still there, whole.
///
/// # Errors
/// [`TableFileError::Invalid`] before anything is written, [`TableFileError::Io`] afterwards.
pub fn store(path: &Path, table: &Table) -> Result<(), TableFileError> {
    table.validate()?;
    let failed = |what| move |source| TableFileError::Io { what, path: path.to_owned(), source };
    let envelope = Envelope { format: FORMAT, checksum: checksum(table), table: table.clone() };
    let mut text = serde_json::to_vec_pretty(&envelope)
        .map_err(|error| failed("write")(io::Error::other(error)))?;
    text.push(b'\n');
    replace(path, &text).map_err(|(what, source)| failed(what)(source))
}

/// Replaces a file, readable by its owner alone, so that it survives a power cut once this returns.
/// An error comes with the step that failed.
pub(crate) fn replace(path: &Path, text: &[u8]) -> Result<(), (&'static str, io::Error)> {
    let beside = beside(path);
    if let Err(error) = write_synced(&beside, text) {
        // The directory may be full: what was written so far only takes room.
        let _ = fs::remove_file(&beside);
        return Err(("write", error));
    }
    fs::rename(&beside, path).map_err(|error| ("replace", error))?;
    sync_directory(path).map_err(|error| ("make durable", error))
}

fn write_synced(path: &Path, text: &[u8]) -> io::Result<()> {
    let mode = sockets::mode_in(directory_of(path), 0o040);
    let mut file =
        OpenOptions::new().create(true).write(true).truncate(true).mode(mode).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

/// FNV-1a over the compact JSON: finds accidents, is no defence against people.
fn checksum(table: &Table) -> String {
    let text = serde_json::to_vec(table).unwrap_or_default();
    let hash = text.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}
