//! Checking what is stored and what is staged.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use onward_core::model::Digest;

use super::error::{Error, Result, TreeMismatch};
use super::manifest::{Entry, Kind, Manifest};
use super::reader::{Reader, by_pack};
use super::store::Store;
use super::workers;

/// How much of a file is read at once.
const READ_BYTES: usize = 64 << 10;

/// A bundle whose every byte in the store was read and is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Store {
    /// Reads all of a bundle and compares it with its digests.
    ///
    /// # Errors
    /// [`Error::Damaged`] names the first file of the store that is not what was written; [`Error::Incomplete`] a file
    /// of the bundle whose content is nowhere; [`Error::NoBundle`].
    pub fn verify(&self, bundle: Digest) -> Result<Verified> {
        let _lock = self.lock_shared()?;
        let manifest = self.manifest(bundle)?;
        let index = self.index()?;
        let groups = by_pack(&manifest, &index);
        workers::share(groups.len(), 1, |items| {
            let mut reader = Reader::new(&index, bundle);
            items
                .flat_map(|at| &groups[at])
                .try_for_each(|entry| reader.content(entry, &mut |_| Ok(())))
        })?;
        Ok(Verified { files: manifest.files(), bytes: manifest.bytes() })
    }

    /// The content of one file of a bundle; `None` when the bundle has no such file. Of one that is longer than
    /// `limit`, a little more than that.
    ///
    /// # Errors
    /// [`Error::NoBundle`], [`Error::Damaged`], [`Error::Incomplete`].
    pub fn content(&self, bundle: Digest, path: &str, limit: usize) -> Result<Option<Vec<u8>>> {
        let _lock = self.lock_shared()?;
        let manifest = self.manifest(bundle)?;
        let is_it =
            |entry: &&Entry| entry.path.as_str() == path && matches!(entry.kind, Kind::File { .. });
        let Some(entry) = manifest.entries().iter().find(is_it) else { return Ok(None) };
        let index = self.index()?;
        let mut bytes = Vec::new();
        Reader::new(&index, bundle).content(entry, &mut |piece| {
            let room = (limit + 1).saturating_sub(bytes.len());
            bytes.extend_from_slice(&piece[..piece.len().min(room)]);
            Ok(())
        })?;
        Ok(Some(bytes))
    }

    /// Compares a staged directory with its bundle, as before an application is started: every file, link and directory
    /// of the bundle must be there unmodified. Files beside them are allowed, as applications write some.
    ///
    /// # Errors
    /// [`Error::Mismatch`] with the first difference; [`Error::NoBundle`], [`Error::Damaged`] about the manifest.
    pub fn verify_tree(&self, bundle: Digest, directory: &Path) -> Result<()> {
        Ok(verify_tree(&self.manifest(bundle)?, directory)?)
    }
}

/// As [`Store::verify_tree`], for a manifest that is at hand.
///
/// # Errors
/// The first difference.
pub fn verify_tree(manifest: &Manifest, directory: &Path) -> Result<(), TreeMismatch> {
    is_directory(directory)?;
    for below in manifest.directories() {
        is_directory(&directory.join(below))?;
    }
    let entries = manifest.entries();
    let checked = workers::share(entries.len(), 64, |items| {
        for entry in items.map(|at| &entries[at]) {
            let path = directory.join(&entry.path);
            match &entry.kind {
                Kind::File { size, executable, digest } => {
                    compare_file(&path, *size, *executable, *digest)
                }
                Kind::Link { target } => compare_link(&path, target),
                Kind::EmptyDir => Ok(()),
            }?;
        }
        Ok(())
    });
    match checked {
        Ok(()) => Ok(()),
        Err(Error::Mismatch(mismatch)) => Err(mismatch),
        Err(other) => Err(mismatch(directory, other.to_string())),
    }
}

fn is_executable(meta: &fs::Metadata) -> bool {
    meta.permissions().mode() & 0o100 != 0
}

/// Whether `path` is exactly this file.
pub(crate) fn is_file(path: &Path, size: u64, executable: bool, digest: Digest) -> bool {
    compare_file(path, size, executable, digest).is_ok()
}

/// Whether `path` is a file of this size and mode, whatever is in it.
pub(crate) fn is_file_of_size(path: &Path, size: u64, executable: bool) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| {
        meta.is_file() && meta.len() == size && is_executable(&meta) == executable
    })
}

fn mismatch(path: &Path, why: impl Into<String>) -> TreeMismatch {
    TreeMismatch { path: path.to_owned(), why: why.into() }
}

fn unreadable(path: &Path, error: &io::Error) -> TreeMismatch {
    // What opening a symbolic link without following it gives.
    let is_link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    match error.kind() {
        io::ErrorKind::NotFound => mismatch(path, "it is missing"),
        _ if is_link => mismatch(path, "it is not a regular file"),
        _ => mismatch(path, error.to_string()),
    }
}

fn is_directory(path: &Path) -> Result<(), TreeMismatch> {
    let meta = fs::symlink_metadata(path).map_err(|error| unreadable(path, &error))?;
    if meta.is_dir() { Ok(()) } else { Err(mismatch(path, "it is not a directory")) }
}

fn compare_file(
    path: &Path,
    size: u64,
    executable: bool,
    digest: Digest,
) -> Result<(), TreeMismatch> {
    let unreadable = |error| unreadable(path, &error);
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
    let mut options = File::options();
    let file =
        options.read(true).custom_flags(flags.cast_signed()).open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(mismatch(path, "it is not a regular file"));
    }
    if meta.len() != size {
        return Err(mismatch(path, format!("it has {} bytes instead of {size}", meta.len())));
    }
    if is_executable(&meta) != executable {
        let why = if executable { "it is not executable" } else { "it is executable" };
        return Err(mismatch(path, why));
    }
    if digest_of(&file, size).map_err(unreadable)? != digest {
        return Err(mismatch(path, "its content was changed"));
    }
    Ok(())
}

/// The digest of the first `size` bytes, with one call for a small file: applications have thousands.
fn digest_of(mut file: &File, size: u64) -> io::Result<Digest> {
    let room = usize::try_from(size).map_or(READ_BYTES, |size| size.min(READ_BYTES));
    let mut buffer = vec![0; room];
    let (mut hasher, mut left) = (blake3::Hasher::new(), size);
    while left > 0 {
        let read = match file.read(&mut buffer) {
            Ok(0) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        hasher.update(&buffer[..read]);
        left = left.saturating_sub(read as u64);
    }
    Ok(Digest::from_bytes(*hasher.finalize().as_bytes()))
}

fn compare_link(path: &Path, target: &str) -> Result<(), TreeMismatch> {
    let found = fs::read_link(path).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => mismatch(path, "it is not a symbolic link"),
        _ => unreadable(path, &error),
    })?;
    if found.as_os_str() == target {
        return Ok(());
    }
    Err(mismatch(path, format!("it leads to `{}` instead of `{target}`", found.display())))
}
