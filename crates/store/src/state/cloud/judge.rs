//! What the head is, compared with the generations that were recorded.
//!
//! There is no lock, so what is looked at may be replaced meanwhile. A head that looks damaged is
//! read once more: only when it is still the same object it is damaged.

use std::cell::RefCell;

use onward_core::document::Document;
use onward_core::model::{Digest, Generation, WriteId};
use onward_core::outcome::Outcome;
use onward_core::ports::{StoreError, WriteRefused};

use super::store::{CloudStore, Known};
use super::wire::{Object, When};
use crate::state::directory::{chained, decode_bytes};
use crate::state::inspect::{self, Current, elsewhere};

/// What one look at the head came to.
pub(super) enum Head {
    /// It is good and recorded; `None`: there never was one.
    Settled(Option<Known>),
    /// It was replaced meanwhile, or has just been mended: look again.
    Changing,
}

impl CloudStore {
    /// Looks at the head once, and finishes what others left undone.
    pub(super) fn look(&self) -> Result<Head, StoreError> {
        let found = self.head()?;
        if let (Some(object), Some(known)) = (&found, &*self.known())
            && object.version == known.version
            && Digest::of(&object.bytes) == known.stored.digest
        {
            return Ok(Head::Settled(Some(known.clone())));
        }
        let known = |document: Document, digest: Digest, object: &Object| Known {
            stored: Self::good(document, digest),
            version: object.version.clone(),
        };
        match (self.judge(found.as_ref())?, &found) {
            (Current::None, _) | (Current::Good(..) | Current::Unrecorded(..), None) => {
                Ok(Head::Settled(None))
            }
            (Current::Good(document, digest), Some(object)) => {
                Ok(Head::Settled(Some(known(document, digest, object))))
            }
            (Current::Unrecorded(document, digest), Some(object)) => {
                match self.record(document.generation, &object.bytes)? {
                    true => Ok(Head::Settled(Some(known(document, digest, object)))),
                    false => Ok(Head::Changing),
                }
            }
            (Current::Elsewhere(sign), _) => Err(elsewhere(self.place(&self.head_object()), sign)),
            (Current::Edited(document), Some(object)) => self.obey(document, object),
            (Current::Edited(_), None) => Ok(Head::Changing),
            (Current::Damaged(reason), _) => self.confirmed(found.as_ref(), reason),
        }
    }

    /// Damage that is still there when it is looked at again.
    fn confirmed(&self, found: Option<&Object>, reason: String) -> Result<Head, StoreError> {
        let again = self.head()?;
        if again.as_ref().map(|object| &object.version) != found.map(|object| &object.version) {
            return Ok(Head::Changing);
        }
        let place = self.place(&self.head_object());
        let last_good = self.generations()?.last().copied().unwrap_or_default();
        Err(StoreError::Damaged { place, reason, last_good })
    }

    /// Chains and records what a person made of the document. Whoever does it writes the same.
    fn obey(&self, document: Document, object: &Object) -> Result<Head, StoreError> {
        let last = Generation(document.generation.0.saturating_sub(1));
        let bytes = self.recorded(last)?.unwrap_or_default();
        let good = decode_bytes(|| self.place(&self.recorded_object(last)), &bytes)?;
        let by = WriteId::new(&format!("edit-{}", document.generation));
        let next = std::sync::Arc::new(chained(&good, document, by));
        self.prove()?;
        match self.replace(When::Is(object.version.clone()), &next) {
            Outcome::Refused(WriteRefused::Store(error)) => Err(error),
            Outcome::Done(_) | Outcome::Refused(WriteRefused::Conflict) | Outcome::Unknown(_) => {
                Ok(Head::Changing)
            }
        }
    }

    /// Judges the head.
    pub(super) fn judge(&self, found: Option<&Object>) -> Result<Current, StoreError> {
        let bytes = found.map(|object| object.bytes.as_slice());
        // The common case needs no listing: the copy is there, and none of a later generation.
        if let Some(bytes) = bytes
            && let Ok(document) = Document::decode(bytes)
        {
            let generation = document.generation;
            let (own, later) = self.recorded_around(generation)?;
            if own.as_deref() == Some(bytes) {
                let digest = Digest::of(bytes);
                return Ok(match later {
                    false => Current::Good(document, digest),
                    true => Current::Damaged(format!(
                        "it is generation {generation} again, and generation {} was written \
                         after it",
                        generation.next()
                    )),
                });
            }
        }
        let last = match bytes.and_then(crate::state::sign::Sign::decode) {
            Some(_) => None,
            None => self.generations()?.last().copied(),
        };
        let failed = RefCell::new(None);
        let recorded = |generation| match self.recorded(generation) {
            Ok(bytes) => bytes,
            Err(error) => {
                failed.replace(Some(error));
                None
            }
        };
        let current = inspect::judge(bytes, last, recorded);
        failed.into_inner().map_or(Ok(current), Err)
    }

    /// The copy of a generation, and whether there is one of the generation after it.
    fn recorded_around(
        &self,
        generation: Generation,
    ) -> Result<(Option<Vec<u8>>, bool), StoreError> {
        let (own, later) =
            (self.recorded_object(generation), self.recorded_object(generation.next()));
        let both = self.wire.get_two(&own, &later);
        let (own, later) = both.map_err(|reason| self.failed(&own, &reason))?;
        Ok((own.map(|object| object.bytes), later.is_some()))
    }
}
