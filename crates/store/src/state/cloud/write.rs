//! Replacing the head: the one place where two writers meet.

use std::sync::Arc;
use std::time::Instant;

use onward_core::document::Document;
use onward_core::model::{Digest, Generation};
use onward_core::outcome::Outcome;
use onward_core::ports::{StoreError, Stored, WriteRefused};

use super::store::{CloudStore, Known};
use super::wire::{BUSY, Object, PATIENCE, Put, Reason, TRIES, Version, When, pause};

/// What is known after a try that was not answered with success.
enum Then {
    /// It is decided.
    Answer(Outcome<Stored, WriteRefused>),
    /// Nothing has happened: the same again, under this condition.
    Again(When),
}

impl CloudStore {
    /// Replaces the head by `next` while `when` holds, and records it.
    ///
    /// Each try has the same content, and a condition that holds at most once. So it does no harm
    /// when a try whose answer was lost arrives after the next one.
    pub(super) fn replace(
        &self,
        mut when: When,
        next: &Arc<Document>,
    ) -> Outcome<Stored, WriteRefused> {
        let bytes = next.encode();
        let began = Instant::now();
        let mut doubt: Option<Reason> = None;
        let mut last = Reason::passing(BUSY);
        for n in 1..=TRIES {
            let passing = match self.wire.put_once(&self.head_object(), &bytes, &when) {
                Put::Done(version) => return self.wrote(next, &bytes, version),
                Put::Unmet => true,
                Put::Refused(reason) => {
                    last = reason.clone();
                    reason.passing
                }
                Put::Unknown(reason) => {
                    last = reason.clone();
                    doubt = Some(reason);
                    true
                }
            };
            if !passing || began.elapsed() > PATIENCE {
                break;
            }
            match self.then(when, next, &bytes, doubt.as_ref()) {
                Then::Answer(outcome) => return outcome,
                Then::Again(same) => when = same,
            }
            pause(n);
        }
        match doubt {
            Some(reason) => Outcome::Unknown(reason.text),
            None => Outcome::Refused(WriteRefused::Store(self.failed(&self.head_object(), &last))),
        }
    }

    /// Looks what became of a try.
    fn then(&self, when: When, next: &Arc<Document>, bytes: &[u8], doubt: Option<&Reason>) -> Then {
        let refused = |error| match doubt {
            Some(reason) => Outcome::Unknown(reason.text.clone()),
            None => Outcome::Refused(WriteRefused::Store(error)),
        };
        let found = match self.head() {
            Ok(found) => found,
            Err(error) => return Then::Answer(refused(error)),
        };
        let unchanged = match (&when, &found) {
            (When::Absent, None) => true,
            (When::Is(version), Some(object)) => *version == object.version,
            _ => false,
        };
        if unchanged {
            return Then::Again(when);
        }
        if let Some(object) = found.as_ref().filter(|object| object.bytes == bytes)
            && doubt.is_some()
        {
            return Then::Answer(self.wrote(next, bytes, object.version.clone()));
        }
        // Ours may have been there, and been replaced since: then its copy was made before.
        if doubt.is_some() {
            match self.recorded(next.generation) {
                Ok(Some(recorded)) if recorded == bytes => {
                    let stored = Self::good((**next).clone(), Digest::of(bytes));
                    return Then::Answer(Outcome::Done(stored));
                }
                Ok(_) => {}
                Err(error) => return Then::Answer(refused(error)),
            }
        }
        self.conflict_or_again(found.as_ref(), next)
    }

    /// Somebody else wrote: another document, or the same one once more.
    fn conflict_or_again(&self, found: Option<&Object>, next: &Document) -> Then {
        let expected = Generation(next.generation.0.saturating_sub(1));
        let same = found.filter(|object| {
            let decoded = Document::decode(&object.bytes);
            decoded.is_ok_and(|document| document.generation == expected)
                && self.recorded(expected).is_ok_and(|copy| copy.as_ref() == Some(&object.bytes))
        });
        match same {
            Some(object) => Then::Again(When::Is(object.version.clone())),
            None => Then::Answer(Outcome::Refused(WriteRefused::Conflict)),
        }
    }

    /// The head is written; makes its copy.
    fn wrote(
        &self,
        next: &Arc<Document>,
        bytes: &[u8],
        version: Version,
    ) -> Outcome<Stored, WriteRefused> {
        let stored = Stored { document: Arc::clone(next), digest: Digest::of(bytes) };
        match self.record(next.generation, bytes) {
            Ok(true) => {
                self.remember(Known { stored: stored.clone(), version });
                Outcome::Done(stored)
            }
            // A person replaced the object in the moment between, and that was recorded.
            Ok(false) => Outcome::Unknown("the document was replaced by hand".to_owned()),
            // Whoever reads next makes the copy.
            Err(error) => Outcome::Unknown(error.to_string()),
        }
    }

    /// Makes the copy of a generation; whether it is the one that is there now.
    pub(super) fn record(&self, generation: Generation, bytes: &[u8]) -> Result<bool, StoreError> {
        let object = self.recorded_object(generation);
        self.create_same(&object, bytes)
    }

    /// Creates an object that is never replaced; whether it has these bytes now.
    pub(super) fn create_same(&self, object: &str, bytes: &[u8]) -> Result<bool, StoreError> {
        let began = Instant::now();
        let mut n = 0;
        loop {
            n += 1;
            let reason = match self.wire.put_once(object, bytes, &When::Absent) {
                Put::Done(_) => return Ok(true),
                Put::Unmet => Reason::passing(BUSY),
                Put::Refused(reason) | Put::Unknown(reason) => reason,
            };
            if reason.passing {
                let found = self.wire.get(object).map_err(|reason| self.failed(object, &reason))?;
                if let Some(found) = found {
                    return Ok(found.bytes == bytes);
                }
            }
            if !reason.passing || n >= TRIES || began.elapsed() > PATIENCE {
                return Err(self.failed(object, &reason));
            }
            pause(n);
        }
    }
}
