//! The documents of one app and environment, wherever they are kept.

use std::sync::Arc;

use onward_core::document::Document;
use onward_core::model::{Generation, ServerName, WriteId};
use onward_core::outcome::Outcome;
use onward_core::ports::{StateStore, StoreError, Stored, WriteRefused};
use onward_core::report::Report;

#[cfg(feature = "cloud")]
use super::cloud::CloudStore;
use super::directory::{Difference, DirectoryStore};
use super::remote::RemoteStore;
use super::sign::{Address, Sign};

/// The documents of one app and environment, wherever they are kept.
///
/// Besides what [`StateStore`] promises it has what people do with the truth: listing its
/// generations, and settling what was damaged.
#[derive(Debug, Clone)]
pub enum Documents {
    /// In a directory of this machine.
    Directory(DirectoryStore),
    /// In a directory of another machine.
    Remote(Arc<RemoteStore>),
    /// In a bucket.
    #[cfg(feature = "cloud")]
    Cloud(Arc<CloudStore>),
}

/// Does the same with whichever store it is.
macro_rules! either {
    ($documents:expr, $store:ident => $what:expr) => {
        match $documents {
            Documents::Directory($store) => $what,
            Documents::Remote($store) => $what,
            #[cfg(feature = "cloud")]
            Documents::Cloud($store) => $what,
        }
    };
}

impl Documents {
    /// All generations that were recorded, in order.
    ///
    /// # Errors
    /// When the place cannot be read.
    pub fn generations(&self) -> Result<Vec<Generation>, StoreError> {
        either!(self, store => store.generations())
    }

    /// What is there instead of the document, when that is not what onward wrote.
    ///
    /// # Errors
    /// When the place cannot be read.
    pub fn difference(&self) -> Result<Option<Difference>, StoreError> {
        either!(self, store => store.difference())
    }

    /// Makes `document` the next generation after `good`, whatever is there now: how a person's
    /// decision about a damaged document is carried out.
    pub fn settle(
        &self,
        good: &Stored,
        document: Document,
        by: WriteId,
    ) -> Outcome<Stored, WriteRefused> {
        either!(self, store => store.settle(good, document, by))
    }

    /// The sign in the place of the document, if there is one.
    ///
    /// # Errors
    /// When the place cannot be read.
    pub fn sign(&self) -> Result<Option<Sign>, StoreError> {
        either!(self, store => store.sign())
    }

    /// Where they are kept, all environments together: the URL of a store, or a directory.
    pub fn address(&self) -> Address {
        either!(self, store => store.address())
    }
}

/// What is kept, in bytes: for moving it elsewhere.
impl Documents {
    pub(super) fn head_bytes(&self) -> Result<Option<Vec<u8>>, StoreError> {
        either!(self, store => store.head_bytes())
    }

    pub(super) fn swap_head(
        &self,
        expected: Option<&[u8]>,
        bytes: &[u8],
    ) -> Outcome<(), WriteRefused> {
        either!(self, store => store.swap_head(expected, bytes))
    }

    pub(super) fn recorded_bytes(
        &self,
        generation: Generation,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        either!(self, store => store.recorded_bytes(generation))
    }

    pub(super) fn keep_recorded(
        &self,
        generation: Generation,
        bytes: &[u8],
    ) -> Result<bool, StoreError> {
        either!(self, store => store.keep_recorded(generation, bytes))
    }

    pub(super) fn report_names(&self) -> Result<Vec<String>, StoreError> {
        either!(self, store => store.report_names())
    }

    pub(super) fn report_bytes(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        either!(self, store => store.report_bytes(name))
    }

    pub(super) fn keep_report(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        either!(self, store => store.keep_report(name, bytes))
    }
}

impl StateStore for Documents {
    fn read(&self) -> Result<Option<Stored>, StoreError> {
        either!(self, store => store.read())
    }

    fn write(
        &self,
        expected: Option<Generation>,
        next: &Arc<Document>,
    ) -> Outcome<Stored, WriteRefused> {
        either!(self, store => store.write(expected, next))
    }

    fn read_generation(&self, generation: Generation) -> Result<Option<Stored>, StoreError> {
        either!(self, store => store.read_generation(generation))
    }

    fn put_report(&self, server: &ServerName, report: &Report) -> Result<(), StoreError> {
        either!(self, store => store.put_report(server, report))
    }

    fn report(&self, server: &ServerName) -> Result<Option<Report>, StoreError> {
        either!(self, store => store.report(server))
    }

    fn settled(&self, generation: Generation) {
        either!(self, store => store.settled(generation));
    }
}
