//! The ports that a runner needs, with what each promises. Adapters live in other crates; every
//! adapter of a port passes the port's contract suite in `onward-testkit`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::document::{Document, InvalidDocument};
use crate::model::{Digest, Generation, ServerName};
use crate::order::Order;
use crate::outcome::Outcome;
use crate::planted::planted;
use crate::report::Report;

/// A document as a store holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The document.
    pub document: Arc<Document>,
    /// Digest of its bytes: what the next generation names as its parent.
    pub digest: Digest,
}

/// Where the documents of one app and environment are kept.
///
/// # Guarantees
/// - A reader sees a whole document: the one of the last write that happened, never a part of it,
///   and never an older one after a newer one.
/// - A write happens when nothing else was written since the generation that it names, and is
///   durable when it is answered with `Done`. Of two writers that name the same generation, one
///   happens and the other is refused.
/// - Every generation that was ever written can be read again.
///
/// # Caveats
/// After `Unknown` the write may happen at any later time, or never. The caller reads again and
/// recognises its own by the `write_id`.
pub trait StateStore {
    /// The current document; `None` before the first write.
    fn read(&self) -> Result<Option<Stored>, StoreError>;

    /// Replaces the document of generation `expected` (`None`: there is none yet) by `next`.
    fn write(
        &self,
        expected: Option<Generation>,
        next: &Arc<Document>,
    ) -> Outcome<Stored, WriteRefused>;

    /// The document of an earlier generation; `None` when there never was one.
    fn read_generation(&self, generation: Generation) -> Result<Option<Stored>, StoreError>;

    /// Keeps the report of a server. Only that server writes it.
    fn put_report(&self, server: &ServerName, report: &Report) -> Result<(), StoreError>;

    /// The last report that the server kept.
    fn report(&self, server: &ServerName) -> Result<Option<Report>, StoreError>;

    /// Every server has accepted what follows from this generation, and nothing is in flight: nobody
    /// has to carry anything on. It saves work and promises nothing, so a store may forget it.
    fn settled(&self, _generation: Generation) {}
}

/// Whether a document of generation `current` may be replaced by a writer that expects `expected`:
/// the comparison of compare-and-swap, the same in every store.
pub fn may_replace(current: Option<Generation>, expected: Option<Generation>) -> bool {
    current == expected || planted!(UnconditionalWrite)
}

/// Why a write did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteRefused {
    /// Something else was written since.
    #[error("the state was changed meanwhile")]
    Conflict,
    /// The store could not write, and kept what it had.
    #[error(transparent)]
    Store(StoreError),
}

/// Why a store cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreError {
    /// The place cannot be read or written.
    #[error("{place}: {reason}")]
    Unavailable {
        /// The file or object.
        place: String,
        /// What the system said.
        reason: String,
    },
    /// The disk is full; nothing was changed.
    #[error("{place}: no space is left on the device")]
    NoSpace {
        /// The file or object.
        place: String,
    },
    /// What is there is not a document.
    #[error("{place}: {reason}")]
    Invalid {
        /// The file or object.
        place: String,
        /// What is wrong with it.
        reason: InvalidDocument,
    },
    /// What is there was not written by onward and is not a valid edit: the last good generation
    /// stays in force.
    #[error("{place}: {reason}")]
    Damaged {
        /// The file or object.
        place: String,
        /// What is wrong with it.
        reason: String,
        /// The last good generation.
        last_good: Generation,
    },
    /// The documents were moved; this place is closed and stays so.
    #[error("{place}: the state was moved to {to}")]
    Moved {
        /// The file or object.
        place: String,
        /// Where they are now.
        to: String,
    },
    /// A move to this place has begun and has not ended.
    #[error("{place}: the state is being moved here from {from}")]
    Arriving {
        /// The file or object.
        place: String,
        /// Where they come from.
        from: String,
    },
    /// The store does not keep what every store has to promise, so nothing is written there.
    #[error("{place}: {reason}")]
    Unfit {
        /// The store.
        place: String,
        /// What it does, and why that is not enough.
        reason: String,
    },
}

/// The way from a runner to the agent of a server.
///
/// # Guarantees
/// `Done` carries a report that was true after the order was admitted or found to be held already.
/// An order that is older than what the server accepted is not followed; the report says which
/// generation is.
///
/// # Caveats
/// After `Unknown` the order may arrive at any later time. That is safe: the server compares
/// generations.
pub trait Link {
    /// Brings the order and returns the report. Waits a little for news when the report is the
    /// same as `seen`.
    fn deliver(&self, order: &Order, seen: Option<&Report>) -> Outcome<Report, DeliveryRefused>;

    /// Leaves a copy of the document with the server, for the day on which the store is lost. The
    /// server keeps the copy with the highest generation. Nothing waits for it and nothing hangs on
    /// it: a copy that does not arrive is not tried again.
    fn keep_copy(&self, _document: &Document) {}
}

/// Why a server did not take an order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DeliveryRefused(pub String);
