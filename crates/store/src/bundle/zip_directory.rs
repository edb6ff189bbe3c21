//! The central directory of a zip archive, also in its 64-bit form.

use std::fs::File;

use super::archive::Trouble;
use super::fault::Fault;
use super::limits::MAX_ENTRIES;
use super::zip_read::{ZipKind, read_at};

const END: usize = 22;
const END_MAGIC: [u8; 4] = *b"PK\x05\x06";
const END64: usize = 56;
const END64_MAGIC: [u8; 4] = *b"PK\x06\x06";
const LOCATOR: usize = 20;
const LOCATOR_MAGIC: [u8; 4] = *b"PK\x06\x07";
const RECORD: usize = 46;
const RECORD_MAGIC: [u8; 4] = *b"PK\x01\x02";
/// Bytes of a directory: that many entries with long names.
const MAX_DIRECTORY: u64 = 64 << 20;
/// Makers whose attributes hold Unix modes: Unix and macOS.
const UNIX: [u8; 2] = [3, 19];

/// How content is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Stored,
    Deflated,
}

impl Method {
    /// The number of the format.
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::Stored => 0,
            Self::Deflated => 8,
        }
    }
}

/// One entry as the directory has it.
pub(crate) struct Record {
    pub(crate) name: Vec<u8>,
    pub(crate) flags: u16,
    pub(crate) has_descriptor: bool,
    pub(crate) method: Method,
    pub(crate) crc: u32,
    pub(crate) compressed: u64,
    pub(crate) size: u64,
    pub(crate) offset: u64,
    maker: u8,
    attributes: u32,
}

impl Record {
    /// The path with `/` between its parts. Some programs on Windows write `\`, which no name can contain there.
    pub(crate) fn path(&self) -> Vec<u8> {
        if UNIX.contains(&self.maker) || self.name.contains(&b'/') {
            return self.name.clone();
        }
        let mut path: Vec<u8> =
            self.name.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect();
        // "C:/x" is as absolute as "/x".
        if path.get(1) == Some(&b':') {
            path.insert(0, b'/');
        }
        path
    }

    /// What the entry is, from the Unix mode where there is one.
    pub(crate) fn kind(&self) -> Result<ZipKind, Fault> {
        let mode = if UNIX.contains(&self.maker) { self.attributes >> 16 } else { 0 };
        let named_directory = self.path().ends_with(b"/");
        let kind = match mode & 0o170_000 {
            0 if named_directory => ZipKind::Directory,
            0 | 0o100_000 if !named_directory => ZipKind::File { executable: mode & 0o100 != 0 },
            0o040_000 => ZipKind::Directory,
            0o120_000 if !named_directory => ZipKind::Link,
            0o020_000 | 0o060_000 => return Err(Fault::Device),
            0o010_000 => return Err(Fault::Fifo),
            0o140_000 => return Err(Fault::UnknownKind("a socket".into())),
            _ => return Err(Fault::Ambiguous("its name and its mode give two kinds".into())),
        };
        if matches!(kind, ZipKind::File { .. }) && mode & 0o6000 != 0 {
            return Err(Fault::Setuid);
        }
        if kind == ZipKind::Directory && self.size != 0 {
            return Err(Fault::Ambiguous("it has content although it is no file".into()));
        }
        Ok(kind)
    }
}

fn refuse(fault: Fault) -> Trouble {
    Trouble::Refused { entry: None, fault }
}

fn corrupt(why: &str) -> Trouble {
    refuse(Fault::Corrupt(why.to_owned()))
}

/// Little-endian numbers of a header.
struct Numbers<'b>(&'b [u8]);

impl Numbers<'_> {
    fn short(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.0[at], self.0[at + 1]])
    }
    fn long(&self, at: usize) -> u32 {
        u32::from(self.short(at)) | u32::from(self.short(at + 2)) << 16
    }
    fn wide(&self, at: usize) -> u64 {
        u64::from(self.long(at)) | u64::from(self.long(at + 4)) << 32
    }
}

/// Where the directory is, and how much of it.
struct End {
    entries: u64,
    size: u64,
    offset: u64,
}

/// Reads the directory of an archive of `size` bytes. Returns its records and where it begins.
pub(crate) fn read_directory(file: &File, size: u64) -> Result<(Vec<Record>, u64), Trouble> {
    let end = find_end(file, size)?;
    if end.entries > MAX_ENTRIES as u64 {
        return Err(refuse(Fault::TooManyEntries));
    }
    if end.size > MAX_DIRECTORY {
        return Err(corrupt("its directory is too large"));
    }
    let mut bytes = vec![0; end.size as usize];
    read_at(file, &mut bytes, end.offset).map_err(refuse)?;
    let mut records = Vec::new();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let (record, after) = read_record(rest)?;
        records.push(record);
        rest = after;
    }
    if records.len() as u64 != end.entries {
        return Err(refuse(Fault::Ambiguous("its directory has another number of entries".into())));
    }
    Ok((records, end.offset))
}

/// Finds the end record, which must end exactly where the file does.
fn find_end(file: &File, size: u64) -> Result<End, Trouble> {
    let tail = size.min((END + usize::from(u16::MAX)) as u64) as usize;
    let mut bytes = vec![0; tail];
    read_at(file, &mut bytes, size - tail as u64).map_err(refuse)?;
    let mut found =
        (0..(tail + 1).saturating_sub(END)).filter(|at| bytes[*at..].starts_with(&END_MAGIC));
    let at = match (found.next(), found.next()) {
        (Some(at), None) => at,
        (None, _) => return Err(refuse(Fault::Truncated)),
        // One of them may be made up in a comment: two programs may choose two.
        (Some(_), Some(_)) => {
            return Err(refuse(Fault::Ambiguous("there are two ends of the directory".into())));
        }
    };
    let end = Numbers(&bytes[at..]);
    if at + END + usize::from(end.short(20)) != tail {
        return Err(refuse(Fault::StrayBytes));
    }
    if end.short(4) != 0 || end.short(6) != 0 || end.short(8) != end.short(10) {
        return Err(refuse(Fault::Unsupported("an archive in several parts".into())));
    }
    let at = size - tail as u64 + at as u64;
    let narrow = End {
        entries: u64::from(end.short(10)),
        size: u64::from(end.long(12)),
        offset: u64::from(end.long(16)),
    };
    let (end, ends_at) = match find_end64(file, at)? {
        Some((wide, wide_at)) => (agree(&narrow, wide)?, wide_at),
        None => (narrow, at),
    };
    if end.offset.checked_add(end.size) != Some(ends_at) {
        return Err(refuse(Fault::StrayBytes));
    }
    Ok(end)
}

/// The 64-bit end record, when there is a locator before the end record, and where it begins.
fn find_end64(file: &File, end_at: u64) -> Result<Option<(End, u64)>, Trouble> {
    let Some(locator_at) = end_at.checked_sub(LOCATOR as u64) else { return Ok(None) };
    let mut locator = [0; LOCATOR];
    read_at(file, &mut locator, locator_at).map_err(refuse)?;
    if locator[..4] != LOCATOR_MAGIC {
        return Ok(None);
    }
    let at = Numbers(&locator).wide(8);
    if at.checked_add(END64 as u64) != Some(locator_at) {
        return Err(corrupt("its 64-bit end record is not where it should be"));
    }
    let mut end = [0; END64];
    read_at(file, &mut end, at).map_err(refuse)?;
    let numbers = Numbers(&end);
    if end[..4] != END64_MAGIC || numbers.wide(4) != END64 as u64 - 12 {
        return Err(corrupt("its 64-bit end record is malformed"));
    }
    if numbers.long(16) != 0 || numbers.long(20) != 0 || numbers.wide(24) != numbers.wide(32) {
        return Err(refuse(Fault::Unsupported("an archive in several parts".into())));
    }
    let end = End { entries: numbers.wide(32), size: numbers.wide(40), offset: numbers.wide(48) };
    Ok(Some((end, at)))
}

/// The 64-bit values, which the others must equal unless they are all ones.
fn agree(narrow: &End, wide: End) -> Result<End, Trouble> {
    let same = |narrow: u64, ones: u64, wide: u64| narrow == wide || narrow == ones;
    let ones = u64::from(u32::MAX);
    if same(narrow.entries, u64::from(u16::MAX), wide.entries)
        && same(narrow.size, ones, wide.size)
        && same(narrow.offset, ones, wide.offset)
    {
        return Ok(wide);
    }
    Err(refuse(Fault::Ambiguous("its two ends of the directory disagree".into())))
}

fn read_record(bytes: &[u8]) -> Result<(Record, &[u8]), Trouble> {
    let malformed = || corrupt("its directory is malformed");
    let (head, rest) = bytes.split_at_checked(RECORD).ok_or_else(malformed)?;
    let numbers = Numbers(head);
    if head[..4] != RECORD_MAGIC {
        return Err(malformed());
    }
    let lengths = [28, 30, 32].map(|at| usize::from(numbers.short(at)));
    let (name, rest) = rest.split_at_checked(lengths[0]).ok_or_else(malformed)?;
    let (extra, rest) = rest.split_at_checked(lengths[1]).ok_or_else(malformed)?;
    let (_comment, rest) = rest.split_at_checked(lengths[2]).ok_or_else(malformed)?;
    let at = |fault| Trouble::at(name, fault);
    let flags = numbers.short(8);
    check_flags(flags).map_err(at)?;
    let method = match numbers.short(10) {
        0 => Method::Stored,
        8 => Method::Deflated,
        other => return Err(at(Fault::Unsupported(format!("zip method {other}")))),
    };
    let mut record = Record {
        name: name.to_vec(),
        flags,
        has_descriptor: flags & 8 != 0,
        method,
        crc: numbers.long(16),
        compressed: u64::from(numbers.long(20)),
        size: u64::from(numbers.long(24)),
        offset: u64::from(numbers.long(42)),
        maker: head[5],
        attributes: numbers.long(38),
    };
    apply_extra(&mut record, extra).map_err(at)?;
    Ok((record, rest))
}

fn check_flags(flags: u16) -> Result<(), Fault> {
    const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
    // Compression effort, descriptor, UTF-8.
    const KNOWN: u16 = 0b110 | 1 << 3 | 1 << 11;
    match flags {
        flags if flags & ENCRYPTED != 0 => Err(Fault::Encrypted),
        flags if flags & !KNOWN != 0 => Err(Fault::Unsupported(format!("zip flags {flags:#06x}"))),
        _ => Ok(()),
    }
}

/// Reads the extra fields that change what the entry is.
fn apply_extra(record: &mut Record, mut extra: &[u8]) -> Result<(), Fault> {
    let malformed = || Fault::Corrupt("its extra field is malformed".into());
    let mut wide = None;
    // Fewer than four bytes are padding that aligns the data.
    while extra.len() >= 4 {
        let numbers = Numbers(extra);
        let (id, len) = (numbers.short(0), usize::from(numbers.short(2)));
        let (field, rest) = extra[4..].split_at_checked(len).ok_or_else(malformed)?;
        match id {
            1 if wide.replace(field).is_some() => {
                return Err(Fault::Ambiguous("it has two 64-bit fields".into()));
            }
            // The name again, in Unicode.
            0x7075 if field.get(5..) != Some(&record.name) => {
                return Err(Fault::Ambiguous("it has two names".into()));
            }
            _ => {}
        }
        extra = rest;
    }
    let mut wide = wide.unwrap_or_default();
    for value in [&mut record.size, &mut record.compressed, &mut record.offset] {
        if *value == u64::from(u32::MAX) {
            let (number, rest) = wide.split_at_checked(8).ok_or_else(malformed)?;
            *value = Numbers(number).wide(0);
            wide = rest;
        }
    }
    Ok(())
}
