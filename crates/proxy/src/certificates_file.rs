//! The certificates on disk: what a restarted proxy shows before anybody has spoken to it.
//!
//! In a file of their own, because it holds private keys: readable by the proxy's user alone,
//! written beside and renamed, never in place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::certificates::{BadCertificate, Certificates};
use crate::table_file;

/// Version of the file's shape.
const FORMAT: u32 = 1;
/// Largest file that is read: as many certificates as are allowed, of an ordinary size.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// Why the file of the certificates can't be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificatesFileError {
    /// The file exists and isn't a whole one of ours.
    #[error("the file of the certificates {path} is damaged ({reason})")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; nothing of its content.
        reason: String,
    },
    /// The operating system refused; the old file, if there was one, is in force.
    #[error("can't {what} the file of the certificates {path}: {source}")]
    Io {
        /// Which step failed.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// They can't be used.
    #[error(transparent)]
    Bad(#[from] BadCertificate),
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    format: u32,
    certificates: Certificates,
}

/// Where a proxy with this table keeps its certificates.
#[must_use]
pub fn beside(table_file: &Path) -> PathBuf {
    table_file.with_file_name("certificates.json")
}

/// Reads them; `None` when there is no file.
///
/// # Errors
/// [`CertificatesFileError`]; the file is left as it is.
pub fn load(path: &Path) -> Result<Option<Certificates>, CertificatesFileError> {
    let damaged = |reason: &str| {
        let (path, reason) = (path.to_owned(), reason.to_owned());
        CertificatesFileError::Damaged { path, reason }
    };
    let failed = |source| CertificatesFileError::Io { what: "read", path: path.to_owned(), source };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(meta) if meta.len() > MAX_BYTES => return Err(damaged("it is too large")),
        Ok(_) => {}
    }
    let text = Zeroizing::new(fs::read(path).map_err(failed)?);
    // What the parser says might quote a key.
    let envelope: Envelope =
        serde_json::from_slice(&text).map_err(|_| damaged("it is not what was written"))?;
    if envelope.format != FORMAT {
        return Err(damaged("it is of another version"));
    }
    envelope.certificates.validate()?;
    Ok(Some(envelope.certificates))
}

/// Writes them so that they survive a power cut once this returns.
///
/// # Errors
/// [`CertificatesFileError::Bad`] before anything is written, [`CertificatesFileError::Io`]
/// afterwards: the old file is still there, whole.
pub fn store(path: &Path, certificates: &Certificates) -> Result<(), CertificatesFileError> {
    certificates.validate()?;
    let failed = |(what, source)| CertificatesFileError::Io { what, path: path.to_owned(), source };
    let envelope = Envelope { format: FORMAT, certificates: certificates.clone() };
    let mut text = serde_json::to_vec_pretty(&envelope)
        .map(Zeroizing::new)
        .map_err(|error| failed(("write", io::Error::other(error))))?;
    text.push(b'\n');
    table_file::replace(path, &text).map_err(failed)
}
