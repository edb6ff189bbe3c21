//! Taking a bundle into the store: all of it or nothing.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use fastcdc::v2020::StreamCDC;
use onward_core::model::Digest;

use super::disk::{self, Scratch};
use super::error::{At, Error, Result};
use super::index::Index;
use super::limits::CHUNK_SIZES;
use super::manifest::Manifest;
use super::pack::{ItemKind, Packer, Sealed};
use super::store::Store;

/// A bundle on its way in. Nothing of it is visible before [`Intake::commit`]; dropped, it leaves nothing behind.
pub(crate) struct Intake<'s> {
    store: &'s Store,
    pub(crate) index: Index,
    scratch: Scratch,
    claimed: Mutex<HashSet<Digest>>,
    packs: Mutex<Vec<Digest>>,
    new_bytes: AtomicU64,
    stored_bytes: AtomicU64,
    _lock: File,
}

/// What an intake has written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Bytes of content that the store did not have.
    pub(crate) new: u64,
    /// Bytes of the packs that hold them.
    pub(crate) stored: u64,
}

impl<'s> Intake<'s> {
    /// Begins. Sweeps wait until it is over.
    pub(crate) fn begin(store: &'s Store) -> Result<Self> {
        let lock = store.lock_shared()?;
        Ok(Self {
            store,
            index: store.index()?,
            scratch: Scratch::new(&store.tmp())?,
            claimed: Mutex::default(),
            packs: Mutex::default(),
            new_bytes: AtomicU64::new(0),
            stored_bytes: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// One thread's way in.
    pub(crate) fn filler(&self) -> Filler<'_, 's> {
        Filler { intake: self, packer: Packer::new() }
    }

    /// Makes the bundle visible: packs first, its manifest last.
    pub(crate) fn commit(self, manifest: &Manifest, now: SystemTime) -> Result<(Digest, Written)> {
        let packs = self.packs.lock().expect("no thread panicked holding it");
        for id in packs.iter() {
            let name = id.to_string();
            let (from, to) = (self.scratch.path().join(&name), self.store.packs().join(&name));
            fs::rename(&from, &to).at("rename to", &to)?;
        }
        if !packs.is_empty() {
            disk::sync_dir(&self.store.packs())?;
        }
        let bytes = manifest.encode();
        let digest = Digest::of(&bytes);
        let (from, to) = (self.scratch.path().join("manifest"), self.store.manifest_path(digest));
        disk::write_new(&from, &bytes, Some(now))?;
        fs::rename(&from, &to).at("rename to", &to)?;
        disk::sync_dir(&self.store.manifests())?;
        let new = self.new_bytes.load(Ordering::Relaxed);
        Ok((digest, Written { new, stored: self.stored_bytes.load(Ordering::Relaxed) }))
    }

    /// Whether nobody has this content yet; the caller then brings it.
    fn claims(&self, digest: &Digest, known: bool) -> bool {
        !known && self.claimed.lock().expect("no thread panicked holding it").insert(*digest)
    }

    fn keep(&self, pack: Option<Sealed>) -> Result<()> {
        let Some(Sealed { id, bytes }) = pack else { return Ok(()) };
        disk::require(self.scratch.path(), bytes.len() as u64)?;
        let path = self.scratch.path().join(id.to_string());
        match disk::write_new(&path, &bytes, None) {
            // Two threads made the same pack, which needs it once.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                return Ok(());
            }
            other => other?,
        }
        self.stored_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.packs.lock().expect("no thread panicked holding it").push(id);
        Ok(())
    }
}

/// Puts contents into packs. Must be finished.
#[must_use = "call `finish`, or the last contents are lost"]
pub(crate) struct Filler<'i, 's> {
    intake: &'i Intake<'s>,
    packer: Packer,
}

impl Filler<'_, '_> {
    /// Takes a file of at most [`super::limits::WHOLE_FILE`] bytes.
    pub(crate) fn whole(&mut self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if !bytes.is_empty() && self.intake.claims(&digest, self.intake.index.has(&digest)) {
            self.push(ItemKind::Blob, digest, bytes)?;
        }
        Ok(digest)
    }

    /// Takes a larger file in pieces cut by its content. Returns its digest and length.
    pub(crate) fn cut(&mut self, content: impl Read, name: &Path) -> Result<(Digest, u64)> {
        let (min, average, max) = CHUNK_SIZES;
        let (mut hasher, mut total, mut recipe) = (blake3::Hasher::new(), 0, Vec::new());
        for chunk in StreamCDC::new(content, min, average, max) {
            let data = chunk.map_err(io::Error::from).at("read", name)?.data;
            hasher.update(&data);
            total += data.len() as u64;
            let digest = Digest::of(&data);
            recipe.extend_from_slice(digest.as_bytes());
            if self.intake.claims(&digest, self.intake.index.blob(&digest).is_some()) {
                self.push(ItemKind::Blob, digest, &data)?;
            }
        }
        let digest = Digest::from_bytes(*hasher.finalize().as_bytes());
        // The key space of recipes is apart from that of blobs: a file can be a chunk of another.
        let mut claim = *digest.as_bytes();
        claim[0] ^= 0xff;
        if self
            .intake
            .claims(&Digest::from_bytes(claim), self.intake.index.recipe(&digest).is_some())
        {
            self.push(ItemKind::Recipe, digest, &recipe)?;
        }
        Ok((digest, total))
    }

    /// As [`Self::cut`], but a file that the store has is only hashed, which is several times faster.
    pub(crate) fn cut_unless_known(
        &mut self,
        mut file: File,
        path: &Path,
    ) -> Result<(Digest, u64)> {
        file.seek(SeekFrom::Start(0)).at("read", path)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(&mut file).at("read", path)?;
        let digest = Digest::from_bytes(*hasher.finalize().as_bytes());
        if self.intake.index.has(&digest) {
            return Ok((digest, hasher.count()));
        }
        file.seek(SeekFrom::Start(0)).at("read", path)?;
        self.cut(file, path)
    }

    /// Writes what is left.
    pub(crate) fn finish(mut self) -> Result<()> {
        let last = self.packer.seal().at("compress into", self.intake.scratch.path())?;
        self.intake.keep(last)
    }

    fn push(&mut self, kind: ItemKind, key: Digest, bytes: &[u8]) -> Result<()> {
        self.intake.new_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let full = self.packer.push(kind, key, bytes);
        let full = full.at("compress into", self.intake.scratch.path())?;
        self.intake.keep(full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where files are cut is part of the storage format: other cuts would find no chunk of an existing store again.
    #[test]
    fn the_cuts_are_fixed() {
        let mut state = 1_u32;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(600_000)
        .collect();
        let (min, average, max) = CHUNK_SIZES;
        let cuts: Vec<usize> = StreamCDC::new(bytes.as_slice(), min, average, max)
            .map(|chunk| chunk.unwrap().length)
            .collect();
        assert_eq!(cuts, [67515, 106_956, 93246, 71655, 76006, 72021, 112_601]);
    }
}
