//! Staging: a directory of its own for a release.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use onward_core::model::Digest;

use super::check;
use super::disk;
use super::error::{At, Error, Result};
use super::index::Index;
use super::manifest::{Entry, Kind, Manifest};
use super::progress::{Meter, OnProgress};
use super::reader::{Reader, by_pack};
use super::store::Store;
use super::workers;

/// How the files of a staged bundle come to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageMode {
    /// Each file is a copy. For applications that run as the store's owner: whatever they do to their files, the store
    /// and other releases do not notice.
    Copy,
    /// Each file is a hard link to an object of the store, shared by all releases that have it: staging writes only
    /// what no release has yet. Only for applications that run as a user who may not write these files. The destination
    /// must be on the store's file system.
    Link,
    /// The same without reading the objects that are there: their sizes and modes have to do. Only for whoever compares
    /// the tree with [`Store::verify_tree`] before anything runs from it, and stages it anew with [`StageMode::Link`]
    /// when it differs: then every file is read once and not twice.
    LinkUnread,
}

/// What staging found to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staged {
    /// The directory was made.
    Made,
    /// The directory was there, complete and unchanged.
    AlreadyThere,
}

/// Up to this many files are synced one by one, which takes a few milliseconds; more by syncing the file system once,
/// which is faster than thousands of syncs but waits for what other programs wrote, too.
const SYNC_SINGLY: usize = 64;
/// What the space check counts for each entry besides its content: a directory entry and an inode.
const ENTRY_BYTES: u64 = 512;
/// What file systems allot at once.
const BLOCK: u64 = 4096;

impl Store {
    /// Makes the directory `dest` from a bundle: written beside it, verified while written (but for
    /// [`StageMode::LinkUnread`]), made durable, renamed. A
    /// directory of this name that is there and complete is left as it is.
    ///
    /// # Errors
    /// [`Error::NoBundle`], [`Error::Damaged`], [`Error::Incomplete`], [`Error::NoSpace`],
    /// [`Error::DestinationDiffers`]. After an error `dest` is as before.
    pub fn stage(
        &self,
        bundle: Digest,
        dest: &Path,
        mode: StageMode,
        progress: Option<OnProgress<'_>>,
    ) -> Result<Staged> {
        let lock = self.lock_shared()?;
        let manifest = self.manifest(bundle)?;
        if fs::symlink_metadata(dest).is_ok() {
            return already_there(&manifest, dest);
        }
        let parent = dest.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        disk::create_dirs(parent)?;
        let index = self.index()?;
        let stage = Stage { store: self, index: &index, bundle, manifest: &manifest, mode };
        stage.require_space(parent)?;
        let beside = Beside::new(self, parent, dest)?;
        let meter = Meter::new(progress, manifest.files(), manifest.bytes());
        stage.write(&beside.path, &meter)?;
        let result = beside.rename(dest);
        drop(lock);
        match result {
            Err(Error::Io { source, .. }) if is_taken(&source) => already_there(&manifest, dest),
            other => other.map(|()| Staged::Made),
        }
    }
}

/// Another process staged the same meanwhile, or something else is in the way.
fn already_there(manifest: &Manifest, dest: &Path) -> Result<Staged> {
    check::verify_tree(manifest, dest)
        .map(|()| Staged::AlreadyThere)
        .map_err(|source| Error::DestinationDiffers { dest: dest.to_owned(), source })
}

fn is_taken(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotADirectory};
    matches!(error.kind(), AlreadyExists | DirectoryNotEmpty | NotADirectory)
}

struct Stage<'a> {
    store: &'a Store,
    index: &'a Index,
    bundle: Digest,
    manifest: &'a Manifest,
    mode: StageMode,
}

impl Stage<'_> {
    fn require_space(&self, parent: &Path) -> Result<()> {
        let mut objects = HashSet::new();
        let needed = self.manifest.entries().iter().map(|entry| {
            let content = match (&entry.kind, self.mode) {
                (
                    Kind::File { digest, executable, .. },
                    StageMode::Link | StageMode::LinkUnread,
                ) => {
                    let new = objects.insert((*digest, *executable))
                        && !self.object(*digest, *executable).exists();
                    if new { entry.size() } else { 0 }
                }
                _ => entry.size(),
            };
            content.next_multiple_of(BLOCK) + ENTRY_BYTES
        });
        disk::require(parent, needed.sum())
    }

    /// Writes the whole tree into the empty directory `root` and makes it durable.
    fn write(&self, root: &Path, meter: &Meter<'_>) -> Result<()> {
        let directories = self.manifest.directories();
        for directory in &directories {
            let path = root.join(directory);
            fs::create_dir(&path).at("create", &path)?;
            set_mode(&path, 0o755)?;
        }
        let singly = self.manifest.entries().len() <= SYNC_SINGLY;
        let groups = by_pack(self.manifest, self.index);
        workers::share(groups.len(), 1, |items| {
            let mut reader = Reader::new(self.index, self.bundle);
            for entry in items.flat_map(|at| &groups[at]) {
                match self.mode {
                    StageMode::Copy => {
                        self.copy(entry, &root.join(&entry.path), singly, &mut reader)
                    }
                    StageMode::Link | StageMode::LinkUnread => {
                        self.link(entry, &root.join(&entry.path), singly, &mut reader)
                    }
                }?;
                meter.add(1, entry.size());
            }
            Ok(())
        })?;
        // Links last: no file is ever written through one.
        for entry in self.manifest.entries() {
            if let Kind::Link { target } = &entry.kind {
                let path = root.join(&entry.path);
                symlink(target, &path).at("create", &path)?;
            }
        }
        set_mode(root, 0o755)?;
        if singly {
            directories
                .iter()
                .rev()
                .try_for_each(|directory| disk::sync_dir(&root.join(directory)))?;
            disk::sync_dir(root)
        } else {
            disk::sync_all_below(root)
        }
    }

    fn copy(&self, entry: &Entry, path: &Path, sync: bool, reader: &mut Reader<'_>) -> Result<()> {
        let Kind::File { executable, .. } = entry.kind else { return Ok(()) };
        let mode = if executable { 0o755 } else { 0o644 };
        // `create_new` follows no link and overwrites nothing, also where a file system ignores case.
        let open = File::options().write(true).create_new(true).mode(mode).open(path);
        let mut file = open.at("create", path)?;
        reader.content(entry, &mut |bytes| file.write_all(bytes).at("write", path))?;
        // Asking costs less than setting what is already so, which every usual umask leaves it.
        let made = file.metadata().at("read", path)?.permissions().mode() & 0o7777;
        if made != mode {
            file.set_permissions(Permissions::from_mode(mode)).at("set the mode of", path)?;
        }
        if sync { file.sync_all().at("sync", path) } else { Ok(()) }
    }

    fn link(&self, entry: &Entry, path: &Path, sync: bool, reader: &mut Reader<'_>) -> Result<()> {
        let Kind::File { executable, digest, size } = entry.kind else { return Ok(()) };
        // One inode for every empty file of every release would soon have all the links a file system allows.
        if size == 0 {
            return self.copy(entry, path, sync, reader);
        }
        let object = self.object(digest, executable);
        let is_good = match self.mode {
            StageMode::LinkUnread => check::is_file_of_size(&object, size, executable),
            StageMode::Copy | StageMode::Link => check::is_file(&object, size, executable, digest),
        };
        if !is_good {
            self.copy(entry, path, sync, reader)?;
            return self.keep(path, &object, sync);
        }
        match fs::hard_link(&object, path) {
            Err(error) if error.kind() == io::ErrorKind::TooManyLinks => {
                self.copy(entry, path, sync, reader)
            }
            other => other.at("link", path),
        }
    }

    /// Makes a file that was written the object of its content, in place of one that is not right.
    fn keep(&self, path: &Path, object: &Path, sync: bool) -> Result<()> {
        let directory = object.parent().expect("objects lie in a directory");
        disk::create_dirs(directory)?;
        match fs::hard_link(path, object) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let passing = self.store.tmp().join(disk::unique());
                fs::hard_link(path, &passing).at("link", &passing)?;
                fs::rename(&passing, object).at("rename to", object)?;
            }
            other => other.at("link", object)?,
        }
        if sync { disk::sync_dir(directory) } else { Ok(()) }
    }

    fn object(&self, digest: Digest, executable: bool) -> PathBuf {
        let name = digest.to_string();
        let suffix = if executable { ".x" } else { "" };
        self.store.objects().join(&name[..2]).join(format!("{name}{suffix}"))
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode)).at("set the mode of", path)
}

/// The directory beside the destination that the bundle is written into. It is removed when it is not renamed, and by
/// the next staging of the same destination when the process was killed: its lock tells the two apart.
struct Beside {
    path: PathBuf,
    _lock: File,
}

impl Beside {
    fn new(store: &Store, parent: &Path, dest: &Path) -> Result<Self> {
        let name = dest.file_name().unwrap_or_default().to_string_lossy();
        let prefix = format!(".{name}.staging-");
        // Between making a directory and locking it, nobody may take it for abandoned.
        let _gate = store.staging_gate()?;
        remove_abandoned(parent, &prefix)?;
        let path = parent.join(format!("{prefix}{}", disk::unique()));
        fs::DirBuilder::new().mode(0o700).create(&path).at("create", &path)?;
        let lock = File::open(&path).at("open", &path)?;
        lock.lock().at("lock", &path)?;
        Ok(Self { path, _lock: lock })
    }

    fn rename(self, dest: &Path) -> Result<()> {
        // An empty directory would be replaced silently; anything else is refused by the kernel.
        if fs::symlink_metadata(dest).is_ok() {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists)).at("rename to", dest);
        }
        fs::rename(&self.path, dest).at("rename to", dest)?;
        disk::sync_dir(
            dest.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")),
        )
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // After a successful rename there is nothing of this name.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn remove_abandoned(parent: &Path, prefix: &str) -> Result<()> {
    for entry in fs::read_dir(parent).at("read", parent)? {
        let entry = entry.at("read", parent)?;
        if !entry.file_name().to_string_lossy().starts_with(prefix) {
            continue;
        }
        let Ok(directory) = File::open(entry.path()) else { continue };
        if directory.try_lock().is_ok() {
            fs::remove_dir_all(entry.path()).at("remove", entry.path())?;
        }
    }
    Ok(())
}
