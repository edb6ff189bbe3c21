//! The store: a directory of bundles.
//!
//! ```text
//! STORE/manifests/DIGEST   a bundle is complete when this file is there; written after its packs are durable
//!       packs/DIGEST       contents, see `pack`
//!       objects/ab/DIGEST  files to link to, made by staging with links
//!       labels/LABEL       the digest a label means, for ever
//!       tmp/               what is not finished; a sweep removes what its writer left
//!       lock               shared by who adds or reads, exclusive to who removes
//! ```
//! Everything is written under `tmp/`, made durable, and renamed into its place. A process killed at any point leaves at
//! worst files that nothing refers to; [`Store::retain`] removes them. The lock keeps a sweep from removing what
//! another process is about to refer to; it is the kernel's and ends with its process.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use onward_core::model::Digest;

use super::disk;
use super::error::{At, Error, Result};
use super::index::Index;
use super::limits::MAX_MANIFEST_BYTES;
use super::manifest::Manifest;

/// A directory of bundles. Any number of processes may use one at the same time.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// A bundle of the store, as [`Store::list`] shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its identity.
    pub digest: Digest,
    /// Labels that mean it, sorted.
    pub labels: Vec<String>,
    /// When it was last added.
    pub added: SystemTime,
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Listed {
    fn new(digest: Digest, added: SystemTime, labels: Vec<String>, manifest: &Manifest) -> Self {
        Self { digest, labels, added, files: manifest.files(), bytes: manifest.bytes() }
    }
}

impl Store {
    /// Opens the store in `root`, made when it does not exist yet.
    ///
    /// # Errors
    /// [`Error::Io`] when the directories cannot be made.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let store = Self { root: root.into() };
        for directory in [store.manifests(), store.packs(), store.labels(), store.tmp()] {
            disk::create_dirs(&directory)?;
        }
        Ok(store)
    }

    /// The directory of the store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the bundle is complete in the store.
    ///
    /// # Errors
    /// [`Error::Io`] when that cannot be found out.
    pub fn has(&self, bundle: Digest) -> Result<bool> {
        let path = self.manifest_path(bundle);
        path.try_exists().at("look for", &path)
    }

    /// As [`Self::has`], and makes it as young as one that is added now, so that no sweep removes it
    /// before it is used.
    ///
    /// # Errors
    /// As [`Self::has`].
    pub fn has_and_renews(&self, bundle: Digest, now: SystemTime) -> Result<bool> {
        let _lock = self.lock_shared()?;
        let path = self.manifest_path(bundle);
        match File::options().write(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            file => file.and_then(|file| file.set_modified(now)).at("renew", &path).map(|()| true),
        }
    }

    /// The manifest of a bundle.
    ///
    /// # Errors
    /// [`Error::NoBundle`]; [`Error::Damaged`] when the file is not what was written.
    pub fn manifest(&self, bundle: Digest) -> Result<Manifest> {
        let path = self.manifest_path(bundle);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NoBundle(bundle));
            }
            other => other.at("read", &path)?,
        };
        let mut bytes = Vec::new();
        file.take(MAX_MANIFEST_BYTES).read_to_end(&mut bytes).at("read", &path)?;
        if Digest::of(&bytes) != bundle {
            let why = "its content does not have the digest of its name".to_owned();
            return Err(Error::Damaged { path, why });
        }
        Manifest::decode(&bytes).map_err(|error| Error::Damaged { path, why: error.to_string() })
    }

    /// All complete bundles, the last added first.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Damaged`] names a manifest that is not what was written.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let mut labels = self.labels_by_bundle()?;
        let bundles = self.bundles()?.into_iter();
        bundles
            .map(|(digest, added)| {
                let labels = labels.remove(&digest).unwrap_or_default();
                Ok(Listed::new(digest, added, labels, &self.manifest(digest)?))
            })
            .collect()
    }

    /// One bundle as [`Self::list`] has it, with its manifest.
    ///
    /// # Errors
    /// As [`Self::manifest`].
    pub fn show(&self, bundle: Digest) -> Result<(Listed, Manifest)> {
        let manifest = self.manifest(bundle)?;
        let path = self.manifest_path(bundle);
        let added = fs::metadata(&path).and_then(|meta| meta.modified()).at("read", &path)?;
        let labels = self.labels_by_bundle()?.remove(&bundle).unwrap_or_default();
        Ok((Listed::new(bundle, added, labels, &manifest), manifest))
    }

    /// Digests and times of all bundles, the last added first.
    pub(crate) fn bundles(&self) -> Result<Vec<(Digest, SystemTime)>> {
        let directory = self.manifests();
        let mut found = Vec::new();
        for entry in fs::read_dir(&directory).at("read", &directory)? {
            let entry = entry.at("read", &directory)?;
            let Some(digest) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let added = entry.metadata().and_then(|meta| meta.modified());
            found.push((digest, added.at("read", entry.path())?));
        }
        found.sort_by_key(|(digest, added)| (std::cmp::Reverse(*added), *digest));
        Ok(found)
    }

    /// Keeps sweeps away until the file is dropped.
    pub(crate) fn lock_shared(&self) -> Result<File> {
        let (path, file) = self.lock_file("lock")?;
        file.lock_shared().at("lock", path)?;
        Ok(file)
    }

    /// Keeps everybody else away until the file is dropped.
    pub(crate) fn lock_exclusive(&self) -> Result<File> {
        let (path, file) = self.lock_file("lock")?;
        file.lock().at("lock", path)?;
        Ok(file)
    }

    /// As [`Self::lock_exclusive`], without waiting; none while somebody adds or reads.
    pub(crate) fn try_lock_exclusive(&self) -> Result<Option<File>> {
        let (path, file) = self.lock_file("lock")?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error).at("lock", path),
        }
    }

    /// Held for a moment while a directory beside a destination is made or an abandoned one removed.
    pub(crate) fn staging_gate(&self) -> Result<File> {
        let (path, file) = self.lock_file("staging.lock")?;
        file.lock().at("lock", path)?;
        Ok(file)
    }

    fn lock_file(&self, name: &str) -> Result<(PathBuf, File)> {
        let path = self.root.join(name);
        let open = File::options().create(true).truncate(false).write(true).open(&path);
        let file = open.at("open", &path)?;
        Ok((path, file))
    }

    /// The index of what is there now.
    pub(crate) fn index(&self) -> Result<Index> {
        Index::load(&self.packs())
    }

    pub(crate) fn manifests(&self) -> PathBuf {
        self.root.join("manifests")
    }

    pub(crate) fn manifest_path(&self, bundle: Digest) -> PathBuf {
        self.manifests().join(bundle.to_string())
    }

    pub(crate) fn packs(&self) -> PathBuf {
        self.root.join("packs")
    }

    pub(crate) fn labels(&self) -> PathBuf {
        self.root.join("labels")
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }
}
