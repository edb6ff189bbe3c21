//! Reading a working tree.

use std::collections::HashSet;
use std::fs::{self, File, FileType, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use onward_core::model::Digest;

use super::disk;
use super::error::{At, Error, Result};
use super::fault::Fault;
use super::ignore_rules::{Rules, Scope, Verdict};
use super::intake::{Filler, Intake};
use super::limits::{MAX_DEPTH, MAX_ENTRIES, WHOLE_FILE};
use super::manifest::{BadEntry, Entry, Kind};
use super::path::BundlePath;
use super::progress::Meter;
use super::store::Store;
use super::workers;

/// A directory to make a bundle of. It need not be a Git repository.
///
/// Left out are `.git` and `.onward` in any directory, what `.onwardignore` files name, and what Git ignores by
/// `.gitignore` files (nested ones and those above the directory in its repository) and `.git/info/exclude`. A person's
/// own global ignore file is not read: the bundle must not depend on who makes it. Files that Git tracks are taken also
/// when a rule of Git ignores them. The rules of `.onwardignore` are written as Git's, and win over Git's and over
/// [`TreeSource::include`]; `!name` in one takes what Git ignores.
#[derive(Debug, Clone)]
pub struct TreeSource {
    /// The directory.
    pub root: PathBuf,
    /// Files and directories, relative to the root, to take with everything in them although Git ignores them.
    pub include: Vec<String>,
}

/// Something of the tree that no bundle holds and that was left out: a socket, a pipe, a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Where it is.
    pub path: String,
    /// What it is.
    pub what: &'static str,
}

/// What a walk found.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) files: Vec<FoundFile>,
    pub(crate) others: Vec<Entry>,
    pub(crate) skipped: Vec<Skipped>,
    pub(crate) bytes: u64,
}

/// A file to read.
pub(crate) struct FoundFile {
    path: BundlePath,
    size: u64,
    executable: bool,
}

struct Walk<'a> {
    root: &'a Path,
    rules: Rules,
    found: Found,
}

/// Lists what belongs to the bundle, in the order of names within each directory.
pub(crate) fn walk(source: &TreeSource) -> Result<Found> {
    let root = fs::canonicalize(&source.root).at("read", &source.root)?;
    let includes = parse_includes(&root, &source.include)?;
    let mut walk =
        Walk { root: &root, rules: Rules::new(&root, &includes), found: Found::default() };
    let scope = walk.rules.outer_scope();
    let everything = source.include.iter().any(|include| include == ".");
    walk.directory("", &scope, if everything { Verdict::TakeAll } else { Verdict::Take }, 0)?;
    Ok(walk.found)
}

fn parse_includes(root: &Path, includes: &[String]) -> Result<Vec<BundlePath>> {
    let mut parsed = Vec::new();
    for include in includes.iter().filter(|include| *include != ".") {
        let path =
            BundlePath::parse(include.as_bytes()).map_err(|fault| unfit(root, include, fault))?;
        if fs::symlink_metadata(root.join(&path)).is_err() {
            return Err(Error::NoInclude { root: root.to_owned(), include: include.clone() });
        }
        parsed.push(path);
    }
    Ok(parsed)
}

fn unfit(root: &Path, path: &str, fault: Fault) -> Error {
    Error::Unfit { root: root.to_owned(), source: BadEntry { path: path.to_owned(), fault } }
}

impl Walk<'_> {
    /// Walks one directory. Returns whether anything in it was taken.
    fn directory(
        &mut self,
        relative: &str,
        around: &Scope,
        inside: Verdict,
        depth: usize,
    ) -> Result<bool> {
        let directory = self.root.join(relative);
        if depth > MAX_DEPTH {
            return Err(unfit(self.root, relative, Fault::TooDeep(depth)));
        }
        let mut entries = Vec::new();
        for entry in fs::read_dir(&directory).at("read", &directory)? {
            let entry = entry.at("read", &directory)?;
            let kind = entry.file_type().at("read", entry.path())?;
            entries.push((entry.file_name(), kind, entry));
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        let has = |name: &str| entries.iter().any(|(entry, ..)| entry == name);
        let scope = self.rules.scope(around, &directory, &has);
        let mut any = false;
        for (name, kind, entry) in &entries {
            let shown = name.to_string_lossy();
            let relative = if relative.is_empty() {
                shown.into_owned()
            } else {
                format!("{relative}/{shown}")
            };
            let path = directory.join(name);
            let verdict =
                self.rules.judge(&scope, inside, name, &path, &relative, kind.is_dir())?;
            any |= match (verdict, kind.is_dir()) {
                (Verdict::Leave, _) | (Verdict::LookBelow, false) => false,
                (Verdict::LookBelow, true) => {
                    self.directory(&relative, &scope, verdict, depth + 1)?
                }
                (Verdict::Take | Verdict::TakeAll, true) => {
                    let bundle_path = self.name(name.as_encoded_bytes(), &relative)?;
                    if !self.directory(&relative, &scope, verdict, depth + 1)? && is_empty(&path)? {
                        self.found.others.push(Entry { path: bundle_path, kind: Kind::EmptyDir });
                    }
                    true
                }
                (Verdict::Take | Verdict::TakeAll, false) => {
                    let bundle_path = self.name(name.as_encoded_bytes(), &relative)?;
                    self.take(bundle_path, *kind, entry)?
                }
            };
        }
        Ok(any)
    }

    /// The path in the bundle. The lossy text of a name that is not UTF-8 would be another name, so its bytes are judged.
    fn name(&self, name: &[u8], relative: &str) -> Result<BundlePath> {
        std::str::from_utf8(name)
            .map_err(|_| Fault::NotUtf8)
            .and_then(|_| BundlePath::parse(relative.as_bytes()))
            .map_err(|fault| unfit(self.root, relative, fault))
    }

    fn take(&mut self, path: BundlePath, kind: FileType, entry: &fs::DirEntry) -> Result<bool> {
        if self.found.files.len() + self.found.others.len() >= MAX_ENTRIES {
            return Err(unfit(self.root, path.as_str(), Fault::TooManyEntries));
        }
        if kind.is_file() {
            let meta = entry.metadata().at("read", entry.path())?;
            self.found.bytes += meta.len();
            let executable = is_executable(&meta);
            self.found.files.push(FoundFile { path, size: meta.len(), executable });
        } else if kind.is_symlink() {
            let target = fs::read_link(entry.path()).at("read", entry.path())?;
            let target = target.into_os_string().into_string();
            let target = target.map_err(|_| unfit(self.root, path.as_str(), Fault::BadTarget))?;
            self.found.others.push(Entry { path, kind: Kind::Link { target } });
        } else {
            let what = match kind {
                kind if kind.is_socket() => "a socket",
                kind if kind.is_fifo() => "a named pipe",
                _ => "a device",
            };
            self.found.skipped.push(Skipped { path: path.to_string(), what });
            return Ok(false);
        }
        Ok(true)
    }
}

fn is_empty(directory: &Path) -> Result<bool> {
    Ok(fs::read_dir(directory).at("read", directory)?.next().is_none())
}

fn is_executable(meta: &Metadata) -> bool {
    meta.permissions().mode() & 0o100 != 0
}

/// Files in a row that one thread reads: neighbours compress better together.
const BATCH: usize = 64;

/// Reads all files into the store. Returns the entries of everything found.
pub(crate) fn read(
    root: &Path,
    found: Found,
    intake: &Intake<'_>,
    meter: &Meter<'_>,
) -> Result<Vec<Entry>> {
    let Found { files, mut others, .. } = found;
    let entries = Mutex::new(Vec::with_capacity(files.len() + others.len()));
    workers::share(files.len(), BATCH, |items| {
        let (mut filler, mut buffer, mut read) = (intake.filler(), Vec::new(), Vec::new());
        for file in items.map(|at| &files[at]) {
            let (digest, size) =
                read_file(&root.join(&file.path), file.size, &mut buffer, &mut filler)?;
            let kind = Kind::File { size, executable: file.executable, digest };
            read.push(Entry { path: file.path.clone(), kind });
            meter.add(1, size);
        }
        filler.finish()?;
        entries.lock().expect("no thread panicked holding it").append(&mut read);
        Ok(())
    })?;
    let mut entries = entries.into_inner().expect("no thread panicked holding it");
    entries.append(&mut others);
    Ok(entries)
}

/// Refuses when the disk might become full. What the store lacks is only counted when not all of the tree would fit:
/// counting takes reading everything once more.
pub(crate) fn require_space(
    store: &Store,
    root: &Path,
    found: &Found,
    intake: &Intake<'_>,
) -> Result<()> {
    if disk::require(store.root(), found.bytes).is_ok() {
        return Ok(());
    }
    let (lacking, seen) = (AtomicU64::new(0), Mutex::new(HashSet::new()));
    workers::share(found.files.len(), BATCH, |items| {
        for file in items.map(|at| &found.files[at]) {
            let path = root.join(&file.path);
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(open(&path)?).at("read", &path)?;
            let digest = Digest::from_bytes(*hasher.finalize().as_bytes());
            let new = !intake.index.has(&digest)
                && seen.lock().expect("no thread panicked holding it").insert(digest);
            if new {
                lacking.fetch_add(hasher.count(), Ordering::Relaxed);
            }
        }
        Ok(())
    })?;
    disk::require(store.root(), lacking.into_inner())
}

/// Opens what was a file when it was found: a link or a pipe that took its place is not followed or waited for.
fn open(path: &Path) -> Result<File> {
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
    File::options().read(true).custom_flags(flags.cast_signed()).open(path).at("read", path)
}

/// Reads one file. What is stored is what was read, also when the file has changed since it was found.
fn read_file(
    path: &Path,
    expected: u64,
    buffer: &mut Vec<u8>,
    filler: &mut Filler<'_, '_>,
) -> Result<(Digest, u64)> {
    let mut file = open(path)?;
    let filled = fill(&mut file, expected, buffer).at("read", path)?;
    if filled <= WHOLE_FILE {
        return Ok((filler.whole(&buffer[..filled])?, filled as u64));
    }
    filler.cut_unless_known(file, path)
}

/// Reads up to one byte more than a whole file may have. Returns how many bytes there were.
fn fill(file: &mut File, expected: u64, buffer: &mut Vec<u8>) -> io::Result<usize> {
    // One byte more than expected: a read that leaves it free has met the end, and no second one is needed.
    let mut want = usize::try_from(expected).unwrap_or(usize::MAX).min(WHOLE_FILE) + 1;
    let mut filled = 0;
    loop {
        if buffer.len() < want {
            buffer.resize(want, 0);
        }
        match file.read(&mut buffer[filled..want]) {
            Ok(0) => return Ok(filled),
            Ok(count) => {
                filled += count;
                if filled == want {
                    if want > WHOLE_FILE {
                        return Ok(filled);
                    }
                    want = WHOLE_FILE + 1;
                } else if filled as u64 == expected {
                    return Ok(filled);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
