//! Where sockets live.

use std::os::unix::ffi::OsStrExt;
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
