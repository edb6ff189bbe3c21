//! The store in a directory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use onward_core::document::Document;
use onward_core::model::{AppName, Digest, EnvironmentName, Generation, ServerName, WriteId};
use onward_core::outcome::Outcome;
use onward_core::ports::{StateStore, StoreError, Stored, WriteRefused, may_replace};
use onward_core::report::Report;

use super::file;
use super::inspect::{self, Current};
use super::sign::{Address, Sign};

/// The documents of one app and environment below a directory.
///
/// # Guarantees
/// Besides those of [`StateStore`]: several processes at once are safe, by a file lock that the
/// system releases when its holder dies. A valid edit of `state.json` that raises `generation` by
/// one is obeyed: it is chained and recorded by whoever reads it first.
///
/// # Caveats
/// The directory must be on a local file system: locks and renames of network file systems are
/// not relied upon.
#[derive(Debug, Clone)]
pub struct DirectoryStore {
    root: PathBuf,
    directory: PathBuf,
}

/// A file that is not what was written, beside the last good generation.
#[derive(Debug, Clone)]
pub struct Difference {
    /// The last good generation.
    pub good: Stored,
    /// Its bytes.
    pub good_bytes: Vec<u8>,
    /// What the file has now; `None` when it is missing.
    pub found: Option<Vec<u8>>,
    /// Why it is not taken.
    pub reason: String,
}

impl DirectoryStore {
    /// The store of one app and environment below `root`. Nothing is made before the first write.
    pub fn new(root: &Path, app: &AppName, environment: &EnvironmentName) -> Self {
        let directory = root.join(app.as_str()).join(environment.as_str());
        Self { root: root.to_owned(), directory }
    }

    /// The directory of all environments.
    pub fn address(&self) -> Address {
        Address::new(self.root.display().to_string())
    }

    /// The sign in the place of the document, if there is one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn sign(&self) -> Result<Option<Sign>, StoreError> {
        Ok(file::read(&self.state_file())?.as_deref().and_then(Sign::decode))
    }

    /// The file that holds the current document.
    pub fn state_file(&self) -> PathBuf {
        self.directory.join("state.json")
    }

    fn history(&self) -> PathBuf {
        self.directory.join("history")
    }

    pub(super) fn recorded_file(&self, generation: Generation) -> PathBuf {
        self.history().join(inspect::recorded_name(generation))
    }

    pub(super) fn reports(&self) -> PathBuf {
        self.directory.join("reports")
    }

    fn report_file(&self, server: &ServerName) -> PathBuf {
        self.reports().join(format!("{server}.json"))
    }

    /// All generations that were recorded, in order.
    pub fn generations(&self) -> Result<Vec<Generation>, StoreError> {
        let directory = self.history();
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(file::failed(&directory, &error)),
        };
        let mut generations: Vec<_> = entries
            .filter_map(|entry| inspect::recorded_generation(entry.ok()?.file_name().to_str()?))
            .collect();
        generations.sort_unstable();
        Ok(generations)
    }

    /// The file that is not taken, when that is how things are.
    pub fn difference(&self) -> Result<Option<Difference>, StoreError> {
        let found = file::read(&self.state_file())?;
        let Current::Damaged(reason) = self.judge(found.as_deref())? else { return Ok(None) };
        let last = self.generations()?.last().copied().unwrap_or_default();
        let place = self.recorded_file(last);
        let Some(good_bytes) = file::read(&place)? else { return Ok(None) };
        let good = decode(&place, &good_bytes)?;
        Ok(Some(Difference { good, good_bytes, found, reason }))
    }

    /// Makes `document` the next generation after `good`, whatever the file holds now: how a
    /// person's decision about a damaged file is carried out.
    pub fn settle(
        &self,
        good: &Stored,
        document: Document,
        by: WriteId,
    ) -> Outcome<Stored, WriteRefused> {
        let _lock = match self.lock() {
            Ok(lock) => lock,
            Err(error) => return Outcome::Refused(WriteRefused::Store(error)),
        };
        self.put(&chained(good, document, by))
    }

    /// Waits until no other process replaces the document.
    pub(super) fn lock(&self) -> Result<File, StoreError> {
        let path = self.directory.join("lock");
        let open = || -> std::io::Result<File> {
            fs::create_dir_all(self.history())?;
            fs::create_dir_all(self.directory.join("reports"))?;
            let file = File::options().create(true).append(true).open(&path)?;
            file.lock()?;
            Ok(file)
        };
        open().map_err(|error| file::failed(&path, &error))
    }

    fn judge(&self, bytes: Option<&[u8]>) -> Result<Current, StoreError> {
        // The common case needs no listing: the copy of the same generation is there.
        let recorded = |generation| file::read(&self.recorded_file(generation)).ok().flatten();
        if let Some(bytes) = bytes
            && let Ok(document) = Document::decode(bytes)
            && recorded(document.generation).as_deref() == Some(bytes)
        {
            return Ok(Current::Good(document, Digest::of(bytes)));
        }
        let last = self.generations()?.last().copied();
        Ok(inspect::judge(bytes, last, recorded))
    }

    /// The current document, with what others left undone finished. Holds the lock.
    fn settled(&self, _lock: &File) -> Result<Option<Stored>, StoreError> {
        let path = self.state_file();
        let bytes = file::read(&path)?;
        match self.judge(bytes.as_deref())? {
            Current::None => Ok(None),
            Current::Good(document, digest) => Ok(Some(stored(document, digest))),
            Current::Unrecorded(document, digest) => {
                self.record(document.generation, &bytes.unwrap_or_default())?;
                Ok(Some(stored(document, digest)))
            }
            Current::Elsewhere(sign) => Err(inspect::elsewhere(path.display().to_string(), sign)),
            Current::Edited(document) => self.obey(document).map(Some),
            Current::Damaged(reason) => {
                let last_good = self.generations()?.last().copied().unwrap_or_default();
                Err(StoreError::Damaged { place: path.display().to_string(), reason, last_good })
            }
        }
    }

    /// Chains and records what a person made of the document.
    fn obey(&self, document: Document) -> Result<Stored, StoreError> {
        let last = Generation(document.generation.0.saturating_sub(1));
        let place = self.recorded_file(last);
        let bytes = file::read(&place)?.unwrap_or_default();
        let good = decode(&place, &bytes)?;
        let by = WriteId::new(&format!("edit-{}", document.generation));
        match self.put(&chained(&good, document, by)) {
            Outcome::Done(stored) => Ok(stored),
            Outcome::Refused(WriteRefused::Store(error)) => Err(error),
            Outcome::Refused(WriteRefused::Conflict) | Outcome::Unknown(_) => {
                Err(StoreError::Unavailable {
                    place: self.state_file().display().to_string(),
                    reason: "the edit could not be recorded durably".to_owned(),
                })
            }
        }
    }

    /// Writes the document and its copy. The rename of `state.json` is the moment that counts.
    fn put(&self, next: &Document) -> Outcome<Stored, WriteRefused> {
        let bytes = next.encode();
        match file::replace(&self.state_file(), &bytes) {
            Err((error, true)) => return Outcome::Unknown(error.to_string()),
            Err((error, false)) => return Outcome::Refused(WriteRefused::Store(error)),
            Ok(()) => {}
        }
        match self.record(next.generation, &bytes) {
            // Whoever reads next makes the copy.
            Err(error) => Outcome::Unknown(error.to_string()),
            Ok(()) => Outcome::Done(stored(next.clone(), Digest::of(&bytes))),
        }
    }

    pub(super) fn record(&self, generation: Generation, bytes: &[u8]) -> Result<(), StoreError> {
        file::replace(&self.recorded_file(generation), bytes).map_err(|(error, _)| error)
    }
}

impl StateStore for DirectoryStore {
    fn read(&self) -> Result<Option<Stored>, StoreError> {
        let bytes = file::read(&self.state_file())?;
        match self.judge(bytes.as_deref())? {
            Current::None => Ok(None),
            Current::Good(document, digest) => Ok(Some(stored(document, digest))),
            _ => self.settled(&self.lock()?),
        }
    }

    fn write(
        &self,
        expected: Option<Generation>,
        next: &Arc<Document>,
    ) -> Outcome<Stored, WriteRefused> {
        let current = self.lock().and_then(|lock| Ok((self.settled(&lock)?, lock)));
        let (current, _lock) = match current {
            Ok(current) => current,
            Err(error) => return Outcome::Refused(WriteRefused::Store(error)),
        };
        let generation = current.as_ref().map(|stored| stored.document.generation);
        if !may_replace(generation, expected) {
            return Outcome::Refused(WriteRefused::Conflict);
        }
        self.put(next)
    }

    fn read_generation(&self, generation: Generation) -> Result<Option<Stored>, StoreError> {
        let path = self.recorded_file(generation);
        file::read(&path)?.map(|bytes| decode(&path, &bytes)).transpose()
    }

    fn put_report(&self, server: &ServerName, report: &Report) -> Result<(), StoreError> {
        let path = self.report_file(server);
        let bytes = serde_json::to_vec_pretty(report).expect("a report has only text keys");
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| file::failed(parent, &error))?;
        }
        file::replace(&path, &bytes).map_err(|(error, _)| error)
    }

    fn report(&self, server: &ServerName) -> Result<Option<Report>, StoreError> {
        let path = self.report_file(server);
        let Some(bytes) = file::read(&path)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| StoreError::Unavailable {
            place: path.display().to_string(),
            reason: error.to_string(),
        })
    }
}

pub(super) fn stored(document: Document, digest: Digest) -> Stored {
    Stored { document: Arc::new(document), digest }
}

fn decode(path: &Path, bytes: &[u8]) -> Result<Stored, StoreError> {
    decode_bytes(|| path.display().to_string(), bytes)
}

/// The document of some bytes, which are kept in a place.
pub(super) fn decode_bytes(place: impl Fn() -> String, bytes: &[u8]) -> Result<Stored, StoreError> {
    let document =
        Document::decode(bytes).map_err(|reason| StoreError::Invalid { place: place(), reason })?;
    Ok(stored(document, Digest::of(bytes)))
}

/// A person's document as the generation that follows `good`.
pub(super) fn chained(good: &Stored, mut document: Document, by: WriteId) -> Document {
    document.generation = good.document.generation.next();
    document.parent = Some(good.digest);
    document.write_id = by;
    document
}
