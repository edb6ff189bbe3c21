//! The records of a pax header.

use super::fault::Fault;

/// What matters of a pax header.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) linkpath: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
}

impl Pax {
    /// Reads `LENGTH KEY=VALUE\n` records. A `global` header may say nothing about names and sizes.
    pub(crate) fn parse(mut bytes: &[u8], global: bool) -> Result<Self, Fault> {
        let mut pax = Self::default();
        while !bytes.is_empty() {
            let (key, value, rest) =
                record(bytes).ok_or_else(|| Fault::Corrupt("a pax record is malformed".into()))?;
            bytes = rest;
            if key.starts_with(b"GNU.sparse.") {
                return Err(Fault::Sparse);
            }
            let slot = match key {
                b"path" => pax.path.replace(value.to_vec()).is_some(),
                b"linkpath" => pax.linkpath.replace(value.to_vec()).is_some(),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    let size =
                        size.ok_or_else(|| Fault::Corrupt("a pax size is no number".into()))?;
                    pax.size.replace(size).is_some()
                }
                _ => continue,
            };
            if global {
                return Err(Fault::Ambiguous("a global header names or sizes all entries".into()));
            }
            if slot {
                return Err(Fault::Ambiguous("a pax header gives one key twice".into()));
            }
        }
        Ok(pax)
    }
}

/// The first record, and what follows it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = bytes.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..blank]).ok()?.parse().ok()?;
    let record = bytes.get(blank + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &bytes[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_records() {
        for wrong in
            [&b"13 path=a=b\n"[..], b"11 path=a=b\n", b"12path=a=b\n", b"7 path\n", b"x a=b\n"]
        {
            assert!(Pax::parse(wrong, false).is_err(), "{}", wrong.escape_ascii());
        }
        let pax = Pax::parse(b"12 path=a=b\n9 size=7\n", false).unwrap();
        assert_eq!(pax, Pax { path: Some(b"a=b".into()), linkpath: None, size: Some(7) });
    }
}
