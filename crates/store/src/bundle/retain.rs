//! Removing what is no longer wanted, and what died half-written.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use onward_core::model::Digest;

use super::disk::{self, Scratch};
use super::error::{At, Error, Result};
use super::index::Index;
use super::manifest::{Kind, Manifest};
use super::pack::{self, Item, ItemKind, Packer, Sealed};
use super::store::Store;

/// Which bundles stay. A bundle stays when any of these speaks for it.
#[derive(Debug, Clone, Copy)]
pub struct Retention<'a> {
    /// These: what runs and what is warm.
    pub keep: &'a [Digest],
    /// Those added at this time or later.
    pub newer_than: SystemTime,
    /// So many of those added last.
    pub last: usize,
}

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Bundles that were removed.
    pub bundles: Vec<Digest>,
    /// Bytes of packs, objects and unfinished files that were given back, less what was written anew.
    pub bytes: u64,
}

/// A pack is written anew when less than this share of it is still wanted.
const WORTH_KEEPING: (u64, u64) = (1, 2);

impl Store {
    /// Removes the other bundles, everything that no bundle needs any more, and what killed processes left. Waits until
    /// nobody adds or reads. Labels stay, so that none ever means another content.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a manifest that stays cannot be read: then no content is removed.
    pub fn retain(&self, retention: Retention<'_>) -> Result<Swept> {
        let _lock = self.lock_exclusive()?;
        self.sweep(retention, None)
    }

    /// As [`Self::retain`], without waiting: none while somebody adds or reads. Contents that came at
    /// `spared_since` or later stay although no bundle needs them: they are the beginning of one whose
    /// transfer broke off.
    ///
    /// # Errors
    /// As [`Self::retain`].
    pub fn retain_unless_busy(
        &self,
        retention: Retention<'_>,
        spared_since: SystemTime,
    ) -> Result<Option<Swept>> {
        match self.try_lock_exclusive()? {
            Some(_lock) => self.sweep(retention, Some(spared_since)).map(Some),
            None => Ok(None),
        }
    }

    fn sweep(&self, retention: Retention<'_>, spared_since: Option<SystemTime>) -> Result<Swept> {
        let mut swept = Swept { bytes: self.remove_unfinished()?, ..Swept::default() };
        let mut staying = Vec::new();
        for (at, (bundle, added)) in self.bundles()?.into_iter().enumerate() {
            let stays = retention.keep.contains(&bundle)
                || added >= retention.newer_than
                || at < retention.last;
            if stays { staying.push(self.manifest(bundle)?) } else { swept.bundles.push(bundle) }
        }
        // Bundles go first: one whose content is gone is never seen.
        for bundle in &swept.bundles {
            let path = self.manifest_path(*bundle);
            fs::remove_file(&path).at("remove", &path)?;
        }
        disk::sync_dir(&self.manifests())?;
        swept.bytes += self.remove_unwanted_packs(&staying, spared_since)?;
        swept.bytes += self.remove_unlinked_objects()?;
        Ok(swept)
    }

    /// Reads every pack and sets those aside that are damaged, in `damaged/` of the store, so that adding a bundle
    /// again writes their content anew. Returns their new paths.
    ///
    /// # Errors
    /// [`Error::Io`] when a pack cannot be read or moved.
    pub fn set_damaged_aside(&self) -> Result<Vec<PathBuf>> {
        let _lock = self.lock_exclusive()?;
        let mut index = self.index()?;
        let mut damaged: Vec<PathBuf> = index.damaged.drain(..).map(|(path, _)| path).collect();
        let mut buffer = Vec::new();
        for (id, path) in &index.packs {
            match pack::read(path, *id, &mut buffer) {
                Err(Error::Damaged { path, .. }) => damaged.push(path),
                other => other.map(|_| ())?,
            }
        }
        let directory = self.root().join("damaged");
        let mut moved = Vec::new();
        for path in damaged {
            disk::create_dirs(&directory)?;
            let aside = directory.join(path.file_name().unwrap_or_default());
            fs::rename(&path, &aside).at("rename to", &aside)?;
            moved.push(aside);
        }
        if !moved.is_empty() {
            disk::sync_dir(&self.packs())?;
        }
        Ok(moved)
    }

    fn remove_unfinished(&self) -> Result<u64> {
        let (tmp, mut bytes) = (self.tmp(), 0);
        for entry in fs::read_dir(&tmp).at("read", &tmp)? {
            let path = entry.at("read", &tmp)?.path();
            bytes += size_below(&path);
            let removed =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.at("remove", &path)?;
        }
        Ok(bytes)
    }

    fn remove_unwanted_packs(
        &self,
        staying: &[Manifest],
        spared_since: Option<SystemTime>,
    ) -> Result<u64> {
        let index = self.index()?;
        let wanted = Wanted::of(staying, &index)?;
        let (mut bytes, mut sparse) = (0, Vec::new());
        for (number, (id, path)) in index.packs.iter().enumerate() {
            if spared_since.is_some_and(|since| is_younger(path, since)) {
                continue;
            }
            let table = pack::read_table(path)?;
            let total: u64 = table.iter().map(|item| u64::from(item.len)).sum();
            let live: u64 =
                wanted.live(&index, number, &table).map(|(item, _)| u64::from(item.len)).sum();
            if live == 0 {
                bytes += remove(path)?;
            } else if live * WORTH_KEEPING.1 < total * WORTH_KEEPING.0 {
                sparse.push((number, *id, path));
            }
        }
        if !sparse.is_empty() {
            let (removed, written) = self.write_anew(&index, &wanted, &sparse)?;
            bytes = (bytes + removed).saturating_sub(written);
        }
        disk::sync_dir(&self.packs())?;
        Ok(bytes)
    }

    /// Copies what is wanted of some packs into new ones, then removes them. Returns bytes removed and written.
    fn write_anew(
        &self,
        index: &Index,
        wanted: &Wanted,
        sparse: &[(usize, Digest, &PathBuf)],
    ) -> Result<(u64, u64)> {
        let scratch = Scratch::new(&self.tmp())?;
        let (mut packer, mut buffer) = (Packer::new(), Vec::new());
        let (mut made, mut written) = (HashSet::new(), 0);
        let mut keep = |sealed: Option<Sealed>| {
            let Some(Sealed { id, bytes }) = sealed else { return Ok(()) };
            disk::require(scratch.path(), bytes.len() as u64)?;
            let (from, to) =
                (scratch.path().join(id.to_string()), self.packs().join(id.to_string()));
            disk::write_new(&from, &bytes, None)?;
            written += bytes.len() as u64;
            made.insert(id);
            fs::rename(&from, &to).at("rename to", &to)
        };
        for (number, id, path) in sparse {
            let table = match pack::read(path, *id, &mut buffer) {
                // It stays as it is: `verify` reports it, and what is still right in it may be of use.
                Err(Error::Damaged { .. }) => return Ok((0, 0)),
                other => other?,
            };
            for (item, offset) in wanted.live(index, *number, &table) {
                let bytes = &buffer[offset..offset + item.len as usize];
                let full = packer.push(item.kind, item.key, bytes);
                keep(full.at("compress into", scratch.path())?)?;
            }
        }
        keep(packer.seal().at("compress into", scratch.path())?)?;
        disk::sync_dir(&self.packs())?;
        let mut removed = 0;
        for (_, id, path) in sparse {
            if !made.contains(id) {
                removed += remove(path)?;
            }
        }
        Ok((removed, written))
    }

    /// An object with one link is one that no staged release has.
    fn remove_unlinked_objects(&self) -> Result<u64> {
        let objects = self.objects();
        let mut bytes = 0;
        if !objects.is_dir() {
            return Ok(0);
        }
        for directory in fs::read_dir(&objects).at("read", &objects)? {
            let directory = directory.at("read", &objects)?.path();
            for object in fs::read_dir(&directory).at("read", &directory)? {
                let object = object.at("read", &directory)?;
                let meta = object.metadata().at("read", object.path())?;
                if meta.nlink() == 1 {
                    bytes += remove(&object.path())?;
                }
            }
        }
        Ok(bytes)
    }
}

/// The items that the staying bundles need.
struct Wanted {
    blobs: HashSet<Digest>,
    recipes: HashSet<Digest>,
}

impl Wanted {
    fn of(manifests: &[Manifest], index: &Index) -> Result<Self> {
        let mut wanted = Self { blobs: HashSet::new(), recipes: HashSet::new() };
        let mut recipes: HashMap<usize, Vec<super::index::Place>> = HashMap::new();
        for entry in manifests.iter().flat_map(Manifest::entries) {
            let Kind::File { digest, .. } = &entry.kind else { continue };
            // As reading does: a content that is there whole is not put together from chunks.
            if index.blob(digest).is_some() {
                wanted.blobs.insert(*digest);
            } else if let Some(place) = index.recipe(digest)
                && wanted.recipes.insert(*digest)
            {
                recipes.entry(place.pack).or_default().push(place);
            }
        }
        let mut buffer = Vec::new();
        for (number, places) in recipes {
            let (id, path) = &index.packs[number];
            pack::read(path, *id, &mut buffer)?;
            for place in places {
                let recipe = &buffer[place.offset..place.offset + place.len];
                wanted.blobs.extend(recipe.chunks_exact(32).map(|chunk| {
                    Digest::from_bytes(chunk.try_into().expect("chunks of 32 bytes"))
                }));
            }
        }
        Ok(wanted)
    }

    /// The wanted items of a pack with their offsets; of an item that lies in several packs, one copy is wanted.
    fn live<'t>(
        &'t self,
        index: &'t Index,
        number: usize,
        table: &'t [Item],
    ) -> impl Iterator<Item = (&'t Item, usize)> {
        let mut end = 0;
        table.iter().filter_map(move |item| {
            let offset = end;
            end += item.len as usize;
            let (set, place) = match item.kind {
                ItemKind::Blob => (&self.blobs, index.blob(&item.key)),
                ItemKind::Recipe => (&self.recipes, index.recipe(&item.key)),
            };
            let here = place.is_some_and(|place| place.pack == number && place.offset == offset);
            (here && set.contains(&item.key)).then_some((item, offset))
        })
    }
}

fn is_younger(path: &Path, since: SystemTime) -> bool {
    fs::metadata(path).and_then(|meta| meta.modified()).is_ok_and(|modified| modified >= since)
}

fn remove(path: &Path) -> Result<u64> {
    let size = fs::metadata(path).map_or(0, |meta| meta.len());
    fs::remove_file(path).at("remove", path)?;
    Ok(size)
}

fn size_below(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    if !meta.is_dir() {
        return meta.len();
    }
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries.flatten().map(|entry| size_below(&entry.path())).sum()
}
