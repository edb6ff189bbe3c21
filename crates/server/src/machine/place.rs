//! Where the files of a machine are, and how they are replaced.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use onward_core::machine::FileFact;
use rustix::fs::OFlags;

use super::error::MachineError;

/// The directory of what a set-up remembers.
const STATE: &str = "/var/lib/onward/machine";
/// The most that is read of a file: the list of all packages has some ten megabytes.
const TEXT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A machine's tree of files: `/`, or a directory in tests of what only reads and writes files.
#[derive(Debug, Clone)]
pub struct Place {
    root: PathBuf,
}

impl Default for Place {
    fn default() -> Self {
        Self::at(Path::new("/"))
    }
}

impl Place {
    /// The machine whose files are below `root`.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Where the file is that the machine calls `path`.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A file of what a set-up remembers.
    pub(super) fn state(&self, name: &str) -> PathBuf {
        self.path(&state_path(name))
    }

    /// The file as text; empty when it is not there. Some files belong to people of the machine, and
    /// root must not wait for one that is a pipe, nor read one without an end.
    pub(super) fn text(&self, path: &str) -> String {
        let bytes = read_some(&self.path(path)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The names in a directory; none when it is not there.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// What the file is; none when there is none.
    pub(super) fn fact(&self, path: &str) -> Result<Option<FileFact>, MachineError> {
        let full = self.path(path);
        let told = |error| MachineError::file(&full, error);
        let bytes = match fs::read(&full) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(told(error)),
        };
        let mode = fs::metadata(&full).map_err(told)?.permissions().mode() & 0o7777;
        let content = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Some(FileFact { content, mode }))
    }

    /// Writes the file, whole and at once; after a power cut there is the old one or the new one.
    pub(super) fn write(&self, path: &str, mode: u32, content: &str) -> Result<(), MachineError> {
        let full = self.path(path);
        replace(&full, mode, content).map_err(|error| MachineError::file(&full, error))
    }

    /// Deletes the file, when it is there; a power cut does not bring it back.
    pub(super) fn remove(&self, path: &str) -> Result<(), MachineError> {
        let full = self.path(path);
        match fs::remove_file(&full).and_then(|()| sync_directory(&full)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(MachineError::file(&full, error))
            }
            _ => Ok(()),
        }
    }
}

/// What the machine calls a file of what a set-up remembers.
pub(super) fn state_path(name: &str) -> String {
    format!("{STATE}/{name}")
}

/// What a regular file has, up to [`TEXT_BYTES_MAX`]; nothing of anything else.
fn read_some(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let mut bytes = Vec::new();
    if file.metadata()?.is_file() {
        file.take(TEXT_BYTES_MAX).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn replace(path: &Path, mode: u32, content: &str) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)?;
    // A dot, so that directories of drop-ins are never read with a half-written file in them.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{name}.onward-new"));
    let mut file = File::create(&temporary)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_directory(path)
}

/// Makes a rename or a deletion in a file's directory durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_with_its_permissions_and_deleted_twice() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::at(directory.path());
        assert_eq!(place.fact("/etc/a/b").unwrap(), None);
        place.write("/etc/a/b", 0o440, "one").unwrap();
        place.write("/etc/a/b", 0o644, "two").unwrap();
        let fact = FileFact { content: "two".to_owned(), mode: 0o644 };
        assert_eq!(place.fact("/etc/a/b").unwrap(), Some(fact));
        assert_eq!(place.names("/etc/a"), ["b"]);
        place.remove("/etc/a/b").unwrap();
        place.remove("/etc/a/b").unwrap();
        assert_eq!(place.text("/etc/a/b"), "");
    }

    #[test]
    fn what_people_put_in_the_place_of_a_file_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::at(directory.path());
        let pipe = directory.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        std::os::unix::fs::symlink("/dev/zero", directory.path().join("zero")).unwrap();
        assert_eq!((place.text("/pipe"), place.text("/zero")), (String::new(), String::new()));
        place.write("/file", 0o600, "text").unwrap();
        assert_eq!(place.text("/file"), "text", "the control");
    }
}
