//! Writing a bundle as one archive. The same bundle in the same format gives the same bytes.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use onward_core::model::Digest;
use zip::write::SimpleFileOptions;

use super::disk;
use super::error::{At, Error, Result};
use super::index::Index;
use super::limits::LEVEL;
use super::manifest::{Entry, Kind, Manifest};
use super::reader::Reader;
use super::store::Store;

/// Format of an exported archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// Tar, compressed with zstd.
    TarZst,
    /// Tar, compressed with gzip.
    TarGz,
    /// Tar, compressed with bzip2.
    TarBz2,
    /// Tar alone.
    Tar,
    /// Zip with deflate.
    Zip,
}

impl ExportFormat {
    /// Every format with its ending.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::TarZst, ".tar.zst"),
        (Self::TarGz, ".tar.gz"),
        (Self::TarGz, ".tgz"),
        (Self::TarBz2, ".tar.bz2"),
        (Self::Tar, ".tar"),
        (Self::Zip, ".zip"),
    ];

    /// The format that a file's name asks for; `None` when its ending is none of [`Self::ALL`].
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_lowercase();
        Self::ALL.iter().find(|(_, ending)| name.ends_with(ending)).map(|(format, _)| *format)
    }
}

impl Store {
    /// Writes a bundle to a new archive at `path`: sorted, owner 0, no times. It is complete and durable when its name
    /// appears.
    ///
    /// # Errors
    /// [`Error::Exists`] when there is something at `path`; [`Error::NoBundle`], [`Error::Damaged`],
    /// [`Error::Incomplete`], [`Error::NoSpace`].
    pub fn export(&self, bundle: Digest, path: &Path, format: ExportFormat) -> Result<()> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(Error::Exists(path.to_owned()));
        }
        let _lock = self.lock_shared()?;
        let manifest = self.manifest(bundle)?;
        let index = self.index()?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let unfinished = path.with_file_name(format!(".{name}.{}", disk::unique()));
        let export = Export { manifest: &manifest, index: &index, bundle, path: &unfinished };
        let done = export.write(format).and_then(|()| {
            // A link is made only when the name is still free.
            match fs::hard_link(&unfinished, path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    Err(Error::Exists(path.to_owned()))
                }
                other => other.at("create", path),
            }
        });
        // The archive itself has its own name now, or is not wanted.
        let _ = fs::remove_file(&unfinished);
        done?;
        disk::sync_dir(
            path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")),
        )
    }
}

struct Export<'a> {
    manifest: &'a Manifest,
    index: &'a Index,
    bundle: Digest,
    path: &'a Path,
}

impl Export<'_> {
    fn write(&self, format: ExportFormat) -> Result<()> {
        let file = File::create_new(self.path).at("create", self.path)?;
        let out = BufWriter::with_capacity(1 << 20, file);
        let out = match format {
            ExportFormat::Tar => self.tar(out)?,
            ExportFormat::TarGz => {
                // `GzBuilder` writes no name and no time unless told to.
                let level = flate2::Compression::default();
                let packed = self.tar(flate2::GzBuilder::new().write(out, level))?;
                packed.finish().at("write", self.path)?
            }
            ExportFormat::TarBz2 => {
                let packed =
                    self.tar(bzip2::write::BzEncoder::new(out, bzip2::Compression::default()))?;
                packed.finish().at("write", self.path)?
            }
            ExportFormat::TarZst => {
                let encoder = zstd::Encoder::new(out, LEVEL).and_then(|mut encoder| {
                    encoder.include_checksum(true)?;
                    // The output is the same for any number of threads above none.
                    encoder.multithread(2)?;
                    Ok(encoder)
                });
                let packed = self.tar(encoder.at("write", self.path)?)?;
                packed.finish().at("write", self.path)?
            }
            ExportFormat::Zip => self.zip(out)?,
        };
        let file =
            out.into_inner().map_err(io::IntoInnerError::into_error).at("write", self.path)?;
        file.sync_all().at("sync", self.path)
    }

    fn tar<W: Write>(&self, out: W) -> Result<W> {
        let mut tar = tar::Builder::new(out);
        let mut reader = Reader::new(self.index, self.bundle);
        for entry in self.manifest.entries() {
            self.tar_entry(&mut tar, &mut reader, entry)?;
        }
        tar.into_inner().at("write", self.path)
    }

    fn tar_entry<W: Write>(
        &self,
        tar: &mut tar::Builder<W>,
        reader: &mut Reader<'_>,
        entry: &Entry,
    ) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(entry.size());
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_entry_type(match entry.kind {
            Kind::File { .. } => tar::EntryType::Regular,
            Kind::Link { .. } => tar::EntryType::Symlink,
            Kind::EmptyDir => tar::EntryType::Directory,
        });
        header.set_mode(match entry.kind {
            Kind::File { executable: false, .. } => 0o644,
            Kind::File { executable: true, .. } | Kind::EmptyDir => 0o755,
            Kind::Link { .. } => 0o777,
        });
        if let Kind::Link { target } = &entry.kind {
            self.tar_link(tar, &mut header, target)?;
        }
        // Writes the header alone; the content follows as it comes out of the packs.
        tar.append_data(&mut header, &entry.path, io::empty()).at("write", self.path)?;
        let out = tar.get_mut();
        reader.content(entry, &mut |bytes| out.write_all(bytes).at("write", self.path))?;
        let padding = entry.size().next_multiple_of(512) - entry.size();
        io::copy(&mut io::repeat(0).take(padding), out).at("write", self.path)?;
        Ok(())
    }

    /// Puts the target into the header as it is, or before the header when it is long. The library's own way would
    /// clean it.
    fn tar_link<W: Write>(
        &self,
        tar: &mut tar::Builder<W>,
        header: &mut tar::Header,
        target: &str,
    ) -> Result<()> {
        if header.set_link_name_literal(target).is_ok() {
            return Ok(());
        }
        let mut long = tar::Header::new_gnu();
        long.set_path("././@LongLink").at("write", self.path)?;
        long.set_entry_type(tar::EntryType::GNULongLink);
        long.set_mode(0o644);
        long.set_mtime(0);
        long.set_uid(0);
        long.set_gid(0);
        long.set_size(target.len() as u64 + 1);
        long.set_cksum();
        let bytes = [target.as_bytes(), b"\0"].concat();
        tar.append(&long, bytes.as_slice()).at("write", self.path)
    }

    fn zip<W: Write + io::Seek>(&self, out: W) -> Result<W> {
        let mut zip = zip::ZipWriter::new(out);
        let mut reader = Reader::new(self.index, self.bundle);
        for entry in self.manifest.entries() {
            let options = SimpleFileOptions::default()
                .compression_method(zip::CompressionMethod::Deflated)
                .last_modified_time(zip::DateTime::default())
                .large_file(entry.size() > u64::from(u32::MAX));
            match &entry.kind {
                Kind::Link { target } => {
                    zip.add_symlink(entry.path.as_str(), target, options).at_zip(self.path)?;
                }
                Kind::EmptyDir => {
                    let options = options.unix_permissions(0o755);
                    zip.add_directory(entry.path.as_str(), options).at_zip(self.path)?;
                }
                Kind::File { executable, .. } => {
                    let mode = if *executable { 0o755 } else { 0o644 };
                    let options = options.unix_permissions(mode);
                    zip.start_file(entry.path.as_str(), options).at_zip(self.path)?;
                    reader
                        .content(entry, &mut |bytes| zip.write_all(bytes).at("write", self.path))?;
                }
            }
        }
        zip.finish().at_zip(self.path)
    }
}

trait AtZip<T> {
    fn at_zip(self, path: &Path) -> Result<T>;
}

impl<T> AtZip<T> for zip::result::ZipResult<T> {
    fn at_zip(self, path: &Path) -> Result<T> {
        self.map_err(io::Error::from).at("write", path)
    }
}
