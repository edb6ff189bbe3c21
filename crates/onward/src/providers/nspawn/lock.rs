//! One command at a time, by the lock of a file. It is the kernel's: it ends with its holder.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::LabError;

/// Takes the lock of `file`, which is made when it is not there; `waiting` is called once when
/// another command has it.
pub(super) fn take(file: &Path, waiting: &dyn Fn()) -> Result<File, LabError> {
    let failed = |error: std::io::Error| LabError::file(file)(error);
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    loop {
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(file);
        let lock = match open {
            // The one who had it removed the directory as well.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                fs::create_dir_all(file.parent().unwrap_or(file)).map_err(failed)?;
                continue;
            }
            open => open.map_err(failed)?,
        };
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {
                waiting();
                flock(&lock, FlockOperation::LockExclusive)
            }
            other => other,
        }
        .map_err(|error| failed(error.into()))?;
        let is_same = |there: fs::Metadata| {
            lock.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (there.dev(), there.ino()))
        };
        if fs::metadata(file).is_ok_and(is_same) {
            return Ok(lock);
        }
    }
}
