//! Durable writes and disk space.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::error::{At, Error, Result};
use super::limits::RESERVE_BYTES;

/// Bytes free for an unprivileged writer where `path` is or would be; 0 when that cannot be found out.
pub(crate) fn free(path: &Path) -> u64 {
    path.ancestors()
        .find_map(|path| {
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            rustix::fs::statvfs(path).ok()
        })
        .map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Refuses when `needed` bytes would eat into the reserve.
///
/// # Errors
/// [`Error::NoSpace`].
pub(crate) fn require(path: &Path, needed: u64) -> Result<()> {
    let free = free(path).saturating_sub(RESERVE_BYTES);
    if needed > free {
        return Err(Error::NoSpace { path: path.to_owned(), needed, free });
    }
    Ok(())
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    File::open(path).and_then(|dir| dir.sync_all()).at("sync", path)
}

/// Makes everything below a directory durable, files and names.
pub(crate) fn sync_all_below(path: &Path) -> Result<()> {
    #[cfg(target_os = "linux")]
    {
        // The kernel reports errors of writing back to the descriptor's owner since 5.8.
        let directory = File::open(path).at("open", path)?;
        rustix::fs::syncfs(&directory).map_err(std::io::Error::from).at("sync", path)
    }
    #[cfg(not(target_os = "linux"))]
    {
        for entry in fs::read_dir(path).at("read", path)? {
            let entry = entry.at("read", path)?;
            let kind = entry.file_type().at("read", entry.path())?;
            if kind.is_dir() {
                sync_all_below(&entry.path())?;
            } else if kind.is_file() {
                File::open(entry.path())
                    .and_then(|file| file.sync_all())
                    .at("sync", entry.path())?;
            }
        }
        sync_dir(path)
    }
}

/// Creates a directory with its parents and makes the new names durable.
pub(crate) fn create_dirs(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_dirs(parent)?;
    }
    match fs::create_dir(path) {
        // Another process was faster, which is as good.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        other => other.at("create", path)?,
    }
    sync_dir(parent.unwrap_or(Path::new(".")))
}

/// A name that no other thread or process uses in the same directory.
pub(crate) fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}-{}", std::process::id(), nanos.as_nanos(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Writes `bytes` to a new file and makes them durable. The name is durable once its directory is synced.
pub(crate) fn write_new(path: &Path, bytes: &[u8], modified: Option<SystemTime>) -> Result<()> {
    let mut file = File::create_new(path).at("create", path)?;
    file.write_all(bytes).at("write", path)?;
    if let Some(time) = modified {
        file.set_modified(time).at("set the time of", path)?;
    }
    file.sync_all().at("sync", path)
}

/// A directory for what is not finished; removed with everything in it when dropped.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one inside `parent`.
    pub(crate) fn new(parent: &Path) -> Result<Self> {
        let path = parent.join(unique());
        fs::create_dir(&path).at("create", &path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next sweep.
        let _ = fs::remove_dir_all(&self.0);
    }
}
