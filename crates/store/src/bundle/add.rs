//! Making bundles.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use onward_core::model::Digest;

use super::error::{Error, Result};
use super::intake::Intake;
use super::manifest::Manifest;
use super::progress::{Meter, OnProgress};
use super::store::Store;
use super::tree::{self, Skipped, TreeSource};

/// Where a bundle comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A directory.
    Tree(TreeSource),
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
    /// [`Error::Unfit`], [`Error::NoInclude`] and [`Error::Io`] about the source; [`Error::NoSpace`]. After an error
    /// the store holds what it held before.
    pub fn add(&self, source: &Source, options: AddOptions<'_>) -> Result<Added> {
        match source {
            Source::Tree(tree) => self.add_tree(tree, options),
        }
    }

    fn add_tree(&self, source: &TreeSource, options: AddOptions<'_>) -> Result<Added> {
        let mut found = tree::walk(source)?;
        let skipped = std::mem::take(&mut found.skipped);
        let intake = Intake::begin(self)?;
        tree::require_space(self, &source.root, &found, &intake)?;
        let meter = Meter::new(options.progress, found.files.len() as u64, found.bytes);
        let entries = tree::read(&source.root, found, &intake, &meter)?;
        let manifest =
            Manifest::new(entries).map_err(|source_error| unfit(&source.root, source_error))?;
        finish(intake, &manifest, options.now, skipped)
    }
}

fn unfit(root: &Path, source: super::manifest::BadEntry) -> Error {
    Error::Unfit { root: PathBuf::from(root), source }
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
