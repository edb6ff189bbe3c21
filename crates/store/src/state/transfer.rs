//! Moving the documents of an environment from one place to another.
//!
//! ```text
//!  1 claim   the new place gets a sign: arriving from the old one
//!  2 copy    every generation, its chain verified, and every report
//!  3 close   the old head becomes a sign: moved to the new place      ← compare-and-swap
//!  4 open    the sign of the new place becomes the document
//! ```
//!
//! # Guarantees
//! At no moment two places have a document that can be written. A move that stops anywhere is
//! finished by the same move again: before step 3 the old place is the truth, after it nobody
//! writes until step 4 was done. Whoever wrote to the old place meanwhile made step 3 fail, and is
//! copied too.

use onward_core::document::Document;
use onward_core::model::{Digest, Generation, OperationNumber};
use onward_core::outcome::Outcome;
use onward_core::ports::{StateStore, StoreError, WriteRefused};

use super::documents::Documents;
use super::sign::{Address, Sign};

/// How often the old place may change while it is copied.
const ROUNDS: usize = 10;

/// What a move came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transfer {
    /// The documents are in the new place now.
    Moved {
        /// The current generation.
        generation: Generation,
        /// How many generations were copied or were there already.
        generations: usize,
        /// How many reports were copied.
        reports: usize,
    },
    /// They were there before.
    Already(Generation),
}

/// Why documents are not moved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransferRefused {
    /// One of the places cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is nothing to move.
    #[error("there is no state in {0}")]
    Nothing(Address),
    /// An operation has not ended.
    #[error("operation {0} is in flight")]
    InFlight(OperationNumber),
    /// The new place has documents of its own.
    #[error("{to} has a state of its own, which does not come from this one")]
    Foreign {
        /// The new place.
        to: Address,
    },
    /// The documents were moved to yet another place.
    #[error("the state was moved from {from} to {to} before")]
    MovedElsewhere {
        /// The old place.
        from: Address,
        /// Where they are.
        to: Address,
    },
    /// A generation that does not name the one before it.
    #[error("generation {generation} in {from} does not follow from the one before it")]
    Broken {
        /// The old place.
        from: Address,
        /// The generation.
        generation: Generation,
    },
    /// What was closed here is not in the new place.
    #[error("the state was moved to {to}, and generation {generation} of it is not there")]
    Gone {
        /// The new place.
        to: Address,
        /// The generation that was current when it was moved.
        generation: Generation,
    },
    /// It is written all the time.
    #[error("the state was changed {ROUNDS} times while it was copied")]
    Changing,
    /// An answer was lost.
    #[error("it is not known how far it came: {0}")]
    Unknown(String),
}

/// The document to be moved.
struct Current {
    bytes: Vec<u8>,
    generation: Generation,
}

/// Moves every generation, every report and the document from one place to another. The same again
/// goes on where it stopped.
///
/// # Errors
/// [`TransferRefused`]; whatever it says, there is one truth or none is open.
pub fn transfer(from: &Documents, to: &Documents) -> Result<Transfer, TransferRefused> {
    if from.address() == to.address() {
        let stored = from.read()?.ok_or_else(|| TransferRefused::Nothing(from.address()))?;
        return Ok(Transfer::Already(stored.document.generation));
    }
    for _ in 0..ROUNDS {
        if let Some((generation, digest)) = closed(from, to)? {
            return open(from, to, generation, digest);
        }
        let current = movable(from)?;
        let generations = from.generations()?;
        claim(from, to, &generations)?;
        copy(from, to, &generations)?;
        if close(from, to, &current)? {
            return open(from, to, current.generation, Digest::of(&current.bytes));
        }
    }
    Err(TransferRefused::Changing)
}

/// What the old place had when it was closed for this very move.
fn closed(
    from: &Documents,
    to: &Documents,
) -> Result<Option<(Generation, Digest)>, TransferRefused> {
    match sign(from)? {
        None => Ok(None),
        Some(Sign::Moved { to: there, generation, digest }) if there == to.address() => {
            Ok(Some((generation, digest)))
        }
        Some(Sign::Moved { to, .. }) => {
            Err(TransferRefused::MovedElsewhere { from: from.address(), to })
        }
        Some(Sign::Arriving { from: origin }) => Err(arriving(from, &origin).into()),
    }
}

fn sign(place: &Documents) -> Result<Option<Sign>, StoreError> {
    Ok(place.head_bytes()?.as_deref().and_then(Sign::decode))
}

fn arriving(place: &Documents, origin: &Address) -> StoreError {
    StoreError::Arriving { place: place.address().to_string(), from: origin.to_string() }
}

/// The document, when it is good and at rest.
fn movable(from: &Documents) -> Result<Current, TransferRefused> {
    let nothing = || TransferRefused::Nothing(from.address());
    let stored = from.read()?.ok_or_else(nothing)?;
    if let Some(operation) = &stored.document.operation {
        return Err(TransferRefused::InFlight(operation.number));
    }
    let generation = stored.document.generation;
    let bytes = from.recorded_bytes(generation)?.ok_or_else(nothing)?;
    Ok(Current { bytes, generation })
}

/// Puts the sign into the new place, unless that has a truth of its own.
fn claim(
    from: &Documents,
    to: &Documents,
    generations: &[Generation],
) -> Result<(), TransferRefused> {
    let mine = Sign::Arriving { from: from.address() };
    let found = to.head_bytes()?;
    let foreign = || TransferRefused::Foreign { to: to.address() };
    match found.as_deref().map(Sign::decode) {
        Some(Some(sign)) if sign == mine => return Ok(()),
        Some(Some(Sign::Arriving { from: origin })) => return Err(arriving(to, &origin).into()),
        Some(None) => return Err(foreign()),
        Some(Some(Sign::Moved { .. })) | None => {}
    }
    // A place that was closed, or was claimed before: what it has must be part of this truth.
    for generation in to.generations()? {
        let same = generations.contains(&generation)
            && from.recorded_bytes(generation)? == to.recorded_bytes(generation)?;
        if !same {
            return Err(foreign());
        }
    }
    match to.swap_head(found.as_deref(), &mine.encode()) {
        Outcome::Done(()) => Ok(()),
        Outcome::Refused(WriteRefused::Conflict) => Err(foreign()),
        Outcome::Refused(WriteRefused::Store(error)) => Err(error.into()),
        Outcome::Unknown(why) => Err(TransferRefused::Unknown(why)),
    }
}

/// Copies generations and reports. Generations are only added, and verified on the way.
fn copy(
    from: &Documents,
    to: &Documents,
    generations: &[Generation],
) -> Result<usize, TransferRefused> {
    let mut before: Option<(Generation, Digest)> = None;
    for generation in generations {
        let broken = || TransferRefused::Broken { from: from.address(), generation: *generation };
        let bytes = from.recorded_bytes(*generation)?.ok_or_else(broken)?;
        let document = Document::decode(&bytes).map_err(|_| broken())?;
        let follows = match before {
            Some((last, digest)) if last.next() == *generation => document.parent == Some(digest),
            // Older generations may have been put away by the bucket's own rules.
            _ => true,
        };
        if document.generation != *generation || !follows {
            return Err(broken());
        }
        if !to.keep_recorded(*generation, &bytes)? {
            return Err(TransferRefused::Foreign { to: to.address() });
        }
        before = Some((*generation, Digest::of(&bytes)));
    }
    let names = from.report_names()?;
    for name in &names {
        if let Some(bytes) = from.report_bytes(name)? {
            to.keep_report(name, &bytes)?;
        }
    }
    Ok(names.len())
}

/// Closes the old place, when its document is still the one that was copied.
fn close(from: &Documents, to: &Documents, current: &Current) -> Result<bool, TransferRefused> {
    let sign = Sign::Moved {
        to: to.address(),
        generation: current.generation,
        digest: Digest::of(&current.bytes),
    };
    match from.swap_head(Some(&current.bytes), &sign.encode()) {
        Outcome::Done(()) => Ok(true),
        Outcome::Refused(WriteRefused::Conflict) => Ok(false),
        Outcome::Refused(WriteRefused::Store(error)) => Err(error.into()),
        Outcome::Unknown(why) => Err(TransferRefused::Unknown(why)),
    }
}

/// Opens the new place, unless that has happened.
fn open(
    from: &Documents,
    to: &Documents,
    generation: Generation,
    digest: Digest,
) -> Result<Transfer, TransferRefused> {
    let gone = || TransferRefused::Gone { to: to.address(), generation };
    let bytes = to.recorded_bytes(generation)?.filter(|bytes| Digest::of(bytes) == digest);
    let bytes = bytes.ok_or_else(gone)?;
    let mine = Sign::Arriving { from: from.address() };
    match to.head_bytes()?.as_deref().map(Sign::decode) {
        Some(Some(sign)) if sign == mine => {}
        Some(None) => {
            let stored = to.read()?.ok_or_else(gone)?;
            return Ok(Transfer::Already(stored.document.generation));
        }
        Some(Some(Sign::Moved { to: there, .. })) => {
            return Err(TransferRefused::MovedElsewhere { from: to.address(), to: there });
        }
        Some(Some(Sign::Arriving { .. })) | None => return Err(gone()),
    }
    match to.swap_head(Some(&mine.encode()), &bytes) {
        // Somebody else who moves the same was faster.
        Outcome::Done(()) | Outcome::Refused(WriteRefused::Conflict) => {}
        Outcome::Refused(WriteRefused::Store(error)) => return Err(error.into()),
        Outcome::Unknown(why) => return Err(TransferRefused::Unknown(why)),
    }
    let stored = to.read()?.ok_or_else(gone)?;
    Ok(Transfer::Moved {
        generation: stored.document.generation,
        generations: to.generations()?.len(),
        reports: to.report_names()?.len(),
    })
}
