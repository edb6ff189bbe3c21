//! Which content is in which pack. Kept nowhere but in the packs' own tables, so it cannot disagree with them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use onward_core::model::Digest;

use super::error::{At, Error, Result};
use super::pack::{self, ItemKind};

/// Where an item lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Number of the pack in [`Index::packs`].
    pub(crate) pack: usize,
    /// Offset in the expanded pack.
    pub(crate) offset: usize,
    /// Length in bytes.
    pub(crate) len: usize,
}

/// The tables of all packs of a store, as they were when it was loaded.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) packs: Vec<(Digest, PathBuf)>,
    blobs: HashMap<Digest, Place>,
    recipes: HashMap<Digest, Place>,
    /// Packs whose table cannot be read, each with the error.
    pub(crate) damaged: Vec<(PathBuf, Error)>,
}

impl Index {
    /// Reads the tables of the packs in `directory`. A damaged pack counts as absent and is remembered.
    pub(crate) fn load(directory: &Path) -> Result<Self> {
        let mut index = Self::default();
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory).at("read", directory)? {
            let entry = entry.at("read", directory)?;
            if let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                names.push((id, entry.path()));
            }
        }
        names.sort();
        for (id, path) in names {
            match pack::read_table(&path) {
                Ok(items) => index.insert(id, path, &items),
                Err(error) => index.damaged.push((path, error)),
            }
        }
        Ok(index)
    }

    fn insert(&mut self, id: Digest, path: PathBuf, items: &[pack::Item]) {
        let pack = self.packs.len();
        self.packs.push((id, path));
        let mut offset = 0;
        for item in items {
            let len = item.len as usize;
            let map = match item.kind {
                ItemKind::Blob => &mut self.blobs,
                ItemKind::Recipe => &mut self.recipes,
            };
            map.entry(item.key).or_insert(Place { pack, offset, len });
            offset += len;
        }
    }

    /// Where the content with this digest lies whole.
    pub(crate) fn blob(&self, digest: &Digest) -> Option<Place> {
        self.blobs.get(digest).copied()
    }

    /// Where the list of a cut file's chunks lies.
    pub(crate) fn recipe(&self, digest: &Digest) -> Option<Place> {
        self.recipes.get(digest).copied()
    }

    /// Whether a file with this digest can be made from the packs. Content of no bytes needs none.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.blobs.contains_key(digest) || self.recipes.contains_key(digest)
    }
}
