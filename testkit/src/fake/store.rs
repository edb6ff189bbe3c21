//! The strict state store in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use onward_core::document::{Document, InvalidDocument};
use onward_core::model::{Digest, Generation, ServerName};
use onward_core::outcome::Outcome;
use onward_core::ports::{StateStore, StoreError, Stored, WriteRefused, may_replace};
use onward_core::report::Report;

/// A state store in memory.
///
/// # Guarantees
/// Those of [`StateStore`]. It also refuses a document that does not name itself as the one that
/// follows what its writer expected, which no correct writer makes.
#[derive(Debug, Default)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    current: Option<Stored>,
    generations: BTreeMap<Generation, Stored>,
    reports: BTreeMap<ServerName, Report>,
}

impl Clone for MemoryStore {
    fn clone(&self) -> Self {
        let inner = self.lock();
        Self {
            inner: Mutex::new(Inner {
                current: inner.current.clone(),
                generations: inner.generations.clone(),
                reports: inner.reports.clone(),
            }),
        }
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The current document, if there is one.
    pub fn current(&self) -> Option<Stored> {
        self.lock().current.clone()
    }

    /// The generations that were written, oldest first.
    pub fn all(&self) -> Vec<Stored> {
        self.lock().generations.values().cloned().collect()
    }

    /// What is kept of a generation.
    pub fn at(&self, generation: Generation) -> Option<Stored> {
        self.lock().generations.get(&generation).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for MemoryStore {
    fn read(&self) -> Result<Option<Stored>, StoreError> {
        Ok(self.current())
    }

    fn write(
        &self,
        expected: Option<Generation>,
        next: &Arc<Document>,
    ) -> Outcome<Stored, WriteRefused> {
        let mut inner = self.lock();
        let current = inner.current.as_ref().map(|stored| stored.document.generation);
        if !may_replace(current, expected) {
            return Outcome::Refused(WriteRefused::Conflict);
        }
        if next.generation != expected.unwrap_or_default().next() {
            let reason = InvalidDocument::Meaning(format!(
                "generation {} cannot follow {}",
                next.generation,
                expected.unwrap_or_default()
            ));
            let place = "memory".to_owned();
            return Outcome::Refused(WriteRefused::Store(StoreError::Invalid { place, reason }));
        }
        let digest = Digest::of(&next.encode());
        let stored = Stored { document: Arc::clone(next), digest };
        inner.generations.insert(next.generation, stored.clone());
        inner.current = Some(stored.clone());
        Outcome::Done(stored)
    }

    fn read_generation(&self, generation: Generation) -> Result<Option<Stored>, StoreError> {
        Ok(self.at(generation))
    }

    fn put_report(&self, server: &ServerName, report: &Report) -> Result<(), StoreError> {
        self.lock().reports.insert(server.clone(), report.clone());
        Ok(())
    }

    fn report(&self, server: &ServerName) -> Result<Option<Report>, StoreError> {
        Ok(self.lock().reports.get(server).cloned())
    }
}
