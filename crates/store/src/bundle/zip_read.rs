//! Zip archives: the central directory, compared with every local header, and nothing between that is not accounted for.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;

use flate2::Crc;
use flate2::bufread::DeflateDecoder;

use super::archive::{Collector, Trouble};
use super::fault::Fault;
use super::limits::{MAX_BYTES, MAX_RATIO, MAX_TARGET, RATIO_FREE_BYTES};
use super::path::BundlePath;
use super::zip_directory::{Method, Record, read_directory};

/// Bytes of a local header before the name.
const LOCAL: usize = 30;
const LOCAL_MAGIC: [u8; 4] = *b"PK\x03\x04";
/// The largest data descriptor: signature, CRC and two 64-bit sizes.
const MAX_DESCRIPTOR: u64 = 24;

/// Reads a whole archive.
pub(crate) fn read(file: &File, into: &mut Collector<'_, '_>) -> Result<(), Trouble> {
    let size = file.metadata().map_err(|error| broken(&error))?.len();
    let (mut records, directory_at) = read_directory(file, size)?;
    check_totals(&records, size)?;
    records.sort_by_key(|record| record.offset);
    // Nothing comes before the first entry, and each is followed by the next or by the directory.
    let first = records.first();
    if first.map_or(directory_at, |record| record.offset) != 0 {
        let entry = first.map(|record| super::archive::shown(&record.name));
        return Err(Trouble::Refused { entry, fault: Fault::StrayBytes });
    }
    for (at, record) in records.iter().enumerate() {
        let limit = records.get(at + 1).map_or(directory_at, |next| next.offset);
        take(file, record, limit, into)?;
    }
    Ok(())
}

fn broken(error: &io::Error) -> Trouble {
    Trouble::Refused { entry: None, fault: super::archive::fault_of(error) }
}

fn check_totals(records: &[Record], size: u64) -> Result<(), Trouble> {
    let mut total: u64 = 0;
    for record in records {
        total = total.saturating_add(record.size);
        let fault = match total {
            total if total > MAX_BYTES => Fault::TooManyBytes,
            total if total > RATIO_FREE_BYTES && total > size.saturating_mul(MAX_RATIO) => {
                Fault::Bomb
            }
            _ => continue,
        };
        return Err(Trouble::at(&record.name, fault));
    }
    Ok(())
}

/// Takes one entry, which must end exactly at `limit`.
fn take(
    file: &File,
    record: &Record,
    limit: u64,
    into: &mut Collector<'_, '_>,
) -> Result<(), Trouble> {
    let refuse = |fault| Trouble::at(&record.name, fault);
    let data = local_header(file, record).map_err(refuse)?;
    let end = data.checked_add(record.compressed).filter(|end| *end <= limit);
    let end = end.ok_or_else(|| refuse(Fault::Ambiguous("it overlaps what follows it".into())))?;
    match (record.has_descriptor, limit - end) {
        (false, 0) => {}
        (true, len @ 0..=MAX_DESCRIPTOR) => {
            descriptor(file, record, end, len as usize).map_err(refuse)?;
        }
        _ => return Err(refuse(Fault::StrayBytes)),
    }
    content(file, record, data, into)
}

/// Compares the local header with the record. Returns where the data begin.
fn local_header(file: &File, record: &Record) -> Result<u64, Fault> {
    let mut head = [0; LOCAL];
    read_at(file, &mut head, record.offset)?;
    if head[..4] != LOCAL_MAGIC {
        return Err(Fault::Corrupt("there is no local header where the directory says".into()));
    }
    let short = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let long = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let mut name = vec![0; usize::from(short(26))];
    read_at(file, &mut name, record.offset + LOCAL as u64)?;
    let differs = |what: &str| {
        Fault::Ambiguous(format!("its local header gives another {what} than the directory"))
    };
    // Bits 1 and 2 only describe how hard the compressor tried.
    if name != record.name {
        return Err(differs("name"));
    }
    if (short(6) ^ record.flags) & !0b110 != 0 {
        return Err(differs("kind of entry"));
    }
    if short(8) != record.method.code() {
        return Err(differs("method"));
    }
    // With a descriptor the sizes follow the data, and here may be nothing. All ones: see the zip64 field.
    let same = |local: u32, directory: u64| {
        u64::from(local) == directory || local == u32::MAX || (record.has_descriptor && local == 0)
    };
    if !same(long(18), record.compressed) || !same(long(22), record.size) {
        return Err(differs("size"));
    }
    if !same(long(14), u64::from(record.crc)) {
        return Err(differs("checksum"));
    }
    Ok(record.offset + (LOCAL + name.len()) as u64 + u64::from(short(28)))
}

/// Compares the data descriptor, in any of its four forms.
fn descriptor(file: &File, record: &Record, at: u64, len: usize) -> Result<(), Fault> {
    let mut bytes = vec![0; len];
    read_at(file, &mut bytes, at)?;
    let crc = record.crc.to_le_bytes();
    let narrow =
        [(record.compressed as u32).to_le_bytes(), (record.size as u32).to_le_bytes()].concat();
    let wide = [record.compressed.to_le_bytes(), record.size.to_le_bytes()].concat();
    let signed = bytes.strip_prefix(b"PK\x07\x08").unwrap_or(&bytes);
    let fits = [&bytes[..], signed]
        .iter()
        .any(|form| form.strip_prefix(&crc).is_some_and(|sizes| sizes == narrow || sizes == wide));
    if fits {
        Ok(())
    } else {
        Err(Fault::Ambiguous("its data descriptor gives other values".into()))
    }
}

fn content(
    file: &File,
    record: &Record,
    at: u64,
    into: &mut Collector<'_, '_>,
) -> Result<(), Trouble> {
    let refuse = |fault| Trouble::at(&record.name, fault);
    let kind = record.kind().map_err(refuse)?;
    let path = match BundlePath::parse(&record.path()) {
        Err(Fault::EmptyName) if kind == ZipKind::Directory && !record.name.is_empty() => {
            return Ok(());
        }
        other => other.map_err(refuse)?,
    };
    let span = Span { file, at, left: record.compressed };
    let data: Box<dyn Read> = match record.method {
        Method::Stored => Box::new(span),
        Method::Deflated => Box::new(DeflateDecoder::new(BufReader::new(span))),
    };
    let mut data = Checked { inner: data, crc: Crc::new(), given: 0, limit: record.size };
    match kind {
        ZipKind::Directory => into.directory(path)?,
        ZipKind::File { executable } => into.file(path, executable, record.size, &mut data)?,
        ZipKind::Link => {
            if record.size > MAX_TARGET as u64 {
                return Err(refuse(Fault::BadTarget));
            }
            let mut target = Vec::new();
            let read = (&mut data).take(record.size).read_to_end(&mut target);
            read.map_err(|error| refuse(super::archive::fault_of(&error)))?;
            into.link(path, &target)?;
        }
    }
    data.end(record.crc).map_err(refuse)
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ZipKind {
    Directory,
    File { executable: bool },
    Link,
}

/// Reads exactly there.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], at: u64) -> Result<(), Fault> {
    file.read_exact_at(buffer, at).map_err(|error| super::archive::fault_of(&error))
}

/// A part of a file.
struct Span<'f> {
    file: &'f File,
    at: u64,
    left: u64,
}

impl Read for Span<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..want], self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// Content that is compared with its declared length and checksum.
struct Checked<'f> {
    inner: Box<dyn Read + 'f>,
    crc: Crc,
    given: u64,
    limit: u64,
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.crc.update(&buffer[..count]);
        self.given += count as u64;
        if self.given > self.limit {
            let fault = Fault::Ambiguous("it expands to more than the directory says".into());
            return Err(io::Error::other(fault));
        }
        Ok(count)
    }
}

impl Checked<'_> {
    /// The content must be over, complete and right.
    fn end(&mut self, crc: u32) -> Result<(), Fault> {
        let mut one_more = [0];
        self.read(&mut one_more).map_err(|error| super::archive::fault_of(&error))?;
        if self.given != self.limit {
            return Err(Fault::Truncated);
        }
        if self.crc.sum() != crc {
            return Err(Fault::Corrupt("its checksum is wrong".into()));
        }
        Ok(())
    }
}
