//! Reading contents out of packs. Nothing that is not what was written leaves here.

use onward_core::model::Digest;

use super::error::{Error, Result};
use super::index::{Index, Place};
use super::manifest::{Entry, Kind, Manifest};
use super::pack;

/// Expanded packs that one reader keeps: chunks of one file and neighbours in a tree lie in one or two.
const KEPT: usize = 3;

/// Reads contents, one thread's worth.
pub(crate) struct Reader<'i> {
    index: &'i Index,
    bundle: Digest,
    /// Expanded packs, the last used first.
    kept: Vec<(usize, Vec<u8>)>,
}

impl<'i> Reader<'i> {
    /// A reader of the contents of `bundle`, which errors name.
    pub(crate) fn new(index: &'i Index, bundle: Digest) -> Self {
        Self { index, bundle, kept: Vec::new() }
    }

    /// Hands the content of a file to `out`, in pieces, each verified before it is handed over.
    ///
    /// # Errors
    /// [`Error::Damaged`] with the pack, [`Error::Incomplete`] with the file, and whatever `out` returns.
    pub(crate) fn content(
        &mut self,
        entry: &Entry,
        out: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let Kind::File { size, digest, .. } = &entry.kind else { return Ok(()) };
        if *size == 0 {
            return Ok(());
        }
        if let Some(place) = self.index.blob(digest) {
            return out(self.verified(place, digest)?);
        }
        let recipe = self.index.recipe(digest).ok_or_else(|| self.incomplete(entry))?;
        let recipe = self.item(recipe)?.to_vec();
        let mut hasher = blake3::Hasher::new();
        for chunk in recipe.chunks_exact(32) {
            let chunk = Digest::from_bytes(chunk.try_into().expect("chunks of 32 bytes"));
            let place = self.index.blob(&chunk).ok_or_else(|| self.incomplete(entry))?;
            let bytes = self.verified(place, &chunk)?;
            hasher.update(bytes);
            out(bytes)?;
        }
        if hasher.finalize().as_bytes() != digest.as_bytes() {
            return Err(self.incomplete(entry));
        }
        Ok(())
    }

    fn incomplete(&self, entry: &Entry) -> Error {
        // A pack that cannot be read at all is the likely reason, and says more.
        match self.index.damaged.first() {
            Some((_, Error::Damaged { path, why })) => {
                Error::Damaged { path: path.clone(), why: why.clone() }
            }
            Some((path, error)) => Error::Damaged { path: path.clone(), why: error.to_string() },
            None => Error::Incomplete { bundle: self.bundle, path: entry.path.to_string() },
        }
    }

    fn verified(&mut self, place: Place, digest: &Digest) -> Result<&[u8]> {
        let path = self.index.packs[place.pack].1.clone();
        let bytes = self.item(place)?;
        if Digest::of(bytes) == *digest {
            Ok(bytes)
        } else {
            Err(Error::Damaged { path, why: "it was made with a wrong content".into() })
        }
    }

    /// An item as it lies in its pack, which is checked; the item itself is not.
    pub(crate) fn raw(&mut self, place: Place) -> Result<&[u8]> {
        self.item(place)
    }

    fn item(&mut self, place: Place) -> Result<&[u8]> {
        let at = match self.kept.iter().position(|(pack, _)| *pack == place.pack) {
            Some(at) => at,
            None => {
                let mut buffer = if self.kept.len() == KEPT {
                    self.kept.pop().map(|(_, buffer)| buffer).unwrap_or_default()
                } else {
                    Vec::new()
                };
                let (id, path) = &self.index.packs[place.pack];
                pack::read(path, *id, &mut buffer)?;
                self.kept.push((place.pack, buffer));
                self.kept.len() - 1
            }
        };
        self.kept[..=at].rotate_right(1);
        let (pack, buffer) = &self.kept[0];
        buffer.get(place.offset..place.offset + place.len).ok_or_else(|| Error::Damaged {
            path: self.index.packs[*pack].1.clone(),
            why: "it is shorter than its table says".into(),
        })
    }
}

/// The files of a manifest with content, grouped by the pack it begins in, so that each pack is expanded once.
pub(crate) fn by_pack<'m>(manifest: &'m Manifest, index: &Index) -> Vec<Vec<&'m Entry>> {
    let mut placed: Vec<((usize, usize), &Entry)> = manifest
        .entries()
        .iter()
        .filter_map(|entry| match &entry.kind {
            Kind::File { digest, .. } => {
                let place = index.blob(digest).or_else(|| index.recipe(digest));
                Some((place.map_or((0, 0), |place| (place.pack, place.offset)), entry))
            }
            Kind::Link { .. } | Kind::EmptyDir => None,
        })
        .collect();
    placed.sort_by_key(|(place, _)| *place);
    let mut groups: Vec<Vec<&Entry>> = Vec::new();
    let mut last = None;
    for ((pack, _), entry) in placed {
        match groups.last_mut() {
            Some(group) if last == Some(pack) => group.push(entry),
            _ => groups.push(vec![entry]),
        }
        last = Some(pack);
    }
    groups
}
