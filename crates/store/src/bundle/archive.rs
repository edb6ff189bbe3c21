//! Reading foreign archives.
//!
//! No byte of an archive is ever written under a name that the archive chose: contents go into packs while the archive
//! is read, names into a manifest that is checked as a whole, and only a manifest that passed is ever staged. So there is
//! no order of entries by which an archive could write through a link of its own, and a refused one leaves nothing.
//! Where two programs could read an archive in two ways it is refused, since one of them might be the one that checked it.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use super::error::{At, Error, Result};
use super::fault::Fault;
use super::intake::{Filler, Intake};
use super::limits::{MAX_BYTES, MAX_ENTRIES, MAX_RATIO, RATIO_FREE_BYTES, WHOLE_FILE};
use super::manifest::{Entry, Kind};
use super::path::BundlePath;
use super::progress::Meter;
use super::{tar_read, zip_read};

/// Bytes read from the file at once.
const BUFFER: usize = 128 << 10;
/// log2 of the largest zstd window that is accepted: what `zstd --ultra -22` makes. It bounds the memory of reading.
const MAX_WINDOW_LOG: u32 = 27;

/// Why reading stopped.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The archive is refused.
    Refused {
        /// The entry, as it may be shown.
        entry: Option<String>,
        /// The reason.
        fault: Fault,
    },
    /// The store could not take it.
    Store(Error),
}

impl Trouble {
    /// Refuses because of an entry.
    pub(crate) fn at(entry: &[u8], fault: Fault) -> Self {
        Self::Refused { entry: Some(shown(entry)), fault }
    }

    /// The error for people.
    pub(crate) fn into_error(self, archive: &Path) -> Error {
        match self {
            Self::Refused { entry, fault } => {
                Error::Refused { archive: archive.to_owned(), entry, fault }
            }
            Self::Store(error) => error,
        }
    }
}

/// A name with everything escaped that a terminal might act upon.
pub(crate) fn shown(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
        }
        text.push_str(&chunk.invalid().escape_ascii().to_string());
    }
    text
}

/// Reads the archive at `path`, whatever its name says, into the store. Returns its entries, not yet checked together.
pub(crate) fn read(path: &Path, intake: &Intake<'_>, meter: &Meter<'_>) -> Result<Vec<Entry>> {
    let mut file = File::open(path).at("read", path)?;
    let mut head = Vec::new();
    file.by_ref().take(512).read_to_end(&mut head).at("read", path)?;
    let mut collector = Collector::new(intake, meter);
    let result = match Format::of(&head).map_err(|why| not_an_archive(path, why))? {
        Format::Zip => zip_read::read(&file, &mut collector),
        format => {
            io::Seek::rewind(&mut file).at("read", path)?;
            let mut stream = expand(file, format).at("read", path)?;
            tar_read::read(&mut stream, &mut collector)
        }
    };
    result.and_then(|()| collector.finish()).map_err(|trouble| trouble.into_error(path))
}

fn not_an_archive(path: &Path, why: &str) -> Error {
    Error::NotAnArchive { path: path.to_owned(), why: why.to_owned() }
}

#[derive(Clone, Copy)]
enum Format {
    Tar,
    Gzip,
    Bzip2,
    Zstd,
    Zip,
}

impl Format {
    /// Finds the format by the first 512 bytes; else says what they look like.
    fn of(head: &[u8]) -> Result<Self, &'static str> {
        match head {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Ok(Self::Bzip2),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Ok(Self::Zip),
            [0xfd, b'7', b'z', b'X', b'Z', ..] => {
                Err("it is compressed with xz, which is not supported")
            }
            [b'7', b'z', 0xbc, 0xaf, ..] => Err("it is a 7-Zip archive, which is not supported"),
            [] => Err("it is empty"),
            _ if tar_read::looks_like(head) => Ok(Self::Tar),
            _ => Err("neither tar (plain, gzip, bzip2, zstd) nor zip is recognised"),
        }
    }
}

/// The tar stream inside a compressed file, guarded.
fn expand(file: File, format: Format) -> io::Result<Guard> {
    let taken = Rc::new(Cell::new(0));
    let counted =
        BufReader::with_capacity(BUFFER, Counted { inner: file, taken: Rc::clone(&taken) });
    let inner: Box<dyn Read> = match format {
        Format::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(counted)),
        Format::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(counted)),
        Format::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(counted)?;
            decoder.window_log_max(MAX_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Format::Tar | Format::Zip => Box::new(counted),
    };
    Ok(Guard { inner: BufReader::with_capacity(BUFFER, inner), taken: Some(taken), given: 0 })
}

/// Counts what is taken from a file.
struct Counted<R> {
    inner: R,
    taken: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.taken.set(self.taken.get() + count as u64);
        Ok(count)
    }
}

/// An expanded stream that ends with an error when it becomes too large. Its errors carry a [`Fault`].
pub(crate) struct Guard {
    inner: BufReader<Box<dyn Read>>,
    /// Bytes taken from the compressed file; `None` when the stream is not from a file.
    taken: Option<Rc<Cell<u64>>>,
    given: u64,
}

impl Guard {
    /// A guarded stream that comes uncompressed from a program.
    pub(crate) fn plain(inner: impl Read + 'static) -> Self {
        Self { inner: BufReader::with_capacity(BUFFER, Box::new(inner)), taken: None, given: 0 }
    }
}

impl Read for Guard {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer).map_err(|error| io::Error::other(fault_of(&error)))?;
        self.given += count as u64;
        let taken = self.taken.as_ref().map_or(u64::MAX, |taken| taken.get());
        if self.given > RATIO_FREE_BYTES && self.given > taken.saturating_mul(MAX_RATIO) {
            return Err(io::Error::other(Fault::Bomb));
        }
        // Headers and padding are a part of what was given, never more than this.
        if self.given > MAX_BYTES + MAX_ENTRIES as u64 * 4096 {
            return Err(io::Error::other(Fault::TooManyBytes));
        }
        Ok(count)
    }
}

/// The fault behind an error of a [`Guard`] or a decoder.
pub(crate) fn fault_of(error: &io::Error) -> Fault {
    if let Some(fault) = error.get_ref().and_then(|inner| inner.downcast_ref::<Fault>()) {
        return fault.clone();
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Fault::Truncated,
        // What libzstd's binding says when the input ends inside a frame.
        _ if error.to_string() == "incomplete frame" => Fault::Truncated,
        _ => Fault::Corrupt(error.to_string()),
    }
}

/// Collects entries and contents of an archive.
pub(crate) struct Collector<'i, 's> {
    filler: Filler<'i, 's>,
    meter: &'i Meter<'i>,
    entries: Vec<Entry>,
    files: HashMap<BundlePath, usize>,
    leave: Option<&'i dyn Fn(&BundlePath) -> bool>,
    bytes: u64,
}

impl<'i, 's> Collector<'i, 's> {
    /// An empty one.
    pub(crate) fn new(intake: &'i Intake<'s>, meter: &'i Meter<'i>) -> Self {
        let filler = intake.filler();
        Self { filler, meter, entries: vec![], files: HashMap::new(), leave: None, bytes: 0 }
    }

    /// Leaves out what `leave` says yes to.
    pub(crate) fn leaving(mut self, leave: &'i dyn Fn(&BundlePath) -> bool) -> Self {
        self.leave = Some(leave);
        self
    }

    /// Takes a file whose content is the next `size` bytes of `content`, which are always read.
    pub(crate) fn file(
        &mut self,
        path: BundlePath,
        executable: bool,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<(), Trouble> {
        let name = path.to_string();
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > MAX_BYTES {
            return Err(Trouble::at(name.as_bytes(), Fault::TooManyBytes));
        }
        let faulty = |error: &io::Error| Trouble::at(name.as_bytes(), fault_of(error));
        let mut content = content.take(size);
        if self.leaves(&path) {
            let copied = io::copy(&mut content, &mut io::sink()).map_err(|error| faulty(&error))?;
            return if copied == size { Ok(()) } else { Err(faulty(&short())) };
        }
        let (digest, length) = if size <= WHOLE_FILE as u64 {
            let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(WHOLE_FILE));
            content.read_to_end(&mut bytes).map_err(|error| faulty(&error))?;
            (self.filler.whole(&bytes).map_err(Trouble::Store)?, bytes.len() as u64)
        } else {
            self.filler.cut(content, path.as_ref()).map_err(|error| match error {
                // The stream's own errors; the store's have the path of a file of the store.
                Error::Io { path: at, source, .. } if at == Path::new(&name) => faulty(&source),
                other => Trouble::Store(other),
            })?
        };
        if length != size {
            return Err(faulty(&short()));
        }
        self.meter.add(1, size);
        self.push_file(path, Kind::File { size, executable, digest })
    }

    /// Takes another name of an earlier file, as a copy.
    pub(crate) fn hard_link(&mut self, path: BundlePath, target: &[u8]) -> Result<(), Trouble> {
        let fault = || Fault::HardLink(shown(target));
        let earlier = BundlePath::parse(target).ok().and_then(|target| self.files.get(&target));
        match earlier {
            Some(at) => {
                let kind = self.entries[*at].kind.clone();
                self.bytes = self.bytes.saturating_add(self.entries[*at].size());
                self.push_file(path, kind)
            }
            None if self.leaves(&path) => Ok(()),
            None => Err(Trouble::at(path.as_str().as_bytes(), fault())),
        }
    }

    /// Takes a symbolic link.
    pub(crate) fn link(&mut self, path: BundlePath, target: &[u8]) -> Result<(), Trouble> {
        let target = String::from_utf8(target.to_vec())
            .map_err(|_| Trouble::at(path.as_str().as_bytes(), Fault::BadTarget))?;
        self.push(Entry { path, kind: Kind::Link { target } })
    }

    /// Takes a directory, empty or not.
    pub(crate) fn directory(&mut self, path: BundlePath) -> Result<(), Trouble> {
        self.push(Entry { path, kind: Kind::EmptyDir })
    }

    /// Ends.
    pub(crate) fn finish(self) -> Result<Vec<Entry>, Trouble> {
        self.filler.finish().map_err(Trouble::Store)?;
        Ok(self.entries)
    }

    fn leaves(&self, path: &BundlePath) -> bool {
        self.leave.is_some_and(|leave| leave(path))
    }

    fn push_file(&mut self, path: BundlePath, kind: Kind) -> Result<(), Trouble> {
        self.files.insert(path.clone(), self.entries.len());
        self.push(Entry { path, kind })
    }

    fn push(&mut self, entry: Entry) -> Result<(), Trouble> {
        if self.entries.len() >= MAX_ENTRIES {
            return Err(Trouble::at(entry.path.as_str().as_bytes(), Fault::TooManyEntries));
        }
        if !self.leaves(&entry.path) {
            self.entries.push(entry);
        }
        Ok(())
    }
}

fn short() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}
