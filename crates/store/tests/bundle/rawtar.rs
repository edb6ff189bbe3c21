//! Tar archives made byte by byte, so that they can be wrong in every way.

use std::io::Write;

/// A header of 512 bytes with a right checksum.
pub fn header(name: &[u8], kind: u8, mode: u32, size: u64, link: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    block[100..108].copy_from_slice(format!("{mode:07o}\0").as_bytes());
    block[108..124].copy_from_slice(b"0001750\x000001750\0");
    if size < 8 << 30 {
        block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    } else {
        block[124] = 0x80;
        block[128..136].copy_from_slice(&size.to_be_bytes());
    }
    block[136..148].copy_from_slice(b"14000000000\0");
    block[156] = kind;
    block[157..157 + link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
    block[257..265].copy_from_slice(b"ustar\x0000");
    sum(&mut block);
    block
}

/// Sets the checksum.
pub fn sum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// An entry with its content, padded.
pub fn entry(name: impl AsRef<[u8]>, kind: u8, mode: u32, content: &[u8], link: &str) -> Vec<u8> {
    let mut bytes = header(name.as_ref(), kind, mode, content.len() as u64, link.as_bytes());
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub fn file(name: impl AsRef<[u8]>, content: &str) -> Vec<u8> {
    entry(name, b'0', 0o644, content.as_bytes(), "")
}

pub fn link(name: &str, target: &str) -> Vec<u8> {
    entry(name, b'2', 0o777, b"", target)
}

pub fn hard(name: &str, target: &str) -> Vec<u8> {
    entry(name, b'1', 0o644, b"", target)
}

pub fn dir(name: &str) -> Vec<u8> {
    entry(name, b'5', 0o755, b"", "")
}

/// A GNU long name before an entry.
pub fn long(kind: u8, name: &[u8]) -> Vec<u8> {
    entry("././@LongLink", kind, 0o644, &[name, b"\0"].concat(), "")
}

/// A pax header.
pub fn pax(kind: u8, records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in records {
        let rest = 3 + key.len() + value.len();
        let mut len = rest + 1;
        while len != rest + len.to_string().len() {
            len = rest + len.to_string().len();
        }
        bytes.extend(format!("{len} {key}=").into_bytes());
        bytes.extend_from_slice(value);
        bytes.push(b'\n');
    }
    entry("PaxHeader", kind, 0o644, &bytes, "")
}

/// Entries and the end of the archive.
pub fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

pub fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

pub fn bz2(bytes: &[u8]) -> Vec<u8> {
    let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

pub fn zst(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}
