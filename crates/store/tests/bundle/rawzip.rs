//! Zip archives made byte by byte.

use std::io::Write;

/// One entry. Public fields so that a test can make it wrong.
#[derive(Clone)]
pub struct Part {
    pub name: Vec<u8>,
    pub local_name: Option<Vec<u8>>,
    pub maker: u8,
    pub attributes: u32,
    pub flags: u16,
    pub method: u16,
    pub crc: u32,
    pub data: Vec<u8>,
    pub size: u32,
    pub local_size: Option<u32>,
    pub descriptor: Vec<u8>,
    pub extra: Vec<u8>,
    pub local_extra: Vec<u8>,
    /// Placed at this offset instead of after the previous one.
    pub offset: Option<u32>,
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// A stored entry with a Unix mode.
pub fn part(name: impl AsRef<[u8]>, mode: u32, content: &[u8]) -> Part {
    Part {
        name: name.as_ref().to_vec(),
        local_name: None,
        maker: 3,
        attributes: mode << 16,
        flags: 0,
        method: 0,
        crc: crc(content),
        data: content.to_vec(),
        size: content.len() as u32,
        local_size: None,
        descriptor: Vec::new(),
        extra: Vec::new(),
        local_extra: Vec::new(),
        offset: None,
    }
}

pub fn file(name: impl AsRef<[u8]>, content: &str) -> Part {
    part(name, 0o100_644, content.as_bytes())
}

/// As Windows' own program makes it: no Unix mode at all.
pub fn dos(name: &str, content: &str) -> Part {
    Part { maker: 0, attributes: 0x20, ..part(name, 0, content.as_bytes()) }
}

pub fn deflated(name: &str, content: &[u8]) -> Part {
    let mut out = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    out.write_all(content).unwrap();
    Part { method: 8, data: out.finish().unwrap(), ..part(name, 0o100_644, content) }
}

impl Part {
    fn local(&self) -> Vec<u8> {
        let name = self.local_name.as_ref().unwrap_or(&self.name);
        let streamed = !self.descriptor.is_empty();
        let hide = |value: u32| if streamed { 0 } else { value };
        let mut bytes = b"PK\x03\x04\x14\0".to_vec();
        bytes.extend(self.flags.to_le_bytes());
        bytes.extend(self.method.to_le_bytes());
        bytes.extend([0, 0, 0x21, 0]);
        bytes.extend(hide(self.crc).to_le_bytes());
        bytes.extend(hide(self.data.len() as u32).to_le_bytes());
        bytes.extend(self.local_size.unwrap_or(hide(self.size)).to_le_bytes());
        bytes.extend((name.len() as u16).to_le_bytes());
        bytes.extend((self.local_extra.len() as u16).to_le_bytes());
        bytes.extend(name);
        bytes.extend(&self.local_extra);
        bytes.extend(&self.data);
        bytes.extend(&self.descriptor);
        bytes
    }

    fn central(&self, offset: u32) -> Vec<u8> {
        let mut bytes = b"PK\x01\x02\x14".to_vec();
        bytes.push(self.maker);
        bytes.extend([0x14, 0]);
        bytes.extend(self.flags.to_le_bytes());
        bytes.extend(self.method.to_le_bytes());
        bytes.extend([0, 0, 0x21, 0]);
        bytes.extend(self.crc.to_le_bytes());
        bytes.extend((self.data.len() as u32).to_le_bytes());
        bytes.extend(self.size.to_le_bytes());
        bytes.extend((self.name.len() as u16).to_le_bytes());
        bytes.extend((self.extra.len() as u16).to_le_bytes());
        bytes.extend([0; 6]);
        bytes.extend(self.attributes.to_le_bytes());
        bytes.extend(self.offset.unwrap_or(offset).to_le_bytes());
        bytes.extend(&self.name);
        bytes.extend(&self.extra);
        bytes
    }
}

/// The whole archive.
pub fn zip(parts: &[Part]) -> Vec<u8> {
    zip_with(parts, b"", 0)
}

/// With bytes between the entries and the directory, and a wrong number of entries.
pub fn zip_with(parts: &[Part], gap: &[u8], count_off_by: u16) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for part in parts {
        directory.extend(part.central(bytes.len() as u32));
        if part.offset.is_none() {
            bytes.extend(part.local());
        }
    }
    bytes.extend(gap);
    let at = bytes.len() as u32;
    let count = parts.len() as u16 + count_off_by;
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend(count.to_le_bytes());
    bytes.extend(count.to_le_bytes());
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(at.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

/// The same archive with its end written in 64 bits, too; `shift` makes the two disagree.
pub fn zip64(parts: &[Part], shift: u64) -> Vec<u8> {
    let narrow = zip(parts);
    let (body, end) = narrow.split_at(narrow.len() - 22);
    let size = u64::from(u32::from_le_bytes(end[12..16].try_into().unwrap()));
    let offset = u64::from(u32::from_le_bytes(end[16..20].try_into().unwrap()));
    let mut bytes = body.to_vec();
    let at = bytes.len() as u64;
    bytes.extend(b"PK\x06\x06");
    bytes.extend(44u64.to_le_bytes());
    bytes.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend((parts.len() as u64).to_le_bytes());
    bytes.extend((parts.len() as u64).to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes.extend((offset + shift).to_le_bytes());
    bytes.extend(b"PK\x06\x07\0\0\0\0");
    bytes.extend(at.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(end);
    bytes
}
