//! What a bucket has, in bytes: for moving it elsewhere.

use std::time::Instant;

use onward_core::model::Generation;
use onward_core::outcome::Outcome;
use onward_core::ports::{StoreError, WriteRefused};

use super::store::CloudStore;
use super::wire::{PATIENCE, Put, TRIES, When, pause};

impl CloudStore {
    pub(in crate::state) fn head_bytes(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.head()?.map(|object| object.bytes))
    }

    /// Replaces the head while it has the bytes `expected`. An answer that was lost is looked for.
    pub(in crate::state) fn swap_head(
        &self,
        expected: Option<&[u8]>,
        bytes: &[u8],
    ) -> Outcome<(), WriteRefused> {
        let refused = |error| Outcome::Refused(WriteRefused::Store(error));
        if let Err(error) = self.prove() {
            return refused(error);
        }
        let began = Instant::now();
        let mut doubt = None;
        for n in 1..=TRIES {
            let found = match self.head() {
                Ok(found) => found,
                Err(error) if doubt.is_some() => return Outcome::Unknown(error.to_string()),
                Err(error) => return refused(error),
            };
            let now = found.as_ref().map(|object| object.bytes.as_slice());
            if now == Some(bytes) && doubt.is_some() {
                return Outcome::Done(());
            }
            if now != expected {
                return Outcome::Refused(WriteRefused::Conflict);
            }
            let when = found.map_or(When::Absent, |object| When::Is(object.version));
            match self.wire.put_once(&self.head_object(), bytes, &when) {
                Put::Done(_) => return Outcome::Done(()),
                Put::Unmet => {}
                Put::Refused(reason) if reason.passing && began.elapsed() < PATIENCE => {}
                Put::Refused(reason) if doubt.is_none() => {
                    return refused(self.failed(&self.head_object(), &reason));
                }
                Put::Refused(reason) | Put::Unknown(reason) => doubt = Some(reason.text),
            }
            pause(n);
        }
        Outcome::Unknown(doubt.unwrap_or_else(|| super::wire::BUSY.to_owned()))
    }

    pub(in crate::state) fn recorded_bytes(
        &self,
        generation: Generation,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.recorded(generation)
    }

    /// Adds a generation; whether it has these bytes now.
    pub(in crate::state) fn keep_recorded(
        &self,
        generation: Generation,
        bytes: &[u8],
    ) -> Result<bool, StoreError> {
        self.record(generation, bytes)
    }

    pub(in crate::state) fn report_names(&self) -> Result<Vec<String>, StoreError> {
        let directory = self.report_directory();
        let names =
            self.wire.list(&directory).map_err(|reason| self.failed(&directory, &reason))?;
        let mut names: Vec<_> =
            names.iter().filter_map(|name| Some(name.strip_suffix(".json")?.to_owned())).collect();
        names.sort_unstable();
        Ok(names)
    }

    pub(in crate::state) fn report_bytes(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let object = self.report_object(name);
        let found = self.wire.get(&object).map_err(|reason| self.failed(&object, &reason))?;
        Ok(found.map(|object| object.bytes))
    }

    pub(in crate::state) fn keep_report(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.overwrite(&self.report_object(name), bytes)
    }
}
