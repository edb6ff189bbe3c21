//! A store that breaks its promise: the control of the contract suite.

use std::sync::{Arc, Mutex, PoisonError};

use onward_core::document::Document;
use onward_core::model::{Digest, Generation, ServerName};
use onward_core::outcome::Outcome;
use onward_core::ports::{StateStore, StoreError, Stored, WriteRefused};
use onward_core::report::Report;

/// A store that takes every write, whatever it was expected to replace, as an object store does
/// that ignores conditions. The contract suite must refuse it.
#[derive(Debug, Default)]
pub struct WeakStore {
    written: Mutex<Vec<Stored>>,
}

impl StateStore for WeakStore {
    fn read(&self) -> Result<Option<Stored>, StoreError> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(written.last().cloned())
    }

    fn write(
        &self,
        _expected: Option<Generation>,
        next: &Arc<Document>,
    ) -> Outcome<Stored, WriteRefused> {
        let digest = Digest::of(&next.encode());
        let stored = Stored { document: Arc::clone(next), digest };
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.push(stored.clone());
        Outcome::Done(stored)
    }

    fn read_generation(&self, generation: Generation) -> Result<Option<Stored>, StoreError> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(written.iter().rev().find(|s| s.document.generation == generation).cloned())
    }

    fn put_report(&self, _server: &ServerName, _report: &Report) -> Result<(), StoreError> {
        Ok(())
    }

    fn report(&self, _server: &ServerName) -> Result<Option<Report>, StoreError> {
        Ok(None)
    }
}
