//! Bundles from one store to another: what the other one lacks, in packs.
//!
//! ```text
//! sender                          receiver
//! manifest ─────────────────────► Arrival::begin
//!          ◄───── what it lacks ─ Arrival::lacks
//! packs ────────────────────────► Arrival::take      each kept at once, so that a transfer that
//!          ◄───── what it lacks ─ Arrival::lacks       breaks off goes on where it was
//!                                 Arrival::complete
//! ```
//! A large file is cut into chunks, and only its sender knows how: the list of its chunks travels
//! first, and is followed by the chunks that the receiver lacks then.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::path::Path;
use std::time::SystemTime;

use onward_core::model::Digest;
use zstd::bulk::{Compressor, Decompressor};

use super::disk;
use super::error::{At, Error, Result};
use super::index::{Index, Place};
use super::limits::{LEVEL, MAX_MANIFEST_BYTES, MAX_PACK_BYTES};
use super::manifest::{Kind, Manifest};
use super::pack::{self, ItemKind, Packer};
use super::reader::Reader;
use super::store::Store;

/// The longest pack that is taken, in bytes: what one may expand to, and its table.
pub const PACK_FILE_BYTES_MAX: u64 = 2 * MAX_PACK_BYTES as u64;

/// The sender's side.
impl Store {
    /// The manifest of a bundle, compressed. With `base`, a bundle that both sides have, little more
    /// than what differs travels.
    ///
    /// # Errors
    /// [`Error::NoBundle`], [`Error::Damaged`].
    pub fn packed_manifest(&self, bundle: Digest, base: Option<Digest>) -> Result<Vec<u8>> {
        let bytes = self.manifest(bundle)?.encode();
        let base = self.base(base)?;
        let mut compressor =
            Compressor::with_dictionary(LEVEL, &base).at("compress", self.root())?;
        compressor.compress(&bytes).at("compress", self.root())
    }

    fn base(&self, base: Option<Digest>) -> Result<Vec<u8>> {
        base.map_or_else(|| Ok(Vec::new()), |base| Ok(self.manifest(base)?.encode()))
    }

    /// Hands the contents that another store lacks to `each`, as packs. A pack of which everything is
    /// wanted goes as it is.
    ///
    /// # Errors
    /// [`Error::Incomplete`] when this store lacks it too, [`Error::Damaged`], and what `each` says.
    pub fn send(
        &self,
        bundle: Digest,
        wanted: &[Digest],
        each: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let _lock = self.lock_shared()?;
        let index = self.index()?;
        let mut reader = Reader::new(&index, bundle);
        let mut packer = Packer::new();
        for (number, items) in by_pack(&index, wanted, bundle)? {
            let (_, path) = &index.packs[number];
            if pack::read_table(path)?.len() == items.len() {
                each(&fs::read(path).at("read", path)?)?;
                continue;
            }
            for (kind, key, place) in items {
                let full = packer.push(kind, key, reader.raw(place)?).at("compress", path)?;
                if let Some(sealed) = full {
                    each(&sealed.bytes)?;
                }
            }
        }
        match packer.seal().at("compress", self.root())? {
            Some(sealed) => each(&sealed.bytes),
            None => Ok(()),
        }
    }

    /// How many bytes the contents have that another store lacks, before they are compressed. The list
    /// of a large file's chunks counts as the whole file: those follow.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn bytes_of(&self, bundle: Digest, wanted: &[Digest]) -> Result<u64> {
        let index = self.index()?;
        let manifest = self.manifest(bundle)?;
        let whole = manifest.entries().iter().filter_map(|entry| match &entry.kind {
            Kind::File { digest, size, .. } => Some((*digest, *size)),
            _ => None,
        });
        let whole: HashMap<Digest, u64> = whole.collect();
        let packs = by_pack(&index, wanted, bundle)?;
        let size = |(kind, key, place): &WantedItem| match kind {
            ItemKind::Blob => place.len as u64,
            ItemKind::Recipe => whole.get(key).copied().unwrap_or(place.len as u64),
        };
        Ok(packs.values().flatten().map(size).sum())
    }
}

/// An item of a pack that is wanted.
type WantedItem = (ItemKind, Digest, Place);

/// Where what is wanted lies, pack by pack, in the order in which it lies there.
fn by_pack(
    index: &Index,
    wanted: &[Digest],
    bundle: Digest,
) -> Result<BTreeMap<usize, Vec<WantedItem>>> {
    let mut packs: BTreeMap<usize, Vec<WantedItem>> = BTreeMap::new();
    for key in wanted {
        let blob = index.blob(key).map(|place| (ItemKind::Blob, *key, place));
        let recipe = || index.recipe(key).map(|place| (ItemKind::Recipe, *key, place));
        let item = blob.or_else(recipe);
        let item = item.ok_or_else(|| Error::Incomplete { bundle, path: key.to_string() })?;
        packs.entry(item.2.pack).or_default().push(item);
    }
    for items in packs.values_mut() {
        items.sort_by_key(|(_, _, place)| place.offset);
        items.dedup_by_key(|(_, _, place)| place.offset);
    }
    Ok(packs)
}

/// A bundle on its way into a store. Sweeps wait until it is over.
#[derive(Debug)]
pub struct Arrival {
    store: Store,
    bundle: Digest,
    manifest: Manifest,
    _lock: File,
}

impl Arrival {
    /// Begins, with what [`Store::packed_manifest`] made.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it is not the manifest of the bundle; [`Error::NoBundle`] names the
    /// base when that is not here.
    pub fn begin(
        store: &Store,
        bundle: Digest,
        base: Option<Digest>,
        packed: &[u8],
    ) -> Result<Self> {
        let lock = store.lock_shared()?;
        let base = store.base(base)?;
        let wrong = |why: String| Error::Damaged { path: store.manifest_path(bundle), why };
        let most = usize::try_from(MAX_MANIFEST_BYTES).unwrap_or(usize::MAX);
        let expanded = Decompressor::with_dictionary(&base)
            .and_then(|mut decompressor| decompressor.decompress(packed, most));
        let bytes = expanded.map_err(|error| wrong(error.to_string()))?;
        if Digest::of(&bytes) != bundle {
            return Err(wrong("what arrived does not have its digest".to_owned()));
        }
        let manifest = Manifest::decode(&bytes).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { store: store.clone(), bundle, manifest, _lock: lock })
    }

    /// What is needed and not here, as far as that can be known now.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Io`].
    pub fn lacks(&self) -> Result<Vec<Digest>> {
        let index = self.store.index()?;
        let mut reader = Reader::new(&index, self.bundle);
        let (mut lacks, mut seen) = (Vec::new(), HashSet::new());
        for entry in self.manifest.entries() {
            let Kind::File { digest, size, .. } = &entry.kind else { continue };
            if *size == 0 || index.blob(digest).is_some() || !seen.insert(*digest) {
                continue;
            }
            let Some(recipe) = index.recipe(digest) else {
                lacks.push(*digest);
                continue;
            };
            for chunk in reader.raw(recipe)?.chunks_exact(32) {
                let chunk = Digest::from_bytes(chunk.try_into().expect("chunks of 32 bytes"));
                if index.blob(&chunk).is_none() && seen.insert(chunk) {
                    lacks.push(chunk);
                }
            }
        }
        Ok(lacks)
    }

    /// Refuses a bundle whose files would not find room here, before any of them travels: what is not
    /// here needs at least as much as it has bytes.
    ///
    /// # Errors
    /// [`Error::NoSpace`]; [`Error::Damaged`], [`Error::Io`].
    pub fn require_space(&self) -> Result<()> {
        let lacks: HashSet<Digest> = self.lacks()?.into_iter().collect();
        let mut counted = HashSet::new();
        let sizes = self.manifest.entries().iter().filter_map(|entry| match &entry.kind {
            Kind::File { digest, size, .. } => {
                (lacks.contains(digest) && counted.insert(*digest)).then_some(*size)
            }
            _ => None,
        });
        disk::require(&self.store.tmp(), sizes.sum())
    }

    /// Keeps a pack that arrived, once every content in it is what it says.
    ///
    /// # Errors
    /// [`Error::Damaged`]; nothing of it is kept then. [`Error::NoSpace`].
    pub fn take(&self, bytes: &[u8]) -> Result<()> {
        let id = Digest::of(bytes);
        let path = self.store.packs().join(id.to_string());
        if path.exists() {
            return Ok(());
        }
        honest(bytes, &path)?;
        disk::require(&self.store.tmp(), bytes.len() as u64)?;
        let passing = self.store.tmp().join(format!("pack-{}", disk::unique()));
        disk::write_new(&passing, bytes, None)?;
        fs::rename(&passing, &path).at("rename to", &path)
    }

    /// Makes the bundle visible, when nothing is lacking; `false` when something is.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Io`].
    pub fn complete(&self, now: SystemTime) -> Result<bool> {
        if !self.lacks()?.is_empty() {
            return Ok(false);
        }
        disk::sync_dir(&self.store.packs())?;
        let path = self.store.manifest_path(self.bundle);
        let passing = self.store.tmp().join(format!("manifest-{}", disk::unique()));
        disk::write_new(&passing, &self.manifest.encode(), Some(now))?;
        fs::rename(&passing, &path).at("rename to", &path)?;
        disk::sync_dir(&self.store.manifests())?;
        Ok(true)
    }
}

/// Refuses a pack with an item that is not what its key says.
fn honest(bytes: &[u8], path: &Path) -> Result<()> {
    let (mut raw, mut offset) = (Vec::new(), 0);
    for item in pack::expand(bytes, path, &mut raw)? {
        let content = &raw[offset..offset + item.len as usize];
        offset += content.len();
        // The list of a cut file's chunks is compared when the file is put together.
        if item.kind == ItemKind::Blob && Digest::of(content) != item.key {
            let why = "it holds a content that is not what it says".to_owned();
            return Err(Error::Damaged { path: path.to_owned(), why });
        }
    }
    Ok(())
}
