//! Packs: files of many small contents, compressed together.
//!
//! ```text
//! magic 8 | one zstd frame | table: n × (kind 1, digest 32, length 4 LE) | n 4 LE | frame length 8 LE | BLAKE3 of table and lengths 32 | magic 8
//! ```
//! The frame holds the items one after another. A pack's name is the BLAKE3 of the whole file, so any change of it
//! shows; the table has a digest of its own because it is read without the rest.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use onward_core::model::Digest;
use zstd::bulk::Compressor;

use super::error::{At, Error, Result};
use super::limits::{LEVEL, MAX_PACK_BYTES, PACK_BYTES};

const HEAD: &[u8; 8] = b"onwpack1";
const TAIL: &[u8; 8] = b"1kcapwno";
const ROW: usize = 1 + 32 + 4;
const FOOT: usize = 4 + 8 + 32 + 8;
/// Read at once from the end of a pack: the whole table of most.
const GUESS: usize = 16 << 10;

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ItemKind {
    /// Content whose digest is the key.
    Blob,
    /// The list of the chunks of a cut file; the key is the file's digest.
    Recipe,
}

/// One line of a pack's table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item {
    pub(crate) kind: ItemKind,
    pub(crate) key: Digest,
    pub(crate) len: u32,
}

/// A finished pack.
pub(crate) struct Sealed {
    pub(crate) id: Digest,
    pub(crate) bytes: Vec<u8>,
}

/// Collects items until a pack is full.
pub(crate) struct Packer {
    raw: Vec<u8>,
    items: Vec<Item>,
    compressor: Option<Compressor<'static>>,
}

impl Packer {
    /// An empty one. Memory is taken as items come.
    pub(crate) fn new() -> Self {
        Self { raw: Vec::new(), items: Vec::new(), compressor: None }
    }

    /// Adds an item, at most [`super::limits::WHOLE_FILE`] bytes. Returns a pack when this one filled it.
    pub(crate) fn push(
        &mut self,
        kind: ItemKind,
        key: Digest,
        bytes: &[u8],
    ) -> std::io::Result<Option<Sealed>> {
        let len = u32::try_from(bytes.len()).expect("items are at most 1 MiB");
        self.raw.extend_from_slice(bytes);
        self.items.push(Item { kind, key, len });
        if self.raw.len() >= PACK_BYTES { self.seal() } else { Ok(None) }
    }

    /// Closes what has been collected; nothing when there is none.
    pub(crate) fn seal(&mut self) -> std::io::Result<Option<Sealed>> {
        if self.items.is_empty() {
            return Ok(None);
        }
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            none => none.insert(Compressor::new(LEVEL)?),
        };
        let frame = compressor.compress(&self.raw)?;
        let mut bytes =
            Vec::with_capacity(HEAD.len() + frame.len() + self.items.len() * ROW + FOOT);
        bytes.extend_from_slice(HEAD);
        bytes.extend_from_slice(&frame);
        let table_at = bytes.len();
        for item in &self.items {
            bytes.push(match item.kind {
                ItemKind::Blob => 0,
                ItemKind::Recipe => 1,
            });
            bytes.extend_from_slice(item.key.as_bytes());
            bytes.extend_from_slice(&item.len.to_le_bytes());
        }
        let count = u32::try_from(self.items.len()).expect("a pack has fewer items than bytes");
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&(frame.len() as u64).to_le_bytes());
        let check = Digest::of(&bytes[table_at..]);
        bytes.extend_from_slice(check.as_bytes());
        bytes.extend_from_slice(TAIL);
        self.raw.clear();
        self.items.clear();
        Ok(Some(Sealed { id: Digest::of(&bytes), bytes }))
    }
}

/// Reads the table of the pack at `path` without reading the contents.
///
/// # Errors
/// [`Error::Damaged`] when the end of the file is not a table.
pub(crate) fn read_table(path: &Path) -> Result<Vec<Item>> {
    let file = File::open(path).at("read", path)?;
    let size = usize::try_from(file.metadata().at("read", path)?.len()).unwrap_or(usize::MAX);
    let mut end = vec![0; size.min(GUESS)];
    let end_at = (size - end.len()) as u64;
    file.read_exact_at(&mut end, end_at).at("read", path)?;
    let damaged =
        || Error::Damaged { path: path.to_owned(), why: "its table is unreadable".into() };
    let rows = row_count(&end).ok_or_else(damaged)?;
    let need =
        rows.checked_mul(ROW).and_then(|table| table.checked_add(FOOT)).ok_or_else(damaged)?;
    if need > size {
        return Err(damaged());
    }
    if need > end.len() {
        end = vec![0; need];
        file.read_exact_at(&mut end, (size - need) as u64).at("read", path)?;
    }
    let (items, frame) = parse_end(&end[end.len() - need..]).ok_or_else(damaged)?;
    if frame != (size - need - HEAD.len().min(size - need)) as u64 {
        return Err(damaged());
    }
    Ok(items)
}

/// Reads, checks and expands the pack at `path`, which must have the digest `id`, into `raw`, which is cleared.
///
/// # Errors
/// [`Error::Damaged`] when one bit of the file is not as it was written.
pub(crate) fn read(path: &Path, id: Digest, raw: &mut Vec<u8>) -> Result<Vec<Item>> {
    let bytes = std::fs::read(path).at("read", path)?;
    if Digest::of(&bytes) != id {
        let why = "its content does not have the digest of its name".to_owned();
        return Err(Error::Damaged { path: path.to_owned(), why });
    }
    expand(&bytes, path, raw)
}

/// Expands a pack into `raw`, which is cleared. `path` is what errors name.
///
/// # Errors
/// [`Error::Damaged`] when it was made wrongly.
pub(crate) fn expand(bytes: &[u8], path: &Path, raw: &mut Vec<u8>) -> Result<Vec<Item>> {
    let wrong = || Error::Damaged { path: path.to_owned(), why: "it is not a pack".to_owned() };
    let rows = row_count(bytes).ok_or_else(wrong)?;
    let end = rows
        .checked_mul(ROW)
        .and_then(|table| bytes.len().checked_sub(table + FOOT))
        .filter(|end| *end >= HEAD.len())
        .ok_or_else(wrong)?;
    let (items, _) = parse_end(&bytes[end..]).ok_or_else(wrong)?;
    let total = items.iter().map(|item| item.len as usize).sum::<usize>();
    if !bytes.starts_with(HEAD) || total > MAX_PACK_BYTES {
        return Err(wrong());
    }
    raw.clear();
    raw.reserve(total);
    let mut decompressor = zstd::bulk::Decompressor::new().at("expand", path)?;
    let expanded = decompressor.decompress_to_buffer(&bytes[HEAD.len()..end], raw);
    if expanded.ok() != Some(total) {
        return Err(wrong());
    }
    Ok(items)
}

fn row_count(end: &[u8]) -> Option<usize> {
    let foot = end.len().checked_sub(FOOT).map(|at| &end[at..])?;
    let count = u32::from_le_bytes(foot[..4].try_into().ok()?);
    foot.ends_with(TAIL).then_some(count as usize)
}

/// Reads exactly the table and what follows it.
fn parse_end(end: &[u8]) -> Option<(Vec<Item>, u64)> {
    let (table, foot) = end.split_at_checked(end.len().checked_sub(FOOT)?)?;
    let (numbers, rest) = foot.split_at(12);
    let check = Digest::of(&end[..table.len() + numbers.len()]);
    if rest[..32] != *check.as_bytes() {
        return None;
    }
    let items = table
        .chunks_exact(ROW)
        .map(|row| {
            let kind = match row[0] {
                0 => ItemKind::Blob,
                1 => ItemKind::Recipe,
                _ => return None,
            };
            let key = Digest::from_bytes(row[1..33].try_into().ok()?);
            Some(Item { kind, key, len: u32::from_le_bytes(row[33..].try_into().ok()?) })
        })
        .collect::<Option<Vec<_>>>()?;
    Some((items, u64::from_le_bytes(numbers[4..].try_into().ok()?)))
}
