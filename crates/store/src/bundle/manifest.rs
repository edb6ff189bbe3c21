//! The manifest: what a bundle consists of, and with its digest the bundle's identity.
//!
//! A manifest says what is in a tree and nothing about when, by whom or where it was made, so the same tree has the
//! same digest on every machine. Of a file's mode it keeps what Git keeps, whether its owner may execute it: everything
//! else follows from the umask of whoever checked it out. Directories are implied by what is in them; only empty ones
//! are entries. Names that differ in case alone are different names, as on the servers' file systems.

use std::collections::HashMap;

use onward_core::model::Digest;

use super::fault::Fault;
use super::limits::{MAX_BYTES, MAX_ENTRIES, MAX_TARGET};
use super::links;
use super::path::{BundlePath, parent};

const HEADER: &str = "onward bundle 1";

/// One file, symbolic link or empty directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub path: BundlePath,
    /// What it is.
    pub kind: Kind,
}

/// What an [`Entry`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file; staged with mode 0755 when executable, else 0644.
    File {
        /// Length in bytes.
        size: u64,
        /// Whether its owner may execute it.
        executable: bool,
        /// BLAKE3 of its content.
        digest: Digest,
    },
    /// A symbolic link that stays inside the tree; it may dangle.
    Link {
        /// The target as written, relative to the link's directory.
        target: String,
    },
    /// A directory with nothing in it; staged with mode 0755.
    EmptyDir,
}

/// A checked, sorted list of entries.
///
/// # Guarantees
/// Sorted by the bytes of the path, each path once; nothing lies below a file or a link; no link leads out of the tree,
/// also not through other links; at most [`MAX_ENTRIES`] entries and [`MAX_BYTES`] bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    entries: Vec<Entry>,
}

/// The entry that a tree cannot be a bundle with, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}`: {fault}")]
pub struct BadEntry {
    /// The entry.
    pub path: String,
    /// The reason.
    pub fault: Fault,
}

/// The bytes are not a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadManifest {
    /// A line cannot be read. Lines count from one.
    #[error("line {0} is not a manifest line")]
    Line(usize),
    /// The entries are not a tree.
    #[error(transparent)]
    Entry(#[from] BadEntry),
    /// The same entries are written in another way, so that the digest would be another.
    #[error("it is not in canonical form")]
    NotCanonical,
}

impl Manifest {
    /// Sorts and checks entries. Directories may be listed although they are not empty; those are dropped.
    ///
    /// # Errors
    /// The first entry, in the order of paths, that breaks a guarantee of this type.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, BadEntry> {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        entries.dedup_by(|a, b| a == b && a.kind == Kind::EmptyDir);
        check_structure(&entries)?;
        drop_implied_directories(&mut entries);
        check_sizes(&entries)?;
        check_links(&entries)?;
        Ok(Self { entries })
    }

    /// The entries, sorted by path.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many regular files there are.
    pub fn files(&self) -> u64 {
        self.entries.iter().filter(|entry| matches!(entry.kind, Kind::File { .. })).count() as u64
    }

    /// The bytes of all files together.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(Entry::size).sum()
    }

    /// The entry at `path`.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        let found = self.entries.binary_search_by(|entry| entry.path.as_str().cmp(path));
        found.ok().map(|at| &self.entries[at])
    }

    /// The identity: the digest of [`Self::encode`].
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }

    /// The canonical form: a header line, then one line per entry with tabs between the fields and the path last.
    pub fn encode(&self) -> Vec<u8> {
        use std::fmt::Write;
        let mut text = String::with_capacity(HEADER.len() + 1 + self.entries.len() * 140);
        text.push_str(HEADER);
        text.push('\n');
        for Entry { path, kind } in &self.entries {
            let written = match kind {
                Kind::File { size, executable, digest } => {
                    let mode = if *executable { "exec" } else { "file" };
                    writeln!(text, "{mode}\t{size}\t{}\t{path}", Hex(digest))
                }
                Kind::Link { target } => writeln!(text, "link\t{target}\t{path}"),
                Kind::EmptyDir => writeln!(text, "dir\t{path}"),
            };
            written.expect("writing to a string cannot fail");
        }
        text.into_bytes()
    }

    /// Reads the canonical form, and no other.
    ///
    /// # Errors
    /// [`BadManifest`] with the line or entry.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadManifest> {
        let text = std::str::from_utf8(bytes).map_err(|_| BadManifest::NotCanonical)?;
        let mut lines = text.lines().enumerate();
        if lines.next().map(|(_, line)| line) != Some(HEADER) {
            return Err(BadManifest::Line(1));
        }
        let entries = lines
            .map(|(at, line)| decode_line(line).ok_or(BadManifest::Line(at + 1)))
            .collect::<Result<Vec<_>, _>>()?;
        let manifest = Self::new(entries)?;
        if manifest.encode() != bytes {
            return Err(BadManifest::NotCanonical);
        }
        Ok(manifest)
    }

    /// Every directory of the tree, parents before children.
    pub(crate) fn directories(&self) -> Vec<&str> {
        let mut found = std::collections::BTreeSet::new();
        for Entry { path, kind } in &self.entries {
            let mut next =
                if *kind == Kind::EmptyDir { Some(path.as_str()) } else { path.parent() };
            while let Some(directory) = next {
                if !found.insert(directory) {
                    break;
                }
                next = parent(directory);
            }
        }
        found.into_iter().collect()
    }
}

impl Entry {
    /// Bytes of a file; 0 for everything else.
    pub fn size(&self) -> u64 {
        match self.kind {
            Kind::File { size, .. } => size,
            Kind::Link { .. } | Kind::EmptyDir => 0,
        }
    }
}

/// Writes a digest in hexadecimal without the formatting machinery: manifests have tens of thousands.
struct Hex<'a>(&'a Digest);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0.as_bytes()) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).expect("hexadecimal digits are ASCII"))
    }
}

fn decode_line(line: &str) -> Option<Entry> {
    let (kind, rest) = line.split_once('\t')?;
    let (kind, path) = match kind {
        "file" | "exec" => {
            let (size, rest) = rest.split_once('\t')?;
            let (digest, path) = rest.split_once('\t')?;
            let (size, digest) = (size.parse().ok()?, digest.parse().ok()?);
            (Kind::File { size, executable: kind == "exec", digest }, path)
        }
        "link" => {
            let (target, path) = rest.split_once('\t')?;
            (Kind::Link { target: target.to_owned() }, path)
        }
        "dir" => (Kind::EmptyDir, rest),
        _ => return None,
    };
    Some(Entry { path: BundlePath::parse(path.as_bytes()).ok()?, kind })
}

fn bad(path: &BundlePath, fault: Fault) -> BadEntry {
    BadEntry { path: path.to_string(), fault }
}

fn check_structure(entries: &[Entry]) -> Result<(), BadEntry> {
    if entries.len() > MAX_ENTRIES {
        return Err(bad(&entries[MAX_ENTRIES].path, Fault::TooManyEntries));
    }
    if let Some(pair) = entries.windows(2).find(|pair| pair[0].path == pair[1].path) {
        return Err(bad(&pair[1].path, Fault::Duplicate));
    }
    let kinds: HashMap<&str, &Kind> =
        entries.iter().map(|entry| (entry.path.as_str(), &entry.kind)).collect();
    let mut checked = None;
    for entry in entries {
        let directory = entry.path.parent();
        // Neighbours share their directory: it is checked once.
        if directory == checked {
            continue;
        }
        let mut next = directory;
        while let Some(above) = next {
            if kinds.get(above).is_some_and(|kind| **kind != Kind::EmptyDir) {
                return Err(bad(&entry.path, Fault::BelowNonDirectory(above.to_owned())));
            }
            next = parent(above);
        }
        checked = directory;
    }
    Ok(())
}

fn drop_implied_directories(entries: &mut Vec<Entry>) {
    if !entries.iter().any(|entry| entry.kind == Kind::EmptyDir) {
        return;
    }
    let mut parents = std::collections::HashSet::new();
    for entry in entries.iter() {
        let mut next = entry.path.parent();
        while let Some(directory) = next {
            if !parents.insert(directory.to_owned()) {
                break;
            }
            next = parent(directory);
        }
    }
    entries.retain(|entry| entry.kind != Kind::EmptyDir || !parents.contains(entry.path.as_str()));
}

fn check_sizes(entries: &[Entry]) -> Result<(), BadEntry> {
    let mut total: u64 = 0;
    for entry in entries {
        total = total.saturating_add(entry.size());
        if total > MAX_BYTES {
            return Err(bad(&entry.path, Fault::TooManyBytes));
        }
    }
    Ok(())
}

fn check_links(entries: &[Entry]) -> Result<(), BadEntry> {
    let targets: HashMap<&str, &str> = entries
        .iter()
        .filter_map(|entry| match &entry.kind {
            Kind::Link { target } => Some((entry.path.as_str(), target.as_str())),
            Kind::File { .. } | Kind::EmptyDir => None,
        })
        .collect();
    for entry in entries {
        let Kind::Link { target } = &entry.kind else { continue };
        if target.is_empty() || target.len() > MAX_TARGET || target.chars().any(char::is_control) {
            return Err(bad(&entry.path, Fault::BadTarget));
        }
        if !links::stays_inside(entry.path.as_str(), &targets) {
            return Err(bad(&entry.path, Fault::LinkEscapes(target.clone())));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Entry {
        let kind = Kind::File { size: 6, executable: false, digest: Digest::of(b"onward") };
        Entry { path: BundlePath::parse(path.as_bytes()).unwrap(), kind }
    }

    fn link(path: &str, target: &str) -> Entry {
        let kind = Kind::Link { target: target.to_owned() };
        Entry { path: BundlePath::parse(path.as_bytes()).unwrap(), kind }
    }

    fn dir(path: &str) -> Entry {
        Entry { path: BundlePath::parse(path.as_bytes()).unwrap(), kind: Kind::EmptyDir }
    }

    #[test]
    fn the_form_is_fixed() {
        let manifest =
            Manifest::new(vec![link("b", "a"), file("a"), dir("d"), dir("c"), file("c/x")])
                .unwrap();
        let digest = Digest::of(b"onward");
        assert_eq!(
            String::from_utf8(manifest.encode()).unwrap(),
            format!(
                "onward bundle 1\nfile\t6\t{digest}\ta\nlink\ta\tb\nfile\t6\t{digest}\tc/x\ndir\td\n"
            )
        );
        assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
    }

    #[test]
    fn only_the_canonical_form_is_read() {
        let good = Manifest::new(vec![file("a"), file("b")]).unwrap().encode();
        let good = String::from_utf8(good).unwrap();
        for other in [
            good.replace("\t6\t", "\t06\t"),
            good.replace("\ta\n", "\t./a\n"),
            good.trim_end().to_owned(),
            good.replace("bundle 1", "bundle 2"),
            format!("{good}dir\tb/..\n"),
        ] {
            assert!(Manifest::decode(other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn trees_that_cannot_be() {
        let refused = |entries| Manifest::new(entries).unwrap_err().fault;
        assert_eq!(refused(vec![file("a"), file("a")]), Fault::Duplicate);
        assert_eq!(refused(vec![file("a"), dir("a")]), Fault::Duplicate);
        assert_eq!(
            refused(vec![file("a"), file("a-b"), file("a/c/d")]),
            Fault::BelowNonDirectory("a".into())
        );
        assert_eq!(
            refused(vec![link("a", "b"), file("a/x")]),
            Fault::BelowNonDirectory("a".into())
        );
        assert_eq!(refused(vec![link("a", "")]), Fault::BadTarget);
        assert_eq!(refused(vec![link("a/b", "../../x")]), Fault::LinkEscapes("../../x".into()));
    }
}
