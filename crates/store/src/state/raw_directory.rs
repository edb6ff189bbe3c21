//! What a directory has, in bytes: for moving it elsewhere.

use std::fs;

use onward_core::model::Generation;
use onward_core::outcome::Outcome;
use onward_core::ports::{StoreError, WriteRefused};

use super::directory::DirectoryStore;
use super::file;

impl DirectoryStore {
    pub(super) fn head_bytes(&self) -> Result<Option<Vec<u8>>, StoreError> {
        file::read(&self.state_file())
    }

    /// Replaces the head while it has the bytes `expected`.
    pub(super) fn swap_head(
        &self,
        expected: Option<&[u8]>,
        bytes: &[u8],
    ) -> Outcome<(), WriteRefused> {
        let refused = |error| Outcome::Refused(WriteRefused::Store(error));
        let now = self.lock().and_then(|lock| Ok((self.head_bytes()?, lock)));
        let (now, _lock) = match now {
            Ok(now) => now,
            Err(error) => return refused(error),
        };
        if now.as_deref() != expected {
            return Outcome::Refused(WriteRefused::Conflict);
        }
        match file::replace(&self.state_file(), bytes) {
            Ok(()) => Outcome::Done(()),
            Err((error, true)) => Outcome::Unknown(error.to_string()),
            Err((error, false)) => refused(error),
        }
    }

    pub(super) fn recorded_bytes(
        &self,
        generation: Generation,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        file::read(&self.recorded_file(generation))
    }

    /// Adds a generation; whether it has these bytes now.
    pub(super) fn keep_recorded(
        &self,
        generation: Generation,
        bytes: &[u8],
    ) -> Result<bool, StoreError> {
        let _lock = self.lock()?;
        if let Some(found) = self.recorded_bytes(generation)? {
            return Ok(found == bytes);
        }
        self.record(generation, bytes).map(|()| true)
    }

    pub(super) fn report_names(&self) -> Result<Vec<String>, StoreError> {
        let directory = self.reports();
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(file::failed(&directory, &error)),
        };
        let name = |entry: fs::DirEntry| {
            Some(entry.file_name().to_str()?.strip_suffix(".json")?.to_owned())
        };
        let mut names: Vec<_> = entries.filter_map(|entry| name(entry.ok()?)).collect();
        names.sort_unstable();
        Ok(names)
    }

    pub(super) fn report_bytes(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        file::read(&self.reports().join(format!("{name}.json")))
    }

    pub(super) fn keep_report(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.reports().join(format!("{name}.json"));
        let _lock = self.lock()?;
        file::replace(&path, bytes).map_err(|(error, _)| error)
    }
}
