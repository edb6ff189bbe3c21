//! Making bundles.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use onward_core::model::Digest;

use super::archive;
use super::error::{Error, Result};
use super::git_archive::{self, GitSource};
use super::intake::Intake;
use super::manifest::{BadEntry, Manifest};
use super::progress::{Meter, OnProgress};
use super::store::Store;
use super::tree::{self, Skipped, TreeSource};

/// Where a bundle comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A directory.
    Tree(TreeSource),
    /// A commit of a Git repository.
    Git(GitSource),
    /// A `.tar`, `.tar.gz`, `.tar.bz2`, `.tar.zst` or `.zip` file, recognised by its content.
    Archive(PathBuf),
}

/// How to add.
#[derive(Clone, Copy)]
pub struct AddOptions<'a> {
    /// The time the bundle counts as added at.
    pub now: SystemTime,
    /// Who hears of progress.
    pub progress: Option<OnProgress<'a>>,
}

/// A bundle that is in the store now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Its identity.
    pub digest: Digest,
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of content that the store did not have before.
    pub new_bytes: u64,
    /// Bytes on disk that these became.
    pub stored_bytes: u64,
    /// What was left out because no bundle can hold it.
    pub skipped: Vec<Skipped>,
}

impl Store {
    /// Makes a bundle of a source and keeps it. Content that the store has is not written again; all of it is read
    /// again, and no file's time is trusted. When this returns, the bundle is durable.
    ///
    /// # Errors
    /// [`Error::Unfit`], [`Error::NoInclude`], [`Error::Git`], [`Error::Refused`], [`Error::NotAnArchive`] and
    /// [`Error::Io`] about the source; [`Error::NoSpace`]. After an error
    /// the store holds what it held before.
    pub fn add(&self, source: &Source, options: AddOptions<'_>) -> Result<Added> {
        match source {
            Source::Tree(tree) => self.add_tree(tree, options),
            Source::Git(git) => {
                let intake = Intake::begin(self)?;
                let meter = Meter::new(options.progress, 0, 0);
                let entries = git_archive::read(git, &intake, &meter)?;
                let manifest = Manifest::new(entries).map_err(|bad| unfit(&git.root, bad))?;
                finish(intake, &manifest, options.now, Vec::new())
            }
            Source::Archive(path) => {
                let intake = Intake::begin(self)?;
                let meter = Meter::new(options.progress, 0, 0);
                let entries = archive::read(path, &intake, &meter)?;
                let manifest = Manifest::new(entries).map_err(|bad| refused(path, bad))?;
                finish(intake, &manifest, options.now, Vec::new())
            }
        }
    }

    fn add_tree(&self, source: &TreeSource, options: AddOptions<'_>) -> Result<Added> {
        let mut found = tree::walk(source)?;
        let skipped = std::mem::take(&mut found.skipped);
        let intake = Intake::begin(self)?;
        tree::require_space(self, &source.root, &found, &intake)?;
        let meter = Meter::new(options.progress, found.files.len() as u64, found.bytes);
        let entries = tree::read(&source.root, found, &intake, &meter)?;
        let manifest = Manifest::new(entries).map_err(|bad| unfit(&source.root, bad))?;
        finish(intake, &manifest, options.now, skipped)
    }
}

fn unfit(root: &Path, source: BadEntry) -> Error {
    Error::Unfit { root: root.to_owned(), source }
}

fn refused(archive: &Path, BadEntry { path, fault }: BadEntry) -> Error {
    Error::Refused { archive: archive.to_owned(), entry: Some(path), fault }
}

fn finish(
    intake: Intake<'_>,
    manifest: &Manifest,
    now: SystemTime,
    skipped: Vec<Skipped>,
) -> Result<Added> {
    let (digest, written) = intake.commit(manifest, now)?;
    Ok(Added {
        digest,
        files: manifest.files(),
        bytes: manifest.bytes(),
        new_bytes: written.new,
        stored_bytes: written.stored,
        skipped,
    })
}
