//! Where sockets live.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use onward_core::model::Digest;

/// The directory for the sockets of one project: short, private to the user, gone after a reboot.
pub(super) fn of(project: &Path) -> PathBuf {
    let hash = Digest::of(project.as_os_str().as_bytes()).to_string();
    base().join(&hash[..16])
}

fn base() -> PathBuf {
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    match given.filter(|path| path.is_absolute() && path.is_dir()) {
        Some(directory) => directory.join("onward"),
        None => PathBuf::from(format!("/tmp/onward-{}", rustix::process::getuid().as_raw())),
    }
}

/// The file below `.onward` that says where the sockets are.
const POINTER: &str = "runtime";

/// The directory that the last agent was started with, when it is there and the user's own.
pub(super) fn recorded(root: &Path) -> Option<PathBuf> {
    let text = fs::read(root.join(POINTER)).ok()?;
    let directory = PathBuf::from(String::from_utf8(text).ok()?);
    let own = rustix::process::geteuid().as_raw();
    let is_own = fs::metadata(&directory).is_ok_and(|meta| meta.is_dir() && meta.uid() == own);
    (directory.is_absolute() && is_own).then_some(directory)
}

/// Records the directory for commands whose environment names another. A path that is not text is
/// not recorded: then every command has to be given the same environment.
pub(super) fn record(root: &Path, directory: &Path) -> io::Result<()> {
    match directory.to_str() {
        Some(text) => {
            let new = root.join("runtime.new");
            fs::write(&new, text)?;
            fs::rename(new, root.join(POINTER))
        }
        None => Ok(()),
    }
}
