//! Whose an app is in a home that several projects share.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use onward_core::model::{AppName, EnvironmentName};

/// The file that says which directory an app in an environment is deployed from.
pub(super) fn file(root: &Path, app: &AppName, environment: &EnvironmentName) -> PathBuf {
    root.join("owners").join(app.as_str()).join(environment.as_str())
}

/// The directory that owns it, when that is another one and still has a project.
pub(super) fn other(file: &Path, project: &Path) -> Option<PathBuf> {
    let owner = PathBuf::from(fs::read_to_string(file).ok()?);
    let is_there = owner.join(crate::project::FILE_NAME).exists();
    (owner != project && is_there).then_some(owner)
}

/// Makes a directory the owner.
pub(super) fn claim(file: &Path, project: &Path) -> io::Result<()> {
    let Some(text) = project.to_str() else { return Ok(()) };
    if fs::read_to_string(file).is_ok_and(|owner| owner == text) {
        return Ok(());
    }
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    let new = file.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(new, file)
}
