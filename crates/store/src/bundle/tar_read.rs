//! Tar archives, block by block: ustar, GNU and pax, and nothing that these leave open.

use std::io::Read;

use super::archive::{Collector, Guard, Trouble, fault_of};
use super::fault::Fault;
use super::path::BundlePath;
use super::tar_pax::Pax;

const BLOCK: usize = 512;
/// Bytes of a GNU long name: a path and its NUL.
const MAX_LONG: u64 = 4096 + 1;
/// Bytes of a pax header: macOS puts extended attributes there.
const MAX_PAX: u64 = 1 << 20;

type Block = [u8; BLOCK];

/// Whether these first bytes of a file are a tar header, or the end of an empty archive.
pub(crate) fn looks_like(head: &[u8]) -> bool {
    let Ok(block) = Block::try_from(head) else { return false };
    is_zero(&block) || checksum_fits(&block) || &block[257..262] == b"ustar"
}

/// What headers before an entry say about it.
#[derive(Default)]
struct Ahead {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

impl Ahead {
    fn is_empty(&self) -> bool {
        self.name.is_none() && self.link.is_none() && self.pax.is_none()
    }
}

/// Reads the whole stream.
pub(crate) fn read(stream: &mut Guard, into: &mut Collector<'_, '_>) -> Result<(), Trouble> {
    let mut tar = Tar { stream, last: None };
    let mut ahead = Ahead::default();
    loop {
        let block = tar.block()?;
        if is_zero(&block) {
            if !ahead.is_empty() {
                return Err(tar.refuse(Fault::Truncated));
            }
            return tar.only_zeros_follow();
        }
        if !checksum_fits(&block) {
            return Err(tar.refuse(Fault::Corrupt("a header's checksum is wrong".into())));
        }
        let header =
            Header::parse(&block).map_err(|fault| tar.refuse_at(&name_of(&block), fault))?;
        match header.kind {
            b'L' | b'K' | b'x' | b'g' => tar.extension(&header, &mut ahead)?,
            _ => tar.entry(header, std::mem::take(&mut ahead), into)?,
        }
    }
}

struct Tar<'s> {
    stream: &'s mut Guard,
    /// The entry that was read last, to say where a fault lies.
    last: Option<Vec<u8>>,
}

impl Tar<'_> {
    fn refuse(&self, fault: Fault) -> Trouble {
        match &self.last {
            Some(last) => Trouble::at(last, fault),
            None => Trouble::Refused { entry: None, fault },
        }
    }

    fn refuse_at(&self, name: &[u8], fault: Fault) -> Trouble {
        Trouble::at(name, fault)
    }

    fn block(&mut self) -> Result<Block, Trouble> {
        let mut block = [0; BLOCK];
        self.stream.read_exact(&mut block).map_err(|error| self.refuse(fault_of(&error)))?;
        Ok(block)
    }

    /// Reads `size` bytes and their padding.
    fn bytes(&mut self, size: u64) -> Result<Vec<u8>, Trouble> {
        let mut bytes = Vec::new();
        let read = self.stream.take(size).read_to_end(&mut bytes);
        read.map_err(|error| self.refuse(fault_of(&error)))?;
        if bytes.len() as u64 != size {
            return Err(self.refuse(Fault::Truncated));
        }
        self.padding(size)?;
        Ok(bytes)
    }

    fn padding(&mut self, size: u64) -> Result<(), Trouble> {
        let rest = (size.next_multiple_of(BLOCK as u64) - size) as usize;
        let mut padding = [0; BLOCK];
        self.stream.read_exact(&mut padding[..rest]).map_err(|error| self.refuse(fault_of(&error)))
    }

    /// Reads to the very end, which also makes decoders compare their checksums.
    fn only_zeros_follow(&mut self) -> Result<(), Trouble> {
        let mut buffer = [0; 16 * BLOCK];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) if buffer[..count].iter().all(|byte| *byte == 0) => {}
                Ok(_) => return Err(self.refuse(Fault::StrayBytes)),
                Err(error) => return Err(self.refuse(fault_of(&error))),
            }
        }
    }

    /// A header that speaks about the next entry, or (`g`) about all.
    fn extension(&mut self, header: &Header, ahead: &mut Ahead) -> Result<(), Trouble> {
        let long = matches!(header.kind, b'L' | b'K');
        if header.size > if long { MAX_LONG } else { MAX_PAX } {
            let fault = if long {
                Fault::PathTooLong(header.size as usize)
            } else {
                Fault::Corrupt("a pax header is too large".into())
            };
            return Err(self.refuse_at(&header.name, fault));
        }
        let mut bytes = self.bytes(header.size)?;
        let twice = match header.kind {
            b'L' | b'K' => {
                if bytes.last() == Some(&0) {
                    bytes.pop();
                }
                let slot = if header.kind == b'L' { &mut ahead.name } else { &mut ahead.link };
                slot.replace(bytes).is_some()
            }
            kind => {
                let pax = Pax::parse(&bytes, kind == b'g');
                let pax = pax.map_err(|fault| self.refuse_at(&header.name, fault))?;
                // What is said about all entries is checked, and is never about names or sizes.
                kind == b'x' && ahead.pax.replace(pax).is_some()
            }
        };
        if twice {
            let fault = Fault::Ambiguous("two extension headers of one kind precede it".into());
            return Err(self.refuse_at(&header.name, fault));
        }
        Ok(())
    }

    fn entry(
        &mut self,
        mut header: Header,
        ahead: Ahead,
        into: &mut Collector<'_, '_>,
    ) -> Result<(), Trouble> {
        let pax = ahead.pax.unwrap_or_default();
        header.name = one(ahead.name, pax.path, header.name).map_err(|fault| self.refuse(fault))?;
        header.link =
            one(ahead.link, pax.linkpath, header.link).map_err(|fault| self.refuse(fault))?;
        let name = header.name.clone();
        self.last = Some(name.clone());
        if pax.size.is_some_and(|size| size != header.size) {
            let fault = Fault::Ambiguous("its pax header gives another size".into());
            return Err(Trouble::at(&name, fault));
        }
        let checked = header.check().map_err(|fault| Trouble::at(&name, fault))?;
        let Some((path, kind)) = checked else { return Ok(()) };
        match kind {
            Checked::File => {
                into.file(path, header.mode & 0o100 != 0, header.size, &mut self.stream)?;
                self.padding(header.size)
            }
            Checked::Directory => into.directory(path),
            Checked::Link => into.link(path, &header.link),
            Checked::HardLink => into.hard_link(path, &header.link),
        }
    }
}

/// The one name that an entry has; two extensions that disagree leave it open.
fn one(gnu: Option<Vec<u8>>, pax: Option<Vec<u8>>, plain: Vec<u8>) -> Result<Vec<u8>, Fault> {
    match (gnu, pax) {
        (Some(gnu), Some(pax)) if gnu != pax => {
            Err(Fault::Ambiguous("its GNU and pax headers give two names".into()))
        }
        (Some(name), _) | (None, Some(name)) => Ok(name),
        (None, None) => Ok(plain),
    }
}

enum Checked {
    File,
    Directory,
    Link,
    HardLink,
}

struct Header {
    name: Vec<u8>,
    link: Vec<u8>,
    kind: u8,
    size: u64,
    mode: u64,
}

impl Header {
    fn parse(block: &Block) -> Result<Self, Fault> {
        let number = |field: &[u8], what| {
            number(field).ok_or_else(|| Fault::Corrupt(format!("its {what} is not a number")))
        };
        Ok(Self {
            name: name_of(block),
            link: until_nul(&block[157..257]).to_vec(),
            kind: block[156],
            size: number(&block[124..136], "size")?,
            mode: number(&block[100..108], "mode")?,
        })
    }

    /// Judges the entry. `None` for the root directory itself, which says nothing.
    fn check(&self) -> Result<Option<(BundlePath, Checked)>, Fault> {
        let is_directory_name = self.name.ends_with(b"/");
        let kind = match self.kind {
            // Before POSIX, directories were files whose name ends with a slash.
            b'0' | 0 | b'7' if is_directory_name => Checked::Directory,
            b'0' | 0 | b'7' => Checked::File,
            b'1' => Checked::HardLink,
            b'2' => Checked::Link,
            b'5' => Checked::Directory,
            b'3' | b'4' => return Err(Fault::Device),
            b'6' => return Err(Fault::Fifo),
            b'S' => return Err(Fault::Sparse),
            other => return Err(Fault::UnknownKind(format!("tar type {:?}", char::from(other)))),
        };
        if matches!(kind, Checked::Directory)
            && self.name.iter().all(|byte| matches!(byte, b'.' | b'/'))
        {
            let root = BundlePath::parse(&self.name);
            if root == Err(Fault::EmptyName) && !self.name.is_empty() && self.size == 0 {
                return Ok(None);
            }
        }
        let path = BundlePath::parse(&self.name)?;
        // On directories these bits only say who owns new files.
        if matches!(kind, Checked::File | Checked::HardLink) && self.mode & 0o6000 != 0 {
            return Err(Fault::Setuid);
        }
        if !matches!(kind, Checked::File) && self.size != 0 {
            return Err(Fault::Ambiguous("it has content although it is no file".into()));
        }
        Ok(Some((path, kind)))
    }
}

/// The name in the header itself.
fn name_of(block: &Block) -> Vec<u8> {
    let name = until_nul(&block[..100]);
    let prefix = until_nul(&block[345..500]);
    // GNU's own format has "ustar  " here and other things where POSIX has the prefix.
    if &block[257..263] == b"ustar\0" && !prefix.is_empty() {
        return [prefix, b"/", name].concat();
    }
    name.to_vec()
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn is_zero(block: &Block) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// A number field: octal digits between blanks, or base 256 as GNU writes large ones. Nothing at all is 0.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_at(field.len() - 8);
        let zero =
            high.iter().enumerate().all(|(at, byte)| *byte == if at == 0 { 0x80 } else { 0 });
        let value = u64::from_be_bytes(low.try_into().ok()?);
        return (zero || field.len() == 8).then_some(value & (u64::MAX >> 1));
    }
    let text = std::str::from_utf8(until_nul(field)).ok()?.trim_matches(' ');
    if text.is_empty() {
        return Some(0);
    }
    text.bytes()
        .all(|byte| (b'0'..=b'7').contains(&byte))
        .then(|| u64::from_str_radix(text, 8).ok())?
}

/// Whether the checksum is right, counted with unsigned bytes as POSIX says, or signed as some old programs did.
fn checksum_fits(block: &Block) -> bool {
    let Some(written) = number(&block[148..156]) else { return false };
    let without = |at: usize| if (148..156).contains(&at) { b' ' } else { block[at] };
    let unsigned: u64 = (0..BLOCK).map(|at| u64::from(without(at))).sum();
    let signed: i64 = (0..BLOCK).map(|at| i64::from(without(at).cast_signed())).sum();
    written == unsigned || i64::try_from(written) == Ok(signed)
}
