//! One file as it is offered: its content in each coding, and what is said about it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use http::HeaderValue;
use hyper::body::Bytes;

use super::negotiate::Coding;
use super::types;

/// Files up to this size are kept in memory; larger ones are read as they are sent.
pub(crate) const KEPT_BYTES: u64 = 1024 * 1024;
/// Smaller files fit into one packet anyway.
const COMPRESSED_FROM: usize = 1024;

/// Browsers ask each time whether what they have is still good, which costs one short answer.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");
/// For names that never mean another content.
const FOR_A_YEAR: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// One file.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) kind: HeaderValue,
    pub(crate) caching: HeaderValue,
    pub(crate) plain: Variant,
    encoded: [Option<Variant>; 3],
}

/// The content in one coding.
#[derive(Clone)]
pub(crate) struct Variant {
    pub(crate) content: Content,
    pub(crate) etag: HeaderValue,
}

#[derive(Clone)]
pub(crate) enum Content {
    Memory(Bytes),
    File(Arc<File>, u64),
}

impl Content {
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_, size) => *size,
        }
    }
}

impl Entry {
    pub(crate) fn variant(&self, coding: Option<Coding>) -> &Variant {
        let encoded = coding.and_then(|coding| self.encoded[coding as usize].as_ref());
        encoded.unwrap_or(&self.plain)
    }

    pub(crate) fn offers(&self, coding: Coding) -> bool {
        self.encoded[coding as usize].is_some()
    }

    /// Whether the answer depends on what codings the client takes.
    pub(crate) fn varies(&self) -> bool {
        self.encoded.iter().any(Option::is_some)
    }

    /// Bytes that it keeps in memory.
    pub(crate) fn weight(&self) -> usize {
        let variants =
            [Some(&self.plain)].into_iter().chain(self.encoded.iter().map(Option::as_ref));
        let sizes = variants.flatten().map(|variant| match &variant.content {
            Content::Memory(bytes) => bytes.len(),
            Content::File(..) => 0,
        });
        sizes.sum()
    }

    /// Whether it keeps files open.
    pub(crate) fn holds_files(&self) -> bool {
        matches!(self.plain.content, Content::File(..))
    }
}

/// How a file is read.
pub(crate) struct Reading<'a> {
    /// Stands for everything in the directory; empty when it may change.
    pub(crate) identity: &'a str,
    /// Relative to the root.
    pub(crate) path: &'a str,
    /// Said to be so by the project.
    pub(crate) immutable: bool,
    /// Whether it is worth compressing what isn't there compressed.
    pub(crate) compress: bool,
}

impl Reading<'_> {
    /// Reads a file and what lies beside it; `sibling` opens a file by its path. May wait for the
    /// disk.
    pub(crate) fn entry(
        &self,
        file: File,
        sibling: impl Fn(&str) -> io::Result<File>,
    ) -> io::Result<Entry> {
        let plain = self.variant(file, "")?;
        let kind = types::content_type(self.path);
        let mut encoded = [const { None }; 3];
        if types::is_compressible(kind) {
            for coding in Coding::ALL {
                let path = format!("{}{}", self.path, coding.ending());
                let found = sibling(&path)
                    .ok()
                    .filter(|file| file.metadata().is_ok_and(|meta| meta.is_file()));
                encoded[coding as usize] =
                    found.map(|file| self.variant(file, coding.token())).transpose()?;
            }
            let gzip = &mut encoded[Coding::Gzip as usize];
            if gzip.is_none() && self.compress {
                *gzip = compressed(&plain)?;
            }
        }
        let caching = if self.immutable || is_hashed(self.path) { FOR_A_YEAR } else { ASK_AGAIN };
        Ok(Entry { kind: HeaderValue::from_static(kind), caching, plain, encoded })
    }

    fn variant(&self, mut file: File, coding: &str) -> io::Result<Variant> {
        let meta = file.metadata()?;
        if meta.len() <= KEPT_BYTES {
            let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
            (&mut file).take(KEPT_BYTES + 1).read_to_end(&mut bytes)?;
            let etag = tag(&[&bytes]);
            return Ok(Variant { content: Content::Memory(Bytes::from(bytes)), etag });
        }
        let etag = if self.identity.is_empty() {
            let times = format!("{}.{}.{}", meta.ino(), meta.mtime(), meta.mtime_nsec());
            tag(&[times.as_bytes(), &meta.len().to_le_bytes()])
        } else {
            // To read a gigabyte for its digest would keep the first client waiting.
            tag(&[self.identity.as_bytes(), b"\0", self.path.as_bytes(), b"\0", coding.as_bytes()])
        };
        Ok(Variant { content: Content::File(Arc::new(file), meta.len()), etag })
    }
}

/// A strong tag of 128 bits.
fn tag(pieces: &[&[u8]]) -> HeaderValue {
    let mut hasher = blake3::Hasher::new();
    for piece in pieces {
        hasher.update(piece);
    }
    let digest = hasher.finalize().to_hex();
    HeaderValue::try_from(format!("\"{}\"", &digest[..32])).expect("a digest is hexadecimal")
}

/// The content in gzip, when that is a tenth shorter.
fn compressed(plain: &Variant) -> io::Result<Option<Variant>> {
    let Content::Memory(bytes) = &plain.content else { return Ok(None) };
    if bytes.len() < COMPRESSED_FROM {
        return Ok(None);
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes)?;
    let shorter = encoder.finish()?;
    if shorter.len() > bytes.len() / 10 * 9 {
        return Ok(None);
    }
    let etag = tag(&[&shorter]);
    Ok(Some(Variant { content: Content::Memory(Bytes::from(shorter)), etag }))
}

/// Whether the name of a style sheet, script, font or picture holds a digest of its content, as
/// bundlers write them: `app.3f9a1b2c.js`, `index-0a1b2c3d4e.css`. Only what can hardly be anything
/// else: a name that is wrongly taken for one is not asked for again for a year.
fn is_hashed(path: &str) -> bool {
    const ENDINGS: [&str; 13] = [
        "css", "js", "mjs", "map", "woff", "woff2", "png", "jpg", "jpeg", "svg", "webp", "avif",
        "wasm",
    ];
    let name = path.rsplit('/').next().unwrap_or(path);
    let Some((stem, ending)) = name.rsplit_once('.') else { return false };
    let last = stem.rsplit(['.', '-', '_']).next().unwrap_or_default();
    let hexadecimal = last.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let digits = last.bytes().filter(u8::is_ascii_digit).count();
    ENDINGS.contains(&ending)
        && last.len() < stem.len()
        && (8..=64).contains(&last.len())
        && hexadecimal
        && digits >= 2
        && last.len() - digits >= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_digests() {
        for yes in ["app.3f9a1b2c.js", "assets/index-0a1b2c3d4e.css", "x_0123456789abcdef.woff2"] {
            assert!(is_hashed(yes), "{yes}");
        }
        for no in [
            "app.js",
            "report-20240101.png",
            "3f9a1b2c.js",
            "index.3f9a1b2c.html",
            "jquery-3.7.1.min.js",
            "a-deadbeef.js",
            "a-3F9A1B2C.js",
            "a.3f9a1b2c",
        ] {
            assert!(!is_hashed(no), "{no}");
        }
    }
}
