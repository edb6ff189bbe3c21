//! Files that are replaced whole: after a crash there is the old one or the new one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use onward_core::ports::StoreError;

/// The error of an operation on `path`, in the words of the port.
pub(super) fn failed(path: &Path, error: &io::Error) -> StoreError {
    let place = path.display().to_string();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::NoSpace { place },
        _ => StoreError::Unavailable { place, reason: error.to_string() },
    }
}

/// The bytes of a file; `None` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, &error)),
    }
}

/// Writes `bytes` durably under the name `path`, beside which `temporary` is used meanwhile.
///
/// `Err((error, false))`: the name still has its old content. `Err((error, true))`: the new
/// content has the name, and it is not known to be durable.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), (StoreError, bool)> {
    let temporary = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&temporary);
        (failed(path, &error), false)
    })?;
    sync_directory(path).map_err(|error| (failed(path, &error), true))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}
